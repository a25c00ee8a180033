"""Damage at rest: whatever is flipped, cut, emptied, swapped or deleted is found by its reader, which names it."""

import contextlib
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from scored_world import FACTS, curate, make_world, scored_rows

from sweetspot.errors import SweetspotError
from tasks import _ray
from tasks._store import Store
from tasks._tables import TableRef, find_table
from tasks._versions import differences, open_version
from tasks.deliver_dataset import deliver_dataset

PAGE_BYTES = 4096
CUT_BYTES = 7


class Night:
    """A published night on disk, and for every object of it a way to read it."""

    def __init__(self, folder: Path) -> None:
        self.world = curate(make_world(folder, scored_rows(prompts=12)))
        self.uri = self.world.config.store
        self.root = Path(self.uri.removeprefix("file://"))
        self.version = deliver_dataset(self.world.tables, FACTS, store_uri=self.uri, dataset="tiny").version

    def table_readers(self) -> Iterator[tuple[Path, Callable[[], object]]]:
        """Every object of every committed table."""
        for ref in self.world.tables.values():
            here = self.root / ref.location
            yield here / "table.json", lambda ref=ref: found_table(ref)
            for index in range(ref.chunks):
                receipt = ref.receipt(index)
                read = lambda ref=ref, index=index: (ref.read_chunk(index), ref.read_dropped(index))  # noqa: E731
                yield here / f"chunk-{index:05d}.json", read
                for part in filter(None, (receipt["part"], receipt["dropped"])):
                    yield here / part["path"], read

    def version_readers(self) -> Iterator[tuple[Path, Callable[[], object]]]:
        """Every object of the published version."""
        for path in sorted((self.root / "tiny" / "versions" / self.version).rglob("*")):
            if path.is_file():
                yield path, self.read_version

    def read_version(self) -> None:
        """Compare every file with the manifest, and that with the pointer."""
        left = list(differences(open_version(self.uri, "tiny")))
        if left:
            raise SweetspotError("; ".join(left))

    def read_rows(self) -> None:
        """Read it as training does."""
        for split in ("train", "eval"):
            open_version(self.uri, "tiny").read_split(split)


def found_table(ref: TableRef) -> None:
    """Its receipt; none there means that it is not committed and will be made again."""
    if find_table(Store(ref.store), ref.location) is None:
        raise SweetspotError("table.json is not there")


@pytest.fixture(scope="module")
def night(tmp_path_factory) -> Night:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_ray, "map_chunks", lambda open_work, chunks, **_: map(open_work(), chunks))
        return Night(tmp_path_factory.mktemp("night"))


def injuries(whole: bytes) -> Iterator[tuple[str, bytes | None]]:
    """A flipped byte in every page, a cut tail, something behind it, nothing left, and no object."""
    for start in range(0, len(whole), PAGE_BYTES):
        damaged = bytearray(whole)
        damaged[(start + min(start + PAGE_BYTES, len(whole))) // 2] ^= 0x20
        yield "flipped", bytes(damaged)
    yield "cut", whole[:-CUT_BYTES]
    yield "cut", whole[: len(whole) // 2]
    yield "longer", whole + b"\0"
    yield "emptied", b""
    yield "deleted", None


def survived(path: Path, damaged: bytes | None, read: Callable[[], object]) -> bool:
    """Whether the damage goes unnoticed, or the reader does not say where it is."""
    whole = path.read_bytes()
    path.unlink() if damaged is None else path.write_bytes(damaged)
    try:
        read()
    except SweetspotError as error:
        return path.name not in str(error)
    else:
        return True
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("what", ["table", "version"])
def test_every_damage_to_every_object_is_found_and_the_object_named(night, what):
    done, missed = Counter[str](), list[str]()
    readers = list(getattr(night, f"{what}_readers")())
    for path, read in readers:
        read()
        for kind, damaged in injuries(path.read_bytes()):
            done[kind] += 1
            if survived(path, damaged, read):
                missed.append(f"{path.name} {kind}")
    assert missed == []
    assert min(done.values()) >= len(readers) > 5


def test_training_reads_no_damaged_row(night):
    paths = [path for path, _ in night.version_readers() if "data" in path.parts]
    assert paths
    for path in paths:
        *flipped, _, half, _, _, gone = (damaged for _, damaged in injuries(path.read_bytes()))
        for damaged in (flipped[0], half, gone):
            assert not survived(path, damaged, night.read_rows)


def test_every_flipped_byte_of_the_pointer_is_noticed(night):
    pointer = night.root / "tiny" / "latest.json"
    whole, missed = pointer.read_bytes(), list[int]()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1  # a digit becomes another digit
        pointer.write_bytes(bytes(damaged))
        with contextlib.suppress(SweetspotError):
            night.read_version()
            missed.append(place)
    pointer.write_bytes(whole)
    assert missed == []


def test_swapped_objects_are_found(night):
    """Parts alone, receipts alone, both, and the receipts of another table with the same chunks."""
    tables = list(night.world.tables.values())
    for ref in tables:
        here = night.root / ref.location
        one, other = (here / f"chunk-{index:05d}.json" for index in (0, 1))
        parts = [here / json.loads(path.read_bytes())["part"]["path"] for path in (one, other)]
        assert_found(ref, [(one, other)])
        assert_found(ref, [(parts[0], parts[1])])
        assert_found(ref, [(one, other), (parts[0], parts[1])])
    for ref, another in itertools.permutations(tables, 2):
        paths = [night.root / table.location for table in (ref, another)]
        assert_found(ref, [(paths[0] / "chunk-00000.json", paths[1] / "chunk-00000.json")])
        assert_found(ref, [(paths[0] / "table.json", paths[1] / "table.json")], read=found_table)


def assert_found(ref: TableRef, swaps: list[tuple[Path, Path]], read=lambda ref: ref.read_chunk(0)) -> None:
    """Swap the contents of objects, read, and put everything back."""
    for one, other in swaps:
        swap(one, other)
    try:
        with pytest.raises(SweetspotError, match=r"(chunk|part)-0000[01]|table\.json"):
            read(ref)
    finally:
        for one, other in swaps:
            swap(one, other)
    read(ref)


def swap(one: Path, other: Path) -> None:
    """Exchange the contents of two files."""
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def test_a_version_reads_well_again_after_all_that(night):
    night.read_version()
    night.read_rows()
    for ref in night.world.tables.values():
        assert sum(len(chunk) for chunk in ref.each_chunk()) == ref.rows
