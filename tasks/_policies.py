"""Policies: where the start policy lies, which one was promoted, and how a new one is committed."""

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sweetspot import ids
from sweetspot.delivery.version_name import place_of
from sweetspot.engines.revision import check_safe, check_unchanged, local_directory, model_revision
from sweetspot.errors import CheckError
from tasks._private_folders import cache_folder, private_folder
from tasks._records import parse_record
from tasks._seams import seam
from tasks._store import Store

_REVISION = re.compile(r"[0-9a-f]{16}|[0-9a-f]{40}")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*", re.ASCII)
FORMATS = (".safetensors", ".json", ".jinja", ".txt", ".model")
"""Files of a policy in the store: weights, configuration, tokenizer and chat template; nothing that runs code."""


@dataclass(frozen=True)
class PolicyRef:
    """A policy by name and content.

    Attributes:
        path: directory or hub name; for a policy in the store, its key prefix: `policy.json` and `<revision>/`.
        revision: hash of its files, or the hub commit.
        store: URI of the store it lies in; empty for a directory or a hub model.
    """

    path: str
    revision: str
    store: str = ""

    def local_path(self) -> Path:
        """A directory an engine can load; a policy in the store or on the hub is fetched once per machine.

        Raises:
            CheckError: the files are not those of the revision, changed at rest, or of a format we do not load.
            ConfigError: no such model, or one that brings code.
        """
        if not self.store:
            folder = local_directory(self.path, self.revision)
            if Path(self.path).is_dir():
                self._refuse_others(model_revision(self.path), self.path)
            return folder
        folder = private_folder(cache_folder() / self.revision)
        marker = Store(self.store).record(f"{self.path}/policy.json")
        self._refuse_others(marker["revision"], f"{self.store}/{self.path}")
        for entry in marker["files"]:
            _refuse_odd_file(entry["path"], f"{self.store}/{self.path}")
        for entry in marker["files"]:
            key = f"{self.path}/{self.revision}/{entry['path']}"
            _fetch(Store(self.store), key, folder / entry["path"], entry["sha256"])
        check_safe(str(folder))
        self._refuse_others(model_revision(str(folder)), f"{self.store}/{self.path}")
        return folder

    def _refuse_others(self, found: str, where: str) -> None:
        if found != self.revision:
            raise CheckError(
                f"{where}: its files are not those of revision {self.revision}, they are of {str(found)[:80]}; restore "
                "them, or start a new run, which takes the policy as it is"
            )

    def check_unchanged(self) -> None:
        """Refuse a directory whose files are other ones by now; called once they are loaded.

        Raises:
            CheckError: another revision, with both.
        """
        if not self.store:
            check_unchanged(self.path, self.revision)

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
    """Write a policy's files to the store under their revision, then `policy.json`, which makes it one.

    A training that was done twice gives two sets of files; the first `policy.json` says which one counts.

    Raises:
        CheckError: a file of another format than we load.
    """
    store, files, revision = Store(store_uri), [], model_revision(str(folder))
    for path in sorted(p for p in folder.iterdir() if p.is_file()):
        _refuse_odd_file(path.name, str(folder))
        data = path.read_bytes()
        store.commit(f"{prefix}/{revision}/{path.name}", data)
        seam("policy_file_committed")
        files.append({"path": path.name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()})
    store.create(f"{prefix}/policy.json", ids.canonical_json({"revision": revision, "files": files, **facts}))
    seam("policy_committed")
    return PolicyRef(prefix, store.record(f"{prefix}/policy.json")["revision"], store_uri)


def find_policy(store_uri: str, prefix: str) -> PolicyRef | None:
    """The committed policy at a prefix, or None."""
    marker = Store(store_uri).record_if_there(f"{prefix}/policy.json")
    return None if marker is None else PolicyRef(prefix, marker["revision"], store_uri)


def promote(policy: PolicyRef, dataset: str, *, version: str, logical_date: str) -> str:
    """Move the dataset's pointer to the new policy, unless it shows one trained on a later version.

    Later is by date and attempt, as for `latest.json`.

    Args:
        policy: in the store.
        dataset: whose pointer.
        version: name of the version it was trained on.
        logical_date: of that version, YYYY-MM-DD.

    Returns:
        Why it was not promoted, in one sentence; empty if the pointer shows it.
    """
    store, key, ours = Store(policy.store), _pointer(dataset), _place(version, logical_date)
    while True:
        data = store.read_if_there(key)
        before = None if data is None else parse_record(data, f"{store.uri}/{key}")
        if before is not None and before["policy"] == policy.to_json():
            break
        if before is not None and _place(before["trained_on"], before.get("logical_date", "")) > ours:
            return (
                f"The policy {before['policy']['revision']}, trained on the later version {before['trained_on']}, "
                "stays promoted."
            )
        replaced = None if before is None else {name: before[name] for name in ("policy", "trained_on")}
        shown = {"policy": policy.to_json(), "trained_on": version, "logical_date": logical_date, "replaced": replaced}
        if store.swap(key, data, ids.canonical_json(shown)):
            break
    seam("promoted")
    return ""


def _place(version: str, logical_date: str) -> tuple[str, int]:
    """Which of two versions is the later one; a name that states no attempt counts as the first of its date."""
    return place_of(version) or (logical_date, 1)


def _promoted(store: Store, dataset: str) -> dict[str, str] | None:
    """The promoted policy's reference as plain JSON."""
    pointer = store.record_if_there(_pointer(dataset))
    return None if pointer is None else pointer["policy"]


def _pointer(dataset: str) -> str:
    return f"{dataset}/policies/promoted.json"


def _refuse_odd_file(name: str, where: str) -> None:
    """A file's name in a marker becomes a path on this machine, and its format decides what reads it."""
    if not isinstance(name, str) or not _FILE.fullmatch(name):
        raise CheckError(f"{where}: lists a file {str(name)[:80]!r}; expected one plain name")
    if not name.endswith(FORMATS):
        raise CheckError(
            f"{where}: lists {name[:80]}; expected {', '.join(FORMATS)} alone, for other formats can run code when read"
        )


def _fetch(store: Store, key: str, path: Path, sha256: str) -> None:
    if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256:
        return
    data = store.read(key)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise CheckError(f"{key}: its hash is not the committed one; the policy changed at rest")
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(data)
    partial.replace(path)
