"""Prompts whose responses give no pair, or an odd one: each ends in the dataset or with the reason why not."""

import pyarrow as pa
import pytest
from scored_world import RATERS, curate, make_world, scored_rows

from sweetspot import schemas
from sweetspot.config import Pairing
from tasks._account import account, check_seams, dropped_rows
from tasks.build_pairs import _PairChunk

SPREAD = [(5 - number, 50 - 10 * number, 0.5 - 0.1 * number) for number in range(6)]
ODD = {
    "one text": (["same"] * 6, SPREAD),
    "all empty": ([""] * 6, SPREAD),
    "only one not empty": (["an answer", *[""] * 5], SPREAD),
    "one response": (["alone"], SPREAD[:1]),
    "no scores": ([f"unscored {number}" for number in range(6)], [(None, None, None)] * 6),
    "one score": ([f"scored {number}" for number in range(6)], [SPREAD[0], *[(None, None, None)] * 5]),
    "not finite": ([f"odd {number}" for number in range(6)], [("nan", "inf", 10**400)] * 6),
    "all equal": ([f"equal {number}" for number in range(6)], [SPREAD[2]] * 6),
}
ENDS = {
    "one text": "same_text",
    "all empty": "no_response",  # validation drops empty ones
    "only one not empty": "too_few",
    "one response": "too_few",
    "no scores": "no_response",
    "one score": "too_few",
    "not finite": "no_response",
    "all equal": "sigma_zero",
}


@pytest.fixture(scope="module")
def world(tmp_path_factory, ray_cluster):
    rows = scored_rows(prompts=10, responses=6)
    for name, (texts, scores) in ODD.items():
        for number, (text, given) in enumerate(zip(texts, scores, strict=True)):
            rows.append(
                {"prompt": name, "response": text, "model": f"m{number}", **dict(zip(RATERS, given, strict=True))}
            )
    return curate(make_world(tmp_path_factory.mktemp("odd"), rows))


def test_each_odd_prompt_ends_where_it_should(world):
    names = {row["prompt_id"]: row["prompt"][0]["content"] for row in world.tables["prompts"].read().to_pylist()}
    left = {row["prompt_id"]: row["reason"] for row in dropped_rows(world.tables).to_pylist() if row["prompt_id"]}
    paired = {row["prompt_id"] for row in world.tables["pairs"].read().to_pylist()}
    ends = {names[key]: "pair" if key in paired else left[key] for key in names if names[key] in ODD}
    assert ends == ENDS
    check_seams(world.tables)
    assert sum(account(world.tables, dropped_rows(world.tables)).values()) == 10 + len(ODD)


def test_no_pair_holds_one_text_twice(world):
    texts = {row["response_id"]: row["response"] for row in world.tables["responses"].read().to_pylist()}
    pairs = world.tables["pairs"].read().to_pylist()
    assert len(pairs) > 5
    assert [pair for pair in pairs if texts[pair["chosen_id"]] == texts[pair["rejected_id"]]] == []


@pytest.mark.parametrize(
    ("cut", "reason"), [((0, 1, 2, 3), "truncated_chosen"), ((3,), "truncated_chosen"), ((0, 1, 2), None)]
)
def test_a_response_that_was_cut_is_never_chosen(cut, reason):
    prompt = {"prompt_id": "p", "source_row": 0, "prompt": [], "answer": None, "split": "train", "source": "s"}
    responses = [
        dict.fromkeys(schemas.RESPONSES.arrow.names)
        | {"response_id": f"r{n}", "prompt_id": "p", "sample_index": n, "response": f"text {n}", "model": "m"}
        | {"finish_reason": "length" if n in cut else "stop"}
        for n in range(4)
    ]
    quality = pa.table(
        {"response_id": [f"r{n}" for n in range(4)], "prompt_id": ["p"] * 4, "quality": [0.0, 1.0, 2.0, 3.0]}
    )
    inputs = {"prompts": pa.Table.from_pylist([prompt]), "responses": pa.Table.from_pylist(responses)}
    done = _PairChunk(Pairing())({**inputs, "quality": quality})
    assert done.dropped["reason"].to_pylist() == ([reason] if reason else [])
    assert done.table.num_rows == (0 if reason else 1)
