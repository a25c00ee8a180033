import numpy as np
import pytest
from audit_tables import pairs_of

from sweetspot.auditing.checks import degenerate, label_errors, leakage, length, likelihood, margins, style
from sweetspot.auditing.checks.duplicates import NearPairs, propose, turned, verified
from sweetspot.auditing.estimate import estimate_pairs
from sweetspot.auditing.features import joined_responses, sketches
from sweetspot.auditing.tables import FLAWS, Labels
from sweetspot.validation._minhash import propose_neighbours


def lengths(rng, n, pull):
    """Lengths of prompt, chosen, rejected; the longer is chosen with probability 1/2 + pull."""
    two = np.sort(rng.integers(10, 1000, (n, 2)), axis=1)[:, ::-1]
    short_first = rng.random(n) > 0.5 + pull
    two[short_first] = two[short_first, ::-1]
    return np.column_stack([np.full(n, 50), two]).astype(np.int32)


def test_length_that_decides_is_said_in_numbers():
    (found,) = length.check(pairs_of(1000, chars=lengths(np.random.default_rng(0), 1000, 0.2)))
    assert found.level == "bad"
    assert found.figures["length_only_accuracy"] == pytest.approx(0.7, abs=0.03)
    low, high = found.intervals["longer_chosen_rate"]
    assert low < found.figures["longer_chosen_rate"] < high
    (found,) = length.check(pairs_of(1000, chars=lengths(np.random.default_rng(0), 1000, 0.0)))
    assert found.level == "ok"


def test_length_is_shown_for_every_source():
    n = 400
    chars = np.vstack([lengths(np.random.default_rng(k), n // 2, pull) for k, pull in ((0, 0.4), (1, -0.4))])
    source = Labels.of(["long"] * (n // 2) + ["short"] * (n // 2))
    (found,) = length.check(pairs_of(n, chars=chars, labels={"provenance": source}))
    by_source = next(chart for chart in found.charts if "source" in chart.axis)
    assert by_source.labels == ("long", "short")
    assert by_source.values[0] > 0.8 > 0.2 > by_source.values[1]


def test_sources_that_lean_opposite_ways_are_named_though_they_cancel_out():
    n = 600
    chars = np.vstack([lengths(np.random.default_rng(k), n // 2, pull) for k, pull in ((0, 0.2), (1, -0.2))])
    source = Labels.of(["long"] * (n // 2) + ["short"] * (n // 2))
    (found,) = length.check(pairs_of(n, chars=chars, labels={"provenance": source}))
    assert found.figures["longer_chosen_rate"] == pytest.approx(0.5, abs=0.05)
    assert (found.figures["longer_chosen_in"], found.figures["shorter_chosen_in"]) == ("long", "short")
    assert found.figures["length_and_source_accuracy"] == pytest.approx(0.7, abs=0.04)
    assert found.level == "look"
    chars = np.vstack([lengths(np.random.default_rng(k), n // 2, 0.0) for k in (0, 1)])
    (found,) = length.check(pairs_of(n, chars=chars, labels={"provenance": source}))
    assert "longer_chosen_in" not in found.figures
    assert found.level == "ok"


def test_the_annotator_or_source_with_the_most_doubtful_labels_is_named_only_where_it_stands_out():
    rng = np.random.default_rng(8)
    who = rng.integers(0, 5, 1000)
    margin = np.abs(rng.normal(0, 3, 1000))
    for bad, stands_out in ((0.5, True), (0.1, False)):
        turned = rng.random(1000) < np.where(who == 3, bad, 0.1)
        scores = {"score_chosen": np.where(turned, -margin, margin), "score_rejected": np.zeros(1000)}
        table = pairs_of(1000, labels={"annotator": Labels(who, ("a", "b", "c", "d", "e"))}, **scores)
        (found,) = label_errors.check(table, estimate_pairs(table))
        assert found.figures["doubted_most_stands_out"] is stands_out
        assert found.figures["doubted_most_by"] == "annotator"
        if stands_out:
            assert found.figures["doubted_most"] == "d"
            assert found.figures["doubted_most_rate"] > 2 * found.figures["doubted_others_rate"]
            assert found.charts[2].labels[0] == "d"
    (found,) = label_errors.check(bare := pairs_of(1000, **scores), estimate_pairs(bare))
    assert "doubted_most" not in found.figures


def test_style_beyond_length_is_told_from_length():
    rng = np.random.default_rng(1)
    n = 2000
    chars = lengths(rng, n, 0.3)
    table = pairs_of(n, chars=chars)
    longer = chars[:, 1] > chars[:, 2]
    noise = rng.random(n) < 0.3
    table.style[:, 0, 0] = longer ^ noise  # more lists where it is longer, and nothing else
    table.style[:, 1, 0] = ~longer ^ noise
    (found,) = style.check(table)
    assert found.figures["more_list_items_chosen_rate"] > 0.6
    assert found.figures["list_items_odds_beyond_length"] == pytest.approx(1, abs=0.25)


def test_flaws_and_refusals_are_counted_by_side():
    table = pairs_of(100)
    table.flaws[:8, 0] = 1 << FLAWS.index("repetitive")
    table.flaws[50:53, 1] = 1 << FLAWS.index("refusal")
    broken, refusals = degenerate.check(table)
    assert (broken.level, broken.figures["chosen_repetitive"], broken.figures["rejected_repetitive"]) == ("bad", 8, 0)
    assert broken.suspects[0].row_id == "r0"
    assert refusals.figures == {"chosen_refusal_rate": 0.0, "rejected_refusal_rate": 0.03}


def test_prompts_in_two_splits_leak():
    keys = np.arange(6 * 6, dtype=np.uint64).reshape(6, 3, 2)
    keys[5, 0] = keys[0, 0]
    split = Labels.of(["train"] * 5 + ["test"])
    (found,) = leakage.check(pairs_of(6, keys, labels={"split": split}))
    assert (found.level, found.figures["leaking_prompts"], found.figures["leaking_rows"]) == ("bad", 1, 2)
    assert leakage.check(pairs_of(6, labels={"split": split}))[0].level == "ok"


def test_scores_against_their_labels_are_listed_worst_first():
    chosen = np.array([1.0, 2, 3, np.nan, 0])
    (found,) = margins.check(pairs_of(5, score_chosen=chosen, score_rejected=np.array([3.0, 1, 4, 1, 0])))
    assert [one.row_id for one in found.suspects] == ["r0", "r2"]
    assert (found.figures["rows_with_scores"], found.figures["equal_scores"]) == (4, 1)


def test_pairs_out_of_reach_are_found_from_the_references_log_probabilities():
    chosen, rejected = np.full(10, -100.0), np.array([-90.0] * 5 + [-110.0] * 3 + [-5.0] * 2)
    table = pairs_of(10, ref_chosen_logps=chosen, ref_rejected_logps=rejected)
    (found,) = likelihood.check(table)
    assert found.figures["reference_accuracy"] == 0.3
    assert found.figures["unreachable_share"] == 0.2
    assert {one.row_id for one in found.suspects} == {"r8", "r9"}
    assert likelihood.check(pairs_of(3))[0].level == "not_checked"


def words(rng, n=120):
    return [f"w{k}" for k in rng.integers(0, 5000, n)]


def test_planted_near_copies_are_proposed_and_only_real_ones_verified():
    rng = np.random.default_rng(4)
    texts = [(" ".join(words(rng)), " ".join(words(rng))) for _ in range(300)]
    for k in range(40):
        edited = texts[k][0].split()
        edited[k] = "changed"
        texts.append((" ".join(edited), texts[k][1]))
    table = sketches([joined_responses(*sides) for sides in texts])
    same = np.arange(len(texts))
    near = verified(propose(table, same), dict(enumerate(texts)))
    assert {tuple(pair) for pair in near.pairs.tolist()} == {(k, 300 + k) for k in range(40)}
    assert near.estimate.min() >= 0.8
    nothing = verified(propose(table, same), {})
    assert len(nothing.pairs) == 0


def test_many_equal_looking_rows_cost_no_square():
    rng = np.random.default_rng(5)
    base = words(rng)
    texts = [joined_responses(" ".join([*base, f"end{k}"]), "other") for k in range(3000)]
    near = propose(sketches(texts), np.arange(3000))
    assert 2999 <= len(near.pairs) < 3000 * 42


def test_rows_that_meet_in_a_crowded_band_are_compared_with_their_neighbour_too():
    alike = np.repeat(np.array([[0], [1], [1]], dtype=np.uint8), 126, axis=1)
    pairs, similarity = propose_neighbours(np.zeros((3, 21), dtype=np.uint32), alike, 0.8)
    assert (pairs.tolist(), similarity.tolist()) == ([[1, 2]], [1.0])


def test_the_chosen_text_decides_whether_labels_are_opposite():
    texts = {0: ("one two three four five six", "a b c d e f"), 1: ("a b c d e f g", "one two three four five six")}
    assert turned(texts, 0, 1)
    assert not turned({0: texts[0], 1: texts[0]}, 0, 1)


def test_unverified_pairs_rest_on_their_estimate():
    pairs = np.array([[0, 1], [2, 3]])
    near = verified(NearPairs(pairs, np.array([0.9, 0.7]), np.array([False, False])), {})
    assert near.pairs.tolist() == [[0, 1]]
