"""Random numbers as a function of seed, row and sample: no generator state, so no draw depends on another."""

import numpy as np
from numpy.typing import NDArray

KeyArray = NDArray[np.uint64]

LARGEST_KEY = np.iinfo(np.uint64).max


def draw_keys(seed: int, stream: int, rows: NDArray[np.int64], samples: NDArray[np.int64]) -> KeyArray:
    """Pseudo-random keys (R, n) of rows (R,) and sample numbers (n,) or (R, n), distinct within a row.

    SplitMix64 (Steele, Lea, Flood 2014) on counters: its output function is a bijection, so different sample numbers
    give different keys. The sample with the smallest key is a uniform draw, the m smallest a draw without replacement.
    """
    odd = np.uint64(0x9E3779B97F4A7C15)
    start = np.random.SeedSequence([seed, stream]).generate_state(1, np.uint64)[0]
    row_keys = _mixed(start + odd * (rows.astype(np.uint64) + np.uint64(1)))
    return _mixed(row_keys[:, None] + odd * (samples.astype(np.uint64) + np.uint64(1)))


def _mixed(state: KeyArray) -> KeyArray:
    """SplitMix64's output function, in place."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        state ^= state >> np.uint64(shift)
        state *= np.uint64(factor)
    state ^= state >> np.uint64(31)
    return state
