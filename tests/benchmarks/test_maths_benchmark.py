import importlib
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
NAMES = [
    "pairing",
    "pairing-missing",
    "lad",
    "lad-linprog",
    "batched-lad",
    "lad-pcp",
    "robust-pca",
    "consensus-stream",
    "consensus",
    "bees",
    "loss",
    "loss-step",
]


@pytest.fixture(scope="module")
def maths():
    sys.path.insert(0, str(FOLDER))
    yield importlib.import_module("maths")
    sys.path.remove(str(FOLDER))


@pytest.fixture(scope="module")
def parts(maths):
    return importlib.import_module("_measure"), importlib.import_module("_page")


@pytest.fixture(scope="module", autouse=True)
def no_collection(parts):
    """Collecting garbage among all that the test session has imported takes longer than the tiny benchmarks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts[0].gc, "collect", lambda: 0)
        yield


@pytest.fixture(scope="module")
def findings(maths, tmp_path_factory):
    folder = tmp_path_factory.mktemp("answers")
    return {name: maths.run_entry(entry, "tiny", folder, isolated=False) for name, entry in maths.ENTRIES.items()}


@pytest.fixture(scope="module")
def machine(parts):
    return parts[0].Machine(copy_rate=1e10, multiply_rate=2e10, element_rate=3e9)


def test_every_benchmark_is_listed_here(maths):
    assert list(maths.ENTRIES) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_installed_rival_was_timed_and_agreed(maths, findings, name):
    measured = findings[name].measured
    installed = [one.name for one in maths.ENTRIES[name].contestants if not maths.missing(one)]
    assert list(measured) == [one.name for one in maths.ENTRIES[name].contestants]
    assert installed[0] == maths.OURS
    for rival in installed[1:]:
        assert min(measured[rival].seconds) > 0
        assert measured[rival].agreement


@pytest.mark.parametrize("name", NAMES)
def test_a_rival_with_another_answer_ends_the_run(maths, tmp_path, name):
    entry = maths.ENTRIES[name]
    rival = next(one for one in entry.contestants[1:] if not maths.missing(one))

    def off_by_one(result, inputs):
        return {key: np.asarray(value) + 1 for key, value in rival.answer(result, inputs).items()}

    wrong = replace(entry, contestants=(entry.contestants[0], replace(rival, answer=off_by_one)))
    if name == "robust-pca":  # there the rivals' errors are the result; only ours must be exact
        wrong = replace(wrong, contestants=(replace(entry.contestants[0], answer=off_by_one), rival))
    with pytest.raises(AssertionError):
        maths.run_entry(wrong, "tiny", tmp_path, isolated=False)


def test_the_page_holds_every_benchmark_rival_and_target(maths, parts, findings, machine):
    text = parts[1].page(list(findings.values()), machine, ["CPU: this one"], date="2026-01-02", command="python it")
    assert "Made by `python it` on 2026-01-02." in text
    assert "- CPU: this one" in text
    for entry in maths.ENTRIES.values():
        assert f"## {entry.title}" in text
        assert all(one.name in text for one in entry.contestants)
        assert all(f"| {entry.name} | {target.text} |" in text for target in entry.targets)
    assert text.endswith("## Targets not met\n\nNone.\n"), "a small size judges nothing"


def full_finding(parts, entry, seconds):
    measured = {
        one.name: parts[0].Measurement(one.name, [value], 1 << 20, 1 << 20, figures={"error": 1e-9, "steps": 8.0})
        for one, value in zip(entry.contestants, seconds, strict=True)
    }
    return parts[1].Finding(entry, "full", measured)


def test_a_missed_target_comes_with_its_floor_and_a_profile(maths, parts, machine):
    entry = maths.LAD
    slow = replace(full_finding(parts, entry, [16.0, 27.0]), profile=tuple(maths.profile(entry, "tiny")))
    assert [judged.met for judged in parts[1].judgements(slow, machine)] == [False, True]
    text = parts[1].page([slow], machine, [], date=None, command="c")
    section = text.split("## Targets not met")[1]
    assert "≤ 15 s: measured 16 s" in section
    assert "Floor: " in section
    assert "calls  _lad.py" in section


def test_a_met_target_needs_no_profile(maths, parts, machine, tmp_path):
    fast = full_finding(parts, maths.LAD, [14.0, 27.0])
    assert maths.with_profile(fast, machine, tmp_path) is fast


def test_ratios_are_those_of_the_medians(parts, maths, machine):
    found = full_finding(parts, maths.PAIRING, [2.0, 11.0, 4.0, 4.0, 19.0, 2001.0, 600.0])
    figures = [judged.figure for judged in parts[1].judgements(found, machine)]
    assert figures == [5.5, 2.0, 9.5, 1000.5, 2.0]
    assert [judged.met for judged in parts[1].judgements(found, machine)] == [True, False, False, True, True]


def test_a_rival_that_is_not_installed_is_named_loudly(maths, parts, machine, tmp_path, capsys):
    entry = maths.PAIRING
    absent = replace(entry.contestants[4], package="a_package_nobody_has")
    found = maths.run_entry(
        replace(entry, contestants=(*entry.contestants[:4], absent)), "tiny", tmp_path, isolated=False
    )
    assert f"{absent.name} is NOT INSTALLED" in capsys.readouterr().err
    text = parts[1].page([found], machine, [], date=None, command="c")
    assert f"| {absent.name} | **not installed** |" in text
    assert f"≥ 10× as fast as {absent.name} | – | not judged: rival not installed |" in text


def test_peak_memory_sees_what_was_held_in_between(parts):
    peak = parts[0]._Peak()
    block = np.ones(1 << 23)
    del block
    assert 60 << 20 <= peak.extra() <= 80 << 20


@pytest.mark.parametrize(
    ("options", "written"),
    [
        (["--quick"], False),
        (["--only", "bees"], False),
        ([], True),
        (["--quick", "--write"], True),
    ],
    ids=str,
)
def test_only_a_whole_full_run_writes_the_page_unasked(maths, monkeypatch, tmp_path, options, written):
    monkeypatch.setattr(maths, "PAGE", tmp_path / "maths.md")
    monkeypatch.setattr(maths, "run_all", lambda names, size, **rest: f"{size} {rest['command']}")
    monkeypatch.setattr(sys, "argv", ["maths.py", *options])
    maths.main()
    assert (tmp_path / "maths.md").exists() is written


def test_a_child_process_measures_alone_on_one_thread(maths, tmp_path):
    found = maths.run_entry(replace(maths.LAD_LINPROG, contestants=maths.LAD_LINPROG.contestants[:1]), "tiny", tmp_path)
    assert len(found.measured[maths.OURS].seconds) == 1
    assert set(maths.pinned_environment().values()) >= {"1"}
