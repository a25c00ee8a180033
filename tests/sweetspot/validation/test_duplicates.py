import itertools
import os
import subprocess
import sys
import time
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweetspot.errors import ContractError
from sweetspot.validation.duplicates import near_duplicates, pair_duplicates

ROOT = Path(__file__).resolve().parents[3]
DATA = ROOT.parent / "shared" / "data"


def slow_normal_form(text):
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(part for part in folded.split())


def slow_shingles(text, unit="word", size=5):
    form = slow_normal_form(text)
    tokens = list(form) if unit == "char" else form.split()
    if not tokens:
        return set()
    if len(tokens) < size:
        return {tuple(tokens)}
    return {tuple(tokens[k : k + size]) for k in range(len(tokens) - size + 1)}


def slow_pairs(texts, threshold, unit, size):
    """All pairs by definition, with their exact similarity."""
    forms = [slow_normal_form(text) for text in texts]
    first = [forms.index(form) for form in forms]
    found = {(first[k], k): 1.0 for k in range(len(texts)) if forms[k] and first[k] != k}
    distinct = [k for k in range(len(texts)) if forms[k] and first[k] == k]
    for i, j in itertools.combinations(distinct, 2):
        a, b = slow_shingles(texts[i], unit, size), slow_shingles(texts[j], unit, size)
        if len(a & b) / len(a | b) >= threshold:
            found[i, j] = len(a & b) / len(a | b)
    return found


def as_dict(result):
    return {(int(i), int(j)): float(s) for (i, j), s in zip(result.pairs, result.jaccard, strict=True)}


def overlapping_texts(pairs, shared, own):
    """Texts 2k and 2k + 1 share `shared` words and have `own` words each of their own."""
    texts = []
    for k in range(pairs):
        common = [f"c{k}_{x}" for x in range(shared)]
        texts.append(" ".join([*common, *(f"a{k}_{x}" for x in range(own))]))
        texts.append(" ".join([*(f"b{k}_{x}" for x in range(own)), *common]))
    return texts


texts_of_few_words = st.lists(
    st.lists(st.sampled_from(["red", "RED", "blue", "ﬁg", "fig", " \n"]), max_size=14).map(" ".join), max_size=12
)


@pytest.mark.parametrize(("unit", "size"), [("word", 1), ("word", 3), ("word", 5), ("char", 4)])
@settings(max_examples=40, deadline=None)
@given(texts=texts_of_few_words)
def test_pairs_and_similarities_equal_the_definition(unit, size, texts):
    result = as_dict(near_duplicates(texts, threshold=0.6, unit=unit, size=size))
    expected = slow_pairs(texts, 0.6, unit, size)
    assert {pair: expected[pair] for pair in result} == result  # nothing listed that should not be, values exact
    certain = {pair for pair, similarity in expected.items() if similarity >= 0.9}
    assert certain <= set(result)


@pytest.mark.parametrize(
    ("shared", "own", "threshold", "least_recall"),
    [(100, 12, 0.8, 0.95), (18, 1, 0.8, 0.99), (8, 1, 0.8, 0.95), (60, 20, 0.6, 0.95), (90, 5, 0.9, 0.99)],
)
def test_recall_at_and_above_the_threshold(shared, own, threshold, least_recall):
    texts = overlapping_texts(1000, shared, own)
    similarity = shared / (shared + 2 * own)
    assert similarity >= threshold
    result = near_duplicates(texts, threshold=threshold, size=1)
    assert len(result.pairs) >= least_recall * 1000
    np.testing.assert_array_equal(result.jaccard, similarity)
    assert (result.pairs[:, 0] % 2 == 0).all()
    assert (result.pairs[:, 1] == result.pairs[:, 0] + 1).all()


def test_a_pair_just_below_the_threshold_is_proposed_but_not_listed():
    texts = overlapping_texts(300, 79, 10)  # 79/99 = 0.798
    assert len(near_duplicates(texts, size=1).pairs) == 0
    assert len(near_duplicates(texts, size=1, threshold=79 / 99).pairs) >= 285


def test_other_seeds_find_the_same_clear_duplicates():
    texts = overlapping_texts(50, 95, 2)
    results = [near_duplicates(texts, size=1, seed=seed) for seed in range(5)]
    for result in results:
        np.testing.assert_array_equal(result.pairs, results[0].pairs)
    assert len(results[0].pairs) == 50


def test_texts_that_differ_in_case_width_and_white_space_are_copies():
    texts = [
        "The ﬁnal  ANSWER\tis Ｘ",
        "the final answer is x",
        "something else entirely here",
        " The final\nanswer is x ",
    ]
    result = near_duplicates(texts)
    assert result.pairs.tolist() == [[0, 1], [0, 3]]
    assert result.jaccard.tolist() == [1.0, 1.0]
    assert result.cluster.tolist() == [0, 0, 1, 0]


def test_case_is_folded_not_just_lowered():
    assert near_duplicates(["Straße", "STRASSE", "strasse", "Strafe"]).pairs.tolist() == [[0, 1], [0, 2]]


def test_pairs_are_sorted_by_their_first_then_their_second_text():
    near = " ".join(f"w{k}" for k in range(50))
    texts = [near, "a b", "a b", f"{near} end", "a b"]
    assert near_duplicates(texts).pairs.tolist() == [[0, 3], [1, 2], [1, 4]]
    assert near_duplicates(texts).jaccard.tolist() == [46 / 47, 1.0, 1.0]


def test_short_texts_pair_only_with_their_copies():
    result = near_duplicates(["a b", "a c", "a b", "a b c d e", "A  B"])
    assert result.pairs.tolist() == [[0, 2], [0, 4]]


def test_empty_texts_are_never_paired():
    result = near_duplicates(["", " ", "\u3000\n", "x", "x"])
    assert result.pairs.tolist() == [[3, 4]]
    assert result.cluster.tolist() == [0, 1, 2, 3, 3]


def test_different_texts_with_the_same_shingles_have_similarity_one():
    result = near_duplicates(["la " * 6, "la " * 60], threshold=1.0)
    assert result.pairs.tolist() == [[0, 1]]
    assert result.jaccard.tolist() == [1.0]


def test_clusters_are_the_components_of_the_pairs_numbered_by_first_member():
    words = [f"w{k}" for k in range(60)]
    a, b, c = " ".join(words[:50]), " ".join(words[3:53]), " ".join(words[6:56])
    result = near_duplicates(["lonely text number one", c, a, "lonely text number two", b], size=1)
    assert result.pairs.tolist() == [[1, 4], [2, 4]]  # a and c are below 0.8, b joins them
    assert result.cluster.tolist() == [0, 1, 1, 2, 1]


def test_character_shingles_work_without_spaces():
    texts = ["私は昨日図書館で三冊の本を借りました", "私は昨日図書館で三冊の本を借りました。", "今日は雨が降っています"]
    assert near_duplicates(texts, unit="char").pairs.tolist() == [[0, 1]]
    assert near_duplicates(texts, unit="word").pairs.tolist() == []


def test_many_copies_of_one_text_do_not_cost_their_square():
    texts = ["the same text again and again"] * 100_000
    start = time.perf_counter()
    result = near_duplicates(texts)
    assert time.perf_counter() - start < 20
    assert result.pairs.shape == (99_999, 2)
    assert (result.pairs[:, 0] == 0).all()
    assert result.cluster.max() == 0


def test_later_copies_of_a_near_duplicate_are_paired_with_their_own_first_occurrence_only():
    words = [f"w{k}" for k in range(40)]
    a, b = " ".join(words), " ".join([*words[:-1], "end"])
    result = near_duplicates([a, b, a, b, b])
    assert result.pairs.tolist() == [[0, 1], [0, 2], [1, 3], [1, 4]]


def test_all_pairs_of_a_large_cluster_are_listed():
    base = " ".join(f"w{k}" for k in range(100))
    texts = [f"{base} item {k}" for k in range(200)]
    result = near_duplicates(texts)
    assert len(result.pairs) == 200 * 199 // 2
    assert set(map(tuple, result.pairs.tolist())) == set(itertools.combinations(range(200), 2))


def test_the_order_of_the_texts_only_renumbers_the_pairs():
    texts = overlapping_texts(60, 30, 3)
    order = np.random.default_rng(0).permutation(len(texts))
    plain = near_duplicates(texts, size=1)
    shuffled = near_duplicates([texts[k] for k in order], size=1)
    back = {tuple(sorted(order[pair].tolist())) for pair in shuffled.pairs}
    assert back == set(map(tuple, plain.pairs.tolist()))
    assert len(plain.pairs) >= 57


def test_the_result_is_the_same_in_another_process():
    program = (
        "from sweetspot.validation.duplicates import near_duplicates as f;"
        "t=[' '.join(f'{(k*7+x*3)%50}' for x in range(30)) for k in range(200)];"
        "r=f(t,threshold=.5,size=2);print(r.pairs.tolist(),r.jaccard.tolist(),r.cluster.tolist());"
        "from sweetspot.validation._minhash import signatures as s;"
        "print(s(t,unit='word',size=2,permutations=8,seed=0)[1].tolist())"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
    assert len(outputs.pop()) > 1000


def test_lone_surrogates_do_not_crash():
    broken = "one two three \ud800 four five six"
    for unit in ("word", "char"):
        assert near_duplicates([broken, "x", broken.upper()], unit=unit).pairs.tolist() == [[0, 2]]


def test_too_few_permutations_for_the_threshold_are_reported():
    assert near_duplicates(["a"], threshold=0.01).warnings[0].startswith("low_recall: ")
    assert near_duplicates(["a"], threshold=0.8, permutations=1).warnings[0].startswith("low_recall: ")
    assert near_duplicates(["a"], threshold=0.1).warnings == ()
    assert near_duplicates(["a"]).warnings == ()


def test_no_texts():
    result = near_duplicates([])
    assert result.pairs.shape == (0, 2)
    assert result.pairs.dtype == np.int64
    assert result.jaccard.dtype == np.float64
    assert result.cluster.dtype == np.int64
    assert result.cluster.size == 0


@pytest.mark.parametrize(
    ("texts", "options", "message"),
    [
        ("one text", {}, "single str"),
        (["a", 3], {}, r"texts\[1\] is int"),
        (["a"], {"threshold": 0}, "threshold: got 0"),
        (["a"], {"threshold": 1.01}, "threshold: got 1.01"),
        (["a"], {"threshold": float("nan")}, "threshold: got nan"),
        (["a"], {"unit": "token"}, "unit: got 'token'"),
        (["a"], {"size": 0}, "size: got 0"),
        (["a"], {"permutations": 0}, "permutations: got 0"),
        (["a"], {"seed": -1}, "seed: got -1"),
    ],
)
def test_bad_arguments_are_refused(texts, options, message):
    with pytest.raises(ContractError, match=message):
        near_duplicates(texts, **options)


def slow_pair_duplicates(prompts, first, second, winner):
    """The definitions, row by row: duplicate_of, swap_of, contradicts, contradictory, identical."""
    prompts, first, second = ([slow_normal_form(t) for t in column] for column in (prompts, first, second))
    won = [{1: a, 2: b, 0: None}[w] for a, b, w in zip(first, second, winner, strict=True)]

    def row_of(row):
        same_prompt = [k for k in range(len(prompts)) if prompts[k] == prompts[row]]
        same_pair = [k for k in same_prompt if {first[k], second[k]} == {first[row], second[row]}]
        same_order = [k for k in same_pair if (first[k], second[k]) == (first[row], second[row])]
        other_order = [k for k in same_pair if (first[k], second[k]) == (second[row], first[row])]
        identical = first[row] == second[row]
        duplicates = [k for k in same_order if winner[k] == winner[row]]
        swaps = [k for k in other_order if won[k] == won[row] and not identical]
        against = [k for k in same_pair if None not in (won[k], won[row]) and won[k] != won[row]]
        earliest = [min((k for k in found if k < row), default=-1) for found in (duplicates, swaps, against)]
        return (*earliest, len(against) > 0, identical)

    return [row_of(row) for row in range(len(prompts))]


few_words = st.sampled_from(["a", "A ", "b", "c", ""])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["p", "P", "q"]), few_words, few_words, st.integers(0, 2)), max_size=10))
def test_pair_duplicates_equal_their_definitions(rows):
    columns = [list(column) for column in zip(*rows, strict=True)] or [[], [], [], []]
    result = pair_duplicates(*columns)
    fields = (result.duplicate_of, result.swap_of, result.contradicts, result.contradictory, result.identical)
    assert list(zip(*(field.tolist() for field in fields), strict=True)) == slow_pair_duplicates(*columns)


def test_pair_duplicates_of_a_readable_table():
    rows = [
        ("Q", "yes", "no", 1),
        ("q ", "YES", "no", 1),  # repeats row 0
        ("Q", "no", "yes", 2),  # row 0 with the sides exchanged
        ("Q", "yes", "no", 2),  # contradicts row 0
        ("Q", "no", "yes", 0),  # a tie contradicts nobody
        ("Q", "yes", "no", 0),  # swap of the tie
        ("R", "yes", "no", 2),  # another prompt
        ("Q", "yes", "yes", 1),  # no comparison at all
    ]
    result = pair_duplicates(*(list(column) for column in zip(*rows, strict=True)))
    assert result.duplicate_of.tolist() == [-1, 0, -1, -1, -1, -1, -1, -1]
    assert result.swap_of.tolist() == [-1, -1, 0, -1, -1, 4, -1, -1]
    assert result.contradicts.tolist() == [-1, -1, -1, 0, -1, -1, -1, -1]
    assert result.contradictory.tolist() == [True, True, True, True, False, False, False, False]
    assert result.identical.tolist() == [False] * 7 + [True]
    assert result.warnings == ()


def test_without_winners_the_first_response_is_the_chosen_one():
    prompts, first, second = ["p"] * 3, ["a", "b", "a"], ["b", "a", "b"]
    result = pair_duplicates(prompts, first, second)
    assert result.contradicts.tolist() == [-1, 0, 1]
    assert result.duplicate_of.tolist() == [-1, -1, 0]
    assert result.swap_of.tolist() == [-1, -1, -1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((["p"], ["a", "b"], ["c"]), "prompts has 1, first has 2, second has 1"),
        ((["p"], ["a"], [None]), r"second\[0\] is NoneType"),
        ((["p"], ["a"], ["b"], [3]), r"winner\[0\] = 3"),
        ((["p"], ["a"], ["b"], [1, 2]), "winner has 2"),
        ((["p"], ["a"], ["b"], [np.nan]), "winner"),
    ],
)
def test_bad_preference_tables_are_refused(arguments, message):
    with pytest.raises(ContractError, match=message):
        pair_duplicates(*arguments)


def real_pairs():
    path = DATA / "pairwise" / "hh_rlhf_test.parquet"
    if not path.exists():
        pytest.skip(f"real data not found: {path}")
    return pd.read_parquet(path)


def test_identical_responses_of_real_preference_pairs_are_found():
    table = real_pairs()
    result = pair_duplicates(table["prompt"].tolist(), table["chosen"].tolist(), table["rejected"].tolist())
    marked = table["identical"].to_numpy(bool)
    assert marked.sum() == 20
    assert result.identical[marked].all()
    same = [slow_normal_form(a) == slow_normal_form(b) for a, b in zip(table["chosen"], table["rejected"], strict=True)]
    assert result.identical.tolist() == same


def inverted_index_pairs(texts, threshold):
    """Exact near-duplicates with different normal forms, from the texts that share a shingle."""
    sets, forms = [slow_shingles(text) for text in texts], [slow_normal_form(text) for text in texts]
    index = {}
    for row, grams in enumerate(sets):
        if forms.index(forms[row]) == row:
            for gram in grams:
                index.setdefault(gram, []).append(row)
    candidates = {pair for rows in index.values() for pair in itertools.combinations(rows, 2)}
    similarity = {(i, j): len(sets[i] & sets[j]) / len(sets[i] | sets[j]) for i, j in candidates}
    return {pair: value for pair, value in similarity.items() if value >= threshold}


def test_near_duplicates_of_real_responses_equal_an_exact_search():
    table = real_pairs()
    texts = [*table["chosen"][:1500], *table["rejected"][:1500]]
    texts += [" ".join(text.split()[:-2]) for text in texts[:300]]  # the same responses, cut short
    expected = inverted_index_pairs(texts, 0.6)
    result = as_dict(near_duplicates(texts, threshold=0.6))
    listed = {pair: value for pair, value in result.items() if value < 1 or pair in expected}
    assert len(expected) > 100
    assert set(listed) <= set(expected)
    assert all(expected[pair] == value for pair, value in listed.items())
    assert len(listed) >= 0.95 * len(expected)


@pytest.mark.parametrize("value", [None, 5, 3.5])
def test_texts_that_are_no_sequence_are_refused(value):
    with pytest.raises(ContractError, match=r"texts: got .*, expected a sequence of texts"):
        near_duplicates(value)
    with pytest.raises(ContractError, match=r"second: got .*, expected a sequence of texts"):
        pair_duplicates(["p"], ["a"], value)


@pytest.mark.parametrize("threshold", ["0.5", True, None])
def test_a_threshold_that_is_no_number_is_refused(threshold):
    with pytest.raises(ContractError, match="threshold: got"):
        near_duplicates(["a"], threshold=threshold)
