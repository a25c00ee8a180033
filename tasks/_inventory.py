"""What lies in a dataset's folder: which tables are half done, which objects nobody needs. For people and the sweeper.

This is the one place that lists a store. No commit and no reader depends on it.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sweetspot.delivery.version_name import order_of
from tasks._dates import is_fence
from tasks._isolation import CHUNK, PROMPT
from tasks._latest import read_latest
from tasks._records import Record
from tasks._store import Item, Store
from tasks._tables import find_table, receipt_if_there

_TABLE = re.compile(r"^(?P<location>.+/tables/(?P<name>[^/]+)/[^/]+)/(?P<file>[^/]+|notes/[^/]+)$")
_PART = re.compile(r"^(?:part|dropped)-(\d{5})-[0-9a-f]{12}\.parquet$")


@dataclass(frozen=True)
class TableState:
    """A table in the making, or made.

    Attributes:
        name: of its schema.
        location: key prefix.
        chunks: chunks that are committed.
        finished: whether the table is committed.
        changed: when its newest object was written.
        interrupted: chunks whose last worker never came to an end, with what it was doing.
        blamed: prompts that are left out because they ended workers, with the reason.
    """

    name: str
    location: str
    chunks: int
    finished: bool
    changed: datetime
    interrupted: tuple[str, ...]
    blamed: dict[str, str]


@dataclass(frozen=True)
class TrainingState:
    """A policy that was asked for.

    Attributes:
        prefix: key prefix.
        version: it is trained on; empty where the request does not say.
        stands: `asked`, `committed`, `refused` by its exam, `not promoted` though it passed, `superseded` by one
            trained on a later version, or `promoted`.
    """

    prefix: str
    version: str
    stands: str


@dataclass(frozen=True)
class DatasetState:
    """Where a dataset's runs stand.

    Attributes:
        tables: oldest first.
        versions: published ones.
        unpublished: versions some of whose files are there, but no manifest; with what holds the name.
        dates: version that has claimed each date.
        latest: version that readers get; None before the first.
        trainings: policies asked for, by key prefix.
        runs: ids of runs that sampled, in the order of their names.
        published: when the newest manifest was written; None before the first.
    """

    tables: tuple[TableState, ...]
    versions: tuple[str, ...]
    unpublished: dict[str, str]
    dates: dict[str, str]
    latest: str | None
    trainings: dict[str, TrainingState]
    runs: tuple[str, ...] = ()
    published: datetime | None = None


def dataset_state(store: Store, dataset: str) -> DatasetState:
    """Look through everything below the dataset's folder."""
    items = {item.key: item for item in store.listing(dataset)}
    pointer = read_latest(store, dataset)
    versions, unpublished = _versions(store, dataset, items)
    return DatasetState(
        tables=tuple(sorted(_tables(store, items.values()), key=lambda table: table.changed)),
        versions=versions,
        unpublished=unpublished,
        dates={
            key.rsplit("/", 1)[1].removesuffix(".json"): store.record(key)["version"]
            for key in sorted(items)
            if key.startswith(f"{dataset}/dates/")
        },
        latest=None if pointer is None else pointer.version,
        trainings=_trainings(store, dataset, items),
        runs=tuple(
            key.rsplit("/", 1)[1].removesuffix(".json") for key in sorted(items) if key.startswith(f"{dataset}/runs/")
        ),
        published=max(
            (items[f"{dataset}/versions/{version}/manifest.json"].modified for version in versions), default=None
        ),
    )


def orphans(store: Store, dataset: str, *, older_than: timedelta, now: datetime) -> Iterator[Item]:
    """Objects nobody refers to and nobody will: probes, torn temporary files, files of chunks another worker committed.

    Args:
        store: where.
        dataset: whose.
        older_than: younger ones may belong to a run that is about to refer to them.
        now: by this machine's clock.
    """
    files: dict[str, list[Item]] = defaultdict(list)
    for item in [*store.listing("probe"), *store.listing(dataset)]:
        if now - item.modified < older_than:
            continue
        name = item.key.rsplit("/", 1)[1]
        if item.key.startswith("probe/") or name.startswith(".writing-"):
            yield item
        elif (found := _TABLE.match(item.key)) and _PART.match(name):
            files[found["location"]].append(item)
    for location, parts in files.items():
        yield from _unreferenced(store, location, parts)


def _unreferenced(store: Store, location: str, parts: list[Item]) -> Iterator[Item]:
    """Parts that no receipt names and none will.

    A chunk without a receipt may be worked again at any time, by a run that finds its part there and does not write
    it anew. So its parts are nobody's only once the table is finished.
    """
    receipts: dict[int, set[str] | None] = {}
    finished = find_table(store, location) is not None
    for item in parts:
        name = item.key.rsplit("/", 1)[1]
        index = int(name.split("-")[1])
        if index not in receipts:
            receipts[index] = _named(receipt_if_there(store, location, index))
        named = receipts[index]
        if finished if named is None else name not in named:
            yield item


def _named(receipt: Record | None) -> set[str] | None:
    """Files that a receipt names; None without one."""
    return None if receipt is None else {part["path"] for part in (receipt["part"], receipt["dropped"]) if part}


def _tables(store: Store, items: Iterable[Item]) -> Iterator[TableState]:
    found: dict[tuple[str, str], list[tuple[str, Item]]] = defaultdict(list)
    for item in items:
        if match := _TABLE.match(item.key):
            found[match["name"], match["location"]].append((match["file"], item))
    for (name, location), files in found.items():
        names = {file for file, _ in files}
        interrupted, blamed = _notes(store, location, names)
        yield TableState(
            name=name,
            location=location,
            chunks=sum(file.startswith("chunk-") for file in names),
            finished="table.json" in names,
            changed=max(item.modified for _, item in files),
            interrupted=interrupted,
            blamed=blamed,
        )


def _notes(store: Store, location: str, names: set[str]) -> tuple[tuple[str, ...], dict[str, str]]:
    interrupted, blamed = list[str](), dict[str, str]()
    for name in sorted(file for file in names if file.startswith("notes/")):
        note = store.record(f"{location}/{name}")
        index = name.removeprefix("notes/").removesuffix(".json")
        blamed |= note["blamed"]
        if f"chunk-{index}.json" not in names:
            doing = {CHUNK: "at work on it", PROMPT: f"at prompt {note['prompt']}"}
            interrupted.append(f"chunk {index}: {doing.get(note['at'], 'opening its engine')}")
    return tuple(interrupted), blamed


def _versions(store: Store, dataset: str, items: dict[str, Item]) -> tuple[tuple[str, ...], dict[str, str]]:
    published, unpublished = list[str](), dict[str, str]()
    prefix = f"{dataset}/versions/"
    for version in sorted({key.removeprefix(prefix).split("/")[0] for key in items if key.startswith(prefix)}):
        manifest = store.read_if_there(f"{prefix}{version}/manifest.json")
        if manifest is None:
            unpublished[version] = "its manifest is not there"
        elif is_fence(manifest):
            unpublished[version] = "another run took its date over"
        else:
            published.append(version)
    return tuple(published), unpublished


def _trainings(store: Store, dataset: str, items: dict[str, Item]) -> dict[str, TrainingState]:
    pointer = store.record_if_there(f"{dataset}/policies/promoted.json") or {}
    states = {}
    for key in sorted(items):
        if key.startswith(f"{dataset}/policies/") and key.endswith("/request.json"):
            prefix = key.removesuffix("/request.json")
            version = str(store.record(key).get("version", {}).get("root", "")).rpartition("/")[2]
            marker = store.record_if_there(f"{prefix}/policy.json")
            states[prefix] = TrainingState(prefix, version, _stands(prefix, version, marker, pointer))
    return states


def _stands(prefix: str, version: str, marker: dict[str, Any] | None, pointer: dict[str, Any]) -> str:
    promoted = str(pointer.get("policy", {}).get("path", ""))
    if promoted == prefix or promoted.startswith(f"{prefix}/"):
        return "promoted"
    if marker is None:
        return "asked"
    if "promote" not in marker:
        return "committed"
    if not marker["promote"]:
        return "refused"
    shown = str(pointer.get("trained_on", ""))
    return "not promoted" if order_of(version) > order_of(shown) else "superseded"
