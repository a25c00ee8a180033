"""A small night that starts from responses of known quality, scored by three raters on scales of their own."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sweetspot.config import Cluster, Curate, Prompts
from tasks._stage import Run
from tasks._tables import TableRef
from tasks.deliver_dataset import Publication

RATERS = ("ann", "ben", "cia")
FACTS = Publication("run", "2026-01-31", "2026-01-31T02:00:00Z", "commit", "", {}, {})


def scored_rows(prompts: int = 30, responses: int = 12, seed: int = 0) -> list[dict]:
    """Responses of known quality: rater k scores scale_k * quality + offset_k, with one gross error in twenty."""
    rng = np.random.default_rng(seed)
    rows = []
    for p in range(prompts):
        for n in range(responses):
            quality = float(rng.normal())
            scores = np.array([1.0, 10.0, 0.1]) * (quality + rng.normal(size=3) * 0.05) + [0.0, 50.0, -2.0]
            if rng.random() < 0.05:
                scores[rng.integers(3)] += 200.0
            text = f"answer {n} of prompt {p} with quality {quality:.3f}"
            row = {"prompt": f"prompt number {p}", "response": text, "model": f"m{n}", "truth": quality}
            rows.append(row | dict(zip(RATERS, scores.tolist(), strict=True)))
    return rows


def write_rows(path: Path, rows: list[dict]) -> Path:
    """Write JSONL."""
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


@dataclass
class World:
    """A source on disk, its settings and where stages work."""

    rows: list[dict]
    config: Curate
    run: Run
    tables: dict[str, TableRef]


def make_world(folder: Path, rows: list[dict], **settings) -> World:
    """Settings to curate `rows` in `folder`."""
    source = write_rows(folder / "scored.jsonl", rows)
    defaults = {
        "dataset": "tiny",
        "store": f"file://{folder}/store",
        "prompts": Prompts(
            source=str(source), starts_from="responses", score_columns=list(RATERS), held_out_fraction=0.2
        ),
        "cluster": Cluster(chunk_prompts=8),
    }
    config = Curate(**{**defaults, **settings})
    return World(rows, config, Run(config.store, config.dataset, "run", config.cluster), {})


def curate(world: World) -> World:
    """Every stage from scored responses to rows ready to deliver, without Prefect."""
    from tasks.build_pairs import build_pairs
    from tasks.clean_scores import clean_scores
    from tasks.load_prompts import load_responses
    from tasks.relabel_pairs import relabel_pairs
    from tasks.select_pairs import select_pairs
    from tasks.validate import validate

    config, run = world.config, world.run
    tables = load_responses(config.prompts, run)
    prompts, responses, scores = tables["prompts"], tables["responses"], tables["scores"]
    tables["checks"] = checks = validate(responses, scores, config.validation, run)
    tables["quality"] = quality = clean_scores(scores, checks, config.cleaning, run)
    tables["pairs"] = pairs = build_pairs(prompts, responses, quality, config.pairing, run)
    tables["selected"] = selected = select_pairs(pairs, config.selection, run)
    tables["delivered"] = relabel_pairs(prompts, responses, pairs, selected, config.relabelling, run)
    return World(world.rows, config, run, tables)
