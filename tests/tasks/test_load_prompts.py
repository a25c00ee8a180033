import json
import unicodedata
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweetspot.config import Cluster, Prompts
from sweetspot.delivery.books import Book
from sweetspot.errors import ContractError
from tasks._stage import Run
from tasks.load_prompts import load_prompts, load_responses


@pytest.fixture
def run(tmp_path):
    return Run(f"file://{tmp_path}/store", "tiny", "run", Cluster(chunk_prompts=4))


def load(tmp_path, run, rows, **settings):
    path = tmp_path / "p.jsonl"
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return load_prompts(Prompts(source=str(path), **settings), run)


def dropped(ref):
    return {row["row_id"]: row["reason"] for i in range(ref.chunks) for row in ref.read_dropped(i).to_pylist()}


def test_every_row_is_a_prompt_or_has_a_reason(tmp_path, run):
    rows = [{"prompt": f"p{i}"} for i in range(9)]
    rows += [{"prompt": "p0"}, {"prompt": ""}, {"prompt": None}, {"other": 1}, "{broken", {"prompt": "\ud800"}]
    ref = load(tmp_path, run, rows)
    assert ref.rows == 9
    assert ref.chunks == 3
    assert dropped(ref) == {
        "9": "duplicate", "10": "empty", "11": "missing", "12": "missing", "13": "unreadable", "14": "surrogate",
    }  # fmt: skip
    assert ref.book["rows_in"]["count"] == 15


def test_conversations_and_answers_are_kept(tmp_path, run):
    messages = [{"role": "system", "content": "short"}, {"role": "user", "content": "hi"}]
    row = load(tmp_path, run, [{"prompt": messages, "answer": 7}]).read().to_pylist()[0]
    assert row["prompt"] == messages
    assert row["answer"] == "7"


def test_the_split_follows_the_prompt_not_its_place(tmp_path, run):
    rows = [{"prompt": f"p{i}"} for i in range(40)]
    first = load(tmp_path, run, rows, held_out_fraction=0.3).read().to_pylist()
    again = load(tmp_path, run, [*rows[::-1], {"prompt": "new"}], held_out_fraction=0.3).read().to_pylist()
    split = {row["prompt_id"]: row["split"] for row in first}
    assert all(split.get(row["prompt_id"], row["split"]) == row["split"] for row in again)
    assert {"train", "eval"} == set(split.values())


def test_a_second_load_reuses_every_chunk(tmp_path, run):
    rows = [{"prompt": f"p{i}"} for i in range(9)]
    assert load(tmp_path, run, rows).reused_chunks == 0
    again = load(tmp_path, run, rows)
    assert again.reused_chunks == again.chunks == 3


def test_changed_content_or_settings_write_elsewhere(tmp_path, run):
    first = load(tmp_path, run, [{"prompt": "a"}])
    assert load(tmp_path, run, [{"prompt": "b"}]).location != first.location
    assert load(tmp_path, run, [{"prompt": "a"}], held_out_fraction=0.5).location != first.location


def test_no_usable_row_stops_with_the_first_reason(tmp_path, run):
    with pytest.raises(ContractError, match=r"none of 2 rows is a usable prompt; first reason: empty"):
        load(tmp_path, run, [{"prompt": " "}, {"prompt": 3}])


def test_responses_bring_their_scores_and_their_gaps(tmp_path, run):
    path = tmp_path / "r.jsonl"
    rows = [
        {"prompt": "a", "response": "x", "model": "m", "s": 1.5},
        {"prompt": "a", "response": "y", "model": "m", "s": None},
        {"prompt": "a", "response": "z", "model": "m", "s": "oops"},
        {"prompt": "b", "response": None, "model": "m", "s": 1},
        {"prompt": "b", "response": "v", "model": "m", "s": 10**400},
        {"prompt": "b", "response": "w", "model": "\ud800", "s": 1},
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    settings = Prompts(source=str(path), starts_from="responses", score_columns=["s"])
    tables = load_responses(settings, run)
    assert [row["status"] for row in tables["scores"].read().to_pylist()] == ["ok", "missing", "failed", "too_large"]
    assert tables["scores"].notes == (
        "masked_scores: 3 of 4 scores of rater s count as missing (failed 1, missing 1, too_large 1)",
    )
    assert tables["responses"].rows == 4
    assert dropped(tables["prompts"]) == {"3": "missing", "5": "surrogate"}


def test_starting_from_responses_needs_score_columns(tmp_path, run):
    with pytest.raises(ContractError, match="score_columns is empty"):
        load_responses(Prompts(source="x.jsonl", starts_from="responses"), run)


def test_a_duplicate_with_another_answer_says_so(tmp_path, run):
    ref = load(tmp_path, run, [{"prompt": "a", "answer": 1}, {"prompt": "a"}, {"prompt": "a", "answer": 2}])
    details = [row["detail"] for row in ref.read_dropped(0).to_pylist()]
    assert details == ["same prompt as row 0", "same prompt as row 0, with another answer: the first one counts"]
    assert ref.read(["answer"])["answer"].to_pylist() == ["1"]


LONG = "x" * 40_000
colliding = st.sampled_from(
    [
        "a",
        "A",
        " a",
        "é",
        "e\u0301",
        "É",
        "ﬁ",
        "fi",
        "K",
        "\u212a",
        "Å",
        "\u212b",
        "a\x00",
        "\ud800",
        "",
        " ",
        "\u200b",
        LONG,
    ]
)
odd = st.none() | st.booleans() | st.integers() | st.floats() | st.lists(st.none() | st.text(max_size=3), max_size=2)
messages = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "system", "assistant", "tool", None, 3]), "content": colliding | odd}
    ),
    max_size=3,
)
row_of = st.fixed_dictionaries(
    {"prompt": colliding | odd | messages},
    optional={
        "id": st.integers(0, 2),
        "answer": colliding | odd,
        "response": colliding | odd,
        "model": colliding | odd,
        "s": odd | st.sampled_from(["1", "", "x", 10**400]),
    },
)


@given(rows=st.lists(row_of, max_size=12), starts_from=st.sampled_from(["prompts", "responses"]))
@settings(max_examples=60, deadline=None)
def test_every_row_is_accounted_for_exactly_once(rows, starts_from):
    """Whatever collides: the same id, the same text in another normal form or case, or what is no text at all."""
    rows = [{"prompt": "always", "response": "good", "model": "m", "s": 1}, *rows]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "p.jsonl"
        path.write_text("\n".join(map(json.dumps, rows)))
        run = Run(f"file://{folder}/store", "tiny", "run", Cluster(chunk_prompts=4))
        options = Prompts(source=str(path), starts_from=starts_from, score_columns=["s"])
        tables = load_responses(options, run)
        for ref in tables.values():
            Book.from_json(ref.book).balance()
        prompts, left = tables["prompts"].read().to_pylist(), dropped(tables["prompts"])
        kept = len(rows) - len(left)
        assert len({text_of(row["prompt"]) for row in prompts}) == len(prompts), "no text twice"
        assert {row["prompt"][-1]["content"] for row in prompts} <= {normal(c) for c in contents(rows)}
        if starts_from == "prompts":
            assert {row["source_row"] for row in prompts} | set(map(int, left)) == set(range(len(rows)))
            assert len(prompts) == kept
        else:
            responses = tables["responses"].read().to_pylist()
            assert len(responses) == len({row["response_id"] for row in responses}) == kept
            assert {row["prompt_id"] for row in responses} == {row["prompt_id"] for row in prompts}
            assert tables["scores"].rows == kept


def text_of(prompt):
    return tuple((message["role"], message["content"]) for message in prompt)


def normal(text):
    return unicodedata.normalize("NFC", text) if isinstance(text, str) else None


def contents(rows):
    for row in rows:
        prompt = row["prompt"]
        yield from (m.get("content") for m in prompt if isinstance(m, dict)) if isinstance(prompt, list) else [prompt]
