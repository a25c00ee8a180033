"""A local directory with the promises of a bucket: whole files, no overwrite, compare-and-swap."""

import errno
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from sweetspot.errors import StoreError
from tasks._seams import seam

LOCK_DEADLINE_S = 60.0
"""For a swap to get its turn: the holder needs milliseconds, unless it was stopped."""
LOCK_POLL_S = 0.01
LEAST_ROOM_BYTES = 200 << 20
"""Below this a disk is as good as full: a stage, or Ray beside it, would meet its end half way."""
FULL = (errno.ENOSPC, errno.EDQUOT)
"""What the system says where there is no room."""
_AGAIN = "Make room and start the run again, which goes on where it was"


class Folder:
    """Objects below a directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, key: str) -> bytes | None:
        """The whole object, or None if the name is free."""
        with _told(self.root / key, "read", 0):
            try:
                return (self.root / key).read_bytes()
            except FileNotFoundError:
                return None

    def listing(self, prefix: str) -> list[tuple[str, int, datetime]]:
        """Key, bytes and time of every object below a prefix."""
        found = []
        for path in (self.root / prefix).rglob("*"):
            if path.is_file() and path.suffix != ".lock":
                status = path.stat()
                modified = datetime.fromtimestamp(status.st_mtime, UTC)
                found.append((str(path.relative_to(self.root)), status.st_size, modified))
        return found

    def remove(self, key: str) -> None:
        """Delete an object."""
        (self.root / key).unlink(missing_ok=True)

    def create(self, key: str, data: bytes) -> bool:
        """Write a new object; True if it holds `data` afterwards, False if it holds anything else."""
        path = self.root / key
        with _told(path, "written", len(data)):
            path.parent.mkdir(parents=True, exist_ok=True)
            with _complete_file(path.parent, data) as written:
                try:
                    os.link(written, path)
                except FileExistsError:
                    return self.read(key) == data
            _sync_directory(path.parent)
        return True

    def swap(self, key: str, expected: bytes | None, data: bytes) -> bool:
        """Write over `expected`, and only over that; True if the object holds `data` afterwards."""
        path = self.root / key
        with _told(path, "written", len(data)):
            path.parent.mkdir(parents=True, exist_ok=True)
            with (path.parent / f".{path.name}.lock").open("w") as lock:
                _hold(lock, path)
                found = self.read(key)
                if found != expected or found == data:
                    return found == data
                with _complete_file(path.parent, data) as written:
                    os.replace(written, path)
                _sync_directory(path.parent)
        return True


def require_room(folder: Path, *, what: str) -> None:
    """Refuse to begin on a disk that is as good as full.

    Args:
        folder: on the disk in question; need not be there yet.
        what: it is for, for the message.

    Raises:
        StoreError: fewer than `LEAST_ROOM_BYTES` are free.
    """
    free = _free_bytes(folder)
    if free < LEAST_ROOM_BYTES:
        raise StoreError(
            f"{folder}: {free:,} bytes free, and {what} needs {LEAST_ROOM_BYTES:,} to begin; it was not begun. {_AGAIN}"
        )


def _free_bytes(folder: Path) -> int:
    there = next(path for path in (folder, *folder.parents) if path.is_dir())
    return shutil.disk_usage(there).free


@contextmanager
def _told(path: Path, action: str, needed_bytes: int) -> Iterator[None]:
    """Tell what the system refuses: where, why, and what is missing."""
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        if error.errno in FULL:
            raise StoreError(
                f"{path}: the disk is full: {needed_bytes:,} bytes to write, {_free_bytes(path.parent):,} free in "
                f"{path.parent}. Nothing was left half written. {_AGAIN}"
            ) from None
        raise StoreError(f"{path}: cannot be {action}: {error.strerror}. Check path, rights and disk") from None


def _hold(lock: IO[str], path: Path) -> None:
    """Take the lock that a swap holds; it ends with the file or the process."""
    deadline = time.monotonic() + LOCK_DEADLINE_S
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise StoreError(
                    f"{path}: another process has held its lock for {LOCK_DEADLINE_S:g} s; end the one that "
                    f"stands still (`fuser {path.parent}/.{path.name}.lock` names it), then start the run again"
                ) from None
            time.sleep(LOCK_POLL_S)


@contextmanager
def _complete_file(folder: Path, data: bytes) -> Iterator[str]:
    """A temporary file in `folder` that holds `data` durably; gone afterwards unless it was renamed."""
    handle, name = tempfile.mkstemp(dir=folder, prefix=".writing-")
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(handle, 0o644)  # mkstemp makes private files; a delivered dataset is for readers
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        seam("file_written")
        yield name
    finally:
        Path(name).unlink(missing_ok=True)


def _sync_directory(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
