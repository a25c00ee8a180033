"""Real preference data as people keep it: one table per set, with its licence, ready for `sweetspot audit`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

TEXTS = ("instruction", "output_1", "output_2")


@dataclass(frozen=True)
class RealSet:
    """A set to audit.

    Attributes:
        name: of the file that is written and audited.
        credit: source and licence.
        may_be_shown: the licence lets texts of rows be repeated.
        table: reads it from the folder of the data.
        settings: of the audit.
    """

    name: str
    credit: str
    may_be_shown: bool
    table: Callable[[Path], pd.DataFrame]
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])


def _read(data: Path, name: str) -> pd.DataFrame:
    return pd.read_parquet(data / f"{name}.parquet")


def _columns(frame: pd.DataFrame, *names: str, **renamed: str) -> pd.DataFrame:
    """Columns of a table; `new="old"` renames."""
    return pd.DataFrame({name: frame[name] for name in names} | {new: frame[old] for new, old in renamed.items()})


def _hh(data: Path) -> pd.DataFrame:
    return _columns(_read(data, "pairwise/hh_rlhf_test"), "pair_id", "subset", "prompt", "chosen", "rejected")


def _cross(dataset: str, kinds: tuple[str, ...]) -> Callable[[Path], pd.DataFrame]:
    def table(data: Path) -> pd.DataFrame:
        labels, pairs = _read(data, "cross/cross_labels_long"), _read(data, "cross/cross_pairs")
        mine = labels[(labels["dataset"] == dataset) & labels["annotator_type"].isin(kinds)]
        joined = pd.DataFrame(mine).merge(pairs[["pair_id", *TEXTS, "gold"]], on="pair_id")
        truth = ("gold",) if bool(np.any(joined["gold"].isin(["1", "2"]))) else ()
        return _columns(joined, "pair_id", "annotator", "preference", *TEXTS, *truth)

    return table


def _llmbar(data: Path) -> pd.DataFrame:
    pairs = _columns(_read(data, "pairwise/llmbar_pairs"), "pair_id", *TEXTS, "gold")
    return _read(data, "pairwise/llmbar_llm_judge_labels").merge(pairs, on="pair_id")


def _llmfao(data: Path) -> pd.DataFrame:
    votes = _read(data, "pairwise/llmfao_worker_labels")
    return _columns(votes, "pair_id", "worker", "left", "right", "winner", question_id="prompt")


def _ukp(data: Path) -> pd.DataFrame:
    votes = _read(data, "pairwise/ukp_convincing_worker_labels")
    return _columns(votes, "pair_id", "topic", "arg1", "arg2", "worker", "label")


def _qlora(data: Path) -> pd.DataFrame:
    games = _read(data, "pairwise/qlora_gpt4_tournament")
    question = games["bench"] + ":" + games["question_id"]
    columns = {"question_id": question, "first": games["first"], "second": games["second"], "score": games["score"]}
    return pd.DataFrame(columns)


def _wmt(data: Path) -> pd.DataFrame:
    scores = _read(data, "multi/wmt23_sxs_mqm_zhen")
    return _columns(scores, "response", "rater", "score", prompt="source", model="system")


def _crowd(dataset: str) -> Callable[[Path], pd.DataFrame]:
    def table(data: Path) -> pd.DataFrame:
        labels, gold = _read(data, "crowd/crowd_labels"), _read(data, "crowd/crowd_gold")
        mine = pd.DataFrame(labels[labels["dataset"] == dataset]).merge(gold, on=["dataset", "item"], how="left")
        return _columns(mine, "item", "worker", "label", "gold")

    return table


SETS = (
    RealSet("hh_rlhf_test", "Anthropic HH-RLHF, test split, MIT", True, _hh),
    RealSet("pandalm_humans", "PandaLM test set, Apache-2.0", True, _cross("pandalm", ("human",))),
    RealSet("llmfao_workers", "dustalov/llmfao, CC BY 4.0", True, _llmfao),
    RealSet("ukp_workers", "UKPLab ConvArg, CC BY 4.0", True, _ukp),
    RealSet("llmbar_judges", "princeton-nlp/LLMBar, MIT", True, _llmbar),
    RealSet("qlora_tournament", "artidoro/qlora, MIT", True, _qlora),
    RealSet("wmt23_mqm_zhen", "google/wmt-mqm-human-evaluation, Apache-2.0", True, _wmt),
    RealSet("crowd_rte", "Snow et al. 2008, BSD-3-Clause", True, _crowd("snow_rte")),
    RealSet("crowd_barzan", "Get-Another-Label, Apache-2.0", True, _crowd("gal_BarzanMozafari")),
    RealSet("crowd_dog", "no licence declared: figures only", False, _crowd("ti_dog")),
    RealSet("judgebench", "no licence declared: figures only", False, _cross("judgebench", ("llm",))),
    RealSet("judgebench_rewards", "no licence declared: figures only", False, _cross("judgebench", ("reward_model",))),
    RealSet("summaries", "no licence declared: figures only", False, _cross("summ_writer_vs_davinci", ("human",))),
)
