"""Which layout a table of preference data has, and which of its columns plays which role."""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sweetspot.errors import ConfigError

Kind = Literal["pairs", "responses", "votes"]
KINDS: tuple[Kind, ...] = ("pairs", "responses", "votes")

ALIASES: Mapping[str, tuple[str, ...]] = {
    "prompt": ("prompt", "instruction", "question", "query", "context_messages", "input", "context", "source"),
    "chosen": ("chosen", "chosen_response", "response_chosen", "preferred"),
    "rejected": ("rejected", "rejected_response", "response_rejected", "dispreferred"),
    "first": ("response_1", "output_1", "response1", "output1", "response_a", "output_a", "answer_1", "answer_a"),
    "second": ("response_2", "output_2", "response2", "output2", "response_b", "output_b", "answer_2", "answer_b"),
    "response": ("response", "completion", "output", "answer", "generation"),
    "responses": ("all_generated_responses", "responses", "completions", "generations", "candidates"),
    "rewards": ("all_rm_scores", "rewards", "scores", "reward_scores", "ratings"),
    "unit": ("pair_id", "item", "item_id", "unit", "comparison_id", "example_id"),
    "annotator": (
        *("annotator", "annotator_id", "rater", "rater_id", "worker", "worker_id", "judge", "judge_id"),
        *("evaluator", "evaluator_id", "labeler", "labeller", "user"),
    ),
    "vote": ("preference", "vote", "label", "winner", "choice", "decision", "verdict", "judgement", "judgment"),
    "outcome": ("outcome", "winner", "preference", "result", "vote", "label", "score"),
    "item_a": ("item_a", "first", "model_a", "left", "system_a", "arg1", "model_1", "player_1", "a"),
    "item_b": ("item_b", "second", "model_b", "right", "system_b", "arg2", "model_2", "player_2", "b"),
    "wins_a": ("wins_a", "wins_1", "a_wins", "wins_first", "votes_a"),
    "wins_b": ("wins_b", "wins_2", "b_wins", "wins_second", "votes_b"),
    "ties": ("ties", "draws"),
    "gold": ("gold", "gold_label", "truth"),
    "order": ("order", "shown_first", "swap", "swapped", "position"),
    "group": ("question_id", "prompt_id", "prompt_key", "topic", "instruction_id"),
    "score": ("score", "rating", "reward"),
    "score_chosen": ("score_chosen", "chosen_score", "chosen_rating", "chosen_reward", "reward_chosen"),
    "score_rejected": ("score_rejected", "rejected_score", "rejected_rating", "rejected_reward", "reward_rejected"),
    "ref_chosen_logps": ("ref_chosen_logps", "reference_chosen_logps"),
    "ref_rejected_logps": ("ref_rejected_logps", "reference_rejected_logps"),
    "policy_chosen_logps": ("policy_chosen_logps",),
    "policy_rejected_logps": ("policy_rejected_logps",),
    "chosen_model": ("chosen_model", "model_chosen", "chosen_policy"),
    "rejected_model": ("rejected_model", "model_rejected", "rejected_policy"),
    "model": ("model", "system", "generator", "model_name"),
    "provenance": ("source", "dataset", "subset", "domain", "category"),
    "split": ("split",),
    "row_id": ("pair_id", "id", "row_id", "uid", "uuid", "idx"),
}
"""Names a role's column may have, the best first; compared without case."""

WEAK = frozenset({"source", "input", "context", "a", "b", "idx", "score"})
"""Names so common that they count only where no better one is there."""

_NUMBERS = ("score_chosen", "score_rejected", "ref_chosen_logps", "ref_rejected_logps")
_PAIR_EXTRAS = dict.fromkeys((*_NUMBERS, "policy_chosen_logps", "policy_rejected_logps"), "number") | dict.fromkeys(
    ("annotator", "chosen_model", "rejected_model", "provenance", "split", "row_id"), "name"
)
_VOTE_EXTRAS = dict.fromkeys(("item_a", "item_b", "order", "gold", "group"), "name")
_NO_SCORE = re.compile(r"(?:^|_)(?:chars|words|tokens|len|length|idx|index|id|seed|rank)$", re.IGNORECASE)
_NUMBERED_RATER = re.compile(r"(annotator|rater|judge|worker|label|vote)[_ ]?\d+$", re.IGNORECASE)


@dataclass(frozen=True)
class Layout:
    """One way to lay out preference data.

    Attributes:
        name: short name, as `--format` takes it.
        kind: what a row is.
        says: one phrase for people.
        needs: role to the shape its column must have: `text`, `messages`, `dialogue` (messages from the first turn
            on), `reply` (messages of the answer alone), `hh` (a dialogue in Anthropic's notation), `texts`,
            `numbers`, `number`, `name` (text, whole number or truth value), `any`.
        may: the same for roles that are used where they are there.
        min_raters: columns of the wide kind it needs besides: numbered votes, or numbers that are scores.
    """

    name: str
    kind: Kind
    says: str
    needs: Mapping[str, str]
    may: Mapping[str, str] = field(default_factory=dict[str, str])
    min_raters: int = 0


LAYOUTS: tuple[Layout, ...] = (
    Layout(
        "win_counts",
        "votes",
        "one row per two items with the number of wins of each",
        {"item_a": "name", "item_b": "name", "wins_a": "number", "wins_b": "number"},
        {"ties": "number", "group": "name"},
    ),
    Layout(
        "votes_long",
        "votes",
        "one row per vote of an annotator",
        {"unit": "name", "annotator": "name", "vote": "name"},
        {**_VOTE_EXTRAS, "prompt": "any", "first": "any", "second": "any"},
    ),
    Layout(
        "simpo",
        "pairs",
        "pairs with all sampled responses and their scores (SimPO, Snorkel)",
        {"chosen": "any", "rejected": "any", "responses": "texts", "rewards": "numbers"},
        {**_PAIR_EXTRAS, "prompt": "any"},
    ),
    Layout(
        "ultrafeedback_binarized",
        "pairs",
        "two whole dialogues and their scores (UltraFeedback-binarized, RLHFlow)",
        {"chosen": "dialogue", "rejected": "dialogue", "score_chosen": "number", "score_rejected": "number"},
        {**_PAIR_EXTRAS, "prompt": "any"},
    ),
    Layout(
        "dialogues",
        "pairs",
        "two whole dialogues (TRL conversational, implicit prompt; Tulu 3)",
        {"chosen": "dialogue", "rejected": "dialogue"},
        {**_PAIR_EXTRAS, "prompt": "any"},
    ),
    Layout(
        "trl_conversational",
        "pairs",
        "prompt, chosen and rejected as messages (TRL conversational)",
        {"prompt": "any", "chosen": "reply", "rejected": "reply"},
        _PAIR_EXTRAS,
    ),
    Layout(
        "trl_standard",
        "pairs",
        "prompt, chosen and rejected as texts (TRL standard)",
        {"prompt": "any", "chosen": "text", "rejected": "text"},
        _PAIR_EXTRAS,
    ),
    Layout(
        "hh_dialogues",
        "pairs",
        "two whole dialogues in Anthropic's notation (HH)",
        {"chosen": "hh", "rejected": "hh"},
        _PAIR_EXTRAS,
    ),
    Layout(
        "trl_implicit",
        "pairs",
        "chosen and rejected texts that begin with the prompt (TRL standard, implicit prompt)",
        {"chosen": "text", "rejected": "text"},
        _PAIR_EXTRAS,
    ),
    Layout(
        "votes_wide",
        "votes",
        "one row per pair with one column per annotator",
        {},
        {**_VOTE_EXTRAS, "unit": "name", "prompt": "any", "first": "any", "second": "any"},
        min_raters=2,
    ),
    Layout(
        "two_responses",
        "pairs",
        "prompt, two responses and which one won",
        {"prompt": "any", "first": "text", "second": "text", "vote": "name"},
        _PAIR_EXTRAS,
    ),
    Layout(
        "two_responses",
        "pairs",
        "prompt, two responses and which one is right",
        {"prompt": "any", "first": "text", "second": "text", "gold": "name"},
        _PAIR_EXTRAS,
    ),
    Layout(
        "response_lists",
        "responses",
        "one row per prompt with lists of responses and scores",
        {"prompt": "any", "responses": "texts", "rewards": "numbers"},
        {"row_id": "name"},
    ),
    Layout(
        "responses_long",
        "responses",
        "one row per score of a rater",
        {"prompt": "any", "response": "text", "annotator": "name", "score": "number"},
        {"model": "name", "row_id": "name"},
    ),
    Layout(
        "tournament",
        "votes",
        "one row per judged comparison of two items",
        {"item_a": "name", "item_b": "name", "outcome": "name"},
        {"group": "name", "annotator": "name", "gold": "name"},
    ),
    Layout(
        "responses_wide",
        "responses",
        "one row per response with one column per rater",
        {"prompt": "any", "response": "text"},
        {"model": "name", "row_id": "name"},
        min_raters=1,
    ),
)


@dataclass(frozen=True)
class Reading:
    """How to read a source.

    Attributes:
        layout: the layout it has.
        columns: role to the name of its column.
        raters: columns of annotators or raters in wide layouts.
        notes: what a user should know of the choice, one sentence each.
    """

    layout: Layout
    columns: Mapping[str, str]
    raters: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def detect(
    sample: Mapping[str, Sequence[Any]],
    *,
    format: str = "",
    columns: Mapping[str, str] | None = None,
    source: str = "source",
) -> Reading:
    """Find the first layout whose columns are all there.

    Args:
        sample: column name to the values of the first rows.
        format: a kind or the name of a layout; empty tries all.
        columns: role to column name, where the user says it.
        source: name of the source, for messages.

    Raises:
        ConfigError: unknown format or role, a named column that is not there, a role that two columns could play, or
            columns that fit no layout (with the nearest match).
    """
    said = dict(columns or {})
    _check_said(said, sample, source)
    wanted = [layout for layout in LAYOUTS if format in ("", layout.kind, layout.name)]
    if not wanted:
        names = ", ".join(dict.fromkeys((*KINDS, *(layout.name for layout in LAYOUTS))))
        raise ConfigError(f"--format {format}: expected one of {names}")
    shapes = {name: _shapes(values) for name, values in sample.items()}
    missing: dict[str, list[str]] = {}
    for layout in wanted:
        found, lacking = _resolve(layout, shapes, said, source)
        raters = _raters(layout, shapes, found, said)
        if not lacking and len(raters) >= layout.min_raters:
            return Reading(layout, found, raters, _notes(found, shapes))
        if not lacking:
            lacking = ["one column per rater"]
        missing.setdefault(layout.name, lacking)
    raise ConfigError(_no_fit(source, list(sample), missing, wanted))


def _check_said(said: Mapping[str, str], sample: Mapping[str, Sequence[Any]], source: str) -> None:
    for role, name in said.items():
        if role not in ALIASES:
            raise ConfigError(f"--column {role}={name}: no such role{_nearest(role, ALIASES)}")
        if name not in sample:
            raise ConfigError(f"--column {role}={name}: {source} has no column {name!r}{_nearest(name, sample)}")


def _nearest(name: str, there: Mapping[str, Any] | Sequence[str]) -> str:
    near = difflib.get_close_matches(name, list(there), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; expected one of {', '.join(list(there)[:40])}"


def _resolve(
    layout: Layout, shapes: Mapping[str, frozenset[str]], said: Mapping[str, str], source: str
) -> tuple[dict[str, str], list[str]]:
    """Column of each role, and the needed roles without one."""
    found, lacking = dict[str, str](), list[str]()
    for role, shape in {**layout.may, **layout.needs}.items():
        fits = [
            name
            for name in _candidates(role, shapes, said)
            if shape == "any" or shape in shapes[name] or role in said
            # A column plays one role; only the id may also be something else.
            if name not in found.values() or role in ("row_id", "unit")
        ]
        if fits:
            found[role] = fits[0]
        elif role in layout.needs:
            lacking.append(role)
    needed = [role for role in layout.needs if role in found]
    if not lacking:
        for role in needed:
            _refuse_ambiguous(role, layout.needs[role], shapes, said, source)
    return found, lacking


def _candidates(role: str, shapes: Mapping[str, frozenset[str]], said: Mapping[str, str]) -> list[str]:
    """Columns that could play a role, the best name first."""
    if role in said:
        return [said[role]]
    by_name = {name.lower(): name for name in shapes if name not in said.values()}
    there = [by_name[alias] for alias in ALIASES[role] if alias in by_name]
    return [name for name in there if name.lower() not in WEAK] + [name for name in there if name.lower() in WEAK]


def _refuse_ambiguous(
    role: str, shape: str, shapes: Mapping[str, frozenset[str]], said: Mapping[str, str], source: str
) -> None:
    strong = [
        name
        for name in _candidates(role, shapes, said)
        if name.lower() not in WEAK and (shape == "any" or shape in shapes[name])
    ]
    if len(strong) > 1 and strong[0].lower() != ALIASES[role][0]:
        listed = " and ".join(repr(name) for name in strong)
        raise ConfigError(
            f"{source}: {listed} could each be the column of {role}; say which with --column {role}={strong[0]}"
        )


def _raters(
    layout: Layout, shapes: Mapping[str, frozenset[str]], found: Mapping[str, str], said: Mapping[str, str]
) -> tuple[str, ...]:
    """Columns of the wide kind: numbered annotators, or whatever holds numbers and has no other role."""
    if not layout.min_raters:
        return ()
    taken = {*found.values(), *said.values()}
    if layout.kind == "votes":
        return tuple(name for name in shapes if _NUMBERED_RATER.fullmatch(name) and name not in taken)
    ids = {alias for role in ("row_id", "unit", "group") for alias in ALIASES[role]}
    numeric = (name for name, shape in shapes.items() if {"number"} <= shape and "truth" not in shape)
    return tuple(name for name in numeric if name not in taken | ids and not _NO_SCORE.search(name))


def _notes(found: Mapping[str, str], shapes: Mapping[str, frozenset[str]]) -> tuple[str, ...]:
    renamed = [f"{name!r} as {role}" for role, name in found.items() if name.lower() != ALIASES[role][0]]
    return (f"read {', '.join(renamed)}",) if renamed else ()


def _no_fit(source: str, names: Sequence[str], missing: Mapping[str, list[str]], wanted: Sequence[Layout]) -> str:
    """The message for columns that fit nothing: what the nearest layout lacks, and what looks like it."""
    size = {layout.name: len(layout.needs) + layout.min_raters for layout in wanted}
    best = min(missing, key=lambda name: (len(missing[name]) / size[name], -size[name]))
    hints = []
    for role in missing[best]:
        known = ALIASES.get(role, ())
        near = next((m for a in known for m in difflib.get_close_matches(a, names, n=1, cutoff=0.7)), None)
        hint = f"did you mean {near!r}? Say --column {role}={near}" if near else f"expected {' or '.join(known[:4])}"
        hints.append(f"no usable column for {role} ({hint})" if known else f"no {role}")
    return (
        f"{source}: columns {', '.join(names[:40])} fit no layout. Nearest is {best}: {'; '.join(hints)}. "
        f"Kinds: {', '.join(KINDS)} (--format)"
    )


def _shapes(values: Sequence[Any]) -> frozenset[str]:
    """Every shape that nine in ten of the non-null values have."""
    there = [value for value in values if value is not None and value == value][:200]
    if not there:
        return frozenset()
    return frozenset(name for name, test in _TESTS.items() if sum(map(test, there)) >= 0.9 * len(there))


def _is_messages(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(m, dict) and "content" in m for m in value)


def _is_number(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return False
        return True
    return isinstance(value, int | float)


_TESTS: Mapping[str, Callable[[Any], bool]] = {
    "text": lambda value: isinstance(value, str),
    "messages": _is_messages,
    "dialogue": lambda value: _is_messages(value) and len(value) > 1 and value[0].get("role") != "assistant",
    "reply": lambda value: _is_messages(value) and value[0].get("role") == "assistant",
    "hh": lambda value: isinstance(value, str) and value.lstrip().startswith("Human:") and "Assistant:" in value,
    "texts": lambda value: isinstance(value, list) and bool(value) and all(isinstance(one, str) for one in value),
    "numbers": lambda value: isinstance(value, list) and bool(value) and all(_is_number(one) for one in value),
    "number": _is_number,
    "truth": lambda value: isinstance(value, bool),
    "name": lambda value: isinstance(value, str | int | float | bool),
}
