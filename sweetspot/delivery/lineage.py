"""lineage.json: the run that made a version, as an OpenLineage event that any lineage catalogue reads.

References:
    OpenLineage specification 2-0-2, OpenLineage.json and the facets named in `_FACETS`.
"""

import uuid
from typing import Any
from urllib.parse import urlsplit

from sweetspot.delivery.facts import ColumnFacts, VersionFacts
from sweetspot.pages.wording import as_utc
from sweetspot.schemas import DELIVERED

SCHEMA_URL = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
NAMESPACE = "sweetspot"

_FACETS = {
    "nominalTime": "1-0-1/NominalTimeRunFacet",
    "processing_engine": "1-1-1/ProcessingEngineRunFacet",
    "jobType": "2-0-4/JobTypeJobFacet",
    "schema": "1-2-0/SchemaDatasetFacet",
    "version": "1-0-1/DatasetVersionDatasetFacet",
    "dataQualityMetrics": "1-0-1/DataQualityMetricsDatasetFacet",
    "outputStatistics": "1-0-2/OutputStatisticsOutputDatasetFacet",
}


def openlineage_event(facts: VersionFacts) -> dict[str, Any]:
    """Build the COMPLETE event of the run that made a version.

    Returns:
        Plain JSON. `run.runId` is the manifest's run id where that is a UUID, else one derived from it.
    """
    manifest = facts.manifest
    return {
        "eventType": "COMPLETE",
        "eventTime": as_utc(manifest.created_utc),
        "producer": _producer(facts),
        "schemaURL": SCHEMA_URL,
        "run": {
            "runId": run_uuid(manifest.run_id),
            "facets": {
                "nominalTime": _facet(facts, "nominalTime", nominalStartTime=as_utc(manifest.logical_date)),
                "processing_engine": _facet(facts, "processing_engine", name="sweetspot", version=manifest.code_commit),
            },
        },
        "job": {
            "namespace": NAMESPACE,
            "name": f"{facts.flow}.{manifest.dataset}",
            "facets": {
                "jobType": _facet(facts, "jobType", processingType="BATCH", integration="SWEETSPOT", jobType="FLOW")
            },
        },
        "inputs": _inputs(facts),
        "outputs": [_output(facts)],
    }


def run_uuid(run_id: str) -> str:
    """The run id as a UUID: itself if it is one, else the name-based one in the URL namespace."""
    try:
        return str(uuid.UUID(run_id))
    except ValueError:
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"sweetspot:run:{run_id}"))


def dataset_name(uri: str) -> dict[str, str]:
    """Namespace and name of a dataset by OpenLineage's naming rules.

    s3://bucket/key gives (s3://bucket, key), a path or file:// URI (file, path), `datasets:NAME:SPLIT`
    (datasets, NAME:SPLIT).
    """
    parts = urlsplit(uri)
    if parts.scheme == "datasets":
        return {"namespace": "datasets", "name": parts.path}
    if parts.scheme in ("", "file"):
        return {"namespace": "file", "name": f"{parts.netloc}{parts.path}" or "."}
    return {"namespace": f"{parts.scheme}://{parts.netloc}", "name": parts.path.strip("/") or "/"}


def _producer(facts: VersionFacts) -> str:
    return f"urn:sweetspot:{''.join(one if one.isalnum() else '-' for one in facts.manifest.code_commit)}"


def _facet(facts: VersionFacts, facet: str, /, **values: Any) -> dict[str, Any]:
    kind = _FACETS[facet].partition("/")[2]
    url = f"https://openlineage.io/spec/facets/{_FACETS[facet]}.json#/$defs/{kind}"
    return {"_producer": _producer(facts), "_schemaURL": url, **values}


def _inputs(facts: VersionFacts) -> list[dict[str, Any]]:
    inputs: list[dict[str, Any]] = [dataset_name(facts.prompt_source)]
    parent = facts.manifest.parent_sha256
    if parent is not None:
        name = dataset_name(f"{facts.store.rstrip('/')}/{facts.manifest.dataset}")
        version = facts.parent_version or f"sha256:{parent}"
        inputs.append({**name, "facets": {"version": _facet(facts, "version", datasetVersion=version)}})
    return inputs


def _output(facts: VersionFacts) -> dict[str, Any]:
    files = facts.manifest.files_under("data/")
    rows, size = sum(entry.rows for entry in files), sum(entry.bytes for entry in files)
    columns = [{"name": one.name, "type": str(one.type), "description": one.meaning} for one in DELIVERED.columns]
    return {
        **dataset_name(f"{facts.store.rstrip('/')}/{facts.manifest.dataset}"),
        "facets": {
            "schema": _facet(facts, "schema", fields=columns),
            "version": _facet(facts, "version", datasetVersion=facts.manifest.version),
            "dataQualityMetrics": _facet(
                facts,
                "dataQualityMetrics",
                rowCount=rows,
                bytes=size,
                fileCount=len(files),
                columnMetrics={name: _column_metrics(column) for name, column in facts.columns.items()},
            ),
        },
        "outputFacets": {
            "outputStatistics": _facet(facts, "outputStatistics", rowCount=rows, size=size, fileCount=len(files))
        },
    }


def _column_metrics(column: ColumnFacts) -> dict[str, Any]:
    known = {"sum": column.total, "min": column.low, "max": column.high}
    return {
        "count": column.count - column.nulls,
        "nullCount": column.nulls,
        **{name: value for name, value in known.items() if value is not None},
    }
