"""A row that raises, hangs, eats memory or ends its worker costs itself only.

Before a chunk that needs an engine is worked, a note in the store says so. Whoever finds the note of a worker that
died works the chunk prompt by prompt, with a note before each; a prompt that ends its worker then as well is known,
and leaves with its reason. So no row ends more than two workers of a run, and an engine that fails on everything
stops the stage instead.

A run stopped by hand leaves the same note as a worker that died. Therefore a note of another session (another start
of the stage) counts as evidence only the second time.
"""

import resource
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace

import pyarrow as pa
import pyarrow.compute as pc

from sweetspot import ids
from sweetspot.config import Cluster
from sweetspot.errors import CheckError, ConfigError, EngineError, StoreError, describe
from sweetspot.schemas import Schema
from tasks._records import parse_record
from tasks._store import Store
from tasks._tables import ChunkResult, dropped_table
from tasks._watchdog import within

Tables = Mapping[str, pa.Table]
OPENING, CHUNK, PROMPT, LEFT = "opening", "chunk", "prompt", "left"
SUSPICIOUS = 2
"""Interruptions by other sessions after which a chunk is worked prompt by prompt, and a prompt is to blame."""
MAX_OPENINGS = 3
"""Workers that may die while they open their engine, one after another."""
HOPELESS = 8
"""If so many prompts of a chunk (or all of a smaller one) fail and none goes well, it is the engine and not they."""
FEW = 4
"""Fewer prompts than this can all be bad by chance."""
_STAGE_STOPS = (CheckError, ConfigError, StoreError)


@dataclass(frozen=True)
class Note:
    """What a worker was doing, for whoever comes after it.

    Attributes:
        session: of the start of the stage it worked for.
        at: `opening`, `chunk` or `prompt`; `left` after an error that stopped the stage and is no row's.
        prompt: id of the prompt, at `prompt`.
        since_s: when it began that, in seconds since 1970.
        openings: workers of this session that died while opening.
        interruptions: how often the chunk was left half done.
        strikes: prompts at which another session was interrupted.
        blamed: prompts that will not be tried again, with the reason.
        well: prompts that went well one by one, for the worker that got furthest.
    """

    session: str
    at: str = OPENING
    prompt: str = ""
    since_s: float = 0.0
    openings: int = 0
    interruptions: int = 0
    strikes: dict[str, int] = field(default_factory=dict[str, int])
    blamed: dict[str, str] = field(default_factory=dict[str, str])
    well: int = 0

    @property
    def careful(self) -> bool:
        """Whether the chunk has to be worked prompt by prompt."""
        return self.interruptions >= SUSPICIOUS


def judge(note: Note, session: str, *, now_s: float, stall_s: float) -> Note:
    """What a note of a worker that is no more means to the next one.

    Raises:
        EngineError: this session's workers die while they open their engine.
    """
    ours = note.session == session
    after = replace(note, session=session, at=OPENING, prompt="", openings=0)
    if note.at == LEFT:
        return after
    if note.at == OPENING:
        openings = note.openings + 1 if ours else 0
        if openings >= MAX_OPENINGS:
            raise EngineError(f"{openings} workers ended while they opened the engine of this stage; see the Ray logs")
        return replace(after, openings=openings)
    if note.at == CHUNK:
        return replace(after, interruptions=SUSPICIOUS if ours else note.interruptions + 1)
    strikes = note.strikes.get(note.prompt, 0) + (SUSPICIOUS if ours else 1)
    if strikes < SUSPICIOUS:
        return replace(after, strikes={**note.strikes, note.prompt: strikes})
    stalled = ours and now_s - note.since_s >= stall_s
    reason = "failed_stalled" if stalled else "failed_worker_died"
    return replace(after, blamed={**note.blamed, note.prompt: reason})


class TakenOver(EngineError):
    """Another worker writes the note of a chunk that we are at."""


class Page:
    """The note of one chunk, in the store."""

    def __init__(self, store: Store, key: str, session: str, *, stall_s: float) -> None:
        self.store, self.key = store, key
        self._held = store.read_if_there(key)
        before = None if self._held is None else Note(**parse_record(self._held, key))
        self.note = Note(session) if before is None else judge(before, session, now_s=time.time(), stall_s=stall_s)

    def write(self, at: str, prompt: str = "", *, well: int = 0) -> None:
        """Say what comes next, and how many prompts have gone well one by one.

        Raises:
            TakenOver: by another worker of this start of the stage, or by one of another run.
        """
        self.note = replace(self.note, at=at, prompt=prompt, since_s=time.time(), well=max(well, self.note.well))
        data = ids.canonical_json(asdict(self.note))
        if not self.store.swap(self.key, self._held, data):
            raise TakenOver(f"{self.key}: another worker has taken this chunk over")
        self._held = data

    def leave(self, *, forget: bool) -> None:
        """Say that the stage stopped here for a reason that is no row's, and, to `forget`, none was to blame before."""
        if forget:
            self.note = Note(self.note.session)
        with suppress(EngineError, StoreError):
            self.write(LEFT)


@dataclass
class Isolation:
    """One worker's way through chunks.

    Attributes:
        open_work: opens the stage's engines; they are opened again after a failure, which may have left them broken.
        store: where notes are kept.
        location: of the table being made.
        session: nonce of this start of the stage.
        stage: its name.
        unit: what its book counts.
        output: schema of its rows.
        settings: limits of a worker.
    """

    open_work: Callable[[], Callable[[Tables], ChunkResult]]
    store: Store
    location: str
    session: str
    stage: str
    unit: str
    output: Schema
    settings: Cluster

    def __post_init__(self) -> None:
        self._work: Callable[[Tables], ChunkResult] | None = None
        if self.settings.worker_memory_gib:
            limit = _data_bytes() + int(self.settings.worker_memory_gib * 2**30)
            resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.getrlimit(resource.RLIMIT_DATA)[1]))

    def __call__(self, index: int, inputs: Tables) -> ChunkResult:
        """Work one chunk.

        Raises:
            SweetspotError: the stage cannot go on: a failed check, wrong settings, a store or an engine that fails.
        """
        page = Page(self.store, f"{self.location}/notes/{index:05d}.json", self.session, stall_s=self.settings.stall_s)
        try:
            return self._through(page, inputs)
        except TakenOver:
            raise
        except EngineError:
            page.leave(forget=True)
            raise
        except _STAGE_STOPS:
            page.leave(forget=False)
            raise

    def _through(self, page: Page, inputs: Tables) -> ChunkResult:
        if self._work is None:
            page.write(OPENING)
        work = self._opened()
        if not page.note.careful:
            page.write(CHUNK)
            try:
                return self._limited(work, inputs)
            except _STAGE_STOPS:
                raise
            except Exception:
                self._work = None  # an engine that raised may hold half of what it was given
        return self._prompt_by_prompt(page, inputs)

    def _prompt_by_prompt(self, page: Page, inputs: Tables) -> ChunkResult:
        key = f"{self.unit}_id"
        units = next(table for table in reversed(list(inputs.values())) if key in table.column_names)
        prompts = pc.unique(units["prompt_id"]).to_pylist()  # pyright: ignore[reportAttributeAccessIssue]
        hopeless = min(HOPELESS, max(len(prompts), FEW))
        results, well, failed = list[ChunkResult](), page.note.well, len(page.note.blamed)
        if failed >= hopeless and not well:
            raise EngineError(f"{self.stage}: {failed} prompts ended their worker one by one; see the Ray logs")
        for prompt in prompts:
            rows = {name: table.filter(pc.field("prompt_id") == prompt) for name, table in inputs.items()}
            row_ids = units.filter(pc.field("prompt_id") == prompt)[key].to_pylist()
            if prompt in page.note.blamed:
                results.append(self._left(row_ids, prompt, page.note.blamed[prompt], "ended two workers"))
                continue
            page.write(PROMPT, prompt, well=well)
            try:
                results.append(self._limited(self._opened(), rows))
                well += 1
            except _STAGE_STOPS:
                raise
            except Exception as error:
                self._work, failed = None, failed + 1
                if failed >= hopeless and not well:
                    raise EngineError(f"{self.stage}: {failed} prompts fail one by one: {describe(error)}") from None
                reason = "failed_memory" if isinstance(error, MemoryError) else "failed_raised"
                results.append(self._left(row_ids, prompt, reason, describe(error)))
        return _merged(results) if results else self._opened()(inputs)

    def _opened(self) -> Callable[[Tables], ChunkResult]:
        if self._work is None:
            with within(self.settings.stall_s):
                self._work = self.open_work()
        return self._work

    def _limited(self, work: Callable[[Tables], ChunkResult], inputs: Tables) -> ChunkResult:
        with within(self.settings.stall_s):
            return work(inputs)

    def _left(self, row_ids: list[str], prompt: str, reason: str, detail: str) -> ChunkResult:
        rows = [(row_id, prompt, reason, detail) for row_id in row_ids]
        return ChunkResult(self.output.table([]), dropped_table(self.stage, self.unit, rows), row_ids, [])


def _data_bytes() -> int:
    """What counts against RLIMIT_DATA already."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmData"))


def _merged(results: list[ChunkResult]) -> ChunkResult:
    return ChunkResult(
        table=pa.concat_tables([result.table for result in results]),
        dropped=pa.concat_tables([result.dropped for result in results]),
        ids_in=[row for result in results for row in result.ids_in],
        ids_out=[row for result in results for row in result.ids_out],
    )
