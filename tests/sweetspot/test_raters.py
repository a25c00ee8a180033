import warnings as python_warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sweetspot import raters
from sweetspot.errors import ContractError, SweetspotError
from sweetspot.raters import consensus

SD_PER_MAD = 1.4826


def planted(seed=0, rows=400, n_raters=3, noise=0.2, bad_share=0.0):
    rng = np.random.default_rng(seed)
    quality = rng.normal(size=rows)
    slope, level = rng.uniform(0.5, 2.0, n_raters), rng.normal(size=n_raters) * 3
    z = quality[:, None] + noise * rng.normal(size=(rows, n_raters))
    bad = rng.random((rows, n_raters)) < bad_share
    z = z + bad * rng.choice([-1.0, 1.0], z.shape) * rng.uniform(4, 6, z.shape)
    return quality, level + slope * z, bad


def codes(result):
    return [text.split(":")[0] for text in result.warnings]


def slow_consensus(scores, summary):
    """The formulas of the docstring, one rater and one row at a time, without blocks or networks."""
    offset, scale = [], []
    for column in scores.T:
        present = column[~np.isnan(column)]
        middle = np.median(present)
        spread = SD_PER_MAD * np.median(np.abs(present - middle))
        offset.append(middle)
        scale.append(spread if spread > 0 else 1.2533 * np.mean(np.abs(present - middle)))
    z = (scores - np.array(offset)) / np.array(scale)
    quality = np.array([summary(row[~np.isnan(row)]) for row in z])
    return np.array(offset), np.array(scale), quality, z - quality[:, None]


@pytest.mark.parametrize(("method", "summary"), [("median", np.median), ("mean", np.mean)])
@pytest.mark.parametrize("n_raters", [3, 4, 7, 40])
def test_quality_and_residual_follow_the_formula_when_scores_are_missing(method, summary, n_raters):
    _, scores, _ = planted(n_raters=n_raters, rows=301, bad_share=0.1)
    rng = np.random.default_rng(9)
    scores[rng.random(scores.shape) < 0.3] = np.nan
    scores = scores[(~np.isnan(scores)).any(axis=1)]
    offset, scale, quality, residual = slow_consensus(scores, summary)
    got = consensus(scores, method=method)
    assert np.allclose(got.rater_offset, offset, rtol=0, atol=1e-12)
    assert np.allclose(got.rater_scale, scale, rtol=1e-12, atol=0)
    assert np.allclose(got.quality, quality, rtol=0, atol=1e-12)
    assert np.allclose(got.residual, residual, rtol=0, atol=1e-12, equal_nan=True)
    assert got.method == method


def test_a_table_worked_by_hand():
    # Rater 0: median 3, MAD 1. Rater 1: median 30, MAD 10. Rater 2: median 3, deviations 2 1 0 1 97.
    scores = [[1, 10, 1], [2, 20, 2], [3, 30, 3], [4, 40, 4], [5, 50, 100]]
    got = consensus(scores)
    b = SD_PER_MAD
    assert got.rater_offset.tolist() == [3, 30, 3]
    assert np.allclose(got.rater_scale, [b, 10 * b, b])
    assert np.allclose(got.quality, np.array([-2, -1, 0, 1, 2]) / b)
    assert np.allclose(got.residual[4], [0, 0, 95 / b])
    # One non-zero residual, so the default threshold is 4 robust sds of that residual itself.
    assert got.threshold == pytest.approx(4 * SD_PER_MAD * 95 / b)
    assert not got.outlier.any()
    told = consensus(scores, threshold=3.0)
    assert told.threshold == 3.0
    assert np.argwhere(told.outlier).tolist() == [[4, 2]]
    assert told.quality.dtype == np.float64
    assert told.correctable_per_row.dtype == np.int64
    assert told.outlier.dtype == np.bool_
    assert told.disagreement.dtype == np.bool_


def test_default_threshold_is_four_robust_sds_of_the_nonzero_residuals():
    _, scores, _ = planted(rows=200)
    got = consensus(scores)
    size = np.abs(got.residual)
    assert got.threshold == pytest.approx(4 * SD_PER_MAD * np.median(size[size > 1e-9]), rel=1e-12)


def test_default_threshold_has_a_floor_when_raters_agree_exactly():
    x = np.arange(20.0)
    got = consensus(np.column_stack([x, 2 * x + 1, 5 * x]))
    assert got.threshold == 1e-3
    assert not got.outlier.any()
    assert np.abs(got.residual).max() < 1e-9


@pytest.mark.parametrize(("present", "correctable"), [(1, 0), (2, 0), (3, 1), (4, 1), (5, 2), (6, 2), (7, 3)])
def test_correctable_errors_are_half_of_the_usable_scores_less_one(present, correctable):
    _, scores, _ = planted(n_raters=7, rows=50)
    scores[0, present:] = np.nan
    assert consensus(scores, method="median").correctable_per_row[0] == correctable


def test_a_rater_left_out_does_not_count_as_usable():
    _, scores, _ = planted(n_raters=3, rows=50)
    scores[:, 1] = 4.0
    got = consensus(scores)
    assert got.rater_scale[1] == 0.0
    assert np.isnan(got.residual[:, 1]).all()
    assert (got.correctable_per_row == 0).all()
    assert "constant_rater" in codes(got)


def test_single_planted_errors_of_three_raters_are_found():
    _, scores, bad = planted(rows=600, bad_share=0.05)
    one_bad = bad.sum(axis=1) <= 1
    got = consensus(scores)
    found = got.outlier[one_bad]
    truth = bad[one_bad]
    precision = (found & truth).sum() / found.sum()
    recall = (found & truth).sum() / truth.sum()
    assert precision > 0.9
    assert recall > 0.9


def test_two_errors_among_three_raters_are_a_disagreement_and_no_outlier():
    _, scores, _ = planted(rows=300, noise=0.1)
    scores[7, 0] += 50
    scores[7, 2] -= 50
    got = consensus(scores)
    assert got.disagreement[7]
    assert not got.outlier[7].any()
    assert not got.disagreement[[6, 8]].any()


def test_two_raters_can_only_disagree():
    _, scores, _ = planted(n_raters=2, rows=300, noise=0.1)
    scores[5, 0] += 50
    got = consensus(scores)
    assert got.disagreement[5]
    assert not got.outlier.any()
    assert codes(got) == ["few_raters"]


def test_one_rater_is_taken_as_it_is():
    got = consensus([[1.0], [2.0], [3.0], [7.0]])
    assert "single_rater" in codes(got)
    assert not got.disagreement.any()
    assert np.allclose(got.residual, 0)
    assert np.argsort(got.quality).tolist() == [0, 1, 2, 3]


def test_mean_absolute_deviation_replaces_a_zero_mad():
    votes = np.array([0.0] * 6 + [1.0, 1.0])
    got = consensus(np.column_stack([votes, np.arange(8.0), np.arange(8.0)]))
    assert got.rater_scale[0] == pytest.approx(1.2533 * 0.25)


def test_constant_raters_give_quality_zero_where_anything_was_scored():
    got = consensus([[1.0, np.nan], [1.0, 2.0], [np.nan, np.nan]])
    assert got.quality[:2].tolist() == [0.0, 0.0]
    assert np.isnan(got.quality[2])
    assert got.rater_scale.tolist() == [0.0, 0.0]
    assert np.isnan(got.residual).all()
    assert not got.outlier.any()
    assert not got.disagreement.any()
    assert {"constant_rater", "unrated_rows"} <= set(codes(got))


@pytest.mark.parametrize("method", ["median", "rank1", "mean", "auto"])
def test_one_row_makes_every_rater_constant(method):
    got = consensus([[0.3, 5.0, 7.0, 8.0, 9.0]], method=method)
    assert got.quality.tolist() == [0.0]


def test_rows_without_usable_scores_are_nan_and_reported():
    _, scores, _ = planted(rows=50)
    scores[[3, 9]] = np.nan
    got = consensus(scores)
    assert np.flatnonzero(np.isnan(got.quality)).tolist() == [3, 9]
    assert got.correctable_per_row[3] == 0
    assert any(text.startswith("unrated_rows: 2 of 50 rows") and "row 3" in text for text in got.warnings)


def test_a_rater_that_never_scored_is_left_out():
    _, scores, _ = planted(n_raters=4, rows=60)
    scores[:, 2] = np.nan
    got = consensus(scores)
    assert got.rater_scale[2] == 0.0
    assert got.rater_offset[2] == 0.0
    assert np.array_equal(got.quality, consensus(scores[:, [0, 1, 3]]).quality)


@pytest.mark.parametrize("method", ["median", "rank1"])
def test_a_reversed_rater_is_named(method):
    _, scores, _ = planted(n_raters=5, rows=300)
    scores[:, 3] *= -1
    got = consensus(scores, method=method)
    assert [text for text in got.warnings if text.startswith("reversed_rater:") and "rater 3" in text]
    assert (got.rater_scale > 0).all()


def test_raters_that_agree_are_not_called_reversed():
    _, scores, _ = planted(n_raters=4, rows=300)
    assert consensus(scores).warnings == ()


def test_auto_takes_the_median_up_to_four_raters_and_rank1_from_five():
    for n_raters in (1, 2, 4):
        assert consensus(planted(n_raters=n_raters, rows=30)[1]).method == "median"
    for n_raters in (5, 8):
        assert consensus(planted(n_raters=n_raters, rows=30)[1]).method == "rank1"


@pytest.mark.parametrize("method", ["median", "mean", "rank1"])
def test_quality_does_not_depend_on_the_units_of_the_raters(method):
    _, scores, _ = planted(n_raters=5, rows=120, bad_share=0.1)
    scores[::7, 2] = np.nan
    unit, zero = np.array([0.01, 3.0, 1.0, 250.0, 7.0]), np.array([5.0, -2.0, 0.0, 1000.0, 0.1])
    plain, moved = consensus(scores, method=method), consensus(unit * scores + zero, method=method)
    assert np.allclose(plain.quality, moved.quality, rtol=0, atol=1e-7)
    assert np.allclose(moved.rater_scale, unit * plain.rater_scale, rtol=1e-7)
    assert np.allclose(moved.rater_offset, unit * plain.rater_offset + zero, rtol=1e-7)
    assert np.array_equal(plain.outlier, moved.outlier)


@pytest.mark.parametrize("method", ["median", "mean", "rank1"])
def test_reordering_rows_and_raters_reorders_the_result(method):
    _, scores, _ = planted(n_raters=5, rows=120, bad_share=0.1)
    rng = np.random.default_rng(3)
    rows, columns = rng.permutation(120), rng.permutation(5)
    plain, moved = consensus(scores, method=method), consensus(scores[rows][:, columns], method=method)
    assert np.allclose(plain.quality[rows], moved.quality, rtol=0, atol=1e-7)
    assert np.array_equal(plain.outlier[rows][:, columns], moved.outlier)


@given(
    scores=hnp.arrays(
        np.float64,
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=7),
        elements=st.one_of(st.just(float("nan")), st.integers(-4, 4).map(float), st.floats(-50, 50)),
    ),
    method=st.sampled_from(raters.METHODS),
)
@settings(max_examples=50, deadline=None)
def test_every_field_keeps_its_promise_on_arbitrary_tables(scores, method):
    if np.isnan(scores).all():
        with pytest.raises(ContractError, match="missing"):
            consensus(scores, method=method)
        return
    before = scores.copy()
    with python_warnings.catch_warnings():
        python_warnings.simplefilter("error")
        got = consensus(scores, method=method)
    assert np.array_equal(scores, before, equal_nan=True)
    usable = ~np.isnan(scores) & (got.rater_scale > 0)
    assert np.array_equal(np.isnan(got.residual), ~usable)
    assert np.isfinite(got.rater_offset).all()
    assert np.isfinite(got.rater_scale).all()
    anything = usable.any(axis=1) if (got.rater_scale > 0).any() else (~np.isnan(scores)).any(axis=1)
    assert np.array_equal(np.isnan(got.quality), ~anything)
    far = np.abs(got.residual) > got.threshold
    too_many = far.sum(axis=1) > got.correctable_per_row
    assert np.array_equal(got.disagreement, too_many)
    assert np.array_equal(got.outlier, far & ~too_many[:, None])
    assert np.array_equal(got.correctable_per_row, np.maximum(0, (usable.sum(axis=1) - 1) // 2))


def test_results_are_the_same_in_blocks(monkeypatch):
    _, scores, _ = planted(rows=500, bad_share=0.1)
    scores[::5, 0] = np.nan
    whole = consensus(scores)
    monkeypatch.setattr(raters, "_BLOCK_CELLS", 30)
    parts = consensus(scores)
    assert np.array_equal(whole.quality, parts.quality, equal_nan=True)
    assert np.array_equal(whole.residual, parts.residual, equal_nan=True)
    assert np.array_equal(whole.outlier, parts.outlier)
    assert whole.threshold == parts.threshold


def test_single_precision_and_lists_are_computed_in_double():
    _, scores, _ = planted(rows=80)
    single = scores.astype(np.float32)
    got = consensus(single)
    assert np.array_equal(got.quality, consensus(single.astype(np.float64)).quality)
    assert np.array_equal(got.quality, consensus(single.tolist()).quality)


@pytest.mark.parametrize(
    ("scores", "options", "message"),
    [
        ([1.0, 2.0], {}, r"scores: got 1 dimension"),
        ([[1.0, np.inf], [1.0, 2.0]], {}, r"scores.*1 of 4 values.*index \(0, 1\)"),
        ([[np.nan, np.nan]], {}, r"scores: all 2 scores are missing"),
        (np.empty((0, 3)), {}, r"scores: got shape \(0, 3\)"),
        ([["a", "b"]], {}, r"scores: got values of type"),
        ([[1.0, 2.0], [1.0]], {}, r"scores: cannot be read"),
        ([[1.0, 2.0]], {"method": "best"}, r"method: got 'best', expected one of auto, median"),
        ([[1.0, 2.0]], {"threshold": 0.0}, r"threshold: got 0.0"),
        ([[1.0, 2.0]], {"threshold": float("nan")}, r"threshold: got nan"),
    ],
)
def test_bad_input_is_refused_with_the_place_and_the_reason(scores, options, message):
    with pytest.raises(ContractError, match=message) as caught:
        consensus(scores, **options)
    assert isinstance(caught.value, SweetspotError)
    assert isinstance(caught.value, ValueError)
