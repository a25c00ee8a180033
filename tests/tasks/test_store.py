import threading

import pyarrow as pa
import pytest

from sweetspot.errors import CheckError, ConfigError, StoreError
from tasks._store import Store, encode_table


@pytest.fixture
def store(tmp_path):
    return Store(f"file://{tmp_path}/store")


def test_what_is_created_is_read_back(store):
    assert store.create("a/b.json", b"one")
    assert store.read("a/b.json") == b"one"


def test_a_taken_name_is_never_overwritten(store):
    store.create("a", b"one")
    assert not store.create("a", b"two")
    assert store.read("a") == b"one"


def test_commit_accepts_the_same_bytes_and_refuses_others(store):
    store.commit("a", b"one")
    store.commit("a", b"one")
    with pytest.raises(CheckError, match="already holds other content"):
        store.commit("a", b"two")


def test_one_of_many_racers_wins(store):
    wins, barrier = [], threading.Barrier(8)

    def race(number):
        barrier.wait()
        if store.create("prize", str(number).encode()):
            wins.append(number)

    threads = [threading.Thread(target=race, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wins) == 1
    assert store.read("prize") == str(wins[0]).encode()


def test_a_pointer_moves_only_from_what_was_read(store):
    assert store.swap("latest", None, b"1")
    assert not store.swap("latest", None, b"2")
    assert not store.swap("latest", b"0", b"2")
    assert store.swap("latest", b"1", b"2")
    assert store.read("latest") == b"2"


def test_nothing_half_written_is_left_behind(store, tmp_path):
    store.create("a/b", b"x" * 10)
    store.create("a/b", b"y" * 10)
    assert [path.name for path in (tmp_path / "store" / "a").iterdir()] == ["b"]


def test_a_missing_object_is_named(store):
    with pytest.raises(StoreError, match="nothing/here: no such object"):
        store.read("nothing/here")
    assert store.read_if_there("nothing/here") is None


@pytest.mark.parametrize("key", ["../up", "/root", "a//b", "a/../b", "", "a/.hidden", "sp ace", "a\\b"])
def test_names_that_could_leave_the_store_are_refused(store, key):
    with pytest.raises(StoreError, match="plain path segments"):
        store.create(key, b"")


@pytest.mark.parametrize("uri", ["/plain/path", "http://host/x", "s3://key:secret@bucket/x"])
def test_uris_without_promises_are_refused(uri):
    with pytest.raises(ConfigError):
        Store(uri)


def test_the_probe_passes_where_writing_works(store):
    store.probe()


def test_the_probe_names_a_store_that_cannot_be_written():
    with pytest.raises(StoreError, match="cannot be written"):
        Store("file:///proc/sweetspot").probe()


def test_a_flipped_byte_is_noticed_before_parsing(store):
    import hashlib

    data = encode_table(pa.table({"a": [1, 2, 3]}))
    sha256 = hashlib.sha256(data).hexdigest()
    broken = bytearray(data)
    broken[len(data) // 2] ^= 1
    store.create("good.parquet", data)
    store.create("bad.parquet", bytes(broken))
    assert store.read_table("good.parquet", sha256).num_rows == 3
    with pytest.raises(CheckError, match="changed at rest"):
        store.read_table("bad.parquet", sha256)


def test_tables_with_nan_and_null_are_encoded(store):
    table = pa.table({"a": [1.0, float("nan"), None]})
    assert encode_table(table)
