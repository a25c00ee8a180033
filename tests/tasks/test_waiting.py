"""Who waits for a cluster on this machine learns that it ended; items, errors and ends pass as they are."""

import socket
import threading
import time

import pytest

from sweetspot.errors import CheckError, ClusterError
from tasks._waiting import while_listening


@pytest.fixture
def head():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def address(server):
    return f"127.0.0.1:{server.getsockname()[1]}"


def test_items_come_in_order_and_then_the_end(head):
    assert list(while_listening(iter(range(5)), address(head))) == [0, 1, 2, 3, 4]


def test_an_error_comes_as_it_is(head):
    def items():
        yield 1
        raise CheckError("the books")

    got = while_listening(items(), address(head))
    assert next(got) == 1
    with pytest.raises(CheckError, match="the books"):
        next(got)


def test_slow_items_are_waited_for_while_somebody_listens(head):
    assert list(while_listening((time.sleep(0.1) for _ in range(2)), address(head), look_s=0.01)) == [None, None]


def test_nobody_listening_ends_the_wait_and_names_the_head(head):
    never = threading.Event()
    got = while_listening((never.wait() for _ in range(1)), address(head), look_s=0.01)
    threading.Timer(0.1, head.close).start()
    where = address(head)
    started = time.monotonic()
    with pytest.raises(ClusterError, match=rf"the Ray head at {where} has ended .*committed chunks are safe"):
        next(got)
    assert time.monotonic() - started < 5
    never.set()


def test_a_head_elsewhere_is_waited_for_by_ray():
    assert list(while_listening(iter(range(3)), "192.0.2.1:6379")) == [0, 1, 2]


def test_who_stops_asking_lets_go_of_the_source(head):
    asked, closed = [], threading.Event()

    def items():
        try:
            for number in range(1000):
                asked.append(number)
                time.sleep(0.01)
                yield number
        finally:
            closed.set()

    got = while_listening(items(), address(head))
    next(got)
    got.close()
    assert closed.wait(5)
    assert len(asked) < 1000
