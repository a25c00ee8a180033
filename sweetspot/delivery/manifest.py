"""manifest.json: what a version is made of, byte for byte. Writing it is the commit of the version.

The canonical bytes are the version's identity: their sha256 is what `latest.json`, a trainer and the
next version's `parent_sha256` refer to, so a changed, missing or exchanged file, or a rollback, shows.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

from sweetspot import ids
from sweetspot.delivery import _plain
from sweetspot.delivery.books import Book
from sweetspot.errors import ContractError

FORMAT_VERSION = 2
"""2 adds `schema_sha256` to every file; 1 is still read, and written out again byte for byte."""
READABLE = (1, 2)
MAX_BYTES = 64 * 2**20
"""A manifest lists files and numbers; a larger one is none of ours."""

_NAME = r"[a-z0-9][a-z0-9._-]{0,62}"
_VERSION = r"[A-Za-z0-9][A-Za-z0-9._+-]{0,126}"
_FILE_FIELDS = {1: ("path", "bytes", "rows", "sha256"), 2: ("path", "bytes", "rows", "sha256", "schema_sha256")}


@dataclass(frozen=True)
class FileEntry:
    """One file of a version.

    Attributes:
        path: relative to the version's folder, with forward slashes.
        bytes: size.
        rows: rows of a Parquet file; 0 for a document.
        sha256: of the bytes, lower-case hex.
        schema_sha256: of the columns of a Parquet file, see `schema_print`; None for a document and in format 1.
    """

    path: str
    bytes: int
    rows: int
    sha256: str
    schema_sha256: str | None = None

    def __post_init__(self) -> None:
        verify_paths([self.path])
        _plain.count(self.bytes, f"{self.path}: bytes")
        _plain.count(self.rows, f"{self.path}: rows")
        _plain.sha256(self.sha256, f"{self.path}: sha256")
        if self.schema_sha256 is not None:
            _plain.sha256(self.schema_sha256, f"{self.path}: schema_sha256")


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything that identifies a version. Checked when made, so every instance can be written.

    Attributes:
        format_version: of this file's layout.
        dataset: name of the dataset.
        version: name of the version, one path segment.
        parent_sha256: sha256 of the canonical manifest of the version before; None for the first.
        nonce: drawn by the publisher; reading it back tells a won commit from a lost one.
        run_id: of the run that published.
        logical_date: the night the run was for, ISO 8601.
        created_utc: when the manifest was made, ISO 8601 in UTC.
        code_commit: commit of the code, or its version where there is no repository.
        lock_sha256: sha256 of the lock file of the environment; None where there is none.
        config: the resolved configuration.
        models: revisions of policy, raters and tokenizer, and `chat_template_sha256`.
        sampling: how responses were drawn.
        seeds: every seed by name.
        files: all files of the version but this one.
        books: one per stage, in the order the stages ran.
        checks: outcome of each check by name, as {"passed": bool, "detail": str}.
        warnings: what a reader should know, each "code: text".
    """

    format_version: int
    dataset: str
    version: str
    parent_sha256: str | None
    nonce: str
    run_id: str
    logical_date: str
    created_utc: str
    code_commit: str
    lock_sha256: str | None
    config: dict[str, Any]
    models: dict[str, Any]
    sampling: dict[str, Any]
    seeds: dict[str, Any]
    files: tuple[FileEntry, ...]
    books: tuple[Book, ...]
    checks: dict[str, Any]
    warnings: tuple[str, ...]

    def __post_init__(self) -> None:
        _refuse_other_format(self.format_version)
        _plain.text(self.dataset, "manifest.dataset", pattern=_NAME)
        _plain.text(self.version, "manifest.version", pattern=_VERSION)
        for name in ("nonce", "run_id", "code_commit"):
            _plain.text(getattr(self, name), f"manifest.{name}")
        for name in ("parent_sha256", "lock_sha256"):
            if getattr(self, name) is not None:
                _plain.sha256(getattr(self, name), f"manifest.{name}")
        _plain.moment(self.logical_date, "manifest.logical_date")
        _plain.moment(self.created_utc, "manifest.created_utc", utc=True)
        for name in ("config", "models", "sampling", "seeds", "checks"):
            object.__setattr__(self, name, _plain.mapping(getattr(self, name), f"manifest.{name}"))
        for name in ("files", "books", "warnings"):
            object.__setattr__(self, name, tuple(_plain.listed(getattr(self, name), f"manifest.{name}")))
        for index, warning in enumerate(self.warnings):
            _plain.text(warning, f"manifest.warnings[{index}]")
        verify_paths(entry.path for entry in self.files)

    @property
    def attempt(self) -> int:
        """Which attempt at its date made it, from 1."""
        found = self.config.get("attempt", 1)
        return found if type(found) is int and found >= 1 else 1

    @property
    def sha256(self) -> str:
        """sha256 of the canonical bytes: the version's identity."""
        return hashlib.sha256(canonical_json(self)).hexdigest()

    def files_under(self, prefix: str) -> tuple[FileEntry, ...]:
        """The files whose path starts with `prefix`, for example "data/train-"."""
        return tuple(entry for entry in self.files if entry.path.startswith(prefix))

    def rows_under(self, prefix: str) -> int:
        """Rows of those files."""
        return sum(entry.rows for entry in self.files_under(prefix))

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain JSON."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            **plain,
            "files": [
                {name: getattr(entry, name) for name in _FILE_FIELDS[self.format_version]} for entry in self.files
            ],
            "books": [book.to_json() for book in self.books],
            "warnings": list(self.warnings),
        }


def canonical_json(manifest: Manifest) -> bytes:
    """The one byte string of a manifest: sorted keys, no spaces, no NaN, UTF-8, a newline at the end."""
    return ids.canonical_json(manifest.to_json()) + b"\n"


def parse_manifest(data: bytes) -> Manifest:
    """Read a manifest. Layout need not be canonical; content must be complete and exact.

    Raises:
        ContractError: whatever is wrong with the bytes, naming the place; nothing else is raised.
    """
    if isinstance(data, bytes | bytearray) and len(data) > MAX_BYTES:
        raise ContractError(f"manifest: holds {len(data)} bytes, expected at most {MAX_BYTES}. Restore the file.")
    found = _plain.parse(data, "manifest")
    if isinstance(found, dict) and found.get("format_version") is not None:
        _refuse_other_format(found["format_version"])
    values = _plain.record(found, "manifest", (field.name for field in fields(Manifest)))
    names = _FILE_FIELDS.get(values["format_version"], _FILE_FIELDS[FORMAT_VERSION])
    files = [
        FileEntry(**_plain.record(entry, f"manifest.files[{index}]", names))
        for index, entry in enumerate(_plain.listed(values["files"], "manifest.files"))
    ]
    books = [
        Book.from_json(book, f"manifest.books[{index}]")
        for index, book in enumerate(_plain.listed(values["books"], "manifest.books"))
    ]
    return Manifest(**{**values, "files": tuple(files), "books": tuple(books)})


def _refuse_other_format(found: Any) -> None:
    if type(found) is not int or found not in READABLE:
        expected = " or ".join(map(str, READABLE))
        raise _plain.refusal("manifest.format_version", found, expected, "Use the sweetspot that wrote it.")


def verify_paths(paths: Iterable[str]) -> None:
    """Check that every path stays inside the version's folder on every system, and none occurs twice.

    Raises:
        ContractError: naming the first path that is absolute, climbs, repeats, or has an empty part, a
            backslash, a colon or a control character.
    """
    seen: set[str] = set()
    for path in paths:
        _plain.text(path, "path")
        parts = path.split("/")
        if "" in parts or "." in parts or ".." in parts or "\\" in path or ":" in path or not path.isprintable():
            raise _plain.refusal(
                "path", path, "a relative path of plain names joined by '/'", "Paths start at the version's folder."
            )
        if path == "manifest.json":
            raise ContractError("path: manifest.json lists itself; leave it out, it is written last.")
        if path in seen:
            raise ContractError(f"path: {_plain.shown(path)} occurs twice. List every file once.")
        seen.add(path)
