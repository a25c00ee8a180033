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
