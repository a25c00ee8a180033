"""The manifest at a version's place: read as that version's and no other's, or refused with its key named."""

from sweetspot.delivery.manifest import Manifest, parse_manifest
from sweetspot.errors import CheckError, ContractError


def manifest_key(root: str) -> str:
    """Name of the manifest of the version at a key prefix."""
    return f"{root}/manifest.json"


def manifest_at(data: bytes, root: str, *, store: str = "") -> Manifest:
    """Decode what lies at the manifest's place of the version at `root`.

    Args:
        data: its bytes.
        root: `<dataset>/versions/<version>`.
        store: URI of the store, for messages.

    Raises:
        ContractError: it is no manifest, naming key and field.
        CheckError: it is the manifest of another version.
    """
    where = f"{store}/{manifest_key(root)}" if store else manifest_key(root)
    try:
        manifest = parse_manifest(data)
    except ContractError as error:
        raise ContractError(f"{where}: {error}") from None
    if root != f"{manifest.dataset}/versions/{manifest.version}":
        raise CheckError(f"{where}: is the manifest of {manifest.dataset} {manifest.version}, put here by somebody")
    return manifest
