"""Checks of arguments that the validation functions share; every failure is a `ContractError`."""

from collections.abc import Sequence
from numbers import Real
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sweetspot.errors import ContractError


def float_array(values: ArrayLike, name: str, *, ndim: int, missing: bool = False) -> NDArray[np.float64]:
    """Return `values` as float64 with `ndim` axes; NaN is refused unless it may mean missing, infinity always."""
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "biufO":
            raise TypeError(f"the entries are of type {array.dtype}")
        if array.dtype.kind == "O" and any(isinstance(entry, str | bytes) for entry in array.flat):
            raise TypeError("some entries are text")  # the cast below would read "1" as 1
        with np.errstate(over="ignore"):  # an extended float beyond float64 becomes inf, which is refused below
            array = array.astype(np.float64, copy=False)
    except (TypeError, ValueError, OverflowError) as error:
        raise ContractError(f"{name}: expected a rectangular array of numbers, but {error}.") from error
    if array.ndim != ndim:
        raise ContractError(f"{name}: got shape {array.shape}, expected {ndim} dimension(s).")
    refuse(~np.isfinite(array) & ~(np.isnan(array) & missing), name, array, _finite_rule(missing))
    return array


def _finite_rule(missing: bool) -> str:
    if missing:
        return "expected finite numbers, with NaN where nothing was given"
    return "expected finite numbers; leave out rows without a value"


def refuse(bad: NDArray[np.bool_], name: str, values: NDArray[np.generic], rule: str) -> None:
    """Raise when any entry of `bad` is True, naming the count, the first index and its value."""
    if not bad.any():
        return
    where = tuple(int(k) for k in np.argwhere(bad)[0])
    index = ", ".join(str(k) for k in where)
    raise ContractError(
        f"{name}: {int(bad.sum())} of {bad.size} values cannot be used "
        f"(first: {name}[{index}] = {values[where]}); {rule}."
    )


def same_length(**lengths: int) -> None:
    """Raise unless all named lengths agree."""
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise ContractError(f"{', '.join(lengths)}: lengths differ ({listed}); expected one entry per row in each.")


def text_list(values: Sequence[str], name: str) -> list[str]:
    """Return `values` as a list after checking that every entry is a string and it is not one bare string."""
    if isinstance(values, str | bytes):
        raise ContractError(f"{name}: got a single {type(values).__name__}, expected a sequence of texts.")
    try:
        texts = list(values)
    except TypeError as error:
        raise ContractError(f"{name}: got {type(values).__name__}, expected a sequence of texts.") from error
    wrong = [row for row, text in enumerate(texts) if not isinstance(text, str)]
    if wrong:
        raise ContractError(
            f"{name}: {len(wrong)} of {len(texts)} entries are not text (first: {name}[{wrong[0]}] is "
            f"{type(texts[wrong[0]]).__name__}); expected str, use '' for an empty response."
        )
    return texts


def option(value: str, name: str, allowed: Sequence[str]) -> str:
    """Return `value` when it is one of the allowed names."""
    if not isinstance(value, str) or value not in allowed:
        raise ContractError(f"{name}: got {value!r}, expected one of {', '.join(map(repr, allowed))}.")
    return value


def whole_number(value: int, name: str, *, at_least: int) -> int:
    """Return `value` as an int when it is whole and not below `at_least`."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer) or value < at_least:
        raise ContractError(f"{name}: got {value!r}, expected a whole number >= {at_least}.")
    return int(value)


def fraction(value: float, name: str, *, above: float = 0.0, below: float | None = None) -> float:
    """Return `value` as a float when it lies in (above, 1], or in (above, below) when `below` is given."""
    interval = f"({above:g}, 1]" if below is None else f"({above:g}, {below:g})"
    is_real = isinstance(value, Real) and not isinstance(value, bool | np.bool_)
    if not is_real or not (above < value <= 1.0 if below is None else above < value < below):
        raise ContractError(f"{name}: got {value!r}, expected a number in {interval}.")
    return float(value)


def normal_quantile(confidence: float) -> float:
    """Return z with P(|Z| <= z) = confidence for a standard normal Z; confidence in (0, 1)."""
    return -NormalDist().inv_cdf((1.0 - fraction(confidence, "confidence", below=1.0)) / 2.0)
