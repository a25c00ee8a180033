"""A policy in the store is read by somebody else's marker: what it names must not reach beyond its cache."""

import json
import shutil
from pathlib import Path

import pytest

from sweetspot import ids
from sweetspot.engines.revision import model_revision
from sweetspot.errors import CheckError, ConfigError
from tasks._policies import PolicyRef, commit_policy

WORLD = Path(__file__).resolve().parents[2] / "deployments" / "world"


@pytest.fixture
def policy(tmp_path, monkeypatch) -> PolicyRef:
    """The embedded world's policy, committed to a store, with a cache of this test's own."""
    monkeypatch.setenv("SWEETSPOT_CACHE", str(tmp_path / "cache" / "policies"))
    return commit_policy(f"file://{tmp_path}/store", "tiny/policies/one", WORLD / "policy", {"kind": "test"})


def rewrite(policy: PolicyRef, change) -> None:
    path = Path(policy.store.removeprefix("file://")) / policy.path / "policy.json"
    path.write_bytes(ids.canonical_json(change(json.loads(path.read_bytes()))))


def test_a_committed_policy_comes_back_as_it_was(policy):
    assert model_revision(str(policy.local_path())) == model_revision(str(WORLD / "policy")) == policy.revision
    assert policy.local_path() == policy.local_path()


@pytest.mark.parametrize("name", ["../../escaped.json", "/escaped", "a/b", "..", ".hidden", "", "ｅ", "a\n", 3, None])
def test_a_marker_that_names_a_path_is_refused(policy, name, tmp_path):
    rewrite(policy, lambda marker: {**marker, "files": [{**marker["files"][0], "path": name}]})
    with pytest.raises(CheckError, match="expected one plain name"):
        policy.local_path()
    assert not list(tmp_path.glob("**/escaped*"))


@pytest.mark.parametrize("revision", ["../../escaped", "", "x" * 16, "0123456789abcdef\n", "0123456789ABCDEF"])
def test_a_revision_that_is_no_hash_is_refused(policy, revision):
    with pytest.raises(CheckError, match="is no hash; it was tampered with"):
        PolicyRef(policy.path, revision, policy.store)


def test_exchanged_weights_with_a_marker_to_match_are_refused(policy, tmp_path):
    folder = tmp_path / "theirs"
    shutil.copytree(WORLD / "policy", folder)
    (folder / "generation_config.json").write_text("{}")
    theirs = commit_policy(policy.store, "tiny/policies/two", folder, {"kind": "test"})
    with pytest.raises(CheckError, match=f"its files are not those of revision {policy.revision}"):
        PolicyRef(theirs.path, policy.revision, policy.store).local_path()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("pytorch_model.bin", b"cos\nsystem\n(S'true'\ntR.", "holds pytorch_model.bin, which can run code"),
        ("tokenizer_config.json", b'{"auto_map": {"AutoTokenizer": "x.Y"}}', "tokenizer_config.json has auto_map"),
    ],
)
def test_a_policy_in_the_store_that_brings_code_is_refused(policy, tmp_path, name, content, reason):
    folder = tmp_path / "theirs"
    shutil.copytree(WORLD / "policy", folder)
    (folder / name).write_bytes(content)
    theirs = commit_policy(policy.store, "tiny/policies/two", folder, {"kind": "test"})
    with pytest.raises(ConfigError, match=reason):
        theirs.local_path()
