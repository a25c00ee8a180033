"""After an outage many nights are due at once: the newest runs, those before it end as skipped."""

from collections.abc import Iterable
from datetime import UTC, datetime

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterExpectedStartTime,
)
from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.sorting import FlowRunSort
from prefect.runtime import flow_run
from prefect.states import Completed
from prefect.types import DateTime


def skipped_as_late() -> State | None:
    """The state to end with if a later scheduled run of the same deployment is due already; else None.

    A run somebody asked for is never skipped.
    """
    if flow_run.id is None:
        return None
    with get_client(sync_client=True) as client:
        mine = client.read_flow_run(flow_run.id)
        if mine.deployment_id is None or not mine.auto_scheduled:
            return None
        after = FlowRunFilterExpectedStartTime(after_=_due(mine))
        found = client.read_flow_runs(
            deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[mine.deployment_id])),
            flow_run_filter=FlowRunFilter(expected_start_time=after),
            sort=FlowRunSort.EXPECTED_START_TIME_ASC,
        )
    later = due_later(mine, found, datetime.now(UTC))
    if not later:
        return None
    return Completed(
        name="Skipped", message=f"{_due(mine):%Y-%m-%d} is late: {len(later)} later nights are due already"
    )


def due_later(mine: FlowRun, found: Iterable[FlowRun], now: datetime) -> list[FlowRun]:
    """Runs of the schedule that are due by `now`, later than `mine`, and that nobody has cancelled."""
    return [
        run
        for run in found
        if run.auto_scheduled and _due(mine) < _due(run) <= now and not (run.state and run.state.is_cancelled())
    ]


def _due(run: FlowRun) -> DateTime:
    assert run.expected_start_time is not None, "a run of a schedule has a time"
    return run.expected_start_time
