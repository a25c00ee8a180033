"""Identities, hashes and derived seeds. Everything is joined by these ids, never by position."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any


def canonical_json(value: Any) -> bytes:
    """Serialise to the one JSON text that hashes are taken of: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def fingerprint(value: Any) -> str:
    """First 16 hex digits of the sha256 of a JSON-able value."""
    return hashlib.sha256(canonical_json(value)).hexdigest()[:16]


def prompt_id(messages: Sequence[dict[str, str]]) -> str:
    """Identity of a normalised prompt: equal messages have equal ids in every run and dataset."""
    return hashlib.sha256(canonical_json([[m["role"], m["content"]] for m in messages])).hexdigest()[:32]


def response_id(prompt: str, model: str, sample_index: int) -> str:
    """Identity of the `sample_index`-th response of `model` to the prompt with id `prompt`."""
    return hashlib.sha256(canonical_json([prompt, model, sample_index])).hexdigest()[:32]


def pair_id(prompt: str, chosen: str, rejected: str) -> str:
    """Identity of an ordered pair of responses."""
    return hashlib.sha256(canonical_json([prompt, chosen, rejected])).hexdigest()[:32]


def derived_seed(seed: int, prompt: str) -> int:
    """A prompt's own seed in [0, 2**62): independent of the order and number of prompts.

    Engines give the k-th sample of a request seed + k, so neighbouring seeds would repeat samples
    across prompts; hashing keeps them apart.
    """
    return int.from_bytes(hashlib.sha256(canonical_json([seed, prompt])).digest()[:8], "big") >> 2


def uniform(prompt: str, salt: str) -> float:
    """A number in [0, 1) fixed by the id and the salt: splits and subsamples that never move."""
    return int.from_bytes(hashlib.sha256(canonical_json([salt, prompt])).digest()[:8], "big") / 2**64
