import pytest
import torch
from transformers import AutoModelForCausalLM

from sweetspot.engines.template import ChatTemplate
from sweetspot.training.collator import PairCollator
from sweetspot.training.data import tokenise_pairs
from sweetspot.training.logprobs import response_logps, score_pairs


@pytest.fixture
def policy(policy_dir):
    return AutoModelForCausalLM.from_pretrained(policy_dir)


@pytest.fixture
def pairs(policy_dir, make_rows, settings):
    return tokenise_pairs(make_rows(7), ChatTemplate.load(str(policy_dir)), settings)


def one_by_one(policy, prompt, response) -> float:
    """Sum of log p(token | prefix), each from its own forward pass over nothing but the prefix."""
    total, prefix = 0.0, list(prompt)
    for token in response:
        logits = policy(torch.tensor([prefix])).logits[0, -1].double()
        total += float(torch.log_softmax(logits, dim=-1)[token])
        prefix.append(token)
    return total


def test_scores_are_sums_of_next_token_log_probabilities(policy, pairs):
    with torch.no_grad():
        expected = [
            [one_by_one(policy, pair.prompt_ids, ids) for ids in (pair.chosen_ids, pair.rejected_ids)] for pair in pairs
        ]
    scored = score_pairs(policy, pairs, PairCollator(0), batch_size=3)
    torch.testing.assert_close(scored, torch.tensor(expected), atol=2e-5, rtol=0)


@pytest.mark.parametrize(("pad", "multiple", "batch_size"), [(2, None, 7), (0, 32, 2), (5, 16, 1)])
def test_padding_and_batching_change_nothing(policy, pairs, pad, multiple, batch_size):
    plain = score_pairs(policy, pairs, PairCollator(0), batch_size=3)
    other = score_pairs(policy, pairs, PairCollator(pad, multiple), batch_size=batch_size)
    torch.testing.assert_close(other, plain, atol=2e-5, rtol=0)


def test_scoring_leaves_no_gradient_and_evaluation_mode(policy, pairs):
    policy.train()
    assert not score_pairs(policy, pairs, PairCollator(0), batch_size=4).requires_grad
    assert not policy.training
    assert score_pairs(policy, [], PairCollator(0), batch_size=4).shape == (0, 2)


def test_half_precision_logits_are_summed_in_float32(policy, pairs):
    batch = PairCollator(0)(pairs)
    chosen, rejected = response_logps(policy.bfloat16(), batch)
    assert chosen.dtype == rejected.dtype == torch.float32
