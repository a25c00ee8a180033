"""`verify` and `show`: a delivered version checked, summed up, or one prompt followed through it."""

from typing import Any

import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table

from sweetspot.delivery.signature import key_id
from sweetspot.errors import ConfigError
from tasks._keys import read_public_key
from tasks._verification import findings
from tasks._versions import VersionRef, open_uri

console = Console(highlight=False)
SHOWN_CHARS = 300


def verify_version(uri: str, *, public_key: str = "") -> bool:
    """Hash and count every file again; prints what differs, is missing or is too many, and returns whether none is.

    Args:
        uri: of a version, or of a dataset for its latest one.
        public_key: path of the publisher's public key; empty checks no signature.
    """
    version = open_uri(uri, public_key=read_public_key(public_key) if public_key else "")
    found = list(findings(version))
    for finding in found:
        console.print(f"differs    {finding}", soft_wrap=True, markup=False)
    files = version.manifest().files
    if not found:
        size = sum(entry.bytes for entry in files)
        console.print(f"ok         {len(files)} files, {size} bytes, manifest {version.manifest_sha256[:16]}")
        signed = (
            f"signed by key {key_id(version.public_key)}" if version.public_key else "not checked; give --public-key"
        )
        console.print(f"signature  {signed}")
    return not found


def show_version(uri: str) -> None:
    """Print a version's books and files."""
    version = open_uri(uri)
    manifest = version.manifest()
    console.print(f"{manifest.dataset} {manifest.version}, published {manifest.created_utc}", style="bold")
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("stage", "unit", "in", "out", "dropped"):
        table.add_column(column)
    for book in manifest.books:
        reasons = ", ".join(f"{reason} {rows.count}" for reason, rows in sorted(book.dropped.items()))
        table.add_row(book.stage, book.unit, str(book.rows_in.count), str(book.rows_out.count), reasons)
    console.print(table)
    for entry in manifest.files:
        console.print(f"{entry.rows:>9} rows {entry.bytes:>11} bytes  {entry.path}", soft_wrap=True)
    for warning in manifest.warnings:
        console.print(f"note  {warning}", markup=False)


def show_prompt(uri: str, prompt_id: str) -> None:
    """Follow one prompt: its responses with scores, its pair or the reason there is none."""
    version = open_uri(uri)
    samples = _rows(version, "samples/", prompt_id)
    pairs = [row for split in ("train-", "eval-") for row in _rows(version, f"data/{split}", prompt_id)]
    dropped = _rows(version, "dropped/", prompt_id)
    if not (samples or pairs or dropped):
        raise ConfigError(f"{uri}: no prompt {prompt_id}; ids are in the column prompt_id of every table")
    for row in sorted(samples, key=lambda row: -(row["quality"] if row["quality"] is not None else float("-inf"))):
        quality = "left before" if row["quality"] is None else f"{row['quality']:+.3f}"
        scores = ", ".join(f"{given['rater']} {given['score']:.4g}" for given in row["scores"])
        console.print(f"{row['sample_index']:>4}  quality {quality}  {scores}", style="dim")
        console.print(f"      {_short(row['response'])}", markup=False)
    for row in pairs:
        console.print(f"pair {row['pair_id']}  margin {row['margin']:.3f}  route {row['route']}", style="bold")
        console.print(f"  prompt    {_short(row['prompt'][-1]['content'])}", markup=False)
        console.print(f"  chosen    {_short(row['chosen'][0]['content'])}", markup=False)
        console.print(f"  rejected  {_short(row['rejected'][0]['content'])}", markup=False)
    for row in dropped:
        console.print(f"left at {row['stage']}: {row['unit']} {row['row_id']}: {row['reason']} ({row['detail']})")


def _rows(version: VersionRef, prefix: str, prompt_id: str) -> list[dict[str, Any]]:
    found = []
    for entry in version.manifest().files:
        if entry.path.startswith(prefix):
            table = version.read_file(entry)
            found += table.filter(pc.equal(table["prompt_id"], prompt_id)).to_pylist()  # pyright: ignore
    return found


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= SHOWN_CHARS else f"{flat[:SHOWN_CHARS]}…"
