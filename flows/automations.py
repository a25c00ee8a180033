"""Prefect automations the project ships: a run that has gone silent, or never begins, is marked Crashed.

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

from flows._failures import CRASHED

SILENT_S = 90
"""Three heartbeats (PREFECT_FLOWS_HEARTBEAT_FREQUENCY is 30, its least, in every process of ours)."""
PENDING_S = 110
"""How long a worker may take from taking a run to its first line of code; with the server's own pace under 120 s."""
TAKEN = ("Pending", "Submitting", "InfrastructurePending")
"""Names of the state in which a worker has taken a run and it does not yet run."""
ANY_SIGN = "prefect.flow-run.*"
"""A heartbeat or a state of whatever name: ours have names of their own, as Skipped."""


def crash_silent_runs() -> AutomationCore:
    """A run that neither beats nor ends within `SILENT_S` seconds is marked Crashed.

    The clock starts at Running too, not only at a heartbeat: a run may die before its first.
    """
    return _crashing(
        "crash silent runs",
        f"No heartbeat for {SILENT_S} s: the process or its machine is gone",
        after={"prefect.flow-run.Running", "prefect.flow-run.heartbeat"},
        within_s=SILENT_S,
    )


def crash_stuck_runs() -> AutomationCore:
    """A run that a worker has taken and that does not begin within `PENDING_S` seconds is marked Crashed.

    Else it would be Pending for ever, and with a concurrency limit of 1 no later night would begin.
    """
    return _crashing(
        "crash stuck runs",
        f"Did not begin within {PENDING_S} s of being taken: the worker is gone",
        after={f"prefect.flow-run.{name}" for name in TAKEN},
        within_s=PENDING_S,
    )


def _crashing(name: str, what: str, *, after: set[str], within_s: int) -> AutomationCore:
    """Mark a run Crashed that gives no sign of itself for so long after one of these events."""
    trigger = EventTrigger(
        after=after,
        expect={ANY_SIGN},
        match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=timedelta(seconds=within_s),
    )
    message = f"{what}; safe: {CRASHED}."
    action = ChangeFlowRunState(name=None, force=False, state=StateType.CRASHED, message=message)
    return AutomationCore(name=f"sweetspot: {name}", description=message, trigger=trigger, actions=[action])


def register() -> None:
    """Create each automation, or renew the one of its name."""
    with get_client(sync_client=True) as client:
        for wanted in (crash_silent_runs(), crash_stuck_runs()):
            found = client.read_automations_by_name(wanted.name)
            if found:
                client.update_automation(found[0].id, wanted)
            else:
                client.create_automation(wanted)


if __name__ == "__main__":
    register()
