"""The shipped configurations fit the settings, and the shipped sample is what its notes say it is."""

from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from sweetspot.config import Curate
from sweetspot.configfile import FLOWS, load_config

ROOT = Path(__file__).parents[2]
DEPLOYMENTS = ROOT / "deployments"
DATA = DEPLOYMENTS / "examples/data"
CONFIGS = sorted(path for path in DEPLOYMENTS.rglob("*.y*ml") if path.name != "prefect.yaml")
RATERS = [f"rater{number}" for number in range(1, 19)]


@pytest.fixture(scope="module")
def sample():
    return pq.read_table(DATA / "wmt23_mqm_sample.parquet")


@pytest.fixture(scope="module")
def scores(sample):
    return np.column_stack([sample[name].to_numpy() for name in RATERS])


def test_there_are_configurations_to_check():
    assert DEPLOYMENTS / "examples/real_responses.yaml" in CONFIGS


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_a_configuration_fits_the_settings(path):
    flow, settings = load_config(path)
    assert type(settings) is FLOWS[flow]


def test_the_example_finds_its_rows_from_a_fresh_clone(sample):
    _, settings = load_config(DEPLOYMENTS / "examples/real_responses.yaml")
    assert isinstance(settings, Curate)
    prompts = settings.prompts
    assert ROOT / prompts.source == DATA / "wmt23_mqm_sample.parquet"
    named = [prompts.prompt_column, prompts.response_column, prompts.model_column, *prompts.score_columns]
    assert named == sample.column_names


def test_the_sample_has_the_stated_columns_and_size(sample):
    assert sample.column_names == ["prompt", "response", "model", *RATERS]
    assert sample.num_rows == 2591
    assert (DATA / "wmt23_mqm_sample.parquet").stat().st_size < 1_500_000


@pytest.mark.parametrize("column", ["prompt", "response", "model"])
def test_no_text_of_the_sample_is_null_or_blank(sample, column):
    assert sample[column].null_count == 0
    assert pc.min(pc.utf8_length(pc.utf8_trim_whitespace(sample[column]))).as_py() > 0


def test_a_translation_appears_once_per_system(sample):
    assert sample.select(["prompt", "model"]).group_by(["prompt", "model"]).aggregate([]).num_rows == sample.num_rows


def test_most_prompts_have_at_least_eight_systems(sample):
    systems = sample.group_by("prompt").aggregate([("model", "count")])["model_count"].to_numpy()
    assert len(systems) == 313
    assert (systems >= 8).mean() > 0.75


def test_every_row_has_one_to_three_scores_and_none_is_positive(scores):
    rated = np.isfinite(scores).sum(axis=1)
    assert rated.min() == 1
    assert rated.max() == 3
    assert np.nanmax(scores) == 0


def test_no_highlight_is_left_to_split_equal_sources(sample):
    for column in ("prompt", "response"):
        assert not pc.any(pc.match_substring_regex(sample[column], "</?v>")).as_py()


def test_the_raters_of_one_language_pair_never_score_the_other(sample, scores):
    german = pc.starts_with(sample["prompt"], "Translate into German:\n").to_numpy(zero_copy_only=False)
    english = pc.starts_with(sample["prompt"], "Translate into English:\n").to_numpy(zero_copy_only=False)
    assert (german ^ english).all()
    assert np.isnan(scores[german][:, 10:]).all()
    assert np.isnan(scores[english][:, :10]).all()


def test_source_and_licence_lie_beside_the_sample():
    notice, sources = (DATA / "NOTICE").read_text(), (DATA / "SOURCES.md").read_text()
    for text in (notice, sources):
        assert "github.com/google/wmt-mqm-human-evaluation" in text
        assert "Apache License" in text
    assert "Changed from the original" in notice
    assert "wmt23_mqm_sample.parquet" in sources


def test_every_shipped_data_file_is_named_in_the_sources():
    sources = (DATA / "SOURCES.md").read_text()
    data = [path.name for path in DATA.iterdir() if path.name not in ("SOURCES.md", "NOTICE")]
    assert data
    assert [name for name in data if name not in sources] == []
