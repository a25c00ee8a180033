"""Every flow says how it ended: on its page in the Prefect UI (state and artifact), in its log and in the terminal."""

import functools
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar

from prefect import get_run_logger
from prefect.artifacts import create_table_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.runtime import flow_run as this_run
from prefect.states import Cancelled, Crashed

from flows._cancelling import RunCancelledError, stopping_when_cancelled
from flows._failures import CRASHED, Failure, as_ours, counting_steps, explain
from flows._floors import refuse_old_versions

P = ParamSpec("P")
R = TypeVar("R")
TOLD = "; next: "
_sentences: dict[str, str] = {}
"""Run to what this process has said of its end; Prefect's engine writes its own words over a crash."""


def told(function: Callable[P, R]) -> Callable[P, R | State]:
    """Wrap a flow's function: old versions are refused, and whatever ends it is said in one sentence.

    An error leaves as one of ours, whose text is that sentence; a cancelled run ends as Cancelled; Ctrl-C and signals
    leave as they came.
    """

    @functools.wraps(function)
    def telling(*args: P.args, **kwargs: P.kwargs) -> R | State:
        with counting_steps() as steps, stopping_when_cancelled() as cancelled:
            try:
                refuse_old_versions()
                return function(*args, **kwargs)
            except Exception as error:
                failure, ours = explain(error, steps), as_ours(error)
                _show(failure)
                raise type(ours)(failure.sentence) from None
            except BaseException as stop:
                stop = RunCancelledError() if cancelled.is_set() else stop
                failure = explain(stop, steps)
                _show(failure)
                if isinstance(stop, RunCancelledError):
                    return Cancelled(message=failure.sentence)
                _say_stopped(failure)
                raise

    return telling


def say(flow: Any, flow_run: FlowRun, state: State) -> None:
    """Hook for ends that no code of ours saw: a killed process, wrong parameters, an engine's own words.

    Prefect's runner passes its arguments by these names.
    """
    if TOLD in (state.message or ""):
        return
    text = _sentences.get(str(flow_run.id)) or f"{_of_engine(state)}; safe: {CRASHED}."
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(flow_run.id, State(type=state.type, name=state.name, message=text), force=True)


OPTIONS: dict[str, Any] = {"persist_result": False, "on_failure": [say], "on_crashed": [say]}
"""For every `@flow`: results are never stored, so nobody can plant one; and the hook."""


def _of_engine(state: State) -> str:
    """Prefect's own words, without what pydantic quotes of a wrong parameter."""
    lines = [
        line for line in (state.message or "").splitlines() if "input_value=" not in line and "https://" not in line
    ]
    return " ".join(" ".join(lines).split()).rstrip(".") or f"the run ended as {state.name}"


def _show(failure: Failure) -> None:
    """In the log and as an artifact; a server that is gone must not hide the failure itself."""
    if this_run.id is None:
        return
    with suppress(Exception):
        get_run_logger().error("%s", failure.sentence)
        row = {"what failed": failure.what, "what is safe": failure.safe, "what to do": failure.next}
        create_table_artifact(key="failure", table=[row], description="Why this run ended, and what to do")


def _say_stopped(failure: Failure) -> None:
    """Set the state now: at a signal the process may end before Prefect's engine does."""
    if this_run.id is None:
        return
    _sentences[this_run.id] = failure.sentence
    with suppress(Exception), get_client(sync_client=True) as client:
        run = client.read_flow_run(this_run.id)
        asked = run.state is not None and run.state.is_cancelling()
        ended = Cancelled(message=failure.sentence) if asked else Crashed(message=failure.sentence)
        client.set_flow_run_state(run.id, ended, force=True)
