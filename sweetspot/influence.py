"""Selection by influence: keep the pairs whose score lies in a middle quantile band."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweetspot._arguments import finite_array, number, require_equal_shapes
from sweetspot.errors import ContractError

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Band:
    """Pairs inside one band.

    Attributes:
        keep: (Q,) True where bounds[0] < score < bounds[1].
        bounds: (2,) the two quantiles, unit of the score.
        kept_fraction: Mean of `keep`.
        warnings: `few_kept: …` where `kept_fraction` is below the minimum.
    """

    keep: BoolArray
    bounds: FloatArray
    kept_fraction: float
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class LossDiffIrm:
    """Pairs inside both bands; fields as in `Band`, with one pair of bounds per score."""

    keep: BoolArray
    lossdiff_bounds: FloatArray
    irm_bounds: FloatArray
    kept_fraction: float
    warnings: tuple[str, ...]


def tif(influence: Any, low: float = 0.1, high: float = 0.9, *, min_fraction: float = 0.1) -> Band:
    """Truncated influence: keep pairs with quantile(low) < IF < quantile(high).

    Args:
        influence: (Q,) signed influence, the inner product of a pair's loss gradient with the mean gradient of the
            validation loss; larger helps validation more. Finite.
        low: Quantile level of the lower end, 0 <= low < high.
        high: Quantile level of the upper end, at most 1.
        min_fraction: Warn below this kept fraction, in [0, 1].

    Returns:
        Band. Both ends are open, so equal scores at a bound are all left out.

    Raises:
        ContractError: No scores, a score that is not finite, levels out of order, an interquartile range of 0, or
            nothing kept.

    References:
        Zhang et al. (2026), arXiv:2510.13212: TIF, an indicator on the signed influence.

    Notes:
        The paper's levels could not be established; 10 % to 90 % is ours.
    """
    values = _scores("influence", influence)
    bounds = _bounds("influence", values, _levels(low, high))
    keep = _inside(values, bounds)
    return Band(keep, bounds, *_kept(keep, min_fraction))


def lossdiff_irm(
    lossdiff: Any, irm: Any, *, low: float = 0.1, high: float = 0.9, min_fraction: float = 0.1
) -> LossDiffIrm:
    """Keep pairs in the middle band of LossDiff and in the middle band of IRM, each band taken over all pairs.

    Args:
        lossdiff: (Q,) loss under the policy minus loss under the policy after training on validation pairs; nats.
        irm: (Q,) implicit reward margin beta·(g_w - g_l) of the policy after a warm-up; all 0 before it.
        low: Quantile level of both lower ends, 0 <= low < high.
        high: Quantile level of both upper ends, at most 1.
        min_fraction: Warn below this kept fraction, in [0, 1].

    Returns:
        LossDiffIrm. If the scores were independent, (high - low)² of the pairs would be kept.

    Raises:
        ContractError: As `tif`, for either score, or two lengths.

    References:
        Zhang et al. (2026), arXiv:2510.13212: LossDiff, IRM and the intersection of their bands.

    Notes:
        The paper's levels could not be established; 10 % to 90 % on both is ours.
    """
    scores = {"lossdiff": _scores("lossdiff", lossdiff), "irm": _scores("irm", irm)}
    require_equal_shapes(**scores)
    levels = _levels(low, high)
    bounds = {name: _bounds(name, values, levels) for name, values in scores.items()}
    keep = _inside(scores["lossdiff"], bounds["lossdiff"]) & _inside(scores["irm"], bounds["irm"])
    return LossDiffIrm(keep, bounds["lossdiff"], bounds["irm"], *_kept(keep, min_fraction))


def _scores(name: str, value: Any) -> FloatArray:
    return finite_array(name, value, ndim=1, minimum_size=1)


def _levels(low: Any, high: Any) -> tuple[float, float]:
    below = number("low", low, lambda x: 0 <= x <= 1, "a quantile level in [0, 1]")
    above = number("high", high, lambda x: 0 <= x <= 1, "a quantile level in [0, 1]")
    if below >= above:
        raise ContractError(f"low, high: got {below:g} and {above:g}, expected low < high. Swap or widen them.")
    return below, above


def _bounds(name: str, values: FloatArray, levels: tuple[float, float]) -> FloatArray:
    """The two quantiles (2,), linearly interpolated."""
    with np.errstate(over="ignore"):
        wide = not math.isfinite(values.max() - values.min())
    scale = 0.5 if wide else 1.0  # interpolation subtracts neighbours, and halves of any two have a finite difference
    low, first, third, high = np.quantile(values * scale, [levels[0], 0.25, 0.75, levels[1]], method="linear") / scale
    if first == third:
        raise ContractError(
            f"{name}: the interquartile range is 0 (both quartiles {first:g}), so there is no middle band. An implicit "
            "margin is 0 everywhere before warm-up: score after it."
        )
    return np.array([low, high])


def _inside(values: FloatArray, bounds: FloatArray) -> BoolArray:
    return (values > bounds[0]) & (values < bounds[1])


def _kept(keep: BoolArray, min_fraction: Any) -> tuple[float, tuple[str, ...]]:
    """Kept fraction and warnings; nothing kept is an error."""
    least = number("min_fraction", min_fraction, lambda x: 0 <= x <= 1, "a fraction in [0, 1]")
    fraction = float(keep.mean())
    if fraction == 0:
        raise ContractError(f"low, high: none of {len(keep)} pairs lies inside the band(s). Widen the levels.")
    if fraction < least:
        return fraction, (
            f"few_kept: {int(keep.sum())} of {len(keep)} pairs are kept, below min_fraction = {least:g}.",
        )
    return fraction, ()
