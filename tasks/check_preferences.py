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
from tasks._canaries import file_sha256, judge
from tasks._check_records import Checks, Figures, earlier_figures, trusted_outcome
from tasks._stage import Run
from tasks._store import Store
from tasks._tables import TableRef
from tasks.clean_scores import calibration_of, raters_of
from tasks.validate import figures

VERSION = 2
"""Raised when the same night would have another outcome."""
LEAST_JUDGED = 0.9
"""Share of the canaries that raters must be able to judge: what nobody could judge has not passed."""
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
    canaries = settings.canaries and config.prompts.starts_from == "prompts"
    identity = [sections, file_sha256(config) if canaries else ""]
    key = f"{tables['delivered'].location}/poisoning-{VERSION}-{ids.fingerprint(identity)}.json"
    if store.read_if_there(key) is None:
        made: Checks = {}
        if canaries:
            made |= _check_canaries(tables, config, run)
        if settings.control_charts:
            made |= _check_charts(tables, config, store, run.dataset)
        if settings.ngram_lift:
            made |= _check_lift(tables, settings)
        store.create(key, ids.canonical_json(made))
    expected = {"known_bad": canaries, "canaries": canaries and settings.canary_source != ""}
    expected |= {"control_charts": settings.control_charts, "ngram_lift": settings.ngram_lift}
    found = trusted_outcome(store.record(key), (name for name, asked in expected.items() if asked))
    failed = [f"{name}: {check['detail']}" for name, check in found.items() if not check["passed"]]
    if failed:
        raise CheckError(
            f"nothing was published, {len(failed)} of {len(found)} checks against poisoning failed: "
            f"{'; '.join(failed)}. Look at the raters and the source; what is meant is switched off under `poisoning`"
        )
    return found


def _check_canaries(tables: Mapping[str, TableRef], config: Curate, run: Run) -> Checks:
    night = {name: tables[name] for name in ("prompts", "responses", "scores")}
    judged = _ray.run_once(partial(judge, night, config), settings=run.cluster)
    asks_order = config.poisoning.canary_source != ""
    if not judged["ids"]:
        nothing = {"passed": False, "detail": f"no canary could be made of {tables['prompts'].rows} prompts"}
        return {"known_bad": nothing} | ({"canaries": nothing} if asks_order else {})
    names = [rater.name for rater in config.scoring.raters]
    order = [names.index(name) for name in raters_of(tables["scores"])]
    scores = np.array(judged["scores"], dtype=float)[order].T
    quality = apply_calibration(scores, calibration_of(tables["scores"], config.cleaning)).quality
    better, worse, bad = np.split(quality, 3)
    drops = np.array(judged["drops"]) & config.cleaning.drop_degenerate
    checks: Checks = {"known_bad": _known_bad(bad, better, drops, most=config.poisoning.canary_bad)}
    if asks_order:
        ordered = np.array(judged["ordered"])
        named = np.array(judged["ids"])[ordered]
        checks["canaries"] = _order(better[ordered], worse[ordered], named, wanted=config.poisoning.min_order_kept)
    return checks


def _known_bad(bad: np.ndarray, better: np.ndarray, drops: np.ndarray, *, most: int) -> dict[str, Any]:
    """Known-bad responses that no cleaning drops must lose to the good one; what nobody could score proves nothing."""
    judged = (drops | (np.isfinite(bad) & np.isfinite(better)))[:most]
    through = (not_below(np.where(drops, np.nan, bad), better)[:most] & judged).sum()
    enough = judged.sum() >= LEAST_JUDGED * len(judged)
    detail = f"{through} of {judged.sum()} known-bad responses would have got through{_unjudged(judged)}"
    return {"passed": bool(not through and enough), "detail": detail}


def _order(better: np.ndarray, worse: np.ndarray, named: np.ndarray, *, wanted: float) -> dict[str, Any]:
    """Known orders that are kept, among those with a score on both sides."""
    judged = np.isfinite(better) & np.isfinite(worse)
    kept = order_kept(better[judged], worse[judged])
    first = "" if kept.first_broken is None else f", first broken {named[judged][kept.first_broken]}"
    detail = f"{kept.kept} of {kept.pairs} known orders kept, at least {wanted:.1%} expected{first}{_unjudged(judged)}"
    enough = kept.pairs > 0 and judged.sum() >= LEAST_JUDGED * len(judged)
    return {"passed": bool(enough and kept.share >= wanted), "detail": detail}


def _unjudged(judged: np.ndarray) -> str:
    missing = len(judged) - int(judged.sum())
    return f"; {missing} of {len(judged)} not judged, at most {1 - LEAST_JUDGED:.0%} may be" if missing else ""


def _check_charts(tables: Mapping[str, TableRef], config: Curate, store: Store, dataset: str) -> Checks:
    settings = config.poisoning
    today = rater_figures(tables)
    past = earlier_figures(store, dataset, config.signing)[-settings.chart_versions :]
    gone = _gone(past, today, raters_of(tables["scores"]), least=settings.chart_min_versions)
    out = alarms(
        past,
        today,
        false_alarm=settings.false_alarm,
        min_history=settings.chart_min_versions,
        resolution=_resolution(past, today),
    )
    said = "; ".join(
        [f"{one.chart} {one.value:.4g} outside {one.low:.4g} to {one.high:.4g}" for one in out]
        + [f"{chart} cannot be measured any more" for chart in gone]
    )
    waiting = len(past) < settings.chart_min_versions
    quiet = (
        f"not judged before {settings.chart_min_versions} versions, there are {len(past)}"
        if waiting
        else "all as before"
    )
    detail = f"{len(today)} figures of raters against {len(past)} versions: {said or quiet}"
    return {"control_charts": {"passed": not out and not gone, "detail": detail, "figures": today, "history": past}}


def _gone(past: Sequence[Figures], today: Figures, raters: Sequence[str], *, least: int) -> list[str]:
    """Charts of raters that still score but no longer give the figure: a rater that went silent has changed too."""
    charts = [f"{rater} {name}" for rater in raters for name in ("mean", "sd", "rank correlation")]
    return [chart for chart in charts if chart not in today and sum(chart in night for night in past) >= least]


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
