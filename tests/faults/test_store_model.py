"""Both real stores against a model of thirty lines: any sequence of publishing, reading, pausing, crashing."""

import json
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tasks._store import Store

KEYS = st.sampled_from(["a", "b/c", "b/d"])
DATA = st.sampled_from([b"", b"1", b"22", b"x" * 5000])
RUNS = st.integers(0, 2)
LIMITS = settings(
    max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck), print_blob=False
)


class Model:
    """What a store is: names that are taken once, and a pointer that moves only from what it holds."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def create(self, key: str, data: bytes) -> bool:
        return self.objects.setdefault(key, data) == data

    def swap(self, key: str, expected: bytes | None, data: bytes) -> bool:
        if self.objects.get(key) == expected:
            self.objects[key] = data
        return self.objects.get(key) == data


class Comparison(RuleBasedStateMachine):
    """Three runs act on one store; each may pause between looking at the pointer and moving it, or die."""

    make_store: staticmethod

    @initialize()
    def start(self) -> None:
        self.store, self.model = self.make_store(), Model()
        self.looked: dict[int, bytes | None] = {}

    @rule(key=KEYS, data=DATA)
    def create(self, key: str, data: bytes) -> None:
        assert self.store.create(key, data) == self.model.create(key, data)

    @rule(key=KEYS)
    def read(self, key: str) -> None:
        assert self.store.read_if_there(key) == self.model.objects.get(key)

    @rule(run=RUNS)
    def look_at_the_pointer_and_pause(self, run: int) -> None:
        self.looked[run] = self.store.read_if_there("latest")

    @precondition(lambda self: self.looked)
    @rule(data=st.data(), version=st.integers(0, 3))
    def resume_and_move_the_pointer(self, data: st.DataObject, version: int) -> None:
        run = data.draw(st.sampled_from(sorted(self.looked)))
        seen, target = self.looked.pop(run), json.dumps(version).encode()
        assert self.store.swap("latest", seen, target) == self.model.swap("latest", seen, target)

    @rule()
    def crash_and_start_again(self) -> None:
        self.looked.clear()
        self.store = Store(self.store.uri)

    @invariant()
    def pointer_is_the_same(self) -> None:
        if hasattr(self, "store"):
            assert self.store.read_if_there("latest") == self.model.objects.get("latest")


def test_a_folder_is_a_store():
    made: list[str] = []

    class OnFolder(Comparison):
        @staticmethod
        def make_store() -> Store:
            made.append(tempfile.mkdtemp(prefix="store-"))
            return Store(f"file://{made[-1]}")

    try:
        run(OnFolder)
        left = [path for folder in made for path in Path(folder).rglob(".writing-*")]
        assert not left, "temporary files were left behind"
    finally:
        for folder in made:
            shutil.rmtree(folder)


def test_a_bucket_is_a_store(proxy):
    proxy.plan("", -1)
    numbers = iter(range(10**6))

    class OnBucket(Comparison):
        @staticmethod
        def make_store() -> Store:
            return Store(f"s3://{proxy.bucket}/model-{next(numbers)}")

    run(OnBucket)


@pytest.mark.parametrize("kind", ["500", "drop", "reset"])
def test_a_bucket_whose_every_fifth_request_fails_is_still_one(proxy, kind, monkeypatch):
    proxy.plan(kind, -1)
    numbers = iter(range(10**6))
    monkeypatch.setattr(proxy, "next_fault", lambda *_: kind if next(numbers) % 5 == 4 else "")
    names = iter(range(10**6))

    class OnBucket(Comparison):
        @staticmethod
        def make_store() -> Store:
            return Store(f"s3://{proxy.bucket}/{kind}-{next(names)}")

    run(OnBucket, settings(LIMITS, max_examples=4))


def run(machine: type[Comparison], limits: settings = LIMITS) -> None:
    machine.TestCase.settings = limits
    machine.TestCase("runTest").runTest()
