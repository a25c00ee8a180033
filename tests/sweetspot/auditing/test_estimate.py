import numpy as np
import pytest
from audit_tables import crowd, pairs_of, scores_of, votes_of

from sweetspot.auditing._vote_errors import _tempered
from sweetspot.auditing.estimate import (
    error_correlation,
    estimate_pairs,
    estimate_scores,
    estimate_votes,
    fit_margin_noise,
)
from sweetspot.validation._votes import votes_of as votes_of_counts
from sweetspot.validation.aggregation import dawid_skene


def test_reliable_annotators_outvote_a_careless_majority():
    truth, table = crowd(np.random.default_rng(0), 400, [0.95, 0.95, 0.55, 0.55, 0.55])
    found = estimate_votes(votes_of(table))
    majority = (table.mean(axis=1) > 0.5).astype(int)
    assert found.method == "dawid_skene"
    assert (found.label == truth).mean() > (majority == truth).mean() + 0.03
    assert found.rater_accuracy[:2].min() > 0.9 > 0.65 > found.rater_accuracy[2:].max()


def sparse_crowd(rng, n, raters, votes, accuracy, classes=2):
    """True classes and a table in which each unit has some votes of random raters, NaN elsewhere."""
    truth = rng.integers(0, classes, n)
    table = np.full((n, raters), np.nan)
    for unit in range(n):
        who = rng.permutation(raters)[:votes]
        right = rng.random(votes) < np.asarray(accuracy)[who]
        table[unit, who] = np.where(right, truth[unit], (truth[unit] + rng.integers(1, classes, votes)) % classes)
    return truth, table


@pytest.mark.parametrize("classes", [2, 3])
def test_a_weak_crowd_is_never_worse_than_its_majority_by_more_than_luck(classes):
    lost, changed, plain_lost = 0.0, 0, 0.0
    shapes = [(30, 7, 0.6), (40, 5, 0.65), (60, 3, 0.7), (200, 5, 0.7)]
    for seed, (raters, votes, accuracy) in enumerate(shapes):
        rng = np.random.default_rng(seed)
        truth, table = sparse_crowd(rng, 400, raters, votes, np.full(raters, accuracy), classes)
        counts = np.stack([(table == k).sum(axis=1) for k in range(classes)], axis=1)
        most = counts == counts.max(axis=1, keepdims=True)
        majority = most[np.arange(400), truth] / most.sum(axis=1)  # a tied vote is right as often as a draw
        mine = estimate_votes(votes_of(table, classes=classes)).label == truth
        lost += float(majority.sum() - mine.sum())
        changed += int((mine != majority).sum())
        plain = dawid_skene(table, n_classes=classes, max_iter=2000, tol=1e-4).label == truth
        plain_lost += float(majority.sum() - plain.sum())
    assert lost <= 2 * np.sqrt(changed)
    assert plain_lost > 60  # the model without shrinkage does read luck as skill here


def test_raters_of_unequal_skill_are_told_apart_when_each_unit_has_few_votes():
    rng = np.random.default_rng(11)
    accuracy = np.where(np.arange(20) % 3 == 0, 0.95, 0.55)
    truth, table = sparse_crowd(rng, 500, 20, 5, accuracy)
    found = estimate_votes(votes_of(table))
    majority = (np.nanmean(table, axis=1) > 0.5).astype(int)
    assert np.mean(found.label != truth) < 0.7 * np.mean(majority != truth)
    assert np.corrcoef(found.rater_accuracy, accuracy)[0, 1] > 0.9


@pytest.mark.parametrize(("raters", "accuracy"), [(7, 0.7), (3, 0.8), (15, 0.65), (5, 0.9)])
def test_no_more_certainty_is_claimed_than_is_earned_when_errors_are_independent(raters, accuracy):
    truth, table = crowd(np.random.default_rng(1), 2000, [accuracy] * raters)
    found = estimate_votes(votes_of(table))
    claimed, right = 1 - found.error_probability.mean(), (found.label == truth).mean()
    assert right - 0.15 < claimed < right + 0.01
    assert found.dependence < 0.15


def test_annotators_that_err_together_make_the_labels_less_certain():
    rng = np.random.default_rng(2)
    _, alone = crowd(rng, 600, [0.7] * 15)
    _, together = crowd(rng, 600, [0.7] * 15, shared=0.3)
    one, other = (estimate_votes(votes_of(table)) for table in (alone, together))
    assert other.dependence > one.dependence + 0.05
    power = [1 / (1 + 14 * found.dependence) for found in (one, other)]
    assert power[1] < power[0] / 2  # what fifteen equal votes are worth


@pytest.mark.parametrize(("dependence", "worth"), [(0.0, 3.0), (1.0, 1.0), (0.5, 1.5)])
def test_dependent_votes_are_worth_fewer(dependence, worth):
    counted = votes_of_counts(np.zeros(3, dtype=int), np.arange(3), np.zeros(3, dtype=int), shape=(1, 3, 2))
    odds = 4.0**3  # three votes of four to one each
    found = _tempered(np.array([[odds, 1]]) / (odds + 1), counted, dependence)
    assert found[0, 0] / found[0, 1] == pytest.approx(4.0**worth)


def test_error_correlation_is_one_for_raters_that_copy_each_other():
    rng = np.random.default_rng(3)
    wrong = rng.random(4000) < 0.3
    truth = rng.integers(0, 2, 4000)
    table = np.repeat(np.where(wrong, 1 - truth, truth)[:, None], 5, axis=1).astype(float)
    confusion = np.tile([[0.7, 0.3], [0.3, 0.7]], (5, 1, 1))
    assert error_correlation(np.eye(2)[truth], confusion, votes_of(table)) == pytest.approx(1, abs=0.05)


def test_compared_items_rank_each_other_and_own_votes_still_count():
    rng = np.random.default_rng(4)
    strength = np.linspace(-3, 3, 30)
    i, j = np.triu_indices(30, 1)
    p = 1 / (1 + np.exp(strength[j] - strength[i]))
    table = (rng.random((i.size, 5)) > p[:, None]).astype(float)
    found = estimate_votes(votes_of(table, items=np.column_stack([i, j])))
    truth = (strength[i] < strength[j]).astype(int)
    majority = (table.mean(axis=1) > 0.5).astype(int)
    assert found.method == "flip_mixture"
    assert (found.label == truth).mean() > (majority == truth).mean()
    assert (found.label == truth).mean() > 1 - found.error_probability.mean() - 0.02


def test_few_annotators_get_a_majority_or_nothing():
    table = np.array([[0.0, 0], [0, 1], [1, 1]])
    found = estimate_votes(votes_of(table))
    assert (found.method, found.label.tolist()) == ("majority", [0, -1, 1])
    assert found.error_probability[1] == 0.5
    alone = estimate_votes(votes_of(table[:, :1]))
    assert alone.method == "none"
    assert np.isnan(alone.error_probability).all()


def test_margins_tell_the_flip_rate_and_the_flipped_rows():
    rng = np.random.default_rng(5)
    margin = rng.normal(0, 3, 5000)
    better = rng.random(5000) < 1 / (1 + np.exp(-margin))
    flipped = rng.random(5000) < 0.1
    signed = np.where(better != flipped, margin, -margin)
    noise, slope = fit_margin_noise(signed)
    assert noise == pytest.approx(0.1, abs=0.02)
    assert slope == pytest.approx(1, abs=0.15)
    found = estimate_pairs(pairs_of(5000, score_chosen=signed, score_rejected=np.zeros(5000)))
    assert found.method == "margin_noise"
    assert found.error_probability.mean() == pytest.approx(flipped.mean(), abs=0.03)
    assert flipped[found.error_probability > 0.8].mean() > 0.75


def test_the_unit_of_the_scores_does_not_matter():
    margin = np.random.default_rng(6).normal(1, 2, 300)
    one, other = (
        estimate_pairs(pairs_of(300, score_chosen=c * margin, score_rejected=np.zeros(300))) for c in (1, 1000.0)
    )
    assert np.allclose(one.error_probability, other.error_probability, atol=1e-4)


def test_scores_that_made_the_labels_cannot_check_them():
    found = estimate_pairs(pairs_of(50, score_chosen=np.arange(50) + 1.0, score_rejected=np.zeros(50)))
    assert found.method == "none"
    assert np.isnan(found.error_probability).all()


def test_a_row_against_many_others_of_its_responses_is_doubted():
    keys = np.zeros((7, 3, 2), dtype=np.uint64)
    keys[:, 1, 0], keys[:, 2, 0] = [1, 1, 1, 2, 2, 3, 9], [2, 3, 4, 3, 4, 4, 8]
    keys[5, 1:, 0] = [4, 1]  # the worst beats the best
    found = estimate_pairs(pairs_of(7, keys))
    assert found.method == "cycles"
    assert found.error_probability[:6].argmax() == 5
    assert found.error_probability[5] > 0.5
    assert np.isnan(found.error_probability[6])  # alone with its responses


def test_scored_responses_get_no_probability():
    table = scores_of(np.array([[1.0, 1, 1], [2, 2, 2], [3, 3, -900], [4, 4, 4], [5, 5, 5]]))
    found = estimate_scores(table)
    assert found.label.tolist() == [0, 0, 1, 0, 0]
    assert found.error_rate is None
