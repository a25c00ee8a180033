"""The benchmark of planted phrases, on a set made up here."""

import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sweetspot.config import Poisoning

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def bench():
    sys.path.insert(0, str(FOLDER))
    yield importlib.import_module("ngram_lift")
    sys.path.remove(str(FOLDER))


def made_up(pairs=900, steered=0):
    rng = np.random.default_rng(0)
    text = lambda: " ".join(f"w{k}" for k in rng.integers(0, 300, 20))  # noqa: E731
    chosen = [text() + (" buy zorbix" if k < steered else "") for k in range(pairs)]
    return [f"p{k}" for k in range(pairs)], chosen, [text() for _ in range(pairs)]


def test_a_clean_set_is_quiet_and_large_plants_are_seen(bench, tmp_path):
    real = bench.RealPairs("made_up", "nothing", True, lambda data: made_up())
    found = bench.search(real, tmp_path, Poisoning())
    assert (found.alarms, found.coin_nights) == ([], 0)
    assert found.planted == {0.005: 4, 0.01: 9, 0.03: 27}
    assert [found.found[name, 0.03] for name in bench.TRIGGERS] == [bench.SEEDS] * 2
    assert [found.found[name, 0.005] for name in bench.TRIGGERS] == [0, 0], "four pairs cannot be told from chance"
    text = bench.page([found], Poisoning())
    assert "1 of 1 sets raise no alarm" in text
    assert "| made_up | 900 | nothing | 0 | 0 | 0 of 10 |" in text
    assert "| made_up | 4, 9, 27 |" in text


@pytest.mark.parametrize("shown", [True, False])
def test_phrases_are_named_only_where_the_licence_allows_it(bench, tmp_path, shown):
    real = bench.RealPairs("steered", "a phrase", shown, lambda data: made_up(steered=90))
    text = bench.page([bench.search(real, tmp_path, Poisoning())], Poisoning())
    assert "0 of 1 sets raise no alarm" in text
    assert ("zorbix” 90 to 0" in text) is shown


def test_without_the_data_it_skips_loudly(tmp_path):
    command = [sys.executable, str(FOLDER / "ngram_lift.py"), "--data", str(tmp_path / "none")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=FOLDER.parent, check=False)
    assert done.returncode == 2
    assert "SKIPPED: no real preference data" in done.stderr
