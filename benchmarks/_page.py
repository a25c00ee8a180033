"""The table of the benchmarks in the terminal, and the page `docs/results/maths.md`."""

from collections.abc import Sequence
from dataclasses import dataclass

from _measure import OURS, Entry, Machine, Measurement, Target


@dataclass(frozen=True)
class Finding:
    """An entry as it was run.

    Attributes:
        entry: What was run.
        size: `full`, `quick` or `tiny`.
        measured: By contestant, ours first; one that is not installed has no seconds.
        profile: Lines of our functions by own time; only where a target was missed.
    """

    entry: Entry
    size: str
    measured: dict[str, Measurement]
    profile: tuple[str, ...] = ()


@dataclass(frozen=True)
class Judgement:
    """A target, its figure and whether it is met; None where it was not judged."""

    target: Target
    figure: float | None
    met: bool | None

    @property
    def words(self) -> tuple[str, str]:
        """The figure and the verdict as printed."""
        if self.figure is None:
            return "–", "not judged: rival not installed"
        verdict = {True: "yes", False: "**no**", None: "judged at full size only"}[self.met]
        return self.target.form.format(self.figure), verdict


def judgements(finding: Finding, machine: Machine) -> list[Judgement]:
    """Every target of the entry against what was measured."""
    installed = {name: one for name, one in finding.measured.items() if one.seconds}
    judged = []
    for target in finding.entry.targets:
        try:
            figure = target.figure(installed, machine)
        except KeyError:  # of a rival that is not installed
            judged.append(Judgement(target, None, None))
            continue
        judged.append(Judgement(target, figure, target.met(figure) if finding.size == "full" else None))
    return judged


def duration(seconds: float) -> str:
    """Seconds in a unit that needs no exponent."""
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if seconds * scale >= 1 or unit == "µs":
            return f"{seconds * scale:.3g} {unit}" if seconds * scale < 1000 else f"{seconds * scale:,.0f} {unit}"
    raise AssertionError("unreachable")


def rows(finding: Finding) -> list[list[str]]:
    """A line per contestant: name, median, spread, runs, ratio to ours, memory, agreement."""
    ours = finding.measured[OURS]
    lines = []
    for one in finding.measured.values():
        label = one.name + (f" ({one.note})" if one.note else "")
        if not one.seconds:
            lines.append([label, "**not installed**", "", "", "", "", ""])
            continue
        spread = f"{duration(min(one.seconds))} – {duration(max(one.seconds))}"
        ratio = "" if one.name == OURS else f"{one.median / ours.median:.3g}×"
        memory = "–" if finding.entry.together else f"{one.extra_bytes / 2**20:,.0f} MiB"
        lines.append([label, duration(one.median), spread, str(len(one.seconds)), ratio, memory, _outcome(one)])
    return lines


def _outcome(one: Measurement) -> str:
    figures = "; ".join(f"{name} {value:.3g}" for name, value in one.figures.items())
    return "; ".join(part for part in (one.agreement, figures) if part)


HEADINGS = ("who", "median", "min – max", "runs", "time over ours", "peak memory added", "same result")


def table(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    """A table of Markdown."""
    marks = ["---", *["--:" if heading in HEADINGS[1:6] else "---" for heading in headings[1:]]]
    return ["| " + " | ".join(line) + " |" for line in (headings, marks, *lines)]


def terminal(finding: Finding, machine: Machine) -> str:
    """The entry as text."""
    floor = _floor_line(finding, machine)
    targets = [f"  target {one.target.text}: {' — '.join(one.words)}" for one in judgements(finding, machine)]
    cells = rows(finding)
    widths = [max(len(line[column]) for line in (HEADINGS, *cells)) for column in range(len(HEADINGS))]
    lines = [
        "  " + "  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in (list(HEADINGS), *cells)
    ]
    heading = f"{finding.entry.name}: {finding.entry.title} [{finding.size}]"
    return "\n".join([heading, *lines, *targets, f"  {floor}", *(f"  {line}" for line in finding.profile)])


def page(findings: Sequence[Finding], machine: Machine, facts: Sequence[str], *, date: str | None, command: str) -> str:
    """The page."""
    lines = ["# The maths, timed", "", f"Made by `{command}`" + (f" on {date}." if date else "."), ""]
    lines += [f"- {fact}" for fact in facts]
    lines += [
        f"- Copy bandwidth {machine.copy_rate / 1e9:.1f} GB/s (read plus written, best of several copies of 256 MiB by "
        f"numpy); float64 matrix product {machine.multiply_rate / 1e9:.1f} GFLOP/s; one numpy operation on cached "
        f"arrays {machine.element_rate / 1e9:.1f} G elements/s",
        "",
        "One thread in every library. Every contestant runs in a process of its own unless said otherwise, after a "
        "warm-up on a small input. Its answer is compared with ours, and a difference ends the whole run. Memory is "
        "the process's peak above what it held, input included, just before the first run.",
        "",
    ]
    if any(finding.size != "full" for finding in findings):
        lines += ["**Small sizes: these numbers say nothing about the targets.**", ""]
    lines += ["## Targets", "", *_target_table(findings, machine)]
    for finding in findings:
        lines += ["", f"## {finding.entry.title}", "", finding.entry.about, "", *table(HEADINGS, rows(finding))]
        lines += ["", _floor_line(finding, machine)]
    return "\n".join([*lines, "", *_missed(findings, machine)]).rstrip() + "\n"


def _target_table(findings: Sequence[Finding], machine: Machine) -> list[str]:
    lines = [
        [finding.entry.name, judged.target.text, *judged.words]
        for finding in findings
        for judged in judgements(finding, machine)
    ]
    return table(("benchmark", "target", "measured", "met"), lines)


def _floor_line(finding: Finding, machine: Machine) -> str:
    """What the work moves and computes at least, the time of each part, and how far ours is above the longest."""
    ours = finding.measured[OURS]
    floor = finding.entry.floor(finding.entry.sizes[finding.size])
    parts = floor.parts(machine)
    counted = ", ".join(f"{name} in {duration(seconds)}" for name, seconds in parts.items())
    rate = f", moving {floor.moved_bytes / ours.median / 1e9:.3g} GB/s" if floor.moved_bytes else ""
    times = f"{ours.median / max(parts.values()):,.3g}"
    return f"Floor: {floor.text}: {counted}. Ours takes {times} times the longest of these{rate}."


def _missed(findings: Sequence[Finding], machine: Machine) -> list[str]:
    """For each entry with a missed target: the figure, the floor, and where our time goes."""
    lines = ["## Targets not met", ""]
    for finding in findings:
        missed = [judged for judged in judgements(finding, machine) if judged.met is False]
        if not missed:
            continue
        lines += [f"### {finding.entry.title}", ""]
        lines += [f"- {judged.target.text}: measured {judged.words[0]}" for judged in missed]
        lines += ["", _floor_line(finding, machine), "", "Where our time goes (own time under cProfile, one call):", ""]
        lines += ["```", *finding.profile, "```", ""]
    return lines if len(lines) > 2 else [*lines, "None."]
