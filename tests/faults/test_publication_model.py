"""The real publishing code against a model of what it promises: any order of publishing, reading, dying, coming back,
pausing and going on, by several runs of several dates.

Runs are greenlets that pause before every request to the store, so hypothesis decides who makes the next one; one that
is never chosen again has died.
"""

import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from greenlet import getcurrent, greenlet
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sweetspot.delivery.manifest import parse_manifest
from sweetspot.errors import CheckError, ConfigError
from tasks import _publication
from tasks._dates import PATIENCE, is_fence
from tasks._publication import Content, Publication, draft_manifest, publish_version
from tasks._store import Store
from tasks._versions import differences, open_version

DATES = ("2026-01-30", "2026-01-31")
WAYS = ("a", "b")
"""Settings of which runs of one date publish different versions."""


MEMORY = Path("/dev/shm")


class Pausing(Store):
    """A store that lets the scheduler choose who makes the next request."""

    def read_if_there(self, key: str) -> bytes | None:
        hand_over()
        return super().read_if_there(key)

    def create(self, key: str, data: bytes) -> bool:
        hand_over()
        return super().create(key, data)

    def swap(self, key: str, expected: bytes | None, data: bytes) -> bool:
        hand_over()
        return super().swap(key, expected, data)


def hand_over() -> None:
    """Back to the scheduler; requests of the test itself go straight through."""
    if (parent := getcurrent().parent) is not None:
        parent.switch()


class Clock:
    """Everybody's wall clock; it stands still unless the test moves it."""

    moment = datetime(2026, 1, 31, 2, tzinfo=UTC)

    @classmethod
    def now(cls, _zone: object = None) -> datetime:
        return cls.moment


class Publications(RuleBasedStateMachine):
    """Any number of runs on one store; the model knows which version each date was given."""

    @initialize()
    def start(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="publications-", dir=MEMORY if MEMORY.is_dir() else None)
        self.store = Store(f"file://{self.folder}")
        self.going: dict[int, tuple[str, str, greenlet]] = {}
        self.started = 0
        self.published: dict[str, tuple[str, bytes]] = {}
        self.latest_seen = ""

    @rule(date=st.sampled_from(DATES), way=st.sampled_from(WAYS), requests=st.sampled_from(range(1, 9)))
    def begin_or_come_back(self, date: str, way: str, requests: int) -> None:
        self.started += 1
        self.going[self.started] = (date, way, greenlet(lambda: self.publish(date, way)))
        self.advance(self.started, requests)

    @precondition(lambda self: self.going)
    @rule(data=st.data(), requests=st.sampled_from((12, 3, 2, 1)))
    def go_on_after_a_pause(self, data: st.DataObject, requests: int) -> None:
        self.advance(data.draw(st.sampled_from(sorted(self.going))), requests)

    def advance(self, number: int, requests: int) -> None:
        """Let one run make some requests, and hold it to what it says at its end."""
        date, way, run = self.going[number]
        for _ in range(requests + 1):
            outcome = run.switch()
            if run.dead:
                del self.going[number]
                self.judge(date, way, outcome)
                return

    @rule(pause=st.sampled_from((PATIENCE, timedelta(minutes=1))))
    def time_passes(self, pause: timedelta) -> None:
        Clock.moment += pause

    @rule()
    def read(self) -> None:
        try:
            version = open_version(self.store.uri, "nights")
        except ConfigError:
            assert not self.latest_seen, "the pointer is gone"
            return
        assert not list(differences(version)), "a reader sees a version that is not whole"
        assert version.manifest().logical_date >= self.latest_seen, "the pointer moved backwards"
        self.latest_seen = version.manifest().logical_date

    @invariant()
    def one_version_a_date_for_ever(self) -> None:
        for path in Path(self.folder).glob("nights/versions/*/manifest.json") if hasattr(self, "folder") else ():
            found = path.read_bytes()
            if not is_fence(found):
                date = parse_manifest(found).logical_date
                assert self.published.setdefault(date, (path.parent.name, found)) == (path.parent.name, found)

    def teardown(self) -> None:
        """Everybody is gone for long; whoever comes then ends with the date's one version."""
        if not hasattr(self, "folder"):
            return
        Clock.moment += 2 * PATIENCE
        for date in DATES:
            outcomes = {way: self.to_the_end(date, way) for way in WAYS}
            self.one_version_a_date_for_ever()
            for way, outcome in outcomes.items():
                self.judge(date, way, outcome)
            fenced = list(Path(self.folder).glob(f"nights/versions/{date}-*/manifest.json"))
            assert "published" in outcomes.values() or len(fenced) == len(WAYS), "nobody can publish this date"
        self.read()
        shutil.rmtree(self.folder)

    def to_the_end(self, date: str, way: str) -> str:
        run = greenlet(lambda: self.publish(date, way))
        while not run.dead:
            outcome = run.switch()
        return outcome

    def judge(self, date: str, way: str, outcome: str) -> None:
        """What a run was told is what the store holds."""
        self.one_version_a_date_for_ever()
        version = self.published.get(date, ("", b""))[0]
        if outcome == "published":
            assert version == name_of(date, way), "a run believes that it published and did not"
        else:
            assert version != name_of(date, way), f"a run believes that it did not publish: {outcome}"

    def publish(self, date: str, way: str) -> str:
        facts = Publication("run", date, f"{date}T02:00:00Z", "commit", "", {}, {})
        try:
            publish_version(content_of(way), facts, store_uri=self.store.uri, dataset="nights")
        except CheckError as error:
            return str(error)
        return "published"


def name_of(date: str, way: str) -> str:
    return f"{date}-{way * 8}"


def content_of(way: str) -> Content:
    """A version without rows: only the order of requests matters here."""

    def draft(facts: Publication, files: list, version: str):
        empty = {"models": {}, "sampling": {}, "seeds": {}, "books": (), "checks": {}, "warnings": ()}
        return draft_manifest(facts, files, dataset="nights", version=version, **empty)

    return Content(way * 16, f"nights/tables/{way}", lambda: (), draft, lambda manifest: manifest, {})


@pytest.fixture
def _scheduled(monkeypatch):
    monkeypatch.setattr(_publication, "Store", Pausing)
    monkeypatch.setattr(_publication, "datetime", Clock)
    monkeypatch.setattr(_publication, "_documents", lambda manifest: {"README.md": manifest.version.encode()})


@pytest.mark.usefixtures("_scheduled")
def test_publishing_keeps_its_promises_in_any_order(request):
    limits = settings(max_examples=300, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck))
    Publications.TestCase.settings = limits
    Publications.TestCase("runTest").runTest()
