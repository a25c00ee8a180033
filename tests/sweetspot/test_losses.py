"""Pairwise losses: golden numbers, 150-digit oracle, gradients, laws, exact limits, missing ratings and errors."""

import inspect
import math
import warnings
from fractions import Fraction

import numpy as np
import pytest
import torch
from mpmath import mp, mpf

from sweetspot import losses
from sweetspot.errors import ContractError, MissingRatingError

NAN, INF = math.nan, math.inf
GOLDEN_PAIR = ([-12.0], [-15.0], [-13.0], [-14.0])  # d = 2, z = .2 at beta .1
T_W, T_L = torch.tensor([6.0]), torch.tensor([5])
LENGTHS = {"chosen_lengths": T_W, "rejected_lengths": T_L}

# One working set of options for each loss that takes B = 4 rows.
GAP = torch.tensor([3.0, 0.25, 1.0, 0.5], dtype=torch.float64)
TOKENS = {"chosen_lengths": torch.tensor([6, 250, 3, 9]), "rejected_lengths": torch.tensor([5, 40, 7, 1])}
OPTIONS = {
    "dpo": {},
    "cdpo": {"label_smoothing": 0.1},
    "robust_dpo": {"label_smoothing": 0.3},
    "ipo": {},
    "hinge": {},
    "simpo": {"gamma": 0.4, **TOKENS},
    "rating_dpo": {"rating_gap": GAP, "beta1": 0.5},
    "rating_ipo": {"rating_gap": GAP, "beta1": 0.5},
    "ml_rating_dpo": {"rating_gap": GAP, "variance": 0.7, "rated_fraction": 0.8},
    "mixdpo": {"rating_gap": GAP, "chosen_lengths": TOKENS["chosen_lengths"], "label_smoothing": 0.1},
    "odpo": {"rating_gap": GAP, "alpha": 0.6},
    "rpo": {"rating_gap": GAP, "eta": 0.5, "distance": "bwd_kl"},
    "dpop": {"penalty": 5.0},
    "hypo": {},
    "cpo": {"gamma": 0.2, **TOKENS},
}
NEEDS_GAP = [name for name, options in OPTIONS.items() if "rating_gap" in options]
NEEDS_LENGTHS = [name for name, options in OPTIONS.items() if "chosen_lengths" in options]


def rows(*columns, dtype=torch.float64):
    return tuple(torch.tensor(column, dtype=dtype) for column in columns)


def golden(name, **options):
    return getattr(losses, name)(*rows(*GOLDEN_PAIR), **{"beta": 0.1, **options}).item()


def gap(*values):
    return torch.tensor(values, dtype=torch.float64)


def four_rows(dtype=torch.float64):
    return rows([-12.0, -300, -2, -9], [-15.0, -41, -8, -3], [-13.0, -301, -4, -8], [-14.0, -40, -7, -5], dtype=dtype)


# ---- golden numbers


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("dpo", {}, 0.5981388694),
        ("cdpo", {"label_smoothing": 0.1}, 0.6181388694),
        ("cdpo", {"label_smoothing": 0.3}, 0.6581388694),
        ("robust_dpo", {"label_smoothing": 0.1}, 0.5731388694),
        ("robust_dpo", {"label_smoothing": 0.3}, 0.4481388694),
        ("ipo", {}, 9.0),
        ("ipo", LENGTHS, 21.4677777778),
        ("hinge", {}, 0.8),
        ("simpo", {"beta": 2, "gamma": 1, **LENGTHS}, 0.3132616875),
        ("rating_dpo", {"beta1": 0.5, "rating_gap": gap(3)}, 0.9130152524),
        ("rating_dpo", {"beta1": 0.1, "rating_gap": gap(1)}, 1.1711006659),
        ("rating_dpo", {"beta1": 0.025, "rating_gap": gap(1)}, 3.8221242165),
        ("rating_dpo", {"beta1": 0.1, "rating_gap": gap(-1)}, 0.2632824673),
        ("rating_ipo", {"beta1": 0.5, "rating_gap": gap(3)}, 0.81),
        ("rating_ipo", {"beta1": 0.1, "rating_gap": gap(1)}, 1.69),
        ("rating_ipo", {"beta1": 0.1, "rating_gap": gap(-1)}, 0.49),
        ("ml_rating_dpo", {"variance": 1, "rating_gap": gap(3)}, 4.5181388694),
        ("ml_rating_dpo", {"variance": 0.5, "rating_gap": gap(3)}, 8.4381388694),
        ("ml_rating_dpo", {"variance": 1, "rating_gap": gap(0)}, 0.6181388694),
        ("odpo", {"rating_gap": gap(3)}, 1.2401674800),
        ("odpo", {"rating_gap": gap(3), "alpha": 0.5, "transform": "identity"}, 1.5410084538),
        ("rpo", {"rating_gap": gap(1), "eta": 0.5}, 0.09),
        ("rpo", {"rating_gap": gap(1), "eta": 0.5, "distance": "bwd_kl"}, 0.0107996846),
        ("rpo", {"rating_gap": gap(1), "eta": 0.5, "distance": "fwd_kl"}, 0.0109879156),
        ("dpop", {}, 0.5981388694),
    ],
)
def test_golden_pair(name, options, expected):
    assert golden(name, **options) == pytest.approx(expected, abs=6e-11)


def test_dpop_golden_where_the_chosen_lost_probability():
    pair = rows([-0.5], [-2.5], [0.0], [0.0])
    assert losses.dpop(*pair, beta=0.1, penalty=5.0).item() == pytest.approx(0.7184596480, abs=1e-10)
    assert losses.dpop(*pair, beta=0.1).item() == pytest.approx(2.3955454646, abs=1e-10)


@pytest.mark.parametrize(
    ("margin", "reference_margin", "beta", "expected"),
    [(-10, -20, 0.1, 1.313261688), (-0.5, -1.0986, 1, 0.974076984), (-0.3, -0.8, 2.5, 1.136871006)],
)
def test_hypo_golden(margin, reference_margin, beta, expected):
    pair = rows([float(margin)], [0.0], [float(reference_margin)], [0.0])
    assert losses.hypo(*pair, beta=beta).item() == pytest.approx(expected, abs=1e-9)


def test_hypo_keeps_a_positive_reference_margin():
    pair = rows([-2.0], [-3.0], [-4.0], [-6.0])
    assert torch.equal(losses.hypo(*pair, beta=0.3), losses.dpo(*pair, beta=0.3))


def test_cpo_golden():
    pair = rows([-0.5], [0.0], [math.log(0.25)], [math.log(0.75)])
    ones = {"chosen_lengths": torch.ones(1), "rejected_lengths": torch.ones(1)}
    assert losses.cpo(*pair, beta=1, gamma=0.1, **ones).item() == pytest.approx(0.661040276, abs=1e-9)
    assert losses.cpo(*pair, beta=1, gamma=0.0, **ones).item() == pytest.approx(0.437979898, abs=1e-9)


def test_ml_rating_golden_batch_and_its_two_denominators():
    z, d = [0.2, -0.1, 0.5], gap(3, NAN, 0.4)
    batch = rows(z, [0.0] * 3, [0.0] * 3, [0.0] * 3)
    over_all = losses.ml_rating_dpo(*batch, rating_gap=d, beta=1, variance=1)
    assert over_all.mean().item() == pytest.approx(1.9138708378, abs=1e-10)
    over_rated = losses.ml_rating_dpo(*batch, rating_gap=d, beta=1, variance=1, rated_fraction=2 / 3)
    assert over_rated.mean().item() == pytest.approx(2.5680375045, abs=1e-10)


def test_mixdpo_golden_batch():
    batch = rows([-28.0, -300, -90], [-3.0, 6, -2], [-38.0, -304, -85], [-6.0, 12, -4])
    ratings = torch.tensor([7.5 - 6, 9 - 9, 8 - 7.5])
    loss = losses.mixdpo(*batch, rating_gap=ratings, chosen_lengths=torch.tensor([20, 250, 60]), beta=0.01)
    assert loss.tolist() == pytest.approx([0.6587595555, 1.2, 0.7287595555], abs=1e-10)
    assert loss.mean().item() == pytest.approx(0.8625063704, abs=1e-10)


def test_mixdpo_weights_and_smooths_its_branches():
    batch, d = rows([-28.0, -300], [-3.0, 6], [-38.0, -304], [-6.0, 12]), gap(1.5, 0)
    loss = losses.mixdpo(
        *batch, rating_gap=d, chosen_lengths=torch.tensor([20, 250]), beta=0.01, sft_weight=2.0, label_smoothing=0.1
    )
    assert loss.tolist() == pytest.approx([0.6657595555, 2.4], abs=1e-10)


def test_rating_betas():
    assert losses.rating_betas(0.1, 0.2) == losses.RatingBetas(0.5, 0.125)
    assert losses.rating_betas(0.1, 1) == losses.RatingBetas(0.1, INF)
    both = losses.rating_betas(0.3, 0.7)
    assert both.beta * both.beta1 / (both.beta + both.beta1) == pytest.approx(0.3, rel=1e-14)
    assert type(both.beta) is float


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 0.5), r"kl: got 0"),
        ((INF, 0.5), r"kl: got inf"),
        ((0.1, 0), r"ranking_weight: got 0, expected a number in \(0, 1\]"),
        ((0.1, 1.01), r"ranking_weight: got 1.01"),
        ((0.1, NAN), r"ranking_weight: got nan"),
        ((1e10, 1e-320), r"kl / ranking_weight: got inf"),
    ],
)
def test_rating_betas_refuse(arguments, message):
    with pytest.raises(ContractError, match=message):
        losses.rating_betas(*arguments)


# ---- oracle in 150 digits


def exact(name, pw, pl, rw, rl, beta, options, row):
    """The table of formulas, in mpmath, one row at a time."""
    o = {k: (mpf(float(v[row])) if isinstance(v, torch.Tensor) else v) for k, v in options.items()}
    t_w, t_l, d_gap = o.get("chosen_lengths"), o.get("rejected_lengths"), o.get("rating_gap")
    g_w, g_l = pw - rw, pl - rl
    d, eps = g_w - g_l, mpf(o.get("label_smoothing", 0))
    z = beta * d

    def sp(t):
        return mp.log(1 + mp.exp(t))

    def sg(t):
        return 1 / (1 + mp.exp(-t))

    def kl(q, p):
        return q * mp.log(q / p) + (1 - q) * mp.log((1 - q) / (1 - p))

    if name == "dpo":
        return sp(-z)
    if name == "cdpo":
        return (1 - eps) * sp(-z) + eps * sp(z)
    if name == "robust_dpo":
        return ((1 - eps) * sp(-z) - eps * sp(z)) / (1 - 2 * eps)
    if name == "ipo":
        return ((g_w / t_w - g_l / t_l if t_w else d) - 1 / (2 * beta)) ** 2
    if name == "hinge":
        return max(mpf(0), 1 - z)
    if name == "simpo":
        return sp(-(beta * (pw / t_w - pl / t_l) - o["gamma"]))
    if name == "rating_dpo":
        return sp(-(z - beta / mpf(o["beta1"]) * d_gap))
    if name == "rating_ipo":
        return (z - beta / mpf(o["beta1"]) * d_gap - mpf(1) / 2) ** 2
    if name == "ml_rating_dpo":
        return sp(-z) + (d_gap - z) ** 2 / (2 * mpf(o["variance"]) * mpf(o["rated_fraction"]))
    if name == "mixdpo":
        return -pw / t_w if d_gap < mpf("0.5") else (1 - eps) * sp(-z) + eps * sp(z)
    if name == "odpo":
        shape = d_gap if o.get("transform") == "identity" else mp.log(d_gap)
        return sp(-(z - mpf(o["alpha"]) * shape))
    if name == "rpo":
        target = mpf(o["eta"]) * d_gap
        p, q = sg(z), sg(target)
        return {"sq": (z - target) ** 2, "bwd_kl": kl(q, p), "fwd_kl": kl(p, q)}[o["distance"]]
    if name == "dpop":
        return sp(-beta * (d - o["penalty"] * max(mpf(0), -g_w)))
    if name == "hypo":
        return sp(-beta * ((pw - pl) - max(mpf(0), rw - rl)))
    omega = min(mpf(o["gamma"]) * (mp.exp(-rw / t_w) + mp.exp(-rl / t_l)), mpf(5))
    return sp(-(beta * (g_w / t_w - g_l / t_l) - omega))


VARIANTS = [*OPTIONS.items(), ("ipo", TOKENS)]
VARIANTS += [("rpo", {**OPTIONS["rpo"], "distance": kind}) for kind in ("sq", "fwd_kl")]
VARIANTS += [("odpo", {**OPTIONS["odpo"], "transform": "identity"})]


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_twelve_digits_against_the_oracle(name, options):
    mp.dps = 150
    batch = four_rows()
    for beta in (0.01, 0.1, 1.0, 30.0):
        loss = getattr(losses, name)(*batch, beta=beta, **options)
        for row, got in enumerate(loss.tolist()):
            want = exact(name, *(mpf(column[row].item()) for column in batch), mpf(beta), options, row)
            assert float(abs(got - want)) <= 1e-12 * float(abs(want))


@pytest.mark.parametrize("distance", ["bwd_kl", "fwd_kl"])
@pytest.mark.parametrize("step", [1e-9, 1e-5, 1e-3, 0.5, 0.999, 1.001, 30.0])
@pytest.mark.parametrize("centre", [0.0, 3.0, -25.0])
def test_kl_keeps_its_digits_where_both_laws_nearly_agree(distance, step, centre):
    mp.dps = 150
    z, target = centre + step, centre
    loss = losses.rpo(*rows([z], [0.0], [0.0], [0.0]), rating_gap=gap(target), beta=1, eta=1, distance=distance)
    p, q = (1 / (1 + mp.exp(-mpf(t))) for t in (z, target))
    a, b = (q, p) if distance == "bwd_kl" else (p, q)
    want = a * mp.log(a / b) + (1 - a) * mp.log((1 - a) / (1 - b))
    assert loss.item() == pytest.approx(float(want), rel=1e-12)


def test_kl_is_zero_where_margin_and_target_agree():
    for kind in ("sq", "bwd_kl", "fwd_kl"):
        loss = losses.rpo(*rows([2.0], [0.0], [0.0], [0.0]), rating_gap=gap(4), beta=1, eta=0.5, distance=kind)
        assert loss.item() == 0.0


@pytest.mark.parametrize("d", [19.9, 20.1, 30.0, 700.0, -19.9, -20.1, -30.0])
def test_no_cut_at_twenty(d):
    mp.dps = 150
    loss = losses.dpo(*rows([d], [0.0], [0.0], [0.0]), beta=1)
    assert loss.item() == pytest.approx(float(mp.log1p(mp.exp(-mpf(d)))), rel=1e-13)


# ---- gradients


def logp_inputs(batch):
    return tuple(column.clone().requires_grad_() for column in batch)


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_gradient_matches_finite_differences(name, options):
    policy_chosen, policy_rejected, *reference = logp_inputs(four_rows())

    def loss(chosen, rejected):
        return getattr(losses, name)(chosen, rejected, *reference, beta=0.05, **options)

    assert torch.autograd.gradcheck(loss, (policy_chosen, policy_rejected), eps=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", OPTIONS)
def test_gradient_flows_through_the_policy_only(name):
    batch = logp_inputs(four_rows())
    options = {
        k: v.double().clone().requires_grad_() if isinstance(v, torch.Tensor) else v for k, v in OPTIONS[name].items()
    }
    getattr(losses, name)(*batch, beta=0.1, **options).sum().backward()
    assert batch[0].grad is not None
    assert batch[0].grad.abs().sum() > 0
    assert batch[2].grad is None
    assert batch[3].grad is None
    assert all(v.grad is None for v in options.values() if isinstance(v, torch.Tensor))


@pytest.mark.parametrize(
    ("beta1", "d", "expected"),
    [(0.5, 3, -0.0598687660), (0.1, 1, -0.0689974481), (0.1, 0, -0.0450166003), (0.1, -1, -0.0231475217)],
)
def test_rating_dpo_golden_gradient(beta1, d, expected):
    batch = logp_inputs(rows(*GOLDEN_PAIR))
    losses.rating_dpo(*batch, rating_gap=gap(d), beta=0.1, beta1=beta1).backward()
    assert batch[0].grad.item() == pytest.approx(expected, abs=1e-10)
    assert batch[1].grad.item() == pytest.approx(-expected, abs=1e-10)


def test_ml_rating_and_cpo_golden_gradients():
    batch = logp_inputs(rows(*GOLDEN_PAIR))
    losses.ml_rating_dpo(*batch, rating_gap=gap(3), beta=0.1, variance=0.5).backward()
    assert batch[0].grad.item() == pytest.approx(-0.6050166003, abs=1e-10)
    pair = logp_inputs(rows([-0.5], [0.0], [math.log(0.25)], [math.log(0.75)]))
    losses.cpo(*pair, beta=1, gamma=0.1, chosen_lengths=torch.ones(1), rejected_lengths=torch.ones(1)).backward()
    assert pair[0].grad.item() == pytest.approx(-0.483686054, abs=1e-9)


@pytest.mark.parametrize(("name", "options"), VARIANTS)
@pytest.mark.parametrize("size", [1e4, -1e4])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_losses_and_gradients_are_finite_at_ten_thousand(name, options, size, dtype):
    chosen = torch.tensor([size, size, -2.0, -9.0], dtype=dtype, requires_grad=True)
    rejected = torch.zeros(4, dtype=dtype, requires_grad=True)
    loss = getattr(losses, name)(chosen, rejected, rejected * 0, rejected * 0, beta=1.0, **options)
    loss.sum().backward()
    assert loss.isfinite().all()
    assert chosen.grad.isfinite().all()
    assert rejected.grad.isfinite().all()


def test_far_limits_of_the_logistic_loss():
    batch = rows([8000.0, -8000.0], [0.0] * 2, [0.0] * 2, [0.0] * 2)
    assert losses.dpo(*batch, beta=0.1).tolist() == [0.0, 800.0]


# ---- exact limits and laws


def assert_same_bits(name, options, plain, plain_options, batch=None):
    results = []
    for loss, chosen in ((name, options), (plain, plain_options)):
        inputs = logp_inputs(batch or four_rows())
        value = getattr(losses, loss)(*inputs, beta=0.1, **chosen)
        value.sum().backward()
        results.append((value, inputs[0].grad, inputs[1].grad))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("rating_dpo", {"rating_gap": GAP, "beta1": INF}),
        ("rating_dpo", {"rating_gap": torch.zeros(4), "beta1": 0.3}),
        ("ml_rating_dpo", {"rating_gap": GAP, "variance": INF}),
        ("ml_rating_dpo", {"rating_gap": torch.full((4,), NAN), "variance": 0.1}),
        ("mixdpo", {"rating_gap": -GAP, "chosen_lengths": TOKENS["chosen_lengths"], "tau": -INF}),
        ("cdpo", {"label_smoothing": 0.0}),
        ("robust_dpo", {"label_smoothing": 0}),
        ("odpo", {"rating_gap": GAP, "alpha": 0}),
        ("dpop", {"penalty": 0}),
    ],
)
def test_switched_off_losses_are_dpo_bit_for_bit(name, options):
    assert_same_bits(name, options, "dpo", {})


def test_mixdpo_at_infinite_threshold_is_imitation_alone():
    batch = logp_inputs(four_rows())
    tokens = TOKENS["chosen_lengths"]
    loss = losses.mixdpo(*batch, rating_gap=GAP, chosen_lengths=tokens, tau=INF, beta=0.1, sft_weight=0.5)
    assert loss.tolist() == pytest.approx((-0.5 * batch[0] / tokens).tolist(), rel=1e-15)
    loss.sum().backward()
    assert batch[1].grad.abs().sum() == 0


def test_mixdpo_threshold_is_strict_and_signed():
    batch, tokens = four_rows(), TOKENS["chosen_lengths"]
    loss = losses.mixdpo(*batch, rating_gap=gap(0.5, 0.49, -3, 0.51), chosen_lengths=tokens, beta=0.1)
    dpo, imitation = losses.dpo(*batch, beta=0.1), -batch[0] / tokens
    assert torch.equal(loss, torch.stack([dpo[0], imitation[1], imitation[2], dpo[3]]))


def test_rating_dpo_is_dpo_with_a_tilted_reference():
    pw, pl, rw, rl = four_rows()
    rating_w, rating_l = gap(9, 7.5, 3, 1), gap(6, 7.25, 5, 1)
    shifted = losses.dpo(pw, pl, rw + rating_w / 0.4, rl + rating_l / 0.4, beta=0.1)
    direct = losses.rating_dpo(pw, pl, rw, rl, rating_gap=rating_w - rating_l, beta=0.1, beta1=0.4)
    assert direct.tolist() == pytest.approx(shifted.tolist(), rel=1e-10)


def test_label_smoothing_terms_are_linear_in_z():
    batch = four_rows()
    z = 0.1 * ((batch[0] - batch[2]) - (batch[1] - batch[3]))
    plain = losses.dpo(*batch, beta=0.1)
    conservative = losses.cdpo(*batch, beta=0.1, label_smoothing=0.2) - plain
    robust = losses.robust_dpo(*batch, beta=0.1, label_smoothing=0.2) - plain
    assert conservative.tolist() == pytest.approx((0.2 * z).tolist(), rel=1e-12)
    assert robust.tolist() == pytest.approx((-0.2 * z / 0.6).tolist(), rel=1e-12)
    sure = losses.robust_dpo(*rows([200.0], [0.0], [0.0], [0.0]), beta=0.1, label_smoothing=0.2)
    assert sure.item() == pytest.approx(-20 / 3, abs=1e-8)  # unbounded below


def test_rating_losses_agree_with_their_relatives():
    batch = four_rows()
    d = (batch[0] - batch[2]) - (batch[1] - batch[3])
    rating_dpo = losses.rating_dpo(*batch, rating_gap=-GAP, beta=0.1, beta1=0.4)
    odpo = losses.odpo(*batch, rating_gap=-GAP, beta=0.1, alpha=0.25, transform="identity")
    assert rating_dpo.tolist() == pytest.approx(odpo.tolist(), rel=1e-14)
    scaled = losses.rating_dpo(*batch, rating_gap=-7 * GAP, beta=0.1, beta1=7 * 0.4)
    assert rating_dpo.tolist() == pytest.approx(scaled.tolist(), rel=1e-14)
    rating_ipo = losses.rating_ipo(*batch, rating_gap=-GAP, beta=0.1, beta1=0.4)
    assert rating_ipo.tolist() == pytest.approx((0.01 * (d + GAP / 0.4 - 5) ** 2).tolist(), rel=1e-12)
    extra = losses.ml_rating_dpo(*batch, rating_gap=0 * GAP, beta=0.1, variance=3) - losses.dpo(*batch, beta=0.1)
    assert extra.tolist() == pytest.approx(((0.1 * d) ** 2 / 6).tolist(), rel=1e-12)


def test_ipo_lengths_of_one_are_sums():
    ones = {"chosen_lengths": torch.ones(4), "rejected_lengths": torch.ones(4)}
    assert torch.equal(losses.ipo(*four_rows(), beta=0.1, **ones), losses.ipo(*four_rows(), beta=0.1))


def test_simpo_ignores_the_reference():
    pw, pl, *_ = four_rows()
    options = {"beta": 2.0, "gamma": -0.3, **TOKENS}
    plain = losses.simpo(pw, pl, None, None, **options)
    broken = losses.simpo(pw, pl, torch.full((7,), NAN), torch.ones(1, dtype=torch.int64), **options)
    assert torch.equal(plain, broken)


def test_cpo_offset_is_capped_and_carries_no_gradient():
    batch = rows([-4000.0], [-3000.0], [-4000.0], [-3000.0])
    ones = {"chosen_lengths": torch.ones(1), "rejected_lengths": torch.ones(1)}
    for limit in (5.0, 0.7, 0.0):
        loss = losses.cpo(*batch, beta=1, gamma=0.1, max_offset=limit, **ones)
        assert loss.item() == pytest.approx(math.log1p(math.exp(limit)), rel=1e-14)
    assert losses.cpo(*batch, beta=1, gamma=0, **ones).item() == pytest.approx(math.log(2), rel=1e-15)
    assert losses.cpo(*batch, beta=1, gamma=0.1, **ones).item() == pytest.approx(math.log1p(math.exp(5)), rel=1e-14)


@pytest.mark.parametrize("name", OPTIONS)
def test_a_row_depends_on_itself_only_and_inputs_stay(name):
    batch, loss = four_rows(), getattr(losses, name)
    before = [column.clone() for column in batch]
    whole = loss(*batch, beta=0.1, **OPTIONS[name])
    assert whole.shape == (4,)
    for row in range(4):
        one = {k: v[row : row + 1] if isinstance(v, torch.Tensor) else v for k, v in OPTIONS[name].items()}
        assert torch.equal(loss(*(c[row : row + 1] for c in batch), beta=0.1, **one), whole[row : row + 1])
    with torch.no_grad():
        whole.zero_()
    assert all(torch.equal(a, b) for a, b in zip(batch, before, strict=True))


@pytest.mark.parametrize("name", OPTIONS)
def test_empty_batch_gives_an_empty_loss(name):
    empty = {k: v[:0] if isinstance(v, torch.Tensor) else v for k, v in OPTIONS[name].items()}
    loss = getattr(losses, name)(*(column[:0] for column in four_rows()), beta=0.1, **empty)
    assert loss.shape == (0,)


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize(
    ("dtype", "result"),
    [
        (torch.float64, torch.float64),
        (torch.float32, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
    ],
)
def test_result_type(name, dtype, result):
    batch = four_rows(dtype)
    loss = getattr(losses, name)(*batch, beta=0.1, **OPTIONS[name])
    assert loss.dtype == result
    in_float32 = getattr(losses, name)(*(c.float() for c in batch), beta=0.1, **OPTIONS[name])
    assert loss.float().tolist() == pytest.approx(in_float32.tolist(), rel=1e-5)
    with_float64_reference = getattr(losses, name)(*batch[:2], *four_rows()[2:], beta=0.1, **OPTIONS[name])
    assert with_float64_reference.dtype == result


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.float16, torch.float64])
def test_rating_gap_of_any_real_type(dtype):
    loss = losses.rating_dpo(*rows(*GOLDEN_PAIR), rating_gap=torch.tensor([3], dtype=dtype), beta=0.1, beta1=0.5)
    assert loss.item() == pytest.approx(0.9130152524, abs=1e-10)


# ---- missing ratings


@pytest.mark.parametrize("name", NEEDS_GAP)
def test_no_gap_is_never_taken_as_zero(name):
    options = {**OPTIONS[name], "rating_gap": None}
    with pytest.raises(MissingRatingError, match="rating_gap: got None"):
        getattr(losses, name)(*four_rows(), beta=0.1, **options)


@pytest.mark.parametrize("name", [n for n in NEEDS_GAP if n != "ml_rating_dpo"])
def test_missing_gap_is_named(name):
    options = {**OPTIONS[name], "rating_gap": gap(1, NAN, 2, NAN)}
    with pytest.raises(MissingRatingError, match=r"rating_gap: 2 of 4 values are NaN \(first index 1\)"):
        getattr(losses, name)(*four_rows(), beta=0.1, **options)


def test_ml_rating_skips_missing_gaps_in_value_and_gradient():
    batch = logp_inputs(four_rows())
    loss = losses.ml_rating_dpo(*batch, rating_gap=gap(1, NAN, 2, NAN), beta=0.1, variance=1)
    plain = losses.dpo(*four_rows(), beta=0.1)
    assert torch.equal(loss[1::2], plain[1::2])
    assert (loss[::2] > plain[::2]).all()
    loss.sum().backward()
    assert batch[0].grad.isfinite().all()
    assert batch[1].grad.isfinite().all()


@pytest.mark.parametrize("name", NEEDS_GAP)
def test_infinite_gap_is_refused(name):
    options = {**OPTIONS[name], "rating_gap": gap(1, 2, INF, 3)}
    with pytest.raises(ContractError, match=r"rating_gap: 1 of 4 values .*first index 2, got inf"):
        getattr(losses, name)(*four_rows(), beta=0.1, **options)


def test_log_offset_needs_positive_gaps():
    for bad in (0.0, -1.0):
        with pytest.raises(ContractError, match=r"rating_gap: 1 of 4 values .*first index 1.*identity"):
            losses.odpo(*four_rows(), rating_gap=gap(1, bad, 1, 1), beta=0.1)
    assert losses.odpo(*four_rows(), rating_gap=gap(1, 0, -1, 1), beta=0.1, transform="identity").shape == (4,)


# ---- errors


@pytest.mark.parametrize(("name", "position"), [(n, p) for n in OPTIONS for p in range(2 if n == "simpo" else 4)])
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros(4), "got ndarray, expected a floating torch tensor"),
        (torch.zeros(4, dtype=torch.int64), "got torch.int64, expected a floating"),
        (torch.zeros(4, dtype=torch.complex64), "got torch.complex64"),
        (None, "got NoneType"),
        (torch.zeros(4, 1), r"shape"),
        (torch.zeros(3), r"shape \("),
        (torch.tensor(1.0), r"shape"),
        (torch.tensor([0.0, NAN, 0.0, INF]), r"logps: 2 of 4 values .*first index 1, got nan"),
    ],
)
def test_bad_log_probs_are_refused(name, position, bad, message):
    batch = list(four_rows())
    batch[position] = bad
    with pytest.raises(ContractError, match=message):
        getattr(losses, name)(*batch, beta=0.1, **OPTIONS[name])


def test_log_probs_on_two_devices_are_refused():
    batch = list(four_rows())
    batch[2] = batch[2].to("meta")
    with pytest.raises(ContractError, match="reference_chosen_logps: got device meta, expected cpu"):
        losses.dpo(*batch, beta=0.1)


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("beta", [0, -0.1, INF, NAN, None, "0.1", True])
def test_beta_is_finite_and_positive(name, beta):
    with pytest.raises(ContractError, match=r"beta: got .*, expected a finite number > 0"):
        getattr(losses, name)(*four_rows(), beta=beta, **OPTIONS[name])


@pytest.mark.parametrize(
    ("name", "option", "values"),
    [
        ("cdpo", "label_smoothing", (-0.1, 0.5, NAN, None)),
        ("robust_dpo", "label_smoothing", (-0.1, 0.5, NAN)),
        ("mixdpo", "label_smoothing", (-0.1, 0.5, NAN)),
        ("mixdpo", "tau", (NAN, None, "0.5")),
        ("mixdpo", "sft_weight", (-1, NAN, INF)),
        ("simpo", "gamma", (INF, NAN, None)),
        ("rating_dpo", "beta1", (0, -1, NAN)),
        ("rating_ipo", "beta1", (0, -1, NAN)),
        ("ml_rating_dpo", "variance", (0, -1, NAN)),
        ("ml_rating_dpo", "rated_fraction", (0, 1.1, NAN, -1)),
        ("odpo", "alpha", (-1, INF, NAN)),
        ("odpo", "transform", ("sqrt", None, 1)),
        ("rpo", "eta", (-1, INF, NAN)),
        ("rpo", "distance", ("kl", None)),
        ("dpop", "penalty", (-1, INF, NAN)),
        ("cpo", "gamma", (-0.1, INF, NAN)),
        ("cpo", "max_offset", (-0.1, INF, NAN)),
    ],
)
def test_options_out_of_range_are_refused(name, option, values):
    for value in values:
        with pytest.raises(ContractError, match=f"{option}: got"):
            getattr(losses, name)(*four_rows(), beta=0.1, **{**OPTIONS[name], option: value})


@pytest.mark.parametrize("name", [*NEEDS_LENGTHS, "ipo"])
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.tensor([1, 0, 2, -1]), r"lengths: 2 of 4 values .*first index 1, got 0"),
        (torch.tensor([1, NAN, 2, 3]), r"lengths: 1 of 4"),
        (torch.tensor([1, INF, 2, 3]), r"lengths: 1 of 4"),
        (torch.ones(3), r"lengths: got shape \(3,\)"),
        (torch.ones(4, dtype=torch.bool), r"lengths: got torch.bool"),
        ([1, 2, 3, 4], r"lengths: got list"),
    ],
)
def test_bad_lengths_are_refused(name, bad, message):
    keys = [
        k for k in ("chosen_lengths", "rejected_lengths") if k in inspect.signature(getattr(losses, name)).parameters
    ]
    for key in keys:
        options = {**OPTIONS[name], **({} if name == "mixdpo" else TOKENS), key: bad}
        with pytest.raises(ContractError, match=f"{key[:-7]}{message}"):
            getattr(losses, name)(*four_rows(), beta=0.1, **options)


def test_ipo_with_one_length_is_refused():
    for given, other in (("chosen_lengths", "rejected_lengths"), ("rejected_lengths", "chosen_lengths")):
        with pytest.raises(ContractError, match=f"{other}: got None although {given} is given"):
            losses.ipo(*four_rows(), beta=0.1, **{given: torch.ones(4)})


@pytest.mark.parametrize("name", NEEDS_GAP)
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.ones(4), "rating_gap: got ndarray"),
        (torch.ones(4, dtype=torch.bool), "rating_gap: got torch.bool"),
        (torch.ones(4, 1), r"rating_gap: got shape \(4, 1\)"),
        (torch.ones(3), r"rating_gap: got shape \(3,\)"),
    ],
)
def test_bad_gaps_are_refused(name, bad, message):
    with pytest.raises(ContractError, match=message):
        getattr(losses, name)(*four_rows(), beta=0.1, **{**OPTIONS[name], "rating_gap": bad})


def test_weights_that_overflow_are_refused_instead_of_giving_nan():
    zero = torch.zeros(4)
    with pytest.raises(ContractError, match=r"beta / beta1: got 1e\+49, expected at most 3\.4"):
        losses.rating_dpo(*four_rows(torch.float32), rating_gap=zero, beta=0.1, beta1=1e-50)
    with pytest.raises(ContractError, match="variance rated_fraction"):
        losses.ml_rating_dpo(*four_rows(), rating_gap=zero, beta=0.1, variance=5e-324)


def test_every_loss_takes_beta_by_keyword_and_is_exported():
    assert {*OPTIONS, "rating_betas", "RatingBetas"} == set(losses.__all__)
    for name in OPTIONS:
        parameters = inspect.signature(getattr(losses, name)).parameters
        assert list(parameters)[:4] == [
            "policy_chosen_logps",
            "policy_rejected_logps",
            "reference_chosen_logps",
            "reference_rejected_logps",
        ]
        assert all(p.kind is p.KEYWORD_ONLY for p in list(parameters.values())[4:])
        assert parameters["beta"].default is inspect.Parameter.empty


def test_no_warning_is_emitted():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, options in VARIANTS:
            getattr(losses, name)(*logp_inputs(four_rows()), beta=0.1, **options).sum().backward()


# ---- beyond the range of the type


@pytest.mark.parametrize(("dtype", "size"), [(torch.float32, 1e25), (torch.float64, 1e200)])
def test_infinite_variance_is_dpo_where_the_square_of_the_gap_overflows(dtype, size):
    batch = four_rows(dtype)
    loss = losses.ml_rating_dpo(*batch, beta=0.1, variance=INF, rating_gap=GAP.to(dtype) * size)
    assert torch.equal(loss, losses.dpo(*batch, beta=0.1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("gamma", [1e-300, 1e-50, 1e300])
def test_cpo_offset_is_capped_where_gamma_leaves_the_type(dtype, gamma):
    batch = rows([-4000.0], [-3000.0], [-4000.0], [-3000.0], dtype=dtype)
    loss = losses.cpo(*batch, beta=1, gamma=gamma, chosen_lengths=torch.ones(1), rejected_lengths=torch.ones(1))
    assert loss.item() == pytest.approx(math.log1p(math.exp(5)), rel=1e-6)


@pytest.mark.parametrize("name", OPTIONS)
def test_beta_may_be_any_real_number(name):
    loss, batch = getattr(losses, name), four_rows()
    plain = loss(*batch, beta=0.25, **OPTIONS[name])
    for beta in (Fraction(1, 4), np.float32(0.25), np.float64(0.25)):
        assert torch.equal(loss(*batch, beta=beta, **OPTIONS[name]), plain)
