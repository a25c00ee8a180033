"""Training and the exam: preference pairs to a policy, its result on held-out prompts, and the gate.

Files, in reading order: `data` (rows to token ids), `collator`, `logprobs`, `objective` (the losses and the routing),
`trainer`, `checkpoints`, `policy`, `job` (the whole run), `result`; then `evaluation` and `gate`, which need no torch.
"""

from typing import TYPE_CHECKING, Any

from sweetspot.training.evaluation import Comparison, EvaluationResult, compare, evaluate
from sweetspot.training.gate import GateDecision, decide, divergence
from sweetspot.training.result import TrainingResult

if TYPE_CHECKING:
    from sweetspot.training.job import train_policy

__all__ = [
    "Comparison",
    "EvaluationResult",
    "GateDecision",
    "TrainingResult",
    "compare",
    "decide",
    "divergence",
    "evaluate",
    "train_policy",
]


def __getattr__(name: str) -> Any:
    # torch and transformers take seconds to import; the exam and the gate run where they are not needed.
    if name == "train_policy":
        from sweetspot.training.job import train_policy

        return train_policy
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
