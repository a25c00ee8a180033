import math
import random

import pytest
import torch

from sweetspot.world.preferences import (
    LabelledPair,
    LabelNoise,
    RewardConfig,
    bradley_terry_loss,
    conversation_ids,
    label_pair,
    labelled_pairs,
    reward_from_policy,
    score_responses,
    train_reward,
    utility,
)
from sweetspot.world.pretrain import PretrainConfig, pretrain_policy
from sweetspot.world.problems import Problem, unique_problems
from sweetspot.world.replies import Response
from sweetspot.world.reward_check import check_reward
from sweetspot.world.tokenizer import BOS_ID, EOS_ID, build_tokenizer

TOKENIZER = build_tokenizer()
POLICY = pretrain_policy(TOKENIZER, PretrainConfig(1, 1, batch=2, layers=2), seed=0)
SORT = Problem("sort", "sort 4312", "4312", "1234")
RIGHT, NEAR, WRONG = Response(SORT, "1234", "stop"), Response(SORT, "124", "stop"), Response(SORT, "z", "stop")
EMPTY, ENDLESS = Response(SORT, "", "stop"), Response(SORT, "1 1 1 1", "length")


def test_utility_is_quality_plus_length_and_broken_is_far_below():
    noise = LabelNoise(length_bonus=0.02, broken_utility=-1.0)
    assert utility(RIGHT, noise) == pytest.approx(1.0 + 0.08)
    assert utility(NEAR, noise) == pytest.approx(0.8 * 6 / 7 + 0.06)
    assert utility(EMPTY, noise) == pytest.approx(-1.0)
    assert utility(ENDLESS, noise) == pytest.approx(-1.0 + 0.14)


@pytest.mark.parametrize(("flip_rate", "expected"), [(0.0, 1.0), (0.12, 0.88), (1.0, 0.0)])
def test_the_better_response_is_chosen_except_for_the_planted_flips(flip_rate, expected):
    noise = LabelNoise(flip_rate=flip_rate, length_bonus=0.0, sharpness=50.0)
    rng = random.Random(0)
    wins = sum(label_pair(RIGHT, WRONG, noise=noise, rng=rng).chosen is RIGHT for _ in range(4000))
    assert wins / 4000 == pytest.approx(expected, abs=0.02)


def test_labels_do_not_depend_on_the_order_of_the_two_responses():
    noise = LabelNoise()
    rng = random.Random(0)
    wins = sum(label_pair(WRONG, NEAR, noise=noise, rng=rng).chosen is NEAR for _ in range(4000))
    rng = random.Random(1)
    wins_swapped = sum(label_pair(NEAR, WRONG, noise=noise, rng=rng).chosen is NEAR for _ in range(4000))
    assert wins / 4000 == pytest.approx(wins_swapped / 4000, abs=0.03)


def test_equal_texts_are_never_paired_and_prompts_never_mixed():
    other = Problem("add", "add 10 and 1", "10 and 1", "11")
    responses = [RIGHT, RIGHT, NEAR, Response(other, "11", "stop"), Response(other, "1", "stop")]
    groups = labelled_pairs(responses, noise=LabelNoise(), seed=0)
    assert [len(pairs) for pairs in groups] == [2, 1]
    pairs = [pair for group in groups for pair in group]
    assert all(p.chosen.text != p.rejected.text for p in pairs)
    assert all(p.chosen.problem == p.rejected.problem for p in pairs)


def test_a_conversation_has_one_bos_and_ends_with_eos():
    ids = conversation_ids(RIGHT, TOKENIZER)
    assert (ids[0], ids[-1], ids.count(BOS_ID), ids.count(EOS_ID)) == (BOS_ID, EOS_ID, 1, 1)


def test_the_reward_model_starts_from_the_policys_lower_layers():
    reward = reward_from_policy(POLICY, TOKENIZER, layers=1)
    expected = POLICY.model.layers[0].mlp.up_proj.weight
    assert torch.equal(reward.model.layers[0].mlp.up_proj.weight, expected)
    assert reward.model.layers[0].mlp.up_proj.weight is not expected


def test_training_orders_what_the_labels_order_and_is_reproducible():
    noise = LabelNoise(flip_rate=0.0, sharpness=50.0)
    responses = [
        response
        for problem in unique_problems("reward", count=20, seed=0)
        for response in (Response(problem, problem.answer, "stop"), Response(problem, "####", "stop"))
    ]
    pairs = labelled_pairs(responses, noise=noise, seed=0)
    config = RewardConfig(layers=1, steps=12, batch=5, warmup_steps=2)
    first, again = (train_reward(POLICY, TOKENIZER, pairs, config, seed=3) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    scores = score_responses(first, TOKENIZER, responses)
    assert check_reward(responses, scores).exact_over_broken == 1.0


def test_scores_do_not_depend_on_the_batch():
    reward = reward_from_policy(POLICY, TOKENIZER, layers=1).eval()
    torch.nn.init.normal_(reward.score.weight, generator=torch.Generator().manual_seed(0))
    responses = [RIGHT, NEAR, WRONG, EMPTY, ENDLESS]
    alone = [score_responses(reward, TOKENIZER, [r])[0] for r in responses]
    assert score_responses(reward, TOKENIZER, responses, batch=5) == pytest.approx(alone, abs=1e-4)


def test_the_loss_is_bradley_terrys_over_all_pairs():
    reward = reward_from_policy(POLICY, TOKENIZER, layers=1).eval()
    torch.nn.init.normal_(reward.score.weight, generator=torch.Generator().manual_seed(0))
    pairs = [LabelledPair(RIGHT, NEAR), LabelledPair(WRONG, RIGHT)]
    right, near, wrong = score_responses(reward, TOKENIZER, [RIGHT, NEAR, WRONG])
    by_hand = (math.log1p(math.exp(near - right)) + math.log1p(math.exp(right - wrong))) / 2
    assert bradley_terry_loss(reward, TOKENIZER, pairs).item() == pytest.approx(by_hand, abs=1e-5)


def test_a_check_counts_pairs_by_hand():
    responses, scores = [RIGHT, NEAR, WRONG, EMPTY], [3.0, 1.0, 2.0, 2.5]
    # Gaps of 0.2 or more: right over the other three (3 hits), near over wrong and empty (2 misses).
    check = check_reward(responses, scores)
    assert (check.pairs, check.accuracy, check.exact_over_broken) == (5, 3 / 5, 1.0)


@pytest.mark.parametrize("swap", [False, True])
def test_level_pairs_show_a_liking_for_length(swap):
    long = Response(SORT, "zzzz", "stop")
    responses = [long, WRONG, EMPTY] if swap else [EMPTY, WRONG, long]
    assert check_reward(responses, [float(len(r.text)) for r in responses]).longer_preferred == 1.0
    assert check_reward(responses, [-float(len(r.text)) for r in responses]).longer_preferred == 0.0


def test_only_clear_gaps_count_for_accuracy_and_only_level_ones_for_length():
    ten = Problem("reverse", "reverse jihgfedcba", "jihgfedcba", "abcdefghij")
    close = [Response(ten, "abcdefgh", "stop"), Response(ten, "abcdefghi", "stop")]  # 0.711 and 0.758
    check = check_reward(close, [0.0, 1.0])
    assert (check.pairs, check.longer_preferred) == (0, 1.0)
    apart = [Response(ten, "abcde", "stop"), Response(ten, "abcdefghi", "stop")]  # 0.533 and 0.758
    check = check_reward(apart, [0.0, 1.0])
    assert (check.pairs, check.accuracy, check.longer_preferred) == (1, 1.0, 0.0)
    between = [Response(ten, "abcdef", "stop"), Response(ten, "abcdefghi", "stop")]  # 0.600 and 0.758
    check = check_reward(between, [0.0, 1.0])
    assert (check.pairs, check.longer_preferred) == (0, 0.0)
