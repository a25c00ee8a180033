"""One publication per date: who claims, who waits, who takes over, and who finds the fence."""

from datetime import UTC, datetime, timedelta

import pytest

from sweetspot.errors import CheckError
from tasks._dates import PATIENCE, claim_date, is_fence
from tasks._store import Store

NOW = datetime(2026, 3, 29, 2, 0, tzinfo=UTC)
DATE = "2026-03-29"


@pytest.fixture
def store(tmp_path):
    return Store(f"file://{tmp_path}")


def claim(store, version, after=timedelta(0), date=DATE):
    claim_date(store, "nights", date, version, now_utc=NOW + after)


def manifest(store, version):
    return store.read_if_there(f"nights/versions/{version}/manifest.json")


def publish(store, version):
    return store.create(f"nights/versions/{version}/manifest.json", b'{"format_version":1}')


def test_the_same_version_may_claim_its_date_again(store):
    claim(store, "a")
    claim(store, "a", after=2 * PATIENCE)
    assert publish(store, "a")
    claim(store, "a")


def test_a_published_date_is_refused_for_ever_and_says_what_to_do(store):
    claim(store, "a")
    publish(store, "a")
    with pytest.raises(CheckError, match=r"2026-03-29 has been published as a with other settings.*raise `attempt`"):
        claim(store, "b", after=100 * PATIENCE)
    claim(store, "b", date=f"{DATE}.2")


def test_a_fresh_claim_is_respected_and_an_old_one_is_taken_over(store):
    claim(store, "a")
    with pytest.raises(CheckError, match=r"a has claimed 2026-03-29 at .* and is being published"):
        claim(store, "b", after=PATIENCE - timedelta(seconds=1))
    assert manifest(store, "a") is None
    claim(store, "b", after=PATIENCE)
    assert is_fence(manifest(store, "a"))
    assert not publish(store, "a"), "the paused run must find its name taken"
    assert publish(store, "b")


def test_a_twin_that_took_the_date_over_first_counts_as_us(store, monkeypatch):
    claim(store, "a")
    swap = Store.swap

    def late(self, key, expected, data):
        monkeypatch.setattr(Store, "swap", swap)
        claim(store, "b", after=2 * PATIENCE)
        return swap(self, key, expected, data)

    monkeypatch.setattr(Store, "swap", late)
    claim(store, "b", after=PATIENCE)
    assert publish(store, "b")


def test_whoever_published_while_we_put_up_the_fence_has_won(store, monkeypatch):
    claim(store, "a")
    create = Store.create

    def slow(self, key, data):
        if is_fence(data):
            publish(store, "a")
        return create(self, key, data)

    monkeypatch.setattr(Store, "create", slow)
    with pytest.raises(CheckError, match="was published as a at the last moment"):
        claim(store, "b", after=PATIENCE)


def test_a_takeover_that_was_interrupted_is_finished_by_the_next(store):
    claim(store, "a")
    store.create("nights/versions/a/manifest.json", b'{"fenced_by":"b"}')
    claim(store, "c", after=PATIENCE)
    assert publish(store, "c")


def test_another_clock_never_lets_two_publish(store):
    claim(store, "a", after=timedelta(days=-1))
    claim(store, "b")
    assert publish(store, "b")
    assert not publish(store, "a")
    with pytest.raises(CheckError, match="has been published as b"):
        claim(store, "a", after=timedelta(days=5))
