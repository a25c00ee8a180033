"""report.html: one page about a version, for the person who decides whether to train on it.

The page holds everything it shows: no script, no file, font or picture is loaded from anywhere, and
a content security policy says so to the browser. All text is escaped; example texts are cut.
"""

from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from sweetspot.delivery._verdict import balances, passed, verdict
from sweetspot.delivery.books import Book
from sweetspot.delivery.facts import HeldOut, VersionFacts
from sweetspot.pages import charts as draw
from sweetspot.pages.charts import CHOSEN, NEUTRAL, REJECTED, Series
from sweetspot.pages.wording import indented_json, preformatted, render_html, share

TEMPLATE = Path(__file__).parent / "templates" / "report.html.j2"

EXAMPLE_CHARACTERS = 500
"""Most characters of an example text that are shown."""

CONFIG_CHARACTERS = 20_000
"""Most characters of the resolved configuration that are shown; a usual one has about 8,000."""

MAX_LISTED = 200
"""Most files, warnings and other items that a list shows; the manifest has them all."""

MAX_EXAMPLES = 20
"""Most example pairs that are shown."""


@dataclass(frozen=True)
class _StageRow:
    book: Book
    kept: float
    balanced: bool
    seconds: float | None
    reasons: tuple[tuple[str, int], ...]


def report_html(facts: VersionFacts) -> str:
    """Build the page.

    Args:
        facts: what is known; a section without numbers is left out and named under what was not checked.

    Returns:
        A complete HTML document, well below 1 MB, the same bytes for the same facts.
    """
    return render_html(
        TEMPLATE,
        facts=facts,
        manifest=facts.manifest,
        verdict=verdict(facts),
        stages=[_stage_row(book, facts) for book in facts.manifest.books],
        checks=[(name, passed(outcome), _detail(outcome)) for name, outcome in facts.manifest.checks.items()],
        charts=_all_charts(facts),
        config=preformatted(indented_json(facts.manifest.config), CONFIG_CHARACTERS),
        example_characters=EXAMPLE_CHARACTERS,
        max_examples=MAX_EXAMPLES,
        max_listed=MAX_LISTED,
        share=share,
    )


def _stage_row(book: Book, facts: VersionFacts) -> _StageRow:
    counted = ((reason, rows.count) for reason, rows in book.dropped.items() if rows.count)
    return _StageRow(
        book=book,
        kept=share(book.rows_out.count, book.rows_in.count),
        balanced=balances(book),
        seconds=facts.stage_seconds.get(book.stage),
        reasons=tuple(sorted(counted, key=lambda item: (-item[1], item[0]))),
    )


def _detail(outcome: object) -> str:
    return str(outcome.get("detail", "")) if isinstance(outcome, dict) else ""


def _gain(exam: HeldOut) -> Markup:
    return draw.before_and_after(exam.before, exam.after, (exam.low, exam.high))


def _all_charts(facts: VersionFacts) -> dict[str, list[Markup]]:
    charts: dict[str, list[Markup]] = {
        "raters": [draw.distribution([Series(rater.scores, NEUTRAL)], axis="raw score") for rater in facts.raters]
    }
    if facts.quality is not None:
        sides = [Series(facts.quality.rejected, REJECTED), Series(facts.quality.chosen, CHOSEN)]
        charts["quality"] = [draw.distribution(sides, axis="quality, rater standard deviations")]
    if facts.margins is not None:
        parts = [Series(facts.margins.candidates, NEUTRAL), Series(facts.margins.kept, CHOSEN)]
        charts["margins"] = [draw.distribution(parts, axis="margin, rater standard deviations")]
    if facts.lengths is not None:
        lengths = [Series(facts.lengths.rejected, REJECTED), Series(facts.lengths.chosen, CHOSEN)]
        charts["lengths"] = [draw.distribution(lengths, axis="length of the response")]
    if facts.held_out is not None:
        charts["held_out"] = [_gain(facts.held_out)]
    return charts
