"""A run that was cancelled stops and publishes nothing, also one without a worker that would stop it.

Prefect only writes Cancelling down: whoever started the process has to end it. A worker does; a run from the terminal
has to look itself.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.runtime import flow_run
from prefect.states import Cancelled

POLL_S = 5
GRACE_S = 20
"""How long a run may take to end what it holds; with `POLL_S` it is gone within 30 s."""
BY_WORKER = "PREFECT__FLOW_RUN_ID"
"""Set by a worker, which ends its processes itself: SIGTERM first, after 30 s by force."""


class RunCancelledError(BaseException):
    """Somebody cancelled this run. No `Exception`, so that nothing on the way takes it for a failed step."""


def stop_if_cancelled() -> None:
    """Ask the server before a step begins; one that does not answer stops nothing.

    Raises:
        RunCancelledError: the run has been cancelled.
    """
    if flow_run.id is None:
        return
    cancelled = False
    with suppress(Exception), get_client(sync_client=True) as client:
        cancelled = _is_cancelled(client, UUID(flow_run.id))
    if cancelled:
        raise RunCancelledError


@contextmanager
def stopping_when_cancelled() -> Iterator[threading.Event]:
    """Look every few seconds whether this run has been cancelled, and if so end it; yields whether it has been."""
    cancelled, ended = threading.Event(), threading.Event()
    if flow_run.id is None or BY_WORKER in os.environ or threading.current_thread() is not threading.main_thread():
        yield cancelled
        return
    with ExitStack() as stack:
        client = stack.enter_context(get_client(sync_client=True))
        watcher = threading.Thread(target=_watch, args=(client, UUID(flow_run.id), cancelled, ended), daemon=True)
        watcher.start()
        stack.callback(watcher.join)
        stack.callback(ended.set)
        yield cancelled


def _watch(client: SyncPrefectClient, run: UUID, cancelled: threading.Event, ended: threading.Event) -> None:
    while not ended.wait(POLL_S):
        with suppress(Exception):
            if _is_cancelled(client, run):
                cancelled.set()
                break
    if not cancelled.is_set():
        return
    os.kill(os.getpid(), signal.SIGTERM)
    if not ended.wait(GRACE_S):
        with suppress(Exception):
            client.set_flow_run_state(run, Cancelled(message=f"did not end within {GRACE_S} s; killed"), force=True)
        os.kill(os.getpid(), signal.SIGKILL)


def _is_cancelled(client: SyncPrefectClient, run: UUID) -> bool:
    state = client.read_flow_run(run).state
    return state is not None and (state.is_cancelling() or state.is_cancelled())
