"""report.html and report.json of an audit, into a folder or a bucket; a report of an earlier audit is replaced."""

import os
from pathlib import Path
from urllib.parse import urlsplit

from sweetspot.auditing.findings import AuditResult
from sweetspot.auditing.report import report_html, report_json
from sweetspot.errors import ConfigError, StoreError
from tasks._store import Store


def write_reports(result: AuditResult, out: str) -> dict[str, str]:
    """Write both files and return where they lie, by name.

    Raises:
        ConfigError: `out` is neither a folder nor a URI of a store.
        StoreError: it cannot be written to.
    """
    files = {"report.html": report_html(result).encode(), "report.json": report_json(result).encode()}
    return {name: write_file(out, name, data) for name, data in files.items()}


def write_file(out: str, name: str, data: bytes) -> str:
    """Write one file whole, in place of an earlier one, and return where it lies."""
    scheme = urlsplit(out).scheme
    if scheme == "s3":
        store, key = Store(out), name
        if not store.swap(key, store.read_if_there(key), data):
            raise StoreError(f"{out}/{name}: another audit wrote it at the same moment; run again")
        return f"{out}/{name}"
    if scheme not in ("", "file"):
        raise ConfigError(f"--out {out}: expected a folder, file:// or s3://")
    folder = Path(out.removeprefix("file://"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f".{name}.part"
        part.write_bytes(data)
        os.replace(part, folder / name)
    except OSError as error:
        raise StoreError(f"{folder / name}: cannot be written ({error.strerror}); choose another --out") from None
    return str(folder / name)
