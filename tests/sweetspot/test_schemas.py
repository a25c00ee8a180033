import pyarrow as pa
import pytest

from sweetspot import schemas
from sweetspot.errors import ContractError

ROW = {"stage": "s", "unit": "prompt", "row_id": "1", "prompt_id": "1", "reason": "r", "detail": ""}


def test_every_column_says_what_it_means():
    for schema in schemas.TABLES:
        assert all(len(column.meaning) > 3 for column in schema.columns), schema.name
        assert set(schema.key) <= {column.name for column in schema.columns}


def test_a_missing_value_is_refused_with_column_and_row():
    with pytest.raises(ContractError, match=r"dropped.reason: 1 of 2 rows are null, first row 1"):
        schemas.DROPPED.table([ROW, {**ROW, "row_id": "2", "reason": None}])


def test_a_repeated_key_is_refused():
    with pytest.raises(ContractError, match="1 rows repeat the key"):
        schemas.DROPPED.table([ROW, ROW])


def test_a_wrong_type_is_refused():
    with pytest.raises(ContractError, match="does not fit"):
        schemas.DROPPED.table([{**ROW, "reason": 3}])


def test_another_column_order_is_refused():
    table = schemas.DROPPED.table([ROW])
    with pytest.raises(ContractError, match="columns"):
        schemas.DROPPED.check(table.select(list(reversed(table.schema.names))))


@pytest.mark.parametrize("value", ["secretcanary", ["secretcanary"], "secretcanary\ud800"])
def test_a_value_that_does_not_fit_is_named_by_column_and_row_and_never_shown(value):
    row = {"response_id": "r", "prompt_id": "p", "chars": 1, "flaw": None}
    field = "chars" if value == "secretcanary" else "flaw"
    with pytest.raises(ContractError, match=rf"column {field}, row 1 of 2") as refused:
        schemas.CHECKS.table([row, {**row, field: value}])
    assert "canary" not in str(refused.value)


def test_a_lone_surrogate_cannot_enter_a_table():
    with pytest.raises(ContractError):
        schemas.DROPPED.table([{**ROW, "detail": "\ud800"}])


def test_no_text_column_can_overflow():
    for schema in schemas.TABLES:
        assert all(column.type != pa.string() for column in schema.columns)
