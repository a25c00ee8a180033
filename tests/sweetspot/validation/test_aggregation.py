import math
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweetspot.errors import ContractError, ConvergenceError
from sweetspot.validation import _dawid_skene
from sweetspot.validation._votes import read_votes
from sweetspot.validation.aggregation import dawid_skene, fit_like_the_crowd, majority

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"
NAN = math.nan


def planted(items, accuracies, q=2, missing=0.0, seed=0):
    """Labels of raters who are right with the given probabilities and otherwise name any other class."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, q, items)
    right = rng.random((items, len(accuracies))) < np.asarray(accuracies)
    other = (truth[:, None] + rng.integers(1, q, right.shape)) % q
    labels = np.where(right, truth[:, None], other).astype(float)
    labels[rng.random(labels.shape) < missing] = NAN
    return truth, labels


def slow_em_step(labels, probability):
    """One M step and one E step, written item by item."""
    items, raters = labels.shape
    q = probability.shape[1]
    confusion = np.array([np.eye(q) for _ in range(raters)])
    for item in range(items):
        for rater in range(raters):
            if not math.isnan(labels[item, rater]):
                confusion[rater, :, int(labels[item, rater])] += probability[item]
    confusion /= confusion.sum(axis=2, keepdims=True)
    rated = ~np.isnan(labels).all(axis=1)
    prior = probability[rated].mean(axis=0)
    moved = np.tile(prior, (items, 1))
    for item in range(items):
        for rater in range(raters):
            if not math.isnan(labels[item, rater]):
                moved[item] *= confusion[rater, :, int(labels[item, rater])]
    return confusion, prior, moved / moved.sum(axis=1, keepdims=True)


def vote_shares(labels, q):
    counts = [Counter(row[~np.isnan(row)].astype(int).tolist()) for row in labels]
    return np.array([[c[k] / c.total() if c else 1 / q for k in range(q)] for c in counts])


def label_tables(q=3):
    entry = st.one_of(st.integers(0, q - 1).map(float), st.just(NAN))
    return st.integers(1, 5).flatmap(
        lambda raters: st.lists(st.lists(entry, min_size=raters, max_size=raters), min_size=1, max_size=10)
    )


def test_majority_of_a_small_table():
    result = majority([[0, 0, 1], [1, 1, NAN], [0, 1, NAN], [NAN, NAN, NAN]])
    assert result.label.tolist() == [0, 1, -1, -1]
    assert result.tie.tolist() == [False, False, True, False]
    np.testing.assert_allclose(result.probability, [[2 / 3, 1 / 3], [0, 1], [0.5, 0.5], [0.5, 0.5]])
    assert result.warnings == ("unlabelled_items: 1 of 4 items have no label",)
    assert result.label.dtype == np.int64
    assert result.tie.dtype == np.bool_


@settings(max_examples=50, deadline=None)
@given(label_tables())
def test_majority_equals_a_count(table):
    labels = np.array(table)
    result = majority(labels, n_classes=3)
    np.testing.assert_allclose(result.probability, vote_shares(labels, 3), atol=1e-12)
    for row, label, tie in zip(labels, result.label, result.tie, strict=True):
        best = Counter(row[~np.isnan(row)].astype(int).tolist()).most_common(2)
        assert tie == (len(best) == 2 and best[0][1] == best[1][1])
        assert label == (best[0][0] if best and not tie else -1)


def test_the_number_of_classes_is_the_largest_code_plus_one_and_at_least_two():
    assert majority([[0, 0]]).probability.shape == (1, 2)
    assert majority([[0, 4]]).probability.shape == (1, 5)
    assert majority([[0, 1]], n_classes=4).probability.shape == (1, 4)
    assert majority([[NAN, NAN]]).probability.tolist() == [[0.5, 0.5]]
    assert majority(np.empty((0, 3))).label.size == 0


@settings(max_examples=40, deadline=None)
@given(table=label_tables(), seed=st.integers(0, 99))
def test_the_result_is_a_fixed_point_of_the_em_step(table, seed):
    labels = np.array(table)
    if np.isnan(labels).all():
        return
    result = dawid_skene(labels, n_classes=3, max_iter=2000, tol=1e-9)
    confusion, prior, moved = slow_em_step(labels, result.probability)
    anchored = any(warning.startswith("anchored") for warning in result.warnings)
    if not anchored:  # the pseudo-counts stay on the diagonal of the names the fit used
        np.testing.assert_allclose(moved, result.probability, atol=1e-6)
        np.testing.assert_allclose(confusion, result.confusion, atol=1e-6)
        np.testing.assert_allclose(prior, result.class_prior, atol=1e-6)
    np.testing.assert_allclose(result.probability.sum(axis=1), 1.0, atol=1e-9)
    np.testing.assert_allclose(result.confusion.sum(axis=2), 1.0, atol=1e-9)
    assert result.class_prior.sum() == pytest.approx(1.0)


@pytest.mark.parametrize(("q", "missing"), [(2, 0.0), (2, 0.5), (3, 0.3)])
def test_extrapolated_steps_end_where_plain_em_ends(q, missing):
    _, labels = planted(100, [0.9, 0.75, 0.6, 0.55], q=q, missing=missing, seed=3)
    probability = vote_shares(labels, q)
    for _ in range(1000):
        confusion, _, moved = slow_em_step(labels, probability)
        change, probability = np.abs(moved - probability).max(), moved
        if change < 1e-8:
            break
    result = dawid_skene(labels, tol=1e-8, max_iter=1000)
    np.testing.assert_allclose(result.probability, probability, atol=1e-4)
    np.testing.assert_allclose(result.confusion, confusion, atol=1e-4)
    assert result.iterations <= 200


def test_iterations_raise_the_posterior():
    _, labels = planted(200, [0.8, 0.7, 0.6, 0.4], missing=0.4, seed=5)
    votes = read_votes(labels, None)
    heights = []
    truth = votes.shares()
    for _ in range(30):
        model = _dawid_skene.maximise(truth, votes)
        heights.append(_dawid_skene.log_posterior(model, votes))
        truth = _dawid_skene.expect(model, votes)
    assert (np.diff(heights) >= -1e-9).all()
    final = dawid_skene(labels)
    last = _dawid_skene.Model(final.confusion, final.class_prior)
    assert _dawid_skene.log_posterior(last, votes) >= heights[-1]


def test_planted_error_rates_are_recovered():
    truth, labels = planted(20_000, [0.95, 0.8, 0.7, 0.6], seed=1)
    result = dawid_skene(labels)
    np.testing.assert_allclose(result.confusion[:, [0, 1], [0, 1]], [[a, a] for a in (0.95, 0.8, 0.7, 0.6)], atol=0.02)
    np.testing.assert_allclose(result.class_prior, [0.5, 0.5], atol=0.02)
    assert np.mean(result.label == truth) > np.mean(majority(labels).label == truth) + 0.03
    assert result.warnings == ()


def test_confusion_rows_are_true_classes_and_columns_given_ones():
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 2, 5000)
    labels = np.array([np.where(rng.random(5000) < 0.9, truth, 1 - truth) for _ in range(3)], dtype=float).T
    says_zero = np.where(truth == 1, (rng.random(5000) < 0.5).astype(int), 0)  # never errs on class 0
    result = dawid_skene(np.column_stack([labels, says_zero]))
    np.testing.assert_allclose(result.confusion[3], [[1.0, 0.0], [0.5, 0.5]], atol=0.03)


def test_a_rater_who_always_says_the_opposite_is_used_in_reverse():
    truth, labels = planted(2000, [0.8, 0.8, 0.75, 0.02], seed=4)
    result = dawid_skene(labels)
    assert result.confusion[3, 0, 1] > 0.95
    assert np.mean(result.label == truth) > 0.95


def test_three_classes_are_recovered():
    truth, labels = planted(3000, [0.8, 0.7, 0.6, 0.5], q=3, seed=6)
    result = dawid_skene(labels)
    assert result.probability.shape == (3000, 3)
    assert np.mean(result.label == truth) > np.mean(majority(labels).label == truth)


def test_order_of_raters_and_items_and_names_of_classes_do_not_matter():
    _, labels = planted(120, [0.9, 0.7, 0.6, 0.6], missing=0.2, seed=7)
    base = dawid_skene(labels)
    rng = np.random.default_rng(0)
    items, raters = rng.permutation(120), rng.permutation(4)
    moved = dawid_skene(labels[items][:, raters])
    np.testing.assert_allclose(moved.probability, base.probability[items], atol=1e-5)
    np.testing.assert_allclose(moved.confusion, base.confusion[raters], atol=1e-5)
    swapped = dawid_skene(1 - labels)
    np.testing.assert_allclose(swapped.probability, base.probability[:, ::-1], atol=1e-5)
    np.testing.assert_allclose(swapped.confusion, base.confusion[:, ::-1, ::-1], atol=1e-5)


def test_same_input_gives_the_same_bits():
    _, labels = planted(100, [0.9, 0.7, 0.6], missing=0.2, seed=8)
    first, second = dawid_skene(labels), dawid_skene(labels.tolist())
    np.testing.assert_array_equal(first.probability, second.probability)
    np.testing.assert_array_equal(first.confusion, second.confusion)


def test_unlabelled_items_get_the_class_prior_and_no_label():
    _, labels = planted(200, [0.9, 0.8, 0.7], seed=9)
    result = dawid_skene(np.vstack([labels, np.full((1, 3), NAN)]))
    np.testing.assert_array_equal(result.probability[-1], result.class_prior)
    assert result.label[-1] == -1
    without = dawid_skene(labels)
    np.testing.assert_allclose(result.probability[:-1], without.probability, atol=1e-9)


def test_equal_probabilities_give_no_label():
    result = dawid_skene([[0, 1], [1, 0]])
    np.testing.assert_allclose(result.probability, 0.5)
    assert result.label.tolist() == [-1, -1]


def test_the_pseudo_count_sits_on_the_diagonal():
    # Three raters agree on four items of class 0; nothing is known about class 1 but the pseudo-count.
    result = dawid_skene([[0, 0, 0]] * 4)
    np.testing.assert_allclose(result.confusion, np.eye(2)[None].repeat(3, axis=0), atol=1e-6)
    result = dawid_skene([[0, 0, 1], [0, 0, 1], [1, 1, 1], [1, 1, 1]])
    # Rater 2: class 0 was labelled 1 twice, so (0 + 1) / (2 + 1) is right.
    np.testing.assert_allclose(result.confusion[2], [[1 / 3, 2 / 3], [0, 1]], atol=2e-2)


def test_warnings_name_few_raters_and_few_labels():
    _, labels = planted(50, [0.9, 0.8, 0.8], seed=10)
    assert dawid_skene(labels).warnings == ()
    two = dawid_skene(labels[:, :2])
    assert two.warnings[0].startswith("few_raters: 2 raters")
    unused = np.column_stack([labels[:, :2], np.full(50, NAN)])
    assert [warning.split(":")[0] for warning in dawid_skene(unused).warnings] == ["few_raters", "few_labels"]
    labels[19:, 0] = NAN
    assert dawid_skene(labels).warnings[0].startswith("few_labels: 1 of 3 raters gave fewer than 20")


def test_a_mirror_image_of_the_majority_is_turned_round():
    rng = np.random.default_rng(6841)  # a sparse table found by search; few tables end this way
    truth = (rng.random(80) < 0.6).astype(int)
    accuracy = rng.uniform(0.2, 1, 7)
    labels = np.where(rng.random((80, 7)) < accuracy, truth[:, None], 1 - truth[:, None]).astype(float)
    labels[rng.random((80, 7)) < 0.6] = NAN
    votes = read_votes(labels, 2)
    model, unturned, _ = _dawid_skene.fit(votes, 200, 1e-6)
    decided = majority(labels).label
    known = decided >= 0
    assert np.mean(unturned[known, decided[known]]) < 0.5  # this table does end in the mirror image
    result = dawid_skene(labels)
    assert any(warning.startswith("anchored: ") for warning in result.warnings)
    np.testing.assert_array_equal(result.probability, unturned[:, ::-1])
    assert np.mean(result.probability[known, decided[known]]) > 0.5
    assert np.mean(result.label == truth) > 0.8  # and turning it round was right
    # The true-class axis is renamed, the labels that raters gave are not.
    np.testing.assert_array_equal(result.confusion, model.confusion[:, ::-1, :])
    np.testing.assert_array_equal(result.class_prior, model.prior[::-1])


def test_an_iteration_that_runs_out_is_an_error():
    _, labels = planted(50, [0.9, 0.8, 0.7], seed=11)
    with pytest.raises(ConvergenceError, match="after 1 iterations, expected <= 1e-06; raise max_iter"):
        dawid_skene(labels, max_iter=1)


@pytest.mark.parametrize("aggregate", [majority, dawid_skene])
@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        ([[0.5, 1]], {}, r"labels\[0, 0\] = 0.5"),
        ([[0, 1], [-1, 1]], {}, r"labels\[1, 0\] = -1"),
        ([[0, math.inf]], {}, r"labels\[0, 1\] = inf"),
        ([[0, 2]], {"n_classes": 2}, r"labels\[0, 1\] = 2.0.*n_classes = 2"),
        ([[0, 1]], {"n_classes": 0}, "n_classes: got 0"),
        ([0, 1], {}, "dimension"),
    ],
)
def test_bad_labels_are_refused(aggregate, labels, options, message):
    with pytest.raises(ContractError, match=message):
        aggregate(labels, **options)


def test_bad_options_of_the_fit_are_refused():
    with pytest.raises(ContractError, match="none of the 2 items has a label"):
        dawid_skene([[NAN, NAN], [NAN, NAN]])
    with pytest.raises(ContractError, match="max_iter: got 0"):
        dawid_skene([[0, 1]], max_iter=0)
    with pytest.raises(ContractError, match="tol: got 0"):
        dawid_skene([[0, 1]], tol=0)


def read(folder, name):
    path = DATA / folder / f"{name}.parquet"
    if not path.exists():
        pytest.skip(f"real data not found: {path}")
    return pd.read_parquet(path)


def test_on_llmbar_weighting_the_judges_beats_counting_them():
    judged = read("pairwise", "llmbar_llm_judge_labels")
    pairs = read("pairwise", "llmbar_pairs").set_index("pair_id")
    judged = judged[judged["pair_id"].str.startswith("llmbar:LLMBar/")]
    table = judged.assign(code=judged["winner"].astype(float) - 1).pivot_table(
        index="pair_id", columns=["annotator", "order"], values="code", aggfunc="first"
    )
    gold = pairs.loc[table.index, "gold"].astype(int).to_numpy() - 1
    assert table.shape == (202, 130)
    assert np.mean(majority(table).label == gold) == pytest.approx(0.653, abs=1e-3)
    assert np.mean(dawid_skene(table).label == gold) == pytest.approx(0.827, abs=1e-3)


def test_on_judgebench_reward_models_weighting_is_worse_than_counting():
    labels = read("cross", "cross_labels_long")
    labels = labels[(labels["dataset"] == "judgebench") & (labels["annotator_type"] == "reward_model")]
    table = labels.assign(code=labels["preference"].astype(float) - 1).pivot_table(
        index="pair_id", columns="annotator", values="code", aggfunc="first"
    )
    gold = read("cross", "cross_pairs").set_index("pair_id").loc[table.index, "gold"].astype(float).to_numpy() - 1
    counted = np.mean(majority(table).label == gold)
    weighted = np.mean(dawid_skene(table).label == gold)
    assert weighted < counted < 0.7


@pytest.mark.parametrize(("dataset", "counted", "weighted"), [("snow_rte", 0.856, 0.926), ("ti_dog", 0.792, 0.843)])
def test_real_crowds_with_gold_gain_from_weighting(dataset, counted, weighted):
    labels, gold = read("crowd", "crowd_labels"), read("crowd", "crowd_gold")
    labels, gold = labels[labels["dataset"] == dataset], gold[gold["dataset"] == dataset].set_index("item")["gold"]
    codes = {name: float(k) for k, name in enumerate(sorted(labels["label"].unique()))}
    table = labels.assign(code=labels["label"].map(codes)).pivot_table(
        index="item", columns="worker", values="code", aggfunc="first"
    )
    truth = gold.reindex(table.index).map(codes).to_numpy()
    known = ~np.isnan(truth)
    assert np.mean(majority(table).label[known] == truth[known]) == pytest.approx(counted, abs=1e-3)
    assert np.mean(dawid_skene(table).label[known] == truth[known]) == pytest.approx(weighted, abs=2e-3)


def test_a_tolerance_that_is_no_number_is_refused():
    for tol in (True, "1e-6", None):
        with pytest.raises(ContractError, match="tol: "):
            dawid_skene([[0, 1, 1]], tol=tol)


def test_the_crowd_fit_is_a_fixed_point_of_its_own_formula():
    _, labels = planted(150, [0.95, 0.7, 0.6, 0.6, 0.55], q=3, missing=0.3, seed=12)
    votes = read_votes(labels, 3)
    result = fit_like_the_crowd(votes, crowd_labels=40, max_iter=1000, tol=1e-10)
    one_rater = [[label for label in row if label == label] for row in labels]
    crowd = 0.7
    for _ in range(200):  # one typical rater: EM for a single accuracy, written vote by vote
        right = 0.0
        for row in one_rater:
            odds = np.array([math.prod(crowd if k == label else (1 - crowd) / 2 for label in row) for k in range(3)])
            right += sum(odds[int(label)] for label in row) / odds.sum()
        crowd = (right + 3) / (sum(map(len, one_rater)) + 3)
    for rater in range(5):
        given = np.flatnonzero(~np.isnan(labels[:, rater]))
        right = result.probability[given, labels[given, rater].astype(int)].sum()
        accuracy = (right + 40 * crowd) / (given.size + 40)
        assert result.confusion[rater, 1, 1] == pytest.approx(accuracy, abs=1e-6)
        assert result.confusion[rater, 1, 2] == pytest.approx((1 - accuracy) / 2, abs=1e-6)
    assert result.class_prior.tolist() == pytest.approx([1 / 3] * 3)


def test_the_crowd_fit_is_that_of_the_items_and_their_swapped_copies():
    _, labels = planted(120, [0.9, 0.7, 0.6, 0.55], missing=0.3, seed=13)
    once, twice = read_votes(labels, 2), read_votes(np.vstack([labels, 1 - labels]), 2)
    pseudo = np.array([[30.0, 12.0], [12.0, 30.0]])
    mine = _dawid_skene.fit(once, 1000, 1e-9, _dawid_skene.Beforehand(pseudo, mirrored=True))
    doubled = _dawid_skene.fit(twice, 1000, 1e-9, _dawid_skene.Beforehand(2 * pseudo))
    np.testing.assert_allclose(mine[1], doubled[1][:120], atol=1e-6)
    np.testing.assert_allclose(mine[0].confusion, doubled[0].confusion, atol=1e-6)
    mirrored = _dawid_skene.Beforehand(pseudo, mirrored=True)
    assert _dawid_skene.log_posterior(mine[0], once, mirrored) == pytest.approx(
        _dawid_skene.log_posterior(doubled[0], twice, _dawid_skene.Beforehand(2 * pseudo)) / 2, abs=1e-6
    )


def test_drawn_to_the_crowd_without_end_all_votes_weigh_the_same():
    _, labels = planted(300, [0.95, 0.6, 0.6, 0.6, 0.55], seed=14)
    votes = read_votes(labels, 2)
    assert np.array_equal(fit_like_the_crowd(votes, crowd_labels=1e9).label, majority(labels).label)
    assert not np.array_equal(fit_like_the_crowd(votes, crowd_labels=10).label, majority(labels).label)


def test_names_of_the_classes_mean_nothing_to_the_crowd_fit():
    _, labels = planted(200, [0.8, 0.7, 0.6, 0.6], q=3, missing=0.2, seed=15)
    base = fit_like_the_crowd(read_votes(labels, 3))
    renamed = fit_like_the_crowd(read_votes((labels + 1) % 3, 3))
    np.testing.assert_allclose(renamed.probability[:, [1, 2, 0]], base.probability, atol=1e-5)


@pytest.mark.parametrize("crowd_labels", [0, -1.0])
def test_the_crowd_must_weigh_something(crowd_labels):
    with pytest.raises(ContractError, match=r"crowd_labels: got .*, expected a number > 0"):
        fit_like_the_crowd(read_votes([[0, 1, 1]], 2), crowd_labels=crowd_labels)
