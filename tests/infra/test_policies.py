"""The bucket policies, enforced by a server: each role can do its work and nothing else."""

import json
import urllib.request
from fnmatch import fnmatch

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
    # The server applies a denial without looking at its condition; the conditions have a test of their own.
    policy["Statement"] = [s for s in policy["Statement"] if s["Effect"] == "Allow" or "Condition" not in s]
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
    "writer": {"read a manifest", "read a table", "create", "list"},
    "reader": {"read a manifest", "list"},
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


NONE_MATCH, MATCH = "s3:if-none-match", "s3:if-match"


@pytest.mark.parametrize(
    ("key", "header", "may"),
    [
        ("demo/versions/v1/manifest.json", NONE_MATCH, True),
        ("demo/versions/v1/manifest.json", MATCH, False),
        ("demo/versions/v1/manifest.json", "", False),
        ("demo/versions/v1/data/train-00000-of-00001.parquet", MATCH, False),
        ("demo/latest.json", NONE_MATCH, True),
        ("demo/latest.json", MATCH, True),
        ("demo/latest.json", "", False),
        ("demo/tables/pairs/f/chunk-00000.json", "", False),
    ],
)
def test_the_writer_puts_under_a_condition_and_over_no_version(root, key, header, may):
    assert may != any(
        denies(statement, f"arn:aws:s3:::{BUCKET}/{PREFIX}/{key}", header)
        for statement in policy_of(root, "writer")["Statement"]
        if statement["Effect"] == "Deny" and statement["Action"] == "s3:PutObject"
    )


def denies(statement: dict, resource: str, header: str) -> bool:
    """Whether a denial of puts holds for one, by IAM's rule for `Null`: every key that is named must be absent."""
    (condition,) = statement["Condition"].items()
    operator, keys = condition
    assert operator == "Null"
    assert set(keys.values()) == {"true"}
    return fnmatch(resource, statement["Resource"]) and header not in keys


@pytest.mark.parametrize("role", ROLES)
def test_every_role_can_tell_absent_from_forbidden(root, role):
    listing = [s for s in policy_of(root, role)["Statement"] if "s3:ListBucket" in s["Action"]]
    assert [s["Resource"] for s in listing] == [f"arn:aws:s3:::{BUCKET}"]
    # A get has no prefix: a plain StringLike would not hold for it.
    assert listing[0]["Condition"] == {"StringLikeIfExists": {"s3:prefix": f"{PREFIX}/*"}}
