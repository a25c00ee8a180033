"""Books by sets of ids: what is lost, doubled, swapped or made up at any stage stops the publication, and is named."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from sweetspot import ids
from sweetspot.config import Relabelling
from sweetspot.errors import CheckError
from tasks._account import account, check_seams, dropped_rows
from tasks._pair_account import check_pairs
from tasks._records import seal_record
from tasks._store import encode_table
from tasks._tables import chunk_key
from tasks.deliver_dataset import Publication, deliver_dataset
from tasks.relabel_pairs import relabel_pairs

FACTS = Publication("run-1", "2026-01-31", "2026-01-31T02:00:00Z", "commit", "", {}, {})


class Night:
    """A copy of a curated night whose chunks a test may write anew, receipts and all, as a bug or somebody would."""

    def __init__(self, curated, folder: Path):
        shutil.copytree(curated.config.store.removeprefix("file://"), folder)
        self.folder, self.store = folder, f"file://{folder}"
        self.tables = {name: replace(ref, store=self.store) for name, ref in curated.tables.items()}

    def rows(self, name: str, index: int = 0) -> list[dict]:
        return self.tables[name].read_chunk(index).to_pylist()

    def write(self, name: str, rows: list[dict], index: int = 0) -> None:
        ref, where = self.tables[name], self.folder / self.tables[name].location
        table = pa.Table.from_pylist(rows, schema=ref.schema.arrow)
        data = encode_table(table)
        sha256 = hashlib.sha256(data).hexdigest()
        part = {"path": f"part-{index:05d}-{sha256[:12]}.parquet", "bytes": len(data), "rows": len(table)}
        receipt = json.loads((where / chunk_key(index)).read_text())
        (where / part["path"]).write_bytes(data)
        receipt |= {"part": {**part, "sha256": sha256}}
        (where / chunk_key(index)).write_bytes(seal_record({k: v for k, v in receipt.items() if k != "seal"}))

    def edit(self, name: str, **change) -> dict:
        """Give the first row of the first chunk other values."""
        first, *rest = self.rows(name)
        self.write(name, [{**first, **change}, *rest])
        return first

    def account(self) -> dict[str, int]:
        return account(self.tables, dropped_rows(self.tables))

    def refused(self, why: str) -> None:
        """Delivery stops with this, and nothing is published."""
        with pytest.raises(CheckError, match=rf"{why}.*Nothing was published"):
            deliver_dataset(self.tables, FACTS, store_uri=self.store, dataset="nights")
        assert not (self.folder / "nights").is_dir()


@pytest.fixture
def night(curated, tmp_path) -> Night:
    return Night(curated, tmp_path / "store")


def test_an_untouched_night_adds_up(night):
    check_seams(night.tables)
    check_pairs(night.tables)
    assert sum(night.account().values()) == night.tables["prompts"].rows


def test_a_lost_prompt_is_named(night):
    gone, *rest = night.rows("delivered")
    night.write("delivered", rest)
    with pytest.raises(CheckError, match=rf"of 30: 1 lost \(first prompt_id {gone['prompt_id']}\), 0 came or"):
        night.account()
    night.refused(r"delivered: the table's pairs are not those relabel_pairs let go: \d+ against \d+")


def test_a_swapped_id_is_found_though_all_counts_agree(night):
    stranger = ids.prompt_id([{"role": "user", "content": "nobody asked this"}])
    first = night.edit("delivered", prompt_id=stranger)
    with pytest.raises(
        CheckError,
        match=rf"1 lost \(first prompt_id {first['prompt_id']}\), 0 came or ended twice, 1 from nowhere "
        rf"\(first prompt_id {stranger}\)",
    ):
        night.account()
    with pytest.raises(CheckError, match=rf"chosen answers prompt {first['prompt_id']}, not {stranger}"):
        check_pairs(night.tables)


def test_a_prompt_that_ends_twice_is_named(night):
    kept = night.rows("delivered")[0]["prompt_id"]
    dropped = dropped_rows(night.tables).to_pylist()
    left = next(row for row in dropped if row["stage"] == "select_pairs")
    again = pa.Table.from_pylist([*dropped, {**left, "row_id": "x", "prompt_id": kept}])
    with pytest.raises(CheckError, match=rf"0 lost, 1 came or ended twice \(first prompt_id {kept}\), 0 from nowhere"):
        account(night.tables, again)


def test_a_prompt_that_lies_in_two_chunks_is_named(night):
    doubled = night.rows("prompts", 0)[0]
    night.write("prompts", [*night.rows("prompts", 1), doubled], 1)
    night.refused(rf"1 came or ended twice \(first prompt_id {doubled['prompt_id']}\)")


@pytest.mark.parametrize("name", ["responses", "quality", "pairs", "selected", "delivered"])
@pytest.mark.parametrize("harm", ["lost", "doubled in another chunk", "swapped"])
def test_every_table_must_hold_what_its_stage_let_go(night, name, harm):
    key = night.tables[name].schema.key[0]
    if harm == "lost":
        night.write(name, night.rows(name)[1:])
    elif harm == "swapped":
        night.edit(name, **{key: "0" * 32})
    else:
        night.write(name, [*night.rows(name, 1), night.rows(name)[0]], 1)
    if name == "pairs" and harm != "swapped":
        night.refused("pairs: the table's prompts are not those build_pairs let go")
    elif name == "pairs":
        night.refused("select_pairs took other pairs than pairs holds: .*, the same number of others")
    else:
        night.refused(rf"{name}: the table's \w+s are not those")


@pytest.mark.parametrize(
    ("table", "change", "why"),
    [
        ("delivered", {"chosen": [{"role": "assistant", "content": "x"}]}, "chosen is not the text of response "),
        ("delivered", {"rejected": [{"role": "user", "content": "x"}]}, "rejected is not the text of response "),
        ("delivered", {"margin": 0.5}, "margin is not the difference of its ratings"),
        ("delivered", {"chosen_rating": 9.0}, "chosen rating is not that of its response"),
        ("delivered", {"score_rejected": 9.0}, "rejected rating is not that of its response"),
        ("pairs", {"margin_external": 0.5}, "margin is not the difference of its ratings"),
        ("pairs", {"rejected_id": "0" * 32}, "there is no rejected response 0000"),
        ("pairs", {"chosen_rating": 9.0}, "chosen rating is not the quality of response "),
    ],
)
def test_a_row_is_what_it_was_made_from_or_is_named(night, table, change, why):
    kept = {row["pair_id"] for row in night.rows("delivered")}
    rows = sorted(night.rows(table), key=lambda row: row["pair_id"] not in kept)
    night.write(table, [{**rows[0], **change}, *rows[1:]])
    night.refused(rf"1 of \d+ delivered rows are not what they were made from; first pair {rows[0]['pair_id']}: {why}")


def test_texts_are_in_no_message(night):
    night.edit("delivered", chosen=[{"role": "assistant", "content": "my secret words"}])
    with pytest.raises(CheckError) as refused:
        check_pairs(night.tables)
    assert "secret" not in str(refused.value)
    assert "answer" not in str(refused.value)


def test_rows_of_two_goals_are_their_pair_and_their_pair_turned_round(curated, night):
    run, settings, made = replace(curated.run, store=night.store), Relabelling(enabled=True), night.tables
    night.tables["delivered"] = relabel_pairs(
        made["prompts"], made["responses"], made["pairs"], made["selected"], settings, run
    )
    check_seams(night.tables)
    check_pairs(night.tables)
    assert sum(night.account().values()) == night.tables["prompts"].rows
    rows = night.rows("delivered")
    at = next(k for k, row in enumerate(rows) if row["pair_id"].endswith(":b"))
    swapped = {"chosen": rows[at]["rejected"], "rejected": rows[at]["chosen"]}
    night.write("delivered", [*rows[:at], {**rows[at], **swapped}, *rows[at + 1 :]])
    night.refused(rf"first pair {rows[at]['pair_id']}: chosen is not the text")
