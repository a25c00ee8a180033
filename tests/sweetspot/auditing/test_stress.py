"""Damage planted into made-up tables whose quality is known, so what must be noticed is known too."""

import dataclasses

import numpy as np
import pytest

from sweetspot.auditing.scenarios import in_large_slices
from sweetspot.auditing.spoil import (
    hide_scores,
    mirror_scores,
    take_pairs,
    take_prompts,
    take_units,
    turn_pairs,
    turn_votes,
)
from sweetspot.auditing.stress import stress
from sweetspot.auditing.subjects import sampled
from sweetspot.auditing.tables import Labels, Pairs, Scores, Votes
from sweetspot.auditing.topics import Topics, named_topics, prompt_topics


def some_pairs(n=600, *, scored=True, seed=0):
    rng = np.random.default_rng(seed)
    margin = np.abs(rng.normal(2.0, 1.0, n)) * np.where(rng.random(n) < 0.02, -1, 1)
    numbers = {"score_chosen": 5 + margin / 2, "score_rejected": 5 - margin / 2} if scored else {}
    names = [f"w{k}" for k in rng.integers(0, 8, n)]
    return Pairs(
        row=np.arange(n),
        row_id=np.array([f"row {k}" for k in range(n)], dtype=object),
        keys=rng.integers(0, 2**63, (n, 3, 2), dtype=np.uint64),
        chars=rng.integers(20, 900, (n, 3)).astype(np.int32),
        flaws=rng.integers(0, 4, (n, 2)).astype(np.uint8),
        style=rng.integers(0, 5, (n, 2, 5)).astype(np.uint16),
        tie=np.zeros(n, dtype=bool),
        numbers=numbers,
        labels={
            "annotator": Labels.of(names),
            "chosen_model": Labels.of(["a"] * n),
            "rejected_model": Labels.of([None if k % 2 else "b" for k in range(n)]),
        },
    )


def some_votes(*, units=150, raters=9, right=0.85, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, units)
    unit, rater = (column.ravel() for column in np.meshgrid(np.arange(units), np.arange(raters), indexing="ij"))
    code = np.where(rng.random(unit.size) < right, truth[unit], 1 - truth[unit])
    return Votes(
        unit=unit,
        rater=rater,
        code=code,
        position=np.full(unit.size, -1),
        count=np.ones(unit.size, dtype=np.int64),
        units=tuple(f"u{k}" for k in range(units)),
        raters=tuple(f"w{k}" for k in range(raters)),
        classes=("first", "second"),
        paired=True,
        gold=truth,
    )


def some_scores(*, prompts=40, per_prompt=5, raters=5, seed=0):
    rng = np.random.default_rng(seed)
    n = prompts * per_prompt
    quality = rng.normal(size=n)
    return Scores(
        row=np.arange(n),
        row_id=np.array([f"row {k}" for k in range(n)], dtype=object),
        prompt=np.repeat(np.arange(prompts), per_prompt),
        keys=np.zeros((n, 2, 2), dtype=np.uint64),
        chars=np.ones(n, dtype=np.int32),
        flaws=np.zeros(n, dtype=np.uint8),
        style=np.zeros((n, 5), dtype=np.uint16),
        raters=tuple(f"r{k}" for k in range(raters)),
        score=quality[:, None] + 0.1 * rng.normal(size=(n, raters)),
        when=np.zeros((n, raters), dtype=np.int64),
    )


def named(findings):
    return {finding.check: finding for finding in findings}


def test_turning_a_pair_twice_gives_it_back_and_never_touches_the_original():
    pairs = some_pairs(50)
    before = [pairs.keys.copy(), pairs.chars.copy(), pairs.numbers["score_chosen"].copy()]
    turned = np.arange(50) % 3 == 0
    once = turn_pairs(pairs, turned)
    assert np.array_equal(once.keys[0], pairs.keys[0][[0, 2, 1]])
    assert once.chars[0].tolist() == pairs.chars[0][[0, 2, 1]].tolist()
    assert once.flaws[0].tolist() == pairs.flaws[0][::-1].tolist()
    assert np.array_equal(once.style[0], pairs.style[0][::-1])
    assert once.numbers["score_chosen"][0] == pairs.numbers["score_rejected"][0]
    assert once.margin()[turned] == pytest.approx(-pairs.margin()[turned])
    models = [[column.names[c] if c >= 0 else None for c in column.codes[:4]] for column in once.labels.values()]
    assert models[1:] == [["b", "a", "a", None], ["a", None, "b", "a"]]
    assert np.array_equal(once.keys[~turned], pairs.keys[~turned])
    twice = turn_pairs(once, turned)
    assert np.array_equal(twice.keys, pairs.keys)
    assert np.array_equal(twice.margin(), pairs.margin())
    after = [pairs.keys, pairs.chars, pairs.numbers["score_chosen"]]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def test_rows_units_and_prompts_are_taken_whole():
    assert take_pairs(some_pairs(20), np.array([3, 3, 7])).row.tolist() == [3, 3, 7]
    votes = take_units(some_votes(units=10), np.array([2, 5]))
    assert votes.units == ("u2", "u5")
    assert np.bincount(votes.unit).tolist() == [9, 9]
    assert votes.gold.tolist() == some_votes(units=10).gold[[2, 5]].tolist()
    scores = take_prompts(some_scores(prompts=4), np.array([1, 3]))
    assert scores.row.tolist() == [*range(5, 10), *range(15, 20)]
    assert scores.prompt.tolist() == [0] * 5 + [1] * 5


def test_turned_votes_go_to_another_class_and_ties_stay():
    votes = dataclasses.replace(some_votes(units=3), classes=("first", "second", "tie"))
    votes = dataclasses.replace(votes, code=np.arange(27) % 3)
    assert turn_votes(votes, np.ones(27, bool)).code[:3].tolist() == [1, 0, 2]
    classes = dataclasses.replace(votes, paired=False)
    assert np.all(turn_votes(classes, np.ones(27, bool)).code != classes.code)
    assert np.array_equal(turn_votes(classes, np.zeros(27, bool)).code, classes.code)


def test_mirrored_scores_turn_the_order_and_keep_the_scale():
    scores = some_scores()
    turned = mirror_scores(scores, np.ones_like(scores.score, dtype=bool))
    assert np.argsort(turned.score[:, 0]).tolist() == np.argsort(-scores.score[:, 0]).tolist()
    assert np.median(turned.score, axis=0) == pytest.approx(np.median(scores.score, axis=0))
    assert np.isnan(hide_scores(scores, np.eye(200, 5, dtype=bool)).score).sum() == 5


def test_labels_that_go_against_their_scores_are_noticed():
    flips = named(stress(some_pairs()))["stress_flips"]
    assert flips.figures["uniform_10_recall"] > 0.7
    assert flips.figures["uniform_10_random_removal_recall"] < 0.25
    assert flips.figures["uniform_10_error_rate_cleaned"] < 0.5 * flips.figures["uniform_10_error_rate_untouched"]
    assert flips.figures["uniform_10_error_rate_untouched"] == pytest.approx(0.1, abs=0.001)
    assert flips.figures["uniform_10_error_rate_random_removal"] == pytest.approx(0.1, abs=0.02)
    assert flips.figures["one_annotator_noticed_in_seeds"] == "3 of 3"
    assert flips.figures["longer_wins_noticed_in_seeds"] == "3 of 3"


def test_where_nothing_could_show_an_error_the_page_says_so():
    found = named(stress(some_pairs(scored=False)))
    flips = found["stress_flips"]
    assert flips.level == "look"
    assert flips.figures["uniform_30_recall"] == 0
    assert flips.figures["uniform_30_noticed_in_seeds"] == "0 of 3"
    assert flips.says.startswith("No: if one in ten labels were turned round, none would be flagged")
    assert "5\u00a0%, 10\u00a0%, 20\u00a0%, 30\u00a0% anywhere; " in flips.says
    assert "nothing in this data would give it away" in found["stress_random_labels"].says
    assert flips.figures["longer_wins_noticed_in_seeds"] == "3 of 3"


def test_copies_with_the_other_label_are_all_reported():
    assert named(stress(some_pairs(scored=False)))["stress_contradictions"].figures == {"planted": 18, "recall": 1.0}


def test_a_crowd_that_agrees_notices_wrong_votes_and_survives_losses():
    found = named(stress(some_votes(), seeds=1))
    flips = found["stress_flips"]
    # A turned vote that was wrong is right now: 15 % of them cannot be caught.
    assert 0.6 < flips.figures["uniform_20_recall"] < 0.85
    assert flips.figures["uniform_20_precision"] > 2 * 0.2
    assert flips.figures["one_annotator_noticed_in_seeds"] == "1 of 1"

    assert found["stress_missing"].figures["lost_at_random_50_same_decision_rate"] > 0.9
    control = found["stress_random_labels"]
    assert control.level == "ok"
    assert abs(control.figures["agreement_random_labels"]) < 0.05 < control.figures["agreement_before"]
    assert "stress_contradictions" not in found


def test_scores_of_five_raters_show_mirrored_ones():
    found = named(stress(some_scores(), seeds=1))
    flips = found["stress_flips"]
    assert flips.figures["uniform_5_recall"] > 0.6
    assert flips.figures["uniform_10_error_rate_cleaned"] < flips.figures["uniform_10_error_rate_untouched"]
    assert found["stress_missing"].figures["lost_at_random_30_same_decision_rate"] > 0.9


def test_what_cannot_be_planted_is_named():
    bare = dataclasses.replace(some_pairs(), labels={})
    flips = named(stress(bare, seeds=1))["stress_flips"]
    assert [
        note for note in flips.warnings if note.startswith("not_planted: one annotator, all: no annotator is known")
    ]
    assert "one_annotator_recall" not in flips.figures
    assert "one_topic_recall" not in flips.figures


def test_a_few_rows_are_not_spoilt():
    (finding,) = stress(some_pairs(60))
    assert finding.level == "not_checked"
    assert "60 rows are too few" in finding.says


def test_the_same_data_give_the_same_answer():
    assert stress(some_pairs(150), seeds=1) == stress(some_pairs(150), seeds=1)


# --- one topic


TOPICS = ("cooking", "law", "verse", "code", "sport", "maths")


def about(n, of=TOPICS):
    return [of[k % len(of)] for k in range(n)]


def test_a_topic_whose_labels_were_turned_raises_an_alarm_and_its_origin_is_said():
    pairs = some_pairs()
    named_by_column = dataclasses.replace(pairs, labels={**pairs.labels, "provenance": Labels.of(about(600))})
    flips = named(stress(named_by_column, seeds=2))["stress_flips"]
    assert flips.figures["one_topic_planted"] == 2 * 100
    assert flips.figures["one_topic_recall"] > 0.7
    assert flips.figures["one_topic_noticed_in_seeds"] == "2 of 2"
    assert "one topic, all" in flips.charts[0].labels
    assert any(note.startswith("topics: the values of the column") for note in flips.warnings)


def test_scores_have_the_topics_they_are_given():
    scores = some_scores()
    topics = Topics(Labels(scores.prompt % 4, ("a", "b", "c", "d")), "made up")
    flips = named(stress(scores, seeds=1, topics=topics))["stress_flips"]
    assert flips.figures["one_topic_planted"] == 10 * 5 * 5  # prompts, responses, raters
    assert "topics: made up" in flips.warnings


def test_a_topic_that_is_wrong_in_the_data_as_it_is_comes_first():
    pairs, wrong = some_pairs(), np.arange(600) % 6 == 1
    spoilt = turn_pairs(pairs, wrong & (np.arange(600) % 4 > 0))
    spoilt = dataclasses.replace(spoilt, labels={"provenance": Labels.of(about(600))})
    chart = named(stress(spoilt, seeds=1))["stress_flips"].charts[2]
    assert chart.labels[0] == "law"
    assert chart.values[0] > 3 * chart.values[1]


def test_prompts_become_topics_named_by_their_words():
    words = {"cooking": "soup onion pan boil", "law": "court judge appeal verdict", "verse": "rhyme stanza poem ode"}
    prompts = [f"{words[name]} number {k}" for k, name in enumerate(about(90, TOPICS[:3]))]
    found = prompt_topics(prompts, np.array([-1, *range(90), 0, 1]))
    assert found.labels.codes[0] == -1
    assert found.labels.codes[1:3].tolist() == found.labels.codes[-2:].tolist()
    for start in range(3):  # no cluster mixes two topics
        mine, others = found.labels.codes[1 + start : 91 : 3], found.labels.codes[2 + start : 91 : 3]
        assert not set(mine) & set(others)
    assert any(word in " ".join(found.labels.names) for word in ("soup", "onion", "pan", "boil"))
    assert "clusters of the 90 prompts" in found.origin
    assert prompt_topics(prompts[:19], np.arange(19)) is None


def test_a_column_that_does_not_divide_the_data_names_no_topics():
    pairs = some_pairs()
    for names in (["all"] * 600, [str(k) for k in range(600)], about(600, ("most",) * 59 + ("few",))):
        assert named_topics(dataclasses.replace(pairs, labels={"provenance": Labels.of(names)})) is None
    assert named_topics(pairs) is None
    assert named_topics(some_scores()) is None
    votes = dataclasses.replace(some_votes(), group=np.arange(150) % 5)
    assert named_topics(votes).labels.codes.tolist() == votes.group.tolist()
    assert named_topics(dataclasses.replace(votes, group=np.zeros(150, dtype=np.int64))) is None


def test_only_slices_that_can_be_seen_and_are_not_most_of_the_data_are_spoilt():
    codes = np.repeat([0, 1, 2, -1], [19, 20, 60, 21])
    assert np.unique(in_large_slices(codes)).tolist() == [-1, 1, 2]
    assert np.unique(in_large_slices(codes[: 19 + 20 + 60])).tolist() == [-1, 1]


def test_a_sample_of_scores_takes_prompts_whole_and_small_tables_are_taken_as_they_are():
    assert sampled(some_pairs(30)).tolist() == list(range(30))
    scores = some_scores(prompts=2000)
    rows = sampled(scores)
    assert rows.size == 6000
    assert (np.bincount(scores.prompt[rows])[np.unique(scores.prompt[rows])] == 5).all()
