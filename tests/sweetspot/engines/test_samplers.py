"""The contract every sampler keeps, and how one is chosen. vLLM's engine is started here only."""

import importlib.util
import math
import os
import sys
from collections import Counter

import pytest
import torch
from scipy.stats import chisquare

from sweetspot.config import Sampling
from sweetspot.engines import samplers
from sweetspot.engines.logprobs import TransformersLogprobs
from sweetspot.engines.protocols import SampleRequest
from sweetspot.engines.revision import model_revision
from sweetspot.engines.samplers import SAMPLERS, engine_name, open_sampler
from sweetspot.errors import ConfigError, ContractError, EngineError

N, MAX_TOKENS, MAX_MODEL_TOKENS = 8, 10, 48
needs_vllm = pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed")
ENGINES = [pytest.param("transformers"), pytest.param("vllm", marks=needs_vllm)]


def settings_for(engine, **changes):
    limits = {"n": N, "max_tokens": MAX_TOKENS, "max_model_tokens": MAX_MODEL_TOKENS}
    return Sampling(engine=engine, **{**limits, **changes})


@pytest.fixture(scope="module", params=ENGINES)
def sampler(request, policy_dir):
    opened = open_sampler(settings_for(request.param), str(policy_dir))
    yield opened
    if request.param == "vllm":
        opened.close()


@pytest.fixture(scope="module")
def scorer(policy_dir):
    return TransformersLogprobs(str(policy_dir))


def asks(sampler, *, first_seed=1000):
    texts = ["abc", "sort 312", "a", "reverse xyz 12", "max 4 7 1", "zz"]
    return [
        SampleRequest(f"p{i}", sampler.template.prompt_ids([{"role": "user", "content": text}]), first_seed + 100 * i)
        for i, text in enumerate(texts)
    ]


@pytest.fixture
def changed(sampler, monkeypatch):
    """Sample with other settings from the same engine."""

    def sample(requests, **changes):
        monkeypatch.setattr(sampler, "_sampling", sampler._sampling.model_copy(update=changes))
        return sampler.sample(requests)

    return sample


def assert_sums_are_the_policys(scorer, requests, drawn):
    pairs = [(r.token_ids, s) for r, samples in zip(requests, drawn, strict=True) for s in samples]
    expected = scorer.score([prompt for prompt, _ in pairs], [sample.token_ids for _, sample in pairs])
    assert [sample.sum_logprob for _, sample in pairs] == pytest.approx(expected.tolist(), abs=1e-3)


def test_every_request_gets_n_samples_and_they_differ(sampler):
    drawn = sampler.sample(asks(sampler))
    assert [len(samples) for samples in drawn] == [N] * 6
    assert all(len({sample.token_ids for sample in samples}) >= N - 1 for samples in drawn)


def test_the_same_seed_gives_the_same_samples(sampler):
    assert sampler.sample(asks(sampler)) == sampler.sample(asks(sampler))


def test_another_seed_gives_other_samples(sampler):
    first, second = sampler.sample(asks(sampler)), sampler.sample(asks(sampler, first_seed=5000))
    equal = [a.token_ids == b.token_ids for x, y in zip(first, second, strict=True) for a, b in zip(x, y, strict=True)]
    assert sum(equal) <= 0.1 * len(equal)


def test_order_is_kept_when_the_batch_is_permuted(sampler):
    requests, order = asks(sampler), [3, 0, 5, 1, 4, 2]
    drawn = sampler.sample(requests)
    assert sampler.sample([requests[i] for i in order]) == [drawn[i] for i in order]


def test_a_request_alone_gets_the_samples_it_gets_in_a_batch(sampler):
    requests = asks(sampler)
    alone = sampler.sample([requests[3]])[0]
    assert [s.token_ids for s in alone] == [s.token_ids for s in sampler.sample(requests)[3]]


def test_sum_logprob_is_that_of_the_scorer_on_the_same_ids(sampler, scorer):
    requests = asks(sampler)
    assert_sums_are_the_policys(scorer, requests, sampler.sample(requests))


def test_a_second_bos_in_front_would_be_noticed(sampler, scorer):
    """The check above has teeth: with BOS twice, the scorer's sums are others."""
    requests = asks(sampler)
    doubled = [SampleRequest(r.prompt_id, (2, *r.token_ids), r.seed) for r in requests]
    with pytest.raises(AssertionError):
        assert_sums_are_the_policys(scorer, doubled, sampler.sample(requests))


def test_sum_logprob_stays_the_policys_at_other_temperature_and_top_p(sampler, scorer, changed):
    requests = asks(sampler)
    assert_sums_are_the_policys(scorer, requests, changed(requests, temperature=0.6, top_p=0.8))


def test_prompts_start_with_one_bos(sampler):
    bos = sampler.template.tokenizer.bos_token_id
    assert all(request.token_ids.count(bos) == 1 for request in asks(sampler))


def test_finish_reason_is_stop_at_eos_and_length_at_the_limit(sampler):
    eos = sampler.template.eos_id
    samples = [sample for drawn in sampler.sample(asks(sampler)) for sample in drawn]
    assert Counter(sample.finish_reason for sample in samples).keys() == {"stop", "length"}
    for sample in samples:
        assert (sample.finish_reason == "stop") == (sample.token_ids[-1] == eos)
        assert sample.finish_reason == "stop" or len(sample.token_ids) == MAX_TOKENS
        assert eos not in sample.token_ids[:-1]


def test_eos_as_the_last_allowed_token_is_stop(sampler, changed):
    samples = [sample for drawn in changed(asks(sampler), max_tokens=1) for sample in drawn]
    assert all(len(sample.token_ids) == 1 for sample in samples)
    reasons = {sample.token_ids[0] == sampler.template.eos_id: sample.finish_reason for sample in samples}
    assert reasons == {True: "stop", False: "length"}


def test_text_is_the_tokens_without_special_ones(sampler):
    samples = [sample for drawn in sampler.sample(asks(sampler)) for sample in drawn]
    assert [sample.text for sample in samples] == [sampler.template.text(sample.token_ids) for sample in samples]
    assert not any("<" in sample.text for sample in samples)


def first_token_fit(policy_dir, drawn, *, temperature):
    """p-value of the chi-square test of first tokens against a tempered softmax, rare tokens in one class."""
    scorer = TransformersLogprobs(str(policy_dir))
    samples = [sample for samples in drawn for sample in samples]
    with torch.no_grad():
        logits = scorer._model(torch.tensor([PROMPT])).logits[0, -1]
    expected = len(samples) * torch.softmax(logits.double() / temperature, dim=-1)
    observed = torch.bincount(torch.tensor([s.token_ids[0] for s in samples]), minlength=len(expected))
    common = expected >= 5
    classes = [[*x[common].tolist(), float(x[~common].sum())] for x in (observed, expected)]
    return chisquare(*classes).pvalue


PROMPT = (2, 4, 9, 10, 11, 5)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_first_tokens_follow_the_tempered_softmax(sampler, policy_dir, changed, temperature):
    requests = [SampleRequest(f"p{i}", PROMPT, 10_000 * i) for i in range(16)]
    drawn = changed(requests, temperature=temperature, max_tokens=1, n=64)
    assert first_token_fit(policy_dir, drawn, temperature=temperature) > 1e-3
    assert first_token_fit(policy_dir, drawn, temperature=0.75) < 1e-3


def test_top_p_draws_only_from_the_nucleus(sampler, policy_dir, changed):
    drawn = changed([SampleRequest("p", PROMPT, 1)], top_p=0.3, max_tokens=1, n=200)
    scorer = TransformersLogprobs(str(policy_dir))
    with torch.no_grad():
        likeliest = torch.softmax(scorer._model(torch.tensor([PROMPT])).logits[0, -1], dim=-1).sort(descending=True)
    size = int((likeliest.values.cumsum(0) < 0.3).sum()) + 1
    assert {s.token_ids[0] for s in drawn[0]} == set(likeliest.indices[:size].tolist())


def test_no_requests_give_no_samples(sampler):
    assert sampler.sample([]) == []


@pytest.mark.parametrize(
    ("request_changes", "message"),
    [
        ({"token_ids": ()}, r"1 of 3 have an empty prompt \(first: prompt_id=bad\)"),
        ({"token_ids": (2,) * 39}, r"1 of 3 have more than 38 prompt tokens .* \(first: prompt_id=bad\)"),
        ({"seed": -1}, r"seed outside \[0, 2\*\*63\)"),
        ({"seed": 2**63}, r"seed outside \[0, 2\*\*63\)"),
    ],
)
def test_requests_that_cannot_be_served_whole_are_refused(sampler, request_changes, message):
    bad = {"prompt_id": "bad", "token_ids": (2, 4, 9, 5), "seed": 3, **request_changes}
    with pytest.raises(ContractError, match=message):
        sampler.sample([*asks(sampler)[:2], SampleRequest(**bad)])


def test_the_longest_allowed_prompt_and_the_largest_seed_are_served(sampler):
    samples = sampler.sample([SampleRequest("p", (2, *[9] * 36, 5), 2**63 - 1)])[0]
    assert len(samples) == N


def test_revision_is_that_of_the_policy(sampler, policy_dir):
    assert sampler.revision == model_revision(str(policy_dir))


@needs_vllm
def test_a_newer_vllm_engine_closes_the_one_before_and_works(policy_dir):
    first = open_sampler(settings_for("vllm"), str(policy_dir))
    expected = first.sample(asks(first))
    second = open_sampler(settings_for("vllm"), str(policy_dir))
    assert second.sample(asks(second)) == expected
    with pytest.raises(EngineError, match="closed"):
        first.sample(asks(first))
    second.close()


@needs_vllm
def test_vllms_replacement_of_torchs_thread_setting_is_undone(monkeypatch):
    from sweetspot.engines.vllm_sampler import _thread_setting_kept

    original = torch.set_num_threads
    with _thread_setting_kept():
        monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    assert torch.set_num_threads is original


@needs_vllm
def test_the_environment_of_vllm_is_prepared_and_the_users_own_kept(monkeypatch):
    from sweetspot.engines.vllm_sampler import ENVIRONMENT, prepare_environment

    for name in ENVIRONMENT:
        monkeypatch.setenv(name, "own")
    monkeypatch.delenv("VLLM_ENABLE_V1_MULTIPROCESSING")
    prepare_environment()
    assert {name: os.environ[name] for name in ENVIRONMENT} == {
        **dict.fromkeys(ENVIRONMENT, "own"),
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    }


def vllm_answer(*, prompt=PROMPT, sums=(-1.0, -2.0), reason="stop", tokens=(9, 3), shuffle=False):
    from vllm.outputs import CompletionOutput, RequestOutput

    outputs = [
        CompletionOutput(
            index=i, text="", token_ids=list(tokens), cumulative_logprob=total, logprobs=None, finish_reason=reason
        )
        for i, total in enumerate(sums)
    ]
    return RequestOutput("0", None, list(prompt), None, outputs[::-1] if shuffle else outputs, True)


class AnsweringEngine:
    """Stands where vLLM's engine stands and gives prepared answers."""

    def __init__(self, *answers):
        self.answers = answers

    def generate(self, _prompts, _parameters, *, use_tqdm):
        if isinstance(self.answers[0], Exception):
            raise self.answers[0]
        return list(self.answers)


@pytest.fixture
def answered(policy_dir):
    """A vLLM sampler of two samples whose engine gives prepared answers."""
    from sweetspot.engines.template import ChatTemplate
    from sweetspot.engines.vllm_sampler import VllmSampler

    def sample(*answers):
        sampler = object.__new__(VllmSampler)
        sampler.template = ChatTemplate.load(str(policy_dir))
        sampler._sampling, sampler._engine = settings_for("vllm", n=2), AnsweringEngine(*answers)
        return sampler.sample([SampleRequest("p9", PROMPT, 1)])

    return sample


@needs_vllm
def test_vllm_samples_are_put_in_sample_order(answered):
    assert [sample.sum_logprob for sample in answered(vllm_answer(shuffle=True))[0]] == [-1.0, -2.0]


@needs_vllm
@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"sums": (-1.0,)}, "prompt_id=p9: 1 faults, first: 1 samples, expected 2"),
        ({"sums": (-1.0, math.nan)}, "sample 1 has log-probability nan"),
        ({"sums": (None, -1.0)}, "sample 0 has log-probability nan"),
        ({"reason": "abort"}, "ended with 'abort', expected 'stop' or 'length'"),
        ({"tokens": ()}, "sample 0 has no token"),
        ({"prompt": (2, *PROMPT)}, "changed or permuted the prompt of prompt_id=p9"),
    ],
)
def test_a_vllm_answer_with_a_fault_is_an_engine_error(answered, answer, message):
    with pytest.raises(EngineError, match=message):
        answered(vllm_answer(**answer))


@needs_vllm
def test_missing_vllm_answers_and_vllm_failures_are_engine_errors(answered):
    with pytest.raises(EngineError, match="answered 2 of 1 requests"):
        answered(vllm_answer(), vllm_answer())
    with pytest.raises(EngineError, match="vLLM failed on 1 requests: out of memory"):
        answered(RuntimeError("out of memory"))


def test_auto_is_vllm_where_installed_else_transformers(monkeypatch):
    monkeypatch.setattr(samplers, "_installed", lambda package: package == "vllm")
    assert engine_name("auto") == "vllm"
    monkeypatch.setattr(samplers, "_installed", lambda package: package != "vllm")
    assert engine_name("auto") == "transformers"


def test_an_engine_that_is_not_installed_or_unknown_is_refused(monkeypatch):
    monkeypatch.setattr(samplers, "_installed", lambda package: False)
    with pytest.raises(ConfigError, match=r"vllm is not installed here.*set sampling\.engine to auto"):
        engine_name("vllm")
    with pytest.raises(ConfigError, match="got 'llama', expected auto, vllm, transformers"):
        engine_name("llama")


def test_choosing_an_engine_imports_none_of_them():
    import subprocess

    code = "import sys; from sweetspot.engines import samplers; samplers.engine_name('auto'); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"vllm", "torch", "transformers"} & set(loaded)


def test_every_engine_of_the_configuration_has_a_sampler():
    choices = Sampling.model_fields["engine"].annotation.__args__
    assert set(choices) == {"auto", *SAMPLERS}
