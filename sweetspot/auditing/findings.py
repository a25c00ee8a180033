"""What an audit found: plain records that the report, the terminal and Prefect all show the same way."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Level = Literal["ok", "look", "bad", "not_checked"]
"""`look` asks for a person's eyes, `bad` for action before training; `not_checked` says why in `says`."""

Figure = float | int | str | bool | None


@dataclass(frozen=True)
class Bars:
    """One bar per label, with a 95 % interval where it is known.

    Attributes:
        labels: (n,) names, as the user's data has them; whoever draws them escapes and cuts them.
        values: (n,) heights.
        intervals: (n,) low and high ends, or empty.
        axis: what the values are, with unit.
        reference: a value to draw a line at, such as 0.5 for chance.
    """

    labels: tuple[str, ...]
    values: tuple[float, ...]
    axis: str
    intervals: tuple[tuple[float, float], ...] = ()
    reference: float | None = None


@dataclass(frozen=True)
class Curves:
    """Lines over one axis, such as kept data against estimated label error.

    Attributes:
        x: (n,) ascending.
        series: name to (n,) values; NaN leaves a gap.
    """

    x: tuple[float, ...]
    series: Mapping[str, tuple[float, ...]]
    x_axis: str
    y_axis: str


@dataclass(frozen=True)
class Histogram:
    """Counts of values in equal bins, one outline per series.

    Attributes:
        edges: (n + 1,) ascending.
        series: name to (n,) counts.
    """

    edges: tuple[float, ...]
    series: Mapping[str, tuple[int, ...]]
    axis: str


Chart = Bars | Curves | Histogram


@dataclass(frozen=True)
class Suspect:
    """A row worth looking at first.

    Attributes:
        row_id: the user's id, or `row 17` where there is none.
        reason: one phrase, such as `most annotators disagree`.
        probability: that its label is wrong, where a method gives one.
        texts: named texts of the row, such as prompt, chosen, rejected; whoever shows them escapes and cuts them.
    """

    row_id: str
    reason: str
    probability: float | None = None
    texts: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    Attributes:
        check: short name in snake_case, unique in an audit: `length_bias`.
        title: a heading for people.
        says: one or two sentences for someone who knows no statistics.
        figures: numbers by name, unit in the name where it is not obvious.
        intervals: 95 % intervals of some of the figures, by the same name.
        suspects: rows to look at first, worst first; few.
        warnings: what the method itself could not do, `code: sentence`.
    """

    check: str
    title: str
    level: Level
    says: str
    figures: Mapping[str, Figure] = field(default_factory=dict[str, Figure])
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])
    charts: tuple[Chart, ...] = ()
    suspects: tuple[Suspect, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cleaning:
    """What was done with the rows.

    Attributes:
        action: `flag`, `drop`, `flip` or `reweight`.
        estimator: the method the data could support, and why, in a sentence.
        rows_in: rows that could be read.
        rows_out: rows that are kept.
        changed: rows by what happened to them: `flipped`, `reweighted`, `flagged`.
        dropped: rows by reason.
        version_uri: where the cleaned version lies; empty if none was asked for.
    """

    action: str
    estimator: str
    rows_in: int
    rows_out: int
    changed: Mapping[str, int] = field(default_factory=dict[str, int])
    dropped: Mapping[str, int] = field(default_factory=dict[str, int])
    version_uri: str = ""


@dataclass(frozen=True)
class AuditResult:
    """Everything about one audit.

    Attributes:
        source: as the user wrote it.
        source_sha256: of its bytes.
        format: which layout was found, such as `ultrafeedback_binarized`.
        kind: what a row is: pairs, responses or votes.
        rows: rows of the source.
        unreadable: rows that left while reading, by reason.
        options: the resolved settings.
        seconds: by step.
    """

    source: str
    source_sha256: str
    format: str
    kind: Literal["pairs", "responses", "votes"]
    rows: int
    unreadable: Mapping[str, int]
    findings: tuple[Finding, ...]
    cleaning: Cleaning | None = None
    options: Mapping[str, Figure] = field(default_factory=dict[str, Figure])
    seconds: Mapping[str, float] = field(default_factory=dict[str, float])
