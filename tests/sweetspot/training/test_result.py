import json
import math
from dataclasses import asdict

import numpy as np
import pytest

from sweetspot.training.result import summarise

BEFORE = np.array([[-10.0, -12.0], [-8.0, -7.0], [-9.0, -9.0], [-5.0, -6.0]])
AFTER = np.array([[-9.0, -15.0], [-9.0, -9.0], [-9.0, -10.0], [-7.0, -6.0]])


def test_the_numbers_of_a_run_by_hand():
    result = summarise((0.7, 0.6, 0.5), pairs=40, sft_pairs=3, before=BEFORE, after=AFTER)
    assert (result.steps, result.first_loss, result.last_loss) == (3, 0.7, 0.5)
    assert (result.pairs, result.sft_pairs, result.probe_pairs) == (40, 3, 4)
    assert (result.mean_chosen_logp_before, result.mean_chosen_logp_after) == (-8.0, -8.5)
    assert (result.mean_rejected_logp_before, result.mean_rejected_logp_after) == (-8.5, -10.0)
    assert result.mean_margin == pytest.approx(-0.5 + 1.5)
    assert result.reference_accuracy == 0.5  # a tie is not right
    assert result.displacement == 0.5  # unchanged is not displaced
    assert result.chosen_drop == 0.5
    assert not result.diverged


@pytest.mark.parametrize(
    ("losses", "after"),
    [((0.7, math.nan), AFTER), ((math.inf,), AFTER), ((0.7,), np.full((4, 2), math.nan)), ((0.7,), AFTER - math.inf)],
)
def test_anything_not_finite_is_divergence(losses, after):
    assert summarise(losses, pairs=4, sft_pairs=0, before=BEFORE, after=after).diverged


def test_a_result_is_plain_json():
    result = summarise((0.7, 0.6), pairs=4, sft_pairs=0, before=BEFORE, after=AFTER)
    assert json.loads(json.dumps(asdict(result)))["losses"] == [0.7, 0.6]
