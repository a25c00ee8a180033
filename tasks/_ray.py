"""A local or remote Ray cluster and chunks mapped over its actors; besides `_ray_jobs`, the only `import ray`."""

import logging
import os
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from sweetspot import errors
from sweetspot.config import Cluster
from sweetspot.errors import EngineError, SweetspotError
from tasks._endpoints import check_cluster_address
from tasks._listening import refuse_open_ports
from tasks._ray_head import LOOPBACK, ray_head

CONNECT_POLL_S = 0.5
CONNECT_TIMEOUT_S = 120
SERVED = "SWEETSPOT_RAY_ADDRESS"
"""Environment variable by which `sweetspot serve` tells its runs of the Ray head it started."""

# Set before the first import of Ray: it reads them once. Token authentication must be the same in
# every process; a private cluster gets a token of its own that nobody else can read from a file.
_ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
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
        known = None
        if address == "local":
            head = stack.enter_context(ray_head(cpus=settings.cpus))
            address, known = head.address, head.dashboard
        context = _connect(address)
        stack.callback(ray.shutdown)
        if known:
            refuse_open_ports("Ray", os.getpid())
        # A head tells its clients of its dashboard some time after the dashboard listens.
        _dashboards.append(known or str(context.dashboard_url))
        stack.callback(_dashboards.pop)
        _quiet_ray_data()
        yield _dashboards[-1]


def _connect(address: str) -> Any:
    """Join a cluster; a head that has just started knows its own node some seconds later on a busy machine."""
    import ray

    deadline = time.monotonic() + CONNECT_TIMEOUT_S
    while True:
        try:
            with _own_sigterm():
                return ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except ConnectionError as error:
            if time.monotonic() > deadline:
                raise EngineError(f"no Ray cluster answers at {address}: {str(error)[:200]}") from None
            time.sleep(CONNECT_POLL_S)


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


def _quiet_ray_data() -> None:
    import ray

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False  # pyright: ignore[reportAttributeAccessIssue]
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # errors are raised, and shown once


_dashboards: list[str] = []
"""Dashboard of the cluster this process is connected to."""


class _ChunkActor:
    """Opens a stage's work once (models load here), then handles one chunk per call.

    Our own errors travel as values: Ray's wrappers would reach the driver without the message, and an
    error in a constructor as the death of an actor.
    """

    def __init__(self, open_work: Callable[[], Callable[[int], dict[str, Any]]]) -> None:
        self.open_work = open_work
        self.work: Callable[[int], dict[str, Any]] | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {"receipt": [self._do(int(index)) for index in batch["chunk"]]}

    def _do(self, index: int) -> dict[str, Any]:
        try:
            self.work = self.work or self.open_work()
            return self.work(index)
        except SweetspotError as error:
            return _as_value(error)


def map_chunks(
    open_work: Callable[[], Callable[[int], dict[str, Any]]],
    chunks: Sequence[int],
    *,
    settings: Cluster,
    models: bool,
) -> Iterator[dict[str, Any]]:
    """Run a stage's work over chunk numbers on the cluster; yields receipts as chunks commit.

    Args:
        open_work: picklable; called once per actor, returns the function from chunk number to receipt.
        chunks: chunk numbers still to do.
        settings: actors and GPUs to use.
        models: the work holds a model, so its actors take the configured GPUs.

    Raises:
        SweetspotError: the stage's own error, as it was raised in the actor.
        EngineError: an actor died.
    """
    import ray
    import ray.exceptions

    compute = ray.data.ActorPoolStrategy(min_size=1, max_size=min(settings.max_actors, len(chunks)))
    dataset = ray.data.from_items([{"chunk": index} for index in chunks], override_num_blocks=len(chunks)).map_batches(
        _ChunkActor,
        fn_constructor_kwargs={"open_work": open_work},
        batch_size=1,
        compute=compute,
        num_cpus=1,
        num_gpus=settings.gpus_per_actor if models else 0,
    )
    try:
        for row in dataset.iter_rows():
            yield _receipt(row["receipt"])
    except ray.exceptions.RayError as error:
        raise _worker_failed(error) from None


def run_once(work: Callable[[], dict[str, Any]], *, settings: Cluster) -> dict[str, Any]:
    """Run one function on the cluster and return its result.

    Raises:
        SweetspotError: the function's own error.
        EngineError: its worker died.
    """
    import ray
    import ray.exceptions

    remote = ray.remote(num_cpus=1, num_gpus=settings.gpus_per_actor, max_retries=1)(_call)
    try:
        return _receipt(ray.get(remote.remote(work)))
    except ray.exceptions.RayError as error:
        raise _worker_failed(error) from None


def _call(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    return _ChunkActor(lambda: lambda _: work())({"chunk": [0]})["receipt"][0]


def _as_value(error: SweetspotError) -> dict[str, Any]:
    return {"error": type(error).__name__, "message": str(error)}


def _receipt(value: dict[str, Any]) -> dict[str, Any]:
    if "error" in value:
        raise getattr(errors, value["error"])(value["message"])
    return value


def _worker_failed(error: Exception) -> EngineError:
    """Name the kind of failure and never its text, which may hold rows."""
    kind = type(error).__name__
    return EngineError(f"a worker of this stage failed with {kind}; committed chunks are safe. See the Ray logs")
