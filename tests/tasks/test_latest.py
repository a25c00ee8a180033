"""The pointer moves forward only, whoever moves it in whatever order, in a folder and on an S3 server."""

import json
import random
import threading
from dataclasses import asdict, replace

import boto3
import pytest
from moto_process import moto_server, pointed_at

from sweetspot.delivery.version_name import version_name
from sweetspot.errors import CheckError
from tasks._latest import Latest, latest_key, move_latest, read_latest
from tasks._store import Store

MOVERS, POLLERS = 4, 1


@pytest.fixture(scope="module")
def endpoint():
    with moto_server() as (host, port), pointed_at(f"http://{host}:{port}"):
        boto3.client("s3").create_bucket(Bucket="bucket")
        yield


@pytest.fixture(params=["folder", "bucket"])
def store(request, tmp_path):
    if request.param == "folder":
        return Store(f"file://{tmp_path}")
    request.getfixturevalue("endpoint")
    return Store(f"s3://bucket/{tmp_path.name}")


def at(day: int, attempt: int = 1, digest: str = "0f3c9a1e") -> Latest:
    date = f"2026-01-{day:02}"
    return Latest(version_name(date, attempt, digest), date, digest * 8, attempt)


def test_it_moves_to_a_later_date_and_to_a_later_attempt(store):
    assert read_latest(store, "nights") is None
    for target in (at(30), at(31), at(31, 2), at(31, 10)):
        assert move_latest(store, "nights", target)
        assert read_latest(store, "nights") == target


def test_it_never_moves_back_however_late_the_older_one_comes(store):
    move_latest(store, "nights", at(31, 2))
    for older in (at(30), at(30, 99), at(31), at(31, 1, "ffffffff")):
        assert not move_latest(store, "nights", older)
    assert read_latest(store, "nights") == at(31, 2)


def test_moving_to_where_it_is_writes_nothing(store, monkeypatch):
    move_latest(store, "nights", at(31))
    monkeypatch.setattr(Store, "swap", lambda *_: pytest.fail("written again"))
    assert move_latest(store, "nights", at(31))


def test_another_version_of_the_same_place_does_not_replace_the_first(store):
    move_latest(store, "nights", at(31))
    assert not move_latest(store, "nights", at(31, 1, "ffffffff"))
    renewed = replace(at(31), manifest_sha256="e" * 64)
    assert move_latest(store, "nights", renewed), "its manifest was lost and published again"
    assert read_latest(store, "nights") == renewed


def test_movers_in_any_order_end_at_the_furthest_and_no_reader_sees_it_move_back(store):
    targets = [at(day, attempt) for day in (28, 29, 30, 31) for attempt in (1, 2)]
    random.Random(0).shuffle(targets)
    barrier, done = threading.Barrier(MOVERS + POLLERS), threading.Event()
    seen, behind = list[tuple[str, int]](), list[Latest]()

    def move(mine: list[Latest]) -> None:
        barrier.wait()
        for target in mine:
            move_latest(Store(store.uri), "nights", target)
            found = read_latest(store, "nights")
            if found is None or found.place < target.place:
                behind.append(target)

    def poll() -> None:
        barrier.wait()
        while not done.is_set():
            if (found := read_latest(Store(store.uri), "nights")) is not None:
                seen.append(found.place)

    movers = [threading.Thread(target=move, args=(targets[k::MOVERS],)) for k in range(MOVERS)]
    pollers = [threading.Thread(target=poll) for _ in range(POLLERS)]
    for thread in (*movers, *pollers):
        thread.start()
    for thread in movers:
        thread.join()
    done.set()
    for thread in pollers:
        thread.join()
    assert read_latest(store, "nights") == at(31, 2)
    assert seen == sorted(seen)
    assert not behind, "a mover came back and the pointer was behind what it moved to"


def test_whoever_overtakes_between_look_and_write_is_not_moved_back(store, monkeypatch):
    swap = Store.swap

    def overtaken(self, key, expected, data):
        monkeypatch.setattr(Store, "swap", swap)
        move_latest(store, "nights", at(31))
        return swap(self, key, expected, data)

    move_latest(store, "nights", at(29))
    monkeypatch.setattr(Store, "swap", overtaken)
    assert not move_latest(store, "nights", at(30))
    assert read_latest(store, "nights") == at(31)


def test_a_pointer_written_before_there_were_attempts_is_a_first_attempt(store):
    old = {name: value for name, value in asdict(at(31)).items() if name != "attempt"}
    store.create(latest_key("nights"), json.dumps(old).encode())
    assert read_latest(store, "nights") == at(31)
    assert move_latest(store, "nights", at(31, 2))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"version": 5}, "version: got 5"),
        ({"version": "../../x"}, "version: got '../../x'"),
        ({"version": "2026-01-31-0f3c9a1e\n"}, "version: got "),
        ({"version": None}, "version: got None"),
        ({"logical_date": "9999-99-99"}, "logical_date: got '9999-99-99'"),
        ({"logical_date": "9999-12-31"}, "version 2026-01-31-0f3c9a1e is not of 9999-12-31, attempt 1"),
        ({"logical_date": 20260131}, "logical_date: got 20260131"),
        ({"manifest_sha256": "0" * 63}, "manifest_sha256: got "),
        ({"attempt": 2}, "is not of 2026-01-31, attempt 2"),
        ({"attempt": 10**9}, "attempt: got 1000000000"),
        ({"attempt": True}, "attempt: got True"),
        ({"format_version": 9}, "has a field 'format_version'"),
    ],
)
def test_a_planted_pointer_is_named_with_its_field_followed_by_nobody_and_left_as_it_is(tmp_path, change, why):
    store, planted = Store(f"file://{tmp_path}"), json.dumps({**asdict(at(31)), **change}).encode()
    store.create(latest_key("nights"), planted)
    for act in (lambda: read_latest(store, "nights"), lambda: move_latest(store, "nights", at(31, 3))):
        with pytest.raises(CheckError, match=r"nights/latest\.json: is damaged; name the version") as refused:
            act()
        assert why in str(refused.value)
    assert store.read(latest_key("nights")) == planted
