"""Every half-finished state of a dataset has its line, which says what is safe and what to do."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from flows._standing import standing
from tasks._inventory import DatasetState, TableState, TrainingState

NOW = datetime(2026, 3, 1, tzinfo=UTC)
OLD, NEW = "2026-02-27-aaaaaaaa", "2026-02-28-bbbbbbbb"
MADE = TableState("delivered", "tiny/tables/delivered/0123456789abcdef", 3, True, NOW, (), {})
POLICY = TrainingState("tiny/policies/p", NEW, "promoted")
DONE = DatasetState(
    tables=(MADE,),
    versions=(OLD, NEW),
    unpublished={},
    dates={"2026-02-27": OLD, "2026-02-28": NEW},
    latest=NEW,
    trainings={POLICY.prefix: POLICY},
    runs=("tiny-2026-02-28-x",),
    published=NOW + timedelta(minutes=1),
)
UNPUBLISHED = replace(DONE, versions=(OLD,), latest=OLD, published=NOW - timedelta(days=1))
HALF = {
    "started, no receipt": (replace(DONE, tables=()), "run tiny-2026-02-28-x: started, nothing is committed"),
    "no chunk yet": (
        replace(DONE, tables=(replace(MADE, chunks=0, finished=False),)), "begun, no chunk is committed"
    ),
    "some chunks": (
        replace(DONE, tables=(replace(MADE, chunks=2, finished=False),)), "2 chunks committed, the table is not"
    ),
    "all chunks, no version": (
        replace(UNPUBLISHED, dates={"2026-02-27": OLD}), "has all its tables and is not published"
    ),
    "date claimed": (UNPUBLISHED, f"version {NEW}: has claimed 2026-02-28, nothing of it is there"),
    "files, no manifest": (
        replace(UNPUBLISHED, unpublished={NEW: "its manifest is not there"}), "not published, its manifest is not there"
    ),
    "taken over": (
        replace(UNPUBLISHED, unpublished={NEW: "another run took its date over"}, dates={"2026-02-28": OLD}),
        "nobody reads it; its tables are kept",
    ),
    "manifest, no latest": (replace(DONE, latest=OLD), f"published, but readers still get {OLD}"),
    "first manifest, no latest": (
        replace(DONE, versions=(NEW,), dates={"2026-02-28": NEW}, latest=None), "but readers still get nothing"
    ),
    "another attempt, no latest": (
        replace(DONE, versions=(OLD, NEW, "2026-02-28.2-cccccccc")), f"but readers still get {NEW}"
    ),
    "latest, no training asked": (
        replace(DONE, trainings={POLICY.prefix: replace(POLICY, version=OLD)}), "nobody has asked to train on it"
    ),
    "asked, no policy": (
        replace(DONE, trainings={POLICY.prefix: replace(POLICY, stands="asked")}), "asked, not trained to the end"
    ),
    "policy, not promoted": (
        replace(DONE, trainings={POLICY.prefix: replace(POLICY, stands="not promoted")}), "passed its exam, not prom"
    ),
}  # fmt: skip
WELL = {
    "all done": DONE,
    "refused by its exam": replace(DONE, trainings={POLICY.prefix: replace(POLICY, stands="refused")}),
    "never trained": replace(DONE, trainings={}),
    "an older date published late": replace(DONE, versions=("2026-02-01-dddddddd", OLD, NEW)),
}


@pytest.mark.parametrize("case", HALF)
def test_a_half_finished_state_is_told_with_what_to_do(case):
    state, said = HALF[case]
    half = [line for line in standing(state) if not line.well]
    assert any(said in " ".join((line.what, *line.more)) for line in half), half
    assert all(any("start its run again" in text or "nobody reads" in text for text in line.more) for line in half)


def test_a_night_that_a_check_refused_sends_you_to_its_page():
    state, _ = HALF["all chunks, no version"]
    (line,) = [line for line in standing(state) if not line.well and "all its tables" in line.what]
    assert "a check refused it, or it was ended before: its run's page names the check" in line.more


@pytest.mark.parametrize("case", WELL)
def test_a_finished_state_leaves_nothing_to_do(case):
    assert [line for line in standing(WELL[case]) if not line.well] == []
