import numpy as np

from sweetspot.auditing.ballots import Ballots
from sweetspot.auditing.blocks import Rows
from sweetspot.auditing.formats import detect


def ballots(rows, **options):
    sample = {name: [row.get(name) for row in rows] for name in rows[0]}
    found = Ballots(detect(sample, **options))
    half = len(rows) // 2
    for part in (range(half), range(half, len(rows))):
        found.add(Rows(part, {name: [values[k] for k in part] for name, values in sample.items()}))
    return found.table(), found


def test_items_shown_the_other_way_round_are_turned_back():
    rows = [
        {"pair_id": "u", "worker": "a", "left": "x", "right": "y", "winner": "left"},
        {"pair_id": "u", "worker": "b", "left": "y", "right": "x", "winner": "left"},
        {"pair_id": "u", "worker": "c", "left": "y", "right": "x", "winner": "x"},
        {"pair_id": "v", "worker": "c", "left": "y", "right": "z", "winner": "tie"},
    ]
    votes, _ = ballots(rows)
    assert votes.counts().tolist() == [[2, 1, 0], [0, 0, 1]]
    assert votes.position.tolist() == [0, 1, 1, 0]
    assert [votes.item_names[k] for k in votes.items[0]] == ["x", "y"]


def test_votes_that_name_places_are_turned_by_their_order():
    judged = [(f"u{k}", k % 2) for k in range(10)]
    rows = [
        {"pair_id": unit, "judge": "j", "order": order, "decision": "A>B" if (order == 0) == (best == 0) else "B>A"}
        for unit, best in judged
        for order in (0, 1)
    ]
    votes, found = ballots(rows)
    assert votes.counts().tolist() == [[2, 0] if best == 0 else [0, 2] for _, best in judged]
    assert any("place on the screen" in note for note in found.notes)


def test_votes_that_name_items_are_left_as_they_are():
    rows = [
        {"pair_id": f"u{k}", "judge": "j", "order": order, "decision": "A>B"} for k in range(10) for order in (0, 1)
    ]
    votes, found = ballots(rows)
    assert votes.counts()[:, 0].tolist() == [2] * 10
    assert found.notes == []


def test_a_second_vote_in_the_same_order_leaves_with_its_reason():
    rows = [{"pair_id": "u", "worker": w, "vote": v} for w, v in [("a", 1), ("a", 2), ("b", 2), ("b", None)]]
    votes, found = ballots(rows)
    assert votes.counts().tolist() == [[1, 1]]
    assert [(one.row, one.reason) for one in found.left] == [(3, "no_vote"), (1, "repeated_vote")]
    assert found.place == [0, 2]


def test_win_counts_weigh_as_many_votes():
    rows = [{"model_a": "x", "model_b": "y", "wins_a": 3, "wins_b": 1, "ties": 2}]
    rows += [{"model_a": "y", "model_b": "z", "wins_a": bad, "wins_b": 1, "ties": None} for bad in (-1, 0.5, None)]
    rows.append({"model_a": "x", "model_b": "x", "wins_a": 1, "wins_b": 1, "ties": 0})
    votes, found = ballots(rows)
    assert votes.counts()[0].tolist() == [3, 1, 2]
    assert [one.reason for one in found.left] == ["bad_count", "bad_count", "bad_count", "no_items"]


def test_a_tournament_compares_items_within_each_question():
    rows = [
        {"question_id": q, "first": a, "second": b, "score": s}
        for q, a, b, s in [("q1", "x", "y", 1), ("q1", "y", "x", 2), ("q2", "x", "y", 3), ("q2", "y", "z", -1)]
    ]
    votes, found = ballots(rows)
    assert votes.counts().tolist() == [[2, 0, 0], [0, 0, 1], [0, 0, 0]]
    assert votes.group.tolist() == [0, 1, 1]
    assert [one.reason for one in found.left] == ["no_vote"]


def test_gold_is_coded_like_the_votes_and_classes_of_another_kind_are_kept():
    rows = [{"pair_id": u, "judge": "j", "preference": p, "gold": g} for u, p, g in [("u", "a", "b"), ("v", "b", None)]]
    votes, _ = ballots(rows)
    assert votes.gold.tolist() == [1, -1]
    rows = [{"item": "i", "worker": w, "label": label} for w, label in [("a", "cat"), ("b", "dog"), ("c", "cat")]]
    votes, _ = ballots(rows)
    assert (votes.classes, votes.paired) == (("cat", "dog"), False)
    assert votes.counts().tolist() == [[2, 1]]
    assert np.array_equal(votes.packed(), [[0, 1, 0]])
