"""Reward-conditioned relabelling: the two rows, what travels, where the goal goes, ties and errors."""

import copy
import math
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweetspot.errors import ContractError, MissingRatingError
from sweetspot.relabel import Relabelled, reward_conditioned

GOAL_TEXT = "Aim at {goal} of 10 {not a field}."


def message(role, content):
    return {"role": role, "content": content}


def pair(high=9.0, low=8.0, **more):
    return {
        "prompt": [message("user", "question")],
        "chosen": [message("assistant", "good")],
        "rejected": [message("assistant", "bad")],
        "chosen_rating": high,
        "rejected_rating": low,
        **more,
    }


FULL = pair(
    pair_id="p7",
    prompt_id="q1",
    margin=1.0,
    margin_external=-0.5,
    margin_implicit=None,
    preference_probability=0.8,
    score_chosen=9.0,
    score_rejected=8.0,
    chosen_model="m1",
    rejected_model="m2",
    chosen_tokens=12,
    style_chosen="plain",
    ref_chosen_logps=-3.0,
    ref_rejected_logps=-4.0,
    chosenness=3,
    goal=None,
    route="dpo",
    tags=["a"],
)


def relabel(*pairs, **options):
    return reward_conditioned(list(pairs), **{"goal_text": GOAL_TEXT, **options})


def text(goal):
    return f"Aim at {goal} of 10 {{not a field}}."


# ---- the two rows


def test_row_a_keeps_and_row_b_swaps_the_labels():
    a, b = relabel(pair()).rows
    assert (a["goal"], a["chosen"], a["rejected"]) == (9.0, pair()["chosen"], pair()["rejected"])
    assert (b["goal"], b["chosen"], b["rejected"]) == (8.0, pair()["rejected"], pair()["chosen"])
    assert (b["chosen_rating"], b["rejected_rating"]) == (8.0, 9.0)
    assert type(relabel(pair(9, 8)).rows[0]["goal"]) is float


def test_everything_of_a_response_travels_with_it():
    a, b = relabel(FULL).rows
    kept = {k: v for k, v in FULL.items() if k not in ("prompt", "goal", "pair_id")}
    assert {k: v for k, v in a.items() if k in kept} == {
        **kept,
        "ref_chosen_logps": None,
        "ref_rejected_logps": None,
    }
    assert {k: v for k, v in b.items() if k in kept} == {
        **kept,
        "chosen": FULL["rejected"],
        "rejected": FULL["chosen"],
        "chosen_rating": 8.0,
        "rejected_rating": 9.0,
        "score_chosen": 8.0,
        "score_rejected": 9.0,
        "chosen_model": "m2",
        "rejected_model": "m1",
        "margin": -1.0,
        "margin_external": 0.5,
        "preference_probability": None,
        "ref_chosen_logps": None,
        "ref_rejected_logps": None,
    }
    assert (a["pair_id"], b["pair_id"]) == ("p7:a", "p7:b")
    assert set(a) == set(b) == set(FULL)


def test_keys_without_a_partner_are_copied():
    _, b = relabel(FULL).rows
    assert (b["chosen_tokens"], b["style_chosen"], b["chosenness"]) == (12, "plain", 3)


def test_absent_keys_stay_absent():
    a, b = relabel(pair()).rows
    assert set(a) == set(b) == {*pair(), "goal"}


def test_zero_margin_does_not_become_negative_zero():
    _, b = relabel(pair(margin=0.0, pair_id=None)).rows
    assert math.copysign(1, b["margin"]) == 1
    assert b["pair_id"] is None
    assert relabel(pair(pair_id=5)).rows[1]["pair_id"] == "5:b"


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(-10, 10), st.floats(-10, 10)), max_size=8), st.booleans())
def test_the_chosen_response_meets_the_goal_exactly(ratings, drop_ties):
    pairs = [pair(high, low, pair_id=i) for i, (high, low) in enumerate(ratings)]
    result = relabel(*pairs, drop_ties=drop_ties)
    assert all(row["goal"] == row["chosen_rating"] for row in result.rows)
    equal = [high == low for high, low in ratings]
    assert result.ties == sum(equal)
    order = [f"{i}:{s}" for i, tie in enumerate(equal) if not (tie and drop_ties) for s in "ab"]
    assert [row["pair_id"] for row in result.rows] == order


def test_five_pairs_with_one_tie():
    pairs = [pair(9, 8), pair(7, 7), pair(3, 1), pair(10, 2), pair(6, 5.5)]
    dropped, kept = relabel(*pairs), relabel(*pairs, drop_ties=False)
    assert (len(dropped.rows), dropped.ties) == (8, 1)
    assert (len(kept.rows), kept.ties) == (10, 1)
    assert [row["goal"] for row in kept.rows] == [9, 8, 7, 7, 3, 1, 10, 2, 6, 5.5]


def test_a_contradicted_label_follows_the_same_rules():
    a, b = relabel(pair(2, 6)).rows
    assert (a["goal"], a["chosen"][0]["content"]) == (2, "good")
    assert (b["goal"], b["chosen"][0]["content"]) == (6, "bad")


def test_no_pairs():
    assert reward_conditioned([], goal_text=GOAL_TEXT) == Relabelled((), 0)
    assert isinstance(relabel(pair()).rows, tuple)


# ---- the goal text


@pytest.mark.parametrize(
    ("rating", "printed"), [(9.0, "9"), (7.5, "7.5"), (9, "9"), (np.float32(0.5), "0.5"), (1234567.0, "1.23457e+06")]
)
def test_goal_is_printed_in_short_form(rating, printed):
    assert relabel(pair(rating, 1)).rows[0]["prompt"][0]["content"] == text(printed)


def test_every_placeholder_is_replaced_and_other_braces_stay():
    row = relabel(pair(), goal_text="{goal}{goal} {} {x} {{goal}}").rows[0]
    assert row["prompt"][0]["content"] == "99 {} {x} {9}"


def test_system_placement_inserts_a_message():
    a, b = relabel(pair()).rows
    assert a["prompt"] == [message("system", text(9)), message("user", "question")]
    assert b["prompt"] == [message("system", text(8)), message("user", "question")]


def test_system_placement_extends_the_first_message():
    prompt = [message("system", "Be kind."), message("user", "question")]
    a, _ = relabel(pair(prompt=prompt)).rows
    assert a["prompt"] == [message("system", f"{text(9)}\n\nBe kind."), message("user", "question")]


def test_a_later_system_message_is_not_the_place():
    prompt = [message("user", "question"), message("system", "Be kind.")]
    assert relabel(pair(prompt=prompt)).rows[0]["prompt"] == [message("system", text(9)), *prompt]


def test_user_placement_takes_the_last_user_message():
    prompt = [message("user", "one"), message("assistant", "two"), message("user", "three"), message("tool", "four")]
    a, _ = relabel(pair(prompt=prompt), placement="user").rows
    assert a["prompt"] == [*prompt[:2], message("user", f"{text(9)}\n\nthree"), prompt[3]]


def test_other_fields_of_a_message_stay():
    prompt = [{"role": "user", "content": "question", "name": "Ann"}]
    assert relabel(pair(prompt=prompt), placement="user").rows[0]["prompt"][0]["name"] == "Ann"


# ---- memory


def messages_of(rows):
    return [m for row in rows for key in ("prompt", "chosen", "rejected") for m in row[key]]


@pytest.mark.parametrize("placement", ["system", "user"])
def test_input_is_untouched_and_no_message_is_shared(placement):
    source = copy.deepcopy({**FULL, "prompt": [message("system", "Be kind."), message("user", "question")]})
    before = copy.deepcopy(source)
    rows = relabel(source, placement=placement).rows
    for row in rows:
        for m in messages_of([row]):
            m["content"] += "!"
        row["tags"].append("b")
    assert source == before
    identities = [id(m) for m in messages_of([source, *rows])]
    assert len(set(identities)) == len(identities)


def test_mappings_and_tuples_are_read():
    source = MappingProxyType(
        {k: tuple(map(MappingProxyType, v)) if isinstance(v, list) else v for k, v in pair().items()}
    )
    assert relabel(source).rows == relabel(pair()).rows


# ---- errors


@pytest.mark.parametrize("key", ["chosen_rating", "rejected_rating"])
@pytest.mark.parametrize("missing", [None, math.nan, np.float64("nan")])
def test_missing_rating_names_the_row(key, missing):
    with pytest.raises(MissingRatingError, match=rf"pairs\[1\]: {key} is (None|nan), expected a rating"):
        relabel(pair(), {**pair(), key: missing})


@pytest.mark.parametrize("bad", [math.inf, -math.inf, "9", True, [9]])
def test_bad_rating_is_refused(bad):
    with pytest.raises(ContractError, match=r"pairs\[1\]: rejected_rating is .*, expected a finite number") as caught:
        relabel(pair(), pair(low=bad))
    assert not isinstance(caught.value, MissingRatingError)


@pytest.mark.parametrize("key", ["prompt", "chosen", "rejected", "chosen_rating", "rejected_rating"])
def test_missing_key_is_named(key):
    row = pair()
    del row[key]
    with pytest.raises(ContractError, match=rf"pairs\[1\]: keys {key} are missing"):
        relabel(pair(), row)


@pytest.mark.parametrize("bad", ["text", None, [{"role": "user"}], [{"content": "x"}], ["text"], {"role": "user"}])
@pytest.mark.parametrize("key", ["prompt", "chosen", "rejected"])
def test_malformed_messages_are_refused(key, bad):
    with pytest.raises(ContractError, match=rf"pairs\[0\]: {key} is not a list of messages"):
        relabel({**pair(), key: bad})


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (pair(), r"pairs: got dict, expected a sequence"),
        ("rows", r"pairs: got str"),
        (None, r"pairs: got NoneType"),
        ([pair(), 3], r"pairs\[1\]: got int, expected a mapping"),
        ([pair(margin="wide")], r"pairs\[0\]: margin is 'wide', expected a number or None"),
    ],
)
def test_bad_pairs_are_refused(pairs, message):
    with pytest.raises(ContractError, match=message):
        reward_conditioned(pairs, goal_text=GOAL_TEXT)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"goal_text": "no placeholder"}, r"goal_text: got 'no placeholder', expected text that contains \{goal\}"),
        ({"goal_text": None}, r"goal_text: got None"),
        ({"goal_text": "{Goal}"}, r"goal_text"),
        ({"placement": "assistant"}, r"placement: got 'assistant', expected one of system, user"),
        ({"drop_ties": "yes"}, r"drop_ties: got 'yes', expected True or False"),
    ],
)
def test_bad_options_are_refused_even_without_pairs(options, message):
    with pytest.raises(ContractError, match=message):
        relabel(**options)


def test_user_placement_needs_a_user_message():
    with pytest.raises(ContractError, match=r"pairs\[0\]: prompt has no user message"):
        relabel(pair(prompt=[message("system", "Be kind.")]), placement="user")


def test_goal_needs_a_text_message():
    parts = [message("user", [{"type": "text", "text": "question"}])]
    with pytest.raises(ContractError, match=r"pairs\[0\]: content of the user message is list, expected text"):
        relabel(pair(prompt=parts), placement="user")
    assert relabel(pair(prompt=parts)).rows[0]["prompt"][1:] == parts


@pytest.mark.parametrize("margin", [np.uint8(2), np.int8(-128), np.int64(3)])
def test_integer_margins_are_negated_without_wrapping(margin):
    assert relabel(pair(margin=margin)).rows[1]["margin"] == -int(margin)


@pytest.mark.parametrize("rating", [10**400, -(10**400)])
def test_ratings_beyond_float64_are_refused(rating):
    with pytest.raises(ContractError, match=r"pairs\[0\]: chosen_rating is -?1000.*expected a finite number"):
        relabel(pair(high=rating))
