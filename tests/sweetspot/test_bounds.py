"""Numbers that a form, a file or a command line could send: none may be without bounds, whatever it is."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from sweetspot.config import Raters
from sweetspot.configfile import FLOWS


def numbers(schema, root, path=()):
    """Every number of a form: where it is, and its schema."""
    if "$ref" in schema:
        schema = {
            **root["$defs"][schema["$ref"].rpartition("/")[2]],
            **{k: v for k, v in schema.items() if k != "$ref"},
        }
    for name, field in schema.get("properties", {}).items():
        yield from numbers(field, root, (*path, name))
    for option in (*schema.get("oneOf", ()), *schema.get("anyOf", ()), *schema.get("allOf", ())):
        yield from numbers(option, root, path)
    if "items" in schema:
        yield from numbers(schema["items"], root, (*path, 0))
    if schema.get("type") in ("integer", "number"):
        yield path, schema


FORMS = {name: flow.model_json_schema() for name, flow in FLOWS.items()}  # pyright: ignore
NUMBERS = sorted({(name, *path) for name, form in FORMS.items() for path, _ in numbers(form, form)}, key=str)


@pytest.mark.parametrize("name", FLOWS)
def test_every_number_of_a_form_has_two_bounds(name):
    found = list(numbers(FORMS[name], FORMS[name]))
    assert len(found) > 10
    for path, schema in found:
        assert {"minimum", "exclusiveMinimum"} & schema.keys(), path
        assert {"maximum", "exclusiveMaximum"} & schema.keys(), path


def at(path, value):
    for name in reversed(path):
        value = [value] if name == 0 else {name: value}
    return value


monstrous = (
    st.sampled_from([math.inf, -math.inf, math.nan, 1e308, -1e308, 10**400, "9" * 5000, "1e999"])
    | st.integers(min_value=2**53)
    | st.integers(max_value=-(10**4))
)


@settings(max_examples=300, deadline=None)
@given(place=st.sampled_from(NUMBERS), value=monstrous)
def test_a_monstrous_number_is_refused_wherever_it_stands(place, value):
    name, *path = place
    values: Any = at(path, value)
    if "raters" in path:
        values["scoring"]["raters"][0] |= {"kind": "reward_model"}
    with pytest.raises(ValidationError) as refused:
        FLOWS[name](**values)
    assert any(path[-1] in error["loc"] for error in refused.value.errors())


def test_two_raters_of_one_name_are_refused():
    with pytest.raises(ValidationError, match="reward is the name of more than one rater"):
        Raters.model_validate({"raters": [{"kind": "reward_model"}, {"kind": "verifier", "name": "reward"}]})
