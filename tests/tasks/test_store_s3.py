"""The store's promises on a real HTTP endpoint that honours conditional writes."""

import threading

import boto3
import pytest
from moto_process import moto_server, pointed_at

from sweetspot.errors import CheckError, StoreError
from tasks._store import Store


@pytest.fixture(scope="module")
def endpoint():
    with moto_server() as (host, port), pointed_at(f"http://{host}:{port}"):
        boto3.client("s3").create_bucket(Bucket="bucket")
        yield


@pytest.fixture
def store(endpoint, request):
    return Store(f"s3://bucket/{request.node.name}")


def test_what_is_created_is_read_back_and_never_overwritten(store):
    assert store.read_if_there("a/b") is None
    assert store.create("a/b", b"one")
    assert not store.create("a/b", b"two")
    assert store.read("a/b") == b"one"


def test_commit_accepts_its_own_bytes_only(store):
    store.commit("a", b"one")
    store.commit("a", b"one")
    with pytest.raises(CheckError, match="other content"):
        store.commit("a", b"two")


def test_a_pointer_moves_only_from_what_was_read(store):
    assert store.swap("latest", None, b"1")
    assert not store.swap("latest", None, b"2")
    assert not store.swap("latest", b"0", b"2")
    assert store.swap("latest", b"1", b"2")
    assert store.read("latest") == b"2"


def test_one_of_many_racers_wins(store):
    wins, barrier = [], threading.Barrier(5)

    def race(number):
        mine = Store(store.uri)
        barrier.wait()
        if mine.create("prize", str(number).encode()):
            wins.append(number)

    threads = [threading.Thread(target=race, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wins) == 1


def test_the_probe_passes_here_and_names_a_missing_bucket(store):
    store.probe()
    with pytest.raises(StoreError, match="cannot be written"):
        Store("s3://no-such-bucket/x").probe()


def test_a_listing_shows_what_is_below_a_prefix_and_the_sweeper_removes_one(store):
    for key in ("tiny/a/1", "tiny/b", "other/c"):
        store.create(key, b"12345")
    assert sorted((item.key, item.bytes) for item in store.listing("tiny")) == [("tiny/a/1", 5), ("tiny/b", 5)]
    assert all(item.modified.tzinfo is not None for item in store.listing("tiny"))
    store.remove("tiny/b")
    assert [item.key for item in store.listing("tiny")] == ["tiny/a/1"]
    assert store.listing("nothing") == []
