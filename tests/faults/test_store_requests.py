"""Every request of a publication is made to fail in every way; the published version is the same each time.

The rows are worked in this process instead of on Ray: only the store's requests are of interest here.
"""

import json
import time

import pytest
from markupsafe import Markup
from scored_world import FACTS, curate, make_world, scored_rows

from sweetspot.config import Cluster
from sweetspot.delivery.manifest import parse_manifest
from sweetspot.errors import StoreError
from sweetspot.pages import charts
from tasks import _ray, _s3
from tasks._stage import Run
from tasks._store import Store
from tasks.deliver_dataset import deliver_dataset
from tasks.relabel_pairs import relabel_pairs

HEALED = ("500", "503", "409", "reset", "drop", "truncated", "delay", "timed_out", "drip", "trickle", "stall_upload")


class Publishing:
    """The last stage and the publication of a curated night, into a dataset of its own, over a harmful proxy."""

    def __init__(self, proxy, world) -> None:
        self.proxy, self.world = proxy, world
        self.sent: list[tuple[str, str]] = []
        self.plain = self.published("plain")
        self.requests = self.sent

    def __call__(self, dataset: str) -> None:
        tables, config = dict(self.world.tables), self.world.config
        run = Run(config.store, dataset, "run", config.cluster)
        prompts, responses, pairs, selected = (tables[name] for name in ("prompts", "responses", "pairs", "selected"))
        tables["delivered"] = relabel_pairs(prompts, responses, pairs, selected, config.relabelling, run)
        deliver_dataset(tables, FACTS, store_uri=config.store, dataset=dataset)

    def published(self, dataset: str, kind: str = "", at: int = -1) -> dict[str, object]:
        """Publish with a fault, keep what was asked for in `sent`, and tell what a reader then finds."""
        self.proxy.plan(kind, at)
        self(dataset)
        self.sent = list(self.proxy.seen)
        return self.found(dataset)

    def found(self, dataset: str) -> dict[str, object]:
        """Hash of every table of the latest version, and its books; documents name the dataset, so they differ."""
        store = Store(self.world.config.store)
        latest = json.loads(store.read(f"{dataset}/latest.json"))
        manifest = parse_manifest(store.read(f"{dataset}/versions/{latest['version']}/manifest.json"))
        return {
            "files": {entry.path: entry.sha256 for entry in manifest.files if entry.path.endswith(".parquet")},
            "books": [book.to_json() for book in manifest.books],
        }


@pytest.fixture(scope="module")
def publishing(proxy, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_ray, "map_chunks", lambda open_work, chunks, **_: map(open_work(), chunks))
        patch.setattr(_s3, "TRY_S", proxy.patience_s)
        patch.setattr(charts, "_svg", lambda *_, **__: Markup("<svg></svg>"))  # half the time, and no request
        world = make_world(
            tmp_path_factory.mktemp("world"),
            scored_rows(prompts=12),
            store=f"s3://{proxy.bucket}/store",
            cluster=Cluster(chunk_prompts=12),  # one chunk a table: more would repeat the same requests
        )
        yield Publishing(proxy, curate(world))


def test_publishing_lists_nothing(publishing):
    assert len(publishing.requests) > 50
    assert not publishing.proxy.listings


def test_a_fault_at_any_tenth_request_changes_nothing(publishing):
    sweep(publishing, range(0, len(publishing.requests), 10))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", HEALED)
def test_a_fault_at_every_request_changes_nothing(publishing, kind, figure):
    places, started = range(len(publishing.requests)), time.monotonic()
    sent = sweep(publishing, places, kinds=(kind,))
    enter(figure, publishing, kind, places, sent=sent, seconds=time.monotonic() - started)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_rights_missing_at_every_request_stop_at_once_and_a_later_run_goes_on(publishing, figure):
    places, started = range(len(publishing.requests)), time.monotonic()
    sent = sum(forbid(publishing, at) for at in places)
    enter(figure, publishing, "403, then a second run", places, sent=sent, seconds=time.monotonic() - started)


def enter(figure, publishing, kind: str, places: range, *, sent: int, seconds: float) -> None:
    """A line of the page; every publication of the sweep has been compared by now."""
    tries = len(places)
    figure(
        "One request of a publication fails, each in turn, on a real S3 server behind a proxy",
        fault=kind,
        publications=tries,
        **{
            "same version published": tries,
            "requests, mean (undisturbed)": f"{sent / tries:.1f} ({len(publishing.requests)})",
            "seconds each": f"{seconds / tries:.2f}",
        },
    )


def sweep(publishing, places, *, kinds=HEALED) -> int:
    """Publish once per place with the fault there; returns the requests sent in all."""
    sent = 0
    for turn, at in enumerate(places):
        kind = kinds[turn % len(kinds)]
        found = publishing.published(f"{kind}-{at}", kind, at)
        assert len(publishing.sent) > at, "the fault was never reached"
        assert found == publishing.plain, f"{kind} at request {at}: {publishing.requests[at]}"
        sent += len(publishing.sent)
    return sent


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_missing_rights_stop_at_once_with_action_and_key_and_a_later_run_goes_on(publishing, share):
    forbid(publishing, int(share * len(publishing.requests)))


def forbid(publishing, at: int) -> int:
    """Publish without the rights for one request, then with them; returns the requests sent in all."""
    dataset = f"forbidden-{at}"
    publishing.proxy.plan("403", at)
    with pytest.raises(StoreError, match=r"s3://bucket/store/\S+: cannot (read|write|move): HTTP 403"):
        publishing(dataset)
    assert len(publishing.proxy.seen) == at + 1, "it asked again although the answer was clear"
    assert publishing.published(dataset) == publishing.plain
    return at + 1 + len(publishing.sent)


def test_a_store_that_ignores_conditions_is_refused_before_anything_is_written(publishing):
    publishing.proxy.plan("stripped", -1)
    with pytest.raises(StoreError, match="ignores conditional writes"):
        Store(publishing.world.config.store).probe()


def test_an_endless_outage_ends_at_the_deadline(publishing, monkeypatch):
    publishing.proxy.plan("503", -1)
    monkeypatch.setattr(publishing.proxy, "next_fault", lambda *_: "503")
    bucket = _s3.S3Bucket("bucket/store", deadline_s=2.0)
    with pytest.raises(StoreError, match=r"no clear answer to a write in 2 s, [0-9]+ tries, last HTTP 503"):
        bucket.create("outage", b"data")
