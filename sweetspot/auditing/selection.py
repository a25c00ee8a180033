"""Which of the kept preferences are worth training on: BeeS over score margins and implicit margins."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sweetspot.config import Selection
from sweetspot.errors import ContractError
from sweetspot.margins import bees

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]

PAPER_PAIRS, PAPER_MIN_COUNT = 61_135, 30
MAD_TO_SD = 1.4826
EXTERNAL_DIVISOR, IMPLICIT_DIVISOR = 1.5, 2.0
"""Where the search for BeeS's upper bound starts, as a part of the largest margin; see `margins.dynamic_upper`."""


@dataclass(frozen=True)
class Selected:
    """What selection made of n preferences.

    Attributes:
        kept: (n,) goes on.
        reason: (n,) why a preference left here; empty for the rest.
        route: (n,) `dpo` or `sft`.
        notes: what was done, one sentence each.
    """

    kept: BoolArray
    reason: NDArray[np.object_]
    route: NDArray[np.object_]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Source:
    """One margin of n preferences in the units BeeS expects, NaN where unknown."""

    name: str
    missing: str
    margin: FloatArray
    divisor: float


def select(
    kept: BoolArray,
    is_eval: BoolArray,
    external: FloatArray,
    implicit: FloatArray,
    settings: Selection,
    *,
    need_implicit: bool = False,
) -> Selected:
    """Keep the best share by BeeS, and route those with a small external margin to SFT.

    Args:
        kept: (n,) preferences that are still there.
        is_eval: (n,) of the evaluation split: they stay, so that no later figure is flattered.
        external: (n,) score of chosen minus rejected, in any unit, NaN where unknown.
        implicit: (n,) implicit margin, nats, NaN where unknown.
        settings: share, rule and routing.
        need_implicit: two models were named for it, so a preference without one leaves. Else implicit margins are
            used only where every kept preference has one.

    Raises:
        ContractError: selection or routing is asked for, and no preference has what it needs.

    References:
        Deng et al. (2025), arXiv:2502.14560 (BeeS); Pang et al. (2026) for the routing (MixDPO).

    Notes:
        External margins are divided by their spread (1.4826 times the median absolute deviation), then multiplied by
        `external_scale`; implicit ones stay in nats, as in the nightly flow.
    """
    reason, route = np.full(len(kept), "", dtype=object), np.full(len(kept), "dpo", dtype=object)
    wanted = settings.keep_fraction < 1.0
    if not wanted and settings.sft_margin == 0:
        return Selected(kept, reason, route, ())
    scored = kept & ~np.isnan(external)
    if settings.sft_margin > 0 and not scored.any():
        raise ContractError(
            "selection: sft_margin routes by score margins, and the rows have none (columns score_chosen and "
            "score_rejected); set sft_margin to 0, or add the scores"
        )
    scaled = external / _spread(external[scored]) if scored.any() else external
    notes = tuple[str, ...]()
    if wanted:
        sources, notes = _sources(kept, scaled * settings.external_scale, implicit, need_implicit)
        kept, reason, more = _best(kept, is_eval, sources, settings)
        notes = (*more, *notes)
    route[kept & scored & (scaled < settings.sft_margin)] = "sft"
    return Selected(kept, reason, route, notes)


def _spread(margin: FloatArray) -> float:
    """Robust standard deviation; the plain one where half of the margins are equal, 1 where all are."""
    middle = float(np.median(np.abs(margin - np.median(margin))))
    return MAD_TO_SD * middle or float(np.std(margin)) or 1.0


def _sources(
    kept: BoolArray, external: FloatArray, implicit: FloatArray, need_implicit: bool
) -> tuple[list[_Source], tuple[str, ...]]:
    found, notes = list[_Source](), tuple[str, ...]()
    if (kept & ~np.isnan(external)).any():
        found.append(_Source("score", "no_margin", external, EXTERNAL_DIVISOR))
    there = kept & ~np.isnan(implicit)
    if need_implicit and not there.any():
        raise ContractError(
            "selection: policy and reference were named, but no row that is left could be scored by both; the "
            "finding `likelihoods` says why"
        )
    if there.any() and (need_implicit or there.sum() == kept.sum()):
        found.append(_Source("implicit", "not_scored", implicit, IMPLICIT_DIVISOR))
    elif there.any():
        notes = (
            f"implicit_margins: {int(there.sum())} of {int(kept.sum())} rows have log-probabilities of policy and "
            "reference, so they were left out of the selection; complete the columns to use them",
        )
    if not found:
        raise ContractError(
            "selection: the rows have no score margins (columns score_chosen and score_rejected) and no implicit ones "
            "(of a policy and a reference), so BeeS has nothing to select by; leave out --select, add the scores, or "
            "name both models"
        )
    return found, notes


def _best(
    kept: BoolArray, is_eval: BoolArray, sources: list[_Source], settings: Selection
) -> tuple[BoolArray, NDArray[np.object_], tuple[str, ...]]:
    matrix = np.stack([source.margin for source in sources])
    open_to = np.flatnonzero(kept & ~is_eval & ~np.isnan(matrix).any(axis=0))
    if not open_to.size:
        named = " and ".join(source.name for source in sources)
        raise ContractError(
            f"selection: no training row has a {named} margin, so BeeS has nothing to select; complete the scores, or "
            "leave out --select"
        )
    picked = bees(
        matrix[:, open_to],
        keep=max(1, math.ceil(settings.keep_fraction * len(open_to))),
        both_positive=settings.both_positive,
        min_count=max(1, min(PAPER_MIN_COUNT, round(PAPER_MIN_COUNT * len(open_to) / PAPER_PAIRS))),
        start_divisor=[source.divisor for source in sources],
    )
    chosen = np.zeros(len(kept), dtype=bool)
    chosen[open_to[picked.selected]] = True
    left, reason = kept & ~chosen & ~is_eval, np.full(len(kept), "", dtype=object)
    against: BoolArray = np.any(matrix <= 0, axis=0) & np.full(len(kept), settings.both_positive)
    reason[left] = np.where(against[left], "margin_not_positive", "not_selected")
    for source in sources[::-1]:
        reason[left & np.isnan(source.margin)] = source.missing
    upper = ", ".join(f"{source.name} {value:.3g}" for source, value in zip(sources, picked.upper, strict=True))
    note = f"BeeS kept {len(picked.selected)} of {len(open_to)} rows with margins, upper bound of {upper}"
    return kept & ~left, reason, (note, *picked.warnings)
