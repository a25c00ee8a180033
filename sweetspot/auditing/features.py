"""Texts of one block to compact columns, and columns of many blocks to one table."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sweetspot.auditing.conversations import Messages, flat
from sweetspot.auditing.reading import PairTexts, ResponseTexts
from sweetspot.auditing.tables import FLAWS, STYLES, Labels, Pairs, Scores, Sketches
from sweetspot.validation import _minhash
from sweetspot.validation._text import digest, normal_form
from sweetspot.validation.degenerate import flags

SIMILAR = 0.8
SHINGLE_WORDS = 5
PERMUTATIONS = 126
"""21 bands of 6: a pair at similarity 0.8 is proposed with probability 0.998."""
PROMPT_PERMUTATIONS = 60
"""15 bands of 4: as likely as that, in 128 bytes a prompt instead of 218."""

_STYLE = (
    re.compile(r"^[ \t]*(?:[-*•]|\d{1,3}[.)])[ \t]", re.MULTILINE),
    re.compile(r"^#{1,6}[ \t]", re.MULTILINE),
    re.compile(r"\*\*[^*\n]+\*\*"),
    re.compile(r"```"),
)
_EMOJI = re.compile("[\U0001f300-\U0001faff\u2600-\u27bf]")
assert len(_STYLE) + 1 == len(STYLES)


@dataclass(frozen=True)
class TextFeatures:
    """Columns of some responses: `keys (n, 2)`, `chars (n,)`, `flaws (n,)`, `style (n, len(STYLES))`."""

    keys: NDArray[np.uint64]
    chars: NDArray[np.int32]
    flaws: NDArray[np.uint8]
    style: NDArray[np.uint16]


def keys_of(forms: Sequence[str]) -> NDArray[np.uint64]:
    """128-bit hashes of normal forms, (n, 2)."""
    joined = b"".join(map(digest, forms))
    return np.frombuffer(joined, dtype=np.uint64).reshape(-1, 2).copy()


def text_features(texts: Sequence[str], forms: Sequence[str]) -> TextFeatures:
    """What the checks need of responses; `forms` are their normal forms."""
    found = flags(texts)
    bits = np.zeros(len(texts), dtype=np.uint8)
    for bit, name in enumerate(FLAWS):
        bits |= getattr(found, name).astype(np.uint8) << np.uint8(bit)
    style = np.array([_style(text) for text in texts], dtype=np.uint16).reshape(-1, len(STYLES))
    return TextFeatures(keys_of(forms), _chars(texts), bits, style)


def _style(text: str) -> list[int]:
    counts = [min(len(pattern.findall(text)), 65_535) for pattern in _STYLE]
    return [*counts, 0 if text.isascii() else min(len(_EMOJI.findall(text)), 65_535)]


def _chars(texts: Sequence[str]) -> NDArray[np.int32]:
    return np.array([len(text) for text in texts], dtype=np.int32)


def sketches(forms: Sequence[str], *, permutations: int = PERMUTATIONS) -> Sketches:
    """MinHash of normal forms as band keys and low bytes."""
    row, signature = _minhash.signatures(
        forms, unit="word", size=SHINGLE_WORDS, permutations=permutations, seed=0, normal=True
    )
    return Sketches(row, _minhash.band_keys(signature, SIMILAR).astype(np.uint32), signature.astype(np.uint8))


def asked(prompt: Messages) -> str:
    """A prompt as one text without its system message, which many prompts share word for word."""
    return flat([message for message in prompt if message["role"] != "system"] or prompt)


def prompt_sketches(prompts: Sequence[Messages], keys: NDArray[np.uint64]) -> Sketches:
    """MinHash of what each different prompt asks, at its first row.

    Args:
        prompts: n prompts.
        keys: (n, 2) hashes that tell them apart.
    """
    first = np.sort(np.unique(keys, axis=0, return_index=True)[1])
    found = sketches([normal_form(asked(prompts[row])) for row in first], permutations=PROMPT_PERMUTATIONS)
    return Sketches(first[found.row], found.keys, found.low_bytes)


def joined_responses(one: str, other: str) -> str:
    """Both responses of a pair as one text, the same for either order, without shingles across the seam."""
    # Digits of the private use area: no normal form joins them to a word, five of them fill a shingle.
    first, second = sorted((one, other))
    return f"{first}{_SEAM}{second}"


_SEAM = " " + " ".join(["\ue000"] * (SHINGLE_WORDS - 1)) + " "


def pair_features(texts: PairTexts, *, minhash: bool = True) -> Pairs:
    """Columns of the preferences of one block."""
    prompts, chosen, rejected = (
        [flat(messages) for messages in column] for column in (texts.prompt, texts.chosen, texts.rejected)
    )
    forms = [[normal_form(text) for text in column] for column in (prompts, chosen, rejected)]
    one, other = text_features(chosen, forms[1]), text_features(rejected, forms[2])
    prompt_keys = keys_of(forms[0])
    return Pairs(
        row=np.array(texts.row, dtype=np.int64),
        row_id=np.array(texts.row_id, dtype=object),
        keys=np.stack([prompt_keys, one.keys, other.keys], axis=1),
        chars=np.stack([_chars(prompts), one.chars, other.chars], axis=1),
        flaws=np.stack([one.flaws, other.flaws], axis=1),
        style=np.stack([one.style, other.style], axis=1),
        tie=np.array(texts.tie, dtype=bool),
        numbers={name: np.array(values, dtype=np.float64) for name, values in texts.numbers.items()},
        labels={name: Labels.of(values) for name, values in texts.labels.items()},
        responses=sketches([joined_responses(a, b) for a, b in zip(*forms[1:], strict=True)]) if minhash else None,
        prompts=prompt_sketches(texts.prompt, prompt_keys) if minhash else None,
    )


def merge_pairs(parts: list[Pairs]) -> Pairs:
    """One table of the parts, in their order; empties `parts` as it goes, so nothing is held twice for long."""
    sizes = [len(part) for part in parts]
    starts = np.cumsum([0, *sizes])
    labels = {name: _merge_labels([part.labels[name] for part in parts]) for name in parts[0].labels}
    numbers = {name: np.concatenate([part.numbers[name] for part in parts]) for name in parts[0].numbers}
    columns = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("row", "row_id", "keys", "chars", "flaws", "style", "tie")
    }
    named = {name: [getattr(part, name) for part in parts] for name in ("prompts", "responses")}
    parts.clear()
    # Taken out one by one, so that the parts of one are gone before the other is joined.
    prompts, responses = (_merge_sketches(named.pop(name), starts) for name in ("prompts", "responses"))
    return Pairs(**columns, numbers=numbers, labels=labels, responses=responses, prompts=prompts)


def _merge_labels(parts: list[Labels]) -> Labels:
    number: dict[str, int] = {}
    codes = []
    for part in parts:
        new = np.array([number.setdefault(name, len(number)) for name in part.names] + [-1], dtype=np.int64)
        codes.append(new[part.codes])  # code -1 picks the last entry, which is -1
    return Labels(np.concatenate(codes), tuple(number))


def _merge_sketches(parts: Sequence[Sketches | None], starts: NDArray[np.int64]) -> Sketches | None:
    there = [(part, start) for part, start in zip(parts, starts, strict=False) if part is not None]
    if not there:
        return None
    return Sketches(
        np.concatenate([part.row + start for part, start in there]),
        np.concatenate([part.keys for part, _ in there]),
        np.concatenate([part.low_bytes for part, _ in there]),
    )


@dataclass(frozen=True)
class ResponseFeatures:
    """Columns of the scored responses of one block, before they are joined across blocks."""

    row: list[int]
    row_id: list[str]
    prompt_keys: NDArray[np.uint64]
    text: TextFeatures
    model: list[str | None]
    scores: list[dict[str, float]]


def response_features(texts: ResponseTexts) -> ResponseFeatures:
    """Columns of the scored responses of one block."""
    responses = [flat(messages) for messages in texts.response]
    return ResponseFeatures(
        texts.row,
        texts.row_id,
        keys_of([normal_form(flat(messages)) for messages in texts.prompt]),
        text_features(responses, [normal_form(text) for text in responses]),
        texts.model,
        texts.scores,
    )


def merge_responses(parts: Sequence[ResponseFeatures], *, long: bool) -> tuple[Scores, list[int]]:
    """One table of responses.

    Args:
        parts: blocks in order.
        long: several rows may score one response; rows of equal prompt, text and model are one response then.

    Returns:
        The table, and the rows whose score repeats one of the same rater for the same response.
    """
    keys = np.concatenate([np.stack([part.prompt_keys, part.text.keys], axis=1) for part in parts])
    rows = [row for part in parts for row in part.row]
    model = [name for part in parts for name in part.model]
    scores = [entry for part in parts for entry in part.scores]
    raters = tuple(dict.fromkeys(rater for entry in scores for rater in entry))
    place = {rater: k for k, rater in enumerate(raters)}
    response = _responses_of(keys, model) if long else np.arange(len(rows))
    first = np.unique(response, return_index=True)[1]
    table = np.full((len(first), len(raters)), np.nan)
    when = np.full(table.shape, -1, dtype=np.int64)
    repeated = []
    for entry, one, row in zip(scores, response.tolist(), rows, strict=True):
        for rater, value in entry.items():
            if when[one, place[rater]] >= 0:
                repeated.append(row)
                continue
            table[one, place[rater]], when[one, place[rater]] = value, row
    _, prompt = np.unique(keys[first, 0], axis=0, return_inverse=True)
    text = [part.text for part in parts]
    ids = np.array([name for part in parts for name in part.row_id], dtype=object)
    return Scores(
        row=np.array(rows, dtype=np.int64)[first],
        row_id=ids[first],
        prompt=prompt.reshape(-1).astype(np.int64),
        keys=keys[first],
        chars=np.concatenate([part.chars for part in text])[first],
        flaws=np.concatenate([part.flaws for part in text])[first],
        style=np.concatenate([part.style for part in text])[first],
        raters=raters,
        score=table,
        when=when,
        model=Labels.of([model[index] for index in first]) if any(model) else None,
    ), repeated


def _responses_of(keys: NDArray[np.uint64], model: Sequence[str | None]) -> NDArray[np.int64]:
    """Number of each row's response, in order of first appearance."""
    number: dict[tuple[bytes, str | None], int] = {}
    return np.array(
        [number.setdefault((key.tobytes(), name), len(number)) for key, name in zip(keys, model, strict=True)],
        dtype=np.int64,
    )
