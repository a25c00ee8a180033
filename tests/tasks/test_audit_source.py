import json

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sweetspot.auditing.formats import detect
from sweetspot.auditing.settings import Audit
from sweetspot.errors import ConfigError, ContractError
from tasks import audit_measure, audit_source
from tasks._parquet import limits_of
from tasks.audit_measure import measure, read_again, texts_of_file
from tasks.audit_source import open_source

ROWS = [{"id": f"r{k}", "prompt": f"p {k}", "chosen": f"good {k}", "rejected": f"bad {k}"} for k in range(9)]


@pytest.fixture(params=["jsonl", "json", "parquet", "csv", "datasets"])
def name(request, tmp_path):
    path = tmp_path / f"rows.{request.param}"
    frame = pd.DataFrame(ROWS)
    if request.param == "datasets":
        frame.to_parquet(tmp_path / "train.parquet")
        return f"datasets:{tmp_path}:train"
    {
        "jsonl": lambda: path.write_text("\ufeff" + "\n\n".join(json.dumps(row) for row in ROWS)),
        "json": lambda: path.write_text(json.dumps(ROWS)),
        "parquet": lambda: frame.to_parquet(path, row_group_size=4),
        "csv": lambda: frame.to_csv(path, index=False),
    }[request.param]()
    return str(path)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr("tasks.audit_source.BLOCK_ROWS", 4)
    monkeypatch.setattr("tasks._parquet.BATCH_ROWS", 2)


def read(source, **options):
    reading = detect(source.first().rows().values, source=source.name)
    return reading, measure(source, reading, **options)


def test_every_kind_of_source_gives_the_same_rows_in_blocks(name):
    with open_source(name) as source:
        blocks = list(source.blocks())
        assert [list(block.places) for block in blocks] == [[0, 1, 2, 3], [4, 5, 6, 7], [8]]
        assert [value for block in blocks for value in block.rows(["chosen"]).column("chosen")] == [
            row["chosen"] for row in ROWS
        ]


def test_rows_are_read_again_by_their_places(name):
    with open_source(name) as source:
        reading = detect(source.first().rows().values)
        again = list(read_again(source, reading, [8, 1, 2]))
    assert [place for texts in again for place in texts.row] == [1, 2, 8]
    assert [m[0]["content"] for texts in again for m in texts.chosen] == ["good 1", "good 2", "good 8"]


def test_workers_measure_what_one_process_does(name, monkeypatch):
    with open_source(name) as source:
        _, alone = read(source, workers=1)
        monkeypatch.setattr(audit_measure, "POOL_FROM_BYTES", 0)
        _, together = read(source, workers=2)
    for column in ("row", "keys", "chars", "flaws", "style"):
        assert (getattr(alone.table, column) == getattr(together.table, column)).all()
    assert list(alone.table.row_id) == [row["id"] for row in ROWS]


@pytest.mark.parametrize("name", ["https://example.org/p.jsonl", "memory://p.parquet", "simplecache::s3://b/p.csv"])
def test_a_source_that_would_make_this_machine_fetch_is_refused(name):
    with pytest.raises(ConfigError, match="is no path, file:// or s3:// URI; download the file"), open_source(name):
        pass


@pytest.mark.parametrize("name", ["datasets:http://localhost/d:train", "datasets:../../d:train"])
def test_a_dataset_that_is_no_plain_name_is_refused(name):
    with pytest.raises(ConfigError, match="is no directory and no hub name"), open_source(name):
        pass


def test_a_file_uri_is_a_path(tmp_path):
    (tmp_path / "p.jsonl").write_text(json.dumps(ROWS[0]))
    with open_source(f"file://{tmp_path}/p.jsonl") as source:
        assert source.first().rows().values["prompt"] == ["p 0"]


def test_a_parquet_file_made_to_overwhelm_its_reader_is_refused_before_it_is_read(tmp_path):
    text = pa.array(["x" * (20 << 20)], pa.large_string())
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 1024, pa.int32()), text)
    path = tmp_path / "bomb.parquet"
    pq.write_table(pa.table({"prompt": column}), path, compression="zstd", dictionary_pagesize_limit=1 << 30)
    with (
        pytest.raises(ContractError, match=r"bomb\.parquet: (holds .* per row|cannot be decoded)"),
        open_source(str(path)),
    ):
        pass


def test_limits_are_settings(tmp_path):
    path = tmp_path / "p.parquet"
    pd.DataFrame(ROWS).to_parquet(path)
    few, small = limits_of(Audit(max_rows=8)), limits_of(Audit(max_unpacked_bytes=2**20))
    with pytest.raises(ContractError, match=r"9 rows, more than the 8.*raise max_rows"), open_source(str(path), few):
        pass
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps({**ROWS[0], "chosen": "x" * 2**20}))
    with pytest.raises(ContractError, match=r"1,048,576 bytes.*raise max_unpacked"), open_source(str(path), small):
        pass


def test_a_line_without_end_is_one_unreadable_row(tmp_path, monkeypatch):
    monkeypatch.setattr(audit_source, "LINE_BYTES", 100)
    long = json.dumps({**ROWS[1], "chosen": "x" * 350})
    path = tmp_path / "p.jsonl"
    path.write_text("\n".join([json.dumps(ROWS[0]), long, json.dumps(ROWS[2]), long]))
    with open_source(str(path)) as source:
        found = read(source)[1]
    assert found.rows == 4
    assert [(left.row, left.reason) for left in found.left] == [(1, "unreadable"), (3, "unreadable")]


def test_a_json_array_too_large_to_lie_in_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(audit_source, "JSON_BYTES", 10)
    (tmp_path / "p.json").write_text(json.dumps(ROWS))
    with pytest.raises(ContractError, match=r"write it as \.jsonl"), open_source(str(tmp_path / "p.json")) as source:
        source.first()


@pytest.mark.parametrize(
    ("file", "content", "error", "message"),
    [
        ("p.txt", b"x", ConfigError, "ends in '.txt', expected one of .parquet"),
        ("p.parquet", b"PAR1 cut short", ContractError, "after row 0: .* damaged"),
        ("p.json", b"[" * 200_000, ContractError, "RecursionError.* damaged"),
        ("p.json", b'[{"a": 1', ContractError, "damaged"),
        ("p.json", b'{"a": 1}', ContractError, "damaged"),
        ("p.csv", b"prompt,chosen,rejected\n\xff\xfe,a,b\n", ContractError, "damaged"),
        ("p.csv", b'prompt,chosen,rejected\n"open quote,a,b\n', ContractError, "damaged"),
    ],
)
def test_a_source_that_cannot_be_read_says_why(tmp_path, file, content, error, message):
    (tmp_path / file).write_bytes(content)
    with pytest.raises(error, match=message), open_source(str(tmp_path / file)) as source:
        list(source.blocks())


def test_a_csv_row_with_too_many_fields_is_one_bad_row(tmp_path):
    (tmp_path / "p.csv").write_text("prompt,chosen,rejected\np,a,b\np,a,b,c\nq,,b\n")
    with open_source(str(tmp_path / "p.csv")) as source:
        found = read(source)[1]
    assert [(left.row, left.reason) for left in found.left] == [(1, "unreadable"), (2, "missing")]


def test_missing_sources_are_named(tmp_path):
    for name, message in (
        (str(tmp_path / "no.jsonl"), "no file"),
        ("datasets:/no/such:train", "is no directory and no hub name"),
    ):
        with pytest.raises(ConfigError, match=message), open_source(name):
            pass


def test_texts_of_a_reference_file_are_all_its_texts_of_two_words_or_more(tmp_path):
    path = tmp_path / "bench.jsonl"
    rows = [{"q": "what is it", "id": "x1", "turns": [{"role": "user", "content": "in a turn"}]}, {"q": "what is it"}]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    assert texts_of_file(str(path), limits_of(Audit())) == ["what is it", "in a turn"]
    rows = [{"prompt": "a prompt here", "reference": "and its answer"}]
    path.write_text(json.dumps(rows[0]))
    assert texts_of_file(str(path), limits_of(Audit()), only_prompts=True) == ["a prompt here"]
    path.write_text('{"id": "x"}')
    with pytest.raises(ContractError, match="no text of two words"):
        texts_of_file(str(path), limits_of(Audit()))
