"""Which model this is, and whether its files are safe to load.

A model is a directory, or a hub name with a commit. Hub models are fetched without anything that
could run code: weights in safetensors, JSON and tokenizer files.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from sweetspot.errors import CheckError, ConfigError

HASH_DIGITS = 16
MODEL_FILES = (
    "config.json",
    "generation_config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab*",
    "merges.txt",
    "*.model",
    "chat_template*",
)
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib")
"""File formats that run code when they are read."""
CODE_KEYS = ("auto_map", "custom_pipelines", "trust_remote_code")
"""Keys of a configuration by which loaders find Python code that comes with the model."""

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def model_revision(path: str, revision: str = "") -> str:
    """Identity of a model's weights, configuration and tokenizer.

    Args:
        path: Directory or hub name.
        revision: Commit of a hub model; not read for a directory, whose files say what it is.

    Returns:
        For a directory the first 16 hex digits of the sha256 over names and contents of its model
        files, in order of name; for a hub name its commit.

    Raises:
        ConfigError: no such directory, and not a hub name with a commit.
    """
    if not Path(path).is_dir():
        return _commit(path, revision)
    digest = hashlib.sha256()
    for file in sorted({file for pattern in MODEL_FILES for file in Path(path).glob(pattern) if file.is_file()}):
        with file.open("rb") as content:
            digest.update(f"{file.name}\n{hashlib.file_digest(content, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()[:HASH_DIGITS]


def check_unchanged(path: str, revision: str) -> None:
    """Refuse a model directory that is no longer what it was: weights, configuration, tokenizer or chat template.

    A hub name passes: its commit says what it is.

    Raises:
        CheckError: another revision, with both.
    """
    if Path(path).is_dir() and (found := model_revision(path)) != revision:
        raise CheckError(
            f"{path}: is now revision {found}, this stage began with {revision}; rows of two models are not mixed and "
            "committed chunks are safe. Put the model back, or start a new run with the other one"
        )


def check_safe(path: str) -> None:
    """Refuse a model directory whose loading could run code.

    A hub name passes: nothing of it is here yet. `local_directory` checks it once it is fetched.

    Raises:
        ConfigError: no such directory, no safetensors weights, or a configuration that names code.
    """
    directory = Path(path)
    if not directory.is_dir():
        if _is_hub_name(path):
            return
        raise ConfigError(_unknown(path))
    pickles = sorted(file.name for file in directory.rglob("*") if file.suffix.lower() in PICKLES)
    if pickles:
        raise ConfigError(
            f"{path}: holds {', '.join(pickles[:5])}, which can run code when read; expected .safetensors alone. "
            "Save the model as safetensors, and take the others away."
        )
    if not any(directory.glob("*.safetensors")):
        raise ConfigError(f"{path}: holds no weights; expected .safetensors. Save the model as safetensors.")
    for file in sorted(directory.rglob("*config*.json")):
        if key := _code_key(_read_json(file)):
            raise ConfigError(
                f"{path}: {file.name} has {key}, which makes loaders run Python code that comes with the model; "
                "use a model of an architecture transformers knows itself"
            )


def local_directory(path: str, revision: str = "") -> Path:
    """A checked directory with the model's files; a hub model is fetched at its commit.

    Raises:
        ConfigError: unknown or unsafe model, or a hub model that cannot be fetched.
    """
    directory = Path(path) if Path(path).is_dir() else _fetched(path, _commit(path, revision))
    check_safe(str(directory))
    return directory


def _fetched(name: str, commit: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    patterns = [pattern for pattern in MODEL_FILES if pattern != "tokenizer*"]
    try:
        return Path(snapshot_download(name, revision=commit, allow_patterns=[*patterns, "tokenizer*.json"]))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ConfigError(
            f"{name}: cannot be fetched at commit {commit} ({type(error).__name__}); check name, commit and network, "
            "or give a directory"
        ) from error


def _commit(path: str, revision: str) -> str:
    if not _is_hub_name(path):
        raise ConfigError(_unknown(path))
    if not _COMMIT.fullmatch(revision):
        raise ConfigError(
            f"{_unknown(path)} As a hub name it needs its commit: got revision {revision!r}, expected 40 hex digits. "
            "Pin a commit."
        )
    return revision


def _is_hub_name(path: str) -> bool:
    return _HUB_NAME.fullmatch(path) is not None


def _unknown(path: str) -> str:
    return (
        f"{path}: no such model directory (seen from {Path.cwd()}). Give an existing directory; the demo's models are "
        "made by `python -m sweetspot.world.build`."
    )


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{file}: is not JSON ({type(error).__name__}); copy the model again") from None


def _code_key(config: Any) -> str | None:
    """The first key that names code, at any depth; False and empty values name none."""
    if isinstance(config, dict):
        own = (key for key in CODE_KEYS if config.get(key))
        return next(own, None) or next(filter(None, map(_code_key, config.values())), None)
    return next(filter(None, map(_code_key, config)), None) if isinstance(config, list) else None
