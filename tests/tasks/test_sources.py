import json

import pandas as pd
import pytest

from sweetspot.errors import ConfigError, ContractError
from tasks._sources import read_source

ROWS = [{"prompt": "one", "answer": "1"}, {"prompt": "two", "answer": "2"}]


@pytest.fixture(params=["jsonl", "json", "parquet", "csv"])
def path(request, tmp_path):
    path = tmp_path / f"prompts.{request.param}"
    frame = pd.DataFrame(ROWS)
    {
        "jsonl": lambda: path.write_text("\n".join(json.dumps(row) for row in ROWS)),
        "json": lambda: path.write_text(json.dumps(ROWS)),
        "parquet": lambda: frame.to_parquet(path),
        "csv": lambda: frame.to_csv(path, index=False),
    }[request.param]()
    return path


def test_every_format_gives_the_same_rows(path):
    assert list(read_source(str(path)).rows) == ROWS


def test_limit_takes_the_first_rows(path):
    assert list(read_source(str(path), limit=1).rows) == ROWS[:1]


def test_a_datasets_directory_is_read(tmp_path):
    pd.DataFrame(ROWS).to_parquet(tmp_path / "train.parquet")
    assert list(read_source(f"datasets:{tmp_path}:train").rows) == ROWS


def test_a_broken_line_is_one_bad_row(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text('{"prompt": "a"}\n{"prompt": \n[1]\n')
    assert list(read_source(str(path)).rows) == [{"prompt": "a"}, None, None]


def test_a_missing_column_names_the_nearest(path):
    with pytest.raises(ContractError, match="no column 'promt'; did you mean 'prompt'"):
        read_source(str(path)).require("promt")


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("p.jsonl", b"", ContractError, "is empty"),
        ("p.jsonl", b"\n\n", ContractError, "is empty"),
        ("p.parquet", b"PAR1 cut short", ContractError, "is it damaged"),
        ("p.json", b"{", ContractError, "is it damaged"),
        ("p.jsonl", b"\xff\xfe\x00", ContractError, "is it damaged"),
        ("p.txt", b"hello", ConfigError, "expected one of .jsonl"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(tmp_path, name, content, error, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=message):
        read_source(str(tmp_path / name))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="no file"):
        read_source(str(tmp_path / "nowhere.jsonl"))


def test_a_missing_dataset_is_named():
    with pytest.raises(ConfigError, match="cannot be loaded"):
        read_source("datasets:/no/such/place:train")
