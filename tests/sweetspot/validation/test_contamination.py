import random
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweetspot.errors import ContractError
from sweetspot.validation import contamination
from sweetspot.validation.contamination import ngram_overlap

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"


def grams(text, n):
    words = unicodedata.normalize("NFKC", text).casefold().split()
    return {tuple(words[k : k + n]) for k in range(len(words) - n + 1)}


def slow_overlap(texts, references, n):
    """Containment, reference and shared count by comparing every text with every reference."""
    rows = []
    for text in texts:
        best = (0.0, -1, 0)
        for index, reference in enumerate(references):
            shared = len(grams(text, n) & grams(reference, n))
            if shared:
                share = shared / min(len(grams(text, n)), len(grams(reference, n)))
                if share > best[0]:
                    best = (share, index, shared)
        rows.append(best)
    return rows


def as_rows(result):
    return list(zip(result.containment.tolist(), result.reference.tolist(), result.shared.tolist(), strict=True))


documents = st.lists(st.lists(st.sampled_from(["a", "b", "c", "A", "ﬁ"]), max_size=12).map(" ".join), max_size=6)


@settings(max_examples=50, deadline=None)
@given(texts=documents, references=documents, n=st.integers(1, 4))
def test_overlap_equals_the_definition(texts, references, n):
    result = ngram_overlap(texts, references, n=n)
    assert as_rows(result) == slow_overlap(texts, references, n)
    assert result.hit.tolist() == [share > 0 for share, _, _ in as_rows(result)]
    assert result.too_short.tolist() == [len(text.split()) < n for text in texts]


def test_a_copied_passage_is_found_across_case_width_and_line_breaks():
    passage = "It was the best of times, it was the worst of times, it was the age of wisdom"
    text = f"Please continue: {passage.upper()}".replace(" ", "\n")
    clean = " ".join(f"word{k}" for k in range(30))
    result = ngram_overlap([clean, text], ["unrelated " * 20, passage])
    assert result.hit.tolist() == [False, True]
    assert result.reference.tolist() == [-1, 1]
    assert result.containment.tolist() == [0.0, 1.0]  # the reference lies wholly inside the text
    assert result.shared[1] == len(passage.split()) - 12


def test_thirteen_words_in_a_row_are_needed_by_default():
    words = [f"w{k}" for k in range(13)]
    assert ngram_overlap([" ".join(["x", *words])], [" ".join(["y", *words])]).hit.tolist() == [True]
    assert ngram_overlap([" ".join(["x", *words[1:]])], [" ".join(["y", *words[1:]])]).hit.tolist() == [False]


def test_the_threshold_decides_what_is_a_hit_but_not_what_is_measured():
    text = " ".join(f"w{k}" for k in range(10))
    half = " ".join([*(f"w{k}" for k in range(5)), *(f"v{k}" for k in range(5))])
    for threshold, hit in ((None, True), (4 / 9, True), (0.45, False), (1.0, False)):
        result = ngram_overlap([text], [half], n=2, threshold=threshold)
        assert result.containment.tolist() == [4 / 9]
        assert result.hit.tolist() == [hit]


def test_the_share_is_taken_of_the_smaller_set_so_short_questions_in_long_texts_are_found():
    long = " ".join(f"w{k}" for k in range(1000))
    assert ngram_overlap([long], ["w500 w501 w502"], n=3).containment.tolist() == [1.0]
    assert ngram_overlap(["w500 w501 w502"], [long], n=3).containment.tolist() == [1.0]


def test_the_lowest_of_equally_good_references_is_named():
    assert ngram_overlap(["a b c d"], ["x y", "b c d", "a b c d"], n=2).reference.tolist() == [1]


def test_fewer_shared_ngrams_can_be_the_larger_share():
    result = ngram_overlap(["a b c d e f"], ["a b c x y z u v w", "e f"], n=2)
    assert (result.reference[0], result.shared[0], result.containment[0]) == (1, 1, 1.0)


def test_repeated_ngrams_count_once():
    result = ngram_overlap(["a b a b a b"], ["a b c a b c"], n=2)
    assert (result.shared[0], result.containment[0]) == (1, 1 / 2)


def test_short_texts_cannot_be_checked_and_short_references_cannot_be_found():
    result = ngram_overlap(["a b", "a b c", ""], ["a b", "a b c", ""], n=3)
    assert result.too_short.tolist() == [True, False, True]
    assert result.hit.tolist() == [False, True, False]
    assert result.warnings == ("short_references: 2 of 3 references have fewer than 3 words and cannot be found",)


def test_without_references_nothing_is_a_hit():
    result = ngram_overlap(["a b c"], [], n=2, threshold=0.5)
    assert result.hit.tolist() == [False]
    assert result.reference.tolist() == [-1]
    assert result.warnings == ()
    assert ngram_overlap([], ["a b"], n=2).hit.shape == (0,)


def test_dtypes():
    result = ngram_overlap(["a b c"], ["a b c"], n=2)
    assert result.containment.dtype == np.float64
    assert result.reference.dtype == np.int64
    assert result.shared.dtype == np.int64
    assert result.hit.dtype == np.bool_
    assert result.too_short.dtype == np.bool_


def test_lone_surrogates_do_not_crash():
    assert ngram_overlap(["a \ud800 b"], ["x a \ud800 B"], n=3).hit.tolist() == [True]


def test_results_do_not_depend_on_how_the_texts_are_blocked(monkeypatch):
    rng = random.Random(0)
    texts = [" ".join(rng.choices("abcdef", k=30)) for _ in range(60)]
    references = [" ".join(rng.choices("abcdef", k=20)) for _ in range(25)]
    whole = as_rows(ngram_overlap(texts, references, n=4))
    assert whole == slow_overlap(texts, references, 4)
    monkeypatch.setattr(contamination, "_BLOCK_MATCHES", 10)
    monkeypatch.setattr("sweetspot.validation._text.BLOCK_TOKENS", 50)
    assert as_rows(ngram_overlap(texts, references, n=4)) == whole


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("text", ["a"]), {}, "texts: got a single str"),
        ((["a"], "text"), {}, "references: got a single str"),
        ((["a"], [None]), {}, r"references\[0\] is NoneType"),
        ((["a"], ["a"]), {"n": 0}, "n: got 0"),
        ((["a"], ["a"]), {"n": 2.5}, "n: got 2.5"),
        ((["a"], ["a"]), {"threshold": 0}, "threshold: got 0"),
        ((["a"], ["a"]), {"threshold": 1.5}, "threshold: got 1.5"),
    ],
)
def test_bad_arguments_are_refused(arguments, options, message):
    with pytest.raises(ContractError, match=message):
        ngram_overlap(*arguments, **options)


def test_evaluation_prompts_planted_in_real_responses_are_found():
    paths = [DATA / "verifiable" / "gsm8k.parquet", DATA / "pairwise" / "hh_rlhf_test.parquet"]
    for path in paths:
        if not path.exists():
            pytest.skip(f"real data not found: {path}")
    tables = [pd.read_parquet(path) for path in paths]
    column = next(name for name in tables[0].columns if name in ("question", "prompt", "problem"))
    references = [text for text in tables[0][column] if len(text.split()) >= 13][:500]
    texts = tables[1]["chosen"].tolist()[:1000]
    before = ngram_overlap(texts, references)
    planted = texts[:20] + [f"{text} {references[k]}" for k, text in enumerate(texts[20:70])] + texts[70:]
    after = ngram_overlap(planted, references)
    assert before.hit.sum() <= 2
    assert after.hit[20:70].all()
    assert after.reference[20:70].tolist() == list(range(50))
    assert after.hit.sum() <= 52


@pytest.mark.parametrize("value", [None, 5])
def test_texts_and_references_that_are_no_sequence_are_refused(value):
    with pytest.raises(ContractError, match=r"texts: got .*, expected a sequence of texts"):
        ngram_overlap(value, ["a"])
    with pytest.raises(ContractError, match=r"references: got .*, expected a sequence of texts"):
        ngram_overlap(["a"], value)
