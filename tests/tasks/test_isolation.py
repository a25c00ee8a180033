"""Rows that raise, hang, end their worker or eat its memory, on real Ray workers."""

import json
import os
import re
import time
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from sweetspot import schemas
from sweetspot.config import Cluster, Prompts
from sweetspot.delivery.books import Book, IdSet
from sweetspot.errors import CheckError, EngineError, StoreError
from tasks._isolation import (
    CHUNK,
    HOPELESS,
    LEFT,
    MAX_OPENINGS,
    OPENING,
    PROMPT,
    Isolation,
    Note,
    Page,
    TakenOver,
    judge,
)
from tasks._stage import Run, Stage, run_stage
from tasks._store import Store
from tasks._tables import ChunkResult, dropped_table
from tasks.load_prompts import load_prompts

STAGE = Stage("copy", 1, schemas.CHECKS, unit="prompt", models=True)
STALL_S, PATIENT_S = 4.0, 120.0
"""A worker that died is told from one that stalled by the clock; a busy machine takes seconds to start the next."""


def hold_the_interpreter():
    import re

    re.match(r"(a+)+$", "a" * 64 + "b")  # hours, and no other Python thread runs meanwhile


HARM = {
    "raise": lambda: 1 / 0,
    "exit": lambda: os._exit(3),
    "hang": lambda: time.sleep(3600),
    "hold": hold_the_interpreter,
    "eat": lambda: [bytearray(2**28) for _ in range(64)],
}
REASONS = {
    "raise": "failed_raised",
    "exit": "failed_worker_died",
    "hang": "failed_stalled",
    "hold": "failed_stalled",
    "eat": "failed_memory",
}


class Touchy:
    """Copies prompts but does what a prompt says; writes down first which it does."""

    def __init__(self, log: str, when_opened: str = "") -> None:
        self.log = log
        HARM.get(when_opened, int)()

    def __call__(self, inputs):
        keys = inputs["prompts"]["prompt_id"].to_pylist()
        for key, prompt in zip(keys, inputs["prompts"]["prompt"].to_pylist(), strict=True):
            word = prompt[0]["content"].split()[0]
            if word in HARM:
                with Path(self.log).open("a") as log:
                    log.write(f"{key} {word}\n")
                HARM[word]()
        rows = [{"response_id": key, "prompt_id": key, "chars": 1, "flaw": None} for key in keys]
        return ChunkResult(STAGE.output.table(rows), dropped_table("copy", "prompt", []), keys, keys)


@pytest.fixture
def run(tmp_path, ray_cluster):
    cluster = Cluster(chunk_prompts=6, stall_s=STALL_S, worker_memory_gib=1.0)
    return Run(f"file://{tmp_path}/store", "tiny", "run", cluster)


def go(run, tmp_path, words, work=Touchy, **options):
    source = tmp_path / "prompts.jsonl"
    source.write_text("\n".join(json.dumps({"prompt": f"{word} {place}"}) for place, word in enumerate(words)))
    prompts = load_prompts(Prompts(source=str(source)), run)
    ref = run_stage(STAGE, {"prompts": prompts}, partial(work, str(tmp_path / "log"), **options), run, identity=0)
    return prompts, ref


def harms(tmp_path):
    """How often each harmful prompt was tried, by (prompt_id, word)."""
    lines = (tmp_path / "log").read_text().splitlines() if (tmp_path / "log").exists() else []
    return Counter(tuple(line.split()) for line in lines)


def dropped(ref):
    return {row["row_id"]: row["reason"] for index in range(ref.chunks) for row in ref.read_dropped(index).to_pylist()}


@pytest.mark.parametrize("word", HARM)
def test_a_harmful_prompt_costs_itself_only(run, tmp_path, word):
    if REASONS[word] != "failed_stalled":
        run = replace(run, cluster=run.cluster.model_copy(update={"stall_s": PATIENT_S}))
    prompts, ref = go(run, tmp_path, ["good"] * 4 + [word] + ["good"] * 7)
    keys = prompts.read(["prompt_id", "prompt"]).to_pylist()
    bad = [row["prompt_id"] for row in keys if row["prompt"][0]["content"].startswith(word)]
    assert dropped(ref) == {bad[0]: REASONS[word]}
    assert sorted(ref.read(["prompt_id"])["prompt_id"].to_pylist()) == sorted({r["prompt_id"] for r in keys} - set(bad))
    assert harms(tmp_path) == {(bad[0], word): 2}


def test_every_harm_at_once_ends_no_more_than_two_workers_each(run, tmp_path):
    words = [word for word in HARM for word in (word, "good")]
    prompts, ref = go(run, tmp_path, words)
    reasons = Counter(dropped(ref).values())
    assert reasons["failed_worker_died"] + reasons["failed_stalled"] == 3
    assert (reasons["failed_raised"], reasons["failed_memory"]) == (1, 1)
    assert ref.rows == len(HARM)
    Book.from_json(ref.book).balance()
    ends = {key: count for (key, word), count in harms(tmp_path).items() if word not in ("raise", "eat")}
    assert len(ends) == 3
    assert max(ends.values()) <= 2
    assert prompts.rows == len(words)


def test_an_engine_that_fails_on_everything_stops_the_stage_and_blames_no_row(run, tmp_path):
    with pytest.raises(EngineError, match="8 prompts fail one by one: ZeroDivisionError"):
        go(replace(run, cluster=run.cluster.model_copy(update={"chunk_prompts": 20})), tmp_path, ["raise"] * 20)


def test_workers_that_die_while_they_open_their_engine_stop_the_stage(run, tmp_path):
    with pytest.raises(EngineError, match=f"{MAX_OPENINGS} workers ended while they opened the engine"):
        go(run, tmp_path, ["good"] * 2, when_opened="exit")


def test_the_run_stops_as_soon_as_too_many_rows_failed(run, tmp_path):
    few = run.cluster.model_copy(update={"chunk_prompts": 12, "max_failed_fraction": 0.0})
    with pytest.raises(
        CheckError, match=r"1[01][0-9] of 480 prompts failed \(failed_raised 1[01][0-9]\), more than the 100"
    ):
        go(replace(run, cluster=few), tmp_path, (["good"] + ["raise"] * 11) * 40)
    assert len(harms(tmp_path)) < 440


class Whole:
    """Counts the chunks it is given."""

    def __init__(self, fails: int = 0):
        self.sizes, self.fails = [], fails

    def __call__(self, inputs):
        self.sizes.append(len(inputs["prompts"]))
        if len(self.sizes) <= self.fails:
            raise RuntimeError("secret words of a row")
        keys = inputs["prompts"]["prompt_id"].to_pylist()
        rows = [{"response_id": key, "prompt_id": key, "chars": 1, "flaw": None} for key in keys]
        return ChunkResult(STAGE.output.table(rows), dropped_table("copy", "prompt", []), keys, keys)


class Opened(Isolation):
    """Knows how often its engine was opened."""

    opened: list[int]


@pytest.fixture
def isolation(tmp_path):
    store = Store(f"file://{tmp_path}/store")

    def make(work, session="now", **settings):
        opened = list[int]()
        made = Opened(
            lambda: opened.append(1) or work,
            store,
            "tiny/tables/t/f",
            session,
            "copy",
            "prompt",
            STAGE.output,
            Cluster(**settings),
        )
        made.opened = opened
        return made

    return make


def chunk(n=5):
    message = [{"role": "user", "content": "x"}]
    row = {"source_row": 0, "prompt": message, "answer": None, "split": "train", "source": "s"}
    return {"prompts": schemas.PROMPTS.table([{**row, "prompt_id": f"p{i}"} for i in range(n)])}


def test_a_chunk_that_works_is_worked_whole_and_the_engine_opened_once(isolation):
    work = Whole()
    worker = isolation(work)
    for index in range(3):
        assert len(worker(index, chunk()).ids_out) == 5
    assert (work.sizes, worker.opened) == ([5, 5, 5], [1])


def test_a_chunk_that_failed_once_is_worked_prompt_by_prompt_with_a_fresh_engine(isolation):
    work = Whole(fails=1)
    worker = isolation(work)
    result = worker(0, chunk())
    assert work.sizes == [5, 1, 1, 1, 1, 1]
    assert len(worker.opened) == 2
    assert result.ids_in == result.ids_out == [f"p{i}" for i in range(5)]


def test_the_text_of_a_foreign_error_is_not_kept(isolation):
    result = isolation(Whole(fails=2))(0, chunk())
    assert re.fullmatch(r"RuntimeError at [\w/]+\.py:\d+", result.dropped["detail"].to_pylist()[0])
    assert result.ids_out == ["p1", "p2", "p3", "p4"]


def test_one_interruption_by_hand_costs_no_care_and_two_do(isolation):
    for session, sizes in (("first", [5]), ("second", [5]), ("third", [1, 1, 1, 1, 1])):
        work = Whole()
        isolation(work, session)(
            0, chunk()
        )  # the note stays at `chunk`, as if it had been interrupted before its commit
        assert work.sizes == sizes


def noted(isolation, session, **fields):
    """Leave a note of a worker that died, with nothing else done."""
    page = Page(isolation(Whole()).store, "tiny/tables/t/f/notes/00000.json", session, stall_s=1.0)
    page.note = replace(page.note, **fields)
    page.write(fields.get("at", CHUNK), fields.get("prompt", ""))
    return page


def test_prompts_that_end_their_worker_one_by_one_stop_the_stage_and_are_not_blamed(isolation):
    blamed = {f"p{place}": "failed_worker_died" for place in range(HOPELESS)}
    noted(isolation, "now", interruptions=2, blamed=blamed)
    work = Whole()
    with pytest.raises(EngineError, match="8 prompts ended their worker one by one"):
        isolation(work)(0, chunk(20))
    assert work.sizes == []
    assert isolation(work, "later")(0, chunk(20)).ids_out == [f"p{place}" for place in range(20)]
    assert work.sizes == [20]


def test_bad_prompts_among_good_ones_are_blamed_however_many_they_are(isolation):
    blamed = {f"p{place}": "failed_worker_died" for place in range(1, 15)}
    noted(isolation, "now", interruptions=2, blamed=blamed, well=1)
    result = isolation(Whole())(0, chunk(20))
    assert result.ids_out == ["p0", *(f"p{place}" for place in range(15, 20))]
    assert set(result.dropped["row_id"].to_pylist()) == set(blamed)


class Failing:
    """Fails as the store or a check does, at every prompt."""

    def __init__(self, error):
        self.error = error

    def __call__(self, inputs):
        raise self.error


@pytest.mark.parametrize("error", [StoreError("no answer"), CheckError("books"), EngineError("broken")])
def test_a_stage_that_stopped_by_its_own_error_leaves_no_suspicion(isolation, error):
    for session in ("first", "second", "third"):
        with pytest.raises(type(error)):
            isolation(Failing(error), session)(0, chunk(20))
    work = Whole()
    isolation(work, "fourth")(0, chunk(20))
    assert work.sizes == [20]


def test_whoever_is_taken_over_says_so_and_leaves_the_other_s_note_alone(isolation):
    page = None

    class Overtaken(Whole):
        def __call__(self, inputs):
            nonlocal page
            page = page or noted(isolation, "twin", at=PROMPT, prompt="p0")
            raise RuntimeError("as it happens")

    with pytest.raises(TakenOver, match=r"00000.json: another worker has taken this chunk over"):
        isolation(Overtaken())(0, chunk())
    assert page is not None
    assert b'"session":"twin"' in page.store.read(page.key)


NOTE = Note("a", CHUNK)
LIMITS = {"now_s": 100.0, "stall_s": 50.0}


def test_a_death_in_this_session_makes_the_chunk_careful_at_once():
    assert judge(NOTE, "a", **LIMITS).careful
    assert not judge(NOTE, "b", **LIMITS).careful


@pytest.mark.parametrize(("since", "reason"), [(60.0, "failed_worker_died"), (50.0, "failed_stalled")])
def test_a_prompt_that_ended_its_worker_in_this_session_is_blamed(since, reason):
    note = replace(NOTE, at=PROMPT, prompt="p", since_s=since, interruptions=2)
    assert judge(note, "a", **LIMITS).blamed == {"p": reason}


def test_a_prompt_interrupted_by_other_sessions_is_blamed_the_second_time_only():
    note = replace(NOTE, at=PROMPT, prompt="p", since_s=0.0, interruptions=2)
    once = judge(note, "b", **LIMITS)
    assert (once.blamed, once.strikes) == ({}, {"p": 1})
    twice = judge(replace(once, at=PROMPT, prompt="p"), "c", **LIMITS)
    assert twice.blamed == {"p": "failed_worker_died"}
    assert once.careful
    assert twice.careful


def test_blame_is_kept_through_later_deaths():
    note = replace(NOTE, at=PROMPT, prompt="q", blamed={"p": "failed_stalled"}, interruptions=2, since_s=99.0)
    assert judge(note, "a", **LIMITS).blamed == {"p": "failed_stalled", "q": "failed_worker_died"}


def test_openings_are_counted_in_one_session_only():
    note = Note("a", OPENING)
    once = judge(note, "a", **LIMITS)
    assert (once.openings, judge(once, "b", **LIMITS).openings) == (1, 0)
    with pytest.raises(EngineError, match="3 workers ended"):
        judge(judge(once, "a", **LIMITS), "a", **LIMITS)


def test_what_was_left_in_order_is_no_evidence():
    note = Note("a", LEFT, "p", interruptions=1, strikes={"p": 1}, blamed={"q": "failed_stalled"})
    for session in "ab":
        after = judge(note, session, **LIMITS)
        assert (after.interruptions, after.strikes, after.blamed) == (1, {"p": 1}, {"q": "failed_stalled"})


def test_a_page_that_another_worker_turned_is_not_written_over(tmp_path):
    store = Store(f"file://{tmp_path}")
    first, second = (Page(store, "notes/1.json", "a", stall_s=1.0) for _ in range(2))
    first.write(CHUNK)
    with pytest.raises(EngineError, match="another worker has taken this chunk over"):
        second.write(CHUNK)


def test_the_books_count_what_left(isolation):
    result = isolation(Whole(fails=2))(0, chunk())
    assert IdSet.of(result.ids_in).count == IdSet.of(result.ids_out).count + len(result.dropped)
