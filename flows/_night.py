"""What Prefect sees of a night: one task per stage, a progress bar, and a table of what went in and out."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from prefect import get_run_logger, task
from prefect.artifacts import create_progress_artifact, create_table_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run

from flows._cancelling import stop_if_cancelled
from flows._failures import keeping_texts, step
from sweetspot import ids
from sweetspot.config import Curate
from sweetspot.errors import ClusterError, EngineError
from tasks import _ray
from tasks._stage import Run
from tasks._store import Store
from tasks._tables import TableRef

T = TypeVar("T")


@dataclass
class Night:
    """One run as it unfolds.

    Attributes:
        run: where stages work.
        logical_date: UTC date the run is for.
        tables: what stages have made so far, by schema name.
    """

    run: Run
    logical_date: str
    tables: dict[str, TableRef] = field(default_factory=dict)

    def stage(self, function: Callable[..., TableRef], *args: Any, **kwargs: Any) -> TableRef:
        """Run one stage as a Prefect task and enter its table in the night's books."""
        ref = self.step(function, *args, **kwargs)
        self.enter(ref)
        return ref

    def step(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run any function as a Prefect task; only a failed engine is retried (the store has retried already)."""
        name = getattr(function, "__name__", "step")
        as_task = task(
            name=name,
            task_run_name=name,
            cache_policy=NO_CACHE,
            persist_result=False,
            retries=2,
            retry_delay_seconds=5,
            retry_condition_fn=_is_worth_retrying,
        )
        with step(name):
            stop_if_cancelled()
            return as_task(keeping_texts(function))(*args, **kwargs)

    def enter(self, *refs: TableRef) -> None:
        """Log a table's figures and keep it for delivery."""
        for ref in refs:
            self.tables[ref.name] = ref
            row = stage_row(ref)
            keys = ("stage", "in", "unit", "out", "dropped", "rows", "seconds")
            get_run_logger().info("%s: %s %s in, %s out, dropped %s; %s rows, %s s", *(row[key] for key in keys))
            for note in ref.notes:
                get_run_logger().info("%s: %s", row["stage"], note)

    def publish_table(self) -> None:
        """Show the books as a Prefect artifact."""
        rows = [stage_row(ref) for ref in self.tables.values()]
        create_table_artifact(
            key=f"{_slug(self.run.dataset)}-stages", table=rows, description=f"Stages of {self.run.run_id}"
        )


def _is_worth_retrying(task: Any, run: Any, state: Any) -> bool:
    try:
        state.result(raise_on_failure=True)
    except ClusterError:
        return False  # connecting again is for the next start
    except EngineError:
        return True
    except Exception:
        # Prefect hands over whatever the stage raised; all else would fail again the same way.
        return False
    return False


def stage_row(ref: TableRef) -> dict[str, Any]:
    """One line of the stage table."""
    book = ref.book
    reasons = {reason: rows["count"] for reason, rows in sorted(book["dropped"].items())}
    listed = ", ".join(f"{reason} {count}" for reason, count in reasons.items())
    return {
        "stage": book["stage"],
        "in": book["rows_in"]["count"],
        "out": book["rows_out"]["count"],
        "unit": book["unit"] + "s",
        "dropped": f"{sum(reasons.values())}: {listed}" if reasons else "0",
        "rows": ref.rows,
        "seconds": round(ref.seconds, 1),
        "reused": f"{ref.reused_chunks} of {ref.chunks} chunks",
    }


class _ProgressBar:
    """One progress artifact per stage, updated in place with the time still to go."""

    def __init__(self) -> None:
        self._bars: dict[str, tuple[Any, float, int]] = {}

    def __call__(self, stage: str, done: int, total: int) -> None:
        percent = 100.0 * done / max(total, 1)
        if stage not in self._bars:
            bar = create_progress_artifact(progress=percent, key=_slug(stage), description=stage)
            self._bars[stage] = (bar, time.monotonic(), done)
            get_run_logger().info("%s: %d of %d chunks were there", stage, done, total)
            return
        bar, started, first = self._bars[stage]
        pace = (time.monotonic() - started) / max(done - first, 1)
        text = f"{stage}: {done} of {total} chunks, about {pace * (total - done):.0f} s left"
        get_run_logger().info(text)
        update_progress_artifact(bar, progress=percent, description=text)


@contextmanager
def night(config: Curate) -> Iterator[Night]:
    """Open a run: prove the store can be trusted, connect to the cluster, keep the books.

    The run's identity is its logical date and its settings, so a restarted run is the same run.
    """
    Store(config.store).probe()
    date = logical_date()
    run_id = f"{config.dataset}-{date}-{ids.fingerprint(config.model_dump(mode='json'))[:8]}"
    run = Run(config.store, config.dataset, run_id, config.cluster, _ProgressBar())
    book = Night(run, date)
    with _ray.cluster(config.cluster):
        try:
            yield book
        finally:
            if book.tables:
                book.publish_table()


def logical_date() -> str:
    """UTC date the run was scheduled for, so a late run keeps its date."""
    scheduled = flow_run.scheduled_start_time
    return (scheduled or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%d")


def _slug(name: str) -> str:
    return "".join(character if character.isalnum() else "-" for character in name.lower()).strip("-")


def summary_rows(tables: Mapping[str, TableRef]) -> list[dict[str, Any]]:
    """The stage table as plain rows."""
    return [stage_row(ref) for ref in tables.values()]
