"""`audit`: someone's own pairs, scored responses or votes, checked without a cluster or a server.

A model is only needed for what a model is asked: `policy` for likelihoods, `embedder` for overlap in meaning.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from rich.console import Console
from rich.table import Table as Grid

from flows._built import code_commit, lock_sha256
from flows._failures import keeping_texts, step
from flows._telling import OPTIONS, told
from sweetspot.auditing.findings import AuditResult, Cleaning, Figure, Finding
from sweetspot.auditing.formats import detect
from sweetspot.auditing.report import report_markdown, verdict
from sweetspot.auditing.settings import Audit
from tasks._parquet import limits_of
from tasks.audit_clean import clean_and_deliver
from tasks.audit_inspect import cover, inspect_source, stress_table, with_texts
from tasks.audit_likelihood import check_models, score_likelihoods
from tasks.audit_meaning import compare_meanings
from tasks.audit_measure import Measured, measure, texts_of_file
from tasks.audit_report import write_reports
from tasks.audit_source import AuditSource, open_source

T = TypeVar("T")
COLOURS = {"bad": "red", "look": "yellow", "ok": "green", "not_checked": "dim"}
LINE_CHARS = 140
console = Console(highlight=False)
if not console.is_terminal:
    console.width = LINE_CHARS  # a log file has no width; 80 would fold every line


@dataclass
class _Watch:
    """Runs steps one by one, as `wrap` says, and keeps how long each took."""

    wrap: Callable[[str, Callable[[], Any]], Any] = lambda name, work: work()
    seconds: dict[str, float] = field(default_factory=dict[str, float])

    def __call__(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        started = time.monotonic()
        # Bound here, not passed on: Prefect walks through the arguments of a task, and these hold millions of values.
        result = self.wrap(function.__name__, lambda: function(*args, **kwargs))
        self.seconds[function.__name__] = round(time.monotonic() - started, 2)
        return result


@flow(name="audit", flow_run_name="audit-{config.dataset}", validate_parameters=True, **OPTIONS)
@told
def audit(config: Audit = Audit()) -> dict[str, Any]:
    """Check preference data, and if asked publish a cleaned, selected version of it."""
    watch = _Watch(_as_task)
    result, places = run_audit(config, watch)
    create_markdown_artifact(report_markdown(result), key=f"audit-{config.dataset}".replace("_", "-").replace(".", "-"))
    get_run_logger().info("%s", verdict(result))
    version = result.cleaning.version_uri if result.cleaning is not None else ""
    return {"verdict": verdict(result), "files": places, "cleaned": version, "rows": result.rows}


def _as_task(name: str, work: Callable[[], Any]) -> Any:
    with step(name):
        return task(name=name, task_run_name=name, cache_policy=NO_CACHE, persist_result=False)(keeping_texts(work))()


def audit_file(path: str, *, out: str = "out/audit", format: str = "", **settings: Any) -> AuditResult:
    """Check a file in this process, print what was found, and write `report.html` and `report.json` to `out`.

    Args:
        path: what to read; see `sweetspot.auditing.settings.Audit.source`.
        out: folder or `s3://` address.
        format: kind or layout; empty detects it.
        settings: further fields of `sweetspot.auditing.settings.Audit`.

    Raises:
        ConfigError: an unknown format, or columns that fit none.
        ContractError: a damaged file, or no usable row.
    """
    config = Audit(source=path, out=out, format=format, **settings)
    with console.status("reading and checking"):
        result, places = run_audit(config, _Watch())
    show(result, places)
    return result


def run_audit(config: Audit, step: _Watch) -> tuple[AuditResult, dict[str, str]]:
    """All steps in order: read, score, check, cover, stress, clean, report."""
    with open_source(config.source, limits_of(config)) as source:
        measured, inspected, findings = _check(config, source, step)
        cleaning: Cleaning | None = None
        if config.clean != "none":
            built = {"code_commit": code_commit(), "lock_sha256": lock_sha256()}
            cleaning = step(clean_and_deliver, source, measured, inspected, config, **built)
        findings = step(with_texts, source, measured, findings)
    result = AuditResult(
        source=config.source,
        source_sha256=source.sha256,
        format=measured.reading.layout.name,
        kind=measured.reading.layout.kind,
        rows=measured.rows,
        unreadable=measured.unreadable,
        findings=findings,
        cleaning=cleaning,
        options=_options(config, measured),
        seconds=step.seconds,
    )
    return result, step(write_reports, result, config.out)


def _check(config: Audit, source: AuditSource, step: _Watch) -> tuple[Measured, Any, tuple[Finding, ...]]:
    reading = detect(source.first().rows().values, format=config.format, columns=config.columns, source=source.name)
    check_models(config, reading.layout.kind)
    references = [text for name in config.against for text in texts_of_file(name, limits_of(config))]
    measured = step(
        measure, source, reading, references=references, minhash=config.near_duplicates, workers=config.workers
    )
    if config.policy:
        measured = step(score_likelihoods, source, measured, config)
    inspected = step(inspect_source, source, measured, names=config.against)
    findings = inspected.findings
    target = texts_of_file(config.prompts, limits_of(config), only_prompts=True) if config.prompts else None
    findings += step(cover, source, measured, target=target)
    if config.embedder:
        findings += step(compare_meanings, source, measured, config)
    if config.stress:
        findings += step(stress_table, source, measured)
    return measured, inspected, findings


def _options(config: Audit, measured: Measured) -> dict[str, Figure]:
    """Settings that differ from their defaults, which columns were read as what, and what a user should know of it."""
    changed = config.model_dump(mode="json", exclude_defaults=True, exclude={"source", "out", "columns"})
    roles = ", ".join(f"{role}: {name}" for role, name in measured.reading.columns.items())
    raters = ", ".join(measured.reading.raters)
    return {
        "layout": measured.reading.layout.says,
        "columns": roles or "none",
        **({"raters": raters} if raters else {}),
        **({"notes": "; ".join(measured.notes)} if measured.notes else {}),
        **{name: str(value) for name, value in changed.items()},
    }


def show(result: AuditResult, places: dict[str, str]) -> None:
    """Print the verdict, a line per check, and where the report lies."""
    layout = f"{result.format} ({result.options['layout']})"
    console.print(f"read      {result.rows} rows as {result.kind}: {layout}", soft_wrap=True, markup=False)
    console.print(f"columns   {result.options['columns']}", soft_wrap=True, markup=False)
    if result.unreadable:
        reasons = ", ".join(f"{reason} {count}" for reason, count in result.unreadable.items())
        console.print(f"left out  {sum(result.unreadable.values())}: {reasons}", soft_wrap=True, markup=False)
    grid = Grid(box=None, show_header=False, pad_edge=False)
    for finding in sorted(result.findings, key=lambda one: tuple(COLOURS).index(one.level)):
        colour = COLOURS[finding.level]
        grid.add_row(f"[{colour}]{finding.level.replace('_', ' ')}[/]", finding.check, _plain(finding.says))
    console.print(grid)
    console.print(f"\n{verdict(result)}", markup=False)
    if result.cleaning is not None:
        _show_cleaning(result.cleaning)
    for name, place in places.items():
        console.print(f"{name:<12}{place}", soft_wrap=True, markup=False)


def _show_cleaning(done: Cleaning) -> None:
    left = ", ".join(f"{reason} {count}" for reason, count in done.dropped.items())
    changed = ", ".join(f"{what} {count}" for what, count in done.changed.items())
    console.print(
        f"cleaned   {done.rows_in} in, {done.rows_out} out; dropped {left or 'none'}; {changed}", markup=False
    )
    if done.version_uri:
        console.print(f"version   {done.version_uri}", soft_wrap=True, markup=False)


def _plain(text: str) -> str:
    """Text without Rich markup."""
    return text.replace("[", r"\[")
