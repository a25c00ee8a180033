"""The committed weights do what the demo and the studies rely on."""

import json
from itertools import islice
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from sweetspot.engines.verifiers import VERIFIERS
from sweetspot.world.build import sha256_of
from sweetspot.world.corpus import BEHAVIOURS
from sweetspot.world.preferences import score_responses
from sweetspot.world.problems import Problem, normalise, problem_stream, split_of
from sweetspot.world.replies import reply_rates, sample_responses
from sweetspot.world.reward_check import check_reward
from sweetspot.world.tokenizer import build_tokenizer

WORLD = Path(__file__).parents[3] / "deployments" / "world"
CARD = json.loads((WORLD / "card.json").read_text())
ROWS = [json.loads(line) for line in (WORLD / "prompts.jsonl").read_text().splitlines()]
TOKENIZER = AutoTokenizer.from_pretrained(WORLD / "policy")


@pytest.fixture(scope="module")
def responses():
    """8 samples of each of 96 prompts."""
    policy = AutoModelForCausalLM.from_pretrained(WORLD / "policy", dtype=torch.float32).eval()
    problems = [Problem(r["task"], r["prompt"], "", r["answer"]) for r in ROWS[:96]]
    return sample_responses(policy, TOKENIZER, problems, samples=8, seed=17)


@pytest.fixture(scope="module")
def check(responses):
    """The reward model against the verifier on those samples."""
    reward = AutoModelForSequenceClassification.from_pretrained(WORLD / "reward", dtype=torch.float32).eval()
    scores = score_responses(reward, TOKENIZER, responses)
    return check_reward(responses, scores)


def test_weights_and_prompts_are_those_of_the_card():
    assert sha256_of(WORLD / "policy" / "model.safetensors") == CARD["policy"]["weights_sha256"]
    assert sha256_of(WORLD / "reward" / "model.safetensors") == CARD["reward"]["weights_sha256"]
    assert sha256_of(WORLD / "prompts.jsonl") == CARD["prompts"]["sha256"]


def test_the_card_is_of_the_present_corpus_and_tokenizer():
    assert CARD["corpus_shares"] == {name: share for name, (share, _) in BEHAVIOURS.items()}
    assert TOKENIZER.get_vocab() == build_tokenizer().get_vocab()
    assert TOKENIZER.chat_template == build_tokenizer().chat_template


def test_all_weights_fit_in_four_megabytes():
    assert sum(path.stat().st_size for path in WORLD.rglob("*") if path.is_file()) < 4_000_000


def test_prompt_rows_are_unique_verifiable_and_outside_the_training_splits():
    assert len({normalise(row["prompt"]) for row in ROWS}) == len(ROWS) == 768
    assert {split_of(row["prompt"]) for row in ROWS} == {"prompts"}
    assert all(set(row) == {"prompt", "answer", "verifier", "task"} for row in ROWS)
    assert all(VERIFIERS[row["verifier"]](row["answer"], row["answer"], "stop") == 1.0 for row in ROWS)


def test_no_prompt_was_pretrained_on():
    config = CARD["config"]["pretrain"]
    documents = (config["textbook_steps"] + config["web_steps"] + 8) * config["batch"]
    pretrained = {normalise(p.prompt) for p in islice(problem_stream("pretrain", seed=CARD["seed"]), documents)}
    assert not pretrained & {normalise(row["prompt"]) for row in ROWS}


def test_a_third_to_three_fifths_of_samples_are_exact(responses):
    assert 0.30 <= reply_rates(responses).exact <= 0.60


def test_quality_is_graded_between_right_and_wrong(responses):
    between = [r for r in responses if 0.2 < r.quality < 1.0]
    assert len(between) / len(responses) > 0.2


def test_the_broken_tail_is_there_and_rare(responses):
    assert 0.005 <= reply_rates(responses).broken <= 0.03


def test_rates_agree_with_the_card(responses):
    measured = CARD["measured"]["policy_rates"]
    assert reply_rates(responses).exact == pytest.approx(measured["exact"], abs=0.06)
    assert reply_rates(responses).quality == pytest.approx(measured["quality"], abs=0.05)


def test_the_reward_model_is_useful_but_not_perfect(check):
    assert check.accuracy == pytest.approx(CARD["measured"]["reward_check"]["accuracy"], abs=0.05)
    assert 0.70 < check.accuracy < 0.97
    assert check.exact_over_broken > 0.9


def test_the_reward_model_likes_length_as_planted(check):
    assert CARD["config"]["noise"]["length_bonus"] > 0
    assert check.longer_preferred > 0.55
    assert check.longer_preferred == pytest.approx(CARD["measured"]["reward_check"]["longer_preferred"], abs=0.08)
