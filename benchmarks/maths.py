"""The maths against its rivals: `python benchmarks/maths.py [--quick] [--only NAME ...]`.

Times our functions and what else does the same work on the same input, asserts that the answers are equal, and prints
ratios, memory and targets. Everything runs on one thread, and at full size each contestant in a process of its own. A
whole run at full size writes `docs/results/maths.md`; a quick or partial one writes it only with `--write`.

Some rivals are not in the project's environment: `pip install --no-deps -r benchmarks/requirements.txt`.
"""

import argparse
import cProfile
import json
import pstats
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path

from _loss_entries import LOSS, LOSS_STEP
from _measure import (
    OURS,
    Entry,
    Machine,
    Measurement,
    machine_lines,
    machine_rates,
    measure,
    missing,
    pinned_environment,
)
from _page import Finding, judgements, page, terminal
from _pairs_entries import BEES, PAIRING, PAIRING_MISSING
from _ranking_entries import BATCHED_LAD, LAD, LAD_LINPROG, LAD_PCP, ROBUST_PCA
from _rater_entries import CONSENSUS, CONSENSUS_STREAM

PAGE = Path(__file__).resolve().parent.parent / "docs" / "results" / "maths.md"
ENTRIES = {
    entry.name: entry
    for entry in (
        PAIRING,
        PAIRING_MISSING,
        LAD,
        LAD_LINPROG,
        BATCHED_LAD,
        LAD_PCP,
        ROBUST_PCA,
        CONSENSUS_STREAM,
        CONSENSUS,
        BEES,
        LOSS,
        LOSS_STEP,
    )
}
_RATES, _PROFILE = "machine-rates", "profile"
_PROFILE_LINES = 10


def run_entry(entry: Entry, size: str, folder: Path, *, isolated: bool = True) -> Finding:
    """Measure every contestant that is installed, ours first; the others are reported as not installed.

    At full size each contestant has a process of its own; at smaller ones each entry, to save the imports.
    """
    measured = {one.name: Measurement(one.name) for one in entry.contestants}
    names = [one.name for one in entry.contestants if not missing(one)]
    alone = size == "full" and not entry.together
    for group in [[name] for name in names] if alone else [names]:
        for found in (_isolated if isolated else _in_turn)(entry, group, size, folder):
            measured[found.name] = found
    for absent in set(measured) - set(names):
        print(f"!!! {entry.name}: {absent} is NOT INSTALLED and was not run", file=sys.stderr, flush=True)
    return Finding(entry, size, measured)


def _in_turn(entry: Entry, names: list[str], size: str, folder: Path) -> list[Measurement]:
    """Measure contestants in this process, one after another, or alternating where the entry asks for it."""
    groups = [names] if entry.together else [[name] for name in names]
    return [found for group in groups for found in measure(entry, group, size, folder)]


def _isolated(entry: Entry, names: list[str], size: str, folder: Path) -> list[Measurement]:
    """Measure contestants in a process of their own."""
    return [Measurement(**found) for found in _child([entry.name, size, str(folder), *names], folder)]


def _child(arguments: list[str], folder: Path) -> list[dict]:
    """Run this file as a child with one thread everywhere; what it found."""
    out = folder / "child.json"
    command = [sys.executable, __file__, "--child", str(out), *arguments]
    subprocess.run(command, check=True, env=pinned_environment())
    return json.loads(out.read_text())


def as_child(out: Path, arguments: list[str]) -> None:
    """The other side of `_child`: rates of the machine, a profile, or measurements."""
    if arguments[0] == _RATES:
        found = [asdict(machine_rates())]
    elif arguments[0] == _PROFILE:
        found = [{"lines": profile(ENTRIES[arguments[1]], arguments[2])}]
    else:
        name, size, folder, *names = arguments
        found = [asdict(one) for one in _in_turn(ENTRIES[name], names, size, Path(folder))]
    out.write_text(json.dumps(found))


def profile(entry: Entry, size: str) -> list[str]:
    """One call of ours under cProfile: own seconds, share of the whole and calls of the functions that take longest."""
    ours = next(one for one in entry.contestants if one.name == OURS)
    prepared = ours.prepare(entry.make(**entry.sizes[size]))
    profiler = cProfile.Profile()
    profiler.runcall(ours.call, prepared)
    own = _own_times(profiler)
    total = sum(seconds for seconds, _ in own.values())
    longest = sorted(own.items(), key=lambda item: -item[1][0])[:_PROFILE_LINES]
    return [f"{seconds:8.3f} s {seconds / total:6.1%} {calls:>8} calls  {name}" for name, (seconds, calls) in longest]


def _own_times(profiler: cProfile.Profile) -> dict[str, tuple[float, int]]:
    """Own seconds and calls of every function; a built-in one is counted for each of its callers by itself."""
    own: dict[str, tuple[float, int]] = {}
    for function, (_, calls, seconds, _, callers) in pstats.Stats(profiler).stats.items():  # pyright: ignore[reportAttributeAccessIssue]
        if function[0] == "~" and callers:
            for caller, (_, part_calls, part_seconds, _) in callers.items():
                own[f"{_label(function)} in {_label(caller)}"] = (part_seconds, part_calls)
        else:
            own[_label(function)] = (seconds, calls)
    return own


def _label(function: tuple[str, int, str]) -> str:
    file, line, name = function
    return name.strip("<>") if file == "~" else f"{Path(file).name}:{line} {name}"


def with_profile(finding: Finding, machine: Machine, folder: Path) -> Finding:
    """The finding, with a profile of ours where a target is missed."""
    if all(judged.met is not False for judged in judgements(finding, machine)):
        return finding
    lines = _child([_PROFILE, finding.entry.name, finding.size], folder)[0]["lines"]
    return replace(finding, profile=tuple(lines))


def run_all(names: list[str], size: str, *, date: str | None, command: str) -> str:
    """Run entries, print each as it is done, and return the page."""
    facts, started = machine_lines(), time.monotonic()
    with tempfile.TemporaryDirectory() as kept:
        folder = Path(kept)
        machine = Machine(**_child([_RATES], folder)[0])
        findings = []
        for name in names:
            findings.append(with_profile(run_entry(ENTRIES[name], size, folder), machine, folder))
            print(terminal(findings[-1], machine), end="\n\n", flush=True)
    print(f"{len(names)} benchmarks in {time.monotonic() - started:.0f} s", flush=True)
    return page(findings, machine, facts, date=date, command=command)


def main() -> None:
    """Parse the command line, run, and write the page where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, under 90 s; targets are not judged")
    parser.add_argument("--only", nargs="+", choices=list(ENTRIES), metavar="NAME", help=", ".join(ENTRIES))
    parser.add_argument("--date", help="written on the page as it is")
    parser.add_argument("--write", action="store_true", help="write the page even for a quick or partial run")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        as_child(Path(arguments.child[0]), arguments.child[1:])
        return
    names = arguments.only or list(ENTRIES)
    command = "python benchmarks/maths.py" + (" --quick" if arguments.quick else "")
    command += f" --only {' '.join(arguments.only)}" if arguments.only else ""
    text = run_all(names, "quick" if arguments.quick else "full", date=arguments.date, command=command)
    if arguments.write or not (arguments.quick or arguments.only):
        PAGE.write_text(text)
        print(f"wrote {PAGE}", flush=True)


if __name__ == "__main__":
    main()
