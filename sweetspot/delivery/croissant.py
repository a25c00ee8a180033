"""croissant.json: the version in Croissant 1.1, the machine-readable description of ML datasets.

References:
    MLCommons (2026), Croissant format specification, version 1.1; the context is its appendix 1.

Notes:
    A version's name is not MAJOR.MINOR.PATCH, which Croissant recommends but does not require: every
    version replaces all rows, so the order and identity of versions are in the manifests. A reference
    to a field is written {"field": {"@id": ...}} as in version 1.0, the form that mlcroissant reads.
"""

from typing import Any

import pyarrow as pa

from sweetspot.delivery.facts import VersionFacts
from sweetspot.delivery.manifest import FileEntry
from sweetspot.schemas import DELIVERED, Column

CONFORMS_TO = "http://mlcommons.org/croissant/1.1"
_JSON = {"@type": "@json"}
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", **_JSON},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", **_JSON},
    "annotation": "cr:annotation",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "containedIn": "cr:containedIn",
    "equivalentProperty": "cr:equivalentProperty",
    "excludes": "cr:excludes",
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "readLines": "cr:readLines",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "sdVersion": "cr:sdVersion",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
    "unArchive": "cr:unArchive",
    "value": "cr:value",
}

_SPDX = {
    name.lower(): name
    for name in ("Apache-2.0", "MIT", "BSD-3-Clause", "CC0-1.0", "CC-BY-4.0", "CC-BY-SA-4.0", "CC-BY-NC-4.0")
} | {"odc-by": "ODC-By-1.0", "odbl": "ODbL-1.0"}
# Parquet has a registered type by now, but readers of Croissant know it by this one.
_MEDIA_TYPES = {"parquet": "application/x-parquet", "html": "text/html", "md": "text/markdown"}
_SPLITS = {"train": "cr:TrainingSplit", "eval": "cr:TestSplit"}


def croissant(facts: VersionFacts) -> dict[str, Any]:
    """Describe a version: its files with sha256, and the columns of its rows.

    Returns:
        JSON-LD, ready for `json.dumps`. Paths of files are relative to the document.
    """
    manifest = facts.manifest
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "name": manifest.dataset,
        "description": (
            f"Preference pairs for direct preference optimisation: {facts.train_rows} to train on and "
            f"{facts.eval_rows} held out, made from {facts.prompt_source}."
        ),
        "conformsTo": CONFORMS_TO,
        "url": facts.uri,
        "license": licence_url(facts.license),
        "creator": {"@type": "sc:Organization", "name": facts.creator},
        "datePublished": manifest.created_utc,
        "version": manifest.version,
        "inLanguage": list(facts.languages),
        "keywords": ["preference", "dpo", "sweetspot"],
        "isLiveDataset": False,
        "distribution": [*(_file_object(entry) for entry in manifest.files), *_file_sets(facts)],
        "recordSet": [_split_set(facts), _record_set(facts)] if _splits(facts) else [],
    }


def licence_url(licence: str) -> str:
    """The SPDX address of a licence id that has one, else the text as it was given."""
    spdx = _SPDX.get(licence.lower())
    return f"https://spdx.org/licenses/{spdx}.html" if spdx else licence


def _file_object(entry: FileEntry) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": entry.path,
        "name": entry.path,
        "contentUrl": entry.path,
        "contentSize": f"{entry.bytes} B",
        "encodingFormat": _MEDIA_TYPES.get(entry.path.rpartition(".")[2], "application/json"),
        "sha256": entry.sha256,
    }


def _splits(facts: VersionFacts) -> list[str]:
    return [split for split in _SPLITS if facts.manifest.files_under(f"data/{split}-")]


def _file_sets(facts: VersionFacts) -> list[dict[str, Any]]:
    if not _splits(facts):
        return []
    return [
        {
            "@type": "cr:FileSet",
            "@id": "data-files",
            "name": "data-files",
            "description": "Shards of the delivered pairs.",
            "encodingFormat": _MEDIA_TYPES["parquet"],
            "includes": [f"data/{split}-*.parquet" for split in _splits(facts)],
        }
    ]


def _split_set(facts: VersionFacts) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": "splits",
        "name": "splits",
        "description": "Parts of the delivered pairs; eval holds prompts that never enter training.",
        "dataType": "cr:Split",
        "key": {"@id": "splits/name"},
        "field": [
            {"@type": "cr:Field", "@id": "splits/name", "name": "name", "dataType": "sc:Text"},
            {"@type": "cr:Field", "@id": "splits/url", "name": "url", "dataType": "sc:URL"},
        ],
        "data": [{"splits/name": split, "splits/url": _SPLITS[split]} for split in _splits(facts)],
    }


def _record_set(facts: VersionFacts) -> dict[str, Any]:
    split = {
        "@type": "cr:Field",
        "@id": "pairs/split",
        "name": "split",
        "description": "train or eval, from the file's name",
        "dataType": "sc:Text",
        "source": {
            "fileSet": {"@id": "data-files"},
            "extract": {"fileProperty": "filename"},
            "transform": {"regex": "^(train|eval)-.*\\.parquet$"},
        },
        "references": {"field": {"@id": "splits/name"}},
    }
    return {
        "@type": "cr:RecordSet",
        "@id": "pairs",
        "name": "pairs",
        "description": DELIVERED.row,
        "key": [{"@id": f"pairs/{name}"} for name in DELIVERED.key],
        "field": [split, *(_field(column) for column in DELIVERED.columns)],
    }


def _field(column: Column) -> dict[str, Any]:
    described = {
        "@type": "cr:Field",
        "@id": f"pairs/{column.name}",
        "name": column.name,
        "description": column.meaning,
    }
    source = {"fileSet": {"@id": "data-files"}, "extract": {"column": column.name}}
    if not pa.types.is_list(column.type):
        return {**described, "dataType": _data_type(column.type), "source": source}
    message = column.type.value_type
    return {
        **described,
        "isArray": True,
        "arrayShape": "-1",
        "subField": [
            {
                "@type": "cr:Field",
                "@id": f"pairs/{column.name}/{part.name}",
                "name": part.name,
                "dataType": _data_type(part.type),
                "source": {**source, "transform": {"jsonPath": part.name}},
            }
            for part in (message.field(index) for index in range(message.num_fields))
        ],
    }


def _data_type(kind: pa.DataType) -> str:
    if pa.types.is_floating(kind):
        return "sc:Float"
    if pa.types.is_integer(kind):
        return "sc:Integer"
    return "sc:Boolean" if pa.types.is_boolean(kind) else "sc:Text"
