"""The same data, seed and schedule through an unmodified TRL DPOTrainer give the same losses and weights."""

import pytest
import torch
from datasets import Dataset, disable_progress_bars
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer

from sweetspot.training import train_policy

TRL_NAMES = {"dpo": "sigmoid", "ipo": "ipo"}


def train_with_trl(rows, policy_dir, output_dir, settings):
    load = AutoModelForCausalLM.from_pretrained
    policy, reference = (load(policy_dir, dtype=torch.float32) for _ in range(2))
    disable_progress_bars()
    trainer = DPOTrainer(
        model=policy,
        ref_model=reference,
        args=DPOConfig(
            output_dir=str(output_dir),
            loss_type=TRL_NAMES[settings.loss],
            beta=settings.beta,
            per_device_train_batch_size=settings.batch_size,
            num_train_epochs=settings.epochs,
            learning_rate=settings.learning_rate,
            lr_scheduler_type="cosine",
            warmup_steps=0.1,
            seed=settings.seed,
            max_length=None,
            gradient_checkpointing=False,
            bf16=False,
            use_cpu=True,
            logging_steps=1,
            save_strategy="no",
            disable_tqdm=True,
            report_to=[],
        ),
        train_dataset=Dataset.from_list(
            [{name: row[name] for name in ("prompt", "chosen", "rejected")} for row in rows]
        ),
        processing_class=AutoTokenizer.from_pretrained(policy_dir),
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return losses, policy.state_dict(), reference.state_dict()


@pytest.mark.parametrize(("loss", "tolerance"), [("dpo", 1e-5), ("ipo", 1e-4)])
def test_losses_and_final_weights_equal_those_of_trl(policy_dir, tmp_path, make_rows, settings, loss, tolerance):
    rows, settings = make_rows(20), settings.model_copy(update={"loss": loss})
    theirs, their_weights, start_weights = train_with_trl(rows, policy_dir, tmp_path / "trl", settings)
    ours = train_policy(rows, policy_dir=policy_dir, output_dir=tmp_path / "ours", training=settings)
    our_weights = AutoModelForCausalLM.from_pretrained(tmp_path / "ours" / "policy").state_dict()
    assert len(theirs) == ours.steps == 6
    assert ours.losses == pytest.approx(theirs, abs=tolerance)
    assert max(theirs) - min(theirs) > 0.1
    for name, weight in their_weights.items():
        torch.testing.assert_close(our_weights[name], weight, atol=2e-6, rtol=0)
    moved = max(float((their_weights[name] - weight).abs().max()) for name, weight in start_weights.items())
    assert moved > 1e-3
