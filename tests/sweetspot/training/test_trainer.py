import pytest

from sweetspot.config import Training
from sweetspot.training.trainer import total_steps, training_arguments


@pytest.mark.parametrize(
    ("pairs", "batch_size", "epochs", "steps"),
    [
        (20, 8, 2.0, 6),
        (16, 8, 1.0, 2),
        (17, 8, 1.0, 3),
        (20, 8, 1.5, 5),
        (5, 16, 0.01, 1),
        (7, 1, 29 * 1 / 7, 29),
        (160, 16, 0.3, 3),
    ],
)
def test_steps_are_epochs_times_batches_rounded_up(pairs, batch_size, epochs, steps):
    assert total_steps(pairs, Training(batch_size=batch_size, epochs=epochs)) == steps


@pytest.mark.parametrize(("steps", "warmup"), [(1, 0), (2, 1), (10, 1), (11, 2), (30, 3), (100, 10)])
def test_the_first_tenth_warms_up(tmp_path, steps, warmup):
    arguments = training_arguments(Training(seed=2**32 + 5), tmp_path, steps=steps, use_cache=True)
    assert arguments.get_warmup_steps(steps) == warmup
    assert arguments.max_steps == steps
    assert arguments.seed == 5
    assert arguments.lr_scheduler_type == "cosine"
    assert (arguments.max_grad_norm, arguments.weight_decay, arguments.report_to) == (1.0, 0.0, [])
