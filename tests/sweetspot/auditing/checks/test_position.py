import numpy as np
from audit_tables import votes_of

from sweetspot.auditing.checks import intransitivity, position, self_preference


def judged_twice(rng, n, pull):
    """Votes in both orders; a judge goes by the place with probability `pull`, else by the better item."""
    best = rng.integers(0, 2, n)
    code = np.empty((n, 2))
    for order in (0, 1):
        by_place = rng.random(n) < pull
        code[:, order] = np.where(by_place, order, best)
    return votes_of(code, position=np.tile([0, 1], (n, 1)), raters=("gpt-4 a", "gpt-4 b"))


def test_a_judge_that_goes_by_the_place_is_found():
    (found,) = position.check(judged_twice(np.random.default_rng(0), 500, 0.5))
    assert found.level == "bad"
    assert found.figures["first_shown_rate"] > 0.7
    (found,) = position.check(judged_twice(np.random.default_rng(0), 500, 0.0))
    assert found.level == "ok"


def test_both_orders_of_one_judge_are_compared_unit_by_unit():
    votes = judged_twice(np.random.default_rng(1), 200, 0.0)
    one_judge = type(votes)(**{**votes.__dict__, "rater": np.zeros_like(votes.rater), "raters": ("j",)})
    figures = position.check(one_judge)[0].figures
    assert (figures["judged_in_both_orders"], figures["same_winner_consistency"]) == (200, 1.0)


def test_without_an_order_nothing_is_claimed():
    assert position.check(votes_of(np.array([[0.0, 1]])))[0].level == "not_checked"


def test_circles_are_counted_within_a_group_only():
    items = np.array([[0, 1], [1, 2], [0, 2]] * 2)
    code = np.array([[0.0], [0], [1], [0], [0], [0]])  # first question: a circle; second: an order
    grouped = votes_of(code, items=items, group=np.array([0, 0, 0, 1, 1, 1]))
    (found,) = intransitivity.check(grouped)
    assert (found.figures["cyclic_triads"], found.figures["complete_triads"]) == (1, 2)
    assert intransitivity.check(votes_of(code))[0].level == "not_checked"


def test_circles_agree_with_the_slow_count():
    rng = np.random.default_rng(2)
    i, j = np.triu_indices(12, 1)
    seen = rng.random(i.size) < 0.7
    net = rng.choice([-1.0, 0.0, 1.0], i.size)
    i, j, net = i[seen], j[seen], net[seen]
    beats = np.zeros((12, 12), dtype=bool)
    beats[i[net > 0], j[net > 0]] = beats[j[net < 0], i[net < 0]] = True
    decided = beats | beats.T
    cyclic = complete = 0
    for a in range(12):
        for b in range(a):
            for c in range(b):
                complete += decided[a, b] and decided[b, c] and decided[a, c]
                cyclic += (beats[a, b] and beats[b, c] and beats[c, a]) or (beats[b, a] and beats[c, b] and beats[a, c])
    assert intransitivity.cyclic_triads(i, j, net, 12) == (cyclic, complete)
    assert cyclic > 0


def test_a_judge_that_favours_its_own_family_is_found():
    rng = np.random.default_rng(3)
    n = 400
    code = np.column_stack([rng.random(n) > 0.8, rng.random(n) > 0.5]).astype(float)  # item 0 is the first judge's own
    votes = votes_of(code, items=np.tile([0, 1], (n, 1)), raters=("GPT-4/CoT", "Claude 2"))
    votes = type(votes)(**{**votes.__dict__, "item_names": ("chatgpt-turbo", "llama-2-7b")})
    (found,) = self_preference.check(votes)
    assert found.level == "bad"
    assert found.figures["own_family_win_rate"] > 0.7
    assert abs(found.figures["same_family_win_rate_by_others"] - 0.5) < 0.1
    assert self_preference.family("some model") is None
