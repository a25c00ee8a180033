"""The page of figures that `make faults` writes: a file of sweeps enters its lines when all of it has passed."""

import json
import os
import subprocess
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

PAGE = "SWEETSPOT_FAULTS_PAGE"
"""Environment variable: the page to write. Lines of files that were not run stay as they were, in `out/faults/`."""
Tables = dict[str, list[dict[str, object]]]
_figures: dict[str, Tables] = defaultdict(lambda: defaultdict(list))
_failed: set[str] = set()


def enter(file: str, table: str, line: dict[str, object]) -> None:
    """Keep a line of a table until the session ends."""
    _figures[file][table].append(line)


def note(file: str) -> None:
    """A test of this file failed: none of its lines counts."""
    _failed.add(file)


def finish(root: Path) -> None:
    """Store the lines of what passed, and write the page from all that is stored."""
    if PAGE not in os.environ:
        return
    folder = root / "out" / "faults"
    folder.mkdir(parents=True, exist_ok=True)
    described = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=root, capture_output=True, text=True, check=True
    )
    for file, tables in _figures.items():
        if file not in _failed:
            stored = {"commit": described.stdout.strip(), "date": f"{datetime.now(UTC):%Y-%m-%d}", "tables": tables}
            (folder / f"{file}.json").write_text(json.dumps(stored))
    stored = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    if stored:
        Path(os.environ[PAGE]).write_text(_page(stored))


def _page(stored: dict[str, dict]) -> str:
    lines = [
        "# Faults",
        "",
        "Made by `make faults`: every line is a sweep that passed, with what was counted in it. The same version means "
        "the same hash of every table and the same books by id set: no row lost, none doubled.",
        "",
    ]
    for found in stored.values():
        for table, rows in found["tables"].items():
            lines += [f"## {table}", "", *_table(rows), ""]
    runs = [
        {"sweeps of": f"`tests/faults/{file}.py`", "commit": found["commit"], "date": found["date"]}
        for file, found in stored.items()
    ]
    return "\n".join([*lines, "## When", "", *_table(runs), ""])


def _table(rows: list[dict[str, object]]) -> list[str]:
    columns = list(rows[0])
    head = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    return head + [f"| {' | '.join(str(row[column]) for column in columns)} |" for row in rows]
