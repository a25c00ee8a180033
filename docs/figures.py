"""Draws the pictures of `docs/maths.md` with the code they explain: `python docs/figures.py`. About two minutes.

Every curve is computed here by the public functions; nothing is typed in.
"""

from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from sweetspot import losses, margins, pairing, ranking, raters
from sweetspot.errors import SweetspotError

matplotlib.use("svg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parent / "figures"
SEEDS = (0, 1, 2)
FloatArray = NDArray[np.float64]
STYLE = {
    "figure.figsize": (9.0, 3.4),
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "svg.hashsalt": "sweetspot",  # the same picture gives the same file
}


def reward_positions() -> None:
    """Where the rejected response of each rule lies, and from which N on the rules differ."""
    rng = np.random.default_rng(0)
    figure, (left, right) = plt.subplots(1, 2, layout="constrained")
    rewards = rng.normal(size=(5000, 64))
    bins = np.linspace(-4, 4, 81)
    left.hist(rewards.ravel(), bins=bins, density=True, color="0.85", label="all 64 responses")
    for rule in ("min", "min_of_5", "mu-2sigma", "mu-sigma", "mu"):
        picked = pairing.pair_positions(rewards, rejected=rule).rejected
        left.hist(rewards[np.arange(5000), picked], bins=bins, density=True, histtype="step", linewidth=1.5, label=rule)
    left.set(xlabel="reward of the rejected response, sd of its prompt", ylabel="density", xlim=(-4, 2), ylim=(0, 4))
    left.legend()
    sizes = np.array([4, 8, 10, 11, 12, 16, 24, 32, 48, 64, 96, 128, 200])
    for rule in ("mu-2sigma", "mu-sigma"):
        right.plot(sizes, [_share_not_min(rng.normal(size=(4000, n)), rule) for n in sizes], marker="o", label=rule)
    right.axvline(10, color="0.5", linestyle=":")
    right.set(xscale="log", xlabel="responses per prompt, N", ylabel="share of pairs that differ from min", ylim=(0, 1))
    right.set_xticks([4, 10, 32, 64, 200], ["4", "10", "32", "64", "200"])
    right.legend()
    _save(figure, "reward_positions")


def _share_not_min(rewards: FloatArray, rule: str) -> float:
    rows = np.arange(len(rewards))
    picked = pairing.pair_positions(rewards, rejected=rule).rejected
    return float((rewards[rows, picked] > rewards.min(axis=1)).mean())


def bees_map() -> None:
    """The fused preference score over two margins with its U, and the pairs that are kept."""
    rng = np.random.default_rng(0)
    truth = rng.normal(1.5, 2.0, 4000)
    pairs = np.stack([truth + rng.normal(0, 1.5, 4000), 3 * truth + rng.standard_t(3, 4000) * 4])
    chosen = margins.bees(pairs, keep=1000)
    figure, (left, right) = plt.subplots(1, 2, layout="constrained")
    upper = chosen.upper
    grid = np.meshgrid(np.linspace(-6, upper[0] + 3, 200), np.linspace(-15, upper[1] + 10, 200))
    p = [margins.linear_probability(m, -2.0, u) for m, u in zip(grid, upper, strict=True)]
    fused = margins.fuse(np.stack([p[0].ravel(), p[1].ravel()])).reshape(grid[0].shape)
    shown = left.contourf(grid[0], grid[1], fused, levels=np.linspace(0, 1, 11), cmap="viridis", alpha=0.8)
    figure.colorbar(shown, ax=left, label="fused score P")
    left.scatter(*pairs[:, chosen.selected[::4]], s=2, color="black", label="kept (every fourth)")
    left.axvline(upper[0], color="white", linestyle="--")
    left.axhline(upper[1], color="white", linestyle="--")
    left.set(xlabel=f"external margin (U = {upper[0]:.0f})", ylabel=f"implicit margin, nats (U = {upper[1]:.0f})")
    left.set(xlim=(-6, upper[0] + 3), ylim=(-15, upper[1] + 10))
    left.legend(loc="upper left", frameon=True)
    line = np.linspace(-6, 20, 400)
    for high in (4.0, 8.0, 16.0):
        right.plot(line, margins.linear_probability(line, -2.0, high), label=f"U = {high:.0f}")
    right.plot(line, 1 / (1 + np.exp(-line)), color="0.5", linestyle=":", label="sigmoid (not used)")
    right.set(xlabel="margin of one source", ylabel="its probability p")
    right.legend()
    _save(figure, "bees_map")


def recovery() -> None:
    """Error of the recovered margins against the share of flipped comparisons, full and with half or 70 % missing."""
    figure, axes = plt.subplots(1, 3, layout="constrained", sharey=True)
    flips = np.array([0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45])
    for axis, seen in zip(axes, (1.0, 0.5, 0.3), strict=True):
        for method in ("lad", "pssv", "pcp", "two_stage"):
            errors = [np.median([_recovery_error(method, seen, rate, seed) for seed in SEEDS]) for rate in flips]
            dashes = "--" if method == "two_stage" else "-"  # at full observation it lies on pcp
            axis.plot(flips, errors, dashes, marker="o", markersize=3, label=method)
        axis.set(yscale="log", xlabel="share of comparisons flipped", title=f"{1 - seen:.0%} missing", ylim=(1e-10, 3))
    axes[0].set_ylabel("relative error of L, n = 60")
    axes[0].legend(loc="center left")
    _save(figure, "recovery")


def _recovery_error(method: str, seen: float, flip_rate: float, seed: int, n: int = 60) -> float:
    rng = np.random.default_rng(seed)
    scores = rng.uniform(0, 5, n)
    truth = scores[:, None] - scores[None, :]
    i, j = np.triu_indices(n, 1)
    flipped, observed = rng.random(len(i)) < flip_rate, rng.random(len(i)) < seen
    matrix = np.full((n, n), np.nan)
    matrix[i, j] = np.where(observed, np.where(flipped, -1, 1) * truth[i, j], np.nan)
    matrix[j, i] = -matrix[i, j]
    try:
        found = ranking.complete(matrix, kind="margin", method=method).margin
    except SweetspotError:  # the iteration ran out of steps: nothing was recovered
        return 1.0
    return float(max(np.linalg.norm(found - truth) / np.linalg.norm(truth), 1e-10))


def rater_scales() -> None:
    """Raters on scales of their own with gross errors: what the plain mean of z-scores and the robust consensus see."""
    rng = np.random.default_rng(0)
    rates = np.linspace(0, 0.3, 13)
    figure, (left, right) = plt.subplots(1, 2, layout="constrained")
    for axis, count in ((left, 3), (right, 8)):
        for method in ("mean", "median", "rank1"):
            axis.plot(rates, [_rater_correlation(rng, count, rate, method) for rate in rates], label=method)
        axis.set(xlabel="share of scores replaced by gross errors", title=f"{count} raters", ylim=(0, 1.02))
    left.set_ylabel("rank correlation with true quality")
    left.legend(loc="lower left")
    _save(figure, "rater_scales")


def _rater_correlation(rng: np.random.Generator, count: int, rate: float, method: str) -> float:
    quality = rng.normal(size=2000)
    scale, offset = np.exp(rng.normal(size=count)), rng.normal(size=count) * 10
    scores = (quality[:, None] + rng.normal(size=(2000, count)) * 0.3) * scale + offset
    gross = rng.random(scores.shape) < rate
    scores[gross] += (rng.choice([-1, 1], scores.shape) * 15 * scale)[gross]
    return float(spearmanr(raters.consensus(scores, method=method).quality, quality)[0])


def rating_losses() -> None:
    """Loss and its slope over the implicit margin, for three rating gaps."""
    beta = 0.1
    z = torch.linspace(-4, 6, 401, dtype=torch.float64)
    zero = torch.zeros_like(z)
    figure, axes = plt.subplots(1, 3, layout="constrained")
    curves: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "rating_dpo": lambda gap: losses.rating_dpo(z / beta, zero, zero, zero, beta=beta, rating_gap=gap, beta1=0.1),
        "ml_rating_dpo": lambda gap: losses.ml_rating_dpo(
            z / beta, zero, zero, zero, beta=beta, rating_gap=gap, variance=1.0
        ),
        "rating_ipo": lambda gap: losses.rating_ipo(z / beta, zero, zero, zero, beta=beta, rating_gap=gap, beta1=0.1),
    }
    plain = losses.dpo(z / beta, zero, zero, zero, beta=beta)
    for axis, (name, loss) in zip(axes, curves.items(), strict=True):
        axis.plot(z, plain, color="0.5", linestyle=":", label="dpo")
        for gap in (0.0, 1.0, 3.0):
            axis.plot(z, loss(torch.full_like(z, gap)), label=f"rating gap {gap:g}")
        axis.set(title=name, xlabel="implicit margin z = beta·d", ylim=(0, 5))
    axes[0].set_ylabel("loss of one pair")
    axes[0].legend()
    _save(figure, "rating_losses")


def _save(figure: "matplotlib.figure.Figure", name: str) -> None:
    figure.savefig(HERE / f"{name}.svg", metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    """Draw all of them."""
    HERE.mkdir(exist_ok=True)
    with plt.rc_context(STYLE):
        for draw in (reward_positions, bees_map, rater_scales, rating_losses, recovery):
            draw()


if __name__ == "__main__":
    main()
