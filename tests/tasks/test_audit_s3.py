"""An audit from a bucket into a bucket, on a real HTTP endpoint."""

import json

import boto3
import pytest
from moto_process import moto_server, pointed_at

from flows.audit import audit_file
from sweetspot.errors import ConfigError
from tasks._store import Store
from tasks._versions import differences, open_uri


@pytest.fixture(scope="module")
def bucket():
    with moto_server() as (host, port), pointed_at(f"http://{host}:{port}"):
        client = boto3.client("s3")
        client.create_bucket(Bucket="bucket")
        rows = [{"prompt": f"p {k}", "chosen": f"good answer {k}", "rejected": "bad"} for k in range(5)]
        body = "\n".join(json.dumps(row) for row in [*rows, rows[0]])
        client.put_object(Bucket="bucket", Key="in/rows.jsonl", Body=body.encode())
        yield


def test_reports_and_version_lie_in_the_bucket_and_a_second_audit_replaces_the_reports(bucket):
    for clean in ("drop", "none"):
        result = audit_file("s3://bucket/in/rows.jsonl", out="s3://bucket/out", clean=clean)
        assert result.rows == 6
        report = json.loads(Store("s3://bucket/out").read("report.json"))
        assert (report["cleaning"] is None) == (clean == "none")
    version = open_uri("s3://bucket/out/audited")
    assert not list(differences(version))
    assert version.read_split("train").num_rows == 5


def test_a_missing_object_is_a_missing_file(bucket):
    with pytest.raises(ConfigError, match=r"no file .s3://bucket/in/none\.parquet."):
        audit_file("s3://bucket/in/none.parquet", out="s3://bucket/out")
