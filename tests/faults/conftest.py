"""What the sweeps share: a real S3 endpoint behind a harmful proxy, nights in processes, the page of results."""

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from fault_proxy import Proxy, harmful
from faults_page import enter, finish, note
from killed_nights import Nights, night_runner
from moto_process import moto_server, pointed_at
from orchestrated import Server

from tasks._ray_head import free_ports

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def figure(request):
    """Enter a line in a table of the page: `figure("Table", column=value, …)`."""
    return lambda table, **line: enter(request.path.stem, table, line)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note which files of sweeps failed."""
    if report.failed:
        note(Path(report.fspath).stem)


def pytest_sessionfinish() -> None:
    """Write the page, if one was asked for."""
    finish(ROOT)


@pytest.fixture(scope="module")
def proxy() -> Iterator[Proxy]:
    """The endpoint every store of this module talks to."""
    with moto_server() as upstream:
        proxy = Proxy(upstream=upstream)
        with harmful(proxy) as address, pointed_at(address):
            boto3.client("s3").create_bucket(Bucket=proxy.bucket)
            yield proxy


@pytest.fixture
def server(tmp_path) -> Iterator[Server]:
    """A Prefect server that the test may harm."""
    server = Server(tmp_path, free_ports(1)[0])
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def nights(root, tmp_path_factory) -> Iterator[Nights]:
    """Runs nights, each in a process of its own."""
    with night_runner(root, tmp_path_factory.mktemp("nights")) as runner:
        yield runner


@pytest.fixture(scope="module")
def undisturbed(nights):
    """Outcomes of nights that nobody killed, without and with training."""
    for name, train in (("curated", False), ("trained", True)):
        assert nights.run(name, train=train) == 0, (nights.folder / name / "log.txt").read_text()[-2000:]
    return {False: nights.outcome("curated"), True: nights.outcome("trained")}
