"""Held-out accuracy before and after the demo's training, over seeds: `python benchmarks/demo.py`.

Runs the demo's configuration once per seed, each in a store of its own (a seed changes sampling and the
order of pairs), and writes `docs/results/demo.md`.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "deployments" / "examples" / "demo.yaml"
PAGE = ROOT / "docs" / "results" / "demo.md"


def one_night(seed: int, losses: list[str]) -> list[dict[str, Any]]:
    """Run the demo with a seed, once per loss on the same store, so the losses see the same dataset."""
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for loss in losses:
            settings = {
                "store": f"file://{folder}/store",
                "sampling.seed": seed,
                "sampling.use_promoted": "false",
                "training.seed": seed,
                "training.loss": loss,
            }
            command = [sys.executable, "-m", "flows.cli", "run", str(CONFIG)]
            for name, value in settings.items():
                command += ["--set", f"{name}={value}"]
            started = time.monotonic()
            subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
            seconds = time.monotonic() - started
            promoted = json.loads((Path(folder) / "store/demo/policies/promoted.json").read_text())
            marker = json.loads((Path(folder) / "store" / promoted["policy"]["path"] / "policy.json").read_text())
            assert marker["training"]["loss"] == loss, f"the policy of {loss} was refused: {marker['reasons']}"
            results.append({"seed": seed, "loss": loss, "seconds": seconds, **marker["exam"], **marker["figures"]})
            print(f"seed {seed} {loss}: {marker['exam']['before']:.3f} -> {marker['exam']['after']:.3f}", flush=True)
    return results


def page(results: list[dict[str, Any]]) -> str:
    """The results as a page."""
    lines = [
        "# The demo: held-out accuracy before and after",
        "",
        "Made by `python benchmarks/demo.py`. Each line is one whole night on the embedded world: sampling, scoring,",
        "pairing, selection, training, and an exam of both policies on the same held-out prompts with the same seeds.",
        f"Exact answers, {results[0]['prompts']} held-out prompts, 8 responses each, temperature 1.",
        "",
        "| loss | seed | before | after | gain | 95 % interval of the gain | first loss | last loss |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in sorted(results, key=lambda row: (row["loss"], row["seed"])):
        low, high = row["gain_interval"]
        lines.append(
            f"| {row['loss']} | {row['seed']} | {row['before']:.1%} | {row['after']:.1%} | {row['gain']:+.1%} | "
            f"{low:+.1%} to {high:+.1%} | {row['losses'][0]:.4f} | {row['losses'][-1]:.4f} |"
        )
    lines += ["", "| loss | seeds | before, mean ± sd | after, mean ± sd | gain, mean ± sd |", "|---|---|---|---|---|"]
    for loss in dict.fromkeys(row["loss"] for row in results):
        rows = [row for row in results if row["loss"] == loss]
        cells = " | ".join(spread([row[key] for row in rows]) for key in ("before", "after", "gain"))
        lines.append(f"| {loss} | {len(rows)} | {cells} |")
    return "\n".join(lines) + "\n"


def spread(values: list[float]) -> str:
    """Mean ± sample standard deviation."""
    return f"{statistics.mean(values):.1%} ± {statistics.stdev(values):.1%}"


def main() -> None:
    """Run every seed and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--losses", nargs="+", default=["rating_dpo", "dpo"])
    arguments = parser.parse_args()
    results = [row for seed in arguments.seeds for row in one_night(seed, arguments.losses)]
    PAGE.write_text(page(results))


if __name__ == "__main__":
    main()
