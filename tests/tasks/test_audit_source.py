import json

import pandas as pd
import pytest

from sweetspot.auditing.formats import detect
from sweetspot.errors import ConfigError, ContractError
from tasks import audit_measure
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


def test_a_missing_object_is_named():
    with pytest.raises(ConfigError, match="no file"), open_source("memory://nowhere.parquet"):
        pass


def test_memory_filesystem_is_read_like_a_bucket(tmp_path):
    import fsspec

    with fsspec.open("memory://bucket/rows.jsonl", "wb") as file:
        file.write("\n".join(json.dumps(row) for row in ROWS).encode())
    with open_source("memory://bucket/rows.jsonl") as source:
        assert read(source)[1].rows == 9


@pytest.mark.parametrize(
    ("file", "content", "error", "message"),
    [
        ("p.txt", b"x", ConfigError, "ends in '.txt', expected one of .parquet"),
        ("p.parquet", b"PAR1 cut short", ContractError, "after row 0 .* damaged"),
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
    for name, message in ((str(tmp_path / "no.jsonl"), "no file"), ("datasets:/no/such:train", "cannot be loaded")):
        with pytest.raises(ConfigError, match=message), open_source(name):
            pass


def test_texts_of_a_reference_file_are_all_its_texts_of_two_words_or_more(tmp_path):
    path = tmp_path / "bench.jsonl"
    rows = [{"q": "what is it", "id": "x1", "turns": [{"role": "user", "content": "in a turn"}]}, {"q": "what is it"}]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    assert texts_of_file(str(path)) == ["what is it", "in a turn"]
    rows = [{"prompt": "a prompt here", "reference": "and its answer"}]
    path.write_text(json.dumps(rows[0]))
    assert texts_of_file(str(path), only_prompts=True) == ["a prompt here"]
    path.write_text('{"id": "x"}')
    with pytest.raises(ContractError, match="no text of two words"):
        texts_of_file(str(path))
