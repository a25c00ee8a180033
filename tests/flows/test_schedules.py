"""Schedules: one night per UTC date, whatever clocks do; and a server whose scheduler works."""

import asyncio
import sys
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
import yaml
from orchestrated import Server
from prefect.client.schemas.schedules import CronSchedule as DeclaredSchedule
from prefect.server.schemas.schedules import CronSchedule

from sweetspot.errors import CheckError
from tasks._dates import claim_date
from tasks._ray_head import free_ports
from tasks._store import Store

START = datetime(2027, 1, 1, tzinfo=UTC)
DAYS = 365 + 366  # 2028 is a leap year
ZONES = ("UTC", "America/New_York", "Europe/London", "Australia/Lord_Howe", "Asia/Kathmandu")


def runs_of(cron: str, zone: str) -> list[datetime]:
    schedule = CronSchedule(cron=cron, timezone=zone)
    found = asyncio.run(schedule.get_dates(n=DAYS * 2, start=START, end=START + timedelta(days=DAYS)))
    return [when.astimezone(UTC) for when in found]


@pytest.fixture(scope="module")
def shipped(root):
    declared = yaml.safe_load((root / "deployments" / "prefect.yaml").read_text())["deployments"]
    return next(one["schedules"][0] for one in declared if one["name"] == "scheduled")


def test_the_shipped_schedule_runs_once_per_utc_date(shipped):
    DeclaredSchedule(cron=shipped["cron"], timezone=shipped["timezone"])
    dates = Counter(when.date() for when in runs_of(shipped["cron"], shipped["timezone"]))
    assert dates == Counter({START.date() + timedelta(days=day): 1 for day in range(DAYS)})
    assert dates[date(2028, 2, 29)] == 1


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("cron", ["0 2 * * *", "30 2 * * *", "30 1 * * *", "30 19 * * *", "0 0 * * *"])
def test_in_any_zone_a_date_is_published_at_most_once(cron, zone, tmp_path):
    store, refused = Store(f"file://{tmp_path}"), 0
    published = Counter()
    for number, when in enumerate(runs_of(cron, zone)):
        day = when.date().isoformat()
        version = f"{day}-{number:08x}"
        try:
            claim_date(store, "tiny", day, version, now_utc=when)
        except CheckError:
            refused += 1
            continue
        store.create(f"tiny/versions/{version}/manifest.json", b"{}")
        published[day] += 1
    assert set(published.values()) == {1}
    assert len(published) + refused == number + 1
    assert refused <= 2


def test_a_zone_with_summer_time_repeats_or_skips_a_date():
    """Why the shipped schedule is in UTC: in New York a 19:30 run falls on 23:30 or 00:30 UTC."""
    dates = Counter(when.date() for when in runs_of("30 19 * * *", "America/New_York"))
    assert 2 in dates.values()
    missing = {START.date() + timedelta(days=day) for day in range(DAYS)} - set(dates)
    assert missing
    assert datetime(2027, 7, 1, 19, 30, tzinfo=ZoneInfo("America/New_York")).astimezone(UTC).hour == 23


def test_the_server_makes_the_runs_of_a_schedule(tmp_path):
    server = Server(tmp_path, free_ports(1)[0])
    server.start()
    try:
        pool = [sys.executable, "-m", "prefect", "work-pool", "create", "local", "--type", "process"]
        assert server.spawn(pool, "pool").wait(120) == 0
        assert server.spawn([sys.executable, "tests/support/small_flows.py", "deploy"], "deploy").wait(120) == 0
        server.wait(lambda: len(server.runs()) >= 3, 90)
        assert all(run["auto_scheduled"] for run in server.runs())
    finally:
        server.kill()
