import contextlib
import json

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweetspot.errors import ConfigError, ContractError, SweetspotError
from sweetspot.prompts import BadRow, normalise_prompt
from tasks import _sources
from tasks._parquet import Limits
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


def test_a_line_that_is_no_text_is_one_bad_row(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"prompt": "a"}\r\n{"prompt": "\xff"}\n{"prompt": "b"}')
    assert list(read_source(str(path)).rows) == [{"prompt": "a"}, None, {"prompt": "b"}]


def test_a_long_field_of_csv_does_not_cost_the_file(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text(f"prompt\n{'x' * 200_000}\nb\n")
    assert [len(row["prompt"]) for row in read_source(str(path)).rows if row] == [200_000, 1]


def test_a_missing_column_is_named_whatever_the_others_are(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("text\na,b,c\n")
    with pytest.raises(ContractError, match=r"no column 'prompt'; it has \['text'\]"):
        read_source(str(path)).require("prompt")
    path = tmp_path / "p.jsonl"
    path.write_text("\n".join(json.dumps({f"{number:02}" + "x" * 1000: 1}) for number in range(50)))
    with pytest.raises(ContractError, match="and 30 more") as refused:
        read_source(str(path)).require("prompt")
    assert len(str(refused.value)) < 2_000


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
        ("p.json", b'{"prompt": "a"}', ContractError, "holds one dict, expected a list of rows"),
        ("p.json", b"7", ContractError, "holds one int, expected a list of rows"),
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
    with pytest.raises(ConfigError, match="is no directory and no hub name"):
        read_source("datasets:/no/such/place:train")


@pytest.mark.parametrize(
    "name",
    [
        "http://169.254.169.254/latest/meta-data/rows.json",
        "https://example.org/rows.jsonl",
        "HTTP://[::1]/rows.json",
        "simplecache::http://2852039166/rows.json",
        "file://rows.json::http://localhost/rows.json",
        "ssh://host/rows.json",
        "github://owner:repo@main/rows.json",
        "memory://rows.json",
        "reference://rows.json",
        "zip://rows.json::rows.zip",
    ],
)
def test_a_source_that_would_make_this_machine_fetch_is_refused(name, monkeypatch):
    monkeypatch.setattr(_sources, "open_named", lambda name, **_: pytest.fail("it was opened"))
    with pytest.raises(ConfigError, match="is no path, file:// or s3:// URI; download the file"):
        read_source(name)


@pytest.mark.parametrize("name", ["datasets:http://localhost/d:train", "datasets:../../d:train", "datasets:a/b/c:t"])
def test_a_dataset_that_is_no_plain_name_is_refused(name):
    with pytest.raises(ConfigError, match="is no directory and no hub name"):
        read_source(name)


@pytest.mark.parametrize(
    "name", ["org/set", "org/set:train", "org/set@main:train", "org/set@:train", f"set@{'A' * 40}:train"]
)
def test_a_dataset_of_the_hub_without_a_commit_is_refused(name, monkeypatch):
    monkeypatch.setattr("datasets.load_dataset", lambda *_, **__: pytest.fail("it was asked for"))
    with pytest.raises(ConfigError, match="is not pinned; write datasets:NAME@COMMIT"):
        read_source(f"datasets:{name}")


def test_a_dataset_of_the_hub_is_asked_for_at_its_commit(monkeypatch):
    asked = []
    monkeypatch.setattr("datasets.load_dataset", lambda *name, **options: asked.append((name, options)) or 1 / 0)
    with pytest.raises(ConfigError, match="cannot be loaded: ZeroDivisionError"):
        read_source(f"datasets:org/set@{'a1' * 20}:part:train")
    assert asked == [(("org/set", "part"), {"split": "train", "revision": "a1" * 20})]


def test_hostile_json_lines_are_bad_rows(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text('{"prompt": "a"}\n' + "[" * 200_000 + "\n" + '{"prompt": ' + "9" * 5000 + "}\n")
    assert list(read_source(str(path)).rows) == [{"prompt": "a"}, None, None]


def test_hostile_json_is_refused_as_damaged(tmp_path):
    path = tmp_path / "p.json"
    path.write_text("[" * 200_000)
    with pytest.raises(ContractError, match="RecursionError; is it damaged"):
        read_source(str(path))


def test_a_source_beyond_the_limits_is_refused(path):
    with pytest.raises(ContractError, match=r"2 rows, more than the 1 allowed|raise max_rows"):
        read_source(str(path), within=Limits(rows=1))
    with pytest.raises(ContractError, match="raise max_unpacked_bytes"):
        read_source(str(path), within=Limits(unpacked_bytes=8))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["jsonl", "json", "csv"]),
    st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")),
)
def test_any_bytes_are_rows_or_refused_and_nothing_else(tmp_path, suffix, data):
    """And every row becomes a prompt or leaves with a reason."""
    (tmp_path / f"fuzz.{suffix}").write_bytes(data)
    try:
        rows = read_source(str(tmp_path / f"fuzz.{suffix}")).rows
    except SweetspotError:
        return
    for row in rows:
        for value in (row or {}).values():
            with contextlib.suppress(BadRow):
                normalise_prompt(value, max_chars=50)
