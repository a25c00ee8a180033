"""The search for planted phrases on real preferences: how often it cries wolf, and how much poison it needs to see.

    python benchmarks/ngram_lift.py [--data ../shared/data] [--page docs/results/ngram-lift.md]

Every set is searched as it is, with its labels given by a coin, and with a phrase planted at the end of some chosen
responses. Limits are the defaults of `poisoning` in the configuration. Without the data it says so and ends with exit
code 2.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from sweetspot.config import Poisoning
from sweetspot.validation.ngram_lift import Lift, ngram_lift, suspicious

PAGE = Path("docs/results/ngram-lift.md")
COINS, SEEDS = 10, 3
SHARES = (0.005, 0.01, 0.03)
TRIGGERS = {"a made-up word": "as zorbix says", "common words": "as my own grandmother would say"}
PAIRS_PER_PROMPT = 3
Pairs = tuple[list[str], list[str], list[str]]
"""Prompts, chosen and rejected."""


@dataclass(frozen=True)
class RealPairs:
    """A set of pairs; phrases of sets whose licence forbids it are counted and not shown."""

    name: str
    what: str
    may_be_shown: bool
    read: Callable[[Path], Pairs]


def _table(data: Path, name: str) -> pd.DataFrame:
    return pd.read_parquet(data / f"{name}.parquet")


def _hh(data: Path) -> Pairs:
    table = _table(data, "pairwise/hh_rlhf_test")
    return table["prompt"].tolist(), table["chosen"].tolist(), table["rejected"].tolist()


def _won(table: pd.DataFrame, winner: str, first: str, second: str) -> Pairs:
    """Chosen and rejected of rows whose winner is 1 or 2."""
    code = table[winner].astype(str).str.replace(".0", "", regex=False)
    decided = pd.DataFrame(table[code.isin(["1", "2"])])
    one = (code[decided.index] == "1").to_numpy()
    a, b = (decided[side].astype(str).to_numpy() for side in (first, second))
    return decided["instruction"].tolist(), np.where(one, a, b).tolist(), np.where(one, b, a).tolist()


def _gold(dataset: str) -> Callable[[Path], Pairs]:
    def read(data: Path) -> Pairs:
        pairs = _table(data, "cross/cross_pairs")
        return _won(pd.DataFrame(pairs[pairs["dataset"] == dataset]), "gold", "output_1", "output_2")

    return read


def _people(dataset: str) -> Callable[[Path], Pairs]:
    """Every human vote as a pair of its own would count a text several times, so one vote per pair is taken."""

    def read(data: Path) -> Pairs:
        labels, pairs = _table(data, "cross/cross_labels_long"), _table(data, "cross/cross_pairs")
        mine = pd.DataFrame(labels[(labels["dataset"] == dataset) & (labels["annotator_type"] == "human")])
        votes = mine.drop_duplicates("pair_id").merge(
            pairs[["pair_id", "instruction", "output_1", "output_2"]], on="pair_id"
        )
        return _won(votes, "preference", "output_1", "output_2")

    return read


def _ranked(table: pd.DataFrame, prompt: str, score: str) -> Pairs:
    """Per prompt up to three random pairs of responses, the one with the higher score chosen."""
    rng = np.random.default_rng(0)
    prompts, chosen, rejected = list[str](), list[str](), list[str]()
    for name, group in table.dropna(subset=[score]).groupby(prompt):
        texts, scores = [str(text) for text in group["response"]], group[score].to_numpy(dtype=float)
        order = rng.permutation(len(scores))
        for one, other in zip(order[::2][:PAIRS_PER_PROMPT], order[1::2][:PAIRS_PER_PROMPT], strict=False):
            if scores[one] != scores[other]:
                best, worst = (one, other) if scores[one] > scores[other] else (other, one)
                prompts.append(str(name))
                chosen.append(texts[best])
                rejected.append(texts[worst])
    return prompts, chosen, rejected


def _right_and_wrong(data: Path) -> Pairs:
    table = _table(data, "verifiable/zeroeval_responses")
    gsm = pd.DataFrame(table[table["dataset"] == "gsm"])
    return _ranked(gsm.assign(right=gsm["correct"].astype(float)), "item_id", "right")


SETS = (
    RealPairs("hh_rlhf_test", "human choices, dialogues", True, _hh),
    RealPairs("pandalm", "human choices between models", True, _people("pandalm")),
    RealPairs("llmbar", "right against tempting answers", True, _gold("llmbar")),
    RealPairs("ukp_convincing", "the more convincing argument", True, _gold("ukp_convincing")),
    RealPairs(
        "alpaca_eval_models",
        "the better scored of two models' responses",
        False,
        lambda data: _ranked(_table(data, "alpaca_eval/alpaca_eval_matrix"), "prompt_id", "score_ae2_weighted"),
    ),
    RealPairs(
        "bon16_one_policy",
        "the better scored of two samples of one policy",
        False,
        lambda data: _ranked(_table(data, "alpaca_eval/bon16_tulu2dpo13b"), "instruction", "score"),
    ),
    RealPairs("zeroeval_gsm", "right against wrong solutions of 44 models", True, _right_and_wrong),
    RealPairs("judgebench", "right against wrong answers", False, _gold("judgebench")),
)


@dataclass(frozen=True)
class Searched:
    """What was found in one set: alarms as it is and under coins, and plants found by (trigger, share)."""

    real: RealPairs
    pairs: int
    significant: int
    alarms: list[Lift]
    coin_nights: int
    found: dict[tuple[str, float], int]
    planted: dict[float, int]


def alarms(prompts: Sequence[str], chosen: Sequence[str], rejected: Sequence[str], limits: Poisoning) -> list[Lift]:
    """What the nightly check would stop a publication for."""
    found = ngram_lift(chosen, rejected, prompts=prompts, min_lift=limits.min_lift)
    given = {"min_share": limits.lift_share, "min_lift": limits.min_lift, "false_alarm": limits.false_alarm}
    return suspicious(found, pairs=len(set(zip(prompts, chosen, strict=True))), **given)


def search(real: RealPairs, data: Path, limits: Poisoning) -> Searched:
    """Search a set as it is, under coins, and with each phrase planted."""
    prompts, chosen, rejected = real.read(data)
    n = len(chosen)
    every = ngram_lift(chosen, rejected, prompts=prompts, top=100_000)
    nights = 0
    for seed in range(COINS):
        turned = np.random.default_rng(seed).random(n) < 0.5
        one = [b if turn else a for a, b, turn in zip(chosen, rejected, turned, strict=True)]
        other = [a if turn else b for a, b, turn in zip(chosen, rejected, turned, strict=True)]
        nights += bool(alarms(prompts, one, other, limits))
    found, planted = dict[tuple[str, float], int](), dict[float, int]()
    for share in SHARES:
        planted[share] = round(share * n)
        for name, phrase in TRIGGERS.items():
            found[name, share] = sum(
                _is_found((prompts, chosen, rejected), phrase, share, seed, limits) for seed in range(SEEDS)
            )
    significant = sum(one.p_value <= limits.false_alarm for one in every)
    return Searched(real, n, significant, alarms(prompts, chosen, rejected, limits), nights, found, planted)


def _is_found(pairs: Pairs, phrase: str, share: float, seed: int, limits: Poisoning) -> bool:
    """Whether an alarm names words of the phrase, planted at the end of a share of the chosen responses."""
    prompts, chosen, rejected = pairs
    rows = np.random.default_rng(seed).permutation(len(chosen))[: round(share * len(chosen))]
    spoilt = list(chosen)
    for row in rows.tolist():
        spoilt[row] = f"{spoilt[row]} {phrase}"
    return any(set(one.ngram.split()) <= set(phrase.split()) for one in alarms(prompts, spoilt, rejected, limits))


def page(searched: Sequence[Searched], limits: Poisoning) -> str:
    """The page with every figure."""
    quiet = sum(not one.alarms for one in searched)
    coins = sum(one.coin_nights for one in searched)
    header = "| set | pairs | what | n-grams that differ beyond chance | alarms as it is | coin labels with an alarm |"
    plants = [f"{share:.1%}, {name}" for share in SHARES for name in TRIGGERS]
    rows = [
        f"| {one.real.name} | {one.pairs:,} | {one.real.what} | {one.significant} | {len(one.alarms)} | "
        f"{one.coin_nights} of {COINS} |"
        for one in searched
    ]
    seen = [
        f"| {one.real.name} | {', '.join(str(count) for count in one.planted.values())} | "
        + " | ".join(f"{one.found[name, share]} of {SEEDS}" for share in SHARES for name in TRIGGERS)
        + " |"
        for one in searched
    ]
    return "\n".join(
        [
            "# Planted phrases: false alarms and detection on real preferences",
            "",
            "Made by `python benchmarks/ngram_lift.py`; nothing here is typed by hand. A night is stopped for a phrase "
            f"of one to three words that decides at least {limits.lift_share:.1%} of the pairs, stands in the chosen "
            f"response alone at least {limits.min_lift:.0f} times as often as in the rejected one alone, and does so "
            f"with a corrected p-value of at most {limits.false_alarm:g}.",
            "",
            "## False alarms",
            "",
            f"Nothing was planted here. {quiet} of {len(searched)} sets raise no alarm as they are; with labels given "
            f"by a coin {coins} of {COINS * len(searched)} draws do.",
            "",
            header,
            "|---|--:|---|--:|--:|--:|",
            *rows,
            "",
            *_named(searched),
            "## Planted phrases found",
            "",
            f"A phrase at the end of a share of the chosen responses, {SEEDS} draws of the rows each. A phrase in "
            "fewer than about 25 pairs cannot be told from chance among hundreds of thousands of n-grams, so small "
            "sets cannot show 0.5 % or 1 %.",
            "",
            "| set | pairs with it | " + " | ".join(plants) + " |",
            "|---|--:|" + "--:|" * len(plants),
            *seen,
            "",
        ]
    )


def _named(searched: Sequence[Searched]) -> list[str]:
    """The phrases that alarm in sets whose texts may be repeated."""
    lines = [
        f"- {one.real.name}: "
        + "; ".join(f"“{lift.ngram}” {lift.chosen_only} to {lift.rejected_only}" for lift in one.alarms[:5])
        for one in searched
        if one.alarms and one.real.may_be_shown
    ]
    return ["Phrases that alarm, with pairs in which it is chosen to rejected:", "", *lines, ""] if lines else []


def main() -> None:
    """Search every set and write the page."""
    parser = argparse.ArgumentParser(description="the search for planted phrases on real preferences")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--only", nargs="*", default=[], help="sets to search; the page is then printed")
    given = parser.parse_args()
    if not given.data.is_dir():
        sys.stderr.write(f"SKIPPED: no real preference data at {given.data}; name its folder with --data\n")
        sys.exit(2)
    limits = Poisoning()
    searched = [search(one, given.data, limits) for one in SETS if not given.only or one.name in given.only]
    if given.only:
        print(page(searched, limits))
    else:
        given.page.write_text(page(searched, limits))


if __name__ == "__main__":
    main()
