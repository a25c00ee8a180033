"""Files made to overwhelm their reader: small on disk, large in memory, with a footer that may lie about it."""

import random
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweetspot.errors import ContractError
from tasks._parquet import BATCH_ROWS, FIXED_BYTES, Limits, prove_streamable, read_parquet, stream_parquet

GB, MB = 2**30, 2**20
READ = """
import sys
from tasks._parquet import Limits, read_parquet
try:
    read_parquet("bomb.parquet", sys.stdin.buffer.read(), Limits(unpacked_bytes=300 * 2**20, row_bytes=2**40))
except Exception as error:
    print(type(error).__name__, error)
# Not ru_maxrss: a child is born with the peak of the process that forked it.
print(next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def encoded(table, **options) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **{"compression": "zstd", "compression_level": 19, **options})
    return sink.getvalue().to_pybytes()


def dictionary_bomb(*, text_bytes=10 * MB, rows=1024, typed: bool) -> bytes:
    """One long text that every row points at: the footer counts it once."""
    text = pa.array(["x" * text_bytes], pa.large_string())
    column = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), text)
    data = encoded(pa.table({"prompt": column}), dictionary_pagesize_limit=GB, store_schema=typed)
    assert pq.read_metadata(pa.BufferReader(data)).row_group(0).total_byte_size < 1.1 * text_bytes
    return data


def varint(number: int, length: int) -> bytes:
    """A number as Thrift writes it, stretched to a length."""
    number *= 2  # zigzag
    groups = [(number >> 7 * place) & 0x7F for place in range(length)]
    return bytes([group | 0x80 for group in groups[:-1]] + [groups[-1]])


def with_lying_footer(data: bytes, says: int) -> bytes:
    """The same file, whose footer declares another uncompressed size."""
    true = pq.read_metadata(pa.BufferReader(data)).row_group(0).column(0).total_uncompressed_size
    length = (true * 2).bit_length() // 7 + 1
    forged = data.replace(varint(true, length), varint(says, length))
    assert forged != data
    assert pq.read_metadata(pa.BufferReader(forged)).row_group(0).column(0).total_uncompressed_size == says
    return forged


@pytest.fixture(params=[True, False], ids=["dictionary type", "plain type"])
def bomb(request) -> bytes:
    data = dictionary_bomb(typed=request.param)
    assert len(data) < 42_000
    return data


def test_42_kb_that_would_become_10_gb_are_refused(bomb):
    with pytest.raises(ContractError, match=r"bomb\.parquet: holds [\d,]+ unpacked bytes per row, more than the 1,048"):
        read_parquet("bomb.parquet", bomb, Limits())


def test_memory_stays_near_the_limit(bomb):
    done = subprocess.run([sys.executable, "-c", READ], input=bomb, capture_output=True, check=True)
    said, peak = done.stdout.decode().splitlines()
    assert said.startswith("ContractError bomb.parquet: cannot be decoded in 314,572,800 bytes of memory")
    assert int(peak) < 1.2 * GB, f"{int(peak) / MB:.0f} MB for a limit of 300 MB"


def test_the_footer_alone_decides_where_it_can():
    """With every page overwritten nothing can be read, and still the reason is the size."""
    data = encoded(pa.table({"x": pa.array(range(100_000))}), use_dictionary=False)
    size = pq.read_metadata(pa.BufferReader(data)).serialized_size
    gutted = b"PAR1" + bytes(len(data) - 4 - size - 8) + data[-size - 8 :]
    for limits, what in ((Limits(rows=99_999), "100,000 rows"), (Limits(unpacked_bytes=700_000), "unpacked bytes")):
        with pytest.raises(ContractError, match=what):
            read_parquet("p.parquet", gutted, limits)
    with pytest.raises(ContractError, match="is it damaged"):
        read_parquet("p.parquet", gutted, Limits())


def test_a_footer_that_lies_costs_the_trial_process_its_life_and_us_nothing():
    rows = (FIXED_BYTES + 200 * MB) // 8
    column = pa.repeat(pa.scalar(0, pa.int64()), rows)
    honest = encoded(
        pa.table({"x": column}),
        use_dictionary=False,
        data_page_size=4 * GB,
        row_group_size=rows,
        max_rows_per_page=rows,
    )
    limits = Limits(rows=10**9, unpacked_bytes=64 * MB)
    with pytest.raises(ContractError, match="unpacked bytes, more than"):
        read_parquet("bomb.parquet", honest, limits)
    with pytest.raises(ContractError, match=r"cannot be decoded in 67,108,864 bytes of memory"):
        read_parquet("bomb.parquet", with_lying_footer(honest, 1000), limits)


def test_fixed_width_values_are_judged_by_their_width():
    data = encoded(pa.table({"x": pa.array([b"a" * 2 * MB] * 3, pa.binary(2 * MB))}))
    with pytest.raises(ContractError, match="2,097,152 unpacked bytes per row"):
        read_parquet("p.parquet", data, Limits())


def test_what_is_within_the_limits_comes_back_as_written():
    rows = [
        {"prompt": [{"role": "user", "content": f"text {k % 3}"}], "score": k / 7, "kind": "a"} for k in range(3000)
    ]
    table = pa.Table.from_pylist(rows)
    nested = table.set_column(2, "kind", table["kind"].dictionary_encode())
    for written in (table, nested):
        found = read_parquet("p.parquet", encoded(written, row_group_size=1000), Limits())
        assert found.equals(pq.read_table(pa.BufferReader(encoded(table))))
    assert read_parquet("p.parquet", encoded(table.slice(0, 0)), Limits()).schema == found.schema


def test_a_file_that_brings_the_decoder_down_brings_only_the_trial_down():
    """Found by the fuzzer: six bytes changed make pyarrow 26.0.1 call abort()."""
    damaged, draw = bytearray(SMALL), random.Random(176)
    for _ in range(draw.randint(1, 6)):
        damaged[draw.randrange(len(damaged))] = draw.randrange(256)
    with pytest.raises(ContractError, match=r"p\.parquet: cannot be (decoded|read)"):
        read_parquet("p.parquet", bytes(damaged), Limits())


SMALL = encoded(pa.table({"prompt": ["one", "two", None], "n": [1, 2, 3]}))


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_damaged_files_are_refused_and_nothing_else_happens(data):
    damaged = bytearray(SMALL)
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, len(SMALL) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.sampled_from([0, 0, 1, len(SMALL) // 2]))
    try:
        table = read_parquet("p.parquet", bytes(damaged[cut:]), Limits())
    except ContractError:
        return
    assert isinstance(table, pa.Table)


def test_row_groups_of_any_size_are_streamed_some_rows_at_a_time(tmp_path):
    table = pa.table({"prompt": [f"text {k}" for k in range(1000)]})
    (tmp_path / "p.parquet").write_bytes(encoded(table, row_group_size=1000))
    prove_streamable("p.parquet", tmp_path / "p.parquet", Limits())
    batches = list(stream_parquet("p.parquet", tmp_path / "p.parquet", Limits()))
    assert pa.Table.from_batches(batches).equals(table)
    assert max(map(len, batches)) <= BATCH_ROWS


def test_a_file_that_is_only_streamed_may_unpack_to_more_than_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("tasks._parquet.STREAM_BYTES", 128 * MB)
    texts = pa.array([chr(97 + k % 26) * (MB // 4) for k in range(2000)])
    assert texts.nbytes > FIXED_BYTES + 128 * MB
    path = tmp_path / "p.parquet"
    path.write_bytes(encoded(pa.table({"prompt": texts}), use_dictionary=False, row_group_size=100))
    prove_streamable("p.parquet", path, Limits())
    with pytest.raises(ContractError, match="more than the 314,572,800 allowed"):
        prove_streamable("p.parquet", path, Limits(unpacked_bytes=300 * MB))


def test_a_bomb_is_refused_before_it_is_streamed(bomb, tmp_path):
    (tmp_path / "p.parquet").write_bytes(bomb)
    with pytest.raises(ContractError, match=r"holds [\d,]+ unpacked bytes per row"):
        prove_streamable("bomb.parquet", tmp_path / "p.parquet", Limits())
