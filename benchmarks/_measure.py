"""What every benchmark shares: entries, contestants and targets, time, peak memory, the machine's own rates."""

import ctypes
import ctypes.util
import gc
import importlib.metadata
import importlib.util
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

Answer = dict[str, Any]
"""Arrays to compare, by name; numbers without dimensions are figures to report."""
Inputs = dict[str, Any]
Size = dict[str, Any]

OURS = "sweetspot"
SIZES = ("full", "quick", "tiny")
PINNED = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "POLARS_MAX_THREADS",
)
PACKAGES = ("numpy", "scipy", "pandas", "polars", "tensorly", "torch", "trl", "transformers")
_COPY_BYTES = 1 << 28
_MULTIPLY_ORDER = 1024
_CACHED, _CACHED_REPEATS = 1 << 13, 2000


@dataclass(frozen=True)
class Contestant:
    """One way to do the work of an entry.

    Attributes:
        name: As printed; ours starts with `sweetspot`.
        call: The timed part, (prepared) -> result.
        answer: (result, inputs) -> arrays to compare with ours; those without dimensions are reported as figures.
        prepare: (inputs) -> the contestant's own format; not timed.
        share: Part of the entry's work that `call` does, by size; the time is divided by it.
        runs: Timed runs at full size.
        package: Distribution it needs beyond the project's environment.
        note: Printed beside the name.
    """

    name: str
    call: Callable[[Any], Any]
    answer: Callable[[Any, Inputs], Answer]
    prepare: Callable[[Inputs], Any] = lambda inputs: inputs
    share: Callable[[Size], float] = lambda size: 1.0
    runs: int = 5
    package: str | None = None
    note: str = ""


@dataclass(frozen=True)
class Measurement:
    """What one contestant took.

    Attributes:
        name: Of the contestant.
        seconds: Each run, scaled to the whole of the entry's work; empty when it is not installed.
        extra_bytes: Peak memory above that held just before the first run.
        input_bytes: Size of the entry's input arrays.
        moved_bytes: Bytes of the entry's floor.
        agreement: What was asserted against our answer.
        figures: Numbers without dimensions in its answer.
        note: As of the contestant.
    """

    name: str
    seconds: list[float] = field(default_factory=list)
    extra_bytes: int = 0
    input_bytes: int = 0
    moved_bytes: float = 0.0
    agreement: str = ""
    figures: dict[str, float] = field(default_factory=dict)
    note: str = ""

    @property
    def median(self) -> float:
        """Median seconds."""
        return statistics.median(self.seconds)


@dataclass(frozen=True)
class Machine:
    """Rates of this machine on one thread, per second.

    Attributes:
        copy_rate: Bytes copied, read plus written, arrays far larger than the caches.
        multiply_rate: float64 operations of a matrix product.
        element_rate: Elements through one numpy operation on two cached float64 arrays.
    """

    copy_rate: float
    multiply_rate: float
    element_rate: float


Measured = Mapping[str, Measurement]


@dataclass(frozen=True)
class Target:
    """A bound on a figure of an entry; `figure` sees every measurement of the entry and the machine."""

    text: str
    figure: Callable[[Measured, Machine], float]
    bound: float
    at_most: bool
    form: str = "{:.3g}"

    def met(self, value: float) -> bool:
        """Whether the value is within the bound."""
        return value <= self.bound if self.at_most else value >= self.bound


@dataclass(frozen=True)
class Floor:
    """The least that the work of an entry moves and computes.

    Attributes:
        text: What is counted.
        moved_bytes: Input once, output once.
        operations: Of dense algebra.
        elements: Elements through vector operations that no numpy code can leave out.
    """

    text: str
    moved_bytes: float
    operations: float = 0.0
    elements: float = 0.0

    def parts(self, machine: Machine) -> dict[str, float]:
        """Seconds of each part at the machine's own rates; parts that are zero are left out."""
        counted = {
            f"{self.moved_bytes / 1e6:,.4g} MB": self.moved_bytes / machine.copy_rate,
            f"{self.operations:.3g} operations": self.operations / machine.multiply_rate,
            f"{self.elements:.3g} elements": self.elements / machine.element_rate,
        }
        return {name: seconds for name, seconds in counted.items() if seconds}


@dataclass(frozen=True)
class Entry:
    """A benchmark: one input, several contestants (ours first), one answer.

    Attributes:
        name, title, about: Key on the command line, heading, and what is compared and what is not timed.
        sizes: Arguments of `make` by size.
        make: (**size) -> inputs, from a fixed seed.
        contestants: Ours first.
        agree: (ours, theirs) -> what was found equal; raises AssertionError where it is not.
        targets: Judged at full size.
        floor: (size) -> Floor.
        together: Runs alternate in one process, so that a slow minute hits all contestants alike.
    """

    name: str
    title: str
    about: str
    sizes: dict[str, Size]
    make: Callable[..., Inputs]
    contestants: tuple[Contestant, ...]
    agree: Callable[[Answer, Answer], str]
    floor: Callable[[Size], Floor]
    targets: tuple[Target, ...] = ()
    together: bool = False


def faster_than(rival: str, bound: float) -> Target:
    """Ours at least `bound` times as fast as a rival."""

    def ratio(measured: Measured, machine: Machine) -> float:
        return measured[rival].median / measured[OURS].median

    return Target(f"≥ {bound:g}× as fast as {rival}", ratio, bound, at_most=False, form="{:.3g}×")


def within(seconds: float) -> Target:
    """Ours in at most so many seconds."""
    return Target(
        f"≤ {seconds:g} s", lambda measured, machine: measured[OURS].median, seconds, at_most=True, form="{:.3g} s"
    )


def memory_within(multiple: float) -> Target:
    """Input plus everything our call adds, over the input."""

    def total(measured: Measured, machine: Machine) -> float:
        ours = measured[OURS]
        return (ours.input_bytes + ours.extra_bytes) / ours.input_bytes

    text = f"input and all memory on top of it ≤ {multiple:g}× the input"
    return Target(text, total, multiple, at_most=True, form="{:.2f}×")


def figure_within(figure: str, bound: float, text: str) -> Target:
    """A figure of our answer is at most the bound."""
    return Target(text, lambda measured, machine: measured[OURS].figures[figure], bound, at_most=True, form="{:.1e}")


def measure(entry: Entry, names: list[str], size: str, folder: Path) -> list[Measurement]:
    """Time contestants of an entry in this process and compare their answers with ours, which is kept in `folder`."""
    chosen = [one for one in entry.contestants if one.name in names]
    warm = entry.make(**entry.sizes["tiny"])
    for one in chosen:
        one.call(one.prepare(warm))
    inputs = entry.make(**entry.sizes[size])
    prepared = [one.prepare(inputs) for one in chosen]
    runs = {"full": max(one.runs for one in chosen), "quick": min(3, *(one.runs for one in chosen)), "tiny": 1}[size]
    results: list[Any] = [None] * len(chosen)
    seconds: list[list[float]] = [[] for _ in chosen]
    peak = _Peak()
    for _ in range(runs):
        for number, one in enumerate(chosen):
            results[number] = None  # the memory of the previous run is given back before the next
            started = time.perf_counter()
            results[number] = one.call(prepared[number])
            seconds[number].append((time.perf_counter() - started) / one.share(entry.sizes[size]))
    extra = peak.extra()
    held = sum(value.nbytes for value in inputs.values() if isinstance(value, np.ndarray))
    found = []
    for one, result, taken in zip(chosen, results, seconds, strict=True):
        agreement, figures = _compare(entry, one, one.answer(result, inputs), folder)
        moved = entry.floor(entry.sizes[size]).moved_bytes
        found.append(Measurement(one.name, taken, extra, held, moved, agreement, figures, one.note))
    return found


def _compare(entry: Entry, one: Contestant, answer: Answer, folder: Path) -> tuple[str, dict[str, float]]:
    """Keep our answer, or hold a rival's against it; also the answer's figures."""
    figures = {name: float(value) for name, value in answer.items() if np.ndim(value) == 0}
    kept = folder / f"{entry.name}.npz"
    if one.name == OURS:
        np.savez(kept, **answer)
        return "", figures
    with np.load(kept) as ours:
        return entry.agree({name: ours[name] for name in ours.files}, answer), figures


def same_integers(ours: Answer, theirs: Answer) -> str:
    """Every array of the rival equals ours, exactly, over the rows it did."""
    rows = 0
    for name, values in theirs.items():
        rows = len(values)
        different = np.flatnonzero(ours[name][:rows] != values)
        assert different.size == 0, f"{name}: {different.size} of {rows} differ, first row {different[0]}"
    return f"identical in all {rows:,} rows compared"


def missing(one: Contestant) -> bool:
    """Whether the package of a contestant is not installed."""
    return one.package is not None and importlib.util.find_spec(one.package) is None


class _Peak:
    """Peak memory of this process above what it holds now.

    The kernel's high-water mark is put back first, where it lets us; otherwise an earlier, higher peak stays in it and
    the result is too large, never too small.
    """

    def __init__(self) -> None:
        gc.collect()
        library = ctypes.util.find_library("c")
        if library and hasattr(ctypes.CDLL(library), "malloc_trim"):
            ctypes.CDLL(library).malloc_trim(0)
        mark = Path("/proc/self/clear_refs")
        if mark.exists():
            mark.write_text("5")
        statm = Path("/proc/self/statm")
        held = int(statm.read_text().split()[1]) * resource.getpagesize() if statm.exists() else _high_water()
        self.base = held

    def extra(self) -> int:
        return max(_high_water() - self.base, 0)


def _high_water() -> int:
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def machine_rates(runs: int = 7) -> Machine:
    """Best of several copies of 256 MiB, float64 products of order 1024, and minima of two cached arrays."""
    source = np.ones(_COPY_BYTES // 8)
    target = np.zeros_like(source)
    copy = min(_seconds(lambda: np.copyto(target, source)) for _ in range(runs))
    factor = np.ones((_MULTIPLY_ORDER, _MULTIPLY_ORDER))
    multiply = min(_seconds(lambda: factor @ factor) for _ in range(runs))
    left, right = np.ones((2, _CACHED))
    out = np.empty(_CACHED)
    element = min(_seconds(lambda: [np.minimum(left, right, out) for _ in range(_CACHED_REPEATS)]) for _ in range(runs))
    return Machine(
        copy_rate=2 * _COPY_BYTES / copy,
        multiply_rate=2 * _MULTIPLY_ORDER**3 / multiply,
        element_rate=_CACHED * _CACHED_REPEATS / element,
    )


def _seconds(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def pinned_environment() -> dict[str, str]:
    """The environment of a benchmark process: one thread in every library."""
    quiet = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "TQDM_DISABLE": "1"}
    return {**os.environ, **dict.fromkeys(PINNED, "1"), **quiet}


def machine_lines() -> list[str]:
    """CPU, memory, system and versions, one fact a line."""
    cpu = Path("/proc/cpuinfo")
    models = [line.split(":", 1)[1].strip() for line in cpu.read_text().splitlines() if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = [f"{name} {importlib.metadata.version(name)}" for name in PACKAGES if importlib.util.find_spec(name)]
    return [
        f"CPU: {models[0] if models else platform.processor()}, {os.cpu_count()} cores; memory {memory:.1f} GiB",
        f"System: {platform.system()} {platform.release()}, Python {platform.python_version()}; {', '.join(versions)}",
        f"Load average before the run: {os.getloadavg()[0]:.2f}",
    ]
