"""What a form may name as a source: a path, a file:// or s3:// URI, or a dataset; everything else is refused here."""

import re
from pathlib import Path
from typing import Any, BinaryIO

from sweetspot.errors import ConfigError, ContractError, StoreError
from tasks._s3_file import open_object

SCHEMES = ("", "file", "s3")
"""Of what a form may name. A web address would make this machine fetch whatever it alone can reach."""
COPY_BYTES = 8 << 20
_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*)(?=::|://)")
_COMMIT = re.compile(r"[0-9a-f]{40}", re.ASCII)
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)


def refuse_foreign(name: str, *, what: str) -> None:
    """Refuse a name that would make this machine fetch from elsewhere.

    Raises:
        ConfigError: another scheme than file and s3, or a chain of them.
    """
    scheme = _SCHEME.match(name)
    if (scheme and scheme.group(1).lower() not in SCHEMES) or "::" in name:
        raise ConfigError(
            f"{what}: {name[:80]!r} is no path, file:// or s3:// URI; download the file and name the copy"
        )


def open_named(name: str, *, what: str) -> BinaryIO:
    """Open a file for reading, in place; a bucket by the same client as the store, with its checks.

    Raises:
        ConfigError: no such file, or one that may not be named.
        StoreError: object storage failed.
    """
    refuse_foreign(name, what=what)
    try:
        if name.lower().startswith("s3://"):
            return open_object(name[len("s3://") :])
        return local_path(name).open("rb")
    except (FileNotFoundError, IsADirectoryError):
        raise ConfigError(f"{what}: no file {name!r}") from None
    except StoreError:
        raise
    except OSError as error:
        raise StoreError(f"{name}: cannot be read ({type(error).__name__}); check address and rights") from None


def local_path(name: str) -> Path:
    """The path that a name without a bucket means."""
    return Path(name.removeprefix("file://"))


def copy_named(name: str, to: Path, *, max_bytes: int, what: str) -> None:
    """Copy a file, and stop where it turns out longer than allowed.

    Raises:
        ConfigError: no such file, or one that may not be named.
        ContractError: it is longer.
        StoreError: object storage failed.
    """
    copied = 0
    with open_named(name, what=what) as source, to.open("wb") as copy:
        while piece := source.read(COPY_BYTES):
            copied += len(piece)
            refuse_longer(name, copied, max_bytes)
            copy.write(piece)


def refuse_longer(name: str, found_bytes: int, max_bytes: int) -> None:
    """Refuse a source of more bytes than allowed.

    Raises:
        ContractError: naming the setting to raise.
    """
    if found_bytes > max_bytes:
        raise ContractError(
            f"{name}: is longer than the {max_bytes:,} bytes allowed; if it is meant to be so large, raise "
            "max_unpacked_bytes"
        )


def load_named_dataset(name: str, *, max_bytes: int, what: str, pinned: bool = False) -> Any:
    """A split of a dataset that is named NAME[@COMMIT][:CONFIG][:SPLIT], where NAME is a directory or a hub name.

    The library runs no code of a dataset since its version 4.

    Raises:
        ConfigError: it cannot be loaded, may not be named, or `pinned` is asked for and a hub name has no commit.
        ContractError: it holds more bytes than allowed.
    """
    import datasets

    path, *middle, split = name.split(":") if ":" in name else (name, "train")
    is_folder = Path(path).is_dir()
    path, _, commit = (path, "", "") if is_folder else path.partition("@")
    if not (is_folder or _HUB_NAME.fullmatch(path)) or not all(map(_HUB_NAME.fullmatch, middle)):
        raise ConfigError(f"{what}: dataset {name[:80]!r} is no directory and no hub name")
    if not is_folder and (commit or pinned) and not _COMMIT.fullmatch(commit):
        raise ConfigError(
            f"{what}: dataset {name[:80]!r} is not pinned; write datasets:NAME@COMMIT with the 40 hex digits of the "
            "commit, else whoever owns it decides what a later night is made of"
        )
    try:
        dataset: Any = datasets.load_dataset(path, *middle, split=split, revision=commit or None)
    except Exception as error:
        # The library raises its own, requests' and plain ValueErrors for the same mistake: a wrong name.
        raise ConfigError(f"{what}: dataset {name!r} cannot be loaded: {type(error).__name__}") from None
    refuse_longer(name, dataset.data.nbytes, max_bytes)
    return dataset
