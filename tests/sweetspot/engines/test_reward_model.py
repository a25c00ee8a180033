import math

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from sweetspot.config import RewardModel
from sweetspot.engines.protocols import RatedResponse
from sweetspot.engines.revision import model_revision
from sweetspot.engines.reward_model import RewardModelRater
from sweetspot.errors import ConfigError, EngineError

TEXTS = ["a", "abcdefgh 12", "", "zz top", "0123456789 0123456789 0123", "abc", "cba", "a"]


def rated(text, question="sort abc"):
    return RatedResponse([{"role": "user", "content": question}], text, None, "stop")


ITEMS = [rated(text) for text in TEXTS]


def open_rater(directory, **changes):
    return RewardModelRater(RewardModel(model=str(directory), **{"batch_tokens": 100, **changes}))


@pytest.fixture(scope="module")
def rater(reward_dir):
    return open_rater(reward_dir)


@pytest.fixture
def broken(reward_dir):
    """A rater whose weights are NaN."""
    rater = open_rater(reward_dir)
    with torch.no_grad():
        rater._model.score.weight.fill_(math.nan)
    return rater


@pytest.fixture(scope="module")
def oracle(reward_dir, tokenizer):
    """Each conversation alone, without padding or mask, read at its last token."""
    model = AutoModelForSequenceClassification.from_pretrained(reward_dir, dtype=torch.float32)
    scores = []
    for text in TEXTS:
        rendered = f"<s><|user|>sort abc<|assistant|>{text}</s>"
        ids = tokenizer(rendered, add_special_tokens=False, return_tensors="pt").input_ids
        with torch.no_grad():
            hidden = model.model(ids).last_hidden_state
            scores.append(float(model.score(hidden[:, -1])[0, 0]))
    return scores


def test_scores_equal_those_of_each_conversation_alone(rater, oracle):
    assert rater.score(ITEMS) == pytest.approx(oracle, abs=1e-4)


@pytest.mark.parametrize("batch_tokens", [64, 10_000])
def test_the_token_budget_does_not_change_scores(reward_dir, oracle, batch_tokens):
    assert open_rater(reward_dir, batch_tokens=batch_tokens).score(ITEMS) == pytest.approx(oracle, abs=1e-4)


def test_scores_keep_the_order_of_items(rater):
    order = [4, 0, 7, 2, 6, 1, 5, 3]
    scores = rater.score(ITEMS)
    assert len(set(scores)) == len(set(TEXTS))
    permuted = rater.score([ITEMS[index] for index in order])
    assert permuted == pytest.approx([scores[index] for index in order], abs=1e-4)


def test_padded_tokens_of_a_batch_stay_within_the_budget(rater):
    shapes = []
    hook = rater._model.model.register_forward_pre_hook(
        lambda _m, _a, named: shapes.append(named["attention_mask"].shape), with_kwargs=True
    )
    rater.score(ITEMS)
    hook.remove()
    assert sum(rows for rows, _ in shapes) == len(ITEMS)
    assert all(rows == 1 or rows * width <= 100 for rows, width in shapes)


def test_the_prompt_is_read_too(rater):
    assert rater.score([rated("abc", "sort abc")]) != rater.score([rated("abc", "reverse abc")])


def test_no_items_give_no_scores(rater):
    assert rater.score([]) == []


def test_a_conversation_longer_than_the_models_positions_is_nan_and_leaves_the_others(rater, oracle):
    scores = rater.score([rated("a" * 60), *ITEMS])
    assert math.isnan(scores[0])
    assert scores[1:] == pytest.approx(oracle, abs=1e-4)


def test_broken_weights_give_nan_for_the_caller_to_see(broken):
    assert all(math.isnan(score) for score in broken.score(ITEMS))


def test_name_and_revision_are_the_settings_name_and_the_models_hash(reward_dir, rater):
    assert open_rater(reward_dir, name="judge-7").name == "judge-7"
    assert rater.revision == model_revision(str(reward_dir))


def test_batch_invariance_holds_and_reports_the_difference(rater):
    assert 0 <= rater.check_batch_invariance(ITEMS) <= 1e-4


def test_batch_invariance_fails_when_padding_is_read_as_text(reward_dir, tokenizer):
    rater = open_rater(reward_dir)
    rater._pad_id = tokenizer.convert_tokens_to_ids("a")
    with pytest.raises(EngineError, match=r"alone and .* in a batch, limit 0\.001.*pad_token_id"):
        rater.check_batch_invariance(ITEMS)


def test_batch_invariance_fails_on_scores_that_are_not_finite(broken):
    with pytest.raises(EngineError, match="scores nan alone"):
        broken.check_batch_invariance(ITEMS)


def test_batch_invariance_is_measured_against_the_given_tolerance(rater):
    with pytest.raises(EngineError, match="limit -1"):
        rater.check_batch_invariance(ITEMS, tolerance=-1)


def test_the_tokenizers_padding_token_stands_in_for_a_missing_one(tmp_path, save_reward, oracle):
    rater = open_rater(save_reward(tmp_path, pad_token_id=None))
    assert rater.score(ITEMS) == pytest.approx(oracle, abs=1e-4)


def test_a_model_without_any_padding_token_is_refused(tmp_path, save_reward):
    import json

    save_reward(tmp_path, pad_token_id=None)
    file = tmp_path / "tokenizer_config.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps({name: value for name, value in content.items() if name != "pad_token"}))
    with pytest.raises(ConfigError, match="padding token"):
        open_rater(tmp_path)


def test_a_model_with_two_outputs_is_refused(tmp_path, save_reward):
    with pytest.raises(ConfigError, match="has 2 outputs, expected 1"):
        open_rater(save_reward(tmp_path, num_labels=2))


def test_a_language_model_is_not_taken_for_a_reward_model(policy_dir):
    with pytest.raises(ConfigError, match=r"first score\.weight; this is not a model of that kind"):
        open_rater(policy_dir)
