"""Log-probabilities of responses under a policy."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sweetspot.training.collator import PairCollator
from sweetspot.training.data import TokenPair


def response_logps(policy: Any, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the chosen and of the rejected responses, by one forward pass over both.

        log pi(y | x) = sum over response positions t of log softmax(logits[t - 1])[y_t],

    in float32 whatever the logits' type.

    Args:
        policy: A causal language model of transformers.
        batch: From `PairCollator`, on the policy's device.

    Returns:
        (chosen (B,), rejected (B,)), nats.
    """
    logits = policy(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False).logits
    targets, mask = batch["input_ids"][:, 1:], batch["response_mask"][:, 1:]
    token_logps = -F.cross_entropy(logits[:, :-1][mask].float(), targets[mask], reduction="none")
    by_position = torch.zeros(mask.shape, device=mask.device).masked_scatter(mask, token_logps)
    chosen, rejected = by_position.sum(dim=1).chunk(2)
    return chosen, rejected


@torch.no_grad()
def score_pairs(
    policy: Any, pairs: Sequence[TokenPair], collator: PairCollator, *, batch_size: int, bfloat16: bool = False
) -> Tensor:
    """Log-probabilities of many pairs under a policy in evaluation mode, without gradients.

    Args:
        policy: A causal language model of transformers; left in evaluation mode.
        pairs: Q pairs.
        collator: Pads them.
        batch_size: Pairs in one forward pass.
        bfloat16: Compute under bfloat16 autocast, as training does on GPUs.

    Returns:
        (Q, 2) float32 on the CPU: chosen and rejected, nats.
    """
    policy.eval()
    parts = []
    with torch.autocast(policy.device.type, torch.bfloat16, enabled=bfloat16):
        for start in range(0, len(pairs), batch_size):
            batch = collator(pairs[start : start + batch_size])
            moved = {name: value.to(policy.device) for name, value in batch.items()}
            parts.append(torch.stack(response_logps(policy, moved), dim=1).cpu())
    return torch.cat(parts) if parts else torch.zeros(0, 2)
