"""Rows of different lengths as batches with little padding."""

from collections.abc import Sequence
from itertools import pairwise

import torch


def token_budget_batches(lengths: Sequence[int], *, batch_tokens: int) -> list[list[int]]:
    """Group rows of similar length so that rows times longest row stays within a budget.

    Args:
        lengths: Tokens per row.
        batch_tokens: Most padded tokens in a batch; a row longer than that has a batch of its own.

    Returns:
        Row indices, longest rows first, so that memory runs out at the start if at all. Each row
        appears once; equal lengths keep their order.
    """
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    starts, longest = [0], lengths[order[0]] if order else 0
    for position, row in enumerate(order):
        if position > starts[-1] and (position - starts[-1] + 1) * longest > batch_tokens:
            starts.append(position)
            longest = lengths[row]
    return [order[start:stop] for start, stop in pairwise([*starts, len(order)]) if stop > start]


def right_padded(
    rows: Sequence[Sequence[int]], *, pad_id: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Stack token ids, padded on the right.

    Returns:
        Ids and attention mask (1 at tokens, 0 at padding), both of shape (rows, longest row), int64.
    """
    width = max(len(row) for row in rows)
    ids = torch.tensor([[*row, *[pad_id] * (width - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return ids.to(device), mask.to(device)
