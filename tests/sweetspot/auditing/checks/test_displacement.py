import numpy as np
import pytest
from audit_tables import pairs_of

from sweetspot.auditing.checks import displacement, likelihood
from sweetspot.auditing.scored import Scored

MODEL = Scored("runs/b/policy", "runs/a/policy", {"reference": "r1", "policy": "r2"}, 9, 9)


def found_for(risk, scored=MODEL):
    risk = np.asarray(risk, dtype=float)
    (found,) = displacement.check(pairs_of(len(risk), ches=10 * risk, ches_per_token=risk), scored)
    return found


def test_pairs_are_ranked_by_their_score_per_token_and_those_above_zero_are_counted():
    found = found_for([-3.0, 0.5, np.nan, -1.0, 2.0])
    assert [one.row_id for one in found.suspects] == ["r4", "r1", "r3", "r0"]
    assert found.suspects[0].reason.startswith("displacement risk 1 of 4: CHES per token 2")
    assert (found.figures["pairs"], found.figures["positive_pairs"], found.figures["positive_share"]) == (4, 2, 0.5)
    assert found.figures["ches_per_token_median"] == -0.25
    assert found.figures["ches_median"] == -2.5
    low, high = found.intervals["positive_share"]
    assert low < 0.5 < high


def test_a_twentieth_above_zero_asks_for_a_look_and_no_share_calls_it_bad():
    level = {positive: found_for([1.0] * positive + [-1.0] * (100 - positive)).level for positive in (0, 4, 5, 100)}
    assert level == {0: "ok", 4: "ok", 5: "look", 100: "look"}
    assert "leave the worst out" not in found_for([-1.0] * 20).says
    assert "leave the worst out" in found_for([1.0] * 20).says


def test_zero_is_no_risk_and_nothing_scored_is_said():
    assert found_for([0.0, 0.0]).figures["positive_pairs"] == 0
    assert found_for([np.nan]).level == "not_checked"


def test_the_reader_learns_which_models_sample_and_losses_stand_behind_it():
    scored = Scored("runs/b/policy", "runs/a/policy", MODEL.revisions, 50, 4, {"too_long": 3}, replaced=True)
    notes = {note.split(":")[0]: note for note in found_for([1.0], scored).warnings}
    assert "a/policy is the reference" in notes["models"]
    assert "b/policy the policy trained since" in notes["models"]
    assert "4 of 50 pairs" in notes["sample"]
    assert "3 for longer than the model" in notes["left_out"]
    assert "set aside" in notes["columns"]
    assert likelihood.notes_of(None) == ()


def test_likelihoods_name_the_model_and_count_what_was_left_out():
    scored = Scored("a/b", "a/b", {"reference": "r1"}, 8, 5, {"several_turns": 2})
    numbers = {"ref_chosen_logps": [-5.0, -9.0, np.nan], "ref_rejected_logps": [-6.0, -8.0, np.nan]}
    numbers |= {"chosen_tokens": [5.0, 9.0, np.nan], "rejected_tokens": [3.0, 4.0, np.nan]}
    table = pairs_of(3, **{name: np.array(values) for name, values in numbers.items()})
    (found,) = likelihood.check(table, scored)
    assert found.says.startswith("The model that DPO starts from (a/b) prefers the chosen response in 50% of 2 pairs.")
    assert (found.figures["scorable_pairs"], found.figures["not_scored_several_turns"]) == (8, 2)
    assert found.figures["reference_revision"] == "r1"
    # Per token: -1 against -2, and -1 against -2.
    assert found.figures["reference_accuracy_per_token"] == 1.0
    assert "displacement_rate" not in found.figures


@pytest.mark.parametrize(("wrong", "level"), [(0, "ok"), (1, "look"), (3, "bad")])
def test_pairs_out_of_reach_come_with_what_to_do(wrong, level):
    chosen = np.full(10, -10.0)
    rejected = np.where(np.arange(10) < wrong, 90.0 - 10.0, -20.0)
    (found,) = likelihood.check(pairs_of(10, ref_chosen_logps=chosen, ref_rejected_logps=rejected))
    assert found.level == level
    assert ("for wrong labels" in found.says) == (level != "ok")
