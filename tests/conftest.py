"""What every test gets: quiet libraries and one thread, set before anything heavy is imported."""

import os
from pathlib import Path

import pytest

from tasks import _ray  # noqa: F401  (Ray reads its settings when first imported, and vLLM imports it)

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real preference data beside the checkout; tests that need it skip loudly without it."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real preference data at {folder}")
    return folder


@pytest.fixture(scope="session")
def world_settings(root):
    """Makes settings for the embedded world, small enough for a test."""

    def make(folder: Path, *, limit: int, **changes) -> dict:
        world = root / "deployments" / "world"
        settings = {
            "flow": "nightly",
            "dataset": "tiny",
            "store": f"file://{folder}/store",
            "prompts": {"source": str(world / "prompts.jsonl"), "limit": limit, "held_out_fraction": 0.25},
            "sampling": {"policy": str(world / "policy"), "n": 8, "engine": "transformers"},
            "scoring": {
                "raters": [
                    {"kind": "reward_model", "name": "reward", "model": str(world / "reward")},
                    {"kind": "verifier", "name": "verifier", "check": "graded"},
                ]
            },
            "implicit": {"seed_pairs": 24, "seed_steps": 4},
            "training": {"epochs": 1},
            "evaluation": {"samples": 4, "min_gain": -1.0},
            "cluster": {"chunk_prompts": 16},
        }
        return settings | changes

    return make
