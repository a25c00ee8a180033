import numpy as np
import pytest

from sweetspot import _rank1
from sweetspot._rank1 import fit_rank1
from sweetspot.raters import consensus


def planted(seed, rows, n_raters, noise=0.0, errors_per_row=0):
    """Scores a + b * s with `errors_per_row` gross errors in every row; s has mean 0 and sd 1."""
    rng = np.random.default_rng(seed)
    s = rng.normal(size=rows)
    s = (s - s.mean()) / s.std()
    a, b = rng.normal(size=n_raters), rng.uniform(0.5, 2.0, n_raters)
    z = s[:, None] + noise * rng.normal(size=(rows, n_raters))
    for row in z:
        row[rng.permutation(n_raters)[:errors_per_row]] += rng.uniform(3, 6, errors_per_row)
    return s, a, b, a + b * z


def total_error(scores, unit, got):
    return float(np.nansum(np.abs(got.residual) * got.rater_scale / unit))


@pytest.mark.parametrize(("n_raters", "errors"), [(5, 0), (6, 1), (8, 1)])
def test_lines_and_quality_are_recovered_exactly_without_noise(n_raters, errors):
    s, a, b, scores = planted(0, 300, n_raters, errors_per_row=errors)
    got = consensus(scores, method="rank1")
    assert np.allclose(got.quality, s, rtol=0, atol=1e-6)
    assert np.allclose(got.rater_offset, a, rtol=0, atol=1e-6)
    assert np.allclose(got.rater_scale, b, rtol=0, atol=1e-6)


def test_quality_has_mean_zero_and_sd_one_over_rated_rows():
    _, _, _, scores = planted(1, 200, 6, noise=0.3)
    scores[5] = np.nan
    got = consensus(scores)
    rated = got.quality[~np.isnan(got.quality)]
    assert rated.size == 199
    assert rated.mean() == pytest.approx(0.0, abs=1e-12)
    assert rated.std() == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_fit_is_never_worse_than_the_row_median(seed):
    _, _, _, scores = planted(seed, 8, 3, noise=0.4, errors_per_row=seed % 2)
    median = consensus(scores, method="median")
    unit = median.rater_scale
    rank1 = consensus(scores, method="rank1")
    assert total_error(scores, unit, rank1) <= total_error(scores, unit, median) + 1e-9


def test_lines_from_too_few_rows_give_way_to_the_row_median(monkeypatch):
    _, _, _, scores = planted(0, 200, 5, noise=0.5, errors_per_row=1)
    monkeypatch.setattr(_rank1, "_FIT_ROWS", 2)
    median = consensus(scores, method="median")
    got = consensus(scores, method="rank1")
    z = (median.quality - median.quality.mean()) / median.quality.std()
    assert np.allclose(got.quality, z)
    assert np.allclose(got.rater_scale, median.rater_scale * median.quality.std())


def test_no_small_change_of_the_lines_lowers_the_objective():
    _, _, _, scores = planted(2, 400, 6, noise=0.3, errors_per_row=1)
    got = consensus(scores, method="rank1")
    unit = consensus(scores, method="median").rater_scale

    def objective(offset, scale):
        return sum(
            min(np.sum(np.abs(row - offset - scale * point) / unit) for point in (row - offset) / scale)
            for row in scores
        )

    best = objective(got.rater_offset, got.rater_scale)
    assert best == pytest.approx(total_error(scores, unit, got), rel=1e-9)
    rng = np.random.default_rng(0)
    for _ in range(12):
        step = 0.02 * rng.normal(size=(2, 6))
        assert objective(got.rater_offset + step[0], got.rater_scale * (1 + step[1])) > best * (1 - 1e-3)


def test_row_quality_is_the_exact_weighted_median():
    rng = np.random.default_rng(4)
    z, alpha, beta = rng.normal(size=(5, 60)), rng.normal(size=5), rng.uniform(0.2, 2.0, 5)
    z[rng.random(z.shape) < 0.2] = np.nan
    z[0] = rng.normal(size=60)
    s = _rank1._row_weighted_medians(z, alpha, beta)
    for row, point in zip(z.T, s, strict=True):
        there = ~np.isnan(row)

        def cost(x, row=row, there=there):
            return np.sum(np.abs(row[there] - alpha[there] - beta[there] * x))

        candidates = (row[there] - alpha[there]) / beta[there]
        assert cost(point) <= min(cost(x) for x in candidates) + 1e-12


def test_an_interval_of_minimisers_gives_its_middle():
    z = np.array([[0.0], [1.0], [2.0], [3.0]])
    assert _rank1._row_weighted_medians(z, np.zeros(4), np.ones(4)).tolist() == [1.5]


def test_a_rater_against_the_others_keeps_a_positive_scale_and_loses_its_say():
    s, _, _, scores = planted(3, 400, 6, noise=0.2)
    scores[:, 2] *= -1
    got = consensus(scores, method="rank1")
    assert (got.rater_scale > 0).all()
    assert np.corrcoef(got.quality, s)[0, 1] > 0.97


def test_rows_with_one_score_do_not_bend_the_lines():
    s, _, b, scores = planted(5, 300, 6)
    scores[:150, 1:] = np.nan
    got = fit_rank1(scores, np.nanmedian(scores, axis=0), np.ones(6))
    assert np.allclose(got.scale / b, got.scale[0] / b[0], rtol=1e-6)
    assert np.abs(got.residual[~np.isnan(scores)]).max() < 1e-6
    assert np.allclose(np.argsort(got.quality), np.argsort(s))

    _, _, _, noisy = planted(5, 300, 6, noise=0.4)
    noisy[:100, 1:] = noisy[100:200, 0] = noisy[100:200, 2:] = np.nan
    middle = np.nanmedian(noisy, axis=0)
    whole, shared = fit_rank1(noisy, middle, np.ones(6)), fit_rank1(noisy[200:], middle, np.ones(6))
    # Quality has another zero and unit without the other rows; relative to rater 0 the lines are the same.
    assert np.allclose(whole.scale / whole.scale[0], shared.scale / shared.scale[0])
    zero = [fit.offset - fit.offset[0] * fit.scale / fit.scale[0] for fit in (whole, shared)]
    assert np.allclose(*zero)


def test_long_tables_take_their_lines_from_a_spread_of_rows(monkeypatch):
    _, _, b, scores = planted(6, 2000, 5, noise=0.1)
    whole = consensus(scores)
    monkeypatch.setattr(_rank1, "_FIT_ROWS", 500)
    part = consensus(scores)
    assert np.abs(part.quality - whole.quality).max() < 0.1
    assert np.abs(part.quality - whole.quality).max() > 0
    assert np.allclose(part.rater_scale, b, rtol=0.05)
