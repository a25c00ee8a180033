"""Prefect automations the project ships: a run that has gone silent is marked Crashed.

Register them, or renew them, on the server that PREFECT_API_URL names: `python -m flows.automations`. Prefect itself
leaves the run of a killed machine Running for ever. Whatever it believes, one date is published once: that is held in
the store (`tasks/_dates.py`).
"""

from datetime import timedelta

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

SILENT_S = 90
"""Three heartbeats (PREFECT_FLOWS_HEARTBEAT_FREQUENCY is 30, its least, in every process of ours)."""
ENDS = ("Completed", "Failed", "Crashed", "Cancelled", "Paused", "Suspended", "AwaitingRetry")


def crash_silent_runs() -> AutomationCore:
    """A run that neither beats nor ends within `SILENT_S` seconds is marked Crashed.

    The clock starts at Running too, not only at a heartbeat: a run may die before its first.
    """
    return AutomationCore(
        name="sweetspot: crash silent runs",
        description=f"A run without a heartbeat for {SILENT_S} s is marked Crashed. What it committed is safe.",
        trigger=EventTrigger(
            after={"prefect.flow-run.Running", "prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.heartbeat", *(f"prefect.flow-run.{end}" for end in ENDS)},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=SILENT_S),
        ),
        actions=[
            ChangeFlowRunState(
                name=None,
                force=False,
                state=StateType.CRASHED,
                message=f"No heartbeat for {SILENT_S} s: the process or its machine is gone. Committed chunks are "
                "safe; start the run again, it goes on from there.",
            )
        ],
    )


def register() -> None:
    """Create each automation, or renew the one of its name."""
    wanted = crash_silent_runs()
    with get_client(sync_client=True) as client:
        found = client.read_automations_by_name(wanted.name)
        if found:
            client.update_automation(found[0].id, wanted)
        else:
            client.create_automation(wanted)


if __name__ == "__main__":
    register()
