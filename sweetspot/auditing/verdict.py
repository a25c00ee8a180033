"""The first paragraph of an audit's report, for someone who will decide and knows no statistics."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from sweetspot.auditing._answers import TOLD, from_whom, how_many_wrong, in_plain_words, what_explains, what_next
from sweetspot.auditing.findings import AuditResult, Cleaning, Finding
from sweetspot.pages.wording import GAP, count, one_line, percent, plural, share, spaced

Standing = Literal["good", "caution", "bad"]

_FIRST = ("label_errors", "label_noise", "annotators", "agreement", "length_bias", "position_bias", "contamination")
"""Checks a reader wants to know of first: are the labels right, whose are wrong, what explains them?"""
_OTHERS, _STEPS = 2, 3
"""Most further problems, and most next steps, that the paragraph spells out."""
_UNREADABLE_SHARE = 0.01
_NOUNS = {"pairs": "pair", "responses": "scored response", "votes": "vote"}
_NOUNS_TURNED = {"pairs": "label", "responses": "score", "votes": "vote"}


@dataclass(frozen=True)
class Verdict:
    """What the report says first.

    Attributes:
        standing: good, caution or bad; picks the colour.
        headline: one sentence.
        paragraph: what was read, how many labels look wrong, whose they are, what explains the preference, what else
            is wrong, what to do next, what was done, what nobody looked at.
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
    found = {finding.check: finding for finding in result.findings}
    bad, look = of_level(result, "bad"), [one for one in of_level(result, "look") if not _is_rehearsal(one)]
    checked = [one for one in result.findings if one.level != "not_checked" and not _is_rehearsal(one)]
    labels = found.get("label_errors")
    if not checked:
        standing, headline = "caution", "Nothing could be checked."
    elif bad:
        standing, headline = "bad", f"Do not train on this yet: {plural(len(bad), 'serious problem')} found."
    elif labels is not None and labels.level == "not_checked":
        standing, headline = "caution", "Nothing serious was found, but wrong labels could not be looked for."
    elif look:
        standing, headline = "caution", f"Usable, with {plural(len(look), 'point')} to look at first."
    else:
        standing, headline = "good", f"Usable: none of {plural(len(checked), 'check')} found a problem."
    sentences = [
        _reading(result),
        *how_many_wrong(found),
        *from_whom(found),
        *what_explains(found),
        *_others([one for one in bad + look if one.check not in TOLD]),
        *_blind_spot(found, _NOUNS_TURNED[result.kind]),
    ]
    closing = [
        *_next(what_next(found, cleaned=result.cleaning is not None)),
        *_cleaning(result.cleaning),
        *_unchecked(result),
    ]
    return Verdict(standing, headline, " ".join([*(_sentence(one) for one in sentences if one), *closing]))


def _is_rehearsal(finding: Finding) -> bool:
    """Whether a finding is about damage planted into a copy, so says nothing bad of the data itself."""
    return finding.check.startswith("stress")


def of_level(result: AuditResult, level: str) -> list[Finding]:
    """Findings of one level: those a reader wants to know first in front, what was tried on planted damage last."""
    place = {name: rank for rank, name in enumerate(_FIRST)}
    found = [finding for finding in result.findings if finding.level == level]
    last = len(_FIRST)
    return sorted(found, key=lambda one: (_is_rehearsal(one), place.get(one.check, last)))


def spaced_percent(text: str) -> str:
    """The space that belongs between a number and %, which no line breaks at."""
    return re.sub(r"(?<=\d) ?%", f"{GAP}%", text)


def _reading(result: AuditResult) -> str:
    lost = sum(result.unreadable.values())
    text = f"The data holds {plural(result.rows, _NOUNS[result.kind])}."
    if share(lost, result.rows) <= _UNREADABLE_SHARE:
        return text
    return f"{text} {percent(share(lost, result.rows))} of its rows could not be used."


def _others(findings: list[Finding]) -> list[str]:
    said = [in_plain_words(finding) for finding in findings[:_OTHERS]]
    rest = [f"\N{LEFT DOUBLE QUOTATION MARK}{one.title}\N{RIGHT DOUBLE QUOTATION MARK}" for one in findings[_OTHERS:]]
    return [*said, f"See also {', '.join(rest)}."] if rest else said


def _blind_spot(found: Mapping[str, Finding], noun: str) -> list[str]:
    """What share of planted errors was caught, for that is how far the rest of the paragraph can be trusted."""
    caught = found["stress_flips"].figures.get("uniform_10_recall") if "stress_flips" in found else None
    if not isinstance(caught, float):
        return []
    at_random = found["stress_flips"].figures.get("uniform_10_random_removal_recall")
    if not caught:
        return [f"If one {noun} in ten were wrong, this audit would find none of them."]
    text = f"If one {noun} in ten were wrong, this audit would point at {percent(caught)} of them"
    control = f"; as many picked at random would hold {percent(at_random)}" if isinstance(at_random, float) else ""
    return [f"{text}{control}."]


def _next(steps: list[str]) -> list[str]:
    if not steps:
        return []
    safe = [one_line(step) for step in steps[:_STEPS]]
    ordered = [step if number == 0 else f"then {step}" for number, step in enumerate(safe)]
    return [f"Next: {'; '.join(ordered)}."]


def _sentence(text: str) -> str:
    stripped = spaced_percent(one_line(text))
    return stripped if stripped.endswith((".", "!", "?")) else f"{stripped}."


def _cleaning(cleaning: Cleaning | None) -> list[str]:
    if cleaning is None:
        return ["Nothing was changed."]
    kept = percent(share(cleaning.rows_out, cleaning.rows_in))
    text = f"The cleaned copy keeps {count(cleaning.rows_out)} of {plural(cleaning.rows_in, 'row')} ({kept})"
    changed = [f"{count(number)} {spaced(name)}" for name, number in cleaning.changed.items() if number]
    return [f"{text}; {', '.join(changed)}." if changed else f"{text}."]


def _unchecked(result: AuditResult) -> list[str]:
    unchecked = [finding for finding in result.findings if finding.level == "not_checked"]
    if not unchecked:
        return []
    return [f"{plural(len(unchecked), 'check')} could not be made; the end of the report says why."]
