"""Pairwise preference losses: torch in, one value per pair out.

Every loss takes the log-probs of B pairs as floating tensors (B,), **sums over completion tokens in nats**, of the
policy and of the reference, then `beta` > 0 (1 / nats) and its own options by keyword, and returns the loss of each
pair (B,), not reduced; row i depends on row i only. Notation of the formulas:

    g_w, g_l    policy - reference log-prob of the chosen, of the rejected
    d           g_w - g_l,  z = beta·d
    D           rating gap: rating(chosen) - rating(rejected), signed
    T_w, T_l    lengths in completion tokens
    sp, sg      softplus log(1 + e^t), logistic function;  sp(-z) is computed as -logsigmoid(z)
    ε           label_smoothing, the assumed share of flipped labels

The result is float64 for float64 policy log-probs, else float32; half types are computed in float32. Gradient flows
through the two policy inputs only. Every loss raises `ContractError` for wrong types, shapes, non-finite log-probs and
options out of range, and `MissingRatingError` where a rating gap is needed and is None or NaN: it is never taken as 0.
"""

from sweetspot._losses_anchored import cpo, dpop, hypo, simpo
from sweetspot._losses_gap import odpo, rpo
from sweetspot._losses_plain import cdpo, dpo, hinge, ipo, robust_dpo
from sweetspot._losses_rated import RatingBetas, mixdpo, ml_rating_dpo, rating_betas, rating_dpo, rating_ipo

__all__ = [
    "RatingBetas",
    "cdpo",
    "cpo",
    "dpo",
    "dpop",
    "hinge",
    "hypo",
    "ipo",
    "mixdpo",
    "ml_rating_dpo",
    "odpo",
    "rating_betas",
    "rating_dpo",
    "rating_ipo",
    "robust_dpo",
    "rpo",
    "simpo",
]
