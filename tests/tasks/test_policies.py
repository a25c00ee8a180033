"""A policy in the store is read by somebody else's marker: what it names must not reach beyond its cache."""

import json
import shutil
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sweetspot import ids
from sweetspot.engines.revision import model_revision
from sweetspot.errors import CheckError, ConfigError
from tasks._policies import PolicyRef, commit_policy, find_policy, promote, start_policy
from tasks._store import Store

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
    as_ours = PolicyRef(theirs.path, policy.revision, policy.store)
    with pytest.raises(CheckError, match=f"not those of revision {policy.revision}, they are of {theirs.revision}"):
        as_ours.local_path()
    path = tmp_path / "store" / theirs.path
    (path / theirs.revision).rename(path / policy.revision)
    rewrite(theirs, lambda marker: {**marker, "revision": policy.revision})
    with pytest.raises(CheckError, match=f"not those of revision {policy.revision}, they are of {theirs.revision}"):
        as_ours.local_path()


def test_a_policy_in_the_store_that_brings_code_is_refused(policy, tmp_path):
    folder = tmp_path / "theirs"
    shutil.copytree(WORLD / "policy", folder)
    (folder / "tokenizer_config.json").write_bytes(b'{"auto_map": {"AutoTokenizer": "x.Y"}}')
    theirs = commit_policy(policy.store, "tiny/policies/two", folder, {"kind": "test"})
    with pytest.raises(ConfigError, match=r"tokenizer_config\.json has auto_map"):
        theirs.local_path()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "modeling.py", "weights", "model.safetensors.pkl"])
def test_other_formats_are_neither_written_nor_fetched(policy, tmp_path, name):
    folder = tmp_path / "theirs"
    shutil.copytree(WORLD / "policy", folder)
    (folder / name).write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(CheckError, match=f"lists {name}; expected .safetensors, "):
        commit_policy(policy.store, "tiny/policies/two", folder, {"kind": "test"})
    rewrite(policy, lambda marker: {**marker, "files": [*marker["files"], {**marker["files"][0], "path": name}]})
    with pytest.raises(CheckError, match=f"lists {name}; expected .safetensors, "):
        policy.local_path()
    assert not (tmp_path / "cache" / "policies" / policy.revision / name).exists()


def test_a_file_that_changed_at_rest_is_refused(policy, tmp_path):
    victim = tmp_path / "store" / policy.path / policy.revision / "model.safetensors"
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(bytes(data))
    with pytest.raises(CheckError, match="its hash is not the committed one"):
        policy.local_path()


def test_fetched_files_lie_in_a_folder_of_ours_alone(policy):
    assert stat.S_IMODE(policy.local_path().stat().st_mode) == 0o700


def test_a_training_done_twice_gives_the_policy_whose_record_was_first(policy, tmp_path):
    folder = tmp_path / "theirs"
    shutil.copytree(WORLD / "policy", folder)
    (folder / "generation_config.json").write_text("{}")
    assert commit_policy(policy.store, policy.path, folder, {"kind": "test"}) == policy
    assert find_policy(policy.store, policy.path) == policy
    assert policy.local_path().is_dir()


def test_a_start_policy_whose_files_change_is_another_policy(tmp_path):
    folder = tmp_path / "start"
    shutil.copytree(WORLD / "policy", folder)
    start = start_policy(str(folder))
    assert start.local_path() == folder
    (folder / "generation_config.json").write_text("{}")
    with pytest.raises(CheckError, match=f"not those of revision {start.revision}, they are of [0-9a-f]{{16}}"):
        start.local_path()


def pointer(policy: PolicyRef) -> dict:
    return Store(policy.store).record("tiny/policies/promoted.json")


def other(policy: PolicyRef, number: int) -> PolicyRef:
    return PolicyRef(f"tiny/policies/{number}", f"{number:016x}", policy.store)


def test_promotion_moves_forward_by_date_and_says_what_it_replaced(policy):
    late, later = other(policy, 1), other(policy, 2)
    assert promote(late, "tiny", version="2026-02-02-abc", logical_date="2026-02-02") == ""
    assert pointer(policy) == {
        "policy": late.to_json(), "trained_on": "2026-02-02-abc", "logical_date": "2026-02-02", "replaced": None,
    }  # fmt: skip
    reason = promote(policy, "tiny", version="2026-02-01-abc", logical_date="2026-02-01")
    assert reason == f"The policy {late.revision}, trained on the later version 2026-02-02-abc, stays promoted."
    assert pointer(policy)["policy"] == late.to_json()
    assert promote(later, "tiny", version="2026-02-02.10-0123abcd", logical_date="2026-02-02") == ""
    assert pointer(policy)["replaced"] == {"policy": late.to_json(), "trained_on": "2026-02-02-abc"}
    assert promote(policy, "tiny", version="2026-02-02.9-0123abcd", logical_date="2026-02-02").endswith("promoted.")


def test_promoting_again_changes_nothing(policy):
    for number in (1, 2, 2):
        promote(other(policy, number), "tiny", version=f"2026-02-0{number}-a", logical_date=f"2026-02-0{number}")
    assert pointer(policy)["replaced"]["policy"] == other(policy, 1).to_json()


def test_of_many_promotions_at_once_the_latest_date_stays(policy):
    def run(number: int) -> str:
        date = f"2026-02-{number:02d}"
        return promote(other(policy, number), "tiny", version=f"{date}-a", logical_date=date)

    with ThreadPoolExecutor(8) as pool:
        reasons = list(pool.map(run, [3, 9, 1, 17, 5, 12, 2, 16]))
    assert pointer(policy)["trained_on"] == "2026-02-17-a"
    assert reasons[3] == ""
