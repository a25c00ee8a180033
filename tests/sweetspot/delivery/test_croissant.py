import dataclasses
import json

import jsonschema
import pytest

from sweetspot.delivery.croissant import croissant, licence_url
from sweetspot.schemas import DELIVERED

# Required by the Croissant 1.1 specification, and the reference form of JSON-LD ids.
REFERENCE = {"type": "object", "required": ["@id"], "additionalProperties": False, "properties": {"@id": {}}}
SCHEMA = {
    "type": "object",
    "required": [
        *("@context", "@type", "conformsTo", "description", "license", "name", "url", "creator", "datePublished"),
        *("distribution", "recordSet", "version"),
    ],
    "properties": {
        "@type": {"const": "sc:Dataset"},
        "conformsTo": {"const": "http://mlcommons.org/croissant/1.1"},
        "distribution": {"type": "array", "items": {"$ref": "#/$defs/resource"}},
        "recordSet": {"type": "array", "items": {"$ref": "#/$defs/recordSet"}},
    },
    "$defs": {
        "resource": {
            "oneOf": [
                {
                    "required": ["@id", "name", "contentUrl", "contentSize", "encodingFormat", "sha256"],
                    "properties": {
                        "@type": {"const": "cr:FileObject"},
                        "sha256": {"pattern": "^[0-9a-f]{64}$"},
                        "contentSize": {"pattern": "^[0-9]+ B$"},
                    },
                },
                {
                    "required": ["@id", "name", "encodingFormat", "includes"],
                    "properties": {"@type": {"const": "cr:FileSet"}, "includes": {"minItems": 1}},
                },
            ]
        },
        "recordSet": {
            "required": ["@type", "@id", "name", "description", "key", "field"],
            "properties": {
                "@type": {"const": "cr:RecordSet"},
                "key": {"oneOf": [REFERENCE, {"type": "array", "items": REFERENCE}]},
                "field": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/field"}},
            },
        },
        "field": {
            "required": ["@type", "@id", "name"],
            "anyOf": [{"required": ["dataType"]}, {"required": ["subField"]}],
            "properties": {
                "@type": {"const": "cr:Field"},
                "dataType": {"enum": ["sc:Text", "sc:Float", "sc:Integer", "sc:Boolean", "sc:URL"]},
                "isArray": {"const": True},
                "subField": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/field"}},
            },
        },
    },
}


def all_ids(node):
    """Every @id that defines something, at any depth."""
    if isinstance(node, dict):
        own = [node["@id"]] if "@id" in node and len(node) > 1 else []
        return own + [one for value in node.values() for one in all_ids(value)]
    return [one for value in node for one in all_ids(value)] if isinstance(node, list) else []


def all_references(node):
    """Every @id that refers to something."""
    if isinstance(node, dict):
        if set(node) == {"@id"}:
            return [node["@id"]]
        return [one for value in node.values() for one in all_references(value)]
    return [one for value in node for one in all_references(value)] if isinstance(node, list) else []


def without_context(made):
    return {key: value for key, value in made.items() if key != "@context"}


def test_the_description_has_all_required_fields(facts):
    jsonschema.validate(croissant(facts), SCHEMA)


def test_it_is_plain_json(facts):
    assert json.loads(json.dumps(croissant(facts), allow_nan=False)) == croissant(facts)


def test_every_file_is_there_with_its_hash_and_size(facts):
    files = {one["contentUrl"]: one for one in croissant(facts)["distribution"] if one["@type"] == "cr:FileObject"}
    assert set(files) == {entry.path for entry in facts.manifest.files}
    for entry in facts.manifest.files:
        assert files[entry.path]["sha256"] == entry.sha256
        assert files[entry.path]["contentSize"] == f"{entry.bytes} B"
        assert files[entry.path]["encodingFormat"] == "application/x-parquet"


def test_every_delivered_column_is_a_field_that_reads_that_column(facts):
    pairs = next(one for one in croissant(facts)["recordSet"] if one["@id"] == "pairs")
    fields = {field["name"]: field for field in pairs["field"]}
    assert list(fields) == ["split", *(column.name for column in DELIVERED.columns)]
    for column in DELIVERED.columns:
        field = fields[column.name]
        for part in field.get("subField", [field]):
            assert part["source"]["extract"] == {"column": column.name}
        assert field["description"] == column.meaning
    assert fields["margin"]["dataType"] == "sc:Float"
    assert fields["pair_id"]["dataType"] == "sc:Text"
    assert (fields["prompt"]["isArray"], fields["prompt"]["arrayShape"]) == (True, "-1")
    assert [part["name"] for part in fields["prompt"]["subField"]] == ["role", "content"]
    assert pairs["key"] == [{"@id": "pairs/pair_id"}]


def test_ids_are_unique_and_every_reference_resolves(facts):
    made = without_context(croissant(facts))
    ids = all_ids(made)
    assert len(ids) == len(set(ids))
    assert set(all_references(made)) <= set(ids)


def test_the_context_defines_every_term_of_croissant_that_is_used(facts):
    made = croissant(facts)
    used = {"conformsTo", "recordSet", "isLiveDataset", "field", "source", "fileSet", "extract", "column", "regex"}
    used |= {"transform", "jsonPath", "subField", "dataType", "isArray", "arrayShape", "key", "references", "data"}
    used |= {"includes", "fileProperty"}
    assert used <= set(made["@context"])
    assert made["@context"]["dataType"] == {"@id": "cr:dataType", "@type": "@vocab"}
    assert made["@context"]["isArray"] == "cr:isArray"


def test_a_version_without_held_out_pairs_lists_one_split(facts):
    manifest = dataclasses.replace(facts.manifest, files=facts.manifest.files[:1])
    made = croissant(dataclasses.replace(facts, manifest=manifest))
    splits = next(one for one in made["recordSet"] if one["@id"] == "splits")
    assert splits["data"] == [{"splits/name": "train", "splits/url": "cr:TrainingSplit"}]
    files = next(one for one in made["distribution"] if one["@type"] == "cr:FileSet")
    assert files["includes"] == ["data/train-*.parquet"]


def test_a_version_without_files_is_still_described(bare_facts):
    made = croissant(bare_facts)
    jsonschema.validate(made, SCHEMA)
    assert (made["distribution"], made["recordSet"]) == ([], [])


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        ("apache-2.0", "https://spdx.org/licenses/Apache-2.0.html"),
        ("ODC-BY", "https://spdx.org/licenses/ODC-By-1.0.html"),
        ("https://example.org/terms", "https://example.org/terms"),
        ("unknown", "unknown"),
    ],
)
def test_licences(licence, expected):
    assert licence_url(licence) == expected
