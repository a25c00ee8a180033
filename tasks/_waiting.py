"""Waiting for a cluster that may be no more.

Ray waits a minute for its head and then ends our process without a word; so we look for the head ourselves meanwhile.
"""

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from sweetspot.errors import ClusterError
from tasks._ray_head import HOST, is_listening

T = TypeVar("T")
LOOK_S = 1.0
MISSES = 3
"""Looks in a row at which nobody listened; one alone can be a head too busy to answer."""


@dataclass
class _Item(Generic[T]):
    value: T


def has_ended(address: str) -> bool:
    """Whether a head on this machine listens no more."""
    host, _, port = address.rpartition(":")
    return host == HOST and not is_listening(int(port))


def while_listening(items: Iterator[T], address: str, *, look_s: float = LOOK_S) -> Generator[T]:
    """Items as they come, for as long as somebody listens at `address`, if that is on this machine.

    A head on another machine may come back at its address; waiting for it is Ray's.

    Raises:
        ClusterError: nobody listens any more.
    """
    if address.rpartition(":")[0] != HOST:
        yield from items
        return
    found: queue.SimpleQueue[_Item[T] | BaseException | None] = queue.SimpleQueue()
    left = threading.Event()
    threading.Thread(target=_pull, args=(items, found.put, left), daemon=True).start()
    misses = 0
    try:
        while True:
            try:
                got = found.get(timeout=look_s)
            except queue.Empty:
                misses = misses + 1 if has_ended(address) else 0
                if misses >= MISSES:
                    raise ClusterError(_ended(address)) from None
                continue
            if got is None:
                return
            if isinstance(got, BaseException):
                raise got
            yield got.value
    finally:
        left.set()


def _pull(items: Iterator[T], put: Callable[[_Item[T] | BaseException | None], None], left: threading.Event) -> None:
    try:
        for item in items:
            put(_Item(item))
            if left.is_set():
                break
        put(None)
    except BaseException as error:
        put(error)


def _ended(address: str) -> str:
    return (
        f"the Ray head at {address} has ended (killed, or out of memory; its logs are below /tmp/ray), and with it the "
        "workers of this stage; committed chunks are safe. Start the run again; it goes on from them"
    )
