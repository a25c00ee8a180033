import json
import logging
import math
import warnings
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from sweetspot.engines.template import ChatTemplate
from sweetspot.errors import ContractError, MissingRatingError
from sweetspot.training import train_policy
from sweetspot.training.collator import PairCollator
from sweetspot.training.data import tokenise_pairs
from sweetspot.training.job import probe
from sweetspot.training.logprobs import score_pairs


def scores_of(folder, rows, settings):
    pairs = tokenise_pairs(rows, ChatTemplate.load(str(folder)), settings)
    return score_pairs(AutoModelForCausalLM.from_pretrained(folder), pairs, PairCollator(0), batch_size=5).double()


def whole_batch(settings, **changes):
    """All rows in one batch, so that a step's loss is known without knowing the order."""
    return settings.model_copy(update={"batch_size": 64, "epochs": 4.0, **changes})


def test_the_report_is_what_the_two_policies_say_of_the_rows(policy_dir, tmp_path, make_rows, settings):
    rows = make_rows(20)
    result = train_policy(rows, policy_dir=policy_dir, output_dir=tmp_path, training=settings)
    before, after = scores_of(policy_dir, rows, settings), scores_of(tmp_path / "policy", rows, settings)
    rise = after - before
    assert (result.steps, result.pairs, result.sft_pairs, result.probe_pairs) == (6, 20, 0, 20)
    assert result.mean_chosen_logp_before == pytest.approx(float(before[:, 0].mean()), abs=1e-4)
    assert result.mean_rejected_logp_before == pytest.approx(float(before[:, 1].mean()), abs=1e-4)
    assert result.mean_chosen_logp_after == pytest.approx(float(after[:, 0].mean()), abs=1e-4)
    assert result.mean_rejected_logp_after == pytest.approx(float(after[:, 1].mean()), abs=1e-4)
    assert result.mean_margin == pytest.approx(float((rise[:, 0] - rise[:, 1]).mean()), abs=1e-4)
    assert result.reference_accuracy == pytest.approx(float((before[:, 0] > before[:, 1]).double().mean()))
    assert result.displacement == pytest.approx(float((rise[:, 0] < 0).double().mean()))
    assert result.last_loss < result.first_loss == pytest.approx(math.log(2), abs=1e-6)
    assert result.mean_margin > 0.5
    assert not result.diverged


def test_steps_are_reported_as_they_are_done(policy_dir, tmp_path, make_rows, settings):
    seen = []
    result = train_policy(
        make_rows(20),
        policy_dir=policy_dir,
        output_dir=tmp_path,
        training=settings,
        on_step=lambda *step: seen.append(step),
    )
    assert [step for step, _, _ in seen] == [1, 2, 3, 4, 5, 6]
    assert {total for _, total, _ in seen} == {6}
    assert tuple(loss for _, _, loss in seen) == result.losses


def test_nothing_is_printed_and_nobody_is_warned(policy_dir, tmp_path, make_rows, settings, capfd):
    remarks = []
    handler = logging.Handler()
    handler.emit = remarks.append  # pyright: ignore[reportAttributeAccessIssue]
    transformers_logging.add_handler(handler)
    transformers_logging.enable_progress_bar()
    with warnings.catch_warnings(record=True, action="always") as warned:
        train_policy(make_rows(20), policy_dir=policy_dir, output_dir=tmp_path, training=settings)
    transformers_logging.remove_handler(handler)
    assert (remarks, [str(warning.message) for warning in warned]) == ([], [])
    assert tuple(capfd.readouterr()) == ("", "")
    assert transformers_logging.is_progress_bar_enabled()


def test_the_saved_policy_still_generates_with_its_cache(policy_dir, tmp_path, make_rows, settings):
    train_policy(make_rows(20), policy_dir=policy_dir, output_dir=tmp_path, training=settings)
    assert json.loads((tmp_path / "policy" / "config.json").read_text())["use_cache"] is True


def test_equal_seeds_give_equal_runs_and_other_seeds_another_order(policy_dir, tmp_path, make_rows, settings):
    def run(seed):
        changed = settings.model_copy(update={"seed": seed})
        return train_policy(make_rows(20), policy_dir=policy_dir, output_dir=tmp_path / str(seed), training=changed)

    assert run(1) == run(1)
    assert run(2).losses[2:] != pytest.approx(run(1).losses[2:], abs=1e-4)


def test_the_first_loss_of_rating_dpo_is_that_of_the_gap_alone(policy_dir, tmp_path, make_rows, settings):
    rows, beta, beta1 = make_rows(20), 0.1, 0.05
    training = whole_batch(settings, loss="rating_dpo", beta=beta, beta1=beta1)
    result = train_policy(rows, policy_dir=policy_dir, output_dir=tmp_path, training=training)
    gaps = [row["chosen_rating"] - row["rejected_rating"] for row in rows]
    expected = sum(math.log1p(math.exp(beta / beta1 * gap)) for gap in gaps) / len(gaps)
    assert result.first_loss == pytest.approx(expected, abs=1e-5)


def test_rating_dpo_with_endless_beta1_is_dpo(policy_dir, tmp_path, make_rows, settings):
    plain = train_policy(make_rows(20), policy_dir=policy_dir, output_dir=tmp_path / "dpo", training=settings)
    endless = settings.model_copy(update={"loss": "rating_dpo", "beta1": 1e12})
    rated = train_policy(make_rows(20), policy_dir=policy_dir, output_dir=tmp_path / "rated", training=endless)
    assert rated.losses == pytest.approx(plain.losses, abs=1e-6)
    near = settings.model_copy(update={"loss": "rating_dpo", "beta1": 0.1})
    shifted = train_policy(make_rows(20), policy_dir=policy_dir, output_dir=tmp_path / "near", training=near)
    assert abs(shifted.first_loss - plain.first_loss) > 0.05


def test_rows_routed_to_sft_learn_from_their_chosen_response_alone(policy_dir, tmp_path, make_rows, settings):
    rows, others = make_rows(12, sft_every=1), make_rows(12, sft_every=1, seed=5)
    swapped = [{**row, "rejected": other["rejected"]} for row, other in zip(rows, others, strict=True)]
    training = whole_batch(settings, sft_weight=0.5)
    for name, variant in (("one", rows), ("two", swapped)):
        result = train_policy(variant, policy_dir=policy_dir, output_dir=tmp_path / name, training=training)
    one, two = (
        AutoModelForCausalLM.from_pretrained(tmp_path / name / "policy").state_dict() for name in ("one", "two")
    )
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, atol=1e-6, rtol=0)
    before = scores_of(policy_dir, rows, settings)[:, 0]
    lengths = torch.tensor([len(row["chosen"][0]["content"]) + 1 for row in rows])
    assert result.first_loss == pytest.approx(float(0.5 * (-before / lengths).mean()), abs=1e-5)
    assert result.sft_pairs == 12
    assert result.mean_chosen_logp_after > result.mean_chosen_logp_before + 0.5


def test_references_of_rows_shift_the_first_loss_where_they_are_trusted(policy_dir, tmp_path, make_rows, settings):
    rows, training = make_rows(10), whole_batch(settings)
    before = scores_of(policy_dir, rows, settings)
    for row, (chosen, rejected) in zip(rows[:5], before.tolist(), strict=False):
        row.update(ref_chosen_logps=chosen - 20.0, ref_rejected_logps=rejected)
    trusted = train_policy(
        rows, policy_dir=policy_dir, output_dir=tmp_path / "trusted", training=training, trust_row_references=True
    )
    computed = train_policy(rows, policy_dir=policy_dir, output_dir=tmp_path / "computed", training=training)
    shifted = math.log1p(math.exp(-training.beta * 20.0))
    assert trusted.first_loss == pytest.approx((shifted + math.log(2)) / 2, abs=1e-5)
    assert computed.first_loss == pytest.approx(math.log(2), abs=1e-5)


def test_divergence_ends_training_and_shows(policy_dir, tmp_path, make_rows, settings):
    wild = settings.model_copy(update={"learning_rate": 1e30, "checkpoint_steps": 1})
    result = train_policy(make_rows(20), policy_dir=policy_dir, output_dir=tmp_path, training=wild)
    assert result.steps == 3
    assert [math.isfinite(loss) for loss in result.losses] == [True, True, False]
    assert result.diverged
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["checkpoint-1", "checkpoint-2"]


@pytest.mark.parametrize(
    ("loss", "change", "error", "message"),
    [
        ("rating_dpo", {"chosen_rating": None}, MissingRatingError, "1 of 20 pairs lack a rating"),
        ("dpo", {"rejected": [{"role": "assistant", "content": "a" * 200}]}, ContractError, "1 of 20 pairs are longer"),
    ],
)
def test_refused_rows_leave_nothing_behind(policy_dir, tmp_path, make_rows, settings, loss, change, error, message):
    rows = make_rows(20)
    rows[7].update(change)
    with pytest.raises(error, match=message):
        train_policy(
            rows,
            policy_dir=policy_dir,
            output_dir=tmp_path / "out",
            training=settings.model_copy(update={"loss": loss}),
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("rows", "probed"), [(1, 1), (64, 64), (65, 64), (1000, 64)])
def test_the_probe_is_spread_over_the_rows(rows, probed):
    places: list[Any] = probe(range(rows))  # pyright: ignore[reportArgumentType]  (numbers for pairs)
    assert len(set(places)) == probed
    assert (places[0], places[-1]) == (0, rows - 1)
    assert places == sorted(places)
