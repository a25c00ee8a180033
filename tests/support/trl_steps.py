"""Three steps of TRL's own, unmodified DPO trainer on a delivered version."""

from pathlib import Path

import datasets


def first_losses(version: Path, policy: str, folder: Path) -> list[float]:
    """Loss of each of three steps on the version's training rows."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    files = str(version / "data" / "train-*.parquet")
    trainer = DPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(policy, dtype="float32"),
        args=DPOConfig(
            output_dir=str(folder), max_steps=3, per_device_train_batch_size=4, max_length=128, report_to=[],
            use_cpu=True, logging_steps=1,
        ),
        train_dataset=datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(folder)),
        processing_class=AutoTokenizer.from_pretrained(policy),
    )  # fmt: skip
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
