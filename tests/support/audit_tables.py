"""Small tables of an audit, made up for tests."""

import numpy as np

from sweetspot.auditing.tables import Pairs, Scores, Votes


def votes_of(table, classes=2, items=None, group=None, position=None, raters=None, gold=None):
    """Votes of a (units, raters) table of codes, NaN for none."""
    unit, rater = np.nonzero(~np.isnan(table))
    n, k = table.shape
    return Votes(
        unit=unit,
        rater=rater,
        code=table[unit, rater].astype(np.int64),
        position=np.full(unit.size, -1) if position is None else position[unit, rater],
        count=np.ones(unit.size, dtype=np.int64),
        units=tuple(f"u{i}" for i in range(n)),
        raters=tuple(f"r{i}" for i in range(k)) if raters is None else raters,
        classes=("first", "second", "tie")[:classes],
        paired=True,
        items=items,
        item_names=() if items is None else tuple(f"i{i}" for i in range(items.max() + 1)),
        group=group,
        gold=gold,
    )


def crowd(rng, n, accuracies, shared=0.0):
    """True classes and votes of raters with these accuracies; a share of the units fools all who are fooled at once."""
    truth = rng.integers(0, 2, n)
    fooled = rng.random(n) < shared
    wrong = rng.random((n, len(accuracies))) > np.array(accuracies)
    wrong[fooled] = rng.random((int(fooled.sum()), 1)) < 0.6
    return truth, np.where(wrong, 1 - truth[:, None], truth[:, None]).astype(float)


def pairs_of(n, keys=None, chars=None, labels=None, **numbers):
    keys = np.arange(n * 6, dtype=np.uint64).reshape(n, 3, 2) if keys is None else keys
    return Pairs(
        row=np.arange(n),
        row_id=np.array([f"r{k}" for k in range(n)], dtype=object),
        keys=keys,
        chars=np.ones((n, 3), dtype=np.int32) if chars is None else chars,
        flaws=np.zeros((n, 2), dtype=np.uint8),
        style=np.zeros((n, 2, 5), dtype=np.uint16),
        tie=np.zeros(n, dtype=bool),
        numbers=numbers,
        labels=labels or {},
    )


def scores_of(score, prompt=None, chars=None, raters=None):
    """Scores of responses, (n, raters), NaN where not rated."""
    n, k = score.shape
    return Scores(
        row=np.arange(n),
        row_id=np.array([f"r{i}" for i in range(n)], dtype=object),
        prompt=np.zeros(n, dtype=np.int64) if prompt is None else prompt,
        keys=np.arange(n * 4, dtype=np.uint64).reshape(n, 2, 2),
        chars=np.ones(n, dtype=np.int32) if chars is None else chars,
        flaws=np.zeros(n, dtype=np.uint8),
        style=np.zeros((n, 5), dtype=np.uint16),
        raters=tuple(f"r{i}" for i in range(k)) if raters is None else raters,
        score=score,
        when=np.where(np.isnan(score), -1, np.arange(n)[:, None]),
    )
