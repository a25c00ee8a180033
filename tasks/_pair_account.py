"""Every delivered row against the tables it was made from: its responses, their texts, qualities and margins."""

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

import pyarrow as pa

from sweetspot.errors import CheckError
from tasks._account import TWIN
from tasks._tables import TableRef

_RATED = ("pair_id", "chosen_id", "rejected_id", "chosen_rating", "rejected_rating", "margin_external")
_DELIVERED = ("pair_id", "prompt_id", "chosen", "rejected", "chosen_rating", "rejected_rating", "margin", "goal")
_SCORED = ("score_chosen", "score_rejected")


def check_pairs(tables: Mapping[str, TableRef]) -> None:
    """Prove that each delivered row holds the texts of its own two responses and the margin of their qualities.

    Margins are reckoned again from the qualities that were cleaned of the raters' scores; a row of the second goal
    of relabelling is its pair turned round.

    Raises:
        CheckError: how many rows are not what they were made from, and what is wrong with the first; no text.
    """
    faults, rows = list[str](), 0
    for index in range(tables["delivered"].chunks):
        delivered = tables["delivered"].read_chunk(index, [*_DELIVERED, *_SCORED]).to_pylist()
        sources = _Sources(tables, index)
        rows += len(delivered)
        faults += [f"{row['pair_id']}: {fault}" for row in delivered if (fault := sources.fault(row))]
    if faults:
        raise CheckError(
            f"{len(faults)} of {rows} delivered rows are not what they were made from; first pair {faults[0]}. "
            "Nothing was published"
        )


class _Sources:
    """One chunk of what pairs are made from, by id."""

    def __init__(self, tables: Mapping[str, TableRef], index: int) -> None:
        self.pairs = _by(tables["pairs"].read_chunk(index, list(_RATED)), "pair_id")
        columns = ["response_id", "prompt_id", "response"]
        self.responses = _by(tables["responses"].read_chunk(index, columns), "response_id")
        quality = tables["quality"].read_chunk(index, ["response_id", "quality"]).to_pylist()
        self.quality = {row["response_id"]: row["quality"] for row in quality}

    def fault(self, row: Mapping[str, Any]) -> str:
        """What is wrong with a delivered row; empty if nothing is."""
        pair = self.pairs.get(TWIN.sub("", row["pair_id"]))
        if pair is None:
            return "no such pair was built"
        return next(chain(self._faults_of_pair(pair), self._faults_of_row(row, pair)), "")

    def _faults_of_pair(self, pair: Mapping[str, Any]) -> Iterator[str]:
        for side in ("chosen", "rejected"):
            key = pair[f"{side}_id"]
            if key not in self.responses:
                yield f"there is no {side} response {key}"
            if self.quality.get(key) != pair[f"{side}_rating"]:
                yield f"{side} rating is not the quality of response {key}"
        if pair["margin_external"] != pair["chosen_rating"] - pair["rejected_rating"]:
            yield "margin is not the difference of its ratings"

    def _faults_of_row(self, row: Mapping[str, Any], pair: Mapping[str, Any]) -> Iterator[str]:
        turned = row["goal"] is not None and row["pair_id"].endswith(":b")
        sides = ("chosen", "rejected")
        for side, source in zip(sides, reversed(sides) if turned else sides, strict=True):
            response = self.responses.get(pair[f"{source}_id"])
            if response is None:
                continue
            if row[side] != [{"role": "assistant", "content": response["response"]}]:
                yield f"{side} is not the text of response {response['response_id']}"
            if row["prompt_id"] != response["prompt_id"]:
                yield f"{side} answers prompt {response['prompt_id']}, not {row['prompt_id']}"
            if not row[f"{side}_rating"] == row[f"score_{side}"] == pair[f"{source}_rating"]:
                yield f"{side} rating is not that of its response"
        if row["margin"] != row["chosen_rating"] - row["rejected_rating"]:
            yield "margin is not the difference of its ratings"


def _by(table: pa.Table, key: str) -> dict[str, dict[str, Any]]:
    return {row[key]: row for row in table.to_pylist()}
