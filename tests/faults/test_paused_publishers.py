"""A publisher is stopped (SIGSTOP) at a seam for as long as another publishes, then goes on: one version, no doubt.

Real processes, as an orchestrator leaves them behind that takes a paused machine for a dead one.
"""

import multiprocessing
import os
import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest
from small_versions import FACTS, content_of, few_documents

from sweetspot.errors import CheckError
from tasks import _publication
from tasks._dates import PATIENCE, is_fence
from tasks._publication import publish_version
from tasks._versions import differences, open_version

TIMEOUT_S = 60
UNCLAIMED = "about_to_claim"
BEFORE = ("date_claimed", "data_file_committed", "first_try_noted", "documents_committed")
AFTER = ("manifest_committed", "latest_moved")
OURS, THEIRS = "a" * 16, "b" * 16
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["small_versions", "tasks._publication"])


def publish(uri: str, fingerprint: str, late: timedelta, stop_at: str, answer) -> None:
    """What one process does; it stops itself the first time it comes to a seam, its clock is `late` ahead of ours."""
    still_to_come = {stop_at}

    def seam(name: str) -> None:
        if name in still_to_come:
            still_to_come.clear()
            os.kill(os.getpid(), signal.SIGSTOP)

    class Clock:
        @staticmethod
        def now(zone: object) -> datetime:
            return datetime.now(UTC) + late

    claim = _publication.claim_date

    def claim_date(*where, **when) -> None:
        seam(UNCLAIMED)
        claim(*where, **when)

    for name, value in {"seam": seam, "datetime": Clock, "claim_date": claim_date, "_documents": few_documents}.items():
        setattr(_publication, name, value)
    try:
        done = publish_version(content_of("nights", fingerprint=fingerprint), FACTS, store_uri=uri, dataset="nights")
    except CheckError as error:
        answer.send(("", str(error)))
    else:
        answer.send((done.version, ""))


class Publisher:
    """A process that publishes, and how it ended: the version it believes published, or why not."""

    def __init__(self, uri: str, fingerprint: str, *, late: timedelta = timedelta(0), stop_at: str = "") -> None:
        self.answer, theirs = PROCESSES.Pipe(duplex=False)
        self.process = PROCESSES.Process(target=publish, args=(uri, fingerprint, late, stop_at, theirs), daemon=True)
        self.process.start()

    def wait_until_stopped(self) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while psutil.Process(self.process.pid).status() != psutil.STATUS_STOPPED:
            assert time.monotonic() < deadline, "it never came to where it stops"
            time.sleep(0.01)

    def go_on(self) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, signal.SIGCONT)

    def outcome(self) -> tuple[str, str]:
        assert self.answer.poll(TIMEOUT_S), "no answer"
        found = self.answer.recv()
        self.process.join(TIMEOUT_S)
        return found


def race(uri: str, paused: str, other: str, *, stop_at: str, late: timedelta = PATIENCE):
    """Outcomes of the one that was stopped all the while, and of the one that published meanwhile."""
    first = Publisher(uri, paused, stop_at=stop_at)
    try:
        first.wait_until_stopped()
        second = Publisher(uri, other, late=late).outcome()
        assert psutil.Process(first.process.pid).status() == psutil.STATUS_STOPPED
        first.go_on()
        return first.outcome(), second
    finally:
        if first.process.is_alive():
            first.go_on()
            first.process.kill()


def the_one_version(folder: Path) -> str:
    """The only version there is; readers get it whole."""
    manifests = [path for path in folder.glob("nights/versions/*/manifest.json") if not is_fence(path.read_bytes())]
    (only,) = manifests
    found = open_version(f"file://{folder}", "nights")
    assert found.root.endswith(only.parent.name)
    assert not list(differences(found))
    return only.parent.name


@pytest.mark.parametrize("stop_at", [UNCLAIMED, *BEFORE, *AFTER])
def test_a_twin_that_published_meanwhile_is_no_conflict(tmp_path, stop_at):
    paused, other = race(f"file://{tmp_path}", OURS, OURS, stop_at=stop_at)
    version = the_one_version(tmp_path)
    assert paused == other == (version, "")


@pytest.mark.parametrize("stop_at", [UNCLAIMED, *BEFORE])
def test_whoever_was_paused_before_its_manifest_learns_who_took_its_date(tmp_path, stop_at):
    paused, other = race(f"file://{tmp_path}", OURS, THEIRS, stop_at=stop_at)
    version = the_one_version(tmp_path)
    assert other == (version, "")
    assert paused[0] == ""
    assert version in paused[1]
    assert ("has been published as" if stop_at == UNCLAIMED else "took over its date") in paused[1]


@pytest.mark.parametrize("stop_at", AFTER)
def test_whoever_was_paused_after_its_manifest_has_published(tmp_path, stop_at):
    paused, other = race(f"file://{tmp_path}", OURS, THEIRS, stop_at=stop_at)
    version = the_one_version(tmp_path)
    assert paused == (version, "")
    assert other[0] == ""
    assert f"has been published as {version}" in other[1]


def test_a_short_pause_costs_nobody_its_date(tmp_path):
    paused, other = race(f"file://{tmp_path}", OURS, THEIRS, stop_at=BEFORE[-1], late=timedelta(0))
    version = the_one_version(tmp_path)
    assert paused == (version, "")
    assert "and is being published, this one not" in other[1]
