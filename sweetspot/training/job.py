"""The training job: rows and a start policy in, a policy and its report out. Local paths only."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sweetspot._checks import FloatArray
from sweetspot.config import Training
from sweetspot.engines.revision import local_directory, model_revision
from sweetspot.engines.template import ChatTemplate
from sweetspot.training.checkpoints import (
    CheckpointSeal,
    checkpoint_losses,
    checkpoint_step,
    logged_losses,
    run_fingerprint,
    starting_checkpoint,
)
from sweetspot.training.collator import PairCollator
from sweetspot.training.data import Row, TokenPair, rated_fraction, tokenise_pairs
from sweetspot.training.logprobs import score_pairs
from sweetspot.training.policy import load_policy, quiet_transformers, save_policy
from sweetspot.training.result import TrainingResult, summarise
from sweetspot.training.trainer import (
    OnStep,
    PreferenceTrainer,
    total_steps,
    training_arguments,
    training_device,
    uses_bfloat16,
)

PROBE_PAIRS = 64


@quiet_transformers()
def train_policy(
    rows: Sequence[Row],
    *,
    policy_dir: Path,
    output_dir: Path,
    training: Training,
    pad_to_multiple_of: int | None = None,
    trust_row_references: bool = False,
    resume: bool = False,
    on_step: OnStep | None = None,
) -> TrainingResult:
    """Train a policy on preference pairs; the start policy is the reference.

    The reference's log-probabilities are computed once, before training, so one model is in memory. Python's, numpy's
    and torch's global random generators are seeded with `training.seed`.

    Args:
        rows: Delivered rows of the train split; see `tokenise_pairs`.
        policy_dir: Directory of the start policy.
        output_dir: Gets `policy/` (safetensors and tokenizer, ready to load) and `checkpoints/`.
        training: Loss, schedule and how often to save; the last step is always kept.
        pad_to_multiple_of: Rounds padded lengths up; changes speed only.
        trust_row_references: Take reference log-probabilities from rows that have both. Only right if they were
            computed with this very start policy and template.
        resume: Continue from the last complete checkpoint in `output_dir` where there is one; a run that had
            finished is not trained again. False starts anew and removes earlier checkpoints.
        on_step: Called after each step with (step, total steps, loss).

    Returns:
        What happened. A loss or log-probability that stopped being finite ends training and shows in the result;
        the policy is saved all the same.

    Raises:
        ContractError: Rows that cannot be trained on, or checkpoints of another run.
        MissingRatingError: The loss needs ratings that are not there.
        ConfigError: No usable policy in `policy_dir`.
        EngineError: Several GPUs are visible.
    """
    start = local_directory(str(policy_dir))
    template = ChatTemplate.load(str(start))
    pairs = tokenise_pairs(rows, template, training, trust_row_references=trust_row_references)
    fingerprint = run_fingerprint(pairs, training, model_revision(str(start)))
    found = starting_checkpoint(output_dir / "checkpoints", fingerprint, resume=resume)
    scorer = _Scorer(PairCollator(template.eos_id, pad_to_multiple_of), training.batch_size)
    policy = load_policy(start)
    pairs = scorer.with_references(policy, pairs)
    before = scorer.logps(policy, probe(pairs))
    optimisation = _Optimisation(training, output_dir / "checkpoints", fingerprint, on_step)
    policy, losses = optimisation.run(policy, pairs, scorer.collator, found)
    save_policy(policy, template, output_dir / "policy")
    return summarise(
        losses,
        pairs=len(pairs),
        sft_pairs=sum(pair.is_sft for pair in pairs),
        before=before,
        after=scorer.logps(policy, probe(pairs)),
    )


@dataclass(frozen=True)
class _Optimisation:
    """How to get from a start policy to a trained one: from scratch, from a checkpoint, or from the finished run."""

    training: Training
    checkpoints: Path
    fingerprint: str
    on_step: OnStep | None

    def run(
        self, policy: Any, pairs: Sequence[TokenPair], collator: PairCollator, found: Path | None
    ) -> tuple[Any, tuple[float, ...]]:
        """Return the trained policy and the loss of every step."""
        steps = total_steps(len(pairs), self.training)
        if found is not None and checkpoint_step(found) >= steps:
            # The Trainer would do one more step from a last checkpoint in mid-epoch.
            return load_policy(found).to(policy.device), checkpoint_losses(found)
        trainer = PreferenceTrainer(
            policy,
            self.training,
            rated_fraction=rated_fraction(pairs),
            on_step=self.on_step,
            args=training_arguments(
                self.training,
                self.checkpoints,
                steps=steps,
                use_cache=getattr(policy.config, "use_cache", True),
            ),
            data_collator=collator,
            train_dataset=pairs,
            callbacks=[CheckpointSeal(self.checkpoints, self.fingerprint)],
        )
        trainer.train(resume_from_checkpoint=None if found is None else str(found))
        return policy, logged_losses(trainer.state)


@dataclass(frozen=True)
class _Scorer:
    """Log-probabilities of pairs under a policy, on the device and in the precision of training."""

    collator: PairCollator
    batch_size: int

    def logps(self, policy: Any, pairs: Sequence[TokenPair]) -> FloatArray:
        """(Q, 2): chosen and rejected, nats."""
        placed = policy.to(training_device())
        scored = score_pairs(placed, pairs, self.collator, batch_size=self.batch_size, bfloat16=uses_bfloat16())
        return scored.double().numpy()

    def with_references(self, policy: Any, pairs: Sequence[TokenPair]) -> list[TokenPair]:
        """The pairs with the log-probabilities that are not known yet filled in, in order."""
        unknown = [pair for pair in pairs if not pair.has_reference]
        known = iter(self.logps(policy, unknown).tolist())
        return [pair if pair.has_reference else replace(pair, reference_logps=tuple(next(known))) for pair in pairs]


def probe(pairs: Sequence[TokenPair]) -> list[TokenPair]:
    """Up to 64 pairs, spread evenly over the rows, which come best first."""
    places = np.linspace(0, len(pairs) - 1, min(PROBE_PAIRS, len(pairs))).round().astype(int)
    return [pairs[place] for place in places]
