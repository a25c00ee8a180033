"""Facts about a night curated from scored responses, each against an independent reading of the source."""

from collections import defaultdict

import numpy as np
import pytest

from sweetspot.config import Pairing, Relabelling, Selection
from tasks._account import account, check_seams, dropped_rows
from tasks.build_pairs import build_pairs
from tasks.relabel_pairs import relabel_pairs
from tasks.select_pairs import min_count, select_pairs


def truth_by_response(curated):
    texts = {row["response"]: row["truth"] for row in curated.rows}
    return {row["response_id"]: texts[row["response"]] for row in curated.tables["responses"].read().to_pylist()}


def test_every_table_keeps_its_contract(curated):
    for ref in curated.tables.values():
        for chunk in ref.each_chunk():
            ref.schema.check(chunk)


def test_cleaning_finds_the_quality_under_three_scales_and_gross_errors(curated):
    truth = truth_by_response(curated)
    rows = curated.tables["quality"].read().to_pylist()
    found = np.array([row["quality"] for row in rows])
    planted = np.array([truth[row["response_id"]] for row in rows])
    assert np.corrcoef(found, planted)[0, 1] > 0.99
    assert 0.02 < np.mean([row["outliers"] > 0 for row in rows]) < 0.09


def test_chosen_is_the_best_and_rejected_is_below_it(curated):
    by_prompt = defaultdict(list)
    for row in curated.tables["quality"].read().to_pylist():
        by_prompt[row["prompt_id"]].append(row["quality"])
    for pair in curated.tables["pairs"].read().to_pylist():
        assert pair["chosen_rating"] == max(by_prompt[pair["prompt_id"]])
        assert pair["rejected_rating"] < pair["chosen_rating"]
        assert pair["margin_external"] == pair["chosen_rating"] - pair["rejected_rating"]


def test_prompts_add_up(curated):
    check_seams(curated.tables)
    ends = account(curated.tables, dropped_rows(curated.tables))
    assert sum(ends.values()) == 30


def test_selection_keeps_the_share_of_training_pairs_and_all_held_out_ones(curated):
    pairs = curated.tables["pairs"].read().to_pylist()
    selected = {row["pair_id"]: row for row in curated.tables["selected"].read().to_pylist()}
    train = [pair for pair in pairs if pair["split"] == "train"]
    kept = [pair for pair in train if pair["pair_id"] in selected]
    assert len(kept) == int(np.ceil(0.5 * len(train)))
    assert min(p["margin_external"] for p in kept) >= max(
        p["margin_external"] for p in train if p["pair_id"] not in selected
    )
    held_out = [pair for pair in pairs if pair["split"] == "eval"]
    assert held_out
    assert all(selected[pair["pair_id"]]["preference_probability"] is None for pair in held_out)


def test_delivered_rows_hold_the_texts_of_their_own_responses(curated):
    texts = {row["response_id"]: row["response"] for row in curated.tables["responses"].read().to_pylist()}
    pairs = {row["pair_id"]: row for row in curated.tables["pairs"].read().to_pylist()}
    prompts = {row["prompt_id"]: row["prompt"] for row in curated.tables["prompts"].read().to_pylist()}
    rows = curated.tables["delivered"].read().to_pylist()
    assert rows
    for row in rows:
        pair = pairs[row["pair_id"]]
        assert row["prompt"] == prompts[row["prompt_id"]]
        assert row["chosen"] == [{"role": "assistant", "content": texts[pair["chosen_id"]]}]
        assert row["rejected"] == [{"role": "assistant", "content": texts[pair["rejected_id"]]}]
        assert row["score_chosen"] == row["chosen_rating"] > row["rejected_rating"]


def test_relabelled_rows_come_in_pairs_and_the_second_is_turned_round(curated):
    tables = curated.tables
    settings = Relabelling(enabled=True)
    ref = relabel_pairs(
        tables["prompts"], tables["responses"], tables["pairs"], tables["selected"], settings, curated.run
    )
    rows = {row["pair_id"]: row for row in ref.read().to_pylist()}
    assert len(rows) == 2 * tables["selected"].rows
    for key, row in rows.items():
        assert abs(row["goal"] - row["chosen_rating"]) == 0
        assert row["prompt"][0]["role"] == "system"
        if key.endswith(":b"):
            assert row["chosen"] == rows[key.replace(":b", ":a")]["rejected"]
            assert row["margin"] < 0


def test_small_margins_are_routed_to_sft(curated):
    ref = select_pairs(curated.tables["pairs"], Selection(keep_fraction=1, sft_margin=3.0), curated.run)
    margin = {row["pair_id"]: row["margin_external"] for row in curated.tables["pairs"].read().to_pylist()}
    for row in ref.read().to_pylist():
        assert row["route"] == ("sft" if margin[row["pair_id"]] < 3.0 else "dpo")


def test_mu_2sigma_reports_how_often_it_differs_from_min(curated):
    assert "mu-2sigma differs from min in" in curated.tables["pairs"].notes[0]


@pytest.mark.parametrize("rule", ["min_of_5", "random", "mu-sigma"])
def test_every_rule_gives_pairs(curated, rule):
    tables = curated.tables
    settings = Pairing(rejected=rule)
    ref = build_pairs(tables["prompts"], tables["responses"], tables["quality"], settings, curated.run)
    assert ref.rows == 30


def test_bees_wants_the_papers_count_in_proportion():
    assert [min_count(n) for n in (10, 61_135, 10**7)] == [1, 30, 30]


def test_references_not_computed_are_nan_which_trl_takes_and_null_it_does_not(curated):
    table = curated.tables["delivered"].read(["ref_chosen_logps", "ref_rejected_logps"])
    assert table["ref_chosen_logps"].null_count == table["ref_rejected_logps"].null_count == 0
    assert table.to_pandas().isna().all(axis=None)
