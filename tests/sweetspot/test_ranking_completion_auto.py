import numpy as np
import pytest
from preference_matrices import codes, intransitive, margins, vote_matrix

from sweetspot._completion_fits import Fit
from sweetspot.ranking import complete


def error(result, w):
    truth = w[:, None] - w
    return np.linalg.norm(result.margin - truth) / np.linalg.norm(truth)


@pytest.mark.parametrize(("n", "method"), [(15, "lad"), (16, "pssv"), (30, "pssv")])
def test_auto_takes_rank_four_where_scores_cannot_explain_the_matrix(n, method):
    truth, matrix = intransitive(0, n)
    got = complete(matrix, kind="margin")
    assert got.method == method
    assert "estimators_disagree" in codes(got)
    if method == "pssv":
        assert np.linalg.norm(got.margin - truth) < 1e-5 * np.linalg.norm(truth)
        assert (got.rank, got.identifiable) == (4, True)
        flipped = np.abs(matrix - truth) > 1e-2
        assert np.array_equal(got.flagged[flipped | (matrix == truth)], flipped[flipped | (matrix == truth)])
        named = complete(matrix, kind="margin", method="pssv", rank=4)
        assert np.array_equal(named.margin, got.margin)
        wins = (truth > 0).sum(axis=1)
        order = np.lexsort((np.arange(n), -truth.mean(axis=1), -wins))
        assert np.array_equal(got.ranking, order)
        assert not np.array_equal(got.ranking, np.argsort(-got.scores))


def test_auto_stays_with_scores_when_rank_four_explains_no_better():
    rng = np.random.default_rng(0)
    w, matrix, _ = margins(0, n=30)
    noise = np.triu(0.3 * rng.normal(size=(30, 30)), 1)
    got = complete(matrix + noise - noise.T, kind="margin")
    assert got.method == "lad"
    assert error(got, w) < 0.2


def test_auto_stays_with_scores_whose_residuals_are_below_a_thousandth():
    _, matrix = intransitive(0, 16)
    typical = np.median(np.abs(complete(matrix, kind="margin", method="lad").corruption[np.triu_indices(16, 1)]))
    assert complete(1.1e-3 / typical * matrix, kind="margin").method == "pssv"
    assert complete(0.9e-3 / typical * matrix, kind="margin").method == "lad"


@pytest.mark.parametrize(("share", "method"), [(0.09, "pssv"), (0.11, "lad")])
def test_rank_four_must_fit_the_typical_entry_ten_times_better(monkeypatch, share, method):
    _, matrix = intransitive(0, 16)
    left = matrix - complete(matrix, kind="margin", method="lad").margin
    found = Fit("pssv", matrix - share * left, (), True)
    monkeypatch.setattr("sweetspot._completion_fits._fit_rpca", lambda *_: found)
    assert complete(matrix, kind="margin").method == method


@pytest.mark.parametrize(
    ("pairs", "method"),
    [
        ([(2, 1), (1, 2), (3, 0)], "flip_mixture"),
        ([(1, 0), (0, 1), (1, 0)], "bradley_terry"),
        ([(0.5, 0.5), (0, 1), (1, 0)], "bradley_terry"),
        ([(1, 1), (0, 2), (1, 0)], "lad"),
        ([(1, 0), (2, 1), (9, 0), (1, 0)], "lad"),
        ([(1, 0), (2, 1), (9, 0), (5, 0)], "flip_mixture"),
    ],
)
def test_auto_chooses_by_the_votes_per_pair(pairs, method):
    matrix = np.zeros((4, 4))
    for (i, j), (a, b) in zip([(0, 1), (1, 2), (0, 2), (2, 3)], pairs, strict=False):
        matrix[i, j], matrix[j, i] = a, b
    got = complete(matrix, kind="votes")
    assert got.method == method
    assert ("one_vote" in codes(got)) == (method == "bradley_terry")
    assert got.cross_check is None


def test_lad_beyond_its_limit_says_so():
    _, matrix, _ = margins(0, n=40, observed=0.6, flips=0.35)
    got = complete(matrix, kind="margin")
    assert got.cross_check > 0.02
    assert codes(got) == ["majority_doubtful", "beyond_identifiable", "estimators_disagree"]
    assert not got.identifiable


def test_the_cross_check_is_the_share_of_pairs_ordered_differently():
    _, matrix, _ = margins(0, n=40, observed=0.6, flips=0.35)
    matrix[0, 1:], matrix[1:, 0] = np.nan, np.nan
    first = complete(matrix, kind="margin", method="lad").scores
    second = complete(matrix, kind="margin", method="pssv").scores
    i, j = np.triu_indices(39, 1)
    turned = np.sign(first[1 + i] - first[1 + j]) != np.sign(second[1 + i] - second[1 + j])
    assert complete(matrix, kind="margin").cross_check == pytest.approx(turned.mean())


@pytest.mark.parametrize(("n", "checked"), [(200, True), (201, False)])
def test_the_cross_check_stops_at_two_hundred_items(n, checked):
    _, matrix, _ = margins(0, n=n)
    got = complete(matrix, kind="margin")
    assert (got.cross_check == 0.0) if checked else (got.cross_check is None)


def test_single_votes_behind_rates_are_not_cross_checked():
    _, votes = vote_matrix(0, n=17, votes=1)
    got = complete(np.where(votes + votes.T > 0, votes, np.nan), kind="win_rate", votes=1)
    assert (got.method, got.cross_check) == ("lad", None)
    assert "one_vote" in codes(got)
