import numpy as np
import pytest

from sweetspot.errors import ContractError
from sweetspot.validation import meaning
from sweetspot.validation.meaning import meaning_overlap, nearest_cosine


def naive(vectors, among):
    """Cosine of every two, one at a time."""
    table = np.array([[float(a @ b) / float(np.linalg.norm(a) * np.linalg.norm(b)) for b in among] for a in vectors])
    return table.max(axis=1), table.argmax(axis=1)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("cells", [1 << 24, 7])
def test_the_nearest_is_that_of_all_cosines(rng, monkeypatch, cells):
    monkeypatch.setattr(meaning, "_BLOCK_CELLS", cells)
    vectors, among = rng.normal(size=(50, 8)), rng.normal(size=(31, 8))
    cosine, which = nearest_cosine(vectors, among)
    expected, place = naive(vectors, among)
    np.testing.assert_allclose(cosine, expected, atol=1e-6)
    np.testing.assert_array_equal(which, place)


def test_length_does_not_count_and_a_zero_vector_is_like_nothing(rng):
    vectors, among = rng.normal(size=(20, 5)), rng.normal(size=(9, 5))
    scaled = nearest_cosine(vectors * rng.uniform(0.1, 10, (20, 1)), among * 3)
    np.testing.assert_allclose(scaled[0], nearest_cosine(vectors, among)[0], atol=1e-6)
    assert nearest_cosine(np.zeros((1, 5)), among)[0].tolist() == [0.0]


def test_planted_rewordings_are_found_and_named(rng):
    texts, references = rng.normal(size=(1000, 64)), rng.normal(size=(200, 64))
    planted = [5, 77, 500]
    texts[planted] = references[[3, 9, 150]] + 0.3 * rng.normal(size=(3, 64))
    found = meaning_overlap(texts, references)
    assert found.hit[planted].all()
    assert found.reference[planted].tolist() == [3, 9, 150]
    assert set(np.argsort(-found.similarity)[:3].tolist()) == set(planted)


@pytest.mark.parametrize("share", [0.01, 0.1])
def test_unrelated_texts_pass_as_often_as_they_may(rng, share):
    """Texts and references from one distribution: hits and false alarms are both about the share asked for."""
    found = [
        meaning_overlap(rng.normal(size=(1000, 16)), rng.normal(size=(100, 16)), false_alarm=share) for _ in range(20)
    ]
    hits = np.mean([one.hit.mean() for one in found])
    alarms = np.sum([one.false_alarms for one in found]) / np.sum([one.false_alarm_of for one in found])
    assert hits == pytest.approx(share, rel=0.35)
    assert alarms == pytest.approx(share, rel=0.35)


def test_a_direction_that_all_texts_share_changes_nothing(rng):
    texts, references, shift = rng.normal(size=(200, 12)), rng.normal(size=(40, 12)), 50 * rng.normal(size=12)
    plain, moved = meaning_overlap(texts, references), meaning_overlap(texts + shift, references + shift)
    np.testing.assert_allclose(moved.similarity, plain.similarity, atol=1e-5)
    np.testing.assert_array_equal(moved.hit, plain.hit)
    assert nearest_cosine(texts + shift, references + shift)[0].min() > 0.9  # without it all would look alike


def test_the_control_compares_with_as_many_texts_as_there_are_references(rng):
    """With more references the nearest one is nearer, for the control as for the texts."""
    texts = rng.normal(size=(1000, 8))
    few, many = (meaning_overlap(texts, rng.normal(size=(size, 8))) for size in (2, 400))
    assert np.median(few.control) < np.median(many.control) - 0.2
    assert np.median(many.control) == pytest.approx(np.median(many.similarity), abs=0.05)
    assert (len(few.control), len(many.control)) == (998, 600)


def test_half_the_control_sets_the_threshold_and_the_other_half_judges_it(rng):
    found = meaning_overlap(rng.normal(size=(1001, 8)), rng.normal(size=(100, 8)), false_alarm=0.05)
    half = len(found.control) // 2
    assert found.threshold in found.control[:half]
    assert (found.control[:half] > found.threshold).mean() <= 0.05
    assert found.false_alarm_of == len(found.control) - half
    assert found.false_alarms == (found.control[half:] > found.threshold).sum()


def test_what_the_control_cannot_tell_is_said(rng):
    small = meaning_overlap(rng.normal(size=(40, 4)), rng.normal(size=(30, 4)))
    assert [one.split(":")[0] for one in small.warnings] == ["few_controls", "coarse_threshold"]
    assert meaning_overlap(rng.normal(size=(1000, 4)), rng.normal(size=(30, 4))).warnings == ()


def test_the_seed_decides_alone(rng):
    texts, references = rng.normal(size=(100, 4)), rng.normal(size=(10, 4))
    one, again, other = (meaning_overlap(texts, references, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.control, again.control)
    assert not np.array_equal(one.control, other.control)


@pytest.mark.parametrize(
    ("vectors", "references", "options", "message"),
    [
        (np.ones((19, 2)), np.ones((1, 2)), {}, "got 19 texts, expected at least 20"),
        (np.ones((20, 2)), np.ones((0, 2)), {}, "references: got none"),
        (np.ones((20, 2)), np.ones((1, 3)), {}, "3 dimensions, but vectors have 2"),
        (np.full((20, 2), np.nan), np.ones((1, 2)), {}, "vectors: 40 of 40 values"),
        (np.ones(20), np.ones((1, 2)), {}, "expected 2 dimension"),
        (np.ones((20, 2)), np.ones((1, 2)), {"false_alarm": 0.0}, "false_alarm"),
        (np.ones((20, 2)), np.ones((1, 2)), {"seed": -1}, "seed"),
    ],
)
def test_vectors_that_cannot_be_compared_are_refused(vectors, references, options, message):
    with pytest.raises(ContractError, match=message):
        meaning_overlap(vectors, references, **options)
