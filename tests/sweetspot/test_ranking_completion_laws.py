import warnings as python_warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from preference_matrices import MATRIX_METHODS, VOTE_METHODS, codes, intransitive, margins, vote_matrix
from scipy.special import expit

from sweetspot.errors import ContractError
from sweetspot.ranking import complete, flip_mixture


@pytest.mark.parametrize("method", [*MATRIX_METHODS, *VOTE_METHODS])
def test_nothing_is_known_across_components(method):
    _, votes = vote_matrix(3, n=17, votes=6)
    votes[:9, 9:], votes[9:, :9] = 0, 0
    votes[16], votes[:, 16] = 0, 0
    got = complete(votes, kind="votes", method=method)
    mixed = np.random.default_rng(0).permutation(17)
    scrambled = complete(votes[mixed][:, mixed], kind="votes", method=method)
    assert (scrambled.margin[~scrambled.known] == 0).all()
    assert np.array_equal(scrambled.known, got.known[mixed][:, mixed])
    assert got.component.tolist() == [0] * 9 + [1] * 7 + [2]
    same = got.component[:, None] == got.component
    assert np.array_equal(got.known, same)
    assert (got.margin[~same] == 0).all()
    assert (got.preference[~same] == 0.5).all()
    assert got.component[got.ranking].tolist() == [0] * 9 + [1] * 7 + [2]
    assert {"disconnected", "unverifiable", "few_items"} <= set(codes(got))
    for label in range(3):
        assert abs(got.scores[got.component == label].mean()) < 1e-12
    assert np.allclose(got.scores[:9], got.margin[:9, :9].mean(axis=1))
    if method != "flip_mixture":
        assert not got.flagged[9:].any()


def test_flags_spare_unverifiable_items_and_small_components():
    w, matrix, _ = margins(0, n=12)
    matrix[0, 3:], matrix[3:, 0] = np.nan, np.nan
    matrix[0, 1:3], matrix[1:3, 0] = (9.0, -9.0), (-9.0, 9.0)
    matrix[4, 7], matrix[7, 4] = 20.0, -20.0
    got = complete(matrix, kind="margin")
    assert got.unverifiable.tolist() == [True] + [False] * 11
    assert np.argwhere(got.flagged).tolist() == [[4, 7], [7, 4]]
    assert (np.abs(got.corruption[0]) > got.threshold).any()
    assert got.corrupted_share[4] == pytest.approx(1 / 10)
    assert got.flip_rate == pytest.approx(1 / (55 + 2))
    assert codes(got)[0] == "unverifiable"
    small = complete(np.delete(np.delete(matrix, [0, 1, 2, 3, 9], 0), [0, 1, 2, 3, 9], 1), kind="margin")
    assert not small.flagged.any()
    assert "few_items" in codes(small)
    assert w.size == 12


@pytest.mark.parametrize("method", ["auto", *MATRIX_METHODS, *VOTE_METHODS])
@pytest.mark.parametrize("n", [2, 3])
def test_two_and_three_items_have_scores_and_no_flags(method, n):
    votes = np.array([[0, 30, 0], [0, 0, 30], [3, 0, 0]])[:n, :n]
    got = complete(votes, kind="votes", method=method)
    # Robust PCA may call a single comparison corruption.
    assert got.scores[0] > got.scores[1] or (n == 2 and method in ("pcp", "two_stage"))
    assert not got.flagged.any()
    assert got.unverifiable.all()
    assert "few_items" in codes(got)
    if n == 3:
        assert flip_mixture([0, 1, 2], [1, 2, 0], [30, 30, 3], [0, 0, 0], n_items=3).corrupted.any()


@pytest.mark.parametrize("method", ["auto", *MATRIX_METHODS])
def test_margins_of_zero_prefer_nothing(method):
    matrix = np.zeros((9, 9))
    matrix[0, 5] = np.nan
    got = complete(matrix, kind="margin", method=method)
    assert (got.preference == 0.5).all()
    assert (got.scores == 0).all()
    assert got.ranking.tolist() == list(range(9))
    assert (got.rank, got.flip_rate, got.threshold, got.identifiable) == (0, 0.0, 1e-3, True)


def test_robust_pca_allows_two_more_than_the_rank_asked_for():
    truth, _ = intransitive(1, 30)
    assert complete(truth, kind="margin", method="pcp").identifiable
    narrow = complete(truth, kind="margin", method="pcp", rank=1)
    assert (narrow.rank, narrow.identifiable) == (4, False)
    assert "rank 4" in narrow.warnings[-1]


def test_equal_items_are_ranked_by_index_whatever_the_unit():
    w = np.array([1.0, 3.0, 1.0, 3.0, 2.0, 0.0, 2.0, 1.0])
    expected = [1, 3, 4, 6, 0, 2, 7, 5]
    for unit in (1e-12, 1e-3, 1.0, 1e6):
        for method in ("lad", "pssv"):
            got = complete(unit * (w[:, None] - w), kind="margin", method=method)
            assert got.ranking.tolist() == expected
    _, _, flipped = margins(0, n=40, flips=0.05)
    level = np.tile([0.0, 4.0, 1.0, 2.0, 3.0], 8)
    truth = level[:, None] - level
    for method in ("pcp", "pssv", "lad"):
        got = complete(np.where(flipped, -truth, truth), kind="margin", method=method)
        assert got.ranking.tolist() == np.argsort(-level, kind="stable").tolist()
    two = np.full((16, 16), np.nan)
    two[:8, :8] = two[8:, 8:] = 1e-12 * (w[:, None] - w)
    got = complete(two, kind="margin", method="lad")
    assert got.rank == 4
    assert got.ranking.tolist() == expected + [8 + k for k in expected]


@pytest.mark.parametrize("method", [*MATRIX_METHODS, *VOTE_METHODS, "auto"])
@pytest.mark.parametrize("link", ["logit", "probit"])
def test_turning_every_comparison_turns_every_preference(method, link):
    _, votes = vote_matrix(4, n=12, votes=7, pair_flips=0.1, observed=0.9)
    plain = complete(votes, kind="votes", method=method, link=link)
    turned = complete(votes.T, kind="votes", method=method, link=link)
    assert np.allclose(turned.preference, 1 - plain.preference, atol=1e-6)
    assert np.allclose(turned.scores, -plain.scores, atol=1e-5)
    assert np.array_equal(turned.flagged, plain.flagged)
    assert np.abs(plain.preference + plain.preference.T - 1).max() < 1e-9
    assert np.abs(plain.margin + plain.margin.T).max() < 1e-9
    assert np.array_equal(plain.corruption, -plain.corruption.T)
    assert (np.diag(plain.preference) == 0.5).all()
    total = votes + votes.T
    assert (plain.corruption[total == 0] == 0).all()


@given(seed=st.integers(0, 100), method=st.sampled_from([*MATRIX_METHODS, "auto"]))
@settings(max_examples=30, deadline=None)
def test_renaming_the_items_renames_the_result(seed, method):
    _, matrix, _ = margins(seed, n=12, observed=0.9, flips=0.05)
    name = np.random.default_rng(seed).permutation(12)
    plain = complete(matrix, kind="margin", method=method)
    moved = complete(matrix[name][:, name], kind="margin", method=method)
    assert moved.method == plain.method
    assert moved.threshold == pytest.approx(plain.threshold, rel=1e-5)
    if plain.corrupted_share.max() < 0.35:
        assert np.allclose(moved.margin, plain.margin[name][:, name], atol=1e-5)
        assert np.allclose(moved.scores, plain.scores[name], atol=1e-5)
        assert np.array_equal(name[moved.ranking], plain.ranking)


@given(seed=st.integers(0, 100), exponent=st.integers(-6, 6))
@settings(max_examples=20, deadline=None)
def test_margins_in_another_unit_scale_everything_but_the_floor(seed, exponent):
    _, matrix, _ = margins(seed, n=12, flips=0.08)
    c = 10.0**exponent
    plain, scaled = complete(matrix, kind="margin"), complete(c * matrix, kind="margin")
    assert np.allclose(scaled.scores, c * plain.scores, rtol=1e-6, atol=1e-9 * c)
    assert np.array_equal(scaled.ranking, plain.ranking)


def test_the_diagonal_is_ignored_and_one_direction_is_enough():
    _, matrix, _ = margins(5, n=10, observed=0.8, flips=0.1)
    plain = complete(matrix, kind="margin")
    triangles = np.where(np.triu(np.ones((10, 10))) > 0, matrix, np.nan), np.where(np.tri(10) > 0, matrix, np.nan)
    for variant in (*triangles, np.where(np.eye(10) > 0, 7.0, matrix)):
        assert np.array_equal(complete(variant, kind="margin").margin, plain.margin)
    rates = expit(matrix)
    whole = complete(rates, kind="win_rate", method="lad")
    for keep in (np.triu(np.ones((10, 10))), np.tri(10)):
        half = complete(np.where(keep > 0, rates, np.nan), kind="win_rate", method="lad")
        assert np.allclose(half.margin, whole.margin, atol=1e-9)
    votes = vote_matrix(0, n=8)[1]
    marked = votes + np.diag(np.full(8, 99.0))
    holes = np.where(votes == 0, np.nan, votes)
    for variant in (marked, holes):
        assert np.array_equal(complete(variant, kind="votes").margin, complete(votes, kind="votes").margin)


@pytest.mark.parametrize("method", ["auto", *MATRIX_METHODS, *VOTE_METHODS])
def test_types_repeat_bit_for_bit_and_nothing_is_emitted(method):
    votes = vote_matrix(6, n=9, votes=4, observed=0.8)[1]
    before = votes.copy()
    with python_warnings.catch_warnings():
        python_warnings.simplefilter("error")
        got, again = (complete(votes, kind="votes", method=method) for _ in range(2))
        whole = complete(votes.astype(int).tolist(), kind="votes", method=method)
        complete(votes.astype(np.float32), kind="votes", method=method)
    assert np.array_equal(votes, before)
    assert np.array_equal(got.margin, again.margin)
    assert np.array_equal(got.margin, whole.margin)
    for name in ("preference", "margin", "corruption", "scores", "corrupted_share"):
        assert getattr(got, name).dtype == np.float64
    assert got.ranking.dtype == got.component.dtype == np.int64
    assert got.known.dtype == got.flagged.dtype == got.unverifiable.dtype == np.bool_
    assert {type(got.flip_rate), type(got.threshold)} == {float}
    assert (type(got.rank), type(got.identifiable), type(got.method)) == (int, bool, str)
    assert isinstance(got.warnings, tuple)


NOTHING = np.full((3, 3), np.nan)
SIGNS = [[0, 1, 1], [0, 0, 1], [0, 0, 0]]
RATES = [[0.5, 0.7], [0.3, 0.5]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: complete(NOTHING, kind="margin"), r"matrix: none of the 9 cells holds a comparison"),
        (lambda: complete(np.eye(3), kind="votes"), r"matrix: none of the 9 cells"),
        (lambda: complete(np.zeros((1, 1)), kind="margin"), r"matrix: none of the 1 cells"),
        (lambda: complete(np.zeros((2, 3)), kind="margin"), r"matrix: got shape \(2, 3\), expected \(n, n\)"),
        (lambda: complete([1.0, 2.0], kind="margin"), r"matrix: got 1 dimension"),
        (lambda: complete([[0, np.inf], [0, 0]], kind="margin"), r"matrix: 1 of 4 values.*finite"),
        (lambda: complete([[0, -1], [2, 0]], kind="votes"), r"matrix: 1 of 4 values.*>= 0.*\(0, 1\)"),
        (lambda: complete([[0, 1.2], [-0.2, 0]], kind="win_rate"), r"matrix: 2 of 4 values.*in \[0, 1\]"),
        (
            lambda: complete([[0, 0.6], [0.39999, 0]], kind="win_rate"),
            r"matrix: 2 of 4.*\[i, j\] \+ matrix\[j, i\] = 1",
        ),
        (lambda: complete([[0, 2.0], [-2.1, 0]], kind="margin"), r"matrix: 2 cells are not the negative.*\[0, 1\] = 2"),
        (lambda: complete(RATES, kind="rates"), r"kind: got 'rates', expected one of votes, win_rate, margin"),
        (lambda: complete(RATES, kind="win_rate", method="svd"), r"method: got 'svd', expected one of auto, lad"),
        (lambda: complete(RATES, kind="win_rate", link="cauchit"), r"link: got 'cauchit', expected one of logit"),
        (lambda: complete(RATES, kind="win_rate", votes=0), r"votes: 1 of 1 values.*finite and > 0"),
        (lambda: complete(RATES, kind="win_rate", votes=[[0, 2], [3, 0]]), r"votes: 1 of 1 values.*symmetric"),
        (lambda: complete(RATES, kind="win_rate", votes=np.ones((3, 3))), r"votes: got shape \(3, 3\)"),
        (lambda: complete(RATES, kind="win_rate", votes=[1, 2]), r"votes: got 1 dimension"),
        (lambda: complete([[0, 3], [1, 0]], kind="votes", votes=4), r"votes: got a value with kind='votes'"),
        (lambda: complete(RATES, kind="win_rate", method="flip_mixture"), r"method: got 'flip_mixture' without vote"),
        (lambda: complete(RATES, kind="margin", method="bradley_terry"), r"matrix: 2 cells are not the negative"),
        (lambda: complete([[0, 1], [-1, 0]], kind="margin", method="bradley_terry"), r"'bradley_terry' without vote"),
        (lambda: complete(SIGNS, kind="votes", method="pcp"), r"method: got 'pcp', but each of the 3 observed pairs"),
        (lambda: complete(SIGNS, kind="votes", method="pssv"), r"exactly one vote.*Use method='bradley_terry'"),
        (lambda: complete(SIGNS, kind="votes", method="two_stage"), r"method: got 'two_stage', but each of the 3"),
        (lambda: complete(RATES, kind="win_rate", votes=1, method="pcp"), r"each of the 1 observed pairs has exactly"),
        (
            lambda: complete(np.zeros((5, 5)), kind="margin", method="pssv", rank=3),
            r"rank: got 3 for method 'pssv'.*even",
        ),
        (lambda: complete(np.zeros((3, 3)), kind="margin", method="pssv", rank=4), r"rank: got 4 .*up to n = 3"),
        (lambda: complete(np.zeros((3, 3)), kind="margin", rank=0), r"rank: got 0, expected a whole number >= 1"),
        (lambda: complete(RATES, kind="win_rate", threshold=0), r"threshold: got 0.0"),
    ],
)
def test_bad_input_is_refused_with_the_place_and_the_reason(call, message):
    with pytest.raises(ContractError, match=message):
        call()


def test_the_two_directions_of_a_pair_may_differ_by_the_stated_tolerance():
    complete([[0, 0.6], [0.4 + 9e-7, 0]], kind="win_rate")
    complete([[0, 20.0], [-20.0 + 1e-7, 0]], kind="margin")
    with pytest.raises(ContractError, match="add up to 1"):
        complete([[0, 0.6], [0.4 + 2e-6, 0]], kind="win_rate")
    with pytest.raises(ContractError, match="not the negative"):
        complete([[0, 20.0], [-20.0 + 3e-7, 0]], kind="margin")
