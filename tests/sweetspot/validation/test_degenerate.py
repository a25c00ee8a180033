import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweetspot.errors import ContractError
from sweetspot.validation.degenerate import flags

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"
FLAGS = ("empty", "compressible", "repetitive", "char_run", "truncated", "refusal")
PROSE = "The tide rises twice a day because the moon pulls the nearer ocean more strongly than the earth beneath it."


def test_ordinary_prose_has_no_flag():
    result = flags([PROSE], finish_reasons=["stop"])
    assert not result.any[0]
    assert result.warnings == ()


def test_measures_equal_their_definitions():
    texts = [PROSE, "", "aaabbbbcc", "one two three four " * 5, "naïve 日本語 🙂🙂"]
    result = flags(texts, finish_reasons=["stop"] * 5)
    expected = [len(zlib.compress(t.encode(), 6)) / len(t.encode()) if t else 1.0 for t in texts]
    np.testing.assert_array_equal(result.compression_ratio, expected)
    assert result.longest_run.tolist() == [2, 0, 4, 2, 2]
    # 20 words give 17 4-grams; "one two three four" occurs 5 times.
    assert result.top_ngram_share[3] == 5 / 17
    assert result.top_ngram_share[2] == 0.0


@settings(max_examples=50, deadline=None)
@given(st.text(alphabet="ab \n", max_size=60))
def test_longest_run_equals_a_scan(text):
    best = run = 0
    for k, character in enumerate(text):
        run = run + 1 if k and text[k - 1] == character else 1
        best = max(best, run)
    assert flags([text]).longest_run[0] == best


def test_ngram_share_needs_ten_ngrams():
    twelve_words, thirteen_words = " ".join(["spam"] * 12), " ".join(["spam"] * 13)
    result = flags([twelve_words, thirteen_words])
    assert result.top_ngram_share.tolist() == [0.0, 1.0]
    assert result.repetitive.tolist() == [False, True]


def test_each_flag_starts_at_its_limit():
    words = [f"w{k}" for k in range(100)]
    # One 4-gram repeated k times among n 4-grams, kept apart by fresh words.
    at_limit = "a b c d x1 a b c d x2 " + " ".join(words[:3])
    result = flags(["x" * 99, "x" * 100, at_limit, at_limit.rsplit(" ", 1)[0] + " a b c d"])
    assert result.char_run.tolist()[:2] == [False, True]
    assert result.top_ngram_share[2] == 2 / 10
    assert result.repetitive.tolist()[2:] == [False, True]


def test_compressible_is_a_ratio_below_one_fifth():
    result = flags(["spam and eggs " * 40, PROSE])
    assert result.compressible.tolist() == [True, False]
    assert result.compression_ratio[0] < 0.2 < result.compression_ratio[1]


def test_empty_means_no_non_space_character():
    result = flags(["", " \n\t\u3000 ", ".", " a "])
    assert result.empty.tolist() == [True, True, False, False]
    assert result.compression_ratio[0] == 1.0


def test_truncated_follows_the_finish_reason_where_given():
    result = flags(["cut of", "done.", "cut off."], finish_reasons=["length", "stop", "length"])
    assert result.truncated.tolist() == [True, False, True]
    assert result.warnings == ()


def test_finish_reason_wins_over_the_token_rule_and_a_missing_one_falls_back_on_it():
    result = flags(
        ["no end", "no end", "no end"], finish_reasons=["stop", None, "length"], token_counts=[8, 8, 3], max_tokens=8
    )
    assert result.truncated.tolist() == [False, True, True]


@pytest.mark.parametrize("ending", list(".!?…\"')]}。！？`"))
def test_a_text_that_ends_properly_is_not_truncated_by_the_token_rule(ending):
    result = flags([f"so it goes{ending} \n", "so it goes \n", "so it goes,"], token_counts=[8, 8, 9], max_tokens=8)
    assert result.truncated.tolist() == [False, True, True]


def test_a_text_below_the_budget_is_not_truncated():
    assert flags(["no end"], token_counts=[7], max_tokens=8).truncated.tolist() == [False]


@pytest.mark.parametrize(
    "arguments",
    [{}, {"token_counts": [8, 8]}, {"max_tokens": 8}, {"finish_reasons": [None, float("nan")]}],
)
def test_unknown_truncation_is_said_and_not_guessed(arguments):
    result = flags(["no end", "no end"], **arguments)
    assert result.truncated.tolist() == [False, False]
    assert result.warnings[0].startswith("truncation_not_checked: 2 of 2")


def test_partly_known_finish_reasons_are_used_and_the_rest_is_said():
    result = flags(["a", "b"], finish_reasons=["length", None])
    assert result.truncated.tolist() == [True, False]
    assert result.warnings[0].startswith("truncation_not_checked: 1 of 2")


REFUSALS = [
    "I'm sorry, but I can't help with that.",
    "I’m sorry, but I can’t assist with that request.",
    "I am sorry, but I cannot provide instructions for that.",
    "Sorry, I can't do that.",
    "I apologize, but I am unable to answer this.",
    "I cannot help with that.",
    "I can't help you with this one.",
    "I won't be able to assist you in this matter.",
    "I'm not able to help with creating malware.",
    "As an AI language model, I cannot browse the internet.",
    "As an AI, I cannot have opinions.",
    "As an AI developed to be helpful, I can’t take part in this.",
    "as a large language model I am not able to feel pain",
    "I must respectfully decline.",
    "  \n i'm SORRY, but i CAN'T.",
]
NOT_REFUSALS = [
    PROSE,
    "I'm sorry to hear that you lost your dog.",
    "Sorry about the confusion! The capital is Canberra.",
    "I can't help but smile when I read this.",
    "You cannot help with that tool alone; use a wrench.",
    "Artificial intelligence cannot replace a good teacher.",
    "Sorry. The library is closed. I can show you another one.",
    "The refusal letter said: no help is available.",
    "",
]


@pytest.mark.parametrize("text", REFUSALS)
def test_refusals_are_found(text):
    result = flags([text])
    assert result.refusal[0]
    assert result.any[0]


@pytest.mark.parametrize("text", NOT_REFUSALS)
def test_ordinary_answers_are_not_refusals(text):
    assert not flags([text]).refusal[0]


def test_refusals_count_only_within_the_first_two_hundred_characters():
    phrase = "I cannot help with that."
    whole, cut = "." * 176 + phrase, "." * 184 + phrase
    assert (len(whole), cut[:200][-16:]) == (200, "I cannot help wi")
    assert flags([whole, cut, "." * 200 + phrase]).refusal.tolist() == [True, False, False]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=40), max_size=5))
def test_any_is_the_or_of_all_six_and_no_text_crashes(texts):
    texts = [*texts, "\ud800", "a\udfffb" * 50]
    result = flags(texts, token_counts=[5] * len(texts), max_tokens=5)
    expected = np.column_stack([getattr(result, name) for name in FLAGS]).any(axis=1)
    np.testing.assert_array_equal(result.any, expected)
    assert np.isfinite(result.compression_ratio).all()


def test_any_needs_only_one_flag():
    texts = ["ok.", "", "x" * 100, "I cannot help with that."]
    assert flags(texts, finish_reasons=["stop"] * 4).any.tolist() == [False, True, True, True]
    assert flags(["ok."], finish_reasons=["length"]).any.tolist() == [True]


def test_dtypes_and_no_texts():
    result = flags([])
    assert result.compression_ratio.dtype == np.float64
    assert result.top_ngram_share.dtype == np.float64
    assert result.longest_run.dtype == np.int64
    for name in (*FLAGS, "any"):
        assert getattr(result, name).dtype == np.bool_
        assert getattr(result, name).shape == (0,)


@pytest.mark.parametrize(
    ("texts", "arguments", "message"),
    [
        ("one string", {}, "got a single str"),
        (["a", None], {}, r"1 of 2 entries are not text \(first: texts\[1\] is NoneType"),
        (["a"], {"finish_reasons": ["stop", "stop"]}, "texts has 1, finish_reasons has 2"),
        (["a"] * 4, {"finish_reasons": "stop"}, "finish_reasons: got a single str"),
        (["a"], {"token_counts": [1, 2], "max_tokens": 5}, "texts has 1, token_counts has 2"),
        (["a"], {"token_counts": [-1], "max_tokens": 5}, r"token_counts\[0\] = -1"),
        (["a"], {"token_counts": [1.5], "max_tokens": 5}, "whole counts"),
        (["a"], {"token_counts": [np.nan], "max_tokens": 5}, "finite"),
        (["a"], {"token_counts": [1], "max_tokens": 0}, "max_tokens: got 0"),
    ],
)
def test_bad_arguments_are_refused(texts, arguments, message):
    with pytest.raises(ContractError, match=message):
        flags(texts, **arguments)


def test_real_preference_data_contains_a_few_refusals_and_empty_responses():
    path = DATA / "pairwise" / "hh_rlhf_test.parquet"
    if not path.exists():
        pytest.skip(f"real data not found: {path}")
    chosen = pd.read_parquet(path)["chosen"].tolist()
    result = flags(chosen)
    assert 10 <= result.refusal.sum() <= 60
    assert result.empty.sum() == sum(not text.strip() for text in chosen)
    assert result.any.mean() < 0.05


@pytest.mark.parametrize("reasons", [5, 3.5, b"length", "length"])
def test_finish_reasons_that_are_no_sequence_are_refused(reasons):
    with pytest.raises(ContractError, match="finish_reasons: got a single"):
        flags(["x"], finish_reasons=reasons)
