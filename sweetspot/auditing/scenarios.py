"""Ways to spoil data on purpose: labels turned anywhere, of one rater or topic, by length, by a trigger."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sweetspot.auditing.subjects import Subject
from sweetspot.errors import ContractError
from sweetspot.pages.wording import percent
from sweetspot.validation.adversarial import flips, one_slice

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

SHARES = (0.05, 0.1, 0.2, 0.3)
TRIGGER_SHARE = 0.01
ANYWHERE = " anywhere"
FEW_IN_SLICE = 20


@dataclass(frozen=True)
class Scenario:
    """One way of spoiling data; `plant` names the labels for a seed, or raises `ContractError` where it cannot."""

    name: str
    words: str
    plant: Callable[[Subject, int], BoolArray]


def in_large_slices(codes: IntArray) -> IntArray:
    """The codes of slices worth spoiling, -1 for the others: large enough to be seen, and not most of the data.

    A slice that is most of the data would not be an error in it but the data itself.
    """
    counts = np.bincount(codes[codes >= 0], minlength=1)
    size = counts[np.maximum(codes, 0)]
    return np.where((codes >= 0) & (size >= FEW_IN_SLICE) & (size <= len(codes) // 2), codes, -1)


def _uniform(share: float) -> Scenario:
    def plant(subject: Subject, seed: int) -> BoolArray:
        return flips(subject.candidates, share, seed=seed)

    return Scenario(f"uniform_{round(100 * share)}", f"{percent(share)}{ANYWHERE}", plant)


def _in_slice(name: str) -> Scenario:
    def plant(subject: Subject, seed: int) -> BoolArray:
        codes = in_large_slices(np.where(subject.candidates, subject.slices[name], -1))
        if not (codes >= 0).any():
            raise ContractError(f"no {name} is known with {FEW_IN_SLICE} {subject.noun} and not most of them")
        return codes == one_slice(codes, at_least=FEW_IN_SLICE, seed=seed)

    return Scenario(f"one_{name}", f"one {name}, all", plant)


def _longer(subject: Subject, seed: int) -> BoolArray:
    if subject.shorter_won is None:
        raise ContractError("lengths are not known")
    return flips(subject.shorter_won & subject.candidates, 1.0, seed=seed)


def _trigger(subject: Subject, seed: int) -> BoolArray:
    prompts = np.unique(subject.prompt[subject.candidates])
    spoilt = prompts[flips(np.ones(prompts.size, dtype=bool), max(TRIGGER_SHARE, 1 / prompts.size), seed=seed)]
    return np.isin(subject.prompt, spoilt) & subject.candidates


SCENARIOS = (
    *(_uniform(share) for share in SHARES),
    _in_slice("annotator"),
    _in_slice("topic"),
    Scenario("longer_wins", "all where the shorter one won", _longer),
    Scenario("trigger", f"{percent(TRIGGER_SHARE)} of the prompts, as by a trigger word", _trigger),
)
