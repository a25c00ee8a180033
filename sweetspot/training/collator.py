"""Token pairs to one padded batch: the chosen responses of all pairs, then the rejected ones."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sweetspot.training.data import TokenPair


@dataclass(frozen=True)
class PairCollator:
    """Pads on the right, so that a position means the same with and without padding.

    Attributes:
        pad_token_id: Fills up; masked everywhere, so its value never matters.
        pad_to_multiple_of: Rounds the padded length up; None pads to the longest sequence only.
    """

    pad_token_id: int
    pad_to_multiple_of: int | None = None

    def __call__(self, pairs: Sequence[TokenPair]) -> dict[str, Tensor]:
        """Collate B pairs.

        Returns:
            `input_ids`, `attention_mask` and `response_mask` (2B, L), chosen first; per pair (B,) `is_sft`,
            `rating_gap`, `chosen_lengths` and `rejected_lengths` in response tokens, `reference_chosen_logps` and
            `reference_rejected_logps` in nats.
        """
        responses = [pair.chosen_ids for pair in pairs] + [pair.rejected_ids for pair in pairs]
        prompts = [pair.prompt_ids for pair in pairs] * 2
        return {
            **self._padded(prompts, responses),
            "is_sft": torch.tensor([pair.is_sft for pair in pairs]),
            "rating_gap": torch.tensor([pair.rating_gap for pair in pairs]),
            "chosen_lengths": torch.tensor([len(pair.chosen_ids) for pair in pairs]),
            "rejected_lengths": torch.tensor([len(pair.rejected_ids) for pair in pairs]),
            "reference_chosen_logps": torch.tensor([pair.reference_logps[0] for pair in pairs]),
            "reference_rejected_logps": torch.tensor([pair.reference_logps[1] for pair in pairs]),
        }

    def _padded(self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> dict[str, Tensor]:
        width = max(len(prompt) + len(response) for prompt, response in zip(prompts, responses, strict=True))
        if self.pad_to_multiple_of:
            width = -(-width // self.pad_to_multiple_of) * self.pad_to_multiple_of
        ids = torch.full((len(prompts), width), self.pad_token_id)
        attention, response_mask = torch.zeros_like(ids), torch.zeros_like(ids, dtype=torch.bool)
        for row, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
            end = len(prompt) + len(response)
            ids[row, :end] = torch.tensor([*prompt, *response])
            attention[row, :end] = 1
            response_mask[row, len(prompt) : end] = True
        return {"input_ids": ids, "attention_mask": attention, "response_mask": response_mask}
