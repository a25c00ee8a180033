"""Reading of pairwise matrices: one-sided cells are mirrored, two-sided ones must be skew."""

import numpy as np

from sweetspot._checks import BoolArray, FloatArray
from sweetspot.errors import ContractError

SKEW_TOLERANCE = 1e-8


def skew_margins(name: str, margins: FloatArray, observed: BoolArray, *, first: int = 0) -> tuple[FloatArray, BoolArray]:
    """Skew-symmetric margins and symmetric mask of matrices (B, n, n); the diagonal is ignored.

    Args:
        name: Argument name for messages.
        margins: Finite where observed; other values do not matter.
        observed: True where a cell was seen.
        first: Added to the matrix index in messages.

    Returns:
        Margins (B, n, n), 0 where neither direction was seen and on the diagonal, and the mask of the
        pairs seen in either direction.

    Raises:
        ContractError: both directions were seen and do not add up to 0 within 1e-8 * max(1, max |margin|).
    """
    seen = observed & ~np.eye(margins.shape[-1], dtype=np.bool_)
    value = np.where(seen, margins, 0.0)
    back, seen_back = np.swapaxes(value, -1, -2), np.swapaxes(seen, -1, -2)
    both = seen & seen_back
    size = np.maximum(1.0, np.abs(value).max(axis=(-1, -2), initial=0.0))
    bad = both & (np.abs(value + back) > SKEW_TOLERANCE * size[:, None, None])
    if bad.any():
        b, i, j = (int(k) for k in np.unravel_index(int(np.argmax(bad)), bad.shape))
        raise ContractError(
            f"{name}: {int(bad.sum())} cells are not the negative of their mirror image (first: matrix {first + b}, "
            f"[{i}, {j}] = {value[b, i, j]:g} and [{j}, {i}] = {value[b, j, i]:g}), expected margins[j, i] = "
            "-margins[i, j]. Keep one direction only, or average the two."
        )
    skew = np.where(both, 0.5 * (value - back), value - back)
    return skew, seen | seen_back
