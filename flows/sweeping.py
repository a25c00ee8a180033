"""`sweep`: objects that nobody refers to and nobody will, shown or removed."""

from datetime import UTC, datetime, timedelta

from rich.console import Console

from tasks._inventory import orphans
from tasks._store import Store

console = Console(highlight=False)


def sweep_dataset(uri: str, *, older_than_days: float, delete: bool) -> int:
    """Print every orphan of a dataset, remove it if asked to; returns how many there are."""
    store_uri, _, dataset = uri.rstrip("/").rpartition("/")
    store, count, size = Store(store_uri), 0, 0
    for item in orphans(store, dataset, older_than=timedelta(days=older_than_days), now=datetime.now(UTC)):
        if delete:
            store.remove(item.key)
        console.print(f"{'removed' if delete else 'orphan':<10} {item.bytes:>11} bytes  {item.key}", soft_wrap=True)
        count, size = count + 1, size + item.bytes
    console.print(f"{count} objects, {size} bytes{'' if delete or not count else '; --delete removes them'}")
    return count
