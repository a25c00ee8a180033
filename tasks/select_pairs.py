"""select_pairs: the pairs worth training on, by BeeS over external and implicit margins.

Held-out pairs are kept as they are: selecting them too would make every later figure look better.
"""

import math
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from sweetspot import schemas
from sweetspot.config import Selection
from sweetspot.errors import CheckError
from sweetspot.margins import Bees, bees
from tasks._stage import Run, Stage, run_stage
from tasks._tables import ChunkResult, TableRef, dropped_table

STAGE = Stage("select_pairs", 1, schemas.SELECTED, unit="pair")
PAPER_PAIRS, PAPER_MIN_COUNT = 61_135, 30


class _Verdict(NamedTuple):
    probability: float
    selected: bool
    margins_positive: bool


def select_pairs(pairs: TableRef, settings: Selection, run: Run) -> TableRef:
    """Fuse each pair's margins into one probability and keep the best share of the training pairs."""
    frame = pairs.read(["pair_id", "split", "margin_external", "margin_implicit"]).to_pandas()
    train = frame[frame["split"] == "train"]
    if train.empty:
        raise CheckError("select_pairs: no training pair reached selection; see the dropped rows of build_pairs")
    margins = [train["margin_external"].to_numpy() * settings.external_scale]
    if train["margin_implicit"].notna().all():
        margins.append(train["margin_implicit"].to_numpy())
    matrix = np.stack(margins)
    found = bees(
        matrix,
        keep=math.ceil(settings.keep_fraction * len(train)),
        both_positive=settings.both_positive,
        min_count=min_count(len(train)),
    )
    verdicts = _verdicts([str(key) for key in train["pair_id"]], matrix, found)
    return run_stage(
        STAGE,
        {"pairs": pairs},
        partial(_SelectChunk, verdicts, settings),
        run,
        identity=settings.model_dump(mode="json"),
        notes=lambda ref: (
            f"BeeS upper bounds {', '.join(f'{value:.3g}' for value in found.upper)} over {len(matrix)} margins",
            *found.warnings,
        ),
    )


def min_count(pairs: int) -> int:
    """Pairs BeeS wants above its upper bound: the paper's 30 of 61,135, in proportion for fewer pairs."""
    return max(1, min(PAPER_MIN_COUNT, round(PAPER_MIN_COUNT * pairs / PAPER_PAIRS)))


def _verdicts(keys: list[str], margins: np.ndarray, found: Bees) -> dict[str, _Verdict]:
    selected = np.zeros(len(keys), dtype=bool)
    selected[found.selected] = True
    positive = np.all(margins > 0, axis=0)
    return {
        key: _Verdict(float(found.probability[index]), bool(selected[index]), bool(positive[index]))
        for index, key in enumerate(keys)
    }


class _SelectChunk:
    def __init__(self, verdicts: dict[str, _Verdict], settings: Selection) -> None:
        self.verdicts, self.settings = verdicts, settings

    def __call__(self, inputs: Mapping[str, pa.Table]) -> ChunkResult:
        rows, left = [], []
        for pair in inputs["pairs"].to_pylist():
            verdict = self.verdicts.get(pair["pair_id"])
            if verdict is not None and not verdict.selected:
                left.append((pair["pair_id"], pair["prompt_id"], *self._reason(verdict)))
                continue
            to_sft = pair["margin_external"] < self.settings.sft_margin
            rows.append(
                {
                    "pair_id": pair["pair_id"],
                    "prompt_id": pair["prompt_id"],
                    "preference_probability": None if verdict is None else verdict.probability,
                    "route": "sft" if to_sft else "dpo",
                }
            )
        return ChunkResult(
            table=STAGE.output.table(rows),
            dropped=dropped_table(STAGE.name, STAGE.unit, left),
            ids_in=inputs["pairs"]["pair_id"].to_pylist(),
            ids_out=[row["pair_id"] for row in rows],
        )

    def _reason(self, verdict: _Verdict) -> tuple[str, str]:
        if self.settings.both_positive and not verdict.margins_positive:
            return "margin_not_positive", "a margin contradicts the label (selection.both_positive)"
        return "below_cut", f"probability {verdict.probability:.4f} is below the kept share (selection.keep_fraction)"
