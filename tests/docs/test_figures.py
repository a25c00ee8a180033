"""The pictures are made by the code: drawing them again gives the files in the repository."""

import importlib.util
import re
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def figures(root):
    spec = importlib.util.spec_from_file_location("figures", root / "docs" / "figures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def points(path: Path) -> list[float]:
    """Coordinates of every curve of an SVG in points, in the order drawn."""
    paths = re.findall(r'<path d="([^"]+)"', path.read_text())
    return [float(number) for number in re.findall(r"-?[0-9]+(?:\.[0-9]+)?", " ".join(paths))]


@pytest.mark.parametrize("name", ["reward_positions", "bees_map", "rater_scales", "rating_losses"])
def test_drawing_again_gives_the_same_picture(figures, name, tmp_path, monkeypatch, root):
    monkeypatch.setattr(figures, "HERE", tmp_path)
    with figures.plt.rc_context(figures.STYLE):
        getattr(figures, name)()
    committed = points(root / "docs" / "figures" / f"{name}.svg")
    assert len(committed) > 300
    assert points(tmp_path / f"{name}.svg") == pytest.approx(committed, abs=0.05)


def test_every_picture_is_shown_in_the_page_and_every_function_named_there_exists(root):
    page = (root / "docs" / "maths.md").read_text()
    assert sorted(re.findall(r"figures/(\w+)\.svg", page)) == sorted(
        path.stem for path in (root / "docs" / "figures").glob("*.svg")
    )
    for module, name in re.findall(r"`(sweetspot\.\w+)\.(\w+)`", page):
        assert hasattr(importlib.import_module(module), name), f"{module}.{name}"
