"""A local or remote Ray cluster and chunks mapped over its actors; besides `_ray_jobs`, the only `import ray`."""

import logging
import os
import secrets
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from sweetspot import errors
from sweetspot.config import Cluster
from sweetspot.errors import EngineError, SweetspotError, describe
from tasks import _watchdog
from tasks._endpoints import check_cluster_address
from tasks._listening import refuse_open_ports
from tasks._ray_head import LOOPBACK, RayHead, ray_head
from tasks._waiting import has_ended, while_listening

CONNECT_POLL_S = 0.5
CONNECT_TIMEOUT_S = 120
GCS_WAIT = "RAY_gcs_server_port_wait_time_s"
"""Ray's own variable: how often a driver tries to reach the head, about a second each while nobody listens."""
ACTOR_TIMEOUT_S = 900
"""For the first worker of a stage: a cluster may have to start a machine for it."""
DEATHS = 4
"""Workers that may die over a chunk of a stage without a model; those with one keep notes, see `_isolation`."""
QUIET_STALLS = 10
"""A stage stops when nothing is finished for so many `stall_s`; a chunk worked prompt by prompt takes several."""
SERVED = "SWEETSPOT_RAY_ADDRESS"
"""Environment variable by which `sweetspot serve` tells its runs of the Ray head it started."""

# Set before the first import of Ray: it reads them once. Token authentication must be the same in
# every process; a private cluster gets a token of its own that nobody else can read from a file.
_ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",
    "RAY_ENABLE_AUTO_CONNECT": "0",  # a thread that outlives its cluster would join another one, or start it
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_task_oom_retries": "2",  # what Ray's memory monitor ends is tried again for ever by default
    "RAY_DEDUP_LOGS": "1",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    **LOOPBACK,
}


def _prepare_environment() -> None:
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if "RAY_AUTH_TOKEN" not in os.environ and not os.environ.get("RAY_AUTH_TOKEN_PATH"):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


# At import, not at first use: other libraries import Ray too, and it would take their settings.
_prepare_environment()


@contextmanager
def cluster(settings: Cluster) -> Iterator[str]:
    """Connect to the cluster, or start a private one on loopback; yields the address of its dashboard.

    Already connected: yields at once and leaves the connection to whoever opened it.
    """
    import ray

    if settings.address != "local":
        check_cluster_address(settings.address)
    if ray.is_initialized():
        yield _dashboards[-1]
        return
    address = os.environ.get(SERVED, "local") if settings.address == "local" else settings.address
    with ExitStack() as stack:
        head, known = None, None
        if address == "local":
            head = stack.enter_context(ray_head(cpus=settings.cpus))
            address, known = head.address, head.dashboard
        context = _connect(address, head)
        stack.callback(_disconnect, address)
        if known:
            refuse_open_ports("Ray", os.getpid())
        # A head tells its clients of its dashboard some time after the dashboard listens.
        _dashboards.append(known or str(context.dashboard_url))
        stack.callback(_dashboards.pop)
        _quiet_ray_data()
        yield _dashboards[-1]


def _connect(address: str, head: RayHead | None = None) -> Any:
    """Join a cluster; a head that has just started knows its own node some seconds later on a busy machine.

    A head of our own that gave up meanwhile, as it does when one of its parts is late, is started again.

    Raises:
        EngineError: nobody answered in time.
    """
    import ray

    deadline = time.monotonic() + CONNECT_TIMEOUT_S
    while True:
        if head is not None and head.has_ended():
            head.stop()
            head.start()
        try:
            with _own_sigterm(), _one_try():
                return ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError) as error:
            if time.monotonic() > deadline:
                raise EngineError(f"no Ray cluster answers at {address}: {str(error)[:200]}") from None
            time.sleep(CONNECT_POLL_S)


@contextmanager
def _one_try() -> Iterator[None]:
    """Ray tries a head that is gone 20 times, 40 s each; once is enough, for we try again."""
    theirs = os.environ.get(GCS_WAIT)
    os.environ[GCS_WAIT] = theirs or "1"
    try:
        yield
    finally:
        if theirs is None:
            del os.environ[GCS_WAIT]


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keep whoever handles SIGTERM now: Ray puts `sys.exit` there, and Prefect would take a cancel for a crash."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _disconnect(address: str) -> None:
    """Leave the cluster, unless it has ended: Ray would wait a minute for it and then end this process."""
    import ray

    if not has_ended(address):
        ray.shutdown()


def _quiet_ray_data() -> None:
    import ray

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False  # pyright: ignore[reportAttributeAccessIssue]
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # errors are raised, and shown once


_dashboards: list[str] = []
"""Dashboard of the cluster this process is connected to."""


class _ChunkActor:
    """Opens a stage's work once (models load here), then handles one chunk per call."""

    def __init__(self, open_work: Callable[[], Callable[[int], dict[str, Any]]]) -> None:
        self.open_work = open_work
        self.work: Callable[[int], dict[str, Any]] | None = None
        _watchdog.watch_worker()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {"receipt": [_value(partial(self._do, int(index))) for index in batch["chunk"]]}

    def _do(self, index: int) -> dict[str, Any]:
        self.work = self.work or self.open_work()
        return self.work(index)


def map_chunks(
    open_work: Callable[[], Callable[[int], dict[str, Any]]],
    chunks: Sequence[int],
    *,
    stage: str,
    settings: Cluster,
    models: bool,
) -> Iterator[dict[str, Any]]:
    """Run a stage's work over chunk numbers on the cluster; yields receipts as chunks commit.

    Args:
        open_work: picklable; called once per actor, returns the function from chunk number to receipt.
        chunks: chunk numbers still to do.
        stage: its name, for messages.
        settings: actors and GPUs to use.
        models: the work holds a model, so its actors take the configured GPUs.

    Raises:
        SweetspotError: the stage's own error, as it was raised in the actor.
        EngineError: any other error of the work; actors that die again and again; nothing finished for long; no actor
            could start.
        ClusterError: the cluster ended.
    """
    import ray
    import ray.exceptions
    from ray.data.exceptions import ExecutionTimeoutError

    dataset = ray.data.from_items([{"chunk": index} for index in chunks], override_num_blocks=len(chunks))
    with warnings.catch_warnings():  # in this Ray, `max_task_retries` has no other way into an actor pool
        warnings.filterwarnings("ignore", message="`ray_remote_args` is deprecated")
        dataset = dataset.map_batches(
            _ChunkActor,
            fn_constructor_kwargs={"open_work": open_work},
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=min(settings.max_actors, len(chunks))),
            num_cpus=1,
            num_gpus=settings.gpus_per_actor if models else 0,
            max_task_retries=-1 if models else DEATHS - 1,
        )
    # Ray's own limit is half an hour: as long as `stall_s`, and less than a chunk worked prompt by prompt may take.
    quiet_s = QUIET_STALLS * settings.stall_s + ACTOR_TIMEOUT_S
    dataset.context.execution_no_progress_timeout_s = quiet_s
    dataset.context.wait_for_min_actors_s = ACTOR_TIMEOUT_S
    try:
        for row in while_listening(iter(dataset.iter_rows()), _gcs_address()):
            yield value_of(row["receipt"])
    except ExecutionTimeoutError:
        raise EngineError(f"{stage}: {_quiet(quiet_s)}") from None
    except ray.exceptions.GetTimeoutError:
        raise EngineError(f"{stage}: {_no_actor(settings, models=models)}") from None
    except ray.exceptions.RayError as error:
        raise EngineError(f"{stage}: {_worker_failed(error)}") from None


def _gcs_address() -> str:
    import ray

    return ray.get_runtime_context().gcs_address


def run_once(work: Callable[[], dict[str, Any]], *, settings: Cluster) -> dict[str, Any]:
    """Run one function on the cluster and return its result.

    Raises:
        SweetspotError: the function's own error.
        EngineError: any other error of it; its worker died; it took longer than `job_timeout_s`.
        ClusterError: the cluster ended.
    """
    import ray
    import ray.exceptions

    remote = ray.remote(num_cpus=1, num_gpus=settings.gpus_per_actor, max_retries=1)(_value)
    result = remote.remote(work)
    try:
        waiting = (ray.get(one, timeout=settings.job_timeout_s) for one in [result])
        return value_of(next(while_listening(waiting, _gcs_address())))
    except ray.exceptions.GetTimeoutError:
        ray.cancel(result, force=True)
        raise EngineError(
            f"work on the cluster was stopped after {settings.job_timeout_s:.0f} s (cluster.job_timeout_s)"
        ) from None
    except ray.exceptions.RayError as error:
        raise EngineError(_worker_failed(error)) from None


def _value(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What the work returns, or its error as a value.

    Ray's wrappers would reach the driver without the message, and an error in a constructor as the death of an actor.
    """
    try:
        return work()
    except SweetspotError as error:
        return as_value(error)
    except Exception as error:
        return as_value(EngineError(f"unexpected {describe(error)}; committed chunks are safe"))


def as_value(error: SweetspotError) -> dict[str, Any]:
    """An error of ours as plain JSON, for another process to raise."""
    return {"error": type(error).__name__, "message": str(error)}


def value_of(value: dict[str, Any]) -> dict[str, Any]:
    """The value itself.

    Raises:
        SweetspotError: the one that `as_value` made it of.
    """
    if "error" in value:
        raise getattr(errors, value["error"])(value["message"])
    return value


def _worker_failed(error: Exception) -> str:
    """Name the kind of failure and never its text, which may hold rows."""
    return (
        f"a worker failed with {type(error).__name__}, again and again if it died: it was killed, ran out of memory or "
        "took longer than cluster.stall_s; committed chunks are safe. See the Ray logs"
    )


def _quiet(seconds: float) -> str:
    return (
        f"nothing was finished for {seconds:.0f} s ({QUIET_STALLS} times cluster.stall_s, and the start of a worker); "
        "committed chunks are safe. "
        "See the Ray logs; if chunks take that long, raise cluster.stall_s or lower cluster.chunk_prompts"
    )


def _no_actor(settings: Cluster, *, models: bool) -> str:
    import ray

    wanted = f"1 CPU and {settings.gpus_per_actor if models else 0:g} GPUs"
    there = ray.cluster_resources()
    return (
        f"no worker could start within {ACTOR_TIMEOUT_S} s; each takes {wanted}, the cluster has "
        f"{there.get('CPU', 0):g} CPUs and {there.get('GPU', 0):g} GPUs in all. Lower cluster.gpus_per_actor, or add "
        "machines"
    )
