"""Every order in which two runs of one date can touch the store, and every place where one can die.

The real publishing code runs against a model of a bucket. Before each request a run hands over to the
scheduler, which tries every order by depth-first search.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest
from greenlet import getcurrent, greenlet

from sweetspot.delivery.manifest import FileEntry, canonical_json
from sweetspot.errors import CheckError
from tasks._dates import PATIENCE, claim_date, is_fence
from tasks._latest import Latest, move_latest
from tasks._publication import Publication, _publish
from tasks._store import Store
from tasks.deliver_dataset import _manifest

DATE = "2026-01-31"
NOW = datetime(2026, 1, 31, 2, tzinfo=UTC)
FACTS = Publication("run", DATE, "2026-01-31T02:00:00Z", "commit", "", {}, {})


@dataclass
class Bucket:
    """What a store promises, and nothing else: the reference the real ones are tested against elsewhere."""

    objects: dict[str, bytes] = field(default_factory=dict)
    uri: str = "bucket:/"

    def read_if_there(self, key: str) -> bytes | None:
        hand_over()
        return self.objects.get(key)

    def read(self, key: str) -> bytes:
        hand_over()
        return self.objects[key]

    def create(self, key: str, data: bytes) -> bool:
        hand_over()
        return self.objects.setdefault(key, data) == data

    def swap(self, key: str, expected: bytes | None, data: bytes) -> bool:
        hand_over()
        if self.objects.get(key) == expected:
            self.objects[key] = data
        return self.objects.get(key) == data

    @property
    def published(self) -> list[str]:
        """Versions with a real manifest."""
        return [
            key.split("/")[2]
            for key, data in self.objects.items()
            if key.endswith("manifest.json") and not is_fence(data)
        ]

    def check(self) -> None:
        """What must hold between any two requests."""
        assert len(self.published) <= 1, "two versions of one date"
        if (pointer := self.objects.get("nights/latest.json")) is not None:
            latest = json.loads(pointer)
            manifest = self.objects[f"nights/versions/{latest['version']}/manifest.json"]
            assert hashlib.sha256(manifest).hexdigest() == latest["manifest_sha256"], "a pointer to nothing"


def hand_over() -> None:
    """Let the scheduler choose who makes the next request."""
    scheduler = getcurrent().parent
    assert scheduler is not None
    scheduler.switch()


@dataclass
class Run:
    """One run of the date: the version it wants to publish, its clock, and how it ended."""

    version: str
    nonce: str
    clock: datetime
    ended: str = ""

    def publish(self, bucket: Bucket) -> None:
        """The last steps of `deliver_dataset`, in its order."""
        entry = FileEntry(path="data/train-00000-of-00001.parquet", bytes=1, rows=1, sha256=self.version * 64)
        draft = _manifest({}, FACTS, [entry], version=f"{DATE}-{self.version * 8}", dataset="nights")
        manifest = canonical_json(replace(draft, nonce=self.nonce))
        store = cast(Store, bucket)
        try:
            claim_date(store, "nights", DATE, draft.version, now_utc=self.clock)
            done = _publish(store, f"nights/versions/{draft.version}", manifest, None)
            move_latest(store, "nights", Latest(draft.version, DATE, hashlib.sha256(done).hexdigest()))
            self.ended = "published"
        except CheckError:
            self.ended = "refused"


def every_order(
    make_runs: Callable[[], list[Run]], *, dies_after: int | None = None
) -> Iterator[tuple[Bucket, list[Run]]]:
    """Each order of requests once; the first run stops for good after `dies_after` requests of its own."""
    forced: list[int] = []
    while True:
        bucket, runs, taken = Bucket(), make_runs(), []
        going = [greenlet(run.publish) for run in runs]
        for thread in going:
            thread.switch(bucket)
        steps = [0] * len(runs)
        while alive := [
            place
            for place, thread in enumerate(going)
            if not thread.dead and not (place == 0 and steps[0] == dies_after)
        ]:
            choice = forced[len(taken)] if len(taken) < len(forced) else 0
            taken.append((choice, len(alive)))
            steps[alive[choice]] += 1
            going[alive[choice]].switch()
            bucket.check()
        yield bucket, runs
        while taken and taken[-1][0] + 1 == taken[-1][1]:
            taken.pop()
        if not taken:
            return
        forced = [choice for choice, _ in taken[:-1]] + [taken[-1][0] + 1]


def rivals(count: int = 2) -> list[Run]:
    """Runs of one date with different versions; each believes that the claims of those before it are stale."""
    return [Run("abc"[place], str(place) * 32, NOW + place * PATIENCE) for place in range(count)]


def three_rivals() -> list[Run]:
    """Three of them."""
    return rivals(3)


def twins() -> list[Run]:
    """Two runs with the very same version, as after a false alarm about a dead run."""
    return [Run("a", "1" * 32, NOW), Run("a", "2" * 32, NOW + timedelta(seconds=1))]


@pytest.mark.parametrize(
    ("make_runs", "least_orders"),
    [(rivals, 50), pytest.param(three_rivals, 5_000, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])],
)
def test_of_several_versions_for_one_date_exactly_one_is_published(make_runs, least_orders, figure):
    orders, winners = 0, set()
    for bucket, runs in every_order(make_runs):
        orders += 1
        assert len(bucket.published) == 1
        assert sorted(run.ended for run in runs) == ["published"] + ["refused"] * (len(runs) - 1)
        winners.add(bucket.published[0])
    assert orders > least_orders
    assert len(winners) == len(make_runs()), "each of them wins in some order"
    figure(
        "Runs of one date with different versions, every order of their requests",
        runs=len(make_runs()),
        orders=orders,
        published=f"1 in each of {orders}",
    )


def test_two_runs_of_one_version_both_learn_that_it_is_published():
    for bucket, runs in every_order(twins):
        assert len(bucket.published) == 1
        assert [run.ended for run in runs] == ["published", "published"]


@pytest.mark.parametrize("dies_after", range(7))
@pytest.mark.parametrize("make_runs", [rivals, twins])
def test_when_one_dies_anywhere_the_date_is_still_published_once(make_runs, dies_after):
    for bucket, _ in every_order(make_runs, dies_after=dies_after):
        assert len(bucket.published) == 1
