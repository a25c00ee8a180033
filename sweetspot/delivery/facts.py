"""The one input of the card, the report, Croissant and lineage: a manifest and plain numbers about a version.

Whoever has the tables fills it; nothing here reads one. Whatever is left out is listed in the report
under what was not checked, so an absent number never looks like a good one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from sweetspot._checks import as_numbers
from sweetspot.delivery.manifest import Manifest
from sweetspot.errors import ContractError
from sweetspot.pages.histogram import Histogram, histogram, histograms

__all__ = [
    "Agreement",
    "ColumnFacts",
    "Example",
    "HeldOut",
    "Histogram",
    "LengthFacts",
    "MarginFacts",
    "QualityFacts",
    "RaterFacts",
    "VersionFacts",
    "column_facts",
    "histogram",
    "histograms",
]


@dataclass(frozen=True)
class RaterFacts:
    """One rater.

    Attributes:
        name: as in tables.
        revision: hash of the weights, or version of a verifier.
        scores: raw scores, in the rater's own unit; `missing` counts responses it could not score.
        outliers: scores flagged as this rater's error; None when not looked for.
    """

    name: str
    revision: str
    scores: Histogram
    outliers: int | None = None


@dataclass(frozen=True)
class Agreement:
    """How two raters order the same responses.

    Attributes:
        first: name of a rater.
        second: name of another.
        rank_correlation: Spearman's, -1 to 1.
        responses: responses both scored.
    """

    first: str
    second: str
    rank_correlation: float
    responses: int

    def __post_init__(self) -> None:
        _between(f"rank correlation of {self.first} and {self.second}", self.rank_correlation, -1, 1)


@dataclass(frozen=True)
class QualityFacts:
    """Cleaned quality of the two sides of all candidate pairs, in rater standard deviations.

    Attributes:
        chosen: histogram of the chosen responses; same edges as `rejected`.
        rejected: histogram of the rejected ones.
        chosen_position: rule that picked the chosen response.
        rejected_position: rule that picked the rejected response.
        pairs: candidate pairs.
        differs_from_min: pairs whose rejected response is another one than the prompt's worst; None if unknown.
    """

    chosen: Histogram
    rejected: Histogram
    chosen_position: str
    rejected_position: str
    pairs: int
    differs_from_min: int | None = None


@dataclass(frozen=True)
class MarginFacts:
    """External margin, chosen minus rejected quality, in rater standard deviations.

    Attributes:
        candidates: histogram over all candidate training pairs; same edges as `kept`.
        kept: histogram over the pairs selection kept.
        sft: kept pairs routed to SFT.
    """

    candidates: Histogram
    kept: Histogram
    sft: int = 0


@dataclass(frozen=True)
class LengthFacts:
    """Length of the delivered responses.

    Attributes:
        chosen: histogram; same edges as `rejected`.
        rejected: histogram.
        unit: of the lengths, plural: characters or tokens.
        longer_chosen_rate: share of pairs of unequal length whose chosen response is the longer one.
        low: lower end of its 95 % interval.
        high: upper end.
    """

    chosen: Histogram
    rejected: Histogram
    unit: str
    longer_chosen_rate: float
    low: float
    high: float

    def __post_init__(self) -> None:
        for name in ("longer_chosen_rate", "low", "high"):
            _between(f"lengths: {name}", getattr(self, name), 0, 1)


@dataclass(frozen=True)
class HeldOut:
    """The exam of the policy trained on this version, on prompts that never enter training.

    Attributes:
        metric: what is measured, in words, for example "exact answers".
        before: of the start policy, 0 to 1.
        after: of the trained policy, 0 to 1.
        low: lower end of the 95 % interval of the gain, after minus before.
        high: upper end.
        prompts: held-out prompts asked.
        promoted: whether the gate let the policy through; None when there was no gate.
    """

    metric: str
    before: float
    after: float
    low: float
    high: float
    prompts: int
    promoted: bool | None = None

    def __post_init__(self) -> None:
        for name, least in (("before", 0), ("after", 0), ("low", -1), ("high", -1)):
            _between(f"held out: {name}", getattr(self, name), least, 1)


@dataclass(frozen=True)
class ColumnFacts:
    """Data-quality figures of one delivered column, for lineage.

    Attributes:
        count: rows.
        nulls: rows without a value.
        low: smallest value; None for texts and empty columns.
        high: largest value.
        total: sum of the values.
    """

    count: int
    nulls: int
    low: float | None = None
    high: float | None = None
    total: float | None = None


def column_facts(values: ArrayLike) -> ColumnFacts:
    """Figures of a numeric column; NaN is null."""
    array = as_numbers("values", values, ndim=1).astype(np.float64)
    there = array[~np.isnan(array)]
    if len(there) == 0:
        return ColumnFacts(len(array), len(array))
    return ColumnFacts(len(array), len(array) - len(there), float(there.min()), float(there.max()), float(there.sum()))


@dataclass(frozen=True)
class Example:
    """One pair shown to people. Texts are model output: they are escaped and cut, never trusted.

    Attributes:
        prompt: last user turn, or the whole prompt as text.
        chosen: the chosen response.
        rejected: the rejected response.
        chosen_rating: quality of chosen, rater standard deviations.
        rejected_rating: quality of rejected.
    """

    prompt: str
    chosen: str
    rejected: str
    chosen_rating: float
    rejected_rating: float


@dataclass(frozen=True, kw_only=True)
class VersionFacts:
    """Everything the documents of a version say.

    The manifest is the one of the version as far as it is known when the documents are made: it lists
    the Parquet files, and not yet the documents themselves. User names and passwords are taken out of
    the two addresses.

    Attributes:
        manifest: see `sweetspot.delivery.manifest`.
        store: URI of the store that holds the dataset.
        prompt_source: path, URI or `datasets:` name of the prompts.
        flow: name of the flow that made the version.
        parent_version: name of the version before; None for the first, or when unknown.
        license: a licence id as on the Hugging Face hub, or the URL of a licence.
        languages: ISO 639 codes; "und" is undetermined.
        creator: who publishes, in words.
        annotations: who judged: machine-generated, expert-generated, crowdsourced, found, other.
        stage_seconds: seconds each stage took, by its name in the books.
        raters: one per rater.
        agreement: one per pair of raters.
        quality: quality of the two sides of the candidate pairs.
        margins: margins of the candidate and the kept pairs.
        lengths: length of the delivered responses.
        held_out: the exam of a policy trained on the version.
        columns: data-quality figures of delivered training columns, by column name.
        examples: pairs to show; none by default, since prompts may be private.
        not_checked: what the caller knows was not checked, one sentence each.
    """

    manifest: Manifest
    store: str
    prompt_source: str
    flow: str = "curate"
    parent_version: str | None = None
    license: str = "unknown"
    languages: tuple[str, ...] = ("und",)
    creator: str = "unnamed publisher"
    annotations: str = "machine-generated"
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    raters: tuple[RaterFacts, ...] = ()
    agreement: tuple[Agreement, ...] = ()
    quality: QualityFacts | None = None
    margins: MarginFacts | None = None
    lengths: LengthFacts | None = None
    held_out: HeldOut | None = None
    columns: Mapping[str, ColumnFacts] = field(default_factory=dict)
    examples: tuple[Example, ...] = ()
    not_checked: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("store", "prompt_source"):
            object.__setattr__(self, name, without_credentials(getattr(self, name)))

    @property
    def uri(self) -> str:
        """Where the version lies."""
        return f"{self.store.rstrip('/')}/{self.manifest.dataset}/versions/{self.manifest.version}"

    @property
    def train_rows(self) -> int:
        """Delivered pairs for training."""
        return self.manifest.rows_under("data/train-")

    @property
    def eval_rows(self) -> int:
        """Delivered pairs held out."""
        return self.manifest.rows_under("data/eval-")

    @property
    def unchecked(self) -> tuple[str, ...]:
        """What was not checked: what follows from absent numbers, then what the caller says."""
        absent = (
            (len(self.raters) == 0, "Raters: no score distribution was recorded."),
            (len(self.agreement) == 0, "Rater agreement: it needs at least two raters that scored the same responses."),
            (self.quality is None, "Quality of chosen against rejected responses: not recorded."),
            (self.margins is None, "Margins: not recorded."),
            (self.lengths is None, "Length bias: not measured."),
            (self.held_out is None, "Usefulness: no policy was trained on this version and examined yet."),
            (self.annotations == "machine-generated", "Human review: no person read or rated these responses."),
        )
        return tuple(text for missing, text in absent if missing) + self.not_checked


def _between(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ContractError(
            f"{name}: got {value}, expected a number from {low} to {high}. Leave the section out if it is not known."
        )


def without_credentials(uri: str) -> str:
    """A URI without user name and password."""
    scheme, separator, rest = uri.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}{separator}{authority.rpartition('@')[2]}{slash}{path}" if separator else uri
