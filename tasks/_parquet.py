"""Parquet that may come from anybody: its footer is judged before a row is read, and decoding stops at the limit.

A file of 40 kB can unpack to 10 GB: pages that compress a thousandfold, or one long text in a dictionary that a
million rows point at, which the footer does not even count. So what the footer declares is checked first, then rows
are decoded some at a time and counted. A footer can lie, and some damaged files bring the decoder itself down. So
every file is first decoded by a process of its own whose memory is bounded; whatever happens to it is our refusal.
"""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from sweetspot.errors import ContractError, EngineError

BATCH_ROWS = 64
"""Rows decoded at a time: few, since each may hold the longest text of its dictionary."""
MIN_ROWS_JUDGED = 64
"""Fewer rows than this may share a file's fixed cost without being called too wide."""
FOOTER_BYTES = 16 * 2**20
"""Thrift strings and lists of a footer beyond this are no table of ours."""
FIXED_BYTES = 256 * 2**20
"""Memory of the trial process besides what it decodes: the interpreter, Arrow, one page."""
STREAM_BYTES = 2 * 2**30
"""Memory in which a file that is only streamed must decode: some rows and the dictionaries of a row group."""
TRIAL_TIMEOUT_S = 600
REFUSED = 3
"""Exit status by which the trial process says that its output is the reason."""


@dataclass(frozen=True)
class Limits:
    """What a Parquet file may hold.

    Attributes:
        rows: rows in all.
        unpacked_bytes: all columns decoded, in memory.
        row_bytes: decoded bytes per row on average.
    """

    rows: int = 10_000_000
    unpacked_bytes: int = 8 * 2**30
    row_bytes: int = 2**20


class Limited(Protocol):
    """Settings that say what a source may hold."""

    max_rows: int
    max_unpacked_bytes: int
    max_row_bytes: int


def limits_of(settings: Limited) -> Limits:
    """What a source may hold, as set."""
    return Limits(settings.max_rows, settings.max_unpacked_bytes, settings.max_row_bytes)


def read_parquet(name: str, data: bytes, limits: Limits) -> pa.Table:
    """Decode a whole file within the limits, after a process of its own has come to the end of it.

    Args:
        name: of the file, for messages.
        data: its bytes.
        limits: what it may hold.

    Raises:
        ContractError: it holds more than the limits allow, cannot be read, or brought that process down.
    """
    _prove_readable(name, data, limits, memory_bytes=limits.unpacked_bytes)
    file = _open(pa.BufferReader(data))
    return pa.Table.from_batches(list(_decode(name, file, limits)), _spelled_out(file.schema_arrow))


def look_into(name: str, data: bytes) -> tuple[int, pa.Schema]:
    """Rows and columns of a file as its footer has them; no row is decoded.

    Raises:
        ContractError: it has no footer that can be read.
    """
    try:
        file = _open(pa.BufferReader(data))
        return file.metadata.num_rows, _spelled_out(file.schema_arrow)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ContractError(f"{name}: cannot be read as parquet: {type(error).__name__}") from None


def prove_streamable(name: str, path: Path, limits: Limits) -> None:
    """Let a process of its own decode a file to its end some rows at a time, as `stream_parquet` will.

    Raises:
        ContractError: it holds more than the limits allow, cannot be read, or brought that process down.
    """
    _prove_readable(name, path, limits, memory_bytes=min(STREAM_BYTES, limits.unpacked_bytes))


def stream_parquet(name: str, path: Path, limits: Limits) -> Iterator[pa.RecordBatch]:
    """Rows of a file that was proved streamable, some at a time; memory stays flat.

    Raises:
        ContractError: it holds more than the limits allow.
    """
    with pa.memory_map(str(path)) as data:
        yield from _decode(name, _open(data), limits)


def _open(data: pa.NativeFile) -> pq.ParquetFile:
    return pq.ParquetFile(
        data,
        page_checksum_verification=True,
        pre_buffer=False,
        thrift_string_size_limit=FOOTER_BYTES,
        thrift_container_size_limit=FOOTER_BYTES,
    )


def _judge_footer(name: str, file: pq.ParquetFile, limits: Limits) -> None:
    """Refuse by what the file says of itself, before any page is read."""
    footer = file.metadata
    groups = [footer.row_group(index) for index in range(footer.num_row_groups)]
    cells = [group.column(place) for group in groups for place in range(group.num_columns)]
    rows = footer.num_rows
    unpacked = sum(max(cell.total_uncompressed_size, 0) for cell in cells)
    fixed = max((file.schema.column(place).length for place in range(len(file.schema))), default=0)
    if rows < 0 or any(group.num_rows < 0 for group in groups) or sum(group.num_rows for group in groups) != rows:
        raise ContractError(f"{name}: its footer counts rows that its row groups do not hold; it is damaged or forged")
    _refuse_above(name, "rows", rows, limits.rows, "max_rows")
    _refuse_above(name, "unpacked bytes", unpacked, limits.unpacked_bytes, "max_unpacked_bytes")
    _refuse_above(name, "values", sum(cell.num_values for cell in cells), limits.unpacked_bytes, "max_unpacked_bytes")
    per_row = max(unpacked // max(rows, MIN_ROWS_JUDGED), fixed)
    _refuse_above(name, "unpacked bytes per row", per_row, limits.row_bytes, "max_row_bytes")


def _decode(name: str, file: pq.ParquetFile, limits: Limits) -> Iterator[pa.RecordBatch]:
    """Rows in pieces, counted as they come: repeated values of a dictionary grow only here."""
    rows = unpacked = 0
    for packed in file.iter_batches(BATCH_ROWS, use_threads=False):
        batch = packed.cast(_spelled_out(packed.schema))
        rows, unpacked = rows + len(batch), unpacked + batch.nbytes
        _refuse_above(name, "unpacked bytes", unpacked, limits.unpacked_bytes, "max_unpacked_bytes")
        per_row = unpacked // max(rows, MIN_ROWS_JUDGED)
        _refuse_above(name, "unpacked bytes per row", per_row, limits.row_bytes, "max_row_bytes")
        yield batch


def _spelled_out(schema: pa.Schema) -> pa.Schema:
    """The schema with every dictionary type replaced by that of its values: what a reader will hold in the end."""
    return pa.schema([field.with_type(_without_dictionaries(field.type)) for field in schema])


def _without_dictionaries(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return kind.value_type
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_without_dictionaries(field.type)) for field in kind.fields])
    for matches, build in ((pa.types.is_list, pa.list_), (pa.types.is_large_list, pa.large_list)):
        if matches(kind):
            return build(kind.value_field.with_type(_without_dictionaries(kind.value_type)))
    return kind


def _refuse_above(name: str, what: str, found: int, allowed: int, setting: str) -> None:
    if found > allowed:
        raise ContractError(
            f"{name}: holds {found:,} {what}, more than the {allowed:,} allowed; nothing more of it was read. If it is "
            f"meant to be so large, raise {setting}"
        )


def _prove_readable(name: str, source: bytes | Path, limits: Limits, *, memory_bytes: int) -> None:
    """Decode in a process with bounded memory; return only if it came to its end."""
    path, data = ("", source) if isinstance(source, bytes) else (str(source.resolve()), None)
    bounds = (limits.rows, limits.unpacked_bytes, limits.row_bytes, memory_bytes)
    environment = {**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system", "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tasks._parquet", *map(str, bounds), name, path],
            input=data,
            env=environment,
            capture_output=True,
            timeout=TRIAL_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ContractError(f"{name}: is not decoded within {TRIAL_TIMEOUT_S} s; it was refused") from None
    if done.returncode == REFUSED:
        raise ContractError(done.stdout.decode(errors="replace"))
    if done.returncode == 1 and b"ModuleNotFoundError" in done.stderr:
        raise EngineError(f"the process that tries out {name} cannot start: {done.stderr.decode()[-300:]}")
    if done.returncode:
        raise ContractError(
            f"{name}: cannot be decoded in {memory_bytes:,} bytes of memory (the process that tried ended "
            f"with {done.returncode}); it is damaged or made to overwhelm its reader. Nothing of it was used"
        )


def _try_out(rows: str, unpacked_bytes: str, row_bytes: str, memory_bytes: str, name: str, path: str) -> int:
    """The trial process: read a path, or standard input, within memory that cannot be exceeded."""
    limits = Limits(int(rows), int(unpacked_bytes), int(row_bytes))
    data = pa.memory_map(path) if path else pa.BufferReader(sys.stdin.buffer.read())
    allowed = int(memory_bytes) + (0 if path else data.size()) + FIXED_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (allowed, allowed))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    decoded = 0
    try:
        file = _open(data)
        _judge_footer(name, file, limits)
        for batch in _decode(name, file, limits):
            decoded += len(batch)
    except ContractError as refusal:
        sys.stdout.write(str(refusal))
        return REFUSED
    except (pa.ArrowMemoryError, MemoryError):
        return REFUSED + 1
    except (pa.ArrowException, OSError, ValueError) as error:
        kind = type(error).__name__
        sys.stdout.write(f"{name}: cannot be read as parquet after row {decoded}: {kind}; is it damaged or cut short?")
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(_try_out(*sys.argv[1:]))
