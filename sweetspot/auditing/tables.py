"""What the checks read: compact columns of everything audited, small enough for a million rows; no texts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sweetspot.errors import ContractError

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

FLAWS = ("empty", "char_run", "repetitive", "compressible", "refusal")
"""Bit k of a `flaws` column stands for FLAWS[k]; the names are those of `sweetspot.validation.degenerate`."""
STYLES = ("list_items", "headings", "bold", "code_blocks", "emoji")
"""Counted in every response, in this order."""
_MODELS = ("policy", "ref")


@dataclass(frozen=True)
class Labels:
    """A column of names: (n,) codes into `names`, -1 where there is none."""

    codes: IntArray
    names: tuple[str, ...]

    @classmethod
    def of(cls, values: Sequence[str | None]) -> "Labels":
        """Number the names in order of appearance."""
        number: dict[str, int] = {}
        codes = [-1 if value is None else number.setdefault(value, len(number)) for value in values]
        return cls(np.array(codes, dtype=np.int64), tuple(number))

    @property
    def size(self) -> int:
        """How many different names there are."""
        return len(self.names)


@dataclass(frozen=True)
class Sketches:
    """MinHash of some texts: band keys propose similar ones, the low bytes of all values estimate how similar.

    Attributes:
        row: (m,) index of the text; texts shorter than a shingle have none.
        keys: (m, bands).
        low_bytes: (m, permutations).
    """

    row: IntArray
    keys: NDArray[np.uint32]
    low_bytes: NDArray[np.uint8]


@dataclass(frozen=True)
class Pairs:
    """One row per preference between two responses.

    Attributes:
        row: (n,) place in the source, from 0.
        row_id: (n,) the user's ids, or `row 17`; object array of str.
        keys: (n, 3, 2) 128-bit hashes of the normal forms of prompt, chosen and rejected.
        chars: (n, 3) lengths of prompt, chosen and rejected, characters.
        flaws: (n, 2) bits of FLAWS of chosen and rejected.
        style: (n, 2, len(STYLES)) counts in chosen and rejected.
        tie: (n,) nobody won; which of the two is called chosen then means nothing.
        numbers: (n,) columns, NaN where missing: `score_chosen`, `score_rejected`, `ref_chosen_logps`,
            `ref_rejected_logps`, `policy_chosen_logps`, `policy_rejected_logps`; where a model was named also
            `chosen_tokens`, `rejected_tokens`, `ches`, `ches_per_token`.
        labels: columns of names: `provenance`, `annotator`, `chosen_model`, `rejected_model`, `split`.
        responses: MinHash of the two responses of a row together; None when not computed.
        prompts: MinHash of every different prompt, at the first row of a block that has it; None likewise.
    """

    row: IntArray
    row_id: NDArray[np.object_]
    keys: NDArray[np.uint64]
    chars: NDArray[np.int32]
    flaws: NDArray[np.uint8]
    style: NDArray[np.uint16]
    tie: NDArray[np.bool_]
    numbers: Mapping[str, FloatArray] = field(default_factory=dict[str, FloatArray])
    labels: Mapping[str, Labels] = field(default_factory=dict[str, Labels])
    responses: Sketches | None = None
    prompts: Sketches | None = None

    def __len__(self) -> int:
        return len(self.row)

    def margin(self) -> FloatArray | None:
        """Score of chosen minus score of rejected, NaN where one is missing; None without scores."""
        if "score_chosen" not in self.numbers or "score_rejected" not in self.numbers:
            return None
        return self.numbers["score_chosen"] - self.numbers["score_rejected"]

    def implicit_margin(self) -> FloatArray | None:
        """Difference of log policy - log reference of chosen and rejected, nats; None without the four columns."""
        sides = [[self.numbers.get(f"{model}_{side}_logps") for side in ("chosen", "rejected")] for model in _MODELS]
        (policy_chosen, policy_rejected), (ref_chosen, ref_rejected) = sides
        if policy_chosen is None or policy_rejected is None or ref_chosen is None or ref_rejected is None:
            return None
        return (policy_chosen - ref_chosen) - (policy_rejected - ref_rejected)


@dataclass(frozen=True)
class Votes:
    """One row per vote on a unit; a unit is a pair, or anything else that annotators put into classes.

    Attributes:
        unit: (V,) index into `units`.
        rater: (V,) index into `raters`.
        code: (V,) index into `classes`.
        position: (V,) which of the unit's two items was shown first: 0, 1, or -1 where unknown.
        count: (V,) how often this very vote was given; 1 but in tables of win counts.
        units: names of the units.
        raters: names of the annotators.
        classes: names of the votes. With `paired` they are `first`, `second` and perhaps `tie`, by the unit's items.
        paired: votes prefer one of two items of the unit.
        items: (units, 2) index into `item_names` of the unit's first and second item; None where unknown.
        item_names: names of what is compared, such as systems or arguments.
        group: (units,) scope in which items can be compared, such as a question; None where there is one.
        gold: (units,) true class, -1 where unknown; None without a column of it.
    """

    unit: IntArray
    rater: IntArray
    code: IntArray
    position: IntArray
    count: IntArray
    units: tuple[str, ...]
    raters: tuple[str, ...]
    classes: tuple[str, ...]
    paired: bool
    items: IntArray | None = None
    item_names: tuple[str, ...] = ()
    group: IntArray | None = None
    gold: IntArray | None = None

    def __len__(self) -> int:
        return len(self.unit)

    def counts(self) -> IntArray:
        """Votes of every unit by class, (units, classes)."""
        cell = self.unit * len(self.classes) + self.code
        flat = np.bincount(cell, self.count, minlength=len(self.units) * len(self.classes))
        return flat.astype(np.int64).reshape(len(self.units), len(self.classes))

    def packed(self) -> FloatArray:
        """Class codes, (units, most votes of a unit), NaN beyond a unit's last vote: for figures that ask not who."""
        times = self.count
        unit, code = np.repeat(self.unit, times), np.repeat(self.code, times)
        order = np.argsort(unit, kind="stable")
        unit, code = unit[order], code[order]
        per_unit = np.bincount(unit, minlength=len(self.units))
        width = int(per_unit.max(initial=1))
        if len(self.units) * width > 200_000_000:
            raise ContractError(
                f"votes: {len(self.units)} units with up to {width} votes each do not fit a table; audit a sample"
            )
        starts = np.cumsum(per_unit) - per_unit
        table = np.full((len(self.units), width), np.nan)
        table[unit, np.arange(len(unit)) - starts[unit]] = code
        return table


@dataclass(frozen=True)
class Scores:
    """One row per response that raters scored; higher is better.

    Attributes:
        row: (n,) place in the source of the response's first score.
        row_id: (n,) the user's ids, or `row 17`.
        prompt: (n,) index of the prompt.
        keys: (n, 2, 2) 128-bit hashes of the normal forms of prompt and response.
        chars: (n,) length of the response, characters.
        flaws: (n,) bits of FLAWS.
        style: (n, len(STYLES)) counts.
        raters: names of the K raters.
        score: (n, K), NaN where not rated.
        when: (n, K) place in the source of each score, -1 where there is none.
        model: who wrote the response; None where no column says.
    """

    row: IntArray
    row_id: NDArray[np.object_]
    prompt: IntArray
    keys: NDArray[np.uint64]
    chars: NDArray[np.int32]
    flaws: NDArray[np.uint8]
    style: NDArray[np.uint16]
    raters: tuple[str, ...]
    score: FloatArray
    when: IntArray
    model: Labels | None = None

    def __len__(self) -> int:
        return len(self.row)


Table = Pairs | Votes | Scores
