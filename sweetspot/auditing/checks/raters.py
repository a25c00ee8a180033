"""Raters of responses: their scales, agreement, drift, outlying scores, and pull towards length."""

import numpy as np
from numpy.typing import NDArray

from sweetspot.auditing.checks._shares import histogram, level_of, not_checked, only, share
from sweetspot.auditing.findings import Bars, Finding, Suspect
from sweetspot.auditing.tables import Scores
from sweetspot.errors import ContractError
from sweetspot.raters import ConsensusResult, consensus
from sweetspot.validation.agreement import krippendorff_alpha
from sweetspot.validation.correlation import within_group_spearman

SHOWN = 20
FEWEST_SCORES = 20
FloatArray = NDArray[np.float64]


def check(scores: Scores) -> tuple[Finding, ...]:
    """All checks of scored responses."""
    fit = consensus(scores.score)
    return (_scales(scores, fit), _drift(scores, fit), _outliers(scores, fit), _lengths(scores))


def _scales(scores: Scores, fit: ConsensusResult) -> Finding:
    title = "Do the raters judge alike?"
    n = len(scores.raters)
    used = [k for k in range(n) if fit.rater_scale[k] > 0]
    figures: dict[str, float | int | None] = {"raters": n, "constant_raters": n - len(used)}
    axis = "spread of each rater's scores, in its own unit"
    chart = Bars(tuple(scores.raters[k] for k in used[:25]), tuple(float(fit.rater_scale[k]) for k in used[:25]), axis)
    means = {name: float(np.nanmean(scores.score[:, k])) for k, name in enumerate(scores.raters)}
    middle = Bars(tuple(list(means)[:25]), tuple(list(means.values())[:25]), "mean score of each rater")
    if n < 2:
        return Finding(
            "raters",
            title,
            "not_checked",
            "There is one rater, so there is nothing to compare it with.",
            figures,
            {},
            only(histogram({"scores": scores.score.ravel()}, "score"), chart),
        )
    rank = [rho for rho in _rank_correlations(scores).values() if rho is not None]
    figures["mean_rank_correlation"] = float(np.mean(rank)) if rank else None
    figures["pairs_of_raters_compared"] = len(rank)
    try:
        figures["interval_alpha"] = krippendorff_alpha(scores.score, level="interval")
        z = (scores.score - fit.rater_offset) / np.where(fit.rater_scale > 0, fit.rater_scale, np.nan)
        figures["interval_alpha_after_rescaling"] = krippendorff_alpha(z, level="interval")
    except ContractError:
        pass
    scales = fit.rater_scale[used]
    ratio = float(scales.max() / scales.min()) if used else 1.0
    spread = float(max(means.values()) - min(means.values()))
    figures |= {"largest_over_smallest_spread": ratio, "range_of_mean_scores": spread}
    agree = figures["mean_rank_correlation"]
    says = (
        (
            f"On the same prompt two raters order responses alike to {agree:.2f} (1 is the same order, 0 is none). "
            if agree is not None
            else "No two raters ordered the same responses. "
        )
        + f"The raters' spreads differ by a factor of {ratio:.1f}, their mean scores by {spread:.2f}: compare scores "
        "only "
        "after putting raters on one scale."
    )
    level = (
        "bad" if agree is not None and agree < 0.1 else "look" if agree is None or agree < 0.4 or ratio > 2 else "ok"
    )
    return Finding(
        "raters",
        title,
        level,
        says,
        {k: v for k, v in figures.items() if v is not None},
        {},
        (chart, middle),
        (),
        fit.warnings,
    )


def _rank_correlations(scores: Scores) -> dict[tuple[str, str], float | None]:
    """Rank correlation within prompts of every pair of the thirty raters with most scores."""
    most = np.argsort(-(~np.isnan(scores.score)).sum(axis=0), kind="stable")[:30]
    return {
        (scores.raters[a], scores.raters[b]): within_group_spearman(
            scores.prompt, scores.score[:, a], scores.score[:, b]
        )
        for index, a in enumerate(most.tolist())
        for b in most.tolist()[index + 1 :]
    }


def _drift(scores: Scores, fit: ConsensusResult) -> Finding:
    """Whether a rater's scores rise or fall over the file, beyond what the responses explain."""
    title = "Did raters change their standards over time?"
    rows = []
    for k, name in enumerate(scores.raters):
        there = ~np.isnan(fit.residual[:, k])
        if there.sum() >= FEWEST_SCORES and fit.rater_scale[k] > 0:
            order = np.argsort(scores.when[there, k], kind="stable")
            residual = fit.residual[there, k][order]
            half = len(residual) // 2
            first, second = residual[:half], residual[half:]
            gap = float(second.mean() - first.mean())
            error = float(np.sqrt(first.var() / len(first) + second.var() / len(second)))
            rows.append((name, gap, error))
    if len(scores.raters) < 2 or not rows:
        why = f"It needs two raters with {FEWEST_SCORES} scores, in the order in which they were given."
        return not_checked("rater_drift", title, why)
    # Three standard errors: with many raters, two would always find somebody.
    drifted = [row for row in rows if abs(row[1]) > 3 * row[2] and abs(row[1]) > 0.2]
    worst = max(rows, key=lambda row: abs(row[1]))
    says = (
        f"{len(drifted)} of {len(rows)} raters score differently in the second half of the file than in the first, "
        f"against the others' view; the most by {worst[1]:+.2f} of its own spread."
    )
    rows.sort(key=lambda row: -abs(row[1]))
    chart = Bars(
        tuple(row[0] for row in rows[:25]),
        tuple(row[1] for row in rows[:25]),
        "change from first to second half, in the rater's spreads",
        tuple((row[1] - 1.96 * row[2], row[1] + 1.96 * row[2]) for row in rows[:25]),
        0.0,
    )
    figures = {"drifting_raters": len(drifted), "largest_change": worst[1], "raters_checked": len(rows)}
    notes = ("order: rows are taken to stand in the order in which they were rated",)
    return Finding("rater_drift", title, "look" if drifted else "ok", says, figures, {}, (chart,), (), notes)


def _outliers(scores: Scores, fit: ConsensusResult) -> Finding:
    title = "Which scores stand alone?"
    if len(scores.raters) < 2:
        return not_checked("outlying_scores", title, "There is one rater, so no score can stand alone.")
    outliers, torn = int(fit.outlier.sum()), int(fit.disagreement.sum())
    cells = int((~np.isnan(fit.residual)).sum())
    says = (
        f"{outliers} of {cells} scores are far from what the other raters say and can be set aside; on {torn} of "
        f"{len(scores)} responses the raters disagree so that nobody can say who is wrong."
    )
    size = np.nanmax(np.where(np.isnan(fit.residual), 0, np.abs(fit.residual)), axis=1)
    doubtful = fit.outlier.any(axis=1) | fit.disagreement
    order = [k for k in np.argsort(-size, kind="stable").tolist() if doubtful[k]][:SHOWN]
    suspects = []
    for k in order:
        rater = scores.raters[int(np.nanargmax(np.abs(np.where(np.isnan(fit.residual[k]), 0, fit.residual[k]))))]
        suspects.append(Suspect(str(scores.row_id[k]), f"{rater} is {size[k]:.1f} spreads from the consensus"))
    figures = {
        "outlying_scores": outliers,
        "outlying_share": share(outliers, cells),
        "undecidable_responses": torn,
        "threshold_in_spreads": fit.threshold,
    }
    level = level_of(share(outliers + torn, max(1, len(scores))), 0.02, 0.2)
    chart = only(histogram({"scores": fit.residual.ravel()}, "distance from the consensus, in the rater's spreads"))
    return Finding("outlying_scores", title, level, says, figures, {}, chart, tuple(suspects), fit.warnings)


def _lengths(scores: Scores) -> Finding:
    title = "Do raters reward length?"
    found = {
        name: within_group_spearman(scores.prompt, scores.chars.astype(np.float64), scores.score[:, k])
        for k, name in enumerate(scores.raters)
    }
    there = {name: rho for name, rho in found.items() if rho is not None}
    if not there:
        return not_checked("score_length", title, "No prompt has two scored responses of different length.")
    worst = max(there, key=lambda name: abs(there[name]))
    mean = float(np.mean(list(there.values())))
    says = (
        f"Within a prompt, longer responses score higher to {mean:+.2f} on average (rank correlation; 0 is no pull); "
        f"most with {worst}: {there[worst]:+.2f}."
    )
    names = sorted(there, key=lambda name: -abs(there[name]))[:25]
    chart = Bars(tuple(names), tuple(there[name] for name in names), "rank correlation of score and length", (), 0.0)
    figures = {"mean_length_correlation": mean, "largest_length_correlation": there[worst]}
    return Finding("score_length", title, level_of(abs(mean), 0.2, 0.5), says, figures, {}, (chart,))
