import math
from dataclasses import replace

import numpy as np
import pytest

from sweetspot.config import Evaluation
from sweetspot.errors import ContractError
from sweetspot.training.gate import decide, divergence
from sweetspot.training.result import summarise

SETTINGS = Evaluation(min_gain=0.01, max_chosen_drop=5.0)
PROBE = np.array([[-10.0, -12.0], [-8.0, -7.0]])
GOOD = summarise((0.69, 0.5), pairs=2, sft_pairs=0, before=PROBE, after=PROBE + np.array([0.5, -2.0]))


@pytest.mark.parametrize(
    ("gain", "drop", "losses", "refused_for"),
    [
        (0.05, 0.0, (0.69, 0.5), []),
        (0.05, 5.0, (0.69, 0.5), []),
        (0.0101, -3.0, (0.69, 0.5), []),
        (0.01, 0.0, (0.69, 0.5), ["by +0.01, not by more than evaluation.min_gain = 0.01"]),
        (-0.2, 0.0, (0.69, 0.5), ["by -0.2, not"]),
        (0.05, 5.01, (0.69, 0.5), ["fell by 5.01 nats (from -9 to -14.01), more than evaluation.max_chosen_drop = 5"]),
        (0.05, 0.0, (0.69, math.nan), ["Training diverged: the loss of step 2 is nan, 2 steps were done"]),
        (0.05, 0.0, (math.inf,), ["the loss of step 1 is inf"]),
        (0.0, 9.0, (0.69, math.nan), ["Training diverged", "evaluation.min_gain"]),
        (0.0, 9.0, (0.69, 0.5), ["max_chosen_drop", "evaluation.min_gain"]),
    ],
)
def test_each_ground_for_refusal_is_named_with_its_numbers(gain, drop, losses, refused_for):
    training = replace(
        GOOD, losses=losses, steps=len(losses), mean_chosen_logp_before=-9.0, mean_chosen_logp_after=-9.0 - drop
    )
    decision = decide(gain, training, SETTINGS)
    assert decision.promote == (not refused_for)
    assert len(decision.reasons) == len(refused_for)
    for reason, part in zip(decision.reasons, refused_for, strict=True):
        assert part in reason
        assert reason.endswith(".")


def test_broken_log_probs_after_finite_losses_are_refused():
    broken = replace(GOOD, mean_chosen_logp_after=math.nan)
    assert decide(0.5, broken, SETTINGS).reasons[0].startswith("Training diverged: its last log-probs are not finite")
    assert decide(0.5, broken, SETTINGS).reasons == divergence(broken)
    assert divergence(GOOD) == ()


@pytest.mark.parametrize("gain", [math.nan, math.inf])
def test_without_an_evaluation_there_is_no_decision(gain):
    with pytest.raises(ContractError, match="gain: got"):
        decide(gain, GOOD, SETTINGS)
