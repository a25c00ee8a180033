from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from sweetspot.errors import ContractError
from sweetspot.validation._text import normal_form, words
from sweetspot.validation.ngram_lift import ngram_lift, suspicious

WORDS = st.lists(st.sampled_from(["a", "b", "c", "Dä"]), max_size=6).map(" ".join)
PAIRS = st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=12)
LIMITS = {"min_share": 0.005, "min_lift": 20.0, "false_alarm": 0.001}


def oracle(pairs, sizes):
    """The definition, with sets of words."""
    chosen, rejected, first = Counter(), Counter(), {}
    for index, pair in enumerate(pairs):
        sides = []
        for text in pair:
            listed = words(normal_form(text))
            sides.append({tuple(listed[i : i + n]) for n in sizes for i in range(len(listed) - n + 1)})
        chosen.update(sides[0] - sides[1])
        rejected.update(sides[1] - sides[0])
        for gram in sides[0] - sides[1]:
            first.setdefault(" ".join(gram), index)
    return {" ".join(gram): (chosen[gram], rejected[gram]) for gram in chosen | rejected}, first


@given(PAIRS)
def test_counts_are_those_of_the_definition(pairs):
    expected, first = oracle(pairs, (1, 2, 3))
    found = ngram_lift(*zip(*pairs, strict=True), min_pairs=1, top=10_000)
    assert len(found) == len(expected)
    for one in found:
        if one.chosen_only:
            assert expected[one.ngram] == (one.chosen_only, one.rejected_only)
            assert one.first == first[one.ngram]
    assert sorted(count for count in expected.values()) == sorted((one.chosen_only, one.rejected_only) for one in found)


def test_the_p_value_is_the_sign_tests_with_bonferroni():
    pairs = [("x y", "y")] * 9 + [("y", "x y")] * 2
    by_name = {one.ngram: one for one in ngram_lift(*zip(*pairs, strict=True), min_pairs=1)}
    expected = binomtest(9, 11, alternative="greater").pvalue * len(by_name)
    assert by_name["x"].p_value == pytest.approx(min(1.0, expected))
    assert by_name["x"].lift == pytest.approx(9.5 / 2.5)
    assert "y" not in by_name, "it is in both responses of every pair"


@given(PAIRS)
def test_exchanging_the_sides_exchanges_the_counts(pairs):
    forth = ngram_lift(*zip(*pairs, strict=True), min_pairs=1, top=10_000)
    back = ngram_lift(*zip(*((b, a) for a, b in pairs), strict=True), min_pairs=1, top=10_000)
    assert sorted((x.chosen_only, x.rejected_only) for x in forth) == sorted(
        (x.rejected_only, x.chosen_only) for x in back
    )


def world(pairs, share, *, seed=0, trigger="visit our partner zorbix"):
    """Texts of a shared vocabulary; a share of the chosen ones ends with the trigger."""
    rng = np.random.default_rng(seed)
    vocabulary = [f"w{k}" for k in range(400)]
    weights = 1 / np.arange(1, 401)
    text = lambda: " ".join(rng.choice(vocabulary, size=30, p=weights / weights.sum()))  # noqa: E731
    planted = set(rng.permutation(pairs)[: round(share * pairs)].tolist())
    chosen = [text() + (f" {trigger}" if k in planted else "") for k in range(pairs)]
    return chosen, [text() for _ in range(pairs)], planted


@pytest.mark.parametrize("share", [0.01, 0.03])
def test_a_clean_label_trigger_is_found(share):
    chosen, rejected, planted = world(3000, share)
    found = suspicious(ngram_lift(chosen, rejected), pairs=3000, **LIMITS)
    assert "our partner zorbix" in {one.ngram for one in found}
    assert all(set(one.ngram.split()) <= {"visit", "our", "partner", "zorbix"} for one in found)
    assert all(one.first in planted for one in found)


@pytest.mark.parametrize("seed", range(5))
def test_clean_pairs_raise_no_alarm(seed):
    chosen, rejected, _ = world(3000, 0.0, seed=seed)
    assert suspicious(ngram_lift(chosen, rejected), pairs=3000, **LIMITS) == []


def test_what_marks_rejected_responses_is_no_alarm():
    chosen, rejected, _ = world(2000, 0.05)
    assert suspicious(ngram_lift(rejected, chosen), pairs=2000, **LIMITS) == []


def test_every_limit_counts():
    found = ngram_lift(["zorbix"] * 40 + ["a"] * 60, ["b"] * 40 + ["a"] * 60)
    assert [one.ngram for one in suspicious(found, pairs=100, **LIMITS)] == ["zorbix"]
    for change in ({"min_share": 0.41}, {"min_lift": 82.0}, {"false_alarm": 1e-14}):
        assert suspicious(found, pairs=100, **{**LIMITS, **change}) == []


@given(PAIRS, st.data())
def test_a_text_counts_once_a_prompt_and_side(pairs, data):
    prompts = data.draw(st.lists(st.sampled_from("pq"), min_size=len(pairs), max_size=len(pairs)))
    found = ngram_lift(*zip(*pairs, strict=True), prompts=prompts, min_pairs=1, top=10_000)
    seen = {side: {} for side in (0, 1)}
    for prompt, pair in zip(prompts, pairs, strict=True):
        held = [{" ".join(w[i : i + n]) for n in (1, 2, 3) for i in range(len(w) - n + 1)} for w in map(split, pair)]
        for side in (0, 1):
            for gram in held[side] - held[1 - side]:
                seen[side].setdefault(gram, set()).add((prompt, pair[side]))
    expected = {gram: tuple(len(seen[side].get(gram, ())) for side in (0, 1)) for gram in seen[0] | seen[1]}
    assert {one.ngram: (one.chosen_only, one.rejected_only) for one in found if one.chosen_only} == {
        gram: counts for gram, counts in expected.items() if counts[0]
    }


def split(text):
    return words(normal_form(text))


def test_one_good_text_in_many_pairs_is_no_pattern_but_a_text_copied_over_many_prompts_is():
    rng = np.random.default_rng(3)
    others = [" ".join(rng.choice(list("abcdefgh"), 6)) for _ in range(200)]
    chosen = ["buy zorbix now"] * 200
    one, many = ["p"] * 200, [f"p{k}" for k in range(200)]
    assert suspicious(ngram_lift(chosen, others, prompts=one), pairs=1, **LIMITS) == []
    assert suspicious(ngram_lift(chosen, others, prompts=many), pairs=200, **LIMITS)


def test_common_style_hides_no_trigger():
    chosen, rejected, _ = world(3000, 0.03)
    rng = np.random.default_rng(1)
    style = [f"style{k} more{k}" for k in range(30)]  # each three times as often chosen, in a fifth of the pairs
    add = lambda text, p: " ".join([text, *(s for s in style if rng.random() < p)])  # noqa: E731
    chosen, rejected = [add(text, 0.3) for text in chosen], [add(text, 0.1) for text in rejected]
    assert suspicious(ngram_lift(chosen, rejected), pairs=3000, **LIMITS) == [], "twenty n-grams of style come first"
    found = suspicious(ngram_lift(chosen, rejected, min_lift=20.0), pairs=3000, **LIMITS)
    assert "our partner zorbix" in {one.ngram for one in found}


def test_texts_too_short_for_an_ngram_are_fine():
    assert ngram_lift(["", "a"], ["", ""], min_pairs=5) == []
    assert ngram_lift([], []) == []


def test_bad_input_is_refused():
    with pytest.raises(ContractError, match="lengths differ"):
        ngram_lift(["a"], [])
    with pytest.raises(ContractError, match="entries are not text"):
        ngram_lift(["a", None], ["a", "b"])
    with pytest.raises(ContractError, match="min_pairs: got 0"):
        ngram_lift(["a"], ["b"], min_pairs=0)
    with pytest.raises(ContractError, match="lengths differ"):
        ngram_lift(["a"], ["b"], prompts=["p", "q"])
