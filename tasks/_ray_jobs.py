"""Jobs on a Ray cluster: one per name however often it is launched, and a wait that always ends."""

import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count
from typing import Any

from sweetspot.errors import CheckError, EngineError, SweetspotError
from tasks import _ray  # before Ray: it sets what Ray reads when first imported

POLL_S = 0.5
REQUEST_TIMEOUT_S = 20
"""Most seconds one request to the head may take; Ray's own client would wait for ever."""
SILENCE_S = 60
"""Seconds without an answer, or without knowledge of our job, after which a head counts as gone."""
STOP_S = 15
"""Most seconds we wait for a job that we stop; Ray kills it after three."""
JOB_ERROR = "sweetspot job error: "
FINAL = ("SUCCEEDED", "FAILED", "STOPPED")
_NO_ANSWER = (RuntimeError, OSError)
"""What Ray's client raises for a refusal (RuntimeError) and for a lost connection or reply (OSError)."""


def run_job(module: str, arguments: Sequence[str], *, name: str, dashboard: str, deadline_s: float) -> str:
    """Run `python -m module arguments` as a Ray job and wait for its end; returns its log.

    A job of this name that still runs is joined, not started again, whoever launched it. When the wait is cut short,
    by a cancel or by the deadline, the job is stopped.

    Args:
        module: with `job_main` as its entry point.
        arguments: of the command.
        name: of the work; jobs of one name do the same. One that ended is followed by the next attempt.
        dashboard: host:port of the head's dashboard.
        deadline_s: most seconds to wait, from now.

    Raises:
        SweetspotError: the job's own error, as `job_main` wrote it.
        CheckError: it took longer than `deadline_s`.
        EngineError: the head does not answer, or the job did not succeed; the last lines of its log are in the message.
    """
    passed = {key: os.environ[key] for key in ("OMP_NUM_THREADS", "AWS_ENDPOINT_URL") if key in os.environ}
    command = shlex.join([sys.executable, "-m", module, *arguments])
    client = _patiently(lambda: _client(dashboard), f"no Ray dashboard answers at {dashboard}")
    job = _launch(client, name, entrypoint=command, runtime_env={"env_vars": passed})
    try:
        status = _wait(client, job, deadline_s)
    except BaseException:  # a cancel or SIGTERM comes as one of several libraries' own exceptions
        _stop(client, job)
        raise
    return _outcome(client, job, status)


def _client(dashboard: str) -> Any:
    from ray.job_submission import JobSubmissionClient

    class Client(JobSubmissionClient):
        def _do_request(self, method: str, endpoint: str, **options: Any) -> Any:
            return super()._do_request(method, endpoint, **{"timeout": REQUEST_TIMEOUT_S, **options})

    return Client(f"http://{dashboard}")


def _patiently(attempt: Callable[[], Any], what: str) -> Any:
    """Do it again until it works: the agent that takes jobs comes up some seconds after the head on a busy machine."""
    deadline = time.monotonic() + SILENCE_S
    while True:
        try:
            return attempt()
        except _NO_ANSWER as error:
            if time.monotonic() > deadline:
                raise EngineError(f"{what} within {SILENCE_S} s: {_said(error)}") from None
            time.sleep(POLL_S)


def _launch(client: Any, name: str, **job: Any) -> str:
    """Id of the running job of this name: the next attempt is submitted where every earlier one has ended."""
    for attempt in count(1):
        job_id = f"{name}-{attempt}"
        status = _patiently(lambda job_id=job_id: _submit(client, job_id, job), f"the cluster takes no job {job_id}")
        if status not in FINAL:
            return job_id
    raise AssertionError("unreachable")


def _submit(client: Any, job_id: str, job: dict[str, Any]) -> str:
    """Status of the job after asking for it; the head accepts an id once, so a doubtful reply is settled by asking."""
    try:
        client.submit_job(submission_id=job_id, **job)
    except _NO_ANSWER as error:
        try:
            return client.get_job_status(job_id).value
        except _NO_ANSWER:
            raise error from None
    except BaseException:  # a cancel may come after the head took the job and before it said so
        _stop(client, job_id)
        raise
    return "PENDING"


def _wait(client: Any, job: str, deadline_s: float) -> str:
    """Status in which the job ended."""
    heard = started = time.monotonic()
    while True:
        now = time.monotonic()
        try:
            status = client.get_job_status(job).value
            heard = now
        except _NO_ANSWER as error:
            status = "unknown"
            if now - heard > SILENCE_S:
                raise EngineError(
                    f"job {job}: its Ray head has not answered for {now - heard:.0f} s ({_said(error)}); started "
                    "again, the run joins the job if it still runs, or goes on from its last checkpoint"
                ) from None
        if status in FINAL:
            return status
        if now - started > deadline_s:
            raise CheckError(
                f"job {job} took more than {deadline_s:.0f} s (cluster.job_timeout_s) and was stopped; raise the "
                "setting, or start the run again: the job goes on from its last checkpoint"
            )
        time.sleep(POLL_S)


def _stop(client: Any, job: str) -> None:
    """Stop a job and see it end; a head that does not answer has none to stop."""
    deadline = time.monotonic() + STOP_S
    with suppress(*_NO_ANSWER):
        client.stop_job(job)
        while client.get_job_status(job).value not in FINAL and time.monotonic() < deadline:
            time.sleep(POLL_S)


def _outcome(client: Any, job: str, status: str) -> str:
    log = ""
    with suppress(*_NO_ANSWER):
        log = client.get_job_logs(job)
    if status == "SUCCEEDED":
        return log
    own = [line for line in log.splitlines() if line.startswith(JOB_ERROR)]
    if own:
        _ray.value_of(json.loads(own[-1].removeprefix(JOB_ERROR)))
    raise EngineError(f"job {job} ended as {status}:\n" + "\n".join(log.splitlines()[-15:]))


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:200]}"


def job_main(main: Callable[..., None], arguments: Sequence[str]) -> None:
    """Run a job's entry point; our own error becomes a line of its log, which `run_job` raises again."""
    try:
        main(*arguments)
    except SweetspotError as error:
        sys.stdout.write(f"{JOB_ERROR}{json.dumps(_ray.as_value(error))}\n")
        sys.exit(1)
