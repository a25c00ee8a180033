"""How many labels are probably wrong, by the estimator the data can support, and which to look at first."""

import numpy as np

from sweetspot.auditing.checks._shares import bars, histogram, level_of, only
from sweetspot.auditing.estimate import Estimate
from sweetspot.auditing.findings import Bars, Curves, Figure, Finding, Suspect
from sweetspot.auditing.tables import Pairs, Scores, Votes

TITLE = "How many labels are wrong?"
SHOWN = 20
LIKELY = 0.5
FEW_ROWS = 20
_BY = {"annotator": "annotator", "provenance": "source"}
"""Columns of pairs by which wrong labels are counted, the first that is there, and what it is called."""


def check(table: Pairs | Votes | Scores, found: Estimate) -> tuple[Finding, ...]:
    """Estimated error rate, the curve of kept rows against remaining error, and the most doubtful rows."""
    known = np.flatnonzero(~np.isnan(found.error_probability))
    names = table.units if isinstance(table, Votes) else table.row_id
    if not known.size:
        return (Finding("label_errors", TITLE, "not_checked", f"Unknown: {found.why}.", warnings=found.warnings),)
    wrong = found.error_probability[known]
    likely = int((wrong > LIKELY).sum()) if not isinstance(table, Votes) else int((wrong >= 0.4).sum())
    rate = float(wrong.mean())
    what = "aggregated labels" if isinstance(table, Votes) else "labels"
    says = (
        f"About {rate:.1%} of {known.size} {what} are estimated to be wrong; {likely} are more likely wrong than right"
        if not isinstance(table, Votes)
        else f"About {rate:.1%} of {known.size} {what} are estimated to be wrong; {likely} are close to a coin flip"
    )
    unknown = len(names) - known.size
    if unknown:
        says += f"; nothing speaks about {unknown} others"
    order = known[np.argsort(-found.error_probability[known], kind="stable")]
    suspects = tuple(
        Suspect(str(names[k]), "the evidence speaks against the label", float(found.error_probability[k]))
        for k in order[:SHOWN]
        if found.error_probability[k] >= 0.3
    )
    figures: dict[str, Figure] = {
        "estimated_error_rate": rate,
        "checked": int(known.size),
        "unknown": int(unknown),
        "likely_wrong": likely,
        "method": found.method,
    }
    by_whom, doubted = _by_whom(table, found)
    figures |= by_whom
    charts = (_kept_curve(wrong), *only(histogram({"labels": wrong}, "probability that the label is wrong"), doubted))
    return (
        Finding(
            "label_errors",
            TITLE,
            level_of(rate, 0.05, 0.15),
            f"{says}.",
            figures,
            {},
            charts,
            suspects,
            (f"method: {found.why}", *found.warnings),
        ),
    )


def _by_whom(table: Pairs | Votes | Scores, found: Estimate) -> tuple[dict[str, Figure], Bars | None]:
    """Which annotator of pairs, or else which source, has the largest estimated share of wrong labels.

    It stands out where its share exceeds that of the others by three standard errors and by a half.
    """
    column = next((name for name in _BY if isinstance(table, Pairs) and name in table.labels), None)
    if column is None or not isinstance(table, Pairs):
        return {}, None
    labels, known = table.labels[column], ~np.isnan(found.error_probability)
    known &= labels.codes >= 0
    rows = np.bincount(labels.codes[known], minlength=labels.size)
    wrong = np.bincount(labels.codes[known], found.error_probability[known], minlength=labels.size)
    large = np.flatnonzero(rows >= FEW_ROWS)
    if large.size < 2:
        return {}, None
    order = large[np.argsort(-(wrong[large] / rows[large]), kind="stable")]
    worst = int(order[0])
    mine = float(wrong[worst] / rows[worst])
    others = float((wrong.sum() - wrong[worst]) / (rows.sum() - rows[worst]))
    error = np.sqrt(max(others * (1 - others), 1e-6) / rows[worst])
    chart = bars(
        [(labels.names[k], round(float(wrong[k])), int(rows[k])) for k in order[:SHOWN].tolist()],
        f"estimated share of wrong labels, by {_BY[column]}",
    )
    figures: dict[str, Figure] = {
        "doubted_most": labels.names[worst],
        "doubted_most_by": _BY[column],
        "doubted_most_rate": mine,
        "doubted_others_rate": others,
        "doubted_most_stands_out": bool(mine > others + 3 * error and mine > 1.5 * others),
    }
    return figures, chart


def _kept_curve(wrong: np.ndarray) -> Curves:
    """Error left among the best share of rows, if the most doubtful leave first."""
    kept = np.sort(wrong)
    running = np.cumsum(kept) / np.arange(1, kept.size + 1)
    shares = np.linspace(0.05, 1.0, 20)
    places = np.clip(np.ceil(shares * kept.size).astype(int) - 1, 0, kept.size - 1)
    return Curves(
        tuple(shares.tolist()),
        {"estimated error": tuple(float(running[place]) for place in places)},
        "share of rows kept, least doubtful first",
        "estimated share of wrong labels among them",
    )
