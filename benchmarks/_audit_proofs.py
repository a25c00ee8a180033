"""Proofs on real score matrices: hidden scores completed, planted corruption found, rater scales undone."""

from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import kendalltau

from sweetspot.ranking import lad
from sweetspot.raters import consensus
from sweetspot.score_completion import complete_scores
from sweetspot.validation.adversarial import detection, flips, random_removal
from sweetspot.validation.correlation import within_group_spearman

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

SEEDS = 3
HIDDEN = (0.2, 0.5, 0.8)
CORRUPTED = (0.05, 0.1, 0.2, 0.3)
AE2 = "score_ae2_weighted"


@dataclass(frozen=True)
class Completed:
    """Root mean squared error on hidden scores, mean over the seeds."""

    hidden: float
    additive: float
    completed: float
    worst_ratio: float


@dataclass(frozen=True)
class Planted:
    """What became of planted corruption, means over the seeds; distances are to the ranking without it, 0 to 1."""

    share: float
    precision: float
    recall: float
    removal_recall: float
    untouched: float
    removed: float
    cleaned: float


def alpaca_matrix(data: Path) -> FloatArray:
    """AlpacaEval 2 scores, (prompts, models)."""
    frame = pd.read_parquet(data / "alpaca_eval" / "alpaca_eval_matrix.parquet", columns=["prompt_id", "model", AE2])
    return frame.dropna(subset=[AE2]).pivot(index="prompt_id", columns="model", values=AE2).to_numpy(dtype=np.float64)


def completion(table: FloatArray) -> list[Completed]:
    """Scores hidden at random and completed, against row + column additive."""
    there, found = ~np.isnan(table), []
    for share in HIDDEN:
        rows = []
        for seed in range(SEEDS):
            hidden = np.random.default_rng(seed).random(table.shape) < share
            made = complete_scores(np.where(hidden, np.nan, table))
            asked = hidden & there
            rows.append([_rmse(np.clip(part, 0, 1), table, asked) for part in (made.additive, made.completed)])
        both = np.array(rows)
        additive, completed = (float(one) for one in both.mean(axis=0))
        found.append(Completed(share, additive, completed, float((both[:, 1] / both[:, 0]).max())))
    return found


def _rmse(made: FloatArray, table: FloatArray, asked: BoolArray) -> float:
    return float(np.sqrt(np.mean((made[asked] - table[asked]) ** 2)))


def corrupted_margins(table: FloatArray) -> list[Planted]:
    """Margins between models turned round, found by least absolute deviations.

    The margin of two models is the logit of the smoothed share of prompts on which one scores higher.
    """
    n = table.shape[1]
    i, j = (np.array(side) for side in zip(*combinations(range(n), 2), strict=True))
    wins = np.array([np.sum(table[:, a] > table[:, b]) for a, b in zip(i, j, strict=True)], dtype=np.float64)
    losses = np.array([np.sum(table[:, a] < table[:, b]) for a, b in zip(i, j, strict=True)], dtype=np.float64)
    margin = np.log((wins + 0.5) / (losses + 0.5))
    truth = _row_means(i, j, margin, np.zeros(len(i), dtype=bool), n)
    return [_planted_margins(i, j, margin, truth, share) for share in CORRUPTED]


def _planted_margins(i: IntArray, j: IntArray, margin: FloatArray, truth: FloatArray, share: float) -> Planted:
    rows, none = [], np.zeros(len(i), dtype=bool)
    for seed in range(SEEDS):
        turned = flips(np.ones(len(i), dtype=bool), share, seed=seed)
        spoilt = np.where(turned, -margin, margin)
        fit = lad(i, j, spoilt, n_items=truth.size)
        found = detection(turned, np.abs(fit.residual), fit.corrupted)
        gone = random_removal(len(i), found.flagged, seed=seed)
        scores = [_row_means(i, j, spoilt, none, truth.size), _row_means(i, j, spoilt, gone, truth.size), fit.scores]
        distances = [_kendall_distance(one, truth) for one in scores]
        rows.append([found.precision or 0.0, found.recall, float(gone[turned].mean()), *distances])
    return Planted(share, *np.mean(rows, axis=0).tolist())


def _row_means(i: IntArray, j: IntArray, margin: FloatArray, removed: BoolArray, n: int) -> FloatArray:
    kept = ~removed
    total = np.bincount(i[kept], margin[kept], n) - np.bincount(j[kept], margin[kept], n)
    return total / np.maximum(np.bincount(i[kept], minlength=n) + np.bincount(j[kept], minlength=n), 1)


def _kendall_distance(one: FloatArray, other: FloatArray) -> float:
    found: Any = kendalltau(one, other)
    return (1 - float(found.statistic)) / 2


def wmt_scores(data: Path) -> tuple[FloatArray, IntArray]:
    """Scores of WMT23 Chinese-English, (responses, raters), NaN where not rated; and each response's segment."""
    frame = pd.read_parquet(data / "multi" / "wmt23_sxs_mqm_zhen.parquet")
    wide = frame.pivot_table(index=["item_id", "system"], columns="rater", values="score")
    return wide.to_numpy(dtype=np.float64), pd.factorize(wide.index.get_level_values("item_id"))[0].astype(np.int64)


def corrupted_scores(scores: FloatArray, segment: IntArray) -> list[Planted]:
    """Single scores mirrored at their rater's median, found by the robust consensus of three raters a response."""
    # Every way of ranking is compared with itself on the data as they were.
    plain, robust = consensus(scores, method="mean").quality, consensus(scores).quality
    rated, middle = ~np.isnan(scores), np.nanmedian(scores, axis=0)
    found = []
    for share in CORRUPTED:
        rows = []
        for seed in range(SEEDS):
            turned = flips(rated.ravel(), share, seed=seed).reshape(scores.shape)
            spoilt = np.where(turned, 2 * middle - scores, scores)
            fit = consensus(spoilt)
            caught = detection(turned[rated], np.abs(fit.residual)[rated], fit.outlier[rated])
            gone = np.zeros_like(rated)
            gone[rated] = random_removal(int(rated.sum()), caught.flagged, seed=seed)
            mean = [consensus(table, method="mean").quality for table in (spoilt, np.where(gone, np.nan, spoilt))]
            distances = [_within_distance(segment, one, plain) for one in mean]
            distances.append(_within_distance(segment, fit.quality, robust))
            rows.append([caught.precision or 0.0, caught.recall, float(gone[turned].mean()), *distances])
        found.append(Planted(share, *np.mean(rows, axis=0).tolist()))
    return found


def _within_distance(segment: IntArray, one: FloatArray, other: FloatArray) -> float:
    return (1 - (within_group_spearman(segment, one, other) or 0.0)) / 2


@dataclass(frozen=True)
class Scales:
    """How far apart two raters put the same response, and how well others predict a rater's order of responses."""

    shared: int
    raw_gap: float
    scaled_gap: float
    raw_order: float
    scaled_order: float


def rater_scales(scores: FloatArray, segment: IntArray) -> Scales:
    """Rater scales undone: gaps on shared responses in units of the pooled spread; order of a held-out rater."""
    fit = consensus(scores)
    scale = np.where(fit.rater_scale > 0, fit.rater_scale, np.nan)
    scaled = (scores - fit.rater_offset) / scale
    gaps, orders, shared = [], [], 0
    for table in (scores, scaled):
        unit = np.nanstd(table)
        pairs = [table[:, k] - table[:, m] for k, m in combinations(range(table.shape[1]), 2)]
        there = [pair[~np.isnan(pair)] for pair in pairs]
        shared = sum(len(pair) for pair in there)
        gaps.append(float(np.sqrt(sum(len(p) * p.mean() ** 2 for p in there if len(p)) / shared)) / unit)
        orders.append(_held_out_order(table, scores, segment))
    return Scales(shared, gaps[0], gaps[1], orders[0], orders[1])


def _held_out_order(table: FloatArray, scores: FloatArray, segment: IntArray) -> float:
    """Mean over raters: rank correlation within a segment of a rater's scores with the mean of the others'."""
    found = []
    for rater in range(table.shape[1]):
        others = np.delete(table, rater, axis=1)
        count = (~np.isnan(others)).sum(axis=1)
        mean = np.where(count > 0, np.nansum(others, axis=1) / np.maximum(count, 1), np.nan)
        one = within_group_spearman(segment, mean, scores[:, rater])
        if one is not None:
            found.append(one)
    return float(np.mean(found))
