import dataclasses

import numpy as np
import pytest

from sweetspot.auditing.checks import near_prompts
from sweetspot.auditing.features import merge_pairs, pair_features
from sweetspot.auditing.groups import repeats
from sweetspot.auditing.reading import PairTexts


def message(text, role="user"):
    return {"role": role, "content": text}


def table_of(prompts, splits=None, block=1000):
    """Pairs with these prompts (texts, or lists of messages) and responses of their own, read block by block."""
    messages = [[message(one)] if isinstance(one, str) else one for one in prompts]
    parts = []
    for start in range(0, len(prompts), block):
        rows = list(range(start, min(start + block, len(prompts))))
        sides = [[[message(f"{side} {row}", "assistant")] for row in rows] for side in ("good", "bad")]
        labels = {} if splits is None else {"split": [splits[row] for row in rows]}
        names = [f"r{row}" for row in rows]
        texts = PairTexts(rows, names, [messages[row] for row in rows], *sides, [False] * len(rows), {}, labels)
        parts.append(pair_features(texts))
    return merge_pairs(parts), messages


def found_in(prompts, splits=None, block=1000, texts=None):
    pairs, messages = table_of(prompts, splits, block)
    read = texts if texts is not None else lambda places: {k: near_prompts_text(messages[k]) for k in places}
    (found,) = near_prompts.check(pairs, repeats(pairs), read)
    return found


def near_prompts_text(messages):
    return "\n\n".join(one["content"] for one in messages if one["role"] != "system")


def words(rng, n=40):
    return [f"w{k}" for k in rng.integers(0, 5000, n)]


@pytest.fixture
def questions():
    rng = np.random.default_rng(0)
    return [" ".join(words(rng)) for _ in range(60)]


def edited(text):
    return " ".join([*text.split()[:-1], "other"])


@pytest.mark.parametrize("block", [1000, 7])
def test_edited_prompts_are_found_once_however_often_they_are_repeated(questions, block):
    prompts = [*questions, *questions[:10], edited(questions[3]), edited(questions[3]), edited(questions[5])]
    found = found_in(prompts, block=block)
    assert found.figures["different_prompts"] == 62
    assert found.figures["near_duplicate_prompts"] == 2
    assert {one.row_id for one in found.suspects} == {"r70", "r72"}
    assert found.suspects[0].reason == "asks 95% the same as r3"  # 35 of 37 runs of five words


def test_exact_copies_and_strangers_are_not_near_duplicates(questions):
    found = found_in([*questions, *questions])
    assert (found.level, found.figures["near_duplicate_prompts"]) == ("ok", 0)


def test_a_shared_system_message_makes_no_two_prompts_alike(questions):
    rules = message(" ".join(questions), "system")
    assert found_in([[rules, message(one)] for one in questions]).figures["near_duplicate_prompts"] == 0
    other = message("other rules altogether, of six words", "system")
    found = found_in([[rules, message(questions[0])], [other, message(questions[0])], *questions[1:]])
    assert found.figures["near_duplicate_prompts"] == 1


def test_resemblance_across_splits_is_a_leak(questions):
    prompts = [*questions, edited(questions[3]), edited(questions[4])]
    splits = ["train"] * 60 + ["test", "train"]
    found = found_in(prompts, splits)
    assert found.figures["resemblances_across_splits"] == 1
    assert found.suspects[0].row_id == "r60"
    assert "in another split" in found.suspects[0].reason
    assert found.level == "look"


def test_short_prompts_are_said_not_to_be_compared(questions):
    found = found_in([*questions, "too short", "short, too"])
    assert found.figures["prompts_compared"] == 60
    assert found.says.startswith("0 of 60 different prompts of 5 words or more")
    assert found_in(["too short", "short, too"]).level == "not_checked"
    assert any(note.startswith("short: 2 prompts") for note in found.warnings)


def test_what_the_texts_do_not_confirm_is_no_near_duplicate(questions):
    prompts = [*questions, edited(questions[3])]
    found = found_in(prompts, texts=lambda places: {k: f"quite another text of row {k} here" for k in places})
    assert found.figures["near_duplicate_prompts"] == 0


def test_without_minhash_nothing_is_said(questions):
    pairs = dataclasses.replace(table_of(questions)[0], prompts=None)
    assert near_prompts.check(pairs, repeats(pairs), lambda places: {}) == ()


def test_a_prompt_costs_a_bounded_number_of_bytes(questions):
    sketches = table_of(questions)[0].prompts
    assert (sketches.row.nbytes + sketches.keys.nbytes + sketches.low_bytes.nbytes) / 60 == 128
