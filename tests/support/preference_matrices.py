"""Matrices of comparisons with known scores, complete or not, partly flipped."""

import numpy as np
from scipy.special import expit

MATRIX_METHODS = ("lad", "pcp", "pssv", "two_stage")
VOTE_METHODS = ("flip_mixture", "bradley_terry")


def codes(result):
    """Codes of its warnings."""
    return [text.split(":")[0] for text in result.warnings]


def margins(seed, n=100, *, observed=1.0, flips=0.0):
    """True scores, margins (NaN where missing) and flipped cells of the published generator."""
    rng = np.random.default_rng(seed)
    w = rng.uniform(0, 5, n)
    w -= w.mean()
    i, j = np.triu_indices(n, 1)
    flip, seen = rng.random(i.size) < flips, rng.random(i.size) < observed
    value = np.where(seen, np.where(flip, w[j] - w[i], w[i] - w[j]), np.nan)
    matrix, flipped = np.full((n, n), np.nan), np.zeros((n, n), dtype=bool)
    matrix[i, j], matrix[j, i] = value, -value
    flipped[i, j] = flipped[j, i] = flip & seen
    return w, matrix, flipped


def vote_matrix(seed, n=20, votes=5, pair_flips=0.0, observed=1.0):
    """True scores and wins, some pairs swapped whole."""
    rng = np.random.default_rng(seed)
    w = rng.uniform(0, 5, n)
    w -= w.mean()
    i, j = np.triu_indices(n, 1)
    count = votes * (rng.random(i.size) < observed)
    wins = rng.binomial(count, expit(w[i] - w[j])).astype(float)
    wins = np.where(rng.random(i.size) < pair_flips, count - wins, wins)
    matrix = np.zeros((n, n))
    matrix[i, j], matrix[j, i] = wins, count - wins
    return w, matrix


def intransitive(seed, n, flips=0.04):
    """A skew matrix of rank 4 that no scores explain, and the same with some signs flipped."""
    rng = np.random.default_rng(seed)
    a, b, c, d = 2 * rng.normal(size=(4, n))
    truth = np.outer(a, b) - np.outer(b, a) + np.outer(c, d) - np.outer(d, c)
    flip = np.triu(rng.random((n, n)) < flips, 1)
    return truth, np.where(flip | flip.T, -truth, truth)
