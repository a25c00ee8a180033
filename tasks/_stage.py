"""How every stage runs: what is committed is skipped, the rest is mapped over the cluster, books must balance."""

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from secrets import token_hex
from typing import Any, Protocol

import pyarrow as pa

from sweetspot import ids
from sweetspot.config import Cluster
from sweetspot.delivery.books import Book, IdSet
from sweetspot.errors import CheckError, EngineError
from sweetspot.schemas import Schema
from tasks import _ray
from tasks._folder import require_room
from tasks._isolation import Isolation, TakenOver
from tasks._store import Store
from tasks._tables import ChunkResult, TableRef, chunk_key, commit_chunk, commit_table, find_table, receipt_if_there
from tasks._watchdog import within

Progress = Callable[[str, int, int], None]
RECEIPT_POLL_S = 1.0
PATIENCE_STALLS = 2
"""How many `stall_s` a worker waits for another run that took over its chunk: for an engine to open and a chunk."""


@dataclass(frozen=True)
class Run:
    """Where a stage works and whom it tells.

    Attributes:
        store: URI of the store.
        dataset: name of the dataset in it.
        run_id: identity of this run, for the manifest.
        cluster: settings of the cluster.
        progress: called with (stage, chunks done, chunks in all) as chunks commit.
    """

    store: str
    dataset: str
    run_id: str
    cluster: Cluster
    progress: Progress = field(default=lambda stage, done, total: None)


class ChunkWork(Protocol):
    """One actor's work: chunks of the input tables in, rows that go on and rows that leave out."""

    def __call__(self, inputs: Mapping[str, pa.Table]) -> ChunkResult:
        """Handle one chunk."""
        ...


@dataclass(frozen=True)
class Stage:
    """What a stage is, apart from its work.

    Attributes:
        name: verb_noun, as in the file name.
        version: raised by hand when the same input would give another output.
        output: schema of the rows it makes.
        unit: what its book counts.
        models: its work loads a model.
    """

    name: str
    version: int
    output: Schema
    unit: str
    models: bool = False


@dataclass(frozen=True)
class _Plan:
    """Everything a worker needs; pickled to the cluster, so it holds no open thing."""

    stage: Stage
    store: str
    location: str
    inputs: dict[str, TableRef]
    open_work: Callable[[], ChunkWork]
    cluster: Cluster
    session: str

    def open(self) -> Callable[[int], dict[str, Any]]:
        work = self._isolated() if self.stage.models else self._plain()
        return lambda index: self._do_chunk(work, index)

    def _plain(self) -> Callable[[int, Mapping[str, pa.Table]], ChunkResult]:
        work = self.open_work()

        def limited(index: int, inputs: Mapping[str, pa.Table]) -> ChunkResult:
            with within(self.cluster.stall_s):
                return work(inputs)

        return limited

    def _isolated(self) -> Isolation:
        stage = self.stage
        return Isolation(
            self.open_work,
            Store(self.store),
            self.location,
            self.session,
            stage.name,
            stage.unit,
            stage.output,
            self.cluster,
        )

    def _do_chunk(self, work: Callable[[int, Mapping[str, pa.Table]], ChunkResult], index: int) -> dict[str, Any]:
        store = Store(self.store)
        # Another run of the stage may have committed it since this one looked.
        if (committed := receipt_if_there(store, self.location, index)) is not None:
            return dict(committed)
        try:
            result = work(index, {name: ref.read_chunk(index) for name, ref in self.inputs.items()})
        except TakenOver as taken:
            return self._of_another_run(store, index, taken)
        book = book_of(self.stage, result)
        book.balance()
        return commit_chunk(store, self.location, index, result, book=book, schema=self.stage.output)

    def _of_another_run(self, store: Store, index: int, taken: TakenOver) -> dict[str, Any]:
        """The receipt of whoever works the same chunk at this moment."""
        deadline = time.monotonic() + PATIENCE_STALLS * self.cluster.stall_s
        while time.monotonic() < deadline:
            if (committed := receipt_if_there(store, self.location, index)) is not None:
                return dict(committed)
            time.sleep(RECEIPT_POLL_S)
        raise EngineError(f"{taken}, and commits nothing; committed chunks are safe. Start the run again")


def book_of(stage: Stage, result: ChunkResult) -> Book:
    """The book of one chunk: ids in, ids out, ids that left by reason."""
    left: dict[str, list[str]] = {}
    for row_id, reason in zip(result.dropped["row_id"].to_pylist(), result.dropped["reason"].to_pylist(), strict=True):
        left.setdefault(reason, []).append(row_id)
    return Book(
        stage=stage.name,
        unit=stage.unit,
        rows_in=IdSet.of(result.ids_in),
        rows_out=IdSet.of(result.ids_out),
        dropped={reason: IdSet.of(rows) for reason, rows in left.items()},
    )


def location_of(run: Run, stage: Stage, inputs: Sequence[TableRef], identity: Any) -> tuple[str, str]:
    """Key prefix and fingerprint of a stage's output."""
    key = ids.fingerprint([stage.name, stage.version, [ref.fingerprint for ref in inputs], identity])
    return f"{run.dataset}/tables/{stage.output.name}/{key}", key


def run_stage(
    stage: Stage,
    inputs: Mapping[str, TableRef],
    open_work: Callable[[], ChunkWork],
    run: Run,
    *,
    identity: Any,
    notes: Callable[[TableRef], tuple[str, ...]] = lambda ref: (),
) -> TableRef:
    """Bring a stage's table into being, chunk by chunk, redoing nothing that is committed.

    Args:
        stage: what it is.
        inputs: tables it reads, by the name its work knows them by; all have the same chunks.
        open_work: picklable; called once per worker.
        run: where.
        identity: JSON-able; every setting and revision the output depends on.
        notes: figures for people, computed once from the finished table.

    Raises:
        CheckError: the books do not balance, or more rows failed than the run allows.
    """
    started = time.monotonic()
    store = Store(run.store)
    location, key = location_of(run, stage, list(inputs.values()), identity)
    finished = find_table(store, location)
    if finished is not None:
        run.progress(stage.name, finished.chunks, finished.chunks)
        return replace(finished, reused_chunks=finished.chunks)
    chunks = next(iter(inputs.values())).chunks
    todo = [index for index in range(chunks) if store.read_if_there(f"{location}/{chunk_key(index)}") is None]
    _require_room(store, stage)
    plan = _Plan(stage, run.store, location, dict(inputs), open_work, run.cluster, session=token_hex(8))
    run.progress(stage.name, chunks - len(todo), chunks)
    _work_chunks(plan, todo, chunks, run)
    ref = finish_table(store, stage, location, key, chunks=chunks, run=run)
    # The seconds are committed too: a run that is started again must write the very same report.
    ref = replace(ref, notes=notes(ref), seconds=round(time.monotonic() - started, 3))
    return replace(commit_table(store, ref), reused_chunks=chunks - len(todo))


def _require_room(store: Store, stage: Stage) -> None:
    """Begin only where there is room: Ray and engines spill to the scratch folder, chunks go to the store."""
    require_room(Path(tempfile.gettempdir()), what=stage.name)
    store.require_room(stage.name)


def _work_chunks(plan: _Plan, todo: Sequence[int], chunks: int, run: Run) -> None:
    """Map the chunks over the cluster, and stop as soon as more rows failed than a whole table may lose."""
    failed = Counter[str]()
    rows = max(ref.rows for ref in plan.inputs.values())
    receipts = (
        _ray.map_chunks(plan.open, todo, stage=plan.stage.name, settings=run.cluster, models=plan.stage.models)
        if todo
        else ()
    )
    for done, receipt in enumerate(receipts, 1):
        run.progress(plan.stage.name, chunks - len(todo) + done, chunks)
        failed += _failed(Book.from_json(receipt["book"]))
        if failed.total() > _allowed(rows, run.cluster):
            raise CheckError(_too_many(plan.stage, failed, rows, run.cluster))


def finish_table(store: Store, stage: Stage, location: str, key: str, *, chunks: int, run: Run) -> TableRef:
    """Add up the chunks' books and rows; the sum must balance."""
    empty = TableRef(stage.output.name, store.uri, location, key, chunks, 0, {})
    receipts = [empty.receipt(index) for index in range(chunks)]
    book = Book.merge([Book.from_json(receipt["book"]) for receipt in receipts])
    book.balance()
    failed, rows_in = _failed(book), book.rows_in.count
    if failed.total() > _allowed(rows_in, run.cluster) or (failed and failed.total() == rows_in):
        raise CheckError(_too_many(stage, failed, rows_in, run.cluster))
    return replace(empty, rows=sum(receipt["part"]["rows"] for receipt in receipts), book=book.to_json())


def _failed(book: Book) -> Counter[str]:
    return Counter({reason: rows.count for reason, rows in book.dropped.items() if reason.startswith("failed")})


def _allowed(rows: int, settings: Cluster) -> int:
    return max(100, int(settings.max_failed_fraction * rows))


def _too_many(stage: Stage, failed: Counter[str], rows: int, settings: Cluster) -> str:
    reasons = ", ".join(f"{reason} {count}" for reason, count in failed.most_common())
    return (
        f"{stage.name}: {failed.total()} of {rows} {stage.unit}s failed ({reasons}), more than the "
        f"{_allowed(rows, settings)} this run allows (cluster.max_failed_fraction); nothing was published and "
        "committed chunks are kept"
    )
