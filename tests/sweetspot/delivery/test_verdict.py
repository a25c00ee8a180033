import dataclasses

import pytest

from sweetspot.delivery._verdict import verdict
from sweetspot.delivery.facts import histogram


def quiet(facts, **manifest):
    """The facts without the one warning they carry."""
    return dataclasses.replace(facts, manifest=dataclasses.replace(facts.manifest, **{"warnings": (), **manifest}))


def test_a_clean_version_is_ready(facts):
    said = verdict(quiet(facts))
    assert (said.level, said.headline, said.points) == ("good", "Ready to train on.", ())


def test_the_paragraph_says_what_the_version_is(facts):
    said = " ".join(verdict(facts).sentences)
    assert "holds 196 preference pairs to train on and 100 held out" in said
    assert "made from s3://night/prompts/2026-11-20.jsonl" in said
    assert "Every row is accounted for in all 7 stages" in said
    assert "Most left at select_pairs: 50\u00a0% of its pairs, mainly for the reason below_keep_fraction." in said
    assert "4.13 rater standard deviations above the rejected one" in said
    assert "correlate at 0.61" in said
    assert "exact answers went from 29\u00a0% to 53\u00a0% on 100 held-out prompts" in said


def test_warnings_make_a_version_one_to_look_at(facts):
    said = verdict(facts)
    assert said.level == "caution"
    assert said.headline == "Usable, with 1 point to look at first."
    assert said.points == ("The run left 1 warning, listed below.",)


def changed_lengths(facts, rate, low, high):
    return dataclasses.replace(
        quiet(facts), lengths=dataclasses.replace(facts.lengths, longer_chosen_rate=rate, low=low, high=high)
    )


@pytest.mark.parametrize(
    ("rate", "low", "high", "point"),
    [
        (0.71, 0.69, 0.73, "The longer response is the chosen one in 71\u00a0% of pairs; a policy may learn length."),
        (0.31, 0.28, 0.34, "The shorter response is the chosen one in 69\u00a0% of pairs; a policy may learn length."),
        (0.71, 0.55, 0.85, None),
        (0.60, 0.59, 0.61, None),
        (0.39, 0.38, 0.40, None),
    ],
)
def test_length_is_a_point_only_when_its_whole_interval_is_outside_the_band(facts, rate, low, high, point):
    assert verdict(changed_lengths(facts, rate, low, high)).points == ((point,) if point else ())


@pytest.mark.parametrize(("correlation", "points"), [(0.2, 0), (0.19, 1), (-0.5, 1)])
def test_raters_that_hardly_agree_are_a_point(facts, correlation, points):
    pair = dataclasses.replace(facts.agreement[0], rank_correlation=correlation)
    said = verdict(dataclasses.replace(quiet(facts), agreement=(pair,)))
    assert len(said.points) == points
    assert all("reward and verifier hardly agree" in point for point in said.points)


@pytest.mark.parametrize(("missing", "points"), [(20, 0), (30, 1)])
def test_a_rater_that_leaves_much_out_is_a_point(facts, missing, points):
    scores = histogram([1.0] * (100 - missing) + [float("nan")] * missing)
    rater = dataclasses.replace(facts.raters[0], scores=scores)
    said = verdict(dataclasses.replace(quiet(facts), raters=(rater,)))
    expected = ["The rater reward gave no score for 30\u00a0% of the responses."]
    assert list(said.points) == expected[:points]


def test_a_rule_that_acted_as_min_is_a_point(facts):
    quality = dataclasses.replace(facts.quality, differs_from_min=0)
    (point,) = verdict(dataclasses.replace(quiet(facts), quality=quality)).points
    assert "mu-2sigma picked the worst response of every prompt" in point
    honest = dataclasses.replace(quality, rejected_position="min")
    assert verdict(dataclasses.replace(quiet(facts), quality=honest)).level == "good"


@pytest.mark.parametrize(
    ("low", "high", "level", "words"),
    [
        (0.01, 0.2, "good", ""),
        (-0.01, 0.2, "caution", "could be chance"),
        (-0.3, -0.01, "bad", "got worse"),
    ],
)
def test_the_interval_of_the_held_out_gain_decides(facts, low, high, level, words):
    exam = dataclasses.replace(facts.held_out, low=low, high=high)
    said = verdict(dataclasses.replace(quiet(facts), held_out=exam))
    assert said.level == level
    assert words in " ".join(said.points)


def test_a_refused_policy_is_a_point(facts):
    exam = dataclasses.replace(facts.held_out, promoted=False)
    assert verdict(dataclasses.replace(quiet(facts), held_out=exam)).points == (
        "The gate refused the policy trained on it.",
    )


@pytest.mark.parametrize("outcome", [{"passed": False, "detail": "x"}, {"detail": "x"}, False, None, "yes", 1])
def test_a_check_that_did_not_clearly_pass_has_failed(facts, outcome):
    said = verdict(quiet(facts, checks={"hashes": outcome}))
    assert said.level == "bad"
    assert said.headline == "Do not train on this version."
    assert said.points == ("The check hashes failed.",)


@pytest.mark.parametrize("outcome", [{"passed": True}, True])
def test_a_check_that_passed_is_no_point(facts, outcome):
    assert verdict(quiet(facts, checks={"hashes": outcome})).level == "good"


def test_an_unbalanced_book_is_a_problem_and_named_first(facts):
    first = facts.manifest.books[0]
    broken = dataclasses.replace(first, rows_out=first.rows_in)
    manifest = dataclasses.replace(facts.manifest, books=(broken,))
    said = verdict(dataclasses.replace(facts, manifest=manifest))
    assert said.level == "bad"
    assert said.points[0] == "The books of load_prompts do not balance."
    assert "Not every row is accounted for." in said.sentences


def test_no_training_pairs_is_a_problem(facts):
    assert "It holds no training pairs." in verdict(quiet(facts, files=facts.manifest.files[1:])).points


def test_a_version_without_books_says_so(bare_facts):
    assert "It keeps no books" in " ".join(verdict(bare_facts).sentences)
