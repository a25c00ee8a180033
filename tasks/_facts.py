"""The numbers behind a version's card and report, read from narrow columns of the run's tables."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sweetspot.delivery.facts import (
    Agreement,
    ColumnFacts,
    LengthFacts,
    MarginFacts,
    QualityFacts,
    RaterFacts,
    VersionFacts,
    column_facts,
    histogram,
    histograms,
)
from sweetspot.delivery.manifest import Manifest
from sweetspot.validation.bias import length_bias
from tasks._tables import TableRef
from tasks.validate import figures

UNCHECKED = {
    "canaries": "Raters against responses of known order: none were judged.",
    "control_charts": "Raters against earlier versions: not compared.",
    "ngram_lift": "Phrases that decide preferences: not looked for.",
}
"""What a reader is told where one of the checks of `check_preferences` did not run."""
MEASURED = ("chosen_rating", "rejected_rating", "margin", "margin_implicit", "preference_probability")


def gather_facts(manifest: Manifest, tables: Mapping[str, TableRef], ends: Mapping[str, int]) -> VersionFacts:
    """Measure everything the documents of a version show.

    Args:
        manifest: draft of the version's manifest.
        tables: the run's tables by schema name.
        ends: prompts by where they ended, as `account` found.
    """
    pairs = (
        tables["pairs"].read(["pair_id", "split", "chosen_rating", "rejected_rating", "margin_external"]).to_pandas()
    )
    selected = tables["selected"].read(["pair_id", "route"]).to_pandas()
    delivered = tables["delivered"].read(["prompt_id", *MEASURED]).to_pandas()
    return VersionFacts(
        manifest=manifest,
        store=tables["prompts"].store,
        prompt_source=str(manifest.config.get("prompts", {}).get("source", "")),
        license=str(manifest.config.get("prompts", {}).get("license", "unknown")),
        annotations="machine-generated" if manifest.sampling else "found",
        stage_seconds={str(ref.book["stage"]): round(ref.seconds, 1) for ref in tables.values()},
        raters=_raters(tables),
        agreement=_agreement(tables),
        quality=_quality(pairs, tables, manifest),
        margins=_margins(pairs, selected),
        lengths=_lengths(tables),
        columns={name: _column(delivered[name]) for name in MEASURED},
        not_checked=(
            "Duplicates and contamination: prompts are unique by hash; near copies and overlap with benchmarks "
            "were not searched for.",
            *(text for name, text in UNCHECKED.items() if name not in manifest.checks),
            f"Prompts by where they ended: {', '.join(f'{end} {count}' for end, count in sorted(ends.items()))}.",
        ),
    )


def _column(values: pd.Series) -> ColumnFacts:
    return column_facts(values.astype("float64").to_numpy())


def _raters(tables: Mapping[str, TableRef]) -> tuple[RaterFacts, ...]:
    frame = tables["scores"].read(["rater", "rater_revision", "score"]).to_pandas()
    return tuple(
        RaterFacts(
            name=str(name), revision=str(rows["rater_revision"].iloc[0]), scores=histogram(rows["score"].to_numpy())
        )
        for name, rows in frame.groupby("rater")
    )


def _agreement(tables: Mapping[str, TableRef]) -> tuple[Agreement, ...]:
    return tuple(
        Agreement(
            first=pair["raters"][0],
            second=pair["raters"][1],
            rank_correlation=pair["rank_correlation"],
            responses=pair["responses"],
        )
        for pair in figures(tables["checks"], tables["scores"])["agreement"]
        if pair["rank_correlation"] is not None
    )


def _quality(pairs: pd.DataFrame, tables: Mapping[str, TableRef], manifest: Manifest) -> QualityFacts:
    sides = histograms({"chosen": pairs["chosen_rating"], "rejected": pairs["rejected_rating"]})
    differs = tables["pairs"].read(["differs_from_min"])["differs_from_min"]
    rule = manifest.config.get("pairing", {})
    return QualityFacts(
        chosen=sides["chosen"],
        rejected=sides["rejected"],
        chosen_position=str(rule.get("chosen", "")),
        rejected_position=str(rule.get("rejected", "")),
        pairs=len(pairs),
        differs_from_min=sum(differs.to_pylist()),
    )


def _margins(pairs: pd.DataFrame, selected: pd.DataFrame) -> MarginFacts:
    is_train = pairs["split"].to_numpy() == "train"
    is_kept = is_train & pairs["pair_id"].isin(selected["pair_id"].tolist()).to_numpy()
    margin = pairs["margin_external"].to_numpy(dtype=float)
    shared = histograms({"candidates": margin[is_train], "kept": margin[is_kept]})
    routed = selected["route"].tolist().count("sft")
    return MarginFacts(candidates=shared["candidates"], kept=shared["kept"], sft=routed)


def _lengths(tables: Mapping[str, TableRef]) -> LengthFacts:
    chars = tables["checks"].read(["response_id", "chars"]).to_pandas().set_index("response_id")["chars"]
    pairs = tables["pairs"].read(["pair_id", "chosen_id", "rejected_id"]).to_pandas()
    pairs = pairs[pairs["pair_id"].isin(tables["selected"].read(["pair_id"])["pair_id"].to_pylist())]
    chosen, rejected = (pairs[side].map(chars).to_numpy(dtype=float) for side in ("chosen_id", "rejected_id"))
    return length_facts(chosen, rejected)


def length_facts(chosen: NDArray[np.float64], rejected: NDArray[np.float64]) -> LengthFacts:
    """Lengths in characters (Q,) of both sides, and how often the longer one was chosen."""
    bias = length_bias(chosen, rejected)
    sides = histograms({"chosen": chosen, "rejected": rejected})
    return LengthFacts(
        chosen=sides["chosen"],
        rejected=sides["rejected"],
        unit="characters",
        longer_chosen_rate=bias.longer_chosen_rate,
        low=bias.interval[0],
        high=bias.interval[1],
    )
