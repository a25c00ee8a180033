"""How pairs of the duplicate benchmark are judged; the rivals themselves are no dependency."""

import importlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMON = " ".join(f"w{k}" for k in range(60))


@pytest.fixture
def rivals(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    found = importlib.import_module("benchmarks._duplicate_rivals")
    # Three copies, one text like them, one unlike; each way lists other pairs.
    ways = {"_ours": {(0, 1), (0, 2), (0, 3)}, "_rensa": {(0, 1), (0, 4)}, "_datasketch": {(0, 1), (1, 2), (2, 3)}}
    for name, pairs in ways.items():
        monkeypatch.setattr(found, name, lambda texts, pairs=pairs: pairs)
    monkeypatch.setattr(found, "_text_dedup", lambda texts, python: (7.0, {(0, 2)}))
    return found


def test_pairs_are_judged_by_their_exact_similarity_and_by_what_they_connect(rivals):
    texts = [COMMON, COMMON, COMMON, f"{COMMON} indeed", "something else altogether with some words"]
    found = {one.name.split()[0]: one for one in rivals.rivals(texts, "python")}
    assert [found[name].right for name in ("sweetspot", "rensa", "datasketch", "text-dedup")] == [1, 0.5, 1, 1]
    # Similar, of all that is listed: (0, 1), (0, 2), (0, 3), (1, 2), (2, 3).
    assert [found[name].together for name in ("sweetspot", "rensa", "datasketch")] == [1.0, 0.2, 1.0]
    assert found["text-dedup"].together == 0.2
    assert found["text-dedup"].seconds == 7.0
    assert [found[name].pairs for name in ("sweetspot", "rensa")] == [3, 2]


def test_without_an_environment_for_it_text_dedup_is_left_out(rivals):
    assert [one.name.split()[0] for one in rivals.rivals([COMMON] * 5)] == ["sweetspot", "rensa", "datasketch"]


def test_a_python_without_text_dedup_is_refused_by_name(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    module = importlib.reload(importlib.import_module("benchmarks._duplicate_rivals"))
    with pytest.raises(SystemExit, match=r"(?s)text-dedup did not run with .*text_dedup"):
        module._text_dedup([COMMON], sys.executable)
