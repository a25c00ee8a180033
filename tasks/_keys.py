"""Signing keys in files: made with `sweetspot keygen`, kept outside the store, readable by their owner alone."""

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from sweetspot import ids
from sweetspot.delivery.signature import key_id, public_hex
from sweetspot.errors import CheckError, ConfigError
from tasks._records import Record, parse_record

_PUBLIC = re.compile("[0-9a-f]{64}")


def make_keys(path: Path) -> tuple[Path, str]:
    """Write a new private key to `path` (0600) and its public key to `path.pub`; never over an existing file.

    Returns:
        Path of the public key and its id.

    Raises:
        ConfigError: one of the two files is there already, or the folder cannot be written.
    """
    key, public = Ed25519PrivateKey.generate(), path.with_name(f"{path.name}.pub")
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    text = public_hex(key.public_key())
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _create(path, pem, 0o600)
        _create(public, f"{text}\n".encode(), 0o644)
    except OSError as error:
        raise ConfigError(f"keygen: {error.strerror}: {error.filename}; nothing was overwritten") from None
    return public, key_id(text)


def _create(path: Path, data: bytes, mode: int) -> None:
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode), "wb") as file:
        file.write(data)


def read_private_key(path: str, *, store: str = "") -> Ed25519PrivateKey:
    """Read a private key.

    Args:
        path: of its file.
        store: URI of the store it signs for, in which it must not lie.

    Raises:
        ConfigError: no such file, no ed25519 key, readable by others, or inside the store.
    """
    file = Path(path)
    root = Path(urlsplit(store).netloc + urlsplit(store).path).absolute() if store.startswith("file://") else None
    if root is not None and file.absolute().resolve().is_relative_to(root.resolve()):
        raise ConfigError(f"signing.private_key: {path} lies in the store {store}; keep it where no reader gets")
    data = _read(file, "signing.private_key")
    if file.stat().st_mode & 0o077:
        raise ConfigError(f"signing.private_key: {path} can be read by others; run `chmod 600 {path}`")
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"signing.private_key: {path} holds no ed25519 key; make one with `sweetspot keygen`")
    return key


def read_public_key(path: str) -> str:
    """Read a public key, as its 64 hex digits.

    Raises:
        ConfigError: no such file, or no ed25519 public key.
    """
    text = _read(Path(path), "signing.public_key").decode(errors="replace").strip()
    if not _PUBLIC.fullmatch(text):
        raise ConfigError(f"signing.public_key: {path} holds no public key; expected the .pub file of `keygen`")
    try:
        return public_hex(Ed25519PublicKey.from_public_bytes(bytes.fromhex(text)))
    except ValueError:
        raise ConfigError(f"signing.public_key: {path} holds no ed25519 public key") from None


def _read(path: Path, setting: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{setting}: {path}: {error.strerror}; make keys with `sweetspot keygen PATH`") from None


def refuse_rollback(
    store: str, dataset: str, public_key: str, *, logical_date: str, manifest_sha256: str, attempt: int = 1
) -> None:
    """Remember on this machine the newest signed version seen, and refuse an older one as the latest.

    The bucket alone cannot tell: an old version is properly signed, and whoever writes there can point to it.

    Raises:
        CheckError: `latest` had been a later version before.
    """
    path = _seen_folder() / f"{ids.fingerprint([store, dataset, public_key])}.json"
    ours = {
        "attempt": attempt,
        "dataset": dataset,
        "logical_date": logical_date,
        "manifest_sha256": manifest_sha256,
        "store": store,
    }
    seen = parse_record(path.read_bytes(), str(path)) if path.is_file() else Record(ours, str(path))
    seen.setdefault("attempt", 1)
    if (seen.text("logical_date"), seen.count("attempt")) > (logical_date, attempt):
        raise CheckError(
            f"{store}/{dataset}: latest is the version of {_place(logical_date, attempt)}, but that of "
            f"{_place(seen['logical_date'], seen['attempt'])} ({seen.text('manifest_sha256')[:16]}) has been seen "
            f"here; somebody rolled it back. To use the older one, name it as `version`; to accept it as the latest, "
            f"delete {path}"
        )
    if seen != ours or not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_bytes(ids.canonical_json(ours))
        partial.replace(path)


def _place(logical_date: str, attempt: int) -> str:
    return logical_date if attempt == 1 else f"{logical_date} (attempt {attempt})"


def _seen_folder() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "sweetspot" / "seen"
