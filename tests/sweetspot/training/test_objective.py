import math
from typing import get_args

import pytest
import torch

from sweetspot.config import Loss, Training
from sweetspot.errors import MissingRatingError
from sweetspot.training.objective import LOSSES, PairBatch, assemble, mean_loss, row_losses

LOGPS = {
    "policy_chosen_logps": [-12.0, -9.0, -20.0],
    "policy_rejected_logps": [-15.0, -8.0, -19.5],
    "reference_chosen_logps": [-13.0, -9.5, -18.0],
    "reference_rejected_logps": [-14.0, -9.0, -20.0],
}
GAPS, CHOSEN_LENGTHS, REJECTED_LENGTHS = [3.0, -0.4, 0.7], [6.0, 4.0, 9.0], [5.0, 4.0, 8.0]
SETTINGS = Training(beta=0.1, beta1=0.5, variance=2.0, label_smoothing=0.1, tau=0.8, sft_weight=1.5)


def batch_of(sft=(False, False, False), gaps=GAPS) -> PairBatch:
    tensors = {name: torch.tensor(values, dtype=torch.float64) for name, values in LOGPS.items()}
    for name in ("policy_chosen_logps", "policy_rejected_logps"):
        tensors[name].requires_grad_()
    return PairBatch(
        **tensors,
        rating_gap=torch.tensor(gaps, dtype=torch.float64),
        chosen_lengths=torch.tensor(CHOSEN_LENGTHS),
        rejected_lengths=torch.tensor(REJECTED_LENGTHS),
        is_sft=torch.tensor(sft),
    )


def formula(loss: str, row: int) -> float:
    """Each loss written out with floats, from the options each one reads."""
    w, l_, rw, rl = (values[row] for values in LOGPS.values())
    z, gap = 0.1 * ((w - rw) - (l_ - rl)), GAPS[row]
    dpo = math.log1p(math.exp(-z))
    by_length = (w - rw) / CHOSEN_LENGTHS[row] - (l_ - rl) / REJECTED_LENGTHS[row]
    return {
        "dpo": dpo,
        "cdpo": dpo + 0.1 * z,
        "ipo": (by_length - 1 / (2 * 0.1)) ** 2,
        "rating_dpo": math.log1p(math.exp(-(z - 0.1 / 0.5 * gap))),
        "rating_ipo": (z - 0.1 / 0.5 * gap - 0.5) ** 2,
        "ml_rating_dpo": dpo + (gap - z) ** 2 / (2 * 2.0 * 0.75),
        "mixdpo": 1.5 * -w / CHOSEN_LENGTHS[row] if gap < 0.8 else dpo + 0.1 * z,
    }[loss]


def test_every_loss_of_the_configuration_is_there_and_no_other():
    assert set(LOSSES) == set(get_args(Loss))


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_each_name_is_its_formula_with_its_own_options(loss):
    settings = SETTINGS.model_copy(update={"loss": loss})
    values = row_losses(batch_of(), settings, rated_fraction=0.75)
    assert values.tolist() == pytest.approx([formula(loss, row) for row in range(3)], rel=1e-12)


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_a_routed_pair_gets_the_mean_token_nll_of_its_chosen_response(loss):
    settings = SETTINGS.model_copy(update={"loss": loss})
    routed = row_losses(batch_of(sft=(False, True, False)), settings, rated_fraction=0.75).tolist()
    assert routed == pytest.approx([formula(loss, 0), 1.5 * 9.0 / 4.0, formula(loss, 2)], rel=1e-12)


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_a_routed_pair_pulls_on_nothing_but_its_chosen_response(loss):
    gaps = [3.0, math.nan, 0.7]
    batch = batch_of(sft=(False, True, False), gaps=gaps)
    row_losses(batch, SETTINGS.model_copy(update={"loss": loss}), rated_fraction=0.75).sum().backward()
    assert batch.policy_rejected_logps.grad[1] == 0
    assert batch.policy_chosen_logps.grad[1] == pytest.approx(-1.5 / 4.0)
    assert batch.policy_rejected_logps.grad[0] != 0
    assert batch.policy_chosen_logps.grad.isfinite().all()


def test_a_batch_of_routed_pairs_only_is_plain_sft():
    batch = batch_of(sft=(True, True, True), gaps=[math.nan] * 3)
    expected = 1.5 * (12 / 6 + 9 / 4 + 20 / 9) / 3
    assert float(mean_loss(batch, SETTINGS).detach()) == pytest.approx(expected, rel=1e-12)


def test_the_mean_is_over_all_rows():
    settings = SETTINGS.model_copy(update={"loss": "dpo"})
    batch = batch_of(sft=(True, False, False))
    expected = (1.5 * 12 / 6 + formula("dpo", 1) + formula("dpo", 2)) / 3
    assert float(mean_loss(batch, settings).detach()) == pytest.approx(expected, rel=1e-12)


def test_a_missing_gap_is_never_taken_as_zero():
    with pytest.raises(MissingRatingError):
        mean_loss(batch_of(gaps=[1.0, math.nan, 1.0]), SETTINGS.model_copy(update={"loss": "rating_dpo"}))


@pytest.mark.parametrize("bad", [math.nan, -math.inf])
def test_diverged_log_probs_show_as_nan_instead_of_an_error(bad):
    batch = batch_of()
    with torch.no_grad():
        batch.policy_rejected_logps[1] = bad
    assert math.isnan(float(mean_loss(batch, SETTINGS).detach()))


def test_assembling_takes_the_columns_of_the_collator():
    inputs = {name: torch.full((2,), float(index)) for index, name in enumerate(PairBatch.__dataclass_fields__)}
    batch = assemble(
        (torch.tensor([-1.0, -1.0]), torch.tensor([-2.0, -2.0])), {**inputs, "input_ids": torch.zeros(4, 3)}
    )
    assert batch.policy_chosen_logps.tolist() == [-1.0, -1.0]
    assert batch.policy_rejected_logps.tolist() == [-2.0, -2.0]
    assert batch.rejected_lengths.tolist() == inputs["rejected_lengths"].tolist()
