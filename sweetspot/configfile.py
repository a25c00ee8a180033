"""A YAML file and `--set a.b=c` to checked settings."""

import difflib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from sweetspot.auditing.settings import Audit
from sweetspot.config import Curate, Nightly, Section, Train
from sweetspot.errors import ConfigError

FLOWS: dict[str, Callable[..., Section]] = {"nightly": Nightly, "curate": Curate, "train": Train, "audit": Audit}
"""The settings of each flow, by the name that a file gives it."""


def load_config(path: Path, overrides: Sequence[str] = ()) -> tuple[str, Section]:
    """Read a configuration.

    Args:
        path: YAML file whose key `flow` names a flow and whose other keys are its settings.
        overrides: `a.b=value`, the value read as YAML; applied in order.

    Returns:
        Name of the flow and its settings.

    Raises:
        ConfigError: no such file, not YAML, an unknown flow or a malformed override.
        pydantic.ValidationError: a setting is unknown or out of bounds.
    """
    values = _read(path)
    flow = values.pop("flow", None)
    if flow not in FLOWS:
        raise ConfigError(f"{path}: `flow: {flow}`, expected one of {', '.join(FLOWS)}")
    for override in overrides:
        _set(values, override, FLOWS[flow])
    return flow, FLOWS[flow](**values)


def audit_settings(columns: Sequence[str], overrides: Sequence[str]) -> dict[str, Any]:
    """Settings of an audit from `ROLE=NAME` and `a.b=value`.

    Raises:
        ConfigError: an entry without `=`, or an unknown setting.
    """
    values: dict[str, Any] = {}
    for override in overrides:
        _set(values, override, Audit)
    for entry in columns:
        role, found, name = entry.partition("=")
        if not found:
            raise ConfigError(f"--column {entry}: expected ROLE=NAME, as in prompt=question")
        values.setdefault("columns", {})[role] = name
    return values


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise ConfigError(f"no file {path}; examples lie in deployments/examples/") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not YAML: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected keys and values, got {type(values).__name__}")
    return values


def _set(values: dict[str, Any], override: str, model: Any) -> None:
    name, found, text = override.partition("=")
    if not found:
        raise ConfigError(f"--set {override}: expected a.b=value")
    *parents, last = name.split(".")
    for parent in parents:
        values = values.setdefault(_known(parent, model, name), {})
        model = _section(model, parent)
    values[_known(last, model, name)] = yaml.safe_load(text)


def _known(key: str, model: Any, name: str) -> str:
    fields = getattr(model, "model_fields", None)
    if fields is not None and key not in fields:
        near = difflib.get_close_matches(key, fields, n=1)
        raise ConfigError(f"--set {name}: no setting {key!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    return key


def _section(model: Any, key: str) -> Any:
    annotation = model.model_fields[key].annotation if hasattr(model, "model_fields") else None
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
