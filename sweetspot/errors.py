"""Every error sweetspot raises on purpose.

    SweetspotError
    ├── ContractError      (ValueError)       bad input, or data a method cannot work on
    │   └── MissingRatingError                a rating is needed and is not there; it is never taken as 0
    ├── ConfigError        (ValueError)       a configuration that cannot run
    ├── ConvergenceError   (ArithmeticError)  an iteration ran out of steps
    ├── CheckError         (RuntimeError)     data or a run failed a check: books, hashes, gates
    ├── EngineError        (RuntimeError)     a sampler, rater or trainer failed
    │   └── ClusterError                      the cluster ended under a run; nothing more can be tried on it
    ├── UnexpectedError    (RuntimeError)     nobody foresaw it; its kind and place, never its text
    └── StoreError         (OSError)          object storage failed or cannot keep our promises

Messages have four parts: what, where (table or argument, count, first id or index), got against
expected, next step. All classes take one string, so they survive pickling across processes.
"""

import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OURS = ("sweetspot", "tasks", "flows")


class SweetspotError(Exception):
    """Base of every error in this package."""


class ContractError(SweetspotError, ValueError):
    """Bad input, a bad option, or data the method cannot work on."""


class MissingRatingError(ContractError):
    """A rating or rating gap is missing where one is needed."""


class ConfigError(SweetspotError, ValueError):
    """A configuration that cannot run."""


class ConvergenceError(SweetspotError, ArithmeticError):
    """An iterative solver ran out of steps before its tolerance."""


class CheckError(SweetspotError, RuntimeError):
    """Data or a run failed a check: books out of balance, a wrong hash, a closed gate."""


class EngineError(SweetspotError, RuntimeError):
    """A sampler, rater, log-prob scorer or trainer failed."""


class UnexpectedError(SweetspotError, RuntimeError):
    """Something nobody foresaw, by kind and place: the text of an error that is not ours may hold rows."""


class ClusterError(EngineError):
    """The cluster of a run ended; nothing more can be tried on it."""


class StoreError(SweetspotError, OSError):
    """Object storage failed, or does not keep the promises a commit needs."""


def describe(error: BaseException) -> str:
    """Kind and place of an error and of its causes; not their texts, which may hold rows, unless they are ours.

    `KeyError at tasks/build_pairs.py:88, from TypeError at sweetspot/ids.py:40`.
    """
    if isinstance(error, SweetspotError):
        return f"{type(error).__name__}: {error}"
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    said = kind_and_place(error)
    return said if cause is None else f"{said}, from {describe(cause)}"


def kind_and_place(error: BaseException) -> str:
    """Kind and place of an error, never its text: `KeyError at tasks/build_pairs.py:88`.

    The place is the last line of ours that it passed, else its last line; an error that was never raised has none.
    """
    passed = [(Path(frame.f_code.co_filename), line) for frame, line in traceback.walk_tb(error.__traceback__)]
    ours = [(path.relative_to(ROOT), line) for path, line in passed if _is_ours(path)]
    elsewhere = [(path.name, line) for path, line in passed]
    place = " at {}:{}".format(*(ours or elsewhere)[-1]) if passed else ""
    return f"{type(error).__name__}{place}"


def _is_ours(path: Path) -> bool:
    return path.is_relative_to(ROOT) and path.relative_to(ROOT).parts[0] in OURS
