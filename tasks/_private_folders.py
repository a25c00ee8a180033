"""Folders for model files on a machine that others use too: ours alone, or refused."""

import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sweetspot.errors import CheckError

PRIVATE = 0o700


def private_folder(path: Path) -> Path:
    """Make a folder that only this account can enter, or take one of ours and shut it to others.

    The parents are left as they are: a folder of `/tmp` may be made by anybody before us, so it counts whose it is.

    Raises:
        CheckError: somebody else made it, or it is a link.
    """
    path.mkdir(parents=True, exist_ok=True, mode=PRIVATE)
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode) or found.st_uid != os.getuid():
        raise CheckError(
            f"{path}: is {'a link' if stat.S_ISLNK(found.st_mode) else f'owned by uid {found.st_uid}'}, expected a "
            f"folder of uid {os.getuid()}, for model files are kept in it. Remove it, or set SWEETSPOT_CACHE to another"
        )
    if stat.S_IMODE(found.st_mode) != PRIVATE:
        path.chmod(PRIVATE)
    return path


def cache_folder() -> Path:
    """Where this machine keeps policies fetched from a store, and trainings keep their checkpoints.

    Set by SWEETSPOT_CACHE, else a folder of this account in the temporary directory.
    """
    named = os.environ.get("SWEETSPOT_CACHE")
    return private_folder(Path(named) if named else Path(tempfile.gettempdir()) / f"sweetspot-{os.getuid()}")


@contextmanager
def held_alone(folder: Path) -> Iterator[Path]:
    """The folder, private, to one process of this machine at a time; another one waits for its turn."""
    private_folder(folder.parent)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield private_folder(folder)
