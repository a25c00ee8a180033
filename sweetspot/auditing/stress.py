"""Would I notice? Known errors are planted into a copy of the user's own data and the audit's detectors counted."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sweetspot.auditing._noticed import NOTICED_RISE, agreement_falls, is_noticed
from sweetspot.auditing.checks._shares import Z95, bars
from sweetspot.auditing.findings import Bars, Curves, Figure, Finding, Level
from sweetspot.auditing.groups import repeats
from sweetspot.auditing.scenarios import ANYWHERE, FEW_IN_SLICE, SCENARIOS, SHARES, TRIGGER_SHARE, Scenario
from sweetspot.auditing.spoil import take_pairs, turn_pairs
from sweetspot.auditing.subjects import Look, Subject, subject_of
from sweetspot.auditing.tables import Pairs, Table
from sweetspot.auditing.topics import Topics, named_topics
from sweetspot.errors import ContractError, ConvergenceError
from sweetspot.pages.wording import decimal, percent
from sweetspot.validation.adversarial import detection, flips, missing, random_labels, random_removal
from sweetspot.validation.bias import wilson_interval

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

LOST = (0.3, 0.5, 0.7, 0.9)
FEW_ROWS = 100
SHOWN_TOPICS = 15
FLIPS_TITLE = "Would I notice labels that were turned round?"


@dataclass(frozen=True)
class Outcome:
    """What became of one scenario over all seeds; shares are over all planted labels together."""

    scenario: Scenario
    planted: int
    caught: int
    flagged: int
    removal_caught: int
    noticed: int
    seeds: int
    untouched: float
    cleaned: float
    removed: float

    @property
    def recall(self) -> float:
        """Planted labels that were flagged."""
        return self.caught / self.planted

    @property
    def precision(self) -> float | None:
        """Flagged labels that were planted; None when nothing is flagged."""
        return self.caught / self.flagged if self.flagged else None


def stress(data: Table, *, seeds: int = 3, topics: Topics | None = None) -> tuple[Finding, ...]:
    """Plant errors, copies and gaps into copies of a table, and report what the audit would have noticed.

    Args:
        data: the audited table; it is not changed. Large ones are tried on a sample.
        seeds: repetitions with other random choices.
        topics: of each row, or of each unit of votes; None takes those that the data names.

    Returns:
        One finding each for wrong labels, copies with the other label (pairs), missing labels, random labels.
    """
    if len(data) < FEW_ROWS:
        why = f"{len(data)} rows are too few to plant errors into; at least {FEW_ROWS} are needed."
        return (Finding("stress_flips", FLIPS_TITLE, "not_checked", why),)
    topics = topics or named_topics(data)
    subject = subject_of(data, None if topics is None else topics.labels)
    nothing = np.zeros(len(subject), dtype=bool)
    base = subject.look(nothing)
    found = [_flips(subject, base, seeds, topics), _random_labels(subject, base, seeds)]
    if isinstance(data, Pairs):
        found.append(_contradictions(data, seeds))
    if subject.kept is not None:
        found.append(_missing(subject, subject.kept, seeds))
    return tuple(found)


def _flips(subject: Subject, base: Look, seeds: int, topics: Topics | None) -> Finding:
    outcomes, skipped = list[Outcome](), list[str]()
    for scenario in SCENARIOS:
        try:
            outcomes.append(_outcome(subject, base, scenario, seeds))
        except (ContractError, ConvergenceError) as error:
            skipped.append(f"not_planted: {scenario.words}: {str(error)[:160]}")
    typical = next((one for one in outcomes if one.scenario.name == "uniform_10"), None)
    if typical is None:
        return Finding(
            "stress_flips", FLIPS_TITLE, "not_checked", "No error could be planted.", warnings=tuple(skipped)
        )
    missed = _missed(outcomes)
    level: Level = "ok" if not missed and typical.recall >= 0.5 else "look"
    return Finding(
        "stress_flips",
        FLIPS_TITLE,
        level,
        _flips_says(subject.noun, typical, missed),
        dict(_figures(outcomes)),
        charts=(
            _caught_bars(subject.noun, outcomes),
            _damage_curves(subject, base, outcomes),
            *_by_topic(subject, base),
        ),
        warnings=(
            *skipped,
            *([] if topics is None else [f"topics: {topics.origin}"]),
            "lower_bound: errors that were there before count as false alarms, and turning a wrong label makes it "
            "right, so recall and precision are lower bounds",
        ),
    )


def _outcome(subject: Subject, base: Look, scenario: Scenario, seeds: int) -> Outcome:
    rows = [_once(subject, base, scenario.plant(subject, seed), seed) for seed in range(seeds)]
    counts, damage = np.array([row[0] for row in rows]).sum(axis=0), np.mean([row[1] for row in rows], axis=0)
    planted, caught, flagged, by_removal, noticed = (int(one) for one in counts)
    return Outcome(scenario, planted, caught, flagged, by_removal, noticed, seeds, *(float(one) for one in damage))


def _once(subject: Subject, base: Look, planted: BoolArray, seed: int) -> tuple[tuple[int, ...], tuple[float, ...]]:
    seen = subject.look(planted)
    found = detection(planted, seen.suspicion, seen.flagged)
    at_random = random_removal(len(subject), found.flagged, seed=seed)
    counts = (
        found.planted,
        found.caught,
        found.flagged,
        int((at_random & planted).sum()),
        int(is_noticed(subject, base, seen, planted)),
    )
    nothing = np.zeros(len(subject), dtype=bool)
    return counts, (subject.untouched(planted, nothing), seen.error_left, subject.untouched(planted, at_random))


def _missed(outcomes: Sequence[Outcome]) -> list[str]:
    """Damage that some seed did not give away, shares of the same kind in one phrase."""
    quiet = [one.scenario for one in outcomes if one.noticed < one.seeds]
    anywhere = [scenario.words.removesuffix(ANYWHERE) for scenario in quiet if scenario.name.startswith("uniform")]
    others = [scenario.words for scenario in quiet if not scenario.name.startswith("uniform")]
    return [f"{', '.join(anywhere)}{ANYWHERE}", *others] if anywhere else others


def _flips_says(noun: str, typical: Outcome, missed: Sequence[str]) -> str:
    caught, at_random = percent(typical.recall), percent(typical.removal_caught / typical.planted)
    text = (
        f"When one in ten {noun} is turned round on purpose, {caught} of them are flagged; "
        f"picking as many at random would catch {at_random}."
    )
    if not typical.flagged:
        text = (
            f"No: if one in ten {noun} were turned round, none would be flagged, for nothing else speaks against them."
        )
    if not missed:
        return f"{text} Every kind of damage that was planted raises an alarm."
    return f"{text} Planted and not noticed: {'; '.join(missed)}."


def _figures(outcomes: Sequence[Outcome]) -> Iterator[tuple[str, Figure]]:
    for one in outcomes:
        name = one.scenario.name
        yield f"{name}_planted", one.planted
        yield f"{name}_recall", one.recall
        yield f"{name}_precision", one.precision
        yield f"{name}_random_removal_recall", one.removal_caught / one.planted
        yield f"{name}_noticed_in_seeds", f"{one.noticed} of {one.seeds}"
        yield f"{name}_error_rate_untouched", one.untouched
        yield f"{name}_error_rate_cleaned", one.cleaned
        yield f"{name}_error_rate_random_removal", one.removed


def _caught_bars(noun: str, outcomes: Sequence[Outcome]) -> Bars:
    return Bars(
        labels=tuple(one.scenario.words for one in outcomes),
        values=tuple(one.recall for one in outcomes),
        axis=f"share of the turned {noun} that are flagged",
        intervals=tuple(wilson_interval(one.caught, one.planted, Z95) for one in outcomes),
    )


def _damage_curves(subject: Subject, base: Look, outcomes: Sequence[Outcome]) -> Curves:
    nothing = np.zeros(len(subject), dtype=bool)
    before = subject.untouched(nothing, nothing)
    steps = [one for one in outcomes if one.scenario.name.startswith("uniform")]
    return Curves(
        x=(0.0, *(share for share in SHARES[: len(steps)])),
        series={
            "after cleaning": (base.error_left, *(one.cleaned for one in steps)),
            "as it is": (before, *(one.untouched for one in steps)),
            "as many removed at random": (before, *(one.removed for one in steps)),
        },
        x_axis=f"share of the {subject.noun} turned round",
        y_axis=subject.decides,
    )


def _by_topic(subject: Subject, base: Look) -> tuple[Bars, ...]:
    """Flagged share of each topic of the data as it is, the worst first; nothing where topics have no names."""
    codes = subject.slices["topic"]
    if not subject.topic_names or not base.flagged.any():
        return ()
    sizes = np.bincount(codes[codes >= 0], minlength=len(subject.topic_names))
    flagged = np.bincount(codes[(codes >= 0) & base.flagged], minlength=len(subject.topic_names))
    large = np.flatnonzero(sizes >= FEW_IN_SLICE)
    worst = large[np.argsort(-(flagged[large] / sizes[large]), kind="stable")][:SHOWN_TOPICS]
    rows = [(subject.topic_names[k], int(flagged[k]), int(sizes[k])) for k in worst.tolist()]
    axis = f"share of the {subject.noun} flagged in the data as it is, by topic"
    return (bars(rows, axis),) if len(rows) > 1 else ()


def _random_labels(subject: Subject, base: Look, seeds: int) -> Finding:
    title = "Would I notice labels given by a coin?"
    plants = [random_labels(len(subject), seed=seed) & subject.candidates for seed in range(seeds)]
    looks = [subject.look(turned) for turned in plants]
    before, after = float(base.flagged.mean()), float(np.mean([seen.flagged.mean() for seen in looks]))
    agreement = [seen.agreement for seen in looks if seen.agreement is not None]
    noticed = after - before >= 0.5 * NOTICED_RISE or all(agreement_falls(base, seen) for seen in looks)
    figures: dict[str, Figure] = {"flagged_share_before": before, "flagged_share_random_labels": after}
    flagged = f"{percent(after)} of the {subject.noun} are flagged instead of {percent(before)}"
    if not before and not after:
        flagged = f"none of the {subject.noun} is flagged, as without"
    text = f"With coin flips for labels, {flagged}"
    if agreement and base.agreement is not None:
        figures |= {"agreement_before": base.agreement, "agreement_random_labels": float(np.mean(agreement))}
        text += (
            f" and agreement beyond chance is {decimal(float(np.mean(agreement)))} instead of {decimal(base.agreement)}"
        )
    says = f"{text}: {'that would be noticed' if noticed else 'nothing in this data would give it away'}."
    if subject.shorter_won is not None:
        fair = sum(_is_fair(subject, turned) for turned in plants)
        figures["length_within_chance_in_seeds"] = f"{fair} of {seeds}"
    return Finding("stress_random_labels", title, "ok" if noticed else "look", says, figures)


def _is_fair(subject: Subject, turned: BoolArray) -> bool:
    """Whether length predicts random labels no better than chance, 1/2 -+ 1.96 sqrt(1/4 / N), as it must."""
    if subject.shorter_won is None:
        return True
    shorter = (subject.shorter_won ^ turned)[subject.candidates]
    return abs(float(shorter.mean()) - 0.5) <= Z95 * np.sqrt(0.25 / max(1, shorter.size))


def _contradictions(pairs: Pairs, seeds: int) -> Finding:
    title = "Would I notice copies with the other label?"
    planted = caught = 0
    for seed in range(seeds):
        rows = np.flatnonzero(flips(~pairs.tie & ~repeats(pairs).identical, TRIGGER_SHARE, seed=seed))
        joined = take_pairs(pairs, np.concatenate([np.arange(len(pairs)), rows]))
        copies = np.arange(len(joined)) >= len(pairs)
        found = repeats(turn_pairs(joined, copies)).contradictory
        planted, caught = planted + len(rows), caught + int(found[copies].sum())
    if not planted:
        return Finding("stress_contradictions", title, "not_checked", "No pair could be copied.")
    recall = caught / planted
    says = f"Of {planted} pairs copied with the other label, {percent(recall)} are reported as contradictions."
    figures: dict[str, Figure] = {"planted": planted, "recall": recall}
    return Finding("stress_contradictions", title, "ok" if recall >= 0.95 else "look", says, figures)


def _missing(subject: Subject, kept: Callable[[BoolArray], float], seeds: int) -> Finding:
    title = "Would the answer stand with fewer labels?"
    n = len(subject)

    def agreement(share: float, *, clear_first: bool) -> float:
        gap = subject.clarity if clear_first else None
        return float(np.mean([_or_half(kept, missing(n, share, gap=gap, seed=seed)) for seed in range(seeds)]))

    series = {
        "lost at random": tuple(agreement(share, clear_first=False) for share in LOST),
        "only the close ones left": tuple(agreement(share, clear_first=True) for share in LOST),
    }
    half = series["lost at random"][LOST.index(0.5)]
    says = (
        f"With half of the {subject.noun} lost at random, {percent(half)} of the decisions stay as they are; "
        f"if the clearest half is lost, {percent(series['only the close ones left'][LOST.index(0.5)])}."
    )
    chart = Curves(
        x=(0.0, *LOST),
        series={name: (1.0, *values) for name, values in series.items()},
        x_axis=f"share of the {subject.noun} lost",
        y_axis="share of decisions that stay as they are",
    )
    figures: dict[str, Figure] = {
        f"{name.replace(' ', '_')}_{round(100 * share)}_same_decision_rate": value
        for name, values in series.items()
        for share, value in zip(LOST, values, strict=True)
    }
    return Finding("stress_missing", title, "ok" if half >= 0.9 else "look", says, figures, charts=(chart,))


def _or_half(kept: Callable[[BoolArray], float], lost: BoolArray) -> float:
    """Agreement after a loss; where too little is left for any answer, that of coin flips."""
    try:
        return kept(lost)
    except (ContractError, ConvergenceError):
        return 0.5
