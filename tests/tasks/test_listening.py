"""What really listens, as the kernel says."""

import os
import socket
import subprocess
import sys

import pytest
import ray

from sweetspot.errors import EngineError
from tasks._listening import Listener, listeners, refuse_open_ports

HOLD = "import socket, sys; s = socket.create_server((sys.argv[1], 0)); print(s.getsockname()[1], flush=True); input()"


@pytest.fixture
def listening():
    """Makes a child process that listens on an address; returns its port."""
    children = []

    def listen(address: str) -> int:
        child = subprocess.Popen(
            [sys.executable, "-c", HOLD, address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        children.append(child)
        return int(child.stdout.readline())

    yield listen
    for child in children:
        child.communicate("")


def test_a_child_that_listens_for_other_machines_is_named(listening):
    port = listening("0.0.0.0")
    with pytest.raises(EngineError, match=rf"serve: 1 ports can be reached from other machines, .*0\.0\.0\.0:{port}"):
        refuse_open_ports("serve", os.getpid())


def test_a_child_on_loopback_is_fine(listening):
    ours = {listening("127.0.0.1"), listening("127.0.0.9")}
    assert ours <= {found.port for found in listeners(os.getpid())}
    refuse_open_ports("serve", os.getpid())


def test_our_own_port_counts():
    with socket.create_server(("0.0.0.0", 0)) as own, pytest.raises(EngineError, match=f":{own.getsockname()[1]}"):
        refuse_open_ports("this", os.getpid())


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("fe80::1%eth0", False),
        ("::", False),
        ("0.0.0.0", False),
        ("::ffff:10.0.0.1", False),
        ("10.0.0.1", False),
    ],
)
def test_loopback_in_every_spelling(address, loopback):
    assert Listener(address, 1, "p").is_loopback is loopback


def test_no_process_is_no_port():
    refuse_open_ports("nothing", 2**22 - 1)


def test_our_ray_cluster_listens_on_loopback_alone(ray_cluster):
    """Its workers too, which open their ports only when there is work."""
    assert ray.get(ray.remote(lambda: 1).remote()) == 1
    found = list(listeners(os.getpid()))
    assert {"gcs_server", "raylet"} <= {listener.process for listener in found}
    assert [listener for listener in found if not listener.is_loopback] == []
    outer = socket.gethostbyname(socket.gethostname())
    if not outer.startswith("127."):
        for listener in found:
            with socket.socket() as probe:
                assert probe.connect_ex((outer, listener.port)) != 0, listener
