"""What every estimator of label errors returns."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

SPARSE_PRIOR = (2.0, 8.0)
"""Beta prior on twice the flip rate where pairs have one or two votes: scale and flips are confounded there."""


@dataclass(frozen=True)
class Estimate:
    """Estimated label errors; n counts pairs, units or responses, like the table.

    Attributes:
        error_probability: (n,) probability that the label is wrong; NaN where nothing can be said.
        label: (n,) the better label: of votes a class, -1 unknown; of pairs 0 as given, 1 the other way round.
        method: `flip_mixture`, `dawid_skene`, `majority`, `margin_noise`, `cycles`, `consensus` or `none`.
        why: one sentence on why this method.
        rater_accuracy: (raters,) of votes, chance that a rater names the right class; NaN where unknown.
        dependence: of votes, correlation of the raters' errors that was allowed for, 0 to 1.
        warnings: `code: sentence`.
    """

    error_probability: FloatArray
    label: IntArray
    method: str
    why: str
    rater_accuracy: FloatArray | None = None
    dependence: float = 0.0
    warnings: tuple[str, ...] = ()

    @property
    def error_rate(self) -> float | None:
        """Mean over the labels about which something can be said; None if there is none."""
        known = ~np.isnan(self.error_probability)
        return float(self.error_probability[known].mean()) if known.any() else None
