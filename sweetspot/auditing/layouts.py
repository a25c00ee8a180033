"""The ways people lay out preference data, and the names their columns go by."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

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
    "provenance": ("source", "dataset", "subset", "domain", "category", "topic"),
    "split": ("split",),
    "row_id": ("pair_id", "id", "row_id", "uid", "uuid", "idx"),
}
"""Names a role's column may have, the best first; compared without case."""

WEAK = frozenset({"source", "input", "context", "a", "b", "idx", "score"})
"""Names so common that they count only where no better one is there."""

_NUMBERS: tuple[str, ...] = (
    *("score_chosen", "score_rejected", "ref_chosen_logps", "ref_rejected_logps"),
    *("policy_chosen_logps", "policy_rejected_logps"),
)
_NAMES: tuple[str, ...] = ("annotator", "chosen_model", "rejected_model", "provenance", "split", "row_id")
_PAIR_EXTRAS: dict[str, str] = {}
_PAIR_EXTRAS.update(dict.fromkeys(_NUMBERS, "number"))
_PAIR_EXTRAS.update(dict.fromkeys(_NAMES, "name"))
_VOTE_EXTRAS = dict.fromkeys(("item_a", "item_b", "order", "gold", "group"), "name")


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
    Layout(
        "votes_wide",
        "votes",
        "one row per pair with one column per annotator",
        {},
        {**_VOTE_EXTRAS, "unit": "name", "prompt": "any", "first": "any", "second": "any"},
        min_raters=2,
    ),
)
