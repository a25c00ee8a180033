import numpy as np
import pytest

from sweetspot.auditing.selection import select
from sweetspot.config import Selection
from sweetspot.errors import ContractError
from sweetspot.margins import bees

NAN = np.nan
ALL = Selection(keep_fraction=1.0)


def margins(n=400, seed=0):
    """External and implicit margins that agree half-way."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(0.5, 1, n)
    return shared + rng.normal(0, 1, n), 3 * (shared + rng.normal(0, 1, n))


def chosen(external, implicit, settings, *, kept=None, is_eval=None, **options):
    n = len(external)
    kept = np.ones(n, dtype=bool) if kept is None else kept
    is_eval = np.zeros(n, dtype=bool) if is_eval is None else is_eval
    return select(kept, is_eval, np.asarray(external, float), np.asarray(implicit, float), settings, **options)


def test_without_selection_and_routing_nothing_is_touched():
    found = chosen([NAN, -1.0], [NAN, NAN], ALL)
    assert found.kept.all()
    assert set(found.route) == {"dpo"}
    assert set(found.reason) == {""}


def test_two_margins_are_fused_as_in_the_nightly_flow():
    external, implicit = margins()
    spread = 1.4826 * np.median(np.abs(external - np.median(external)))
    matrix = np.stack([2.0 * external / spread, implicit])
    expected = bees(matrix, keep=100, min_count=1)
    found = chosen(external, implicit, Selection(keep_fraction=0.25, external_scale=2.0))
    assert np.flatnonzero(found.kept).tolist() == sorted(expected.selected.tolist())
    assert "score" in found.notes[0]
    assert "implicit" in found.notes[0]
    alone = chosen(external, np.full(400, NAN), Selection(keep_fraction=0.25))
    assert (alone.kept != found.kept).any()
    assert set(found.reason[~found.kept]) == {"margin_not_positive", "not_selected"}
    assert (found.reason == "margin_not_positive").sum() == (~found.kept & (matrix <= 0).any(axis=0)).sum()


def test_implicit_margins_alone_are_enough():
    implicit = margins()[1]
    found = chosen(np.full(400, NAN), implicit, Selection(keep_fraction=0.1))
    best = np.argsort(-implicit)[:40]
    assert implicit[found.kept].min() >= np.minimum(implicit[best].min(), 2.0)
    assert found.kept.sum() == 40


def test_the_search_for_the_upper_bound_starts_where_the_paper_says_for_each_kind_of_margin():
    """One margin of 10 far above the rest ends the search at once: at 10 / 1.5 for scores, at 10 / 2 for implicit."""
    margin = np.append(np.random.default_rng(0).uniform(0.1, 0.4, 399), 10.0)
    spread = 1.4826 * np.median(np.abs(margin - np.median(margin)))
    half = Selection(keep_fraction=0.5, external_scale=spread)
    assert "upper bound of implicit 5" in chosen(np.full(400, NAN), margin, half).notes[0]
    assert "upper bound of score 6, implicit 5" in chosen(margin, margin, half).notes[0]


def test_a_row_the_models_could_not_score_leaves_with_its_reason_and_evaluation_rows_stay():
    external, implicit = margins(20)
    implicit[[3, 4]] = NAN
    is_eval = np.arange(20) == 4
    found = chosen(external, implicit, Selection(keep_fraction=0.5), is_eval=is_eval, need_implicit=True)
    assert (found.reason[3], found.reason[4]) == ("not_scored", "")
    assert found.kept[4]


def test_columns_that_are_not_complete_are_not_used_and_the_reader_is_told():
    external, implicit = margins(20)
    implicit[3] = NAN
    found = chosen(external, implicit, Selection(keep_fraction=0.5))
    assert found.notes[-1].startswith("implicit_margins: 19 of 20")
    np.testing.assert_array_equal(found.kept, chosen(external, implicit * NAN, Selection(keep_fraction=0.5)).kept)
    # A row that has left before may lack them.
    there = np.arange(20) != 3
    assert "implicit" in chosen(external, implicit, Selection(keep_fraction=0.5), kept=there).notes[0]


def test_a_margin_against_the_label_is_only_a_reason_where_the_rule_asks_for_it():
    found = chosen([3.0, 2.0, 1.0, -1.0], [NAN] * 4, Selection(keep_fraction=0.5, both_positive=False))
    assert found.reason.tolist() == ["", "", "not_selected", "not_selected"]


def test_small_score_margins_are_routed_among_those_that_have_one():
    external = np.array([0.1, 5.0, 2.0, NAN, 3.0])
    # Their spread is 1.4826 * 1.45, so 2.0 is 0.93 of it.
    found = chosen(external, [NAN] * 5, Selection(keep_fraction=1.0, sft_margin=0.94))
    assert found.route.tolist() == ["sft", "dpo", "sft", "dpo", "dpo"]
    found = chosen(external, [NAN] * 5, Selection(keep_fraction=1.0, sft_margin=0.92))
    assert found.route.tolist() == ["sft", "dpo", "dpo", "dpo", "dpo"]


@pytest.mark.parametrize(
    ("external", "implicit", "settings", "options", "message"),
    [
        ([NAN, NAN], [NAN, NAN], Selection(keep_fraction=0.5), {}, "no score margins .* name both models"),
        ([NAN, NAN], [1.0, 2.0], Selection(keep_fraction=1.0, sft_margin=1.0), {}, "sft_margin routes by score"),
        ([1.0, 2.0], [NAN, NAN], Selection(keep_fraction=0.5), {"need_implicit": True}, "could be scored by both"),
        ([1.0, NAN], [NAN, 2.0], Selection(keep_fraction=0.5), {"need_implicit": True}, "score and implicit margin"),
    ],
)
def test_a_selection_without_margins_is_refused(external, implicit, settings, options, message):
    with pytest.raises(ContractError, match=message):
        chosen(external, implicit, settings, **options)
