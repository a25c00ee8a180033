"""How likely each label is wrong, by the estimator the data can support; a label nothing speaks about stays unknown."""

import numpy as np

from sweetspot.auditing._estimate import Estimate
from sweetspot.auditing._pair_errors import estimate_pairs, fit_margin_noise
from sweetspot.auditing._vote_errors import error_correlation, estimate_votes
from sweetspot.auditing.tables import Scores, Table, Votes
from sweetspot.raters import consensus

__all__ = [
    "Estimate",
    "error_correlation",
    "estimate",
    "estimate_pairs",
    "estimate_scores",
    "estimate_votes",
    "fit_margin_noise",
]


def estimate(table: Table) -> Estimate:
    """Choose the estimator the data can support, and say so."""
    if isinstance(table, Votes):
        return estimate_votes(table)
    return estimate_scores(table) if isinstance(table, Scores) else estimate_pairs(table)


def estimate_scores(scores: Scores) -> Estimate:
    """Responses whose scores contradict each other: no probability, since nothing calibrates one."""
    fit = consensus(scores.score)
    raters = scores.score.shape[1]
    doubtful = fit.outlier.any(axis=1) | fit.disagreement
    why = (
        f"{raters} raters per response: robust consensus ({fit.method}); per response at most "
        f"{int(fit.correctable_per_row.max())} wrong scores can be corrected"
    )
    return Estimate(np.full(len(scores), np.nan), doubtful.astype(np.int64), "consensus", why, warnings=fit.warnings)
