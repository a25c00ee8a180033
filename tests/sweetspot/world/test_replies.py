import pytest

from sweetspot.world.pretrain import PretrainConfig, pretrain_policy
from sweetspot.world.problems import Problem, unique_problems
from sweetspot.world.replies import Response, prompt_text, reply_rates, sample_responses
from sweetspot.world.tokenizer import build_tokenizer

TOKENIZER = build_tokenizer()
POLICY = pretrain_policy(TOKENIZER, PretrainConfig(1, 1, batch=2, layers=1), seed=0)
SORT, ADD = Problem("sort", "sort 312", "312", "123"), Problem("add", "add 10 and 1", "10 and 1", "11")


def test_rates_by_hand():
    responses = [
        Response(SORT, "123", "stop"),
        Response(SORT, "12", "stop"),
        Response(SORT, "123", "length"),
        Response(ADD, "", "stop"),
        Response(ADD, "#~", "stop"),
        Response(ADD, "11", "stop"),
    ]
    rates = reply_rates(responses)
    assert (rates.responses, rates.exact, rates.broken) == (6, 2 / 6, 3 / 6)
    assert rates.quality == pytest.approx((1 + 0.8 * 4 / 5 + 1) / 6)
    assert rates.broken_by_kind == {"garbled": 1 / 6, "empty": 1 / 6, "endless": 1 / 6}
    assert rates.exact_by_task == {"add": 1 / 3, "sort": 1 / 3}


def test_samples_come_grouped_by_problem_and_repeat_with_the_seed():
    problems = unique_problems("prompts", count=5, seed=0)
    first = sample_responses(POLICY, TOKENIZER, problems, samples=3, seed=1, prompts_per_batch=2)
    assert [r.problem for r in first] == [p for p in problems for _ in range(3)]
    assert sample_responses(POLICY, TOKENIZER, problems, samples=3, seed=1, prompts_per_batch=2) == first
    assert sample_responses(POLICY, TOKENIZER, problems, samples=3, seed=2, prompts_per_batch=2) != first


def test_the_prompt_ends_where_the_response_begins():
    assert prompt_text(SORT, TOKENIZER) == "<s><|user|>sort 312<|assistant|>"
