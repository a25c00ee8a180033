import numpy as np
import pytest
from preference_matrices import MATRIX_METHODS, VOTE_METHODS, codes, margins, vote_matrix
from scipy.special import expit, logit
from scipy.stats import norm

from sweetspot._completion_fits import hard_impute
from sweetspot.errors import ContractError
from sweetspot.ranking import bradley_terry, complete, flip_mixture, lad

LINKS = {"logit": (logit, expit), "probit": (norm.ppf, norm.cdf)}


def error(result, w):
    truth = w[:, None] - w
    return np.linalg.norm(result.margin - truth) / np.linalg.norm(truth)


def upper(matrix):
    """Observed pairs i < j and their values."""
    i, j = np.triu_indices(matrix.shape[0], 1)
    seen = ~np.isnan(matrix[i, j])
    return i[seen], j[seen], matrix[i, j][seen]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_seventy_percent_observed_with_ten_percent_flips_are_recovered_exactly(seed):
    w, matrix, flipped = margins(seed, observed=0.7, flips=0.1)
    got = complete(matrix, kind="margin")
    assert (got.method, got.rank, got.identifiable) == ("lad", 2, True)
    assert error(got, w) < 1e-8
    assert np.abs(got.preference - expit(w[:, None] - w)).max() < 1e-8
    assert np.array_equal(got.ranking, np.argsort(-w))
    visible = np.abs(matrix) > 1e-3
    assert np.array_equal(got.flagged[visible], flipped[visible])
    assert got.cross_check == 0.0
    assert got.known.all()
    assert got.warnings == ()


def test_completing_first_smears_the_corruption_as_published():
    published = {0.05: 0.063, 0.10: 0.18, 0.20: 0.41}
    for flips, expected in published.items():
        results = [(w, complete(matrix, kind="margin", method="two_stage")) for w, matrix in two_stage_data(flips)]
        assert np.mean([error(got, w) for w, got in results]) == pytest.approx(expected, abs=0.01)
        for _, got in results:
            assert np.abs(got.corruption).max() > 1
            assert codes(got)[-2:] == ["two_stage", "beyond_identifiable"]


def two_stage_data(flips):
    return [margins(seed, observed=0.7, flips=flips)[:2] for seed in range(3)]


def test_imputation_keeps_what_was_observed_and_finds_what_was_not():
    w, matrix, _ = margins(0, n=40, observed=0.6)
    seen = ~np.isnan(matrix) | np.eye(40, dtype=bool)
    filled = hard_impute(np.nan_to_num(matrix), seen, rank=2)
    assert np.array_equal(filled[seen], np.nan_to_num(matrix)[seen])
    assert np.allclose(filled, w[:, None] - w, atol=1e-3)
    _, corrupted, _ = margins(0, n=40, observed=0.6, flips=0.1)
    kept = hard_impute(np.nan_to_num(corrupted), seen, rank=2)
    assert np.array_equal(kept[seen], np.nan_to_num(corrupted)[seen])


@pytest.mark.parametrize(
    ("method", "observed", "flips", "low", "high", "identifiable"),
    [
        ("pcp", 1.0, 0.1, 0, 1e-6, True),
        ("pcp", 1.0, 0.2, 0, 1e-5, True),
        ("pcp", 0.7, 0.1, 0, 1e-5, True),
        ("pcp", 0.7, 0.2, 0.03, 0.1, False),
        ("pcp", 1.0, 0.3, 0.3, 0.4, False),
        ("pssv", 0.7, 0.2, 0, 1e-6, True),
        ("pssv", 1.0, 0.3, 0.1, 0.2, False),
        ("lad", 1.0, 0.2, 0, 1e-8, True),
        ("lad", 0.7, 0.2, 0, 1e-8, True),
        ("lad", 0.5, 0.1, 0, 1e-8, True),
    ],
)
def test_each_method_recovers_as_far_as_published(method, observed, flips, low, high, identifiable):
    w, matrix, _ = margins(0, observed=observed, flips=flips)
    got = complete(matrix, kind="margin", method=method)
    assert low <= error(got, w) < high
    assert got.method == method
    assert got.identifiable == identifiable
    assert ("beyond_identifiable" in codes(got)) == (not identifiable)
    assert got.cross_check is None


@pytest.mark.parametrize(
    ("n", "flips", "published"),
    [
        (8, 0.1, {"pcp": 0.20, "pssv": 0.80, "lad": 1.0}),
        (16, 0.1, {"pcp": 0.35, "pssv": 0.90, "lad": 1.0}),
        (32, 0.2, {"pcp": 0.0, "pssv": 0.80, "lad": 1.0}),
    ],
)
def test_small_matrices_are_recovered_at_the_published_rates(n, flips, published):
    data = [margins(seed, n=n, flips=flips)[:2] for seed in range(20)]
    for method, rate in published.items():
        exact = [error(complete(matrix, kind="margin", method=method), w) < 1e-3 for w, matrix in data]
        assert np.mean(exact) == pytest.approx(rate, abs=0.051)


def test_lad_gives_the_pairs_of_the_upper_triangle_to_the_pair_list_solver():
    _, matrix, _ = margins(3, n=12, observed=0.8, flips=0.1)
    noise = np.triu(np.random.default_rng(0).normal(size=(12, 12)), 1)
    matrix = matrix + noise - noise.T
    i, j, value = upper(matrix)
    for threshold in (None, 0.4):
        got = complete(matrix, kind="margin", method="lad", threshold=threshold)
        single = lad(i, j, value, n_items=12, threshold=threshold)
        assert np.allclose(got.scores, single.scores, atol=1e-12)
        assert np.allclose(got.margin, single.scores[:, None] - single.scores, atol=1e-12)
        assert np.allclose(got.corruption[i, j], single.residual, atol=1e-12)
        assert got.threshold == pytest.approx(single.threshold)
        assert np.array_equal(got.flagged[i, j], single.corrupted)
        assert np.allclose(got.corrupted_share, single.corrupted_share)
        assert got.flip_rate == single.flip_rate
        assert got.warnings[: len(single.warnings)] == single.warnings
        assert np.array_equal(got.unverifiable, single.unverifiable)


@pytest.mark.parametrize("link", ["logit", "probit"])
def test_lad_weighs_pairs_by_their_votes_only_when_these_differ(link):
    rng = np.random.default_rng(1)
    i, j = np.triu_indices(10, 1)
    for count in (np.full(i.size, 4.0), rng.integers(1, 30, i.size).astype(float)):
        wins = rng.binomial(count.astype(int), 0.6).astype(float)
        matrix = np.zeros((10, 10))
        matrix[i, j], matrix[j, i] = wins, count - wins
        p = (wins + 0.5) / (count + 1)
        weight = count * p * (1 - p) if np.ptp(count) else None
        expected = lad(i, j, LINKS[link][0](p), n_items=10, weight=weight)
        got = complete(matrix, kind="votes", method="lad", link=link)
        assert np.allclose(got.scores, expected.scores, atol=1e-9)
        assert np.allclose(got.corruption[i, j] + got.margin[i, j], LINKS[link][0](p), atol=1e-12)


@pytest.mark.parametrize("link", ["logit", "probit"])
@pytest.mark.parametrize("method", MATRIX_METHODS)
def test_rates_and_their_margins_are_the_same_task(link, method):
    rng = np.random.default_rng(0)
    w = rng.normal(size=10)
    noise = np.triu(0.2 * rng.normal(size=(10, 10)), 1)
    matrix = w[:, None] - w + noise - noise.T
    matrix[0, 4:], matrix[4:, 0] = np.nan, np.nan
    rates = LINKS[link][1](matrix)
    from_margins = complete(matrix, kind="margin", method=method, link=link)
    from_rates = complete(rates, kind="win_rate", method=method, link=link)
    assert np.allclose(from_rates.margin, from_margins.margin, atol=1e-6)
    assert np.allclose(from_rates.preference, LINKS[link][1](from_rates.margin), atol=1e-12)


def test_counts_and_rates_with_votes_are_smoothed_alike():
    _, votes = vote_matrix(0, n=9, votes=4)
    total = votes + votes.T + np.eye(9)
    counted = complete(votes, kind="votes", method="lad")
    for behind in (4, np.full((9, 9), 4.0)):
        rated = complete(votes / total, kind="win_rate", votes=behind)
        assert rated.method == "lad"
        assert np.allclose(rated.margin, counted.margin, atol=1e-9)
    top = np.abs(counted.corruption + counted.margin).max()
    assert top == pytest.approx(np.log(2 * 4 + 1))
    assert complete([[0, 0], [7, 0]], kind="votes").margin[1, 0] > 0


def test_a_rate_of_one_is_refused_without_votes_and_never_clipped():
    certain = [[0.5, 1.0, 0.6], [0.0, 0.5, 0.5], [0.4, 0.5, 0.5]]
    with pytest.raises(ContractError, match=r"matrix: 1 of 3 values.*strictly between 0 and 1.*Pass `votes`"):
        complete(certain, kind="win_rate")
    assert np.isfinite(complete(certain, kind="win_rate", votes=3).margin).all()
    nearly = [[0.5, 1 - 1e-12], [1e-12, 0.5]]
    assert complete(nearly, kind="win_rate").margin[0, 1] == pytest.approx(logit(1 - 1e-12))


@pytest.mark.parametrize("method", VOTE_METHODS)
def test_vote_methods_give_the_scores_of_their_functions(method):
    _, votes = vote_matrix(1, votes=5, pair_flips=0.2)
    i, j = np.triu_indices(20, 1)
    solver = flip_mixture if method == "flip_mixture" else bradley_terry
    single = solver(i, j, votes[i, j], votes[j, i], n_items=20)
    got = complete(votes, kind="votes", method=method)
    assert np.allclose(got.scores, single.scores, atol=1e-9)
    assert np.allclose(got.margin, single.scores[:, None] - single.scores, atol=1e-9)
    assert got.flip_rate == single.flip_rate
    assert np.array_equal(got.flagged[i, j], single.corrupted)
    assert got.flagged.any() == (method == "flip_mixture")
    assert got.identifiable
    beyond = np.abs(got.corruption) > got.threshold
    assert np.allclose(got.corrupted_share, beyond.sum(axis=1) / 19)


@pytest.mark.parametrize("method", VOTE_METHODS)
def test_vote_methods_give_the_same_preferences_under_both_links(method):
    _, votes = vote_matrix(2, votes=8)
    plain = complete(votes, kind="votes", method=method)
    probit = complete(votes, kind="votes", method=method, link="probit")
    assert np.allclose(1.702 * probit.margin, plain.margin)
    assert np.abs(probit.preference - plain.preference).max() < 0.01


def test_thurstone_rates_are_exact_under_probit_and_not_under_logit():
    w = np.linspace(-1.5, 1.5, 9) ** 3
    rates = norm.cdf(w[:, None] - w)
    assert np.allclose(complete(rates, kind="win_rate", link="probit").scores, w - w.mean(), atol=1e-9)
    logits = complete(rates, kind="win_rate")
    assert np.abs(logits.corruption).max() > 0.1


def test_flip_mixture_reports_its_rate_and_swapped_pairs():
    w, votes = vote_matrix(0, n=60, votes=5, pair_flips=0.3)
    got = complete(votes, kind="votes")
    assert got.method == "flip_mixture"
    assert got.flip_rate == pytest.approx(0.3, abs=0.03)
    turned = (votes > votes.T) != (w[:, None] > w)
    clear = np.abs(w[:, None] - w) > 2
    assert (got.flagged == turned)[clear].mean() > 0.97
