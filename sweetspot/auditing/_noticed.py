"""Whether an audit of a spoilt copy would say something that it does not say of the data as it is."""

import numpy as np
from numpy.typing import NDArray

from sweetspot.auditing.checks._shares import Z95
from sweetspot.auditing.checks.agreement import GOOD_ALPHA, POOR_ALPHA
from sweetspot.auditing.scenarios import FEW_IN_SLICE
from sweetspot.auditing.subjects import Look, Subject
from sweetspot.validation.bias import wilson_interval

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

NOTICED_RISE = 0.5
"""A plant is noticed when the flagged share rises by this part of the planted share."""
NO_ALPHA = 0.1
"""Agreement beyond chance below this is hardly any."""
_STANDS_OUT_ERRORS = 3.0


def is_noticed(subject: Subject, base: Look, seen: Look, planted: BoolArray) -> bool:
    """Whether the flagged share rises with the planted one, or agreement, one slice or length gives it away."""
    rise = float(seen.flagged.mean() - base.flagged.mean())
    return (
        rise >= NOTICED_RISE * float(planted.mean())
        or agreement_falls(base, seen)
        or any(_stands_out(codes, seen, planted) for codes in subject.slices.values())
        or _length_decides(subject, planted)
    )


def agreement_falls(base: Look, seen: Look) -> bool:
    """Whether agreement falls below a bound at which the audit says something else."""
    if base.agreement is None or seen.agreement is None:
        return False
    return any(seen.agreement < bound <= base.agreement for bound in (GOOD_ALPHA, POOR_ALPHA, NO_ALPHA))


def _stands_out(codes: IntArray, seen: Look, planted: BoolArray) -> bool:
    """Whether the spoilt slice has the largest flagged share of all, by three standard errors above the others."""
    spoilt = np.unique(codes[planted])
    if spoilt.size != 1 or spoilt[0] < 0:
        return False
    rows = np.bincount(codes[codes >= 0])
    shares = np.bincount(codes[codes >= 0], seen.flagged[codes >= 0]) / np.maximum(rows, 1)
    shares[rows < FEW_IN_SLICE] = 0.0
    inside, outside = seen.flagged[codes == spoilt[0]], seen.flagged[(codes != spoilt[0]) & (codes >= 0)]
    if int(np.argmax(shares)) != spoilt[0] or not outside.size:
        return False
    error = np.sqrt(0.25 / inside.size)
    return float(inside.mean() - outside.mean()) >= _STANDS_OUT_ERRORS * error


def _length_decides(subject: Subject, planted: BoolArray) -> bool:
    """Whether the longer response now wins more or less often than the interval of its rate before allows."""
    if subject.shorter_won is None:
        return False
    rows = subject.candidates
    before, after = subject.shorter_won[rows], (subject.shorter_won ^ planted)[rows]
    low, high = wilson_interval(int(before.sum()), before.size, Z95)
    return not low <= float(after.mean()) <= high
