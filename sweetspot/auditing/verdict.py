"""The first paragraph of an audit's report, for someone who will decide and knows no statistics."""

import re
from dataclasses import dataclass
from typing import Literal

from sweetspot.auditing.findings import AuditResult, Cleaning, Finding
from sweetspot.pages.wording import GAP, count, one_line, percent, plural, share, spaced

Standing = Literal["good", "caution", "bad"]

# What a reader wants to know first, whatever else was found: are the labels right, whose are wrong, what explains them?
_FIRST = ("label_errors", "label_noise", "annotators", "agreement", "length_bias", "position_bias", "contamination")
_SPOKEN = 4
_UNREADABLE_SHARE = 0.01
_NOUNS = {"pairs": "pair", "responses": "scored response", "votes": "vote"}


@dataclass(frozen=True)
class Verdict:
    """What the report says first.

    Attributes:
        standing: good, caution or bad; picks the colour.
        headline: one sentence.
        paragraph: what was read, what is wrong with it, what was done, what nobody looked at.
    """

    standing: Standing
    headline: str
    paragraph: str


def verdict(result: AuditResult) -> str:
    """The whole verdict as one paragraph of plain text."""
    said = judge(result)
    return f"{said.headline} {said.paragraph}"


def judge(result: AuditResult) -> Verdict:
    """Weigh an audit by the levels of its findings; a finding that was not checked never counts as good."""
    bad, look = of_level(result, "bad"), of_level(result, "look")
    checked = [finding for finding in result.findings if finding.level != "not_checked"]
    if not checked:
        standing, headline = "caution", "Nothing could be checked."
    elif bad:
        standing, headline = "bad", f"Do not train on this yet: {plural(len(bad), 'serious problem')} found."
    elif look:
        standing, headline = "caution", f"Usable, with {plural(len(look), 'point')} to look at first."
    else:
        standing, headline = "good", f"Usable: none of {plural(len(checked), 'check')} found a problem."
    sentences = [_reading(result), *_problems(bad + look), *_cleaning(result.cleaning), *_unchecked(result)]
    return Verdict(standing, headline, " ".join(sentences))


def of_level(result: AuditResult, level: str) -> list[Finding]:
    """Findings of one level: those a reader wants to know first in front, what was tried on planted damage last."""
    place = {name: rank for rank, name in enumerate(_FIRST)}
    found = [finding for finding in result.findings if finding.level == level]
    last = len(_FIRST)
    return sorted(found, key=lambda one: (one.check.startswith("stress"), place.get(one.check, last)))


def spaced_percent(text: str) -> str:
    """The space that belongs between a number and %, which no line breaks at."""
    return re.sub(r"(?<=\d)%", f"{GAP}%", text)


def _reading(result: AuditResult) -> str:
    lost = sum(result.unreadable.values())
    text = f"The source holds {plural(result.rows, _NOUNS[result.kind])}, read as {spaced(result.format)}."
    if share(lost, result.rows) <= _UNREADABLE_SHARE:
        return text
    return f"{text} {percent(share(lost, result.rows))} of its rows could not be used."


def _problems(findings: list[Finding]) -> list[str]:
    said = [_sentence(finding.says) for finding in findings[:_SPOKEN]]
    rest = [f"\N{LEFT DOUBLE QUOTATION MARK}{one.title}\N{RIGHT DOUBLE QUOTATION MARK}" for one in findings[_SPOKEN:]]
    if rest:
        said.append(f"See also {', '.join(rest)}.")
    return said


def _sentence(text: str) -> str:
    stripped = spaced_percent(one_line(text))
    return stripped if stripped.endswith((".", "!", "?")) else f"{stripped}."


def _cleaning(cleaning: Cleaning | None) -> list[str]:
    if cleaning is None:
        return ["Nothing was changed; this is a report only."]
    kept = percent(share(cleaning.rows_out, cleaning.rows_in))
    text = f"The cleaned copy keeps {count(cleaning.rows_out)} of {plural(cleaning.rows_in, 'row')} ({kept})"
    changed = [f"{count(number)} {spaced(name)}" for name, number in cleaning.changed.items() if number]
    return [f"{text}; {', '.join(changed)}." if changed else f"{text}."]


def _unchecked(result: AuditResult) -> list[str]:
    unchecked = [finding for finding in result.findings if finding.level == "not_checked"]
    if not unchecked:
        return []
    return [f"{plural(len(unchecked), 'check')} could not be made; the end of the report says why."]
