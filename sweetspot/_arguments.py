"""Argument checks shared by the pure modules of pairs, margins, losses, influence and pathology.

Each check returns the value in the form the maths needs (float64 array, float, int) or raises `ContractError`
with the argument, the count of bad values and the first index. Arrays that come back may alias the input.
"""

import math
from collections.abc import Callable, Iterable
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweetspot.errors import ContractError

FloatArray = NDArray[np.float64]

_REAL_KINDS = "biuf"


def first_index(bad: NDArray[np.bool_]) -> str:
    """Index of the first True in `bad`, as text: `7` in one dimension, `(2, 7)` in more."""
    index = tuple(int(i) for i in np.unravel_index(int(np.argmax(bad)), bad.shape))
    return str(index[0]) if len(index) == 1 else str(index)


def array_of(name: str, value: Any, *, ndim: int | None = None) -> NDArray[Any]:
    """`value` as a numpy array of `ndim` dimensions, its type as it is."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ContractError(
            f"{name}: cannot be read as an array ({error}). Pass a numpy array or nested lists of equal lengths."
        ) from error
    if ndim is not None and array.ndim != ndim:
        raise ContractError(f"{name}: got shape {array.shape}, expected {ndim} dimension(s). Reshape it first.")
    return array


def real_kind(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """Refuse arrays that hold no real numbers; object arrays of numbers and None (NaN) become float64."""
    if array.dtype.kind == "O":
        if any(isinstance(entry, str | bytes) for entry in array.flat):  # the cast below would read "1" as 1
            raise ContractError(f"{name}: holds text, expected real numbers. Convert it first.")
        try:
            return array.astype(np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            raise ContractError(f"{name}: holds values that are not numbers ({error}). Convert it first.") from error
    if array.dtype.kind not in _REAL_KINDS:
        raise ContractError(f"{name}: got dtype {array.dtype}, expected real numbers. Convert it first.")
    return array


def real_array(name: str, value: Any, *, ndim: int | None = None) -> FloatArray:
    """`value` as a float64 array; NaN and ±inf are let through."""
    return real_kind(name, array_of(name, value, ndim=ndim)).astype(np.float64, copy=False)


def finite_array(name: str, value: Any, *, ndim: int | None = None, minimum_size: int = 0) -> FloatArray:
    """`value` as a float64 array without NaN or ±inf and with at least `minimum_size` values."""
    array = real_array(name, value, ndim=ndim)
    if array.size < minimum_size:
        raise ContractError(
            f"{name}: got shape {array.shape}, expected at least {minimum_size} value(s). There is nothing to compute."
        )
    require(name, array, np.isfinite(array), "finite numbers (no NaN, no ±inf)")
    return array


def require(name: str, array: NDArray[Any], good: NDArray[np.bool_], expected: str) -> None:
    """Raise unless `good` is True everywhere; `expected` completes "expected ..."."""
    if not good.all():
        bad = ~good
        raise ContractError(
            f"{name}: {int(bad.sum())} of {bad.size} values are not allowed (first index {first_index(bad)}, "
            f"got {array[bad][0]}), expected {expected}. Leave those rows out or repair them first."
        )


def require_equal_shapes(**arrays: NDArray[Any] | None) -> None:
    """Raise unless all given arrays (None is skipped) have one shape."""
    shapes = {name: array.shape for name, array in arrays.items() if array is not None}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ContractError(f"shapes disagree: {listed}; expected one shape. Pass one value per pair in each.")


def require_together(first_name: str, first: Any, second_name: str, second: Any) -> bool:
    """True when both are given, False when neither is; one alone is an error."""
    if (first is None) != (second is None):
        missing, given = (first_name, second_name) if first is None else (second_name, first_name)
        raise ContractError(f"{missing}: got None although {given} is given, expected both or neither. Pass both.")
    return first is not None


def number(name: str, value: Any, allowed: Callable[[float], bool], expected: str) -> float:
    """A real scalar for which `allowed` holds, as float; `expected` completes "expected ..."."""
    try:
        real = float(value) if isinstance(value, Real) and not isinstance(value, bool | np.bool_) else math.nan
    except OverflowError:  # an integer beyond float64
        real = math.nan
    if math.isnan(real) or not allowed(real):
        raise ContractError(f"{name}: got {value!r}, expected {expected}. Change the option.")
    return real


def positive(name: str, value: Any) -> float:
    """A finite number > 0."""
    return number(name, value, lambda x: 0 < x < math.inf, "a finite number > 0")


def non_negative(name: str, value: Any) -> float:
    """A finite number ≥ 0."""
    return number(name, value, lambda x: 0 <= x < math.inf, "a finite number >= 0")


def finite(name: str, value: Any) -> float:
    """A finite number."""
    return number(name, value, math.isfinite, "a finite number")


def integer(name: str, value: Any, *, minimum: int) -> int:
    """An integer (Python or numpy) of at least `minimum`."""
    if not isinstance(value, Integral) or isinstance(value, bool | np.bool_) or value < minimum:
        raise ContractError(f"{name}: got {value!r}, expected an integer >= {minimum}. Change the option.")
    return int(value)


def choice(name: str, value: Any, options: Iterable[str]) -> str:
    """One of the strings in `options`."""
    names = tuple(options)
    if not isinstance(value, str) or value not in names:
        raise ContractError(f"{name}: got {value!r}, expected one of {', '.join(names)}. Change the option.")
    return value


def flag(name: str, value: Any) -> bool:
    """A boolean."""
    if not isinstance(value, bool | np.bool_):
        raise ContractError(f"{name}: got {value!r}, expected True or False. Change the option.")
    return bool(value)
