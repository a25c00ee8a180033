import numpy as np
import pandas as pd
import pytest

from sweetspot.errors import ContractError
from sweetspot.score_completion import complete_scores


def hide(table, share, seed=0):
    hidden = np.random.default_rng(seed).random(table.shape) < share
    return np.where(hidden, np.nan, table), hidden


def rmse(found, table, hidden):
    return float(np.sqrt(np.mean((found[hidden] - table[hidden]) ** 2)))


def additive_table(rng, shape=(80, 12)):
    return 3 + rng.normal(size=(shape[0], 1)) + rng.normal(size=(1, shape[1]))


def test_an_additive_table_is_recovered():
    table = additive_table(np.random.default_rng(0), (200, 40))
    found = complete_scores(hide(table, 0.5)[0])
    assert rmse(found.completed, table, hide(table, 0.5)[1]) < 0.1 * table.std()


def test_noise_is_not_taken_for_interaction():
    rng = np.random.default_rng(1)
    table = additive_table(rng) + rng.normal(size=(80, 12))
    partial, hidden = hide(table, 0.3)
    found = complete_scores(partial)
    assert found.penalty >= 0.65
    assert rmse(found.completed, table, hidden) < 1.01 * rmse(found.additive, table, hidden)


def test_an_interaction_is_found_where_there_is_one():
    rng = np.random.default_rng(2)
    table = additive_table(rng) + 3 * rng.normal(size=(80, 1)) @ rng.normal(size=(1, 12))
    partial, hidden = hide(table, 0.3)
    found = complete_scores(partial)
    assert rmse(found.completed, table, hidden) < 0.5 * rmse(found.additive, table, hidden)
    singular = np.linalg.svd(found.interaction, compute_uv=False)
    assert singular[1] < 0.35 * singular[0]


def test_given_scores_stay_and_the_rest_stays_in_their_range():
    partial, hidden = hide(np.random.default_rng(3).random((50, 8)) ** 4, 0.4)
    found = complete_scores(partial)
    assert np.array_equal(found.completed[~hidden], partial[~hidden])
    assert np.nanmin(partial) <= found.completed.min() <= found.completed.max() <= np.nanmax(partial)


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e4])
def test_the_unit_and_the_order_of_rows_do_not_matter(unit):
    rng = np.random.default_rng(4)
    partial, _ = hide(additive_table(rng) + rng.normal(size=(80, 3)) @ rng.normal(size=(3, 12)), 0.4)
    one, other = complete_scores(partial), complete_scores(unit * partial + 7)
    assert other.completed == pytest.approx(unit * one.completed + 7, rel=1e-3, abs=1e-3 * unit)
    assert other.penalty == one.penalty


def test_rows_and_columns_without_scores_are_named_and_get_the_mean_effect():
    table = additive_table(np.random.default_rng(5))
    table[3] = np.nan
    table[:, 2] = np.nan
    found = complete_scores(table)
    assert [warning.split(":")[0] for warning in found.warnings] == ["empty_rows", "empty_columns"]
    assert np.isfinite(found.completed).all()


def test_equal_scores_are_completed_by_themselves():
    assert np.array_equal(complete_scores(hide(np.full((10, 10), 2.0), 0.3)[0]).completed, np.full((10, 10), 2.0))


def test_too_few_or_infinite_scores_are_refused():
    with pytest.raises(ContractError, match="19 scores are there"):
        complete_scores(np.where(np.arange(40) < 19, 1.0, np.nan).reshape(8, 5))
    with pytest.raises(ContractError, match="finite"):
        complete_scores([[np.inf] * 30])


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_real_judgements_are_completed_better_than_by_row_and_column(shared_data, share):
    frame = pd.read_parquet(shared_data / "alpaca_eval" / "alpaca_eval_matrix.parquet")
    column = "score_ae2_weighted"
    table = frame.dropna(subset=[column]).pivot(index="prompt_id", columns="model", values=column).to_numpy()
    partial, hidden = hide(table, share)
    found = complete_scores(partial)
    asked = hidden & ~np.isnan(table)
    assert rmse(found.completed, table, asked) < 0.995 * rmse(np.clip(found.additive, 0, 1), table, asked)
