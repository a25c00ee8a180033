"""Two hundred prompts that have broken somebody's pipeline go through a real night, and every one is accounted for."""

import json
from collections import Counter

import pandas as pd
import pytest
from edge_prompts import edge_lines

from sweetspot.delivery.manifest import parse_manifest

EXPECTED = {
    "empty", "missing", "wrong_type", "surrogate", "too_long", "bad_role", "no_user_turn", "unreadable", "duplicate",
}  # fmt: skip


@pytest.fixture(scope="module")
def version(command, world_settings):
    source = command.folder / "edge.jsonl"
    source.write_text("\n".join(edge_lines()), encoding="utf-8")
    settings = world_settings(command.folder, limit=0)
    for section in ("training", "evaluation"):
        del settings[section]
    settings |= {"flow": "curate", "implicit": {"enabled": False}}
    settings["prompts"] |= {"source": str(source)}
    settings["sampling"] |= {"engine": "vllm"}
    settings["cluster"] |= {"chunk_prompts": 4}
    settings["scoring"]["raters"] = settings["scoring"]["raters"][:1]
    done = command.run("run", command.write("edge.yaml", settings))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return next((command.folder / "store" / "tiny" / "versions").iterdir())


def test_every_line_is_delivered_or_left_with_a_reason(version):
    books = {book.stage: book for book in parse_manifest((version / "manifest.json").read_bytes()).books}
    dropped = pd.read_parquet(version / "dropped" / "dropped-00000-of-00001.parquet")
    delivered = pd.concat(pd.read_parquet(path) for path in (version / "data").glob("*.parquet"))
    assert books["load_prompts"].rows_in.count == 200
    at_load = dropped[dropped["stage"] == "load_prompts"]
    assert set(at_load["reason"]) == EXPECTED
    prompts = 200 - len(at_load)
    later = dropped[dropped["stage"].isin(["sample_responses", "build_pairs", "select_pairs"])]
    assert len(delivered) + len(later) == prompts
    assert set(delivered["prompt_id"]).isdisjoint(later["prompt_id"])
    for book in books.values():
        book.balance()


def test_what_left_names_its_line(version):
    dropped = pd.read_parquet(version / "dropped" / "dropped-00000-of-00001.parquet")
    at_load = dropped[dropped["stage"] == "load_prompts"].set_index("row_id")["reason"]
    for number, line in enumerate(edge_lines()):
        if line in ("not json", "{", "[]"):
            assert at_load[str(number)] == "unreadable"
        elif "\\ud8" in line or "\\udf" in line or "\\udc" in line:
            assert at_load[str(number)] == "surrogate"
        elif len(line) > 200_000:
            assert at_load[str(number)] == "too_long"


def test_a_chunk_without_any_answer_was_among_them(version):
    receipts = version.parents[1].glob("tables/responses/*/chunk-*.json")
    assert any(json.loads(path.read_text())["part"]["rows"] == 0 for path in receipts)


def test_no_edge_prompt_fails_in_an_engine(version):
    dropped = pd.read_parquet(version / "dropped" / "dropped-00000-of-00001.parquet")
    late = Counter(dropped[dropped["stage"] == "sample_responses"]["reason"])
    assert not [reason for reason in late if reason.startswith("failed")], late
    assert json.loads((version / "manifest.json").read_text())["checks"]
