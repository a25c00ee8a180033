"""Where every prompt of a night ended: in the dataset, or out of it with one reason."""

import re
from collections import Counter
from collections.abc import Mapping

import pyarrow as pa

from sweetspot.delivery.books import IdSet
from sweetspot.errors import CheckError
from tasks._tables import TableRef

PROMPT_LEAVES_AT = ("sample_responses", "build_pairs", "select_pairs", "relabel_pairs")
ID_OF = {"prompt": "prompt_id", "response": "response_id", "pair": "pair_id"}
TAKES = {"prompts": "responses", "responses": "scores", "pairs": "selected"}
"""Which table's stage takes in all that another table holds."""
TWIN = re.compile(r":[ab]$")
"""What relabelling puts behind the id of a pair that it delivers under two goals."""


def ids_in(chunk: pa.Table, unit: str) -> IdSet:
    """The ids of a chunk; the twins of a pair count once."""
    return IdSet.of({TWIN.sub("", key) for key in chunk[ID_OF[unit]].to_pylist()})


def dropped_rows(tables: Mapping[str, TableRef]) -> pa.Table:
    """All rows that left at any stage, in the order of the stages."""
    parts = [ref.read_dropped(index) for ref in tables.values() for index in range(ref.chunks)]
    return pa.concat_tables(parts)


def account(tables: Mapping[str, TableRef], dropped: pa.Table) -> dict[str, int]:
    """Prove that every prompt ended in exactly one place.

    Args:
        tables: the run's tables by schema name, from `prompts` to `delivered`.
        dropped: all rows that left.

    Returns:
        Prompts by end: `delivered`, or `stage: reason`.

    Raises:
        CheckError: a prompt was lost, or ended twice; nothing may be published then.
    """
    prompts = Counter(tables["prompts"].read(["prompt_id"])["prompt_id"].to_pylist())
    ends = dict.fromkeys(tables["delivered"].read(["prompt_id"])["prompt_id"].to_pylist(), "delivered")
    twice = [key for key, times in prompts.items() if times > 1]
    columns = ("stage", "prompt_id", "reason")
    for stage, key, reason in zip(*(dropped[name].to_pylist() for name in columns), strict=True):
        if stage not in PROMPT_LEAVES_AT:
            continue
        if key in ends:
            twice.append(key)
        ends[key] = f"{stage}: {reason}"
    lost = [key for key in prompts if key not in ends]
    strangers = sorted(ends.keys() - prompts.keys())
    faults = {"lost": lost, "came or ended twice": twice, "from nowhere": strangers}
    if any(faults.values()):
        named = ", ".join(
            f"{len(keys)} {what}" + (f" (first prompt_id {keys[0]})" if keys else "") for what, keys in faults.items()
        )
        raise CheckError(f"prompts do not add up, of {prompts.total()}: {named}. Nothing was published")
    return dict(Counter(ends.values()))


def check_ids(tables: Mapping[str, TableRef], found: Mapping[tuple[str, str], IdSet]) -> None:
    """Prove that every table holds what its stage let go, and that the next stage took just that, by id set.

    Args:
        tables: the run's tables by schema name.
        found: what tables hold, by table and unit, an id that lies in two chunks counted twice.

    Raises:
        CheckError: naming the table, or the two stages.
    """
    for (name, unit), held in found.items():
        book = tables[name].book
        if unit == book["unit"] and held.to_json() != book["rows_out"]:
            raise CheckError(
                f"{name}: the table's {unit}s are not those {book['stage']} let go: {held.count} against "
                f"{book['rows_out']['count']}. Nothing was published"
            )
        taker = tables[TAKES[name]].book if TAKES.get(name) in tables else None
        if taker is not None and unit == taker["unit"] and held.to_json() != taker["rows_in"]:
            same = ", the same number of others" if held.count == taker["rows_in"]["count"] else ""
            raise CheckError(
                f"{taker['stage']} took other {unit}s than {name} holds: {taker['rows_in']['count']} against "
                f"{held.count}{same}. Nothing was published"
            )


def check_seams(tables: Mapping[str, TableRef]) -> None:
    """Prove that what one stage let go is what the next one took, by id set.

    Raises:
        CheckError: naming the two stages.
    """
    chains = (
        ("scores", "checks", "response"),
        ("scores", "implicit", "response"),
        ("selected", "delivered", "pair"),
    )
    for first, second, unit in chains:
        if first not in tables or second not in tables:
            continue
        gone, taken = tables[first].book, tables[second].book
        key = "rows_in" if first == "scores" else "rows_out"
        if gone[key] != taken["rows_in"]:
            raise CheckError(
                f"{unit}s let go by {gone['stage']} are not those taken by {taken['stage']}: "
                f"{gone[key]['count']} against {taken['rows_in']['count']}. Nothing was published"
            )
