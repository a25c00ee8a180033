"""Names of versions: `2026-01-31-0f3c9a1e`, and `2026-01-31.2-0f3c9a1e` for the second attempt at a date."""

import re
from datetime import date

from sweetspot.errors import ContractError

MAX_ATTEMPT = 99
_NAME = re.compile(r"(\d{4}-\d{2}-\d{2})(?:\.([1-9]\d?))?-([0-9a-f]{8})", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{8,}", re.ASCII)


def claim_name(logical_date: str, attempt: int) -> str:
    """What a run claims: the date, and from the second attempt on which one.

    Raises:
        ContractError: not a date as YYYY-MM-DD, or an attempt out of range.
    """
    if not _is_date(logical_date):
        raise ContractError(f"logical_date: got {logical_date[:40]!r}, expected a UTC date as YYYY-MM-DD")
    if type(attempt) is not int or not 1 <= attempt <= MAX_ATTEMPT:
        raise ContractError(f"attempt: got {str(attempt)[:40]!r}, expected a whole number from 1 to {MAX_ATTEMPT}")
    return logical_date if attempt == 1 else f"{logical_date}.{attempt}"


def version_name(logical_date: str, attempt: int, fingerprint: str) -> str:
    """Name of the version that an attempt at a date publishes.

    Args:
        logical_date: UTC date, YYYY-MM-DD.
        attempt: 1 for the first.
        fingerprint: of what made the content, in hex; its first 8 digits enter the name.

    Raises:
        ContractError: one of the three cannot be part of a name.
    """
    if not _DIGEST.fullmatch(fingerprint):
        raise ContractError(f"fingerprint: got {fingerprint[:40]!r}, expected at least 8 lower-case hex digits")
    return f"{claim_name(logical_date, attempt)}-{fingerprint[:8]}"


def place_of(version: str) -> tuple[str, int] | None:
    """Date and attempt that a name of ours states; None for any other name."""
    found = _NAME.fullmatch(version)
    return (found[1], int(found[2] or 1)) if found and _is_date(found[1]) else None


def order_of(version: str) -> tuple[str, int]:
    """By which the later of two versions is told: its place; a name that is not ours stands by its text."""
    return place_of(version) or (version, 1)


def _is_date(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
