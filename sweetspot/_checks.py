"""Argument checks shared by the numerical modules: one wording for one kind of mistake.

Every function returns the checked value in the type the maths wants (float64, int64), never a view
that the caller could see change, and raises `ContractError` with the argument's name, how many
values are wrong, the first index, and what to do.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sweetspot.errors import ContractError

# Beyond this, sums of squares overflow float64; real scores and margins are nowhere near it.
LARGEST_MAGNITUDE = 1e150

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


def as_numbers(name: str, value: ArrayLike, *, ndim: int) -> NDArray[np.generic]:
    """Return `value` as a numeric array of `ndim` dimensions, in whatever numeric type it came."""
    try:
        array = np.asarray(value)
        if array.dtype.kind == "O":
            array = array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ContractError(
            f"{name}: cannot be read as an array of numbers ({type(error).__name__}). "
            "Pass a rectangular array of numbers; write NaN where a value is missing and missing is allowed."
        ) from None
    if array.dtype.kind not in "biuf":
        raise ContractError(f"{name}: got values of type {array.dtype}, expected numbers. Convert them first.")
    if array.ndim != ndim:
        raise ContractError(f"{name}: got {array.ndim} dimension(s), shape {array.shape}, expected {ndim}. Reshape it.")
    return array


def reject_where(name: str, bad: BoolArray, value: NDArray[np.generic], *, rule: str, remedy: str) -> None:
    """Raise `ContractError` when any entry of `bad` is True, naming the count and the first index."""
    count = int(np.count_nonzero(bad))
    if count == 0:
        return
    first = np.unravel_index(int(np.argmax(bad)), bad.shape)
    where = int(first[0]) if len(first) == 1 else tuple(int(axis) for axis in first)
    raise ContractError(
        f"{name}: {count} of {bad.size} values break the rule '{rule}' "
        f"(first at index {where}: got {value[first]!s}). {remedy}"
    )


def as_floats(name: str, value: ArrayLike, *, ndim: int = 1, allow_nan: bool = False) -> FloatArray:
    """Return a float64 array of finite values (NaN kept where `allow_nan`); ±inf is never accepted."""
    array = as_numbers(name, value, ndim=ndim).astype(np.float64)
    if not allow_nan:
        reject_where(name, np.isnan(array), array, rule="not NaN", remedy="Leave these values out.")
    too_large = np.abs(array) > LARGEST_MAGNITUDE
    reject_where(
        name, too_large, array, rule="finite, at most 1e150 in size", remedy="Replace infinite or huge values."
    )
    return array


def as_nonnegative(name: str, value: ArrayLike, *, ndim: int = 1) -> FloatArray:
    """Return a float64 array of finite values >= 0."""
    array = as_floats(name, value, ndim=ndim)
    reject_where(name, array < 0, array, rule=">= 0", remedy="Counts and weights cannot be negative.")
    return array


def as_integers(name: str, value: ArrayLike) -> IntArray:
    """Return a 1-D int64 array; whole floats are accepted, fractions are not."""
    array = as_numbers(name, value, ndim=1)
    if array.dtype.kind == "f":
        whole = np.isfinite(array) & (array == np.floor(array))
        reject_where(name, ~whole, array, rule="a whole number", remedy="Pass integer item indices.")
    return array.astype(np.int64)


def as_flags(name: str, value: ArrayLike, *, shape: tuple[int, ...]) -> BoolArray:
    """Return a bool array of the given shape; 0 and 1 are accepted as False and True."""
    array = as_numbers(name, value, ndim=len(shape))
    require_shape(name, array, shape)
    reject_where(
        name,
        (array != 0) & (array != 1),
        array,
        rule="True or False",
        remedy="Pass a boolean mask: True where a value was observed.",
    )
    return array.astype(np.bool_)


def require_shape(name: str, array: NDArray[np.generic], shape: tuple[int, ...]) -> None:
    """Raise `ContractError` unless `array` has exactly `shape`."""
    if array.shape != shape:
        raise ContractError(
            f"{name}: got shape {array.shape}, expected {shape}. Arrays that describe the same rows or "
            "items must have the same lengths."
        )


def require_choice(name: str, value: str, allowed: Sequence[str]) -> str:
    """Return `value` if it is one of the `allowed` option names."""
    if value not in allowed:
        raise ContractError(f"{name}: got {value!r}, expected one of {', '.join(allowed)}. Choose one of these.")
    return value


def as_scalar(name: str, value: float, *, low: float = -np.inf, high: float = np.inf, open_low: bool = False) -> float:
    """Return a finite float in [low, high), or (low, high) with `open_low`."""
    number = float(as_numbers(name, value, ndim=0))
    inside = (number > low if open_low else number >= low) and number < high
    if not (np.isfinite(number) and inside):
        interval = f"{'(' if open_low else '['}{low:g}, {high:g})"
        raise ContractError(f"{name}: got {number!r}, expected a finite number in {interval}. Change {name}.")
    return number


def as_count(name: str, value: int, *, low: int, high: int | None = None) -> int:
    """Return an int in [low, high]; no upper bound when `high` is None."""
    number = float(as_numbers(name, value, ndim=0))
    if not number.is_integer() or number < low or (high is not None and number > high):
        interval = f">= {low}" if high is None else f"from {low} to {high}"
        raise ContractError(f"{name}: got {value!r}, expected a whole number {interval}. Change {name}.")
    return int(number)
