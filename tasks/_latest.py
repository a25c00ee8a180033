"""`latest.json`: which version readers get. It moves forward only, by compare-and-swap, and never back.

Forward is by (date, attempt): another attempt at the same date comes after it, an older date never does, however late
it was published.
"""

from dataclasses import asdict, dataclass
from datetime import date

from sweetspot import ids
from sweetspot.delivery.version_name import MAX_ATTEMPT, place_of
from sweetspot.errors import CheckError
from tasks._records import DAMAGED, SEGMENT, parse_record
from tasks._store import Store


@dataclass(frozen=True)
class Latest:
    """What the pointer says.

    Attributes:
        version: name of the version.
        logical_date: UTC date the version is for, YYYY-MM-DD.
        manifest_sha256: of its manifest.
        attempt: at that date, from 1.
    """

    version: str
    logical_date: str
    manifest_sha256: str
    attempt: int = 1

    @property
    def place(self) -> tuple[str, int]:
        """What decides which of two versions is the later one."""
        return self.logical_date, self.attempt


def latest_key(dataset: str) -> str:
    """Name of a dataset's pointer."""
    return f"{dataset}/latest.json"


def read_latest(store: Store, dataset: str) -> Latest | None:
    """The version readers get; None before the first.

    Raises:
        CheckError: the pointer is not what we once wrote, naming the field.
    """
    data = store.read_if_there(latest_key(dataset))
    return None if data is None else parse_latest(data, f"{store.uri}/{latest_key(dataset)}")


def parse_latest(data: bytes, where: str) -> Latest:
    """Decode the pointer at `where`.

    Raises:
        CheckError: it is damaged, naming the field; a version can still be opened by its name.
    """
    try:
        record = parse_record(data, where).only(("version", "logical_date", "manifest_sha256"), optional=("attempt",))
        found = Latest(
            version=record.text("version", SEGMENT),
            logical_date=record.text("logical_date", r"\d{4}-\d{2}-\d{2}"),
            manifest_sha256=record.text("manifest_sha256", r"[0-9a-f]{64}"),
            attempt=record.count("attempt", least=1, below=MAX_ATTEMPT + 1) if "attempt" in record else 1,
        )
        _refuse_other_place(found, where)
    except CheckError as error:
        raise CheckError(f"{where}: is damaged; name the version you want instead of `latest`. {error}") from None
    return found


def move_latest(store: Store, dataset: str, target: Latest) -> bool:
    """Point at `target`, unless the pointer is further already.

    Returns:
        Whether readers get `target` now.

    Raises:
        CheckError: what lies there is no pointer of ours; it is left as it is.
    """
    data, key = ids.canonical_json(asdict(target)), latest_key(dataset)
    while True:
        before = store.read_if_there(key)
        if before == data:
            return True
        if before is not None and _stays(parse_latest(before, f"{store.uri}/{key}"), target):
            return False
        if store.swap(key, before, data):
            return True


def _stays(before: Latest, target: Latest) -> bool:
    """A place has one version, which may be pointed at anew: its manifest was lost and has been published again."""
    return before.place > target.place or (before.place == target.place and before.version != target.version)


def _refuse_other_place(found: Latest, where: str) -> None:
    """A pointer to a far day, made by somebody, would keep every later version from its readers."""
    try:
        date.fromisoformat(found.logical_date)
    except ValueError:
        raise CheckError(f"{where}: logical_date: got {found.logical_date!r}, which is no day; {DAMAGED}") from None
    if place_of(found.version) not in (None, found.place):
        raise CheckError(
            f"{where}: version {found.version} is not of {found.logical_date}, attempt {found.attempt}; {DAMAGED}"
        )
