"""A table whose columns drifted: refused with the difference when written and when read, or taken by rule."""

from collections.abc import Callable
from decimal import Decimal

import pyarrow as pa
import pytest

from sweetspot import schemas
from sweetspot.delivery.books import Book, IdSet
from sweetspot.errors import CheckError, ContractError
from sweetspot.schemas import Schema
from tasks._store import Store
from tasks._tables import ChunkResult, TableRef, commit_chunk, dropped_table

SCORES = schemas.SCORES.table(
    {
        "response_id": f"r{k}",
        "prompt_id": "p",
        "rater": "ann",
        "rater_revision": "1",
        "score": None if k == 2 else float(k),
        "status": "missing" if k == 2 else "ok",
    }
    for k in range(3)
)
SAMPLES = schemas.SAMPLES.table(
    {
        "prompt_id": "p",
        "response_id": f"r{k}",
        "sample_index": k,
        "response": "text",
        "model": "m",
        "finish_reason": None,
        "quality": None,
        "scores": [{"rater": "ann", "score": 1.0}],
    }
    for k in range(3)
)


def cast(name: str, kind: pa.DataType, values: list | None = None) -> Callable[[pa.Table], pa.Table]:
    """Give a column another type, and other values where the old ones do not fit it."""

    def change(table: pa.Table) -> pa.Table:
        column = table[name].cast(kind) if values is None else pa.array(values, kind)
        return table.set_column(table.schema.names.index(name), name, column)

    return change


def rename(old: str, new: str) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.rename_columns([new if name == old else name for name in table.schema.names])


def with_raters(**fields: pa.DataType) -> Callable[[pa.Table], pa.Table]:
    return cast("scores", pa.list_(pa.struct(list(fields.items()))), [[], [], []])


REFUSED = {
    "a column is missing": (SCORES, lambda t: t.drop_columns(["rater"]), "column 'rater' is missing"),
    "a column was renamed": (SCORES, rename("rater", "judge"), "'rater' is missing; column 'judge' is not expected"),
    "a name in another case": (SCORES, rename("rater", "Rater"), "'rater' is missing; column 'Rater' is not"),
    "a column too many": (SCORES, lambda t: t.append_column("weight", pa.array([1.0] * 3)), "column 'weight' is not"),
    "a name twice": (SCORES, lambda t: t.append_column("rater", t["rater"]), "in the order .*'rater'\\], expected"),
    "no column at all": (SCORES, lambda t: t.select([]), "column 'response_id' is missing; column 'prompt_id' is"),
    "float to int": (SCORES, cast("score", pa.int64()), "score: type int64, expected double"),
    "float to half the bits": (SCORES, cast("score", pa.float32()), "score: type float, expected double"),
    "float to text": (SCORES, cast("score", pa.large_string()), "score: type large_string, expected double"),
    "float to decimal": (
        SCORES, cast("score", pa.decimal128(9, 2), [Decimal(1)] * 3), "score: type decimal.*, expected double",
    ),
    "float to bool": (SCORES, cast("score", pa.bool_(), [True] * 3), "score: type bool, expected double"),
    "nothing but null, no type": (SCORES, cast("score", pa.null(), [None] * 3), "score: type null, expected double"),
    "string": (SCORES, cast("rater", pa.string()), "rater: type string, expected large_string"),
    "string_view": (SCORES, cast("rater", pa.string_view()), "rater: type string_view, expected large_string"),
    "binary": (SCORES, cast("rater", pa.large_binary()), "rater: type large_binary, expected large_string"),
    "dictionary": (
        SCORES, cast("rater", pa.dictionary(pa.int32(), pa.large_string())), "rater: type dictionary<.*expected large",
    ),
    "int to long": (SAMPLES, cast("sample_index", pa.int64()), "sample_index: type int64, expected int32"),
    "int to time": (SAMPLES, cast("sample_index", pa.timestamp("us"), [1, 2, 3]), "sample_index: type timestamp"),
    "large list": (
        SAMPLES, cast("scores", pa.large_list(schemas.RATER_SCORES.value_type)), "scores: type large_list.*expected l",
    ),
    "list became one": (SAMPLES, cast("scores", pa.float64(), [1.0] * 3), "scores: type double, expected list<"),
    "a rater more in the struct": (
        SAMPLES, with_raters(rater=schemas.TEXT, score=pa.float64(), ben=pa.float64()), "scores: type .*ben.*expected",
    ),
    "a rater less in the struct": (SAMPLES, with_raters(rater=schemas.TEXT), "scores: type list<.*, expected list<"),
    "a struct in another order": (
        SAMPLES, with_raters(score=pa.float64(), rater=schemas.TEXT), "scores: type list<.*score.*rater.*, expected",
    ),
}  # fmt: skip
REFUSED_ONCE_WRITTEN = {
    "another order": (SCORES, lambda t: t.select(t.schema.names[::-1]), "columns in the order .*, expected"),
    "null where a value must be": (
        SCORES,
        cast("status", schemas.TEXT, ["ok", None, "ok"]),
        "first row 1; this column",
    ),
    "a row twice": (SCORES, lambda t: pa.concat_tables([t, t.slice(0, 1)]), "1 rows repeat the key"),
}
TAKEN = {
    "nothing but null, of the right type": (SCORES, cast("score", pa.float64(), [None] * 3)),
    "metadata": (SCORES, lambda t: t.replace_schema_metadata({"pandas": "1"})),
    "many chunks": (SCORES, lambda t: pa.concat_tables([t.slice(k, 1) for k in range(3)])),
    "flags of nullability": (SCORES, lambda t: t.cast(pa.schema([f.with_nullable(True) for f in t.schema]))),
    "no rows": (SCORES, lambda t: t.slice(0, 0)),
}


class Anything(Schema):
    """The contract of an older build, which let this through."""

    def check(self, table: pa.Table) -> pa.Table:
        return table


def committed(folder, table: pa.Table, base: pa.Table, *, schema: Schema | None = None) -> TableRef:
    """Commit a table as a chunk, by default under today's contract."""
    today = schemas.SCORES if base is SCORES else schemas.SAMPLES
    at, ids = f"tiny/tables/{today.name}/f", [str(k) for k in range(3)]
    book = Book(stage="s", unit="response", rows_in=IdSet.of(ids), rows_out=IdSet.of(ids), dropped={})
    store = Store(f"file://{folder}/store")
    result = ChunkResult(table, dropped_table("s", "response", []), ids, ids)
    commit_chunk(store, at, 0, result, book=book, schema=schema or today)
    return TableRef(today.name, store.uri, at, "f", 1, len(table), {})


OLDER = Anything("older", "", (), ())


@pytest.mark.parametrize("drift", [*REFUSED, *REFUSED_ONCE_WRITTEN])
def test_a_drifted_table_is_not_committed(tmp_path, drift):
    base, change, said = (REFUSED | REFUSED_ONCE_WRITTEN)[drift]
    with pytest.raises(ContractError, match=said):
        committed(tmp_path, change(base), base)
    assert not list(tmp_path.iterdir())


NEVER_ENCODED = {"a name twice", "dictionary"}
"""Parquet does not give these back, so no build can have committed them."""


@pytest.mark.parametrize("drift", [drift for drift in REFUSED if drift not in NEVER_ENCODED])
def test_a_table_of_another_build_is_not_read(tmp_path, drift):
    base, change, said = REFUSED[drift]
    ref = committed(tmp_path, change(base), base, schema=OLDER)
    with pytest.raises(CheckError, match=rf"part-00000-\w+\.parquet: .*{said}.*another build of sweetspot made it"):
        ref.read_chunk(0)


def test_columns_that_were_asked_for_and_are_not_there_are_missed(tmp_path):
    ref = committed(tmp_path, SCORES.drop_columns(["rater"]), SCORES, schema=OLDER)
    assert ref.read_chunk(0, ["score"]).schema.names == ["score"]
    with pytest.raises(CheckError, match="column 'rater' is missing"):
        ref.read_chunk(0, ["score", "rater"])


@pytest.mark.parametrize("drift", TAKEN)
def test_what_makes_no_difference_is_taken(tmp_path, drift):
    base, change = TAKEN[drift]
    table = change(base)
    assert committed(tmp_path, table, base).read_chunk(0).to_pylist() == table.to_pylist()
