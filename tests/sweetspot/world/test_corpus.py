import random
from itertools import islice

import pytest

from sweetspot.engines.verifiers import exact, graded
from sweetspot.world.corpus import BEHAVIOURS, broken_kind, corpus_messages, noisy_reply
from sweetspot.world.problems import problem_stream

PROBLEMS = list(islice(problem_stream("pretrain", seed=11), 400))


def replies_of(behaviour: str) -> list:
    rng = random.Random(2)
    return [(p, BEHAVIOURS[behaviour][1](p, rng)) for p in PROBLEMS]


def test_shares_sum_to_one_with_about_half_right_and_a_rare_broken_tail():
    shares = {name: share for name, (share, _) in BEHAVIOURS.items()}
    assert sum(shares.values()) == pytest.approx(1.0)
    assert 0.4 <= shares["right"] <= 0.55
    assert 0.005 <= shares["garbled"] + shares["empty"] + shares["endless"] <= 0.03


def test_corpus_is_right_as_often_as_its_share_says():
    rng = random.Random(0)
    replies = [(p, noisy_reply(p, rng=rng)) for p in islice(problem_stream("pretrain", seed=5), 4000)]
    right = sum(exact(r.text, p.answer, "stop") for p, r in replies) / len(replies)
    # Other behaviours are right by chance now and then (a swap of equal characters), never the reverse.
    assert BEHAVIOURS["right"][0] - 0.03 < right < BEHAVIOURS["right"][0] + 0.05


@pytest.mark.parametrize(
    "behaviour", ["right", "slip", "cut_short", "wrong_order", "echo", "wrapped", "ramble", "not_known"]
)
def test_sound_behaviours_end_are_not_broken_and_fit_the_sampling_limit(behaviour):
    for _, reply in replies_of(behaviour):
        assert reply.ends
        assert broken_kind(reply.text, "stop") is None
        assert len(reply.text) < 24


@pytest.mark.parametrize("behaviour", ["slip", "wrapped", "ramble", "not_known"])
def test_wrong_behaviours_are_never_exact(behaviour):
    assert not any(exact(r.text, p.answer, "stop") for p, r in replies_of(behaviour))


@pytest.mark.parametrize("behaviour", ["slip", "cut_short", "wrong_order", "wrapped"])
def test_near_misses_earn_part_of_the_grade(behaviour):
    grades = [graded(r.text, p.answer, "stop") for p, r in replies_of(behaviour)]
    assert 0.3 < sum(grades) / len(grades) < 0.9


@pytest.mark.parametrize("kind", ["garbled", "empty", "endless"])
def test_each_broken_behaviour_is_recognised_as_its_kind(kind):
    for _, reply in replies_of(kind):
        finish_reason = "stop" if reply.ends else "length"
        assert broken_kind(reply.text, finish_reason) == kind
        assert len(reply.text) > 24 or reply.ends


def test_a_system_text_comes_first_and_now_and_then():
    rng = random.Random(0)
    documents = [corpus_messages(p, rng=rng) for p in PROBLEMS]
    with_system = [d for d in documents if d[0]["role"] == "system"]
    assert 10 < len(with_system) < 60
    assert all([m["role"] for m in d] == ["system", "user"] for d in with_system)
