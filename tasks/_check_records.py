"""What earlier nights left for the checks against poisoning: nothing of it is used before it is known to be ours.

Whoever may write to the store could plant a history that tonight's steered rater fits, or an outcome in which every
check has passed. The history is read through the pinned, and if asked for signed, manifest; the outcome must name every
check of this night.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from sweetspot.config import Signing
from sweetspot.errors import CheckError, ConfigError, ContractError
from sweetspot.score_cells import score_cell
from tasks._keys import read_public_key
from tasks._latest import read_latest
from tasks._records import DAMAGED, Record
from tasks._store import Store
from tasks._versions import open_version

Checks = dict[str, dict[str, Any]]
Figures = dict[str, float]
MAX_NIGHTS, MAX_CHARTS, MAX_NAME_CHARS = 10_000, 1_000, 200


def earlier_figures(store: Store, dataset: str, signing: Signing) -> list[Figures]:
    """Figures of earlier versions, oldest first: each manifest carries those before it, bound by its hash.

    Raises:
        CheckError: the latest manifest is not the one its pointer names, not signed as asked for, or its history is not
            what we write.
    """
    if read_latest(store, dataset) is None:
        return []
    try:
        key = read_public_key(signing.public_key) if signing.public_key else ""
        version = open_version(store.uri, dataset, public_key=key)
        check = version.manifest().checks.get("control_charts", {})
        where = f"{version.root}/manifest.json: checks.control_charts"
        nights = [*_listed(check, where), *([check["figures"]] if "figures" in check else [])]
        return [_figures(night, f"{where}: night {index}") for index, night in enumerate(nights)]
    except (CheckError, ContractError, ConfigError) as error:
        raise CheckError(
            f"control_charts: the figures of earlier versions cannot be trusted: {error}. Nothing was published; look "
            "who wrote there, or begin a new history with one night of poisoning.control_charts=false"
        ) from None


def _listed(check: Any, where: str) -> list[Any]:
    nights = check.get("history", []) if isinstance(check, Mapping) else None
    if not isinstance(nights, list) or len(nights) > MAX_NIGHTS:
        raise CheckError(f"{where}: history is no list of at most {MAX_NIGHTS} nights")
    return nights


def _figures(night: Any, where: str) -> Figures:
    if not isinstance(night, Mapping) or len(night) > MAX_CHARTS:
        raise CheckError(f"{where}: is no object of at most {MAX_CHARTS} figures")
    for number, (chart, value) in enumerate(night.items()):
        if isinstance(value, bool) or not isinstance(value, int | float) or score_cell(value).score is None:
            raise CheckError(f"{where}: figure {number} is no finite number")
        if not isinstance(chart, str) or len(chart) > MAX_NAME_CHARS:
            raise CheckError(f"{where}: figure {number} has no usable name")
    return {chart: float(value) for chart, value in night.items()}


def trusted_outcome(record: Record, expected: Iterable[str]) -> Checks:
    """The outcome that this night has written before, if it has one for every check of the night and nothing else.

    Raises:
        CheckError: it has been changed, naming the check.
    """
    wanted = set(expected)
    if wanted ^ record.keys():
        name = min(wanted ^ record.keys())
        raise CheckError(f"{record.where}: {name[:MAX_NAME_CHARS]!r} is there or in the settings alone; {DAMAGED}")
    found: Checks = {}
    for name in sorted(wanted):
        check = record.inner(name)
        if type(check["passed"]) is not bool:
            raise CheckError(f"{check.where}: passed: expected true or false; {DAMAGED}")
        check.text("detail")
        found[name] = dict(check)
    return found
