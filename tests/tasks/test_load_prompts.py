import json

import pytest

from sweetspot.config import Cluster, Prompts
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
