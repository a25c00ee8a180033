"""Numbers in words, text made safe to show, and the templates that use both.

Every text that reaches a template passes through `visible`, then through the escaping of its format,
unless the code here marked it as finished (`Markup`). So a template cannot forget to escape.
"""

import json
import unicodedata
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

_SHARED = Path(__file__).parent
# No caller's text takes more of a page than this; names, reasons and sentences are far shorter.
MAX_CHARACTERS = 500
MINUS = "\N{MINUS SIGN}"
# Between a number and its unit, so that a line never breaks there.
GAP = "\N{NO-BREAK SPACE}"

# Controls, formats that reorder or hide text (bidirectional overrides, zero-width), halves of surrogate pairs.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# The joiners belong to Persian spelling and to emoji; they cannot reorder text.
_HARMLESS = frozenset("\n\t\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}")
_MARKDOWN = str.maketrans(
    {character: f"\\{character}" for character in "\\`*_[]|~#"}
    | {"<": "&lt;", ">": "&gt;", "&": "&amp;", "\n": " ", "\t": " "}
)


def visible(text: str) -> str:
    """Text in which every character that hides, reorders or cannot be encoded is written as U+XXXX in brackets."""
    if text.isprintable():
        return text
    return "".join(
        f"[U+{ord(one):04X}]" if one not in _HARMLESS and unicodedata.category(one) in _UNSEEN else one for one in text
    )


def capped(text: str, limit: int) -> str:
    """At most `limit` characters of a text, saying when it was cut."""
    return text if len(text) <= limit else f"{text[:limit]}\n[cut here; {count(len(text))} characters in all]"


def markdown(text: str) -> Markup:
    """Text as literal Markdown: no emphasis, link, image, HTML, table cell or bare address comes of it."""
    return Markup(visible(text).translate(_MARKDOWN).replace("://", ":&#47;&#47;").replace("www.", "www&#46;"))


def code(text: object) -> Markup:
    """Text as a Markdown code span that fits in a table cell."""
    span = one_line(str(text)).replace("`", "'").replace("|", "\\|")
    return Markup(f"`{span}`") if span else Markup("")


def one_line(text: str) -> str:
    """Text made visible, cut, and with every run of white space as one space."""
    return " ".join(visible(capped(text, MAX_CHARACTERS)).split())


def preformatted(text: str, limit: int) -> Markup:
    """A long text for a `pre` element: cut at `limit`, made visible and escaped."""
    return escape(visible(capped(text, limit)))


def count(number: int) -> str:
    """1234567 as 1,234,567."""
    return f"{number:,}".replace("-", MINUS)


def decimal(number: float, digits: int = 2) -> str:
    """A number with fixed digits and a true minus sign."""
    rounded = f"{number:,.{digits}f}"
    is_zero = not rounded.strip("-0.,")
    return rounded.removeprefix("-") if is_zero else rounded.replace("-", MINUS)


def percent(share: float) -> str:
    """A share as a percentage with the digits that matter: 0 %, <0.1 %, 4.3 %, 57 %, 100 %."""
    value = 100 * share
    if 0 < value < 0.1:
        return f"<0.1{GAP}%"
    if 99.9 < value < 100:
        return f">99.9{GAP}%"
    whole = value == round(value) or 10 <= abs(value) <= 90
    return f"{decimal(value, 0 if whole else 1)}{GAP}%"


def share(part: int, whole: int) -> float:
    """Quotient part / whole, 0 when there is no whole."""
    return part / whole if whole else 0.0


def size(number: int) -> str:
    """Bytes in decimal units."""
    value = float(number)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.{0 if unit == 'B' or value >= 100 else 1}f}{GAP}{unit}"
        value /= 1000
    return f"{value:,.1f}{GAP}TB"


def duration(seconds: float) -> str:
    """Seconds as people say them: 0.4 s, 38 s, 12 min 5 s, 3 h 20 min."""
    if seconds < 59.5:
        return f"{seconds:.{1 if seconds < 9.95 else 0}f}{GAP}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}{GAP}min {rest}{GAP}s"
    return f"{count(minutes // 60)}{GAP}h {minutes % 60}{GAP}min"


def plural(number: int, noun: str) -> str:
    """1 pair, 2 pairs."""
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


def spaced(name: str) -> str:
    """source_row as source row."""
    return name.replace("_", " ")


def as_utc(value: str) -> str:
    """A date or time as an RFC 3339 time in UTC; without an offset it is taken as UTC."""
    parsed = datetime.fromisoformat(value)
    aware = parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    return aware.astimezone(UTC).isoformat().replace("+00:00", "Z")


def moment(value: str) -> str:
    """An ISO 8601 time as people read it, to the minute and in UTC."""
    return f"{as_utc(value)[:16].replace('T', ' ')} UTC"


def indented_json(value: Any) -> str:
    """Plain values as readable JSON."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)


def one_line_json(value: Any) -> str:
    """Plain values as JSON on one line."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def at_most(items: Sequence[Any], limit: int) -> Sequence[Any]:
    """The first `limit` items."""
    return items[:limit]


_FILTERS: dict[str, Callable[..., Any]] = {
    "at_most": at_most,
    "code": code,
    "count": count,
    "decimal": decimal,
    "duration": duration,
    "indented_json": indented_json,
    "moment": moment,
    "one_line_json": one_line_json,
    "percent": percent,
    "preformatted": preformatted,
    "size": size,
    "spaced": spaced,
}


def render_html(template: Path, **values: Any) -> str:
    """Fill an HTML template, which may include `page.css`; every text is made visible and escaped."""
    return _environment(True, template.parent).get_template(template.name).render(**values)


def render_markdown(template: Path, **values: Any) -> str:
    """Fill a Markdown template; every text is made visible and literal."""
    return _environment(False, template.parent).get_template(template.name).render(**values)


@cache
def _environment(html: bool, folder: Path) -> Environment:
    def finish(value: Any) -> Any:
        if not isinstance(value, str) or isinstance(value, Markup):
            return value
        short = capped(value, MAX_CHARACTERS)
        return visible(short) if html else markdown(short)

    environment = Environment(
        loader=FileSystemLoader([folder, _SHARED]),
        autoescape=html,
        finalize=finish,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(_FILTERS)
    return environment
