"""Where every prompt of a night ended: in the dataset, or out of it with one reason."""

from collections import Counter
from collections.abc import Mapping

import pyarrow as pa

from sweetspot.errors import CheckError
from tasks._tables import TableRef

PROMPT_LEAVES_AT = ("sample_responses", "build_pairs", "select_pairs", "relabel_pairs")


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
    prompts = tables["prompts"].read(["prompt_id"])["prompt_id"].to_pylist()
    ends = dict.fromkeys(tables["delivered"].read(["prompt_id"])["prompt_id"].to_pylist(), "delivered")
    twice = []
    columns = ("stage", "prompt_id", "reason")
    for stage, key, reason in zip(*(dropped[name].to_pylist() for name in columns), strict=True):
        if stage not in PROMPT_LEAVES_AT:
            continue
        if key in ends:
            twice.append(key)
        ends[key] = f"{stage}: {reason}"
    lost = [key for key in prompts if key not in ends]
    strangers = set(ends) - set(prompts)
    if lost or twice or strangers:
        first = (lost or twice or sorted(strangers))[0]
        raise CheckError(
            f"prompts do not add up: {len(lost)} of {len(prompts)} lost, {len(twice)} ended twice, {len(strangers)} "
            f"from nowhere; first prompt_id {first}. Nothing was published"
        )
    return dict(Counter(ends.values()))


def check_seams(tables: Mapping[str, TableRef]) -> None:
    """Prove that what one stage let go is what the next one took, by id set.

    Raises:
        CheckError: naming the two stages.
    """
    chains = (
        ("scores", "checks", "response"),
        ("scores", "implicit", "response"),
        ("pairs", "selected", None),
        ("selected", "delivered", "pair"),
    )
    for first, second, unit in chains:
        if first not in tables or second not in tables or unit is None:
            continue
        gone, taken = tables[first].book, tables[second].book
        key = "rows_in" if first == "scores" else "rows_out"
        if gone[key] != taken["rows_in"]:
            raise CheckError(
                f"{unit}s let go by {gone['stage']} are not those taken by {taken['stage']}: "
                f"{gone[key]['count']} against {taken['rows_in']['count']}. Nothing was published"
            )
