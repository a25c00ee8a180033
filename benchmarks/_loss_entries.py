"""Benchmarks of the pairwise losses against the expression that TRL's DPOTrainer writes for its sigmoid loss."""

import copy
import importlib.util
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _measure import OURS, Answer, Contestant, Entry, Floor, Inputs, Machine, Measured, Size, Target

POLICY = Path(__file__).resolve().parent.parent / "deployments" / "world" / "policy"
RATED, TRL = "sweetspot, rating_dpo", "TRL's expression"

_BETA, _BETA1 = 0.1, 0.5
_TRL_LINE = "per_sequence_loss = -F.logsigmoid(self.beta * delta_score)"
_TOLERANCE = 1e-5
_FOUR_LOGPS = 4
_BYTES = 4

PairLoss = Callable[..., Any]
"""(policy chosen, policy rejected, reference chosen, reference rejected, rating gap) -> loss per pair."""


def _dpo(*given: Any) -> Any:
    from sweetspot.losses import dpo

    return dpo(*given[:_FOUR_LOGPS], beta=_BETA)


def _rating_dpo(*given: Any) -> Any:
    from sweetspot.losses import rating_dpo

    return rating_dpo(*given[:_FOUR_LOGPS], rating_gap=given[_FOUR_LOGPS], beta=_BETA, beta1=_BETA1)


def _trl(*given: Any) -> Any:
    """The lines of DPOTrainer for f_divergence_type reverse_kl and loss_type sigmoid."""
    from torch.nn import functional

    chosen_logratios, rejected_logratios = given[0] - given[2], given[1] - given[3]
    delta_score = chosen_logratios - rejected_logratios
    return -functional.logsigmoid(_BETA * delta_score)


def _trl_with_ratings(*given: Any) -> Any:
    """The same with rating / beta1 added to the reference of each response, which is what `rating_dpo` is."""
    return _trl(given[0], given[1], given[2] + given[_FOUR_LOGPS] / _BETA1, given[3])


def _logps(*, batch: int, repeats: int) -> Inputs:
    """Log-probs of whole responses and rating gaps, as tensors; the policy's carry gradient."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    policy = [(-30 + 8 * torch.randn(batch)).requires_grad_() for _ in range(2)]
    reference = [one.detach() + 3 * torch.randn(batch) for one in policy]
    return {"logps": [*policy, *reference], "gap": torch.randn(batch), "repeats": repeats}


def _bare(loss: PairLoss) -> Callable[[Inputs], None]:
    """Forward and backward of the loss alone, many times."""

    def call(inputs: Inputs) -> None:
        for _ in range(inputs["repeats"]):
            for leaf in inputs["logps"][:2]:
                leaf.grad = None
            loss(*inputs["logps"], inputs["gap"]).mean().backward()

    return call


def _losses_and_gradients(inputs: Inputs, **by_name: PairLoss) -> Answer:
    """Loss per pair and its gradient in the policy's chosen log-probs, for each loss."""
    found = {}
    for name, loss in by_name.items():
        leaves = [one.detach().clone().requires_grad_() for one in inputs["logps"][:2]]
        values = loss(*leaves, *inputs["logps"][2:], inputs["gap"])
        values.sum().backward()
        found[name], found[f"{name}_gradient"] = values.detach().numpy(), leaves[0].grad.numpy()
    return found


def _ours_answer(result: Any, inputs: Inputs) -> Answer:
    return _losses_and_gradients(inputs, dpo=_dpo, rating_dpo=_rating_dpo)


def _trl_answer(result: Any, inputs: Inputs) -> Answer:
    """Also makes sure that the installed TRL still writes its loss this way."""
    spec = importlib.util.find_spec("trl")
    assert spec is not None, "trl is not installed"
    assert spec.submodule_search_locations, "trl is not a package"
    source = (Path(spec.submodule_search_locations[0]) / "trainer" / "dpo_trainer.py").read_text()
    assert _TRL_LINE in source, f"TRL no longer writes {_TRL_LINE!r}; compare with what it writes now"
    return _losses_and_gradients(inputs, dpo=_trl, rating_dpo=_trl_with_ratings)


def _same_losses(ours: Answer, theirs: Answer) -> str:
    apart = max(float(np.abs(ours[name] - theirs[name]).max()) for name in theirs)
    assert apart <= _TOLERANCE, f"losses or gradients differ by {apart:g}"
    return f"losses and gradients of dpo and rating_dpo to {apart:.0e}"


def _training(*, pairs: int, prompt_tokens: int, response_tokens: int) -> Inputs:
    """The world's policy and a batch of random tokens, responses of different lengths."""
    import torch
    from transformers import AutoModelForCausalLM

    from sweetspot.training.collator import PairCollator
    from sweetspot.training.data import TokenPair

    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    policy = AutoModelForCausalLM.from_pretrained(POLICY, dtype=torch.float32)

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(rng.integers(4, policy.config.vocab_size, count).tolist())

    drawn = [
        TokenPair(
            pair_id=str(number),
            prompt_ids=tokens(prompt_tokens),
            chosen_ids=tokens(int(rng.integers(response_tokens // 2, response_tokens + 1))),
            rejected_ids=tokens(int(rng.integers(response_tokens // 2, response_tokens + 1))),
            rating_gap=float(rng.normal()),
            is_sft=False,
            reference_logps=(-40.0 + float(rng.normal()), -40.0 + float(rng.normal())),
        )
        for number in range(pairs)
    ]
    batch = PairCollator(pad_token_id=0)(drawn)
    return {"policy": policy, "batch": batch, **_batch_logps(policy, batch)}


def _batch_logps(policy: Any, batch: dict[str, Any]) -> Inputs:
    """The log-probs and gaps that the losses see in the first step."""
    import torch

    from sweetspot.training.logprobs import response_logps

    with torch.no_grad():
        chosen, rejected = response_logps(policy, batch)
    reference = [batch["reference_chosen_logps"], batch["reference_rejected_logps"]]
    return {"logps": [chosen, rejected, *reference], "gap": batch["rating_gap"]}


def _own_policy(inputs: Inputs) -> tuple[Any, Any, Inputs]:
    """A copy of the policy and an optimizer, so that contestants train from the same point."""
    import torch

    policy = copy.deepcopy(inputs["policy"]).train()
    return policy, torch.optim.AdamW(policy.parameters(), lr=1e-6), inputs["batch"]


def _step(loss: PairLoss) -> Callable[[tuple[Any, Any, Inputs]], float]:
    """One training step: forward over both responses, loss, backward, optimizer."""

    def call(prepared: tuple[Any, Any, Inputs]) -> float:
        from sweetspot.training.logprobs import response_logps

        policy, optimizer, batch = prepared
        chosen, rejected = response_logps(policy, batch)
        reference = (batch["reference_chosen_logps"], batch["reference_rejected_logps"])
        value = loss(chosen, rejected, *reference, batch["rating_gap"]).mean()
        value.backward()
        optimizer.step()
        optimizer.zero_grad()
        return float(value.detach())

    return call


def _overhead(name: str) -> Target:
    """Median over the runs of the step's time over that of the step with TRL's expression beside it, less one."""

    def excess(measured: Measured, machine: Machine) -> float:
        pairs = zip(measured[name].seconds, measured[TRL].seconds, strict=True)
        return statistics.median(ours / theirs for ours, theirs in pairs) - 1

    return Target(f"step with {name} ≤ 5 % longer than with {TRL}", excess, 0.05, at_most=True, form="{:+.2%}")


def _rated_answer(result: Any, inputs: Inputs) -> Answer:
    return _losses_and_gradients(inputs, rating_dpo=_rating_dpo)


def _contestants(wrap: Callable[[PairLoss], Callable[[Any], Any]], **settings: Any) -> tuple[Contestant, ...]:
    return (
        Contestant(OURS, wrap(_dpo), _ours_answer, note="dpo", **settings),
        Contestant(RATED, wrap(_rating_dpo), _rated_answer, **settings),
        Contestant(TRL, wrap(_trl), _trl_answer, **settings),
    )


LOSS = Entry(
    name="loss",
    title="Losses alone, 16 pairs, forward and backward",
    about="Time of one loss, the mean of many. Ours checks shapes, types and finiteness on every call; TRL's does not. "
    "Contestants alternate in one process.",
    sizes={
        "full": {"batch": 16, "repeats": 1000},
        "quick": {"batch": 16, "repeats": 300},
        "tiny": {"batch": 16, "repeats": 2},
    },
    make=_logps,
    contestants=_contestants(_bare, runs=11, share=lambda size: size["repeats"]),
    agree=_same_losses,
    floor=lambda size: Floor(
        "four log-probs per pair read once, a loss and two gradients written once", 7.0 * _BYTES * size["batch"]
    ),
    together=True,
)


def _step_floor(size: Size) -> Floor:
    """Six operations per parameter and token, three of them multiplications, as usual for forward and backward."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(POLICY)
    layer = 4 * config.hidden_size**2 + 3 * config.hidden_size * config.intermediate_size
    weights = config.num_hidden_layers * layer + config.vocab_size * config.hidden_size
    tokens = 2 * size["pairs"] * (size["prompt_tokens"] + 0.75 * size["response_tokens"])
    return Floor("six operations per weight and token", 0.0, 6.0 * weights * tokens)


LOSS_STEP = Entry(
    name="loss-step",
    title="A training step of the demo's policy on 16 pairs",
    about="Forward over both responses, loss, backward, AdamW. Everything but the loss is the same code. Contestants "
    "alternate in one process, each with its own copy of the policy.",
    sizes={
        "full": {"pairs": 16, "prompt_tokens": 24, "response_tokens": 24},
        "quick": {"pairs": 16, "prompt_tokens": 24, "response_tokens": 24},
        "tiny": {"pairs": 2, "prompt_tokens": 4, "response_tokens": 4},
    },
    make=_training,
    contestants=_contestants(_step, prepare=_own_policy, runs=41),
    agree=_same_losses,
    floor=_step_floor,
    targets=(_overhead(OURS), _overhead(RATED)),
    together=True,
)
