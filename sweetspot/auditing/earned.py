"""Certainty that known truths bear out: an estimate that claims more is lowered to what it has earned."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, log_expit, logit

from sweetspot.auditing._estimate import Estimate

FloatArray = NDArray[np.float64]

FEW_TRUTHS = 30
FOLDS = 5
_LEAST = 1e-6


def earned(found: Estimate, gold: NDArray[np.int64] | None) -> Estimate:
    """Lower the probabilities of an estimate to those of its labels that turned out right.

    The chance to be right becomes min(p, sigma(a logit(p) + b)) with a >= 0; a and b maximise the likelihood on the
    units of known truth, whose right and wrong answers count with Platt's targets (k + 1) / (k + 2) and 1 / (k + 2).
    A unit of known truth gets a and b of the other four fifths of the known truths: comparing its certainty with its
    truth is then a fair test. Annotators who share a mistake agree with each other, so without a truth nothing can tell
    how certain they may be.

    Args:
        found: of aggregated labels, n units.
        gold: (n,) true classes, -1 unknown; None without any.

    Returns:
        The estimate with `error_probability` raised where needed and a warning `tempered`, or `uncalibrated` where
        fewer than 30 units have a known truth.

    References:
        Platt (1999), Probabilistic outputs for support vector machines, Advances in Large Margin Classifiers.
    """
    there = ~np.isnan(found.error_probability)
    if not there.any():
        return found
    known = there & (found.label >= 0) & (gold >= 0) if gold is not None else np.zeros_like(there)
    if gold is None or known.sum() < FEW_TRUTHS:
        note = "uncalibrated: no known truth confirms these probabilities; annotators who err together look certain"
        return replace(found, warnings=(*found.warnings, note))
    claimed = np.clip(1 - found.error_probability, _LEAST, 1 - _LEAST)
    borne_out = _borne_out(logit(claimed), found.label == gold, np.flatnonzero(known))
    wrong = np.where(there, 1 - np.minimum(claimed, borne_out), np.nan)
    before, after = float(claimed[known].mean()), 1 - float(wrong[known].mean())
    note = (
        f"tempered: by {int(known.sum())} known truths the mean certainty was lowered from {before:.1%} to {after:.1%}"
    )
    return replace(found, error_probability=wrong, warnings=(*found.warnings, note))


def _borne_out(x: FloatArray, right: NDArray[np.bool_], known: NDArray[np.int64]) -> FloatArray:
    """Chance of every label to be right by the known truths, for each of those by the other folds of them."""
    slope, offset = _platt(x[known], right[known])
    chance = expit(slope * x + offset)
    fold = np.arange(known.size) % FOLDS
    for k in range(FOLDS):
        slope, offset = _platt(x[known[fold != k]], right[known[fold != k]])
        chance[known[fold == k]] = expit(slope * x[known[fold == k]] + offset)
    return chance


def _platt(x: FloatArray, right: NDArray[np.bool_]) -> tuple[float, float]:
    """Slope >= 0 and offset of the logistic regression of right answers on the claimed log-odds."""
    positive, negative = int(right.sum()), int((~right).sum())
    target = np.where(right, (positive + 1) / (positive + 2), 1 / (negative + 2))

    def cost(parameters: FloatArray) -> float:
        z = parameters[0] * x + parameters[1]
        return -float(np.sum(target * log_expit(z) + (1 - target) * log_expit(-z)))

    best = minimize(cost, np.array([1.0, 0.0]), method="L-BFGS-B", bounds=[(0.0, 10.0), (-20.0, 20.0)]).x
    return float(best[0]), float(best[1])
