"""What a dataset's half-finished states mean and what to do about each, in words."""

from collections.abc import Iterator
from dataclasses import dataclass

from sweetspot.delivery.version_name import order_of
from tasks._inventory import DatasetState, TableState, TrainingState

AGAIN = "start its run again with the same settings"
LAST = "delivered"
"""The table a night makes last."""


@dataclass(frozen=True)
class Line:
    """One thing that is there, and how it stands.

    Attributes:
        well: nothing is left to do.
        what: it is, and how far it has come.
        more: lines below it: details, and what to do.
    """

    well: bool
    what: str
    more: tuple[str, ...] = ()


def standing(state: DatasetState) -> Iterator[Line]:
    """Every table, version and policy of a dataset; then what is missing between them."""
    if state.runs and not state.tables:
        yield Line(False, f"run {state.runs[-1]}: started, nothing is committed", (f"nothing is lost; {AGAIN}",))
    for table in state.tables:
        yield _table(table)
    yield from _versions(state)
    yield from _unpublished_night(state)
    for training in state.trainings.values():
        yield _training(training)
    yield from _untrained(state)


def _table(table: TableState) -> Line:
    name = f"table {table.name} {table.location[-16:]}"
    more = tuple(f"{text}, and never came to an end" for text in table.interrupted)
    more += tuple(f"prompt {prompt} is left out: {reason}" for prompt, reason in table.blamed.items())
    if table.finished:
        return Line(True, f"{name}: {table.chunks} chunks committed, all of them", more)
    if not table.chunks:
        return Line(False, f"{name}: begun, no chunk is committed", (*more, f"nothing is lost; {AGAIN}"))
    return Line(False, f"{name}: {table.chunks} chunks committed, the table is not", (*more, f"they are kept; {AGAIN}"))


def _versions(state: DatasetState) -> Iterator[Line]:
    claimed = {version: date for date, version in state.dates.items()}
    for version in state.versions:
        if version == state.latest:
            yield Line(True, f"version {version}: published, what readers get")
        elif state.latest is None or order_of(version) > order_of(state.latest):
            shown = state.latest or "nothing"
            yield Line(False, f"version {version}: published, but readers still get {shown}", (f"it is safe; {AGAIN}",))
        else:
            yield Line(True, f"version {version}: published")
    for version, why in state.unpublished.items():
        date = claimed.get(version)
        more = (f"it has claimed {date}; {AGAIN}",) if date else ("nobody reads it; its tables are kept",)
        yield Line(False, f"version {version}: not published, {why}", more)
    for version, date in claimed.items():
        if version not in state.versions and version not in state.unpublished:
            yield Line(False, f"version {version}: has claimed {date}, nothing of it is there", (AGAIN,))


def _unpublished_night(state: DatasetState) -> Iterator[Line]:
    made = [table.changed for table in state.tables if table.name == LAST and table.finished]
    waiting = bool(made) and (state.published is None or max(made) > state.published)
    if waiting and not state.unpublished and set(state.dates.values()) <= set(state.versions):
        yield Line(
            False,
            "the newest night has all its tables and is not published",
            (
                "a check refused it, or it was ended before: its run's page names the check",
                f"mend what the check names, else {AGAIN}; it tells again in seconds",
            ),
        )


def _training(training: TrainingState) -> Line:
    name = f"policy {training.prefix}"
    if training.stands == "asked":
        return Line(False, f"{name}: asked, not trained to the end", (f"checkpoints are kept; {AGAIN}",))
    if training.stands == "not promoted":
        return Line(False, f"{name}: passed its exam, not promoted", (f"it is committed; {AGAIN}",))
    return Line(True, f"{name}: {training.stands}{'; it stays as it is' if training.stands == 'refused' else ''}")


def _untrained(state: DatasetState) -> Iterator[Line]:
    if state.latest is None or any(training.version == state.latest for training in state.trainings.values()):
        return
    if state.trainings:
        yield Line(False, f"version {state.latest}: nobody has asked to train on it, as on others", (AGAIN,))
    else:
        yield Line(True, f"version {state.latest}: nobody has trained on it (`nightly` does, `curate` ends before)")
