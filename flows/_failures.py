"""What a person reads of a run that failed: in one sentence what failed, what is safe, and what to do.

The text of an error that is not ours may hold rows of the night, so only its kind and the place are told.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar

from flows._cancelling import RunCancelledError
from sweetspot.errors import (
    CheckError,
    ConfigError,
    ContractError,
    ConvergenceError,
    EngineError,
    StoreError,
    SweetspotError,
    UnexpectedError,
    kind_and_place,
)
from tasks._folder import FULL

T = TypeVar("T")
PUBLISHES = ("deliver_dataset", "clean_and_deliver")
AGAIN = "start the run again with the same settings, it goes on from there"
NEXT: tuple[tuple[type[BaseException], str], ...] = (
    (ConfigError, "correct that setting and start the run again"),
    (ContractError, "correct that input and start the run again"),
    (ConvergenceError, "change that method's settings and start the run again"),
    (CheckError, f"look at what the check names, mend it, and {AGAIN}"),
    (StoreError, f"when the store can be read and written again, {AGAIN}"),
    (EngineError, f"mend the cause (the Ray logs have more), and {AGAIN}"),
    (UnexpectedError, f"{AGAIN}; if it fails there again, report that place"),
    (BaseException, AGAIN),
)
"""What to do about each kind of error; the first that fits."""
CRASHED = f"committed chunks are safe and nothing is published half; next: {AGAIN}"
"""What is safe and what to do if nothing more is known than that the process is gone."""


@dataclass
class Steps:
    """How far a run has come.

    Attributes:
        at: the step it is at.
        done: steps that came to their end.
    """

    at: str = "start"
    done: list[str] = field(default_factory=list[str])


@dataclass(frozen=True)
class Failure:
    """A failure, told.

    Attributes:
        what: failed, and where.
        safe: what is kept.
        next: what to do.
    """

    what: str
    safe: str
    next: str

    @property
    def sentence(self) -> str:
        """All of it in one sentence."""
        return f"{self.what}; safe: {self.safe}; next: {self.next}."


_steps: ContextVar[Steps] = ContextVar("steps")


@contextmanager
def counting_steps() -> Iterator[Steps]:
    """Keep the steps of one run."""
    steps = Steps()
    token = _steps.set(steps)
    try:
        yield steps
    finally:
        _steps.reset(token)


@contextmanager
def step(name: str) -> Iterator[None]:
    """Mark a step of the run; what it raises is ours when it leaves."""
    steps = _steps.get(Steps())
    steps.at = name
    yield
    steps.done.append(name)


def explain(error: BaseException, steps: Steps) -> Failure:
    """What failed, what is safe and what to do.

    Args:
        error: what the run raised; one that is not ours is named by kind and place alone.
        steps: how far it had come.
    """
    ours = as_ours(error) if isinstance(error, Exception) else error
    advice = next(advice for kind, advice in NEXT if isinstance(ours, kind))
    if isinstance(ours, Exception):
        return Failure(f"{steps.at} failed: {' '.join(str(ours).rstrip('.').split())}", _safe(steps), advice)
    return Failure(f"{steps.at} was stopped {_by(ours)}", _safe(steps), advice)


def as_ours(error: Exception) -> SweetspotError:
    """The error itself if it is ours; else one of ours that says its kind and place, never its text."""
    if isinstance(error, SweetspotError):
        return error
    library, told = type(error).__module__.partition(".")[0], kind_and_place(error)
    if isinstance(error, OSError) and error.errno in FULL:
        return StoreError(f"the disk is full ({error.filename or told}); free some space there")
    if isinstance(error, MemoryError):
        return EngineError(f"out of memory ({told}); lower cluster.max_actors or cluster.chunk_prompts")
    if library == "ray":
        return EngineError(f"the Ray cluster is lost or refuses work ({told})")
    if isinstance(error, TimeoutError):
        return EngineError(f"no answer in time ({told})")
    if library in ("httpx", "httpcore", "prefect"):
        return EngineError(f"the Prefect server does not answer as it should ({told})")
    if isinstance(error, ConnectionError):
        return EngineError(f"a connection was refused or lost ({told})")
    return UnexpectedError(f"unexpected {told}")


def keeping_texts(function: Callable[..., T]) -> Callable[..., T]:
    """The function, whose errors Prefect logs, without the text of those that are not ours: it may hold rows."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> T:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            raise as_ours(error) from None

    return call


def _by(stop: BaseException) -> str:
    if isinstance(stop, KeyboardInterrupt):
        return "by Ctrl-C or SIGTERM"
    if isinstance(stop, RunCancelledError):
        return "because somebody cancelled the run"
    return f"by a signal ({type(stop).__name__})"


def _safe(steps: Steps) -> str:
    kept = f"{_listed(steps.done)} committed" if steps.done else "nothing had been made"
    if any(name in PUBLISHES for name in steps.done):
        return f"{kept}, the version is published"
    if steps.at in PUBLISHES:
        return f"{kept}, the version is published whole or not at all (`sweetspot doctor URI` says which)"
    chunks = "" if steps.at == "start" else f", {steps.at} keeps its finished chunks"
    return f"{kept}{chunks}, nothing was published"


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names)} {'is' if len(names) == 1 else 'are'}"
