"""report.html, report.json and the Markdown of an audit: the same findings for people, programs and the UI.

The page holds everything it shows: no script, no file, font or picture is loaded from anywhere, and
a content security policy says so to the browser. All text is escaped; texts of the user's rows are cut.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sweetspot.auditing._json import TEXT_CHARACTERS, report_json
from sweetspot.auditing._numbers import in_words
from sweetspot.auditing._pictures import Picture, picture
from sweetspot.auditing.findings import AuditResult, Finding
from sweetspot.auditing.verdict import judge, of_level, spaced_percent, verdict
from sweetspot.pages.wording import markdown, render_html, render_markdown, share, spaced

__all__ = ["report_html", "report_json", "report_markdown", "verdict"]

_TEMPLATES = Path(__file__).parent / "templates"
_LEVELS = ("bad", "look", "ok", "not_checked")
MAX_SUSPECTS = 8
"""Most rows to look at that a section shows; report.json has them all."""
MAX_LISTED = 200
"""Most figures, warnings and reasons that a list shows."""


@dataclass(frozen=True)
class _Section:
    finding: Finding
    says: str
    anchor: str
    pictures: tuple[Picture, ...]
    figures: tuple[tuple[str, str, str], ...]  # name, value, interval


def report_html(result: AuditResult) -> str:
    """Build the page: verdict, overview, a section a check, what was done, what was not checked.

    Returns:
        A complete HTML document, the same bytes for the same result.
    """
    sections = [_section(finding, number) for number, finding in enumerate(_in_order(result))]
    return render_html(
        _TEMPLATES / "report.html.j2",
        result=result,
        name=re.split(r"[/\\]", result.source.rstrip("/\\"))[-1] or result.source,
        verdict=judge(result),
        sections=[one for one in sections if one.finding.level != "not_checked"],
        unchecked=[one for one in sections if one.finding.level == "not_checked"],
        levels={level: len(of_level(result, level)) for level in _LEVELS},
        unreadable=sum(result.unreadable.values()),
        by_count=by_count,
        in_words=in_words,
        share=share,
        text_characters=TEXT_CHARACTERS,
        max_suspects=MAX_SUSPECTS,
        max_listed=MAX_LISTED,
    )


def report_markdown(result: AuditResult) -> str:
    """Write the verdict and a table of the findings; no text of any row is in it, only ids."""
    said = judge(result)
    return render_markdown(
        _TEMPLATES / "report.md.j2",
        result=result,
        headline=said.headline,
        paragraph=markdown(said.paragraph),
        findings=_in_order(result),
        in_words=in_words,
        max_suspects=MAX_SUSPECTS,
        max_listed=MAX_LISTED,
        by_count=by_count,
    )


def by_count(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Reasons and their counts, the most frequent first, those that never occurred left out."""
    return sorted(((name, number) for name, number in counts.items() if number), key=lambda one: (-one[1], one[0]))


def _in_order(result: AuditResult) -> list[Finding]:
    return [finding for level in _LEVELS for finding in of_level(result, level)]


def _section(finding: Finding, number: int) -> _Section:
    words = re.sub(r"[^a-z0-9]+", "-", finding.check.lower()).strip("-")
    return _Section(
        finding=finding,
        says=spaced_percent(finding.says),
        anchor=f"check-{words[:60] or number}",
        pictures=tuple(picture(chart) for chart in finding.charts),
        figures=tuple(
            (spaced(name), in_words(name, value), _interval(finding, name)) for name, value in finding.figures.items()
        ),
    )


def _interval(finding: Finding, name: str) -> str:
    if name not in finding.intervals:
        return ""
    low, high = (in_words(name, float(end)) for end in finding.intervals[name])
    return f"{low} to {high}"
