"""Publishing a version: files, documents, and last the manifest, whose conditional create is the publication."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pyarrow as pa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sweetspot import ids
from sweetspot.delivery import card, croissant, lineage, report
from sweetspot.delivery.facts import VersionFacts
from sweetspot.delivery.manifest import FORMAT_VERSION, FileEntry, Manifest, canonical_json
from sweetspot.delivery.schema_print import schema_sha256
from sweetspot.delivery.signature import sign_manifest, signature_name
from sweetspot.delivery.version_name import claim_name, version_name
from sweetspot.errors import CheckError
from tasks._dates import claim_date, fenced_by
from tasks._keys import read_private_key
from tasks._latest import Latest, move_latest, read_latest
from tasks._manifests import manifest_at, manifest_key
from tasks._seams import seam
from tasks._store import Store, encode_table

SHARD_ROWS = 100_000


@dataclass(frozen=True)
class Publication:
    """Everything a manifest says that is not in the tables.

    Attributes:
        run_id: of the run; the same date and settings give the same.
        logical_date: UTC date the version is for, YYYY-MM-DD.
        created_utc: when it is published, ISO 8601.
        code_commit: of the project.
        lock_sha256: of the lock file the environment was built from.
        config: resolved settings.
        models: revisions of policy, reference and raters, hash of the chat template.
        checks: outcomes of further checks by name, as the manifest holds them.
    """

    run_id: str
    logical_date: str
    created_utc: str
    code_commit: str
    lock_sha256: str
    config: dict[str, Any]
    models: dict[str, Any]
    checks: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def attempt(self) -> int:
        """Which attempt at the date this is, from 1."""
        return self.config.get("attempt", 1)

    @property
    def claim(self) -> str:
        """What is claimed in the store: the date, and from the second attempt on which one."""
        return claim_name(self.logical_date, self.attempt)


@dataclass(frozen=True)
class DeliveredVersion:
    """A published version.

    Attributes:
        uri: of the version's folder.
        version: its name.
        manifest_sha256: what training pins.
        rows: rows by split.
        ends: prompts by where they ended.
        new: False if the same version had been published before.
    """

    uri: str
    dataset: str
    version: str
    manifest_sha256: str
    rows: dict[str, int]
    ends: dict[str, int]
    new: bool = True


@dataclass(frozen=True)
class Content:
    """What a version holds, apart from who publishes it and when.

    Attributes:
        fingerprint: of everything that made it; its first digits are part of the version's name.
        location: key prefix in the store under which a resumed publication finds its own notes.
        files: path and table of every Parquet file, made one after another.
        draft: (publication, files, version name) to the manifest as far as it is known before it is published.
        facts: the numbers behind the documents.
        ends: prompts by where they ended.
    """

    fingerprint: str
    location: str
    files: Callable[[], Iterable[tuple[str, pa.Table]]]
    draft: Callable[[Publication, list[FileEntry], str], Manifest]
    facts: Callable[[Manifest], VersionFacts]
    ends: dict[str, int]


def draft_manifest(
    facts: Publication, files: list[FileEntry], *, dataset: str, version: str, **content: Any
) -> Manifest:
    """The manifest as far as it is known before it is published: who publishes what; `content` are its other fields.

    The documents are made from it, so nothing in it may differ when an interrupted run is resumed.
    """
    return Manifest(
        format_version=FORMAT_VERSION,
        dataset=dataset,
        version=version,
        parent_sha256=None,
        nonce="draft",
        run_id=facts.run_id,
        logical_date=facts.logical_date,
        created_utc=facts.created_utc,
        code_commit=facts.code_commit,
        lock_sha256=facts.lock_sha256 or None,
        config=facts.config,
        files=tuple(files),
        **content,
    )


def publish_version(
    content: Content, facts: Publication, *, store_uri: str, dataset: str, private_key: str = ""
) -> DeliveredVersion:
    """Publish a version: data, then documents, then the manifest; what is there already counts.

    Args:
        content: what it holds.
        facts: what the manifest says besides.
        store_uri: store to publish in.
        dataset: name of the dataset.
        private_key: path of the key that signs the manifest; empty signs nothing.

    Raises:
        ContractError: the date or the attempt cannot be part of a version's name.
        CheckError: the version's name holds other content, or the date has been published as another version.
    """
    store = Store(store_uri)
    key = read_private_key(private_key, store=store_uri) if private_key else None
    version = version_name(facts.logical_date, facts.attempt, content.fingerprint)
    root = f"{dataset}/versions/{version}"
    done = _refuse_fence(root, store.read_if_there(manifest_key(root)))
    if done is None:
        claim_date(store, dataset, facts.claim, version, now_utc=datetime.now(UTC))
        seam("date_claimed")
        files = [_put(store, root, path, table) for path, table in content.files()]
        facts = replace(facts, created_utc=_first_try(store, content.location, facts))
        draft = content.draft(facts, files, version)
        documents = _documents(content.facts(draft))
        files += [_put_document(store, root, path, data) for path, data in documents.items()]
        seam("documents_committed")
        final = replace(draft, files=tuple(files), parent_sha256=_parent(store, dataset), nonce=uuid4().hex)
        done = _publish(store, root, canonical_json(final), key)
    manifest = manifest_at(done, root, store=store_uri)
    sha256 = hashlib.sha256(done).hexdigest()
    move_latest(store, dataset, Latest(version, facts.logical_date, sha256, facts.attempt))
    seam("latest_moved")
    return DeliveredVersion(
        uri=f"{store_uri}/{root}",
        dataset=dataset,
        version=version,
        manifest_sha256=sha256,
        rows=_rows_by_split(manifest),
        ends=content.ends,
    )


def _first_try(store: Store, location: str, facts: Publication) -> str:
    """When this version was first about to be published: a resumed run must write the same documents."""
    key = f"{location}/published-{facts.claim}.json"
    store.create(key, ids.canonical_json({"created_utc": facts.created_utc}))
    seam("first_try_noted")
    return store.record(key).only(("created_utc",)).moment("created_utc")


def _put(store: Store, root: str, path: str, table: pa.Table) -> FileEntry:
    data = encode_table(table)
    store.commit(f"{root}/{path}", data)
    return _entry(path, data, rows=len(table), schema=schema_sha256(table.schema))


def _put_document(store: Store, root: str, path: str, data: bytes) -> FileEntry:
    """Write a document; one that an interrupted run of other training settings has left there counts instead."""
    if not store.create(f"{root}/{path}", data):
        data = store.read(f"{root}/{path}")
    return _entry(path, data, rows=0)


def _entry(path: str, data: bytes, *, rows: int, schema: str | None = None) -> FileEntry:
    seam("data_file_committed")
    return FileEntry(path, len(data), rows, hashlib.sha256(data).hexdigest(), schema)


def _documents(facts: VersionFacts) -> dict[str, bytes]:
    return {
        "README.md": card.dataset_card(facts).encode(),
        "croissant.json": json.dumps(croissant.croissant(facts), indent=1, sort_keys=True).encode(),
        "lineage.json": json.dumps(lineage.openlineage_event(facts), indent=1, sort_keys=True).encode(),
        "report.html": report.report_html(facts).encode(),
    }


def _publish(store: Store, root: str, manifest: bytes, signing_key: Ed25519PrivateKey | None) -> bytes:
    """Sign and create the manifest; if another publisher was first, theirs counts when it holds the same files.

    The signature goes first, so a version is never there without it; without its manifest it means nothing.
    """
    key = manifest_key(root)
    if signing_key is not None:
        store.commit(f"{root}/{signature_name(manifest)}", sign_manifest(manifest, signing_key))
    if store.create(key, manifest):
        seam("manifest_committed")
        return manifest
    theirs = store.read(key)
    _refuse_fence(root, theirs)
    if manifest_at(theirs, root).files != manifest_at(manifest, root).files:
        raise CheckError(f"{key}: another run published this version with other content; ours was not published")
    return theirs


def _refuse_fence(root: str, found: bytes | None) -> bytes | None:
    winner = None if found is None else fenced_by(found, manifest_key(root))
    if winner is not None:
        raise CheckError(
            f"{manifest_key(root)}: this run was quiet too long while publishing, and {winner} took over its date; "
            "nothing of it was published. To publish it after all, raise `attempt`"
        )
    return found


def _parent(store: Store, dataset: str) -> str | None:
    latest = read_latest(store, dataset)
    return None if latest is None else latest.manifest_sha256


def _rows_by_split(manifest: Manifest) -> dict[str, int]:
    rows = {"train": 0, "eval": 0}
    for entry in manifest.files:
        for split in rows:
            if entry.path.startswith(f"data/{split}-"):
                rows[split] += entry.rows
    return rows


def shards(split: str, rows: int, tables: Iterable[pa.Table]) -> Iterator[tuple[str, pa.Table]]:
    """Cut tables of one split, of so many rows in all, into files of at most `SHARD_ROWS` rows."""
    count = -(-rows // SHARD_ROWS)
    waiting, size, shard = list[pa.Table](), 0, 0
    for table in tables:
        while len(table):
            part = table.slice(0, SHARD_ROWS - size)
            waiting.append(part)
            size, table = size + len(part), table.slice(len(part))
            if size == SHARD_ROWS:
                yield f"data/{split}-{shard:05d}-of-{count:05d}.parquet", pa.concat_tables(waiting).combine_chunks()
                waiting, size, shard = [], 0, shard + 1
    if size:
        yield f"data/{split}-{shard:05d}-of-{count:05d}.parquet", pa.concat_tables(waiting).combine_chunks()
