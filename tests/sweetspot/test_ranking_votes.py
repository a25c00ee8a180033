import itertools
import warnings as python_warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit, logit
from scipy.stats import kendalltau

from sweetspot._newton import minimise
from sweetspot.errors import ContractError, ConvergenceError
from sweetspot.ranking import bradley_terry, flip_mixture, lad


def codes(result):
    return [text.split(":")[0] for text in result.warnings]


def voted_pairs(seed, n=100, votes=3, pair_flips=0.0, vote_flips=0.0):
    rng = np.random.default_rng(seed)
    w = rng.uniform(0, 5, n)
    w -= w.mean()
    i, j = np.triu_indices(n, 1)
    p = expit(w[i] - w[j])
    wins = rng.binomial(votes, p + vote_flips * (1 - 2 * p)).astype(float)
    swapped = rng.random(i.size) < pair_flips
    return w, i, j, np.where(swapped, votes - wins, wins), np.where(swapped, wins, votes - wins), swapped


def kendall_distance(scores, truth):
    return (1 - kendalltau(scores, truth).statistic) / 2


def slow_log_likelihood(s, eps, i, j, wins_i, wins_j, kind):
    """The formulas of the docstring, pair by pair, in plain probabilities."""
    pairs = {}
    for a, b, x, y in zip(i, j, wins_i, wins_j, strict=True):
        key, (x, y) = (min(a, b), max(a, b)), (x, y) if a < b else (y, x)
        before = pairs.get(key, (0.0, 0.0))
        pairs[key] = (before[0] + x, before[1] + y)
    total = 0.0
    for (a, b), (x, y) in pairs.items():
        u = 1 / (1 + np.exp(s[b] - s[a]))
        if kind == "pair":
            total += np.log((1 - eps) * u**x * (1 - u) ** y + eps * (1 - u) ** x * u**y)
        else:
            q = (1 - eps) * u + eps * (1 - u)
            total += x * np.log(q) + y * np.log(1 - q)
    return total


def some_votes(seed, n=5, rows=14):
    rng = np.random.default_rng(seed)
    i = rng.integers(0, n, rows)
    j = (i + 1 + rng.integers(0, n - 1, rows)) % n
    return i, j, rng.integers(0, 6, rows).astype(float), rng.integers(0, 6, rows).astype(float)


def test_three_wins_to_one_give_half_the_log_odds_each():
    got = bradley_terry([0], [1], [3], [1], n_items=2, ridge=0)
    assert np.allclose(got.scores, [0.5 * np.log(3), -0.5 * np.log(3)], atol=1e-9)
    assert got.log_likelihood == pytest.approx(3 * np.log(0.75) + np.log(0.25))
    assert (got.flip_rate, got.flip_probability.tolist(), got.corrupted.tolist()) == (0.0, [0.0], [False])
    assert got.gradient_norm <= 1e-6 * 4


def test_a_known_flip_rate_undoes_the_shrinkage_of_the_margin():
    # With eps = 0.1 the observed share 0.74 = 0.9 u + 0.1 (1 - u) belongs to u = 0.8.
    got = bradley_terry([0], [1], [74], [26], n_items=2, ridge=0, flip_rate=0.1)
    assert got.scores[0] - got.scores[1] == pytest.approx(np.log(4), abs=1e-7)
    expected = (74 * 0.1 * 0.2 / 0.74 + 26 * 0.1 * 0.8 / 0.26) / 100
    assert got.flip_probability[0] == pytest.approx(expected)
    assert got.flip_rate == 0.1


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("flip_rate", [0.0, 0.15])
def test_bradley_terry_finds_the_minimum_of_its_objective(seed, flip_rate):
    i, j, a, b = some_votes(seed)

    def objective(s):
        return 0.05 * np.sum(s**2) - slow_log_likelihood(s, flip_rate, i, j, a, b, "vote")

    best = min((minimize(objective, x0) for x0 in (np.zeros(5), np.arange(5.0))), key=lambda found: found.fun)
    got = bradley_terry(i, j, a, b, n_items=5, ridge=0.1, flip_rate=flip_rate)
    assert objective(got.scores) <= best.fun + 1e-6
    assert got.log_likelihood == pytest.approx(slow_log_likelihood(got.scores, flip_rate, i, j, a, b, "vote"))
    slope = [(objective(got.scores + h) - objective(got.scores - h)) / 2e-6 for h in 1e-6 * np.eye(5)]
    assert np.abs(slope).max() < 1e-5
    assert got.gradient_norm <= 1e-6 * (a + b).sum()


@pytest.mark.parametrize("kind", ["pair", "vote"])
@pytest.mark.parametrize("prior", [(1.0, 1.0), (2.0, 8.0)])
def test_the_mixture_is_a_stationary_point_of_its_objective(kind, prior):
    _, i, j, a, b, _ = voted_pairs(1, n=7, votes=6, pair_flips=0.2)

    def objective(x):
        penalty = 0.005 * np.sum(x[:-1] ** 2)
        doubled = expit(x[-1])
        log_prior = (prior[0] - 1) * np.log(doubled) + (prior[1] - 1) * np.log(1 - doubled)
        return penalty - log_prior - slow_log_likelihood(x[:-1], doubled / 2, i, j, a, b, kind)

    got = flip_mixture(i, j, a, b, n_items=7, kind=kind, flip_prior=prior)
    x = np.append(got.scores, np.log(2 * got.flip_rate) - np.log1p(-2 * got.flip_rate))
    slope = [(objective(x + h) - objective(x - h)) / 2e-5 for h in 1e-5 * np.eye(8)]
    assert np.abs(slope).max() < 1e-4
    starts = [np.append(got.scores + shift, t) for shift in (0.0, 0.5) for t in (-2.0, 1.0)]
    assert objective(x) <= min(minimize(objective, x0).fun for x0 in starts) + 1e-5
    assert got.log_likelihood == pytest.approx(slow_log_likelihood(got.scores, got.flip_rate, i, j, a, b, kind))
    assert 0 < got.flip_rate < 0.5
    assert got.gradient_norm <= 1e-3


@pytest.mark.parametrize("kind", ["pair", "vote"])
def test_the_mixture_is_the_best_of_three_starts_where_there_are_several_minima(monkeypatch, kind):
    found = []

    def recorded(at, x, **options):
        end = minimise(at, x, **options)
        found.append((x, end.x))
        return end

    monkeypatch.setattr("sweetspot._ranking_votes.minimise", recorded)
    spread = []
    for seed in range(8):
        _, i, j, a, b, _ = voted_pairs(seed, n=8, votes=12, pair_flips=0.3)
        plain = bradley_terry(i, j, a, b, n_items=8).scores
        robust = lad(i, j, logit((a + 0.5) / (a + b + 1)), n_items=8).scores
        found.clear()
        got = flip_mixture(i, j, a, b, n_items=8, kind=kind)
        starts = [start for start, _ in found[1:]]
        assert np.allclose(
            starts, [np.append(s, logit(2 * e)) for s, e in ((plain, 0.1), (plain, 0.4), (robust, 0.25))]
        )
        ends = [(end[:-1], expit(end[-1]) / 2) for _, end in found[1:]]
        values = [0.005 * np.sum(s**2) - slow_log_likelihood(s, e, i, j, a, b, kind) for s, e in ends]
        assert 0.005 * np.sum(got.scores**2) - got.log_likelihood == pytest.approx(min(values))
        spread.append(max(values) - min(values))
    assert np.count_nonzero(np.array(spread) > 1) >= 2


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_thirty_percent_swapped_pairs_are_estimated_and_found(seed):
    w, i, j, a, b, swapped = voted_pairs(seed, pair_flips=0.3)
    got = flip_mixture(i, j, a, b, n_items=100)
    assert abs(got.flip_rate - 0.3) < 0.03
    assert kendall_distance(got.scores, w) < 0.07
    assert kendall_distance(bradley_terry(i, j, a, b, n_items=100).scores, w) > 0.10
    clear = np.abs(w[i] - w[j]) > 2
    assert (got.corrupted == swapped)[clear].mean() > 0.95
    assert np.array_equal(got.corrupted, got.flip_probability > 0.5)


def test_swapped_single_votes_are_estimated():
    _, i, j, a, b, _ = voted_pairs(0, votes=10, vote_flips=0.2)
    assert flip_mixture(i, j, a, b, n_items=100, kind="vote").flip_rate == pytest.approx(0.2, abs=0.02)


def test_flip_probabilities_are_the_posteriors_of_bayes():
    i, j, a, b = (np.array(x) for x in ([0, 1, 0, 2, 1], [1, 2, 2, 1, 0], [5.0, 1, 4, 2, 0], [1.0, 3, 0, 0, 0]))
    got = flip_mixture(i, j, a, b, n_items=3, flip_prior=(5.0, 5.0))
    assert 0.1 < got.flip_rate < 0.4
    u = expit(got.scores[i] - got.scores[j])
    eps = got.flip_rate
    totals = {(0, 1): (5, 1), (1, 2): (1, 5), (0, 2): (4, 0)}
    for row in range(4):
        x, y = totals[(min(i[row], j[row]), max(i[row], j[row]))]
        p = u[row] if i[row] < j[row] else 1 - u[row]
        straight, turned = (1 - eps) * p**x * (1 - p) ** y, eps * (1 - p) ** x * p**y
        assert got.flip_probability[row] == pytest.approx(turned / (straight + turned))
    assert got.flip_probability[1] == got.flip_probability[3]
    assert got.flip_probability[4] == eps

    vote = flip_mixture(i, j, a, b, n_items=3, kind="vote", flip_prior=(5.0, 5.0))
    u, eps = expit(vote.scores[i] - vote.scores[j]), vote.flip_rate
    q = (1 - eps) * u + eps * (1 - u)
    share = (a * eps * (1 - u) / q + b * eps * u / (1 - q))[:4] / (a + b)[:4]
    assert np.allclose(vote.flip_probability[:4], share)
    assert vote.flip_probability[4] == eps


def test_a_pair_without_any_vote_has_the_flip_rate_and_is_no_edge():
    got = flip_mixture([0, 1, 3], [1, 2, 0], [5, 4, 0], [2, 3, 0], n_items=4)
    assert got.component.tolist() == [0, 0, 0, 1]
    assert got.scores[3] == 0.0
    assert got.flip_probability[2] == got.flip_rate
    assert "disconnected" in codes(got)


def test_ten_thousand_votes_per_pair_stay_in_log_space():
    with python_warnings.catch_warnings():
        python_warnings.simplefilter("error")
        for kind in ("pair", "vote"):
            got = flip_mixture([0, 1, 0], [1, 2, 2], [1e4, 3e3, 9e3], [10, 7e3, 1e3], n_items=3, kind=kind)
            assert np.isfinite(got.log_likelihood)
            assert got.gradient_norm <= 1e-3
        plain = bradley_terry([0, 1], [1, 2], [1e4, 0], [0, 1e4], n_items=3, ridge=1e-3)
    assert plain.gradient_norm <= 1e-6 * 2e4


def test_two_items_whose_votes_cannot_tell_flips_from_scale_still_converge():
    # Every flip rate below 1/3 explains 2 : 1 equally well; the ridge prefers the smallest scores, so no flips.
    got = flip_mixture([0], [1], [6e4], [3e4], n_items=2, kind="vote")
    assert got.scores[0] - got.scores[1] == pytest.approx(np.log(2), abs=1e-3)
    assert got.flip_rate < 1e-4
    assert "at_boundary" in codes(got)


@pytest.mark.parametrize("solver", [bradley_terry, flip_mixture])
def test_splitting_turning_and_renaming_rows_changes_nothing(solver):
    _, i, j, a, b, _ = voted_pairs(2, n=15, votes=8, pair_flips=0.2)
    rng = np.random.default_rng(0)
    name, turned = rng.permutation(15), rng.random(i.size) < 0.5
    part = rng.integers(0, 9, i.size)
    first_a, first_b = np.minimum(a, part), np.minimum(b, part)
    rows = rng.permutation(2 * i.size)
    first = name[np.tile(np.where(turned, j, i), 2)[rows]]
    second = name[np.tile(np.where(turned, i, j), 2)[rows]]
    wins_i = np.concatenate([np.where(turned, first_b, first_a), np.where(turned, b - first_b, a - first_a)])[rows]
    wins_j = np.concatenate([np.where(turned, first_a, first_b), np.where(turned, a - first_a, b - first_b)])[rows]
    plain = solver(i, j, a, b, n_items=15)
    mixed = solver(first, second, wins_i, wins_j, n_items=15)
    assert np.allclose(mixed.scores[name], plain.scores, atol=1e-6)
    assert mixed.flip_rate == pytest.approx(plain.flip_rate, abs=1e-6)
    assert mixed.log_likelihood == pytest.approx(plain.log_likelihood)


@given(factor=st.floats(0.1, 100.0), seed=st.integers(0, 20))
@settings(max_examples=25, deadline=None)
def test_multiplying_votes_and_ridge_leaves_the_scores(factor, seed):
    i, j, a, b = some_votes(seed)
    plain = bradley_terry(i, j, a, b, n_items=5, ridge=0.2)
    more = bradley_terry(i, j, factor * a, factor * b, n_items=5, ridge=0.2 * factor)
    assert np.allclose(plain.scores, more.scores, atol=1e-5)


def test_a_larger_ridge_shrinks_and_scores_stay_centred():
    _, i, j, a, b, _ = voted_pairs(3, n=12, votes=4)
    sizes = [np.linalg.norm(bradley_terry(i, j, a, b, n_items=12, ridge=ridge).scores) for ridge in (0.01, 0.1, 1, 10)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 2 * sizes[-1]
    assert abs(bradley_terry(i, j, a, b, n_items=12).scores.mean()) < 1e-12


def test_ties_count_half_and_equal_votes_give_equal_scores():
    got = bradley_terry([0, 1, 0], [1, 2, 2], [0.5, 0.5, 0.5], [0.5, 0.5, 0.5], n_items=3, ridge=0)
    assert np.abs(got.scores).max() < 1e-9


def test_unanimous_votes_are_fine_with_a_ridge_and_refused_without():
    i, j = np.array(list(itertools.combinations(range(4), 2))).T
    got = bradley_terry(i, j, np.full(6, 5), np.zeros(6), n_items=4)
    assert np.argsort(-got.scores).tolist() == [0, 1, 2, 3]
    for solver in (bradley_terry, flip_mixture):
        with pytest.raises(ContractError, match=r"ridge: got 0, but item \d only ever beats.*Pass ridge > 0"):
            solver(i, j, np.full(6, 5), np.zeros(6), n_items=4, ridge=0)


def test_without_ridge_each_component_must_be_strongly_connected():
    cycle = bradley_terry([0, 1, 2, 3], [1, 2, 0, 4], [1, 1, 1, 2], [0, 0, 0, 2], n_items=5, ridge=0)
    assert np.abs(cycle.scores).max() < 1e-9
    with pytest.raises(ContractError, match=r"item 3"):
        bradley_terry([0, 1, 2, 3], [1, 2, 0, 4], [1, 1, 1, 2], [0, 0, 0, 0], n_items=5, ridge=0)


def test_votes_more_one_sided_than_the_flip_rate_allows_need_a_ridge():
    with pytest.raises(ContractError, match=r"ridge: got 0, but with flip_rate = 0.3 the votes of item 0"):
        bradley_terry([0], [1], [3], [1], n_items=2, ridge=0, flip_rate=0.3)
    assert bradley_terry([0], [1], [3], [1], n_items=2, flip_rate=0.3).scores[0] > 0.5


def test_bradley_terry_without_votes_gives_zeros():
    for rows in ([], [0]):
        got = bradley_terry(rows, [1] * len(rows), rows, rows, n_items=2)
        assert got.scores.tolist() == [0.0, 0.0]
        assert got.component.tolist() == [0, 1]
        assert got.log_likelihood == 0.0


def test_warnings_tell_few_votes_and_the_boundary():
    _, i, j, a, b, _ = voted_pairs(0, n=20, votes=2)
    assert "few_votes" in codes(flip_mixture(i, j, a, b, n_items=20))
    _, i, j, a, b, _ = voted_pairs(0, n=20, votes=3, pair_flips=0.2)
    assert "few_votes" not in codes(flip_mixture(i, j, a, b, n_items=20))
    upper = flip_mixture(i, j, a, b, n_items=20, flip_prior=(1e5, 1.0))
    assert 0.49 < upper.flip_rate < 0.5
    assert "at_boundary" in codes(upper)
    _, i, j, a, b, _ = voted_pairs(0, n=20, votes=50)
    clean = flip_mixture(i, j, a, b, n_items=20)
    assert clean.flip_rate < 1e-4
    assert codes(clean) == ["at_boundary"]
    _, i, j, a, b, _ = voted_pairs(0, n=40, votes=5, pair_flips=0.2)
    assert codes(flip_mixture(i, j, a, b, n_items=40)) == []


def test_a_prior_moves_the_flip_rate_towards_itself():
    _, i, j, a, b, _ = voted_pairs(1, n=15, votes=3, pair_flips=0.2)
    rates = [flip_mixture(i, j, a, b, n_items=15, flip_prior=(1.0, beta)).flip_rate for beta in (1.0, 50.0, 5000.0)]
    assert rates == sorted(rates, reverse=True)
    assert rates[2] < 0.01 < rates[0]


def test_results_have_the_promised_types_and_repeat_bit_for_bit():
    _, i, j, a, b, _ = voted_pairs(0, n=10)
    for solver in (bradley_terry, flip_mixture):
        got, again = (solver(i.tolist(), j, a.astype(np.float32), b.tolist(), n_items=10) for _ in range(2))
        assert np.array_equal(got.scores, again.scores)
        assert got.scores.dtype == got.flip_probability.dtype == np.float64
        assert got.component.dtype == np.int64
        assert got.corrupted.dtype == got.unverifiable.dtype == np.bool_
        assert {type(x) for x in (got.flip_rate, got.log_likelihood, got.gradient_norm)} == {float}
        assert type(got.iterations) is int


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bradley_terry([0], [1], [-1], [0], n_items=2), r"wins_i: 1 of 1 values.*>= 0"),
        (lambda: bradley_terry([0], [1], [1], [np.nan], n_items=2), r"wins_j: 1 of 1 values.*NaN"),
        (lambda: bradley_terry([0], [1], [1, 2], [0], n_items=2), r"wins_i: got shape \(2,\), expected \(1,\)"),
        (lambda: bradley_terry([0], [0], [1], [0], n_items=2), r"j: 1 of 1 values.*different from i"),
        (lambda: bradley_terry([0], [1], [1], [0], n_items=2, ridge=-0.1), r"ridge: got -0.1"),
        (lambda: bradley_terry([0], [1], [1], [0], n_items=2, flip_rate=0.5), r"flip_rate: got 0.5"),
        (lambda: bradley_terry([0], [1], [1], [0], n_items=2, flip_rate=-0.1), r"flip_rate: got -0.1"),
        (lambda: flip_mixture([0], [1], [0], [0], n_items=2), r"wins_i, wins_j: all 1 rows have 0 votes"),
        (lambda: flip_mixture([], [], [], [], n_items=2), r"wins_i, wins_j: all 0 rows have 0 votes"),
        (lambda: flip_mixture([0], [1], [1], [0], n_items=2, kind="row"), r"kind: got 'row', expected one of pair"),
        (lambda: flip_mixture([0], [1], [1], [0], n_items=2, flip_prior=(0.5, 1)), r"flip_prior: 1 of 2 values.*>= 1"),
        (lambda: flip_mixture([0], [1], [1], [0], n_items=2, flip_prior=(1,)), r"flip_prior: got shape \(1,\)"),
        (lambda: flip_mixture([0], [1], [1], [0], n_items=2, ridge=-1), r"ridge: got -1"),
    ],
)
def test_bad_input_is_refused_with_the_place_and_the_reason(call, message):
    with pytest.raises(ContractError, match=message):
        call()


def test_no_stationary_point_is_an_error(monkeypatch):
    monkeypatch.setattr("sweetspot._newton._MAX_STEPS", 1)
    _, i, j, a, b, _ = voted_pairs(0, n=30, pair_flips=0.3)
    with pytest.raises(ConvergenceError, match=r"scores: largest gradient .* expected at most 0.001"):
        flip_mixture(i, j, a, b, n_items=30)
    with pytest.raises(ConvergenceError, match=r"scores: largest gradient"):
        bradley_terry(i, j, a, b, n_items=30)
