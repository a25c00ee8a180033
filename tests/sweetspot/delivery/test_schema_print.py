"""The fingerprint of a table's columns survives Parquet and changes with every change of a column."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sweetspot.delivery.schema_print import schema_sha256
from sweetspot.schemas import TABLES

FIELD = pa.field("x", pa.list_(pa.struct([("rater", pa.large_string()), ("score", pa.float64())])))
OTHERS = {
    "renamed": pa.field("y", FIELD.type),
    "nullability": pa.field("x", FIELD.type, nullable=False),
    "large list": pa.field("x", pa.large_list(FIELD.type.value_type)),
    "member renamed": pa.field("x", pa.list_(pa.struct([("name", pa.large_string()), ("score", pa.float64())]))),
    "member narrowed": pa.field("x", pa.list_(pa.struct([("rater", pa.large_string()), ("score", pa.float32())]))),
    "string": pa.field("x", pa.list_(pa.struct([("rater", pa.string()), ("score", pa.float64())]))),
    "members swapped": pa.field("x", pa.list_(pa.struct([("score", pa.float64()), ("rater", pa.large_string())]))),
}


@pytest.mark.parametrize("schema", TABLES, ids=lambda schema: schema.name)
def test_it_survives_parquet(schema):
    sink = io.BytesIO()
    pq.write_table(schema.arrow.empty_table(), sink)
    assert schema_sha256(pq.read_schema(sink)) == schema_sha256(schema.arrow)


def test_every_table_of_ours_has_its_own():
    assert len({schema_sha256(schema.arrow) for schema in TABLES}) == len(TABLES)


def test_the_names_of_a_lists_values_and_metadata_do_not_count():
    other = pa.field("x", pa.list_(pa.field("element", FIELD.type.value_type)))
    assert schema_sha256(pa.schema([other], metadata={"a": "b"})) == schema_sha256(pa.schema([FIELD]))


@pytest.mark.parametrize("other", OTHERS)
def test_every_change_shows(other):
    assert schema_sha256(pa.schema([OTHERS[other]])) != schema_sha256(pa.schema([FIELD]))


def test_order_and_number_of_columns_show():
    a, b = pa.field("a", pa.int64()), pa.field("b", pa.int64())
    prints = {schema_sha256(pa.schema(fields)) for fields in ([a, b], [b, a], [a], [a, a])}
    assert len(prints) == 4
