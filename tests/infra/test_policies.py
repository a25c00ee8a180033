"""The bucket policies, enforced by a server: each role can do its work and nothing else."""

import json
import urllib.request

import boto3
import pytest
from botocore.exceptions import ClientError
from moto_process import moto_server, pointed_at

from sweetspot.errors import StoreError
from tasks._store import Store

BUCKET, PREFIX = "nights", "team"
ROLES = ("writer", "reader", "sweeper")
MANIFEST = f"{PREFIX}/demo/versions/v1/manifest.json"
TABLE = f"{PREFIX}/demo/tables/pairs/part.parquet"


def policy_of(root, role: str) -> dict:
    text = (root / "infra" / "policies" / f"{role}.json").read_text()
    return json.loads(text.replace("BUCKET", BUCKET).replace("PREFIX", PREFIX))


@pytest.fixture(scope="module")
def keys(root):
    """Access keys of the roles, on a server that enforces their policies."""
    with moto_server() as (host, port), pointed_at(f"http://{host}:{port}", AWS_ACCESS_KEY_ID="root"):
        storage, identities = boto3.client("s3"), boto3.client("iam")
        storage.create_bucket(Bucket=BUCKET)
        for key in (MANIFEST, TABLE, "other/team.json"):
            storage.put_object(Bucket=BUCKET, Key=key, Body=b"1")
        made = {role: access_key(identities, role, policy_of(root, role)) for role in ROLES}
        enforce = urllib.request.Request(
            f"http://{host}:{port}/moto-api/reset-auth", b"0", {"content-type": "text/plain"}
        )
        urllib.request.urlopen(enforce).close()
        yield made


def access_key(identities, role: str, policy: dict) -> dict:
    """The key of a new user with this policy."""
    # The server applies a denial without looking at its condition; the condition has a test of its own.
    policy["Statement"] = [s for s in policy["Statement"] if s["Sid"] != "NeverOverwriteBlindly"]
    identities.create_user(UserName=role)
    identities.put_user_policy(UserName=role, PolicyName=role, PolicyDocument=json.dumps(policy))
    return identities.create_access_key(UserName=role)["AccessKey"]


@pytest.fixture
def client_of(keys):
    def make(role: str):
        key = keys[role]
        return boto3.client("s3", aws_access_key_id=key["AccessKeyId"], aws_secret_access_key=key["SecretAccessKey"])

    return make


ACTIONS = {
    "read a manifest": lambda s3: s3.get_object(Bucket=BUCKET, Key=MANIFEST),
    "read a table": lambda s3: s3.get_object(Bucket=BUCKET, Key=TABLE),
    "read another team's": lambda s3: s3.get_object(Bucket=BUCKET, Key="other/team.json"),
    "create": lambda s3: s3.put_object(Bucket=BUCKET, Key=f"{PREFIX}/demo/tables/new", Body=b"", IfNoneMatch="*"),
    "write elsewhere": lambda s3: s3.put_object(Bucket=BUCKET, Key="other/new", Body=b"", IfNoneMatch="*"),
    "list": lambda s3: s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{PREFIX}/"),
    "delete a version": lambda s3: s3.delete_object(Bucket=BUCKET, Key=MANIFEST),
    "delete a probe": lambda s3: s3.delete_object(Bucket=BUCKET, Key=f"{PREFIX}/probe/1"),
}
ALLOWED = {
    "writer": {"read a manifest", "read a table", "create"},
    "reader": {"read a manifest"},
    "sweeper": {"read a manifest", "read a table", "list", "delete a probe"},
}


@pytest.mark.parametrize("role", ROLES)
def test_a_role_can_do_its_work_and_nothing_else(client_of, role):
    client, done = client_of(role), set()
    for name, action in ACTIONS.items():
        if may(action, client):
            done.add(name)
    assert done == ALLOWED[role]


def may(action, client) -> bool:
    """Whether the server lets it through; any other refusal than one for lack of rights fails the test."""
    try:
        action(client)
    except ClientError as error:
        if error.response["Error"]["Code"] != "AccessDenied":
            raise
        return False
    return True


def test_the_writer_can_do_all_that_a_store_does(keys, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys["writer"]["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys["writer"]["SecretAccessKey"])
    store = Store(f"s3://{BUCKET}/{PREFIX}/by-writer")
    store.probe()
    store.commit("demo/versions/v2/manifest.json", b"1")
    assert store.swap("demo/latest.json", None, b"v2")
    assert store.swap("demo/latest.json", b"v2", b"v3")


def test_a_missing_right_is_named_with_action_and_key(keys, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys["reader"]["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys["reader"]["SecretAccessKey"])
    with pytest.raises(StoreError, match=rf"s3://{BUCKET}/{PREFIX}/by-reader/a: cannot write: HTTP 403"):
        Store(f"s3://{BUCKET}/{PREFIX}/by-reader").create("a", b"1")


def test_the_writer_may_put_only_under_a_condition(root):
    (denial,) = [s for s in policy_of(root, "writer")["Statement"] if s["Sid"] == "NeverOverwriteBlindly"]
    assert denial["Effect"] == "Deny"
    assert denial["Action"] == "s3:PutObject"
    assert denial["Condition"] == {"Null": {"s3:if-none-match": "true", "s3:if-match": "true"}}
