"""Argument checks of the pairwise losses: log-probs, rating gaps and lengths as tensors of one shape and type."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from sweetspot._arguments import number
from sweetspot.errors import ContractError, MissingRatingError


class LogRatios(NamedTuple):
    """Checked log-probs of B pairs in the type the loss is computed in; the reference carries no gradient.

    `chosen` and `rejected` are g_w and g_l, policy minus reference in nats; `difference` is d = g_w - g_l.
    """

    policy_chosen: Tensor
    policy_rejected: Tensor
    reference_chosen: Tensor
    reference_rejected: Tensor

    @property
    def chosen(self) -> Tensor:
        """g_w (B,), nats."""
        return self.policy_chosen - self.reference_chosen

    @property
    def rejected(self) -> Tensor:
        """g_l (B,), nats."""
        return self.policy_rejected - self.reference_rejected

    @property
    def difference(self) -> Tensor:
        """D (B,) = g_w - g_l, nats."""
        return self.chosen - self.rejected


def log_ratios(
    policy_chosen_logps: Any, policy_rejected_logps: Any, reference_chosen_logps: Any, reference_rejected_logps: Any
) -> LogRatios:
    """Check four (B,) floating tensors; float64 if the policy is, else float32."""
    checked = _log_probs(
        policy_chosen_logps=policy_chosen_logps,
        policy_rejected_logps=policy_rejected_logps,
        reference_chosen_logps=reference_chosen_logps,
        reference_rejected_logps=reference_rejected_logps,
    )
    return LogRatios(checked[0], checked[1], checked[2].detach(), checked[3].detach())


def policy_logps(policy_chosen_logps: Any, policy_rejected_logps: Any) -> tuple[Tensor, Tensor]:
    """Check the two policy tensors of a loss without a reference."""
    chosen, rejected = _log_probs(policy_chosen_logps=policy_chosen_logps, policy_rejected_logps=policy_rejected_logps)
    return chosen, rejected


def _log_probs(**logps: Any) -> list[Tensor]:
    for name, value in logps.items():
        if not isinstance(value, Tensor) or not value.is_floating_point():
            got = str(value.dtype) if isinstance(value, Tensor) else type(value).__name__
            raise ContractError(
                f"{name}: got {got}, expected a floating torch tensor (B,) of summed log-probs in nats. Convert it."
            )
    chosen, rejected = list(logps.values())[:2]
    for name, value in logps.items():
        _require_like(name, value, chosen)
    dtype = torch.float64 if torch.float64 in (chosen.dtype, rejected.dtype) else torch.float32
    cast = [value.to(dtype) for value in logps.values()]
    if not torch.stack(cast).isfinite().all():
        for name, value in zip(logps, cast, strict=True):
            _require_rows(name, value, value.isfinite(), "finite log-probs")
    return cast


def rating_gap_like(rating_gap: Any, like: Tensor, *, missing_allowed: bool = False) -> Tensor:
    """Check D (B,), the signed rating gap; NaN is let through only where a missing rating is."""
    if rating_gap is None:
        raise MissingRatingError(
            "rating_gap: got None, expected a tensor (B,) of rating(chosen) - rating(rejected). Pass the ratings; a "
            "missing gap is never taken as 0."
        )
    gap = _real_tensor("rating_gap", rating_gap, like)
    missing = gap.isnan()
    if not missing_allowed and missing.any():
        raise MissingRatingError(
            f"rating_gap: {int(missing.sum())} of {len(gap)} values are NaN (first index {_first(missing)}), expected "
            "a rating for every pair. Rate or drop those pairs, or use ml_rating_dpo, which skips them."
        )
    _require_rows("rating_gap", gap, ~gap.isinf(), "no infinite gap")
    return gap


def lengths_like(name: str, lengths: Any, like: Tensor) -> Tensor:
    """Check T (B,), completion tokens per row, finite and > 0."""
    checked = _real_tensor(name, lengths, like)
    _require_rows(name, checked, checked.isfinite() & (checked > 0), "finite lengths > 0, in completion tokens")
    return checked


def require_positive_gap(gap: Tensor) -> None:
    """Raise unless D > 0 in every row."""
    _require_rows("rating_gap", gap, gap > 0, 'gaps > 0 for transform="log" (use "identity" for signed gaps)')


def smoothing(label_smoothing: Any) -> float:
    """A label smoothing in [0, 0.5)."""
    return number("label_smoothing", label_smoothing, lambda x: 0 <= x < 0.5, "a number in [0, 0.5)")


def above_zero(name: str, value: Any) -> float:
    """A number > 0, infinity included."""
    return number(name, value, lambda x: x > 0, "a number > 0 (inf allowed)")


def weight_in(dtype: torch.dtype, name: str, weight: float) -> float:
    """A derived weight that `dtype` can hold; one that overflows would turn zeros into NaN."""
    if not weight <= torch.finfo(dtype).max:
        raise ContractError(f"{name}: got {weight:g}, expected at most {torch.finfo(dtype).max:g}. Change the options.")
    return weight


def _real_tensor(name: str, value: Any, like: Tensor) -> Tensor:
    is_real = isinstance(value, Tensor) and not value.is_complex() and value.dtype != torch.bool
    if not is_real:
        got = str(value.dtype) if isinstance(value, Tensor) else type(value).__name__
        raise ContractError(f"{name}: got {got}, expected a real torch tensor (B,). Convert it.")
    _require_like(name, value, like)
    return value.detach().to(like.dtype)


def _require_like(name: str, value: Tensor, like: Tensor) -> None:
    if value.ndim != 1 or like.ndim != 1 or value.shape != like.shape:
        raise ContractError(
            f"{name}: got shape {tuple(value.shape)} beside policy_chosen_logps {tuple(like.shape)}, expected both "
            "(B,). Pass one value per pair."
        )
    if value.device != like.device:
        raise ContractError(f"{name}: got device {value.device}, expected {like.device}. Move it first.")


def _require_rows(name: str, value: Tensor, good: Tensor, expected: str) -> None:
    if not good.all():
        bad = ~good
        raise ContractError(
            f"{name}: {int(bad.sum())} of {len(bad)} values are not allowed (first index {_first(bad)}, got "
            f"{float(value[bad][0])}), expected {expected}. Drop or repair those pairs first."
        )


def _first(bad: Tensor) -> int:
    return int(bad.to(torch.uint8).argmax())
