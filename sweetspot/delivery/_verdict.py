"""The first paragraph of a report: what this version is, whether to train on it, and what to look at."""

from dataclasses import dataclass
from typing import Literal

from sweetspot.delivery.books import Book
from sweetspot.delivery.facts import VersionFacts
from sweetspot.errors import CheckError
from sweetspot.pages.wording import GAP, count, decimal, percent, plural, share, spaced

# Two raters whose ranks correlate less than this share under 4 % of their variance.
LOW_AGREEMENT = 0.2
# A length preference within this band is usual in human preferences too; beyond it length may be the signal.
LENGTH_BAND = (0.4, 0.6)
# A rater that leaves out more than this share of the responses judges another sample than the others.
LISTED_RATERS = 3
HIGH_MISSING = 0.2

Level = Literal["good", "caution", "bad"]


@dataclass(frozen=True)
class Verdict:
    """What the report says first.

    Attributes:
        level: good, caution or bad.
        headline: one sentence.
        sentences: what the version is, in plain words; together the first paragraph.
        points: what speaks against it, worst first; empty when good.
    """

    level: Level
    headline: str
    sentences: tuple[str, ...]
    points: tuple[str, ...]


def verdict(facts: VersionFacts) -> Verdict:
    """Judge a version by its own numbers; thresholds are the constants of this module."""
    problems, cautions = tuple(_problems(facts)), tuple(_cautions(facts))
    if problems:
        level, headline = "bad", "Do not train on this version."
    elif cautions:
        level, headline = "caution", f"Usable, with {plural(len(cautions), 'point')} to look at first."
    else:
        level, headline = "good", "Ready to train on."
    return Verdict(level, headline, tuple(_sentences(facts)), problems + cautions)


def balances(book: Book) -> bool:
    """Whether a book balances."""
    try:
        book.balance()
    except CheckError:
        return False
    return True


def passed(outcome: object) -> bool:
    """Whether a recorded check passed: true, or an object whose `passed` is true."""
    return outcome.get("passed") is True if isinstance(outcome, dict) else outcome is True


def _problems(facts: VersionFacts) -> list[str]:
    manifest, exam = facts.manifest, facts.held_out
    found = [f"The books of {book.stage} do not balance." for book in manifest.books if not balances(book)]
    found += [f"The check {name} failed." for name, outcome in manifest.checks.items() if not passed(outcome)]
    if facts.train_rows == 0:
        found.append("It holds no training pairs.")
    if exam is not None and exam.high < 0:
        found.append(f"The policy trained on it got worse: {exam.metric} {_change(facts)}.")
    return found


def _cautions(facts: VersionFacts) -> list[str]:
    found = list(_rater_cautions(facts))
    length, quality, exam = facts.lengths, facts.quality, facts.held_out
    if length is not None and (length.low > LENGTH_BAND[1] or length.high < LENGTH_BAND[0]):
        side = "longer" if length.longer_chosen_rate > 0.5 else "shorter"
        rate = max(length.longer_chosen_rate, 1 - length.longer_chosen_rate)
        found.append(f"The {side} response is the chosen one in {percent(rate)} of pairs; a policy may learn length.")
    if quality is not None and quality.differs_from_min == 0 and quality.rejected_position != "min":
        found.append(
            f"The rule {quality.rejected_position} picked the worst response of every prompt, so it acted as min."
        )
    if exam is not None and exam.low <= 0 <= exam.high:
        found.append(f"The held-out gain could be chance: {exam.metric} {_change(facts)}.")
    if exam is not None and exam.promoted is False:
        found.append("The gate refused the policy trained on it.")
    if facts.manifest.warnings:
        found.append(f"The run left {plural(len(facts.manifest.warnings), 'warning')}, listed below.")
    return found


def _rater_cautions(facts: VersionFacts) -> list[str]:
    found = [
        f"The raters {pair.first} and {pair.second} hardly agree (rank correlation {decimal(pair.rank_correlation)})."
        for pair in facts.agreement
        if pair.rank_correlation < LOW_AGREEMENT
    ]
    gaps = {
        rater.name: missing
        for rater in facts.raters
        if (missing := share(rater.scores.missing, rater.scores.missing + rater.scores.total)) > HIGH_MISSING
    }
    if len(gaps) > LISTED_RATERS:
        low, high = percent(min(gaps.values())), percent(max(gaps.values()))
        found.append(f"{len(gaps)} of {len(facts.raters)} raters gave no score for {low} to {high} of the responses.")
    else:
        found += [f"The rater {name} gave no score for {percent(gap)} of the responses." for name, gap in gaps.items()]
    return found


def _change(facts: VersionFacts) -> str:
    exam = facts.held_out
    if exam is None:
        return ""
    return (
        f"went from {percent(exam.before)} to {percent(exam.after)} on {plural(exam.prompts, 'held-out prompt')} "
        f"(95{GAP}% interval of the change {decimal(100 * exam.low, 1)} to {decimal(100 * exam.high, 1)} points)"
    )


def _sentences(facts: VersionFacts) -> list[str]:
    said = [
        f"This version of {facts.manifest.dataset} holds {plural(facts.train_rows, 'preference pair')} to train on "
        f"and {count(facts.eval_rows)} held out, made from {facts.prompt_source}."
    ]
    said += _book_sentences(facts.manifest.books)
    if facts.margins is not None and facts.margins.kept.mean is not None:
        said.append(
            f"In a kept pair the chosen response is rated {decimal(facts.margins.kept.mean)} rater standard "
            "deviations above the rejected one on average."
        )
    if facts.agreement:
        mean = sum(pair.rank_correlation for pair in facts.agreement) / len(facts.agreement)
        said.append(f"The raters' rankings of the same responses correlate at {decimal(mean)} on average.")
    if facts.lengths is not None:
        said.append(f"The longer response is the chosen one in {percent(facts.lengths.longer_chosen_rate)} of pairs.")
    if facts.held_out is not None:
        said.append(f"After training on it, {facts.held_out.metric} {_change(facts)}.")
    return said


def _book_sentences(books: tuple[Book, ...]) -> list[str]:
    if not books:
        return ["It keeps no books, so nobody can say which rows left on the way."]
    if not all(balances(book) for book in books):
        return ["Not every row is accounted for."]
    said = [f"Every row is accounted for in all {plural(len(books), 'stage')}: it went on, or it left with a reason."]
    worst = max(books, key=lambda book: share(book.dropped_in_all.count, book.rows_in.count))
    if worst.dropped_in_all.count:
        reason = max(worst.dropped, key=lambda name: worst.dropped[name].count)
        lost = percent(share(worst.dropped_in_all.count, worst.rows_in.count))
        said.append(f"Most left at {worst.stage}: {lost} of its {spaced(worst.unit)}s, mainly for the reason {reason}.")
    return said
