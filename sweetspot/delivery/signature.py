"""A detached ed25519 signature of manifest.json: who published a version, provable by anyone with the public key.

The manifest names every file by its hash and the version before by its own, so one signature covers them all. The
signature lies beside the manifest under the manifest's hash, `manifest.<sha256>.sig`, and is written before it: a
version is never visible without one.
"""

import hashlib

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from sweetspot import ids
from sweetspot.delivery import _plain
from sweetspot.errors import CheckError, ConfigError, ContractError

ALGORITHM, FORMAT_VERSION = "ed25519", 1
KEY_ID_DIGITS = 16
_CONTEXT = b"sweetspot manifest 1\n"
"""Signed along, so that a signature made for anything else is worth nothing here."""
_FIELDS = ("algorithm", "format_version", "key_id", "manifest_sha256", "signature")


def signature_name(manifest: bytes) -> str:
    """Name of the signature object of these manifest bytes, in the version's folder."""
    return f"manifest.{hashlib.sha256(manifest).hexdigest()}.sig"


def public_hex(key: Ed25519PublicKey) -> str:
    """A public key as 64 hex digits: how it travels to the workers that verify with it."""
    return key.public_bytes_raw().hex()


def key_id(public_key: str) -> str:
    """What a signature calls the key that made it: the first 16 hex digits of its sha256."""
    return hashlib.sha256(bytes.fromhex(public_key)).hexdigest()[:KEY_ID_DIGITS]


def sign_manifest(manifest: bytes, key: Ed25519PrivateKey) -> bytes:
    """Sign the bytes of a manifest; the same key and bytes give the same signature (RFC 8032)."""
    return ids.canonical_json(
        {
            "algorithm": ALGORITHM,
            "format_version": FORMAT_VERSION,
            "key_id": key_id(public_hex(key.public_key())),
            "manifest_sha256": hashlib.sha256(manifest).hexdigest(),
            "signature": key.sign(_CONTEXT + manifest).hex(),
        }
    )


def verify_signature(manifest: bytes, signature: bytes | None, public_key: str, *, where: str) -> None:
    """Return only if `signature` is one of exactly these manifest bytes by the holder of the key.

    Args:
        manifest: the bytes as they lie in the store.
        signature: content of the signature object; None if there is none.
        public_key: 64 hex digits.
        where: the version, for messages.

    Raises:
        CheckError: no signature, one that is damaged, by another key, or of other bytes.
        ConfigError: `public_key` is no ed25519 public key.
    """
    expected = f"a signature by key {_key_id_or_refusal(public_key)}"
    if signature is None:
        raise CheckError(f"{where}: got no signature, expected {expected}. Do not train on it; ask its publisher")
    try:
        found = _plain.record(_plain.parse(signature, "signature"), "signature", _FIELDS)
        made = bytes.fromhex(_plain.text(found["signature"], "signature.signature", pattern="[0-9a-f]{128}"))
    except ContractError:
        raise CheckError(f"{where}: its signature is damaged, expected {expected}. Do not train on it") from None
    if found["key_id"] != key_id(public_key):
        shown = _plain.shown(found["key_id"])
        raise CheckError(f"{where}: signed by key {shown}, expected {expected}. Do not train on it")
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key)).verify(made, _CONTEXT + manifest)
    except InvalidSignature:
        raise CheckError(
            f"{where}: the signature is not of this manifest; one of them was changed. Expected {expected}. "
            "Do not train on it"
        ) from None


def _key_id_or_refusal(public_key: str) -> str:
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key))
    except ValueError:
        raise ConfigError(
            f"public key: got {public_key[:80]!r}, expected the 64 hex digits of an ed25519 key"
        ) from None
    return key_id(public_key)
