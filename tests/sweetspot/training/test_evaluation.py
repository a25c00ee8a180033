import math
import statistics
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweetspot import ids
from sweetspot.engines.protocols import Sample
from sweetspot.errors import ContractError, EngineError
from sweetspot.training.evaluation import EvaluationResult, compare, evaluate


class WordTemplate:
    """One id per character of the last message."""

    def prompt_ids(self, messages):
        return tuple(map(ord, messages[-1]["content"]))


class CountingSampler:
    """Answers prompt "k" of a list right in the first k of n samples, and remembers what it was asked."""

    revision = "fake"
    template = WordTemplate()

    def __init__(self, n: int, finish_reason: str = "stop") -> None:
        self.n, self.finish_reason, self.requests = n, finish_reason, []

    def sample(self, requests):
        self.requests += requests
        return [[self._draw(int(chr(request.token_ids[0])), index) for index in range(self.n)] for request in requests]

    def _draw(self, right: int, index: int) -> Sample:
        return Sample("yes" if index < right else "no", (1,), self.finish_reason, -1.0)


def prompts_of(*rights: int):
    return [{"prompt_id": f"p{i}", "prompt": [{"role": "user", "content": str(k)}]} for i, k in enumerate(rights)]


def exam(*rights: int, n: int = 4, seed: int = 0, sampler=None) -> EvaluationResult:
    prompts = prompts_of(*rights)
    return evaluate(sampler or CountingSampler(n), prompts, ["yes"] * len(prompts), check="exact", samples=n, seed=seed)


def test_mean_and_clustered_error_in_closed_form():
    result = exam(0, 1, 2, 4)
    assert result.per_prompt.tolist() == [0.0, 0.25, 0.5, 1.0]
    assert result.mean == 0.4375
    assert result.standard_error == pytest.approx(math.sqrt(0.546875 / (4 * 3)))
    assert result.prompt_ids == ("p0", "p1", "p2", "p3")


def test_error_counts_prompts_not_responses():
    assert exam(0, 8, n=8).standard_error == exam(0, 2, n=2).standard_error == pytest.approx(0.5)
    assert exam(2, 2, 2).standard_error == 0.0


def test_clustered_error_is_that_of_the_cluster_robust_formula():
    rights, n = (0, 3, 1, 4, 2), 4
    responses = np.array([[float(index < k) for index in range(n)] for k in rights])
    residual_sums = (responses - responses.mean()).sum(axis=1)
    robust = math.sqrt((residual_sums**2).sum() / responses.size**2 * len(rights) / (len(rights) - 1))
    assert exam(*rights).standard_error == pytest.approx(robust)


def test_every_prompt_is_asked_once_with_a_seed_of_its_own():
    sampler = CountingSampler(4)
    exam(1, 2, 3, seed=7, sampler=sampler)
    assert [request.prompt_id for request in sampler.requests] == ["p0", "p1", "p2"]
    assert [request.seed for request in sampler.requests] == [ids.derived_seed(7, f"p{i}") for i in range(3)]
    assert sampler.requests[1].token_ids == (ord("2"),)


def test_unfinished_responses_are_not_answers():
    assert exam(4, 4, sampler=CountingSampler(4, finish_reason="length")).mean == 0.0


def test_paired_difference_in_closed_form():
    comparison = compare(exam(0, 1, 2, 3), exam(1, 1, 4, 4))
    assert comparison.difference == 0.25  # of 0.25, 0, 0.5, 0.25
    assert comparison.standard_error == pytest.approx(math.sqrt(0.125 / (4 * 3)))
    half = 3.182446305284263 * comparison.standard_error  # 97.5 % point of Student's t with 3 degrees of freedom
    assert (comparison.low, comparison.high) == pytest.approx((0.25 - half, 0.25 + half))
    assert comparison.prompts == 4


def test_swapping_the_policies_mirrors_the_interval():
    one, two = exam(0, 1, 4), exam(2, 2, 3)
    forward, backward = compare(one, two), compare(two, one)
    assert (forward.difference, forward.low) == pytest.approx((-backward.difference, -backward.high))


def test_pairing_removes_what_prompts_share():
    assert compare(exam(0, 1, 2, 3), exam(1, 2, 3, 4)).standard_error == pytest.approx(0.0, abs=1e-15)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=9))
def test_a_comparison_is_the_plain_statistics_of_the_differences(rights):
    before, after = (exam(*side) for side in zip(*rights, strict=True))
    differences = [(new - old) / 4 for old, new in rights]
    comparison = compare(before, after)
    assert comparison.difference == pytest.approx(statistics.fmean(differences), abs=1e-12)
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    assert comparison.standard_error == pytest.approx(error, abs=1e-12)
    assert comparison.low <= comparison.difference <= comparison.high


@pytest.mark.parametrize(
    ("prompts", "answers", "check", "message"),
    [
        (prompts_of(1), ["yes"], "exact", "got 1 prompts and 1 answers, expected the same number, at least 2"),
        (prompts_of(1, 2), ["yes"], "exact", "got 2 prompts and 1 answers"),
        (prompts_of(1, 2) + prompts_of(1), ["yes"] * 3, "exact", "1 of 3 repeat a prompt_id"),
        (prompts_of(1, 2), ["yes"] * 2, "vibes", "check: got 'vibes', expected one of exact"),
    ],
)
def test_exams_that_mean_nothing_are_refused(prompts, answers, check, message):
    with pytest.raises(ContractError, match=message):
        evaluate(CountingSampler(4), prompts, answers, check=check, samples=4, seed=0)


def test_another_number_of_responses_is_an_engine_error():
    with pytest.raises(EngineError, match=r"2 of 2 prompts .* samples = 4 \(first: p0\)"):
        evaluate(CountingSampler(3), prompts_of(1, 2), ["yes"] * 2, check="exact", samples=4, seed=0)


def test_evaluations_of_other_prompts_cannot_be_compared():
    with pytest.raises(ContractError, match="evaluated on 3 prompts, 2 of them among the 2 of before"):
        compare(exam(1, 2), exam(1, 2, 3))


def test_the_exam_and_the_gate_need_no_torch():
    program = "import sys, sweetspot.training; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
