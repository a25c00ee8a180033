"""One publication per date: a claim in the store, fenced, whatever the orchestrator believes.

A version's manifest is created only by the run that holds the claim on its date. A claim whose holder has
gone quiet is taken over by first putting a fence where the holder's manifest would go: a run that
was only paused finds its name taken and does not publish. Clocks decide when to try, never who wins.
"""

from datetime import datetime, timedelta

from sweetspot import ids
from sweetspot.errors import CheckError
from tasks._manifests import manifest_key
from tasks._records import SEGMENT, Record, parse_record
from tasks._store import Store

PATIENCE = timedelta(minutes=10)
"""How long a claim stands without its manifest; publishing takes seconds."""


def claim_date(store: Store, dataset: str, date: str, version: str, *, now_utc: datetime) -> None:
    """Claim `date` for `version`, or learn who has it.

    Args:
        store: where the dataset lies.
        dataset: its name.
        date: YYYY-MM-DD, with `.N` behind it for the N-th attempt at one date.
        version: that is about to be published; claiming it again is fine.
        now_utc: by this machine's clock.

    Raises:
        CheckError: the date has been published as another version, or is just being published.
    """
    key = f"{dataset}/dates/{date}.json"
    ours = ids.canonical_json({"version": version, "claimed_utc": now_utc.isoformat()})
    if store.create(key, ours):
        return
    found = store.read(key)
    claim = parse_claim(found, key)
    if claim["version"] == version:
        return
    if _is_published(store, dataset, claim["version"]):
        raise CheckError(
            f"{dataset}: {date} has been published as {claim['version']} with other settings or inputs. Its pairs are "
            "kept; to publish another version for this date, raise `attempt`"
        )
    if now_utc - datetime.fromisoformat(claim["claimed_utc"]) < PATIENCE:
        raise CheckError(
            f"{dataset}: {claim['version']} has claimed {date} at {claim['claimed_utc']} and is being published, "
            f"this one not. Run again after {PATIENCE}, if that one has not published by then"
        )
    _fence(store, dataset, claim["version"], date=date, by=version)
    if not store.swap(key, found, ours) and parse_claim(store.read(key), key)["version"] != version:
        raise CheckError(f"{dataset}: a third run took {date} over meanwhile; this one did not publish")


def parse_claim(data: bytes, where: str) -> Record:
    """Decode a date's record: `version`, a plain name, and `claimed_utc`.

    Raises:
        CheckError: it is not what we once wrote, naming the field.
    """
    claim = parse_record(data, where).only(("version", "claimed_utc"))
    claim.text("version", SEGMENT)
    claim.moment("claimed_utc")
    return claim


def is_fence(manifest: bytes) -> bool:
    """Whether what lies at a manifest's name only keeps a paused run from publishing there."""
    return manifest.startswith(b'{"fenced_by"')


def fenced_by(manifest: bytes, where: str) -> str | None:
    """The version that took over the date of the one whose manifest's name this is; None if it is no fence.

    Raises:
        CheckError: it is a fence of nobody.
    """
    return parse_record(manifest, where).only(("fenced_by",)).text("fenced_by", SEGMENT) if is_fence(manifest) else None


def _is_published(store: Store, dataset: str, version: str) -> bool:
    manifest = store.read_if_there(manifest_key(f"{dataset}/versions/{version}"))
    return manifest is not None and not is_fence(manifest)


def _fence(store: Store, dataset: str, version: str, *, date: str, by: str) -> None:
    """Take the manifest's name of a run that went quiet; if it published after all, it wins."""
    store.create(manifest_key(f"{dataset}/versions/{version}"), ids.canonical_json({"fenced_by": by}))
    if _is_published(store, dataset, version):
        raise CheckError(f"{dataset}: {date} was published as {version} at the last moment; this run did not publish")
