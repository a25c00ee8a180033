"""After an outage many nights are due at once: the newest runs, those before it end as skipped."""

from datetime import UTC, datetime

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterExpectedStartTime,
)
from prefect.client.schemas.objects import FlowRun, State
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
        later = client.read_flow_runs(
            deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[mine.deployment_id])),
            flow_run_filter=FlowRunFilter(expected_start_time=FlowRunFilterExpectedStartTime(after_=_due(mine))),
        )
    newer = [run for run in later if run.auto_scheduled and _due(mine) < _due(run) <= datetime.now(UTC)]
    if not newer:
        return None
    return Completed(
        name="Skipped", message=f"{_due(mine):%Y-%m-%d} is late: {len(newer)} later nights are due already"
    )


def _due(run: FlowRun) -> DateTime:
    assert run.expected_start_time is not None, "a run of a schedule has a time"
    return run.expected_start_time
