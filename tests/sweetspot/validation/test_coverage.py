from itertools import pairwise

import numpy as np
import pytest

from sweetspot.errors import ContractError
from sweetspot.validation._grams import tokens
from sweetspot.validation.coverage import coverage

SUBJECTS = {
    "cooking": ["oven", "flour", "butter", "sugar", "recipe", "bake", "dough", "salt", "onion", "garlic", "soup"],
    "space": ["planet", "orbit", "star", "rocket", "moon", "galaxy", "comet", "telescope", "mars", "venus", "sun"],
    "money": ["loan", "bank", "interest", "rent", "salary", "tax", "budget", "invoice", "stock", "fund", "credit"],
}


def prompts_about(subject, n, *, seed=0, length=9):
    rng = np.random.default_rng(seed)
    return [" ".join(["please tell me", *rng.choice(SUBJECTS[subject], length)]) for _ in range(n)]


def mixed(n=60, seed=0):
    return [text for subject in SUBJECTS for text in prompts_about(subject, n, seed=seed)]


def test_prompts_of_one_subject_share_a_topic_named_by_their_words():
    found = coverage(mixed(), topics=3)
    assert [len(set(found.topic[start : start + 60])) for start in (0, 60, 120)] == [1, 1, 1]
    assert sorted(found.sizes.tolist()) == [60, 60, 60]
    assert found.effective_topics == pytest.approx(3)
    named = {found.topic[start]: set(SUBJECTS[subject]) for subject, start in zip(SUBJECTS, (0, 60, 120), strict=True)}
    assert all(set(found.words[topic].split(", ")) <= words for topic, words in named.items())


def test_topics_are_numbered_by_size():
    found = coverage(prompts_about("space", 30) + prompts_about("money", 200), topics=2)
    assert found.sizes.tolist() == [200, 30]
    assert set(found.topic[30:]) == {0}


def test_prompts_of_the_same_kind_lie_inside_and_others_outside():
    found = coverage(mixed(100), [*prompts_about("space", 200, seed=7), *(["unheard of words entirely"] * 3)])
    assert found.outside[200:].all()
    assert found.outside[:200].mean() < 0.15
    assert found.target_distance[200:] == pytest.approx(1.0)
    in_space = np.bincount(found.topic[100:200]).argmax()
    assert np.mean(found.target_topic[:200] == in_space) > 0.2


@pytest.mark.parametrize("quantile", [0.8, 0.95])
def test_as_many_of_the_same_source_are_outside_as_the_quantile_says(quantile):
    rng = np.random.default_rng(0)
    words = [f"w{chr(97 + k // 20)}{chr(97 + k % 20)}" for k in range(400)]
    texts = [" ".join(rng.choice(words, 12)) for _ in range(1600)]
    found = coverage(texts[:800], texts[800:], quantile=quantile)
    assert found.outside.mean() == pytest.approx(1 - quantile, abs=0.04)
    assert np.mean(found.nearest_distance > found.threshold) == pytest.approx(1 - quantile, abs=0.005)


def test_distances_are_those_of_tf_idf_by_definition():
    texts = [f"alpha beta gamma delta{k} delta{k % 5}" for k in range(25)]
    found = coverage(texts, ["alpha beta", "beta zeta"])
    grams = [[*tokens(text), *map(" ".join, pairwise(tokens(text)))] for text in texts]

    def vector(gram_list):
        df = {gram: sum(gram in one for one in grams) for gram in gram_list}
        weights = {g: (1 + np.log(gram_list.count(g))) * np.log((1 + len(grams)) / (1 + df[g])) for g in set(gram_list)}
        length = np.sqrt(sum(w * w for w in weights.values())) or 1
        return {g: w / length for g, w in weights.items()}

    def cosine(one, other):
        return sum(weight * other.get(gram, 0) for gram, weight in one.items())

    target = vector(["beta", "zeta", "beta zeta"])
    expected = 1 - max(cosine(target, vector(one)) for one in grams)
    assert found.target_distance[1] == pytest.approx(expected, abs=1e-5)


def test_vectors_of_the_caller_decide_when_given():
    rng = np.random.default_rng(1)
    texts = [f"text number {k}" for k in range(40)]
    left, right = rng.normal([5, 0, 0], 0.1, (20, 3)), rng.normal([0, 5, 0], 0.1, (20, 3))
    found = coverage(texts, ["x", "y"], vectors=[*left, *right], target_vectors=[[4, 0, 0], [0, 0, 9]], topics=2)
    assert len(set(found.topic[:20])) == len(set(found.topic[20:])) == 1
    assert found.outside.tolist() == [False, True]
    assert found.words == ("", "")
    assert found.target_topic[0] == found.topic[0]


def test_scripts_without_spaces_have_words_too():
    assert tokens("今日は天気 12,500 Don\u2019t") == ["今日", "日は", "は天", "天気", "0", "0", "don't"]
    assert tokens("half \ud83d pair") == ["half", "pair"]


def test_prompts_without_words_are_counted():
    found = coverage(["?!"] * 3 + mixed(10))
    assert found.warnings == ("no_words: 3 of 33 prompts hold no word",)
    assert coverage(["?!"] * 25).sizes.sum() == 25


def test_rare_topics_are_marked_and_only_they():
    found = coverage([*mixed(150), *["zebra stripes savanna"] * 4], topics=40)
    topic = found.topic[-1]
    assert set(found.words[topic].split(", ")) == {"zebra", "stripes", "savanna"}
    assert found.sizes[topic] == 4
    assert np.array_equal(found.rare, found.sizes < 0.01 * 454)


def test_the_seed_alone_decides():
    one, again = coverage(mixed(), seed=3), coverage(mixed(), seed=3)
    assert np.array_equal(one.topic, again.topic)
    assert one.threshold == again.threshold


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: coverage(["a"] * 19), "got 19, expected at least 20"),
        (lambda: coverage([1] * 20), "entries are not text"),
        (lambda: coverage(mixed(), quantile=1.0), "quantile"),
        (lambda: coverage(mixed(), topics=0), "topics"),
        (lambda: coverage(mixed(), vectors=np.zeros((3, 2))), "lengths differ"),
        (lambda: coverage(mixed(), ["a"], vectors=np.zeros((180, 2))), "target_vectors: missing for 1"),
        (
            lambda: coverage(mixed(), ["a"], vectors=np.zeros((180, 2)), target_vectors=[[1.0]]),
            "target_vectors: 1 dimensions, but vectors have 2",
        ),
    ],
)
def test_bad_arguments_are_named(call, says):
    with pytest.raises(ContractError, match=says):
        call()
