"""Every delivered row against the tables it was made from: ids, responses, their texts, qualities and margins."""

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

import pyarrow as pa

from sweetspot.delivery.books import IdSet
from sweetspot.errors import CheckError
from tasks._account import ID_OF, TWIN, check_ids, ids_in
from tasks._tables import TableRef

_SIDES = ("chosen", "rejected")
_OF_PAIR = ("id", "rating")
_RATING = ("{}_rating", "score_{}")
_READ = {
    "prompts": ["prompt_id"],
    "responses": ["response_id", "prompt_id", "response"],
    "quality": ["response_id", "quality"],
    "pairs": ["pair_id", "prompt_id", "margin_external", *(f"{side}_{what}" for side in _SIDES for what in _OF_PAIR)],
    "selected": ["pair_id"],
    "delivered": [
        "pair_id",
        "prompt_id",
        "margin",
        "goal",
        *_SIDES,
        *(name.format(side) for side in _SIDES for name in _RATING),
    ],
}


def check_pairs(tables: Mapping[str, TableRef]) -> None:
    """Prove that every table holds the ids it should, and each delivered row the texts and margin of its responses.

    Every chunk is read once. Margins are reckoned again from the qualities that were cleaned of the raters' scores; a
    row of the second goal of relabelling is its pair turned round.

    Raises:
        CheckError: a table's ids are not those of its stage, or how many rows are not what they were made from, and
            what is wrong with the first; no text.
    """
    faults, rows, found = list[str](), 0, dict[tuple[str, str], IdSet]()
    for index in range(tables["delivered"].chunks):
        chunk = {name: tables[name].read_chunk(index, columns) for name, columns in _READ.items()}
        for name, table in chunk.items():
            for unit in (unit for unit, column in ID_OF.items() if column in _READ[name]):
                found[name, unit] = found.get((name, unit), IdSet.EMPTY) + ids_in(table, unit)
        sources, delivered = _Sources(chunk), chunk["delivered"].to_pylist()
        rows += len(delivered)
        faults += [f"{row['pair_id']}: {fault}" for row in delivered if (fault := sources.fault(row))]
    check_ids(tables, found)
    if faults:
        raise CheckError(
            f"{len(faults)} of {rows} delivered rows are not what they were made from; first pair {faults[0]}. "
            "Nothing was published"
        )


class _Sources:
    """One chunk of what pairs are made from, by id."""

    def __init__(self, chunk: Mapping[str, pa.Table]) -> None:
        self.pairs, self.responses = _by(chunk["pairs"], "pair_id"), _by(chunk["responses"], "response_id")
        self.quality = {row["response_id"]: row["quality"] for row in chunk["quality"].to_pylist()}

    def fault(self, row: Mapping[str, Any]) -> str:
        """What is wrong with a delivered row; empty if nothing is."""
        pair = self.pairs.get(TWIN.sub("", row["pair_id"]))
        if pair is None:
            return "no such pair was built"
        return next(chain(self._faults_of_pair(pair), self._faults_of_row(row, pair)), "")

    def _faults_of_pair(self, pair: Mapping[str, Any]) -> Iterator[str]:
        for side in _SIDES:
            key = pair[f"{side}_id"]
            if key not in self.responses:
                yield f"there is no {side} response {key}"
            if self.quality.get(key) != pair[f"{side}_rating"]:
                yield f"{side} rating is not the quality of response {key}"
        if pair["margin_external"] != pair["chosen_rating"] - pair["rejected_rating"]:
            yield "margin is not the difference of its ratings"

    def _faults_of_row(self, row: Mapping[str, Any], pair: Mapping[str, Any]) -> Iterator[str]:
        turned = row["goal"] is not None and row["pair_id"].endswith(":b")
        for side, source in zip(_SIDES, reversed(_SIDES) if turned else _SIDES, strict=True):
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
