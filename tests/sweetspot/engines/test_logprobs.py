import math
import shutil

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma2Config, Gemma2ForCausalLM

from sweetspot.engines import logprobs
from sweetspot.engines.logprobs import TransformersLogprobs
from sweetspot.engines.revision import model_revision
from sweetspot.errors import ConfigError, ContractError, EngineError

VOCABULARY = 43


@pytest.fixture(scope="module")
def scorer(policy_dir):
    return TransformersLogprobs(str(policy_dir), batch_tokens=64)


@pytest.fixture(scope="module")
def rows():
    generator = np.random.default_rng(0)
    lengths = [(1, 1), (12, 3), (3, 20), (7, 0), (5, 9), (30, 30), (2, 2), (5, 9)]
    draw = lambda size: generator.integers(0, VOCABULARY, size).tolist()  # noqa: E731
    return [draw(p) for p, _ in lengths], [draw(r) for _, r in lengths]


@pytest.fixture(scope="module")
def oracle(policy_dir, rows):
    """One row at a time, one token at a time, full softmax in float64 from float32 logits."""
    model = AutoModelForCausalLM.from_pretrained(policy_dir, dtype=torch.float32)
    sums = []
    for prompt, response in zip(*rows, strict=True):
        total, seen = 0.0, list(prompt)
        for token in response:
            with torch.no_grad():
                logits = model(torch.tensor([seen])).logits[0, -1].double()
            total += float(logits[token]) - math.log(sum(math.exp(x) for x in logits.tolist()))
            seen.append(token)
        sums.append(total)
    return np.array(sums)


def test_sums_equal_a_naive_full_softmax(scorer, rows, oracle):
    got = scorer.score(*rows)
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, oracle, atol=1e-4)


def test_an_empty_response_has_log_probability_zero(scorer):
    assert scorer.score([[5, 6]], [[]]).tolist() == [0.0]


def test_no_rows_give_no_sums(scorer):
    assert scorer.score([], []).shape == (0,)


@pytest.mark.parametrize("batch_tokens", [1, 100, 10_000])
def test_the_token_budget_does_not_change_the_sums(policy_dir, rows, oracle, batch_tokens):
    scorer = TransformersLogprobs(str(policy_dir), batch_tokens=batch_tokens)
    np.testing.assert_allclose(scorer.score(*rows), oracle, atol=1e-4)


def test_rows_keep_their_order_when_permuted(scorer, rows):
    order = [6, 2, 0, 7, 5, 1, 3, 4]
    permuted = scorer.score(*[[part[row] for row in order] for part in rows])
    np.testing.assert_allclose(permuted, scorer.score(*rows)[order], atol=1e-4)


def test_logits_of_a_whole_batch_never_exist_at_once(policy_dir, rows, oracle, monkeypatch):
    scorer = TransformersLogprobs(str(policy_dir), batch_tokens=10_000)
    monkeypatch.setattr(logprobs, "CHUNK_LOGITS", 4 * VOCABULARY)
    heights = []
    hook = scorer._model.lm_head.register_forward_hook(lambda _m, _i, output: heights.append(output.shape[:-1].numel()))
    np.testing.assert_allclose(scorer.score(*rows), oracle, atol=1e-4)
    hook.remove()
    assert max(heights) == 4
    assert sum(heights) == sum(len(response) for response in rows[1])


def test_probabilities_of_all_continuations_sum_to_one(scorer):
    prompts, responses = [[2, 4, 9]] * VOCABULARY, [[token] for token in range(VOCABULARY)]
    assert np.exp(scorer.score(prompts, responses)).sum() == pytest.approx(1.0, abs=1e-5)


def test_a_row_longer_than_the_models_positions_is_nan_and_leaves_the_others(scorer, rows, oracle):
    got = scorer.score([[5] * 60, *rows[0]], [[6] * 5, *rows[1]])
    assert math.isnan(got[0])
    np.testing.assert_allclose(got[1:], oracle, atol=1e-4)


def test_states_are_those_that_predict_the_response_and_the_sums_are_unchanged(scorer, policy_dir, rows):
    """One unpadded row at a time, from transformers' own hidden states: last prompt token to second-last token."""
    model = AutoModelForCausalLM.from_pretrained(policy_dir, dtype=torch.float32)
    found = scorer.score_with_states(*rows)
    np.testing.assert_array_equal(found.logps, scorer.score(*rows))
    for row, (prompt, response) in enumerate(zip(*rows, strict=True)):
        with torch.no_grad():
            last = model(torch.tensor([[*prompt, *response]]), output_hidden_states=True).hidden_states[-1][0].double()
        expected = last[len(prompt) - 1 : len(prompt) + len(response) - 1].sum(dim=0).numpy()
        np.testing.assert_allclose(found.hidden_sums[row], expected, atol=1e-4)


def test_states_of_a_row_too_long_for_the_model_are_nan(scorer):
    found = scorer.score_with_states([[5] * 60, [5]], [[6] * 5, [6]])
    assert np.isnan(found.hidden_sums).all(axis=1).tolist() == [True, False]


def test_revision_and_template_are_those_of_the_model(scorer, policy_dir):
    assert scorer.revision == model_revision(str(policy_dir))
    assert scorer.template.prompt_ids([{"role": "user", "content": "a"}])[0] == 2


@pytest.mark.parametrize(
    ("prompts", "responses", "message"),
    [
        ([[1]], [[1], [2]], "got 2 rows, expected 1"),
        ([[1], [], []], [[1], [1], [1]], r"2 of 3 rows are empty \(first row 1\)"),
        ([[1], [1]], [[1], [VOCABULARY]], r"1 of 2 rows have a token id outside \[0, 43\) \(first row 1\)"),
        ([[-1]], [[1]], "token id outside"),
    ],
)
def test_rows_that_cannot_be_scored_are_refused(scorer, prompts, responses, message):
    with pytest.raises(ContractError, match=message):
        scorer.score(prompts, responses)


def test_a_model_that_changes_logits_after_the_head_is_refused(tmp_path, policy_dir):
    shutil.copytree(policy_dir, tmp_path / "capped")
    config = Gemma2Config(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        final_logit_softcapping=0.5,
        initializer_range=0.5,
    )
    Gemma2ForCausalLM(config).save_pretrained(tmp_path / "capped")
    with pytest.raises(EngineError, match="changes its logits after the output layer"):
        TransformersLogprobs(str(tmp_path / "capped"))


def test_a_model_without_language_head_is_refused(reward_dir):
    with pytest.raises(ConfigError, match=r"weights of LlamaForCausalLM are missing, first lm_head\.weight"):
        TransformersLogprobs(str(reward_dir))
