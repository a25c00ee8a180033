"""A fingerprint of a table's columns: names, types and nullability, in order, whatever library writes them down."""

import hashlib
from typing import Any

import pyarrow as pa

from sweetspot import ids


def schema_sha256(schema: pa.Schema) -> str:
    """sha256 of a schema's columns, in lower-case hex; metadata and the names inside lists do not count."""
    return hashlib.sha256(ids.canonical_json([_field(field) for field in schema])).hexdigest()


def _field(field: pa.Field) -> list[Any]:
    return [field.name, field.nullable, _type(field.type)]


def _type(kind: pa.DataType) -> Any:
    if pa.types.is_struct(kind):
        return ["struct", *(_field(kind.field(index)) for index in range(kind.num_fields))]
    for name, matches in (("list", pa.types.is_list), ("large_list", pa.types.is_large_list)):
        if matches(kind):  # files call the values of a list "element", memory calls them "item"
            return [name, kind.value_field.nullable, _type(kind.value_type)]
    return str(kind)
