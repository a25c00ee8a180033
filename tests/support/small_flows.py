"""Flows that do nothing but be run: `python small_flows.py sleep SECONDS`, `python small_flows.py deploy`."""

import sys
import time
from typing import Any

from prefect import flow
from prefect.states import Completed

import flows  # noqa: F401  (its settings first)
from flows._lateness import skipped_as_late

EVERY_S = 30


@flow
def sleep(seconds: float) -> object:
    """Be Running for so long, then end under a name of our own."""
    time.sleep(seconds)
    return Completed(name="Skipped", message="later nights are due already")


@flow
def due() -> object:
    """End as skipped if a later run is due."""
    return skipped_as_late() or "ran"


if __name__ == "__main__":
    if sys.argv[1] == "sleep":
        sleep(float(sys.argv[2]))
    else:
        from datetime import timedelta

        from prefect.client.schemas.schedules import IntervalSchedule

        every: Any = IntervalSchedule(interval=timedelta(seconds=EVERY_S))
        deployment: Any = due.to_deployment("often", schedule=every)
        deployment.work_pool_name = "local"
        deployment.entrypoint = "small_flows.due"
        deployment.apply()
