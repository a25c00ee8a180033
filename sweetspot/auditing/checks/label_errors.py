"""How many labels are probably wrong, by the estimator the data can support, and which to look at first."""

import numpy as np

from sweetspot.auditing.checks._shares import histogram, level_of, only
from sweetspot.auditing.estimate import Estimate
from sweetspot.auditing.findings import Curves, Finding, Suspect
from sweetspot.auditing.tables import Pairs, Scores, Votes

TITLE = "How many labels are wrong?"
SHOWN = 20
LIKELY = 0.5


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
    figures = {
        "estimated_error_rate": rate,
        "checked": int(known.size),
        "unknown": int(unknown),
        "likely_wrong": likely,
        "method": found.method,
    }
    charts = (_kept_curve(wrong), *only(histogram({"labels": wrong}, "probability that the label is wrong")))
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
