"""`audit`: someone's own pairs, scored responses or votes, checked without a model, a cluster or a server."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from sweetspot.errors import ConfigError, ContractError
from sweetspot.prompts import BadRow, normalise_text
from sweetspot.raters import consensus
from sweetspot.validation.aggregation import majority
from sweetspot.validation.agreement import krippendorff_alpha
from sweetspot.validation.bias import length_bias
from sweetspot.validation.correlation import within_group_spearman
from sweetspot.validation.degenerate import flags
from sweetspot.validation.duplicates import pair_duplicates
from tasks._sources import Source, read_source

Rows = Sequence[dict[str, Any]]
Figures = dict[str, Any]
console = Console(highlight=False)
FLAWS = ("empty", "char_run", "repetitive", "compressible", "refusal")


def audit_file(path: str, *, out: str, format: str = "") -> Figures:
    """Check a file, print what was found, write `report.json` to the folder `out`.

    Args:
        path: pairs (`prompt, chosen, rejected`), responses (`prompt, response` and one numeric column per
            rater) or votes (`pair_id, annotator, preference`).
        out: folder for the report.
        format: `pairs`, `responses` or `votes`; empty detects it.

    Raises:
        ConfigError: an unknown format, or columns that fit none.
        ContractError: no usable row.
    """
    source = read_source(path)
    name = format or detect(source)
    if name not in FORMATS:
        raise ConfigError(f"--format {name}: expected one of {', '.join(FORMATS)}")
    source.require(*FORMATS[name][0])
    rows = [row for row in source.rows if row is not None]
    found = {"source": path, "format": name, "rows": len(source.rows), **FORMATS[name][1](rows)}
    for key, value in found.items():
        console.print(f"{key:<28}{json.dumps(value, default=str)}", soft_wrap=True, markup=False)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(found, indent=1))
    console.print(f"report                      {folder / 'report.json'}", soft_wrap=True)
    return found


def detect(source: Source) -> str:
    """The first format whose columns are all there."""
    there = {key for row in source.rows if row is not None for key in row}
    for name, (columns, _) in FORMATS.items():
        if there.issuperset(columns):
            return name
    wanted = "; ".join(f"{name}: {', '.join(columns)}" for name, (columns, _) in FORMATS.items())
    raise ConfigError(f"{source.name}: columns {sorted(there)} fit no format. Expected {wanted}")


def audit_pairs(rows: Rows) -> Figures:
    """Length bias, duplicates, contradictions, identical and degenerate responses of preference pairs."""
    texts, bad = _texts(rows, ("prompt", "chosen", "rejected"))
    prompts, chosen, rejected = texts
    bias = length_bias([len(text) for text in chosen], [len(text) for text in rejected])
    copies = pair_duplicates(prompts, chosen, rejected)
    return {
        "dropped": bad,
        "pairs": len(prompts),
        "longer_chosen_rate": bias.longer_chosen_rate,
        "longer_chosen_interval": bias.interval,
        "identical_responses": int(copies.identical.sum()),
        "duplicate_pairs": int((copies.duplicate_of >= 0).sum()),
        "contradictory_pairs": int(copies.contradictory.sum()),
        "chosen_flaws": _flaws(chosen),
        "rejected_flaws": _flaws(rejected),
    }


def audit_responses(rows: Rows) -> Figures:
    """Agreement, length correlation and outliers of raters that scored the same responses."""
    names = sorted(
        {k for row in rows for k, v in row.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    )
    if not names:
        raise ContractError("responses: no numeric column; expected one per rater")
    texts, bad = _texts(rows, ("prompt", "response"))
    kept = [row for row in rows if all(_is_text(row.get(column)) for column in ("prompt", "response"))]
    scores = np.array([[_number(row.get(name)) for name in names] for row in kept])
    fit = consensus(scores)
    prompts, lengths = np.array(texts[0]), np.array([len(text) for text in texts[1]], dtype=float)
    return {
        "dropped": bad,
        "responses": len(kept),
        "raters": names,
        "rater_agreement": {
            f"{first} / {second}": within_group_spearman(prompts, scores[:, i], scores[:, j])
            for i, first in enumerate(names)
            for j, second in enumerate(names)
            if i < j
        },
        "length_correlation": {n: within_group_spearman(prompts, lengths, scores[:, k]) for k, n in enumerate(names)},
        "outlying_scores": int(fit.outlier.sum()),
        "undecidable_responses": int(fit.disagreement.sum()),
        "flaws": _flaws(texts[1]),
        "warnings": fit.warnings,
    }


def audit_votes(rows: Rows) -> Figures:
    """Agreement of annotators and what a majority can decide."""
    items, annotators, labels = (sorted({str(row.get(key)) for row in rows}) for key in FORMATS["votes"][0])
    table = np.full((len(items), len(annotators)), np.nan)
    place = [{name: index for index, name in enumerate(names)} for names in (items, annotators, labels)]
    for row in rows:
        item, annotator, label = (place[k][str(row.get(key))] for k, key in enumerate(FORMATS["votes"][0]))
        table[item, annotator] = label
    decided = majority(table, n_classes=max(2, len(labels)))
    return {
        "items": len(items),
        "annotators": len(annotators),
        "labels": labels,
        "krippendorff_alpha": krippendorff_alpha(table),
        "tied_items": int(decided.tie.sum()),
        "votes_per_item": float(np.mean(np.count_nonzero(~np.isnan(table), axis=1))),
    }


FORMATS: dict[str, tuple[tuple[str, ...], Callable[[Rows], Figures]]] = {
    "pairs": (("prompt", "chosen", "rejected"), audit_pairs),
    "responses": (("prompt", "response"), audit_responses),
    "votes": (("pair_id", "annotator", "preference"), audit_votes),
}


def _texts(rows: Rows, columns: tuple[str, ...]) -> tuple[list[list[str]], dict[str, int]]:
    """Columns of texts from the usable rows, and how many rows left for which reason."""
    kept, bad = [], dict[str, int]()
    for row in rows:
        try:
            kept.append([normalise_text(_flat(row.get(column)), what=column) for column in columns])
        except BadRow as reason:
            bad[reason.reason] = bad.get(reason.reason, 0) + 1
    if not kept:
        raise ContractError(f"none of {len(rows)} rows has usable texts in {', '.join(columns)}: {bad}")
    return [list(column) for column in zip(*kept, strict=True)], bad


def _flat(value: Any) -> Any:
    """The text of a message list, or the value itself."""
    if isinstance(value, list) and all(isinstance(message, dict) for message in value):
        return "\n".join(str(message.get("content", "")) for message in value)
    return value


def _is_text(value: Any) -> bool:
    try:
        normalise_text(_flat(value), what="text")
    except BadRow:
        return False
    return True


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else math.nan


def _flaws(texts: Sequence[str]) -> dict[str, int]:
    found = flags(texts)
    return {name: count for name in FLAWS if (count := int(getattr(found, name).sum()))}
