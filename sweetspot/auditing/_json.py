"""report.json: everything the page shows, for programs."""

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

from sweetspot.auditing._numbers import plain
from sweetspot.auditing.findings import AuditResult, Bars, Curves, Histogram
from sweetspot.auditing.verdict import judge

TEXT_CHARACTERS = 500
"""Most characters of a text of the user's data that a report repeats."""


def report_json(result: AuditResult) -> str:
    """Write an audit as canonical JSON: sorted keys, ASCII, the same bytes for the same result.

    A number that is not finite becomes null, a lone surrogate the replacement character, and texts of rows are cut
    at `TEXT_CHARACTERS`.
    """
    said = judge(result)
    document = {
        "format_version": 1,
        "verdict": {"standing": said.standing, "headline": said.headline, "paragraph": said.paragraph},
        **_value(result),
    }
    for finding in document["findings"]:
        for suspect in finding["suspects"]:
            suspect["texts"] = {name: text[:TEXT_CHARACTERS] for name, text in suspect["texts"].items()}
    return json.dumps(document, sort_keys=True, indent=1, allow_nan=False) + "\n"


def _value(value: Any) -> Any:
    value = plain(value)
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {_value(str(key)): _value(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_value(one) for one in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        named = {field.name: _value(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return (
            {"kind": type(value).__name__.lower(), **named} if isinstance(value, Bars | Curves | Histogram) else named
        )
    return value
