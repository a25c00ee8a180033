"""Policies: where the start policy lies, which one was promoted, and how a new one is committed."""

import hashlib
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sweetspot import ids
from sweetspot.engines.revision import check_safe, local_directory, model_revision
from sweetspot.errors import CheckError
from tasks._seams import seam
from tasks._store import Store

_REVISION = re.compile(r"[0-9a-f]{16}|[0-9a-f]{40}")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*", re.ASCII)


@dataclass(frozen=True)
class PolicyRef:
    """A policy by name and content.

    Attributes:
        path: directory or hub name; for a policy in the store, its key prefix.
        revision: hash of its files, or the hub commit.
        store: URI of the store it lies in; empty for a directory or a hub model.
    """

    path: str
    revision: str
    store: str = ""

    def local_path(self) -> Path:
        """A directory an engine can load; a policy in the store or on the hub is fetched once per machine."""
        if not self.store:
            return local_directory(self.path, self.revision)
        folder = _cache() / self.revision
        marker = Store(self.store).record(f"{self.path}/policy.json")
        for entry in marker["files"]:
            _refuse_odd_file(entry["path"], self)
            _fetch(Store(self.store), f"{self.path}/{entry['path']}", folder / entry["path"], entry["sha256"])
        check_safe(str(folder))
        if model_revision(str(folder)) != self.revision:
            raise CheckError(f"{self.store}/{self.path}: its files are not those of revision {self.revision}")
        return folder

    def __post_init__(self) -> None:
        """Refuse a revision that could be a path: the cache's folder is named by it."""
        if not _REVISION.fullmatch(self.revision):
            raise CheckError(
                f"policy {self.path[:80]!r}: revision {self.revision[:80]!r} is no hash; it was tampered with"
            )

    def to_json(self) -> dict[str, str]:
        """Plain JSON."""
        return asdict(self)


def start_policy(path: str, revision: str = "") -> PolicyRef:
    """The policy a user named, after checking that it exists and holds nothing that runs code."""
    check_safe(path)
    return PolicyRef(path if not Path(path).is_dir() else str(Path(path).absolute()), model_revision(path, revision))


def current_policy(store_uri: str, dataset: str, path: str, revision: str, *, use_promoted: bool) -> PolicyRef:
    """The last promoted policy of the dataset, else the start policy."""
    promoted = _promoted(Store(store_uri), dataset) if use_promoted else None
    return start_policy(path, revision) if promoted is None else PolicyRef(**promoted)


def policy_of_run(store_uri: str, dataset: str, run_id: str, start: PolicyRef, *, use_promoted: bool) -> PolicyRef:
    """The policy that samples: the promoted one as this run found it when it first started, else `start`.

    A run that is started again, say after its own policy was promoted, is still the same run.
    """
    store, key = Store(store_uri), f"{dataset}/runs/{run_id}.json"
    promoted = _promoted(store, dataset) if use_promoted else None
    store.create(key, ids.canonical_json({"promoted": promoted}))
    found = store.record(key)["promoted"]
    return start if found is None else PolicyRef(**found)


def commit_policy(store_uri: str, prefix: str, folder: Path, facts: Mapping[str, Any]) -> PolicyRef:
    """Write a policy's files to the store, then `policy.json`, which makes it one."""
    store, files = Store(store_uri), []
    for path in sorted(p for p in folder.iterdir() if p.is_file()):
        data = path.read_bytes()
        store.commit(f"{prefix}/{path.name}", data)
        seam("policy_file_committed")
        files.append({"path": path.name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()})
    revision = model_revision(str(folder), "")
    marker = ids.canonical_json({"revision": revision, "files": files, **facts})
    store.commit(f"{prefix}/policy.json", marker)
    seam("policy_committed")
    return PolicyRef(prefix, revision, store_uri)


def find_policy(store_uri: str, prefix: str) -> PolicyRef | None:
    """The committed policy at a prefix, or None."""
    marker = Store(store_uri).record_if_there(f"{prefix}/policy.json")
    return None if marker is None else PolicyRef(prefix, marker["revision"], store_uri)


def promote(policy: PolicyRef, dataset: str, *, version: str) -> None:
    """Move the dataset's pointer to the new policy.

    Raises:
        CheckError: somebody else moved it meanwhile; their policy stays.
    """
    store = Store(policy.store)
    before = store.read_if_there(_pointer(dataset))
    data = ids.canonical_json({"policy": policy.to_json(), "trained_on": version})
    if before != data and not store.swap(_pointer(dataset), before, data):
        raise CheckError(f"{_pointer(dataset)}: another run promoted a policy meanwhile; ours is kept, not promoted")
    seam("promoted")


def _promoted(store: Store, dataset: str) -> dict[str, str] | None:
    """The promoted policy's reference as plain JSON."""
    pointer = store.record_if_there(_pointer(dataset))
    return None if pointer is None else pointer["policy"]


def _pointer(dataset: str) -> str:
    return f"{dataset}/policies/promoted.json"


def _refuse_odd_file(name: str, policy: PolicyRef) -> None:
    """A file's name in a marker becomes a path on this machine."""
    if not isinstance(name, str) or not _FILE.fullmatch(name):
        raise CheckError(f"{policy.store}/{policy.path}: lists a file {str(name)[:80]!r}; expected one plain name")


def _cache() -> Path:
    return Path(os.environ.get("SWEETSPOT_CACHE", Path(tempfile.gettempdir()) / f"sweetspot-{os.getuid()}"))


def _fetch(store: Store, key: str, path: Path, sha256: str) -> None:
    if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256:
        return
    data = store.read(key)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise CheckError(f"{key}: its hash is not the committed one; the policy changed at rest")
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(data)
    partial.replace(path)
