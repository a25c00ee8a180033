"""check_preferences: has somebody steered the raters or the data? Every alarm stops the publication.

Canaries are judged among responses of the night, by the same raters and on the night's own scale, and enter no table:
they cannot be shipped. Figures of every rater are compared with those in the manifests of earlier versions. Phrases
that make a response the chosen one are looked for in the delivered pairs. Alarms name ids and numbers, never text.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from sweetspot import ids
from sweetspot.calibration import apply_calibration
from sweetspot.config import Curate, Poisoning
from sweetspot.errors import CheckError
from sweetspot.validation.canaries import not_below, order_kept
from sweetspot.validation.control_charts import alarms
from sweetspot.validation.ngram_lift import ngram_lift, suspicious
from tasks import _ray
from tasks._canaries import judge
from tasks._latest import read_latest
from tasks._records import DAMAGED, Record
from tasks._stage import Run
from tasks._store import Store
from tasks._tables import TableRef
from tasks._versions import open_version
from tasks.clean_scores import calibration_of, raters_of
from tasks.validate import figures

Checks = dict[str, dict[str, Any]]
LIFT_PAIRS = 20_000
"""Most pairs whose phrases are counted, picked by hash."""
RESOLUTION = 0.05
"""Changes of a rater's mean or spread below this share of its usual spread do not count."""
RANK_RESOLUTION = 0.02
DIGITS = 6


def check_preferences(tables: Mapping[str, TableRef], config: Curate, run: Run) -> Checks:
    """Run the checks that are switched on and can be run; the outcome enters the manifest.

    Args:
        tables: the night's tables by schema name, up to `delivered`.
        config: settings.
        run: where.

    Returns:
        By name: `passed`, `detail`, and figures that later nights compare with. The same run gives the same outcome.

    Raises:
        CheckError: naming each check that failed.
    """
    store, settings = Store(run.store), config.poisoning
    sections = config.model_dump(mode="json", include={"poisoning", "scoring", "cleaning"})
    key = f"{tables['delivered'].location}/poisoning-{ids.fingerprint(sections)}.json"
    if store.read_if_there(key) is None:
        made: Checks = {}
        if settings.canaries and config.prompts.starts_from == "prompts":
            made |= _check_canaries(tables, config, run)
        if settings.control_charts:
            made |= _check_charts(tables, settings, store, run.dataset)
        if settings.ngram_lift:
            made |= _check_lift(tables, settings)
        store.create(key, ids.canonical_json(made))
    found = _checks_of(store.record(key))
    failed = [f"{name}: {check['detail']}" for name, check in found.items() if not check["passed"]]
    if failed:
        raise CheckError(
            f"nothing was published, {len(failed)} of {len(found)} checks against poisoning failed: "
            f"{'; '.join(failed)}. Look at the raters and the source; what is meant is switched off under `poisoning`"
        )
    return found


def _checks_of(record: Record) -> Checks:
    """Outcomes as plain values; what lies in the store may be somebody else's, and `passed` decides a publication.

    Raises:
        CheckError: an outcome that is none, naming it.
    """
    found: Checks = {}
    for name in record:
        outcome = record.inner(name)
        if type(outcome["passed"]) is not bool:
            raise CheckError(f"{outcome.where}: passed: expected true or false; {DAMAGED}")
        outcome.text("detail")
        found[name] = dict(outcome)
    return found


def _check_canaries(tables: Mapping[str, TableRef], config: Curate, run: Run) -> Checks:
    judged = _ray.run_once(partial(judge, tables["prompts"], tables["responses"], config), settings=run.cluster)
    if not judged["ids"]:
        return {}
    names = [rater.name for rater in config.scoring.raters]
    order = [names.index(name) for name in raters_of(tables["scores"])]
    scores = np.array(judged["scores"], dtype=float)[order].T
    quality = apply_calibration(scores, calibration_of(tables["scores"], config.cleaning)).quality
    better, worse, bad = np.split(quality, 3)
    drops = np.array(judged["drops"]) & config.cleaning.drop_degenerate
    through = not_below(np.where(drops, np.nan, bad), better)[: config.poisoning.canary_bad]
    known_bad = f"{int(through.sum())} of {len(through)} known-bad responses would have got through"
    checks: Checks = {"known_bad": {"passed": not through.any(), "detail": known_bad}}
    ordered = np.array(judged["ordered"])
    if ordered.any():
        wanted, kept = config.poisoning.min_order_kept, order_kept(better[ordered], worse[ordered])
        named = np.array(judged["ids"])[ordered]
        first = "" if kept.first_broken is None else f", first broken {named[kept.first_broken]}"
        detail = f"{kept.kept} of {kept.pairs} known orders kept, at least {wanted:.1%} expected{first}"
        checks["canaries"] = {"passed": kept.share >= wanted, "detail": detail}
    return checks


def _check_charts(tables: Mapping[str, TableRef], settings: Poisoning, store: Store, dataset: str) -> Checks:
    today, past = rater_figures(tables), _history(store, dataset)[-settings.chart_versions :]
    out = alarms(
        past,
        today,
        false_alarm=settings.false_alarm,
        min_history=settings.chart_min_versions,
        resolution=_resolution(past, today),
    )
    said = "; ".join(f"{one.chart} {one.value:.4g} outside {one.low:.4g} to {one.high:.4g}" for one in out)
    waiting = len(past) < settings.chart_min_versions
    quiet = (
        f"not judged before {settings.chart_min_versions} versions, there are {len(past)}"
        if waiting
        else "all as before"
    )
    detail = f"{len(today)} figures of raters against {len(past)} versions: {said or quiet}"
    return {"control_charts": {"passed": not out, "detail": detail, "figures": today, "history": past}}


def rater_figures(tables: Mapping[str, TableRef]) -> dict[str, float]:
    """Mean, spread and mean rank correlation with the others of every rater, by chart name."""
    frame = tables["scores"].read(["rater", "score"]).to_pandas().dropna()
    grouped = frame.groupby("rater")["score"]
    parts = {"mean": grouped.mean(), "sd": grouped.std(ddof=0)}
    found = {f"{rater} {name}": float(value) for name, column in parts.items() for rater, value in column.items()}
    correlations: dict[str, list[float]] = {}
    for pair in figures(tables["checks"], tables["scores"])["agreement"]:
        for rater in pair["raters"] if pair["rank_correlation"] is not None else ():
            correlations.setdefault(rater, []).append(pair["rank_correlation"])
    found |= {f"{rater} rank correlation": float(np.mean(values)) for rater, values in correlations.items()}
    return {chart: round(value, DIGITS) for chart, value in sorted(found.items())}


def _resolution(past: Sequence[Mapping[str, float]], today: Mapping[str, float]) -> dict[str, float]:
    found = {}
    for chart in today:
        rater = chart.removesuffix(" mean").removesuffix(" sd")
        spreads = [night[f"{rater} sd"] for night in past if f"{rater} sd" in night]
        found[chart] = (
            RANK_RESOLUTION if chart.endswith("rank correlation") else RESOLUTION * float(np.median(spreads or [0.0]))
        )
    return found


def _history(store: Store, dataset: str) -> list[dict[str, float]]:
    """Figures of earlier versions, oldest first: each manifest carries those before it, bound by its hash."""
    if read_latest(store, dataset) is None:
        return []
    check = open_version(store.uri, dataset).manifest().checks.get("control_charts", {})
    nights = [*check.get("history", []), *([check["figures"]] if "figures" in check else [])]
    if not all(isinstance(night, dict) and all(type(x) in (int, float) for x in night.values()) for night in nights):
        raise CheckError(f"{store.uri}/{dataset}: control_charts of the latest manifest hold other things than numbers")
    return nights


def _check_lift(tables: Mapping[str, TableRef], settings: Poisoning) -> Checks:
    rows = [
        row
        for chunk in tables["delivered"].each_chunk(["pair_id", "prompt_id", "chosen", "rejected"])
        for row in chunk.to_pylist()
    ]
    rows = [row for row in rows if not row["pair_id"].endswith(":b")]  # relabelled twins say the same again
    rows = sorted(rows, key=lambda row: ids.uniform(row["pair_id"], "lift"))[:LIFT_PAIRS]
    texts = {side: [row[side][-1]["content"] for row in rows] for side in ("chosen", "rejected")}
    limits = {"min_share": settings.lift_share, "min_lift": settings.min_lift, "false_alarm": settings.false_alarm}
    prompts = [row["prompt_id"] for row in rows]
    found = ngram_lift(texts["chosen"], texts["rejected"], prompts=prompts, min_lift=settings.min_lift)
    out = suspicious(found, pairs=len(set(zip(prompts, texts["chosen"], strict=True))), **limits)
    detail = f"no phrase stands in chosen responses alone, of {len(rows)} pairs"
    if out:
        worst = max(out, key=lambda one: (one.chosen_only, one.lift))
        detail = (
            f"{len(out)} phrases stand in chosen responses alone, the most frequent ({len(worst.ngram.split())} words) "
            f"in {worst.chosen_only} of {len(rows)} pairs against {worst.rejected_only} with it in the rejected one; "
            f"first pair {rows[worst.first]['pair_id']}"
        )
    return {"ngram_lift": {"passed": not out, "detail": detail}}
