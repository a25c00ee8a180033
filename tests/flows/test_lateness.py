"""Of nights that are due at once only the newest runs, and each keeps the date it was due on, whatever clocks say."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.states import Cancelled, Completed, Failed, Scheduled

from flows._lateness import due_later
from flows._night import logical_date

FIRST = datetime(2027, 2, 27, 2, 0, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


def night(number, *, auto=True, state=None):
    return FlowRun(
        flow_id=uuid4(), expected_start_time=FIRST + number * DAY, auto_scheduled=auto, state=state or Scheduled()
    )


NIGHTS = [night(number) for number in range(6)]


@pytest.mark.parametrize(
    ("now", "runs"),
    [
        (FIRST, [0]),
        (FIRST + DAY - timedelta(seconds=1), [0]),  # a night that starts late but before the next is due
        (FIRST + DAY, [1]),
        (FIRST + 3 * DAY + 5 * HOUR, [3]),  # three days without a worker
        (FIRST + 3 * DAY - HOUR, [2]),  # this machine's clock is an hour behind
        (FIRST + 3 * DAY + HOUR, [3]),  # and an hour ahead
        (datetime(2027, 3, 1, 0, 0, tzinfo=UTC), [1]),  # midnight is no edge: a night is due at its own hour
        (FIRST + 9 * DAY, [5]),
    ],
)
def test_only_the_newest_night_that_is_due_runs(now, runs):
    due = [number for number, run in enumerate(NIGHTS) if run.expected_start_time <= now]
    assert [number for number in due if not due_later(NIGHTS[number], NIGHTS, now)] == runs


@pytest.mark.parametrize(
    ("other", "skips"),
    [
        (night(1), True),
        (night(1, state=Completed()), True),
        (night(1, state=Failed()), True),  # it has run; who wants more of it starts it again
        (night(1, state=Cancelled()), False),
        (night(1, auto=False), False),  # somebody's own run does not stand for the schedule's
        (night(0), False),
        (night(-1), False),
    ],
)
def test_what_counts_as_a_later_night(other, skips):
    assert bool(due_later(night(0), [other], FIRST + 2 * DAY)) is skips


@pytest.mark.parametrize(
    ("due", "date"),
    [
        ("2027-03-01T02:00:00+00:00", "2027-03-01"),
        ("2027-03-01T00:00:00+00:00", "2027-03-01"),
        ("2027-02-28T23:59:59+00:00", "2027-02-28"),
        ("2027-03-01T00:30:00+01:00", "2027-02-28"),
        ("2027-02-28T19:30:00-05:00", "2027-03-01"),
        ("2028-02-29T12:00:00+00:00", "2028-02-29"),
        ("2027-03-14T02:30:00-05:00", "2027-03-14"),  # an hour that New York's clocks skip
    ],
)
def test_a_run_keeps_the_utc_date_it_was_due_on_however_late_it_starts(due, date, monkeypatch):
    monkeypatch.setattr("flows._night.flow_run", SimpleNamespace(scheduled_start_time=datetime.fromisoformat(due)))
    assert logical_date() == date
    assert datetime.now(UTC).strftime("%Y-%m-%d") != date
