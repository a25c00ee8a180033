"""What of ours listens where: services that run code for whoever reaches them belong on loopback alone."""

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass

import psutil

from sweetspot.errors import EngineError


@dataclass(frozen=True)
class Listener:
    """A listening TCP socket.

    Attributes:
        address: IP address it is bound to.
        port: its port.
        process: name of the process that holds it.
    """

    address: str
    port: int
    process: str

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        found = ipaddress.ip_address(self.address.split("%")[0])
        inner = getattr(found, "ipv4_mapped", None)
        return (inner or found).is_loopback


def listeners(*pids: int) -> Iterator[Listener]:
    """Every TCP port that these processes and their descendants listen on."""
    for process in _family(pids):
        try:
            name = process.name()
            for socket in process.net_connections(kind="tcp"):
                if socket.status == psutil.CONN_LISTEN:
                    yield Listener(socket.laddr.ip, socket.laddr.port, name)  # pyright: ignore
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue  # it has ended, or is not ours


def _family(pids: tuple[int, ...]) -> Iterator[psutil.Process]:
    for pid in pids:
        try:
            process = psutil.Process(pid)
            yield process
            yield from process.children(recursive=True)
        except psutil.NoSuchProcess:
            continue


def refuse_open_ports(what: str, *pids: int) -> None:
    """Return only if every port of these processes is on loopback.

    Raises:
        EngineError: naming the first one that other machines can reach.
    """
    found = [listener for listener in listeners(*pids) if not listener.is_loopback]
    if found:
        first = found[0]
        raise EngineError(
            f"{what}: {len(found)} ports can be reached from other machines, first {first.process} on "
            f"{first.address}:{first.port}; expected loopback only. Unset RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER and "
            "PREFECT_SERVER_API_HOST, or start the parts yourself behind a firewall (infra/)"
        )
