"""Versions of two small files, without a night behind them: where only publishing and reading matter."""

import pyarrow as pa

from sweetspot.delivery.manifest import Manifest
from tasks._publication import Content, Publication, draft_manifest

FACTS = Publication("run-1", "2026-01-31", "2026-01-31T02:00:00Z", "commit", "", {}, {})


def content_of(dataset: str, *, rows: int = 3, fingerprint: str = "a" * 16) -> Content:
    """Training and held-out rows of one column; the documents must be replaced by the test."""

    def draft(facts: Publication, files: list, version: str) -> Manifest:
        empty = {"models": {}, "sampling": {}, "seeds": {}, "books": (), "checks": {}, "warnings": ()}
        return draft_manifest(facts, files, dataset=dataset, version=version, **empty)

    tables = [
        (f"data/{split}-00000-of-00001.parquet", pa.table({"x": list(range(rows))})) for split in ("train", "eval")
    ]
    where = f"{dataset}/tables/{fingerprint}"
    return Content(fingerprint, where, lambda: tables, draft, lambda manifest: manifest, {})  # pyright: ignore


def few_documents(manifest: Manifest) -> dict[str, bytes]:
    """In place of those that need a night's figures."""
    return {"README.md": manifest.created_utc.encode()}
