import dataclasses
import json
import uuid
from datetime import datetime

import jsonschema
import pytest

from sweetspot.delivery.lineage import dataset_name, openlineage_event, run_uuid
from sweetspot.schemas import DELIVERED

# The required parts of OpenLineage.json 2-0-2 and of the facets that are used.
FACET = {
    "type": "object",
    "required": ["_producer", "_schemaURL"],
    "properties": {
        "_producer": {"pattern": "^[a-z]+:"},
        "_schemaURL": {"pattern": r"^https://openlineage\.io/spec/facets/\d+-\d+-\d+/(\w+)\.json#/\$defs/\1$"},
    },
}
FACETS = {"type": "object", "additionalProperties": FACET}
DATASET = {
    "type": "object",
    "required": ["namespace", "name"],
    "properties": {
        "namespace": {"type": "string", "minLength": 1},
        "name": {"type": "string", "minLength": 1},
        "facets": FACETS,
        "outputFacets": FACETS,
    },
    "additionalProperties": False,
}
EVENT = {
    "type": "object",
    "required": ["eventType", "eventTime", "producer", "schemaURL", "run", "job", "inputs", "outputs"],
    "additionalProperties": False,
    "properties": {
        "eventType": {"const": "COMPLETE"},
        "eventTime": {"pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$"},
        "schemaURL": {"const": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"},
        "producer": {"pattern": "^urn:[a-z]+:[A-Za-z0-9-]+$"},
        "run": {"required": ["runId"], "properties": {"facets": FACETS}},
        "job": {"required": ["namespace", "name"], "properties": {"facets": FACETS}},
        "inputs": {"type": "array", "items": DATASET},
        "outputs": {"type": "array", "items": DATASET},
    },
}


def test_the_event_has_all_required_fields(facts):
    event = openlineage_event(facts)
    jsonschema.validate(event, EVENT)
    assert json.loads(json.dumps(event, allow_nan=False)) == event


def test_the_event_of_the_smallest_version_too(bare_facts):
    jsonschema.validate(openlineage_event(bare_facts), EVENT)


def test_times_carry_their_offset(facts):
    event = openlineage_event(facts)
    assert event["eventTime"] == "2026-11-20T02:14:09Z"
    nominal = event["run"]["facets"]["nominalTime"]["nominalStartTime"]
    assert nominal == "2026-11-20T00:00:00Z"
    assert datetime.fromisoformat(nominal).tzinfo is not None


def test_a_uuid_of_a_run_is_kept_and_any_other_id_gets_one_of_its_own(facts):
    assert openlineage_event(facts)["run"]["runId"] == facts.manifest.run_id
    assert run_uuid("night-7") == run_uuid("night-7") != run_uuid("night-8")
    assert uuid.UUID(run_uuid("night-7")).version == 5


def test_the_output_has_schema_version_and_quality(facts):
    (output,) = openlineage_event(facts)["outputs"]
    assert (output["namespace"], output["name"]) == ("s3://night", "preferences/demo")
    columns = output["facets"]["schema"]["fields"]
    assert [column["name"] for column in columns] == [column.name for column in DELIVERED.columns]
    assert columns[6] == {
        "name": "chosen_rating",
        "type": "double",
        "description": "quality of chosen, rater standard deviations",
    }
    assert output["facets"]["version"]["datasetVersion"] == "2026-11-20-7f3a9c1e"
    quality = output["facets"]["dataQualityMetrics"]
    assert (quality["rowCount"], quality["bytes"], quality["fileCount"]) == (296, 73_094, 2)
    statistics = output["outputFacets"]["outputStatistics"]
    assert (statistics["rowCount"], statistics["size"], statistics["fileCount"]) == (296, 73_094, 2)


def test_column_metrics_count_values_and_nulls(facts):
    (output,) = openlineage_event(facts)["outputs"]
    metrics = output["facets"]["dataQualityMetrics"]["columnMetrics"]
    assert set(metrics) == {"margin", "chosen_rating"}
    margin = facts.columns["margin"]
    assert metrics["margin"] == {
        "count": 196,
        "nullCount": 1,
        "sum": margin.total,
        "min": margin.low,
        "max": margin.high,
    }


def test_a_column_without_values_has_no_extremes(facts):
    empty = dataclasses.replace(facts.columns["margin"], count=3, nulls=3, low=None, high=None, total=None)
    (output,) = openlineage_event(dataclasses.replace(facts, columns={"goal": empty}))["outputs"]
    assert output["facets"]["dataQualityMetrics"]["columnMetrics"] == {"goal": {"count": 0, "nullCount": 3}}


def test_inputs_are_the_prompts_and_the_version_before(facts, bare_facts):
    prompts, parent = openlineage_event(facts)["inputs"]
    assert prompts == {"namespace": "s3://night", "name": "prompts/2026-11-20.jsonl"}
    assert (parent["namespace"], parent["name"]) == ("s3://night", "preferences/demo")
    assert parent["facets"]["version"]["datasetVersion"] == "sha256:" + "ab" * 32
    named = openlineage_event(dataclasses.replace(facts, parent_version="2026-11-19-aa"))["inputs"][1]
    assert named["facets"]["version"]["datasetVersion"] == "2026-11-19-aa"
    assert len(openlineage_event(bare_facts)["inputs"]) == 1


@pytest.mark.parametrize(
    ("uri", "namespace", "name"),
    [
        ("s3://bucket/a/b.jsonl", "s3://bucket", "a/b.jsonl"),
        ("gs://bucket", "gs://bucket", "/"),
        ("file:///data/x", "file", "/data/x"),
        ("file://out/store/demo", "file", "out/store/demo"),
        ("out/prompts.jsonl", "file", "out/prompts.jsonl"),
        ("datasets:org/name:train", "datasets", "org/name:train"),
    ],
)
def test_names_follow_the_naming_rules(uri, namespace, name):
    assert dataset_name(uri) == {"namespace": namespace, "name": name}


def test_a_commit_with_odd_characters_still_makes_a_producer(facts):
    odd = dataclasses.replace(facts, manifest=dataclasses.replace(facts.manifest, code_commit="v1.0+dirty <x>"))
    jsonschema.validate(openlineage_event(odd), EVENT)
