import json
import math
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers.utils import logging as transformers_logging

from sweetspot.config import Sampling
from sweetspot.engines.protocols import SampleRequest
from sweetspot.engines.transformers_sampler import TransformersSampler, inverse_cdf, token_probabilities
from sweetspot.errors import EngineError

ROWS = st.lists(st.floats(-8, 8), min_size=2, max_size=12)


@settings(max_examples=50, deadline=None)
@given(ROWS, st.floats(0.05, 5))
def test_without_nucleus_probabilities_are_the_tempered_softmax(logits, temperature):
    weights = [math.exp((x - max(logits)) / temperature) for x in logits]
    got = token_probabilities(torch.tensor([logits]), temperature=temperature, top_p=1.0)
    np.testing.assert_allclose(got[0].numpy(), np.array(weights) / sum(weights), rtol=1e-4, atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.permutations([0.5, 0.2, 0.15, 0.1, 0.05]), st.floats(0.01, 0.99))
def test_nucleus_is_the_smallest_set_of_likeliest_tokens_that_reaches_top_p(probabilities, top_p):
    kept, mass = set(), 0.0
    for token in sorted(range(5), key=lambda t: -probabilities[t]):
        if mass < top_p - 1e-9:
            kept.add(token)
            mass += probabilities[token]
    got = token_probabilities(torch.tensor([probabilities]).log(), temperature=1.0, top_p=top_p)[0]
    expected = [probabilities[t] / mass if t in kept else 0.0 for t in range(5)]
    if min(abs(top_p - total) for total in (0.5, 0.7, 0.85, 0.95)) > 1e-6:
        np.testing.assert_allclose(got.numpy(), expected, atol=1e-6)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.1, 0.7, 1.0]), min_size=1, max_size=8), st.floats(0, 1, exclude_max=True))
def test_inverse_cdf_is_the_first_token_whose_cumulative_mass_exceeds_u(weights, u):
    weights = [*weights, 0.3, 0.0]
    total, drawn = 0.0, None
    for token, weight in enumerate(weights):
        total += weight
        if drawn is None and total > u * sum(weights):
            drawn = token
    got = int(inverse_cdf(torch.tensor([weights], dtype=torch.float64), torch.tensor([u], dtype=torch.float64))[0])
    assert weights[got] > 0
    assert got == drawn or abs(sum(weights[: min(got, drawn or 0) + 1]) - u * sum(weights)) < 1e-9


def test_inverse_cdf_never_draws_a_token_of_probability_zero_at_the_ends():
    rows = torch.tensor([[0.0, 0.25, 0.75, 0.0]] * 2, dtype=torch.float64)
    largest = 1 - 2**-53
    assert inverse_cdf(rows, torch.tensor([0.0, largest], dtype=torch.float64)).tolist() == [1, 2]


def small(**changes):
    return Sampling(**{"n": 4, "max_tokens": 12, "max_model_tokens": 40, "engine": "transformers", **changes})


def test_weights_that_are_nan_are_an_engine_error_with_the_prompts_id(tmp_path, policy_dir):
    directory = shutil.copytree(policy_dir, tmp_path / "nan")
    weights = load_file(directory / "model.safetensors")
    weights["lm_head.weight"].fill_(math.nan)
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    sampler = TransformersSampler(small(), str(directory))
    with pytest.raises(EngineError, match=r"prompt_id=p7: 4 faults, first: sample 0 has log-probability nan"):
        sampler.sample([SampleRequest("p7", (2, 4, 9, 5), 1)])


def test_loading_prints_nothing(policy_dir, capfd):
    verbosity = transformers_logging.get_verbosity()
    TransformersSampler(small(), str(policy_dir))
    assert capfd.readouterr() == ("", "")
    assert transformers_logging.get_verbosity() == verbosity


def test_a_further_ending_token_of_the_generation_configuration_stops_too(tmp_path, policy_dir):
    directory = shutil.copytree(policy_dir, tmp_path / "two_endings")
    (directory / "generation_config.json").write_text(json.dumps({"eos_token_id": [3, 20, 21, 22, 23, 24, 25]}))
    sampler = TransformersSampler(small(n=32), str(directory))
    samples = sampler.sample([SampleRequest("p", (2, 4, 9, 5), 1)])[0]
    endings = {sample.token_ids[-1] for sample in samples if sample.finish_reason == "stop"}
    assert len(endings) > 1
    assert not any(token in sampler._stops for sample in samples for token in sample.token_ids[:-1])


def test_sample_i_does_not_depend_on_when_its_siblings_end(policy_dir):
    sampler = TransformersSampler(small(n=16), str(policy_dir))
    request = SampleRequest("p", (2, 4, 9, 5), 5)
    ended = sampler.sample([request])[0]
    sampler._stops = torch.tensor([], dtype=torch.int64)
    endless = sampler.sample([request])[0]
    assert len({len(sample.token_ids) for sample in ended}) > 2
    assert [s.token_ids for s in ended] == [
        e.token_ids[: len(s.token_ids)] for s, e in zip(ended, endless, strict=True)
    ]
