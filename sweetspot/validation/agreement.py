"""Agreement between raters beyond chance, and the label noise that a raw agreement implies.

A ratings table has one row per unit and one column per rater; entries are category codes (any finite
numbers) and NaN where a rater did not rate. Every coefficient has the form (P_o - P_e) / (1 - P_e): observed
agreement, corrected by the agreement expected by chance; they differ in what they call chance.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sweetspot.errors import ContractError
from sweetspot.validation._arguments import float_array, option, same_length, whole_number


@dataclass(frozen=True)
class _Tally:
    """How often each unit got each category, as a list of its non-zero cells."""

    unit: NDArray[np.int64]  # (cells,) row among the units with at least one rating
    category: NDArray[np.int64]  # (cells,) code 0..categories-1
    count: NDArray[np.int64]  # (cells,) ratings of that category in that unit, >= 1
    ratings: NDArray[np.int64]  # (units,) ratings per unit
    categories: int

    def agreeing_pairs(self) -> NDArray[np.float64]:
        """Ordered pairs of ratings of one unit that agree: sum_k n_uk (n_uk - 1), (units,)."""
        pairs = self.count * (self.count - 1.0)
        return np.bincount(self.unit, pairs, minlength=self.ratings.size).astype(np.float64)

    def category_totals(self) -> NDArray[np.int64]:
        """Ratings per category over all units, (categories,)."""
        return np.bincount(self.category, self.count, minlength=self.categories).astype(np.int64)


def _tally(ratings: ArrayLike, *, at_least: int) -> _Tally:
    """Count categories per unit over the units with `at_least` ratings."""
    table = float_array(ratings, "ratings", ndim=2, missing=True)
    per_unit = (~np.isnan(table)).sum(axis=1)
    if not (per_unit >= 2).any():
        raise ContractError(
            f"ratings: none of the {table.shape[0]} units has two ratings, so nothing can agree or disagree; "
            "expected raters as columns and at least one unit that two of them rated."
        )
    table = table[per_unit >= at_least]
    unit, rater = np.nonzero(~np.isnan(table))
    codes, category = np.unique(table[unit, rater], return_inverse=True)
    cell, count = np.unique(unit * codes.size + category, return_counts=True)
    per_unit = np.bincount(unit, minlength=table.shape[0])
    return _Tally(cell // codes.size, cell % codes.size, count, per_unit, int(codes.size))


def _one_category(where: str, count: int) -> ContractError:
    return ContractError(
        f"{where}: only one category occurs in {count} ratings, so chance agreement is 1 and the coefficient is 0/0; "
        "report the raw agreement, or use gwet_ac1 with `categories`."
    )


def krippendorff_alpha(ratings: ArrayLike, *, level: str = "nominal") -> float:
    """Return Krippendorff's alpha, the chance-corrected agreement that tolerates missing ratings.

    alpha = 1 - D_o / D_e over the n ratings of units with m_u >= 2 ratings (others are dropped first):

        n D_o   = sum_u 1/(m_u - 1) * sum over ordered pairs within unit u of delta(c, k)
        n D_e   = 1/(n - 1)         * sum over ordered pairs of all n ratings of delta(c, k)

    with delta = [c != k] for nominal and (c - k)^2 for interval data.

    Args:
        ratings: Category codes, shape (units, raters), NaN where a rater did not rate.
        level: "nominal", or "interval" when differences between codes are meaningful.

    Returns:
        Agreement <= 1; 0 is chance level, negative is systematic disagreement.

    Raises:
        ContractError: No unit has two ratings, or only one category occurs among such units (0/0).

    References:
        Krippendorff (2011), Computing Krippendorff's Alpha-Reliability.
    """
    option(level, "level", ("nominal", "interval"))
    tally = _tally(ratings, at_least=2)
    if tally.categories == 1:
        raise _one_category("ratings", int(tally.ratings.sum()))
    n = int(tally.ratings.sum())
    if level == "interval":
        within, total = _squared_differences(float_array(ratings, "ratings", ndim=2, missing=True))
    else:
        within = tally.ratings * (tally.ratings - 1.0) - tally.agreeing_pairs()
        totals = [int(count) for count in tally.category_totals()]
        total = float(n * n - sum(count * count for count in totals))
    observed = float(np.sum(within / (tally.ratings - 1)))
    return 1.0 - observed * (n - 1) / total


def _squared_differences(table: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Sums of (c - k)^2 over ordered pairs within each pairable unit, (units,), and over all their ratings.

    Uses sum over ordered pairs of (c - k)^2 = 2 m sum (c - mean)^2. The unit cancels in alpha, so codes are
    first mapped to [0, 1]: huge codes do not overflow and close ones keep their digits.
    """
    table = table[(~np.isnan(table)).sum(axis=1) >= 2]
    lowest, highest = float(np.nanmin(table)), float(np.nanmax(table))
    half = 1.0 if math.isfinite(highest - lowest) else 0.5  # not always: half of the smallest code is 0
    table = (table * half - lowest * half) / (highest * half - lowest * half)
    ratings = (~np.isnan(table)).sum(axis=1)
    spread = np.nansum((table - np.nanmean(table, axis=1, keepdims=True)) ** 2, axis=1)
    everything = table[~np.isnan(table)]
    total = 2 * everything.size * float(np.sum((everything - everything.mean()) ** 2))
    return 2 * ratings * spread, total


def fleiss_kappa(ratings: ArrayLike) -> float:
    """Return Fleiss' kappa for units that all have the same number r of ratings.

    kappa = (P_o - P_e) / (1 - P_e),  P_o = mean_u (sum_k n_uk^2 - r) / (r (r - 1)),  P_e = sum_k p_k^2.

    Args:
        ratings: Category codes, shape (units, raters), NaN where a rater did not rate. Units without any
            rating are dropped; which r raters rated a unit does not matter.

    Returns:
        Agreement <= 1; 0 is chance level.

    Raises:
        ContractError: Units differ in their number of ratings (use `krippendorff_alpha`), no unit has two
            ratings, or only one category occurs (0/0).

    References:
        Fleiss (1971), Measuring nominal scale agreement among many raters, Psychological Bulletin 76(5).
    """
    tally = _tally(ratings, at_least=1)
    per_unit = int(tally.ratings.max())
    fewer = np.flatnonzero(tally.ratings != per_unit)
    if fewer.size:
        raise ContractError(
            f"ratings: {fewer.size} of {tally.ratings.size} rated units do not have {per_unit} ratings (first: rated "
            f"unit {fewer[0]} has {tally.ratings[fewer[0]]}); Fleiss' kappa needs the same number for every unit, "
            "use krippendorff_alpha."
        )
    if tally.categories == 1:
        raise _one_category("ratings", int(tally.ratings.sum()))
    observed = float(np.mean(tally.agreeing_pairs() / (per_unit * (per_unit - 1.0))))
    chance = float(np.sum((tally.category_totals() / tally.ratings.sum()) ** 2))
    return (observed - chance) / (1.0 - chance)


def gwet_ac1(ratings: ArrayLike, *, categories: int | None = None) -> float:
    """Return Gwet's AC1, an agreement coefficient that stays usable when one category dominates.

    AC1 = (P_o - p_e) / (1 - p_e),  p_e = sum_k p_k (1 - p_k) / (q - 1).  P_o is the mean share of agreeing
    rating pairs over units with >= 2 ratings; p_k is the mean over units with >= 1 rating of the share of k.

    Args:
        ratings: Category codes, shape (units, raters), NaN where a rater did not rate.
        categories: Number q of categories a rater could choose from, >= 2; None means the number that occurs.

    Returns:
        Agreement <= 1; exactly 1.0 for unanimous ratings when `categories` is given.

    Raises:
        ContractError: No unit has two ratings; only one category occurs and `categories` is not given (0/0);
            `categories` is below 2 or below the number that occurs.

    References:
        Gwet (2008), Computing inter-rater reliability and its variance in the presence of high agreement,
        British Journal of Mathematical and Statistical Psychology 61(1).
    """
    tally = _tally(ratings, at_least=1)
    if categories is None and tally.categories == 1:
        raise _one_category("ratings", int(tally.ratings.sum()))
    q = tally.categories if categories is None else whole_number(categories, "categories", at_least=2)
    if q < tally.categories:
        raise ContractError(
            f"categories: got {q}, but {tally.categories} categories occur in `ratings`; expected at least as many."
        )
    paired = tally.ratings >= 2
    pairs = tally.ratings[paired] * (tally.ratings[paired] - 1.0)
    observed = float(np.mean(tally.agreeing_pairs()[paired] / pairs))
    shares = np.bincount(tally.category, tally.count / tally.ratings[tally.unit]) / tally.ratings.size
    chance = float(np.sum(shares * (1.0 - shares))) / (q - 1)
    return (observed - chance) / (1.0 - chance)


def cohen_kappa(first: ArrayLike, second: ArrayLike) -> float:
    """Return Cohen's kappa of two raters.

    kappa = (p_o - p_e) / (1 - p_e) with p_e = sum_k p_first(k) p_second(k), on units that both rated.

    Args:
        first: Category codes of one rater, shape (units,), NaN where not rated.
        second: Category codes of the other rater, shape (units,).

    Returns:
        Agreement <= 1; 0 is chance level.

    Raises:
        ContractError: Lengths differ, no unit was rated by both, or both used one and the same category (0/0).

    References:
        Cohen (1960), A coefficient of agreement for nominal scales, Educational and Psychological
        Measurement 20(1).
    """
    one = float_array(first, "first", ndim=1, missing=True)
    other = float_array(second, "second", ndim=1, missing=True)
    same_length(first=one.size, second=other.size)
    both = ~(np.isnan(one) | np.isnan(other))
    n = int(both.sum())
    if n == 0:
        raise ContractError(f"first, second: none of the {one.size} units was rated by both; expected at least one.")
    codes, category = np.unique(np.concatenate([one[both], other[both]]), return_inverse=True)
    counts = [np.bincount(side, minlength=codes.size).tolist() for side in (category[:n], category[n:])]
    # Whole numbers (times n^2) keep p_e = 1 exact, however many units there are.
    chance = sum(a * b for a, b in zip(*counts, strict=True))
    if chance == n * n:
        raise _one_category("first, second", 2 * n)
    agreeing = int(np.sum(category[:n] == category[n:]))
    return (n * agreeing - chance) / (n * n - chance)


def symmetric_noise_from_agreement(agreement: float) -> float:
    """Return the label flip rate that two equally noisy raters of binary pairs must have.

    Two independent raters who each flip the true label with probability eps agree with probability
    a = 1 - 2 eps + 2 eps^2, hence eps = (1 - sqrt(2 a - 1)) / 2.

    Args:
        agreement: Raw share of pairs on which two raters agree, in [1/2, 1].

    Returns:
        Flip rate in [0, 1/2].

    Raises:
        ContractError: `agreement` is outside [1/2, 1]: below one half no symmetric noise explains it.
    """
    value = float(float_array(agreement, "agreement", ndim=0))
    if not 0.5 <= value <= 1.0:
        raise ContractError(
            f"agreement: got {value}, expected a share in [0.5, 1]; "
            "below 0.5 the raters contradict each other more than coin flips would."
        )
    return (1.0 - float(np.sqrt(2.0 * value - 1.0))) / 2.0
