import numpy as np
import pytest

from sweetspot.calibration import apply_calibration, calibrate
from sweetspot.errors import ContractError
from sweetspot.raters import consensus


@pytest.fixture
def scores():
    rng = np.random.default_rng(0)
    table = rng.normal(size=(300, 1)) * [1.0, 5.0, 0.2] + [0.0, 100.0, -3.0] + rng.normal(size=(300, 3)) * 0.1
    table[rng.random((300, 3)) < 0.1] = np.nan
    table[0] = np.nan
    return table


@pytest.mark.parametrize("method", ["median", "mean"])
def test_all_rows_at_once_equal_the_consensus(scores, method):
    whole = consensus(scores, method=method)
    cleaned = apply_calibration(scores, calibrate(scores, method=method))
    np.testing.assert_array_equal(cleaned.quality, whole.quality)
    np.testing.assert_array_equal(cleaned.outliers, whole.outlier.sum(axis=1))
    np.testing.assert_array_equal(cleaned.disagreement, whole.disagreement)


def test_a_part_is_cleaned_as_it_would_be_in_the_whole(scores):
    calibration = calibrate(scores)
    whole, part = apply_calibration(scores, calibration), apply_calibration(scores[40:60], calibration)
    np.testing.assert_array_equal(part.quality, whole.quality[40:60])


def test_usable_counts_present_scores_of_raters_in_use(scores):
    table = np.column_stack([scores, np.full(300, 7.0)])
    cleaned = apply_calibration(table, calibrate(table))
    np.testing.assert_array_equal(cleaned.usable, np.count_nonzero(~np.isnan(scores), axis=1))


def test_rank1_keeps_the_order_of_the_consensus():
    rng = np.random.default_rng(1)
    truth = rng.normal(size=400)
    table = truth[:, None] * rng.uniform(0.5, 2, 6) + rng.normal(size=(400, 6)) * 0.05
    cleaned = apply_calibration(table, calibrate(table, method="rank1"))
    assert np.corrcoef(cleaned.quality, truth)[0, 1] > 0.99


def test_another_number_of_raters_is_refused(scores):
    with pytest.raises(ContractError, match=r"expected \(rows, 3\)"):
        apply_calibration(scores[:, :2], calibrate(scores))


def test_a_scale_that_says_nothing_of_the_range_warns():
    crowded = np.concatenate([np.full(50, 0.001) + np.arange(50) * 1e-6, [0.9]])
    found = calibrate(np.column_stack([crowded, np.arange(51.0), np.arange(51.0)]))
    assert [warning for warning in found.warnings if warning.startswith("skewed_rater: scores of rater 0")]
