import dataclasses
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from markdown_it import MarkdownIt

from sweetspot.delivery.card import configs, dataset_card, features, metadata, size_category
from sweetspot.delivery.manifest import FileEntry
from sweetspot.schemas import DELIVERED, DROPPED, SAMPLES, Column, Schema

MARKUP = {"html_inline", "html_block", "image", "link_open", "em_open", "strong_open", "s_open"}


def parts(card):
    """Front matter and body."""
    assert card.startswith("---\n")
    front, _, body = card.removeprefix("---\n").partition("\n---\n")
    return front, body


def tokens(body):
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    return [one for block in parser.parse(body) for one in (block, *(block.children or ()))]


def row(schema, index):
    """One row that the schema accepts."""
    made = {}
    for column in schema.columns:
        if pa.types.is_map(column.type):
            made[column.name] = [("reward", 0.5)]
        elif pa.types.is_list(column.type):
            members = [column.type.value_type.field(i) for i in range(column.type.value_type.num_fields)]
            made[column.name] = [{m.name: "x" if pa.types.is_large_string(m.type) else 0.5 for m in members}]
        elif pa.types.is_large_string(column.type):
            made[column.name] = f"{column.name}-{index}"
        else:
            made[column.name] = None if column.nullable else index
    return made


@pytest.fixture(scope="module")
def version(tmp_path_factory, facts):
    """A version on disk, laid out as the card says."""
    folder = tmp_path_factory.mktemp("versions") / facts.manifest.version
    folder.mkdir()
    shards = {
        "data/train-00000-of-00002.parquet": (DELIVERED, range(3)),
        "data/train-00001-of-00002.parquet": (DELIVERED, range(3, 5)),
        "data/eval-00000-of-00001.parquet": (DELIVERED, range(5, 6)),
        "samples/samples-00000-of-00001.parquet": (SAMPLES, range(4)),
        "dropped/dropped-00000-of-00001.parquet": (DROPPED, range(2)),
    }
    files = []
    for path, (schema, rows) in shards.items():
        (folder / path).parent.mkdir(exist_ok=True)
        pq.write_table(schema.table([row(schema, index) for index in rows]), folder / path)
        files.append(FileEntry(path, (folder / path).stat().st_size, len(rows), "0" * 64))
    manifest = dataclasses.replace(facts.manifest, files=tuple(files))
    (folder / "README.md").write_text(dataset_card(dataclasses.replace(facts, manifest=manifest)), encoding="utf-8")
    return folder, manifest


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        cache = str(tmp_path_factory.mktemp("cache"))
        for name, value in {"HF_HUB_OFFLINE": "1", "HF_HOME": cache, "HF_DATASETS_CACHE": cache}.items():
            patch.setenv(name, value)
        module = pytest.importorskip("datasets")
        patch.setattr(module.config, "HF_DATASETS_CACHE", cache)
        patch.setattr(module.config, "HF_HUB_OFFLINE", True)
        module.disable_progress_bars()
        yield module


def test_every_config_of_the_card_loads_offline_with_its_rows_and_types(version, datasets):
    folder, manifest = version
    offered = configs(manifest)
    assert {config.name for config in offered} >= {"default", "dropped"}
    for config in offered:
        loaded = datasets.load_dataset(str(folder), config.name)
        assert {split: len(rows) for split, rows in loaded.items()} == {
            split: manifest.rows_under(path.partition("*")[0]) for split, path in config.splits
        }
        for rows in loaded.values():
            assert rows.features == datasets.Features.from_arrow_schema(config.schema.arrow)


def test_the_default_config_needs_no_name(version, datasets):
    folder, _ = version
    train = datasets.load_dataset(str(folder), split="train")
    assert train["pair_id"] == [f"pair_id-{index}" for index in range(5)]
    assert train[0]["chosen"] == [{"role": "x", "content": "x"}]


def test_the_loading_code_of_the_card_runs(version, datasets, monkeypatch):
    folder, _ = version
    monkeypatch.chdir(folder.parent)
    blocks = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), flags=re.DOTALL)
    assert len(blocks) == 3
    for block in blocks[:2]:
        names = {}
        exec(compile(block, "card", "exec"), names)
        assert len(names["train"]) == 5
    compile(blocks[2], "card", "exec")


def test_the_other_parts_of_the_card_load_as_written(version, datasets, monkeypatch):
    folder, manifest = version
    monkeypatch.chdir(folder.parent)
    calls = re.findall(r"`(load_dataset\(.*?\))`", (folder / "README.md").read_text())
    assert len(calls) == len(configs(manifest)) - 1 > 0
    for call in calls:
        assert len(eval(call, {"load_dataset": datasets.load_dataset})) > 0


def test_the_front_matter_is_yaml_with_the_fields_of_the_hub(facts):
    front, _ = parts(dataset_card(facts))
    found = yaml.safe_load(front)
    assert found == metadata(facts)
    assert found["license"] == "apache-2.0"
    assert found["language"] == ["en"]
    assert found["size_categories"] == ["n<1K"]
    assert found["task_categories"] == ["text-generation"]
    assert found["annotations_creators"] == ["machine-generated"]
    assert {"synthetic", "dpo", "rlaif", "preference"} <= set(found["tags"])
    assert found["configs"][0] == {
        "config_name": "default",
        "default": True,
        "data_files": [
            {"split": "train", "path": "data/train-*.parquet"},
            {"split": "eval", "path": "data/eval-*.parquet"},
        ],
    }
    assert [info["config_name"] for info in found["dataset_info"]] == [one["config_name"] for one in found["configs"]]
    names = [feature["name"] for feature in found["dataset_info"][0]["features"]]
    assert names == [column.name for column in DELIVERED.columns]


def test_judgements_of_people_are_not_tagged_as_synthetic(facts):
    tags = metadata(dataclasses.replace(facts, annotations="crowdsourced"))["tags"]
    assert "synthetic" not in tags
    assert "rlaif" not in tags


def test_a_value_of_the_front_matter_has_one_line(facts):
    made = metadata(dataclasses.replace(facts, license="mit\n---\nx", languages=("en\u202e\nde",), annotations="a\nb"))
    assert (made["license"], made["language"], made["annotations_creators"]) == (
        "mit --- x",
        ["en[U+202E] de"],
        ["a b"],
    )


def test_only_parts_with_files_are_offered(facts):
    train_only = dataclasses.replace(facts.manifest, files=facts.manifest.files[:1])
    (offered,) = configs(train_only)
    assert offered.splits == (("train", "data/train-*.parquet"),)
    assert configs(dataclasses.replace(facts.manifest, files=())) == ()


def test_a_split_over_held_out_prompts_is_never_called_train(facts):
    for config in configs(facts.manifest):
        assert config.name == "default" or "train" not in dict(config.splits)


def table_of(kind):
    return Schema("t", "a row", (Column("a", pa.int64(), "x"), Column("b", kind, "y")), ("a",))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (pa.float64(), {"dtype": "float64"}),
        (pa.float32(), {"dtype": "float32"}),
        (pa.bool_(), {"dtype": "bool"}),
        (pa.large_string(), {"dtype": "large_string"}),
        (pa.list_(pa.int32()), {"list": "int32"}),
        (pa.list_(pa.struct([("k", pa.string())])), {"list": [{"name": "k", "dtype": "string"}]}),
        (pa.struct([("k", pa.float64())]), {"struct": [{"name": "k", "dtype": "float64"}]}),
    ],
)
def test_types_in_the_notation_of_the_card(kind, expected):
    assert features(table_of(kind)) == [{"name": "a", "dtype": "int64"}, {"name": "b", **expected}]


@pytest.mark.parametrize(
    "kind",
    [
        pa.map_(pa.string(), pa.float64()),
        pa.list_(pa.map_(pa.string(), pa.float64())),
        pa.struct([("m", pa.map_(pa.string(), pa.float64()))]),
    ],
)
def test_a_table_with_a_type_that_datasets_lacks_is_not_offered(kind, datasets):
    assert features(table_of(kind)) is None
    with pytest.raises(ValueError, match="does not have a datasets dtype equivalent"):
        datasets.Features.from_arrow_schema(table_of(kind).arrow)


@pytest.mark.parametrize(
    ("rows", "name"),
    [
        (0, "n<1K"),
        (999, "n<1K"),
        (1000, "1K<n<10K"),
        (99_999, "10K<n<100K"),
        (10**6, "1M<n<10M"),
        (10**12, "n>1T"),
    ],
)
def test_size_categories(rows, name):
    assert size_category(rows) == name


def test_the_body_shows_books_models_raters_and_limits(facts):
    _, body = parts(dataset_card(facts))
    assert "| `clean_scores` | response | 16,382 | 16,099 | `empty` 31, `looping` 212, `run_on` 40 |" in body
    assert "| `sample_responses` | prompt | 512 | 512 | none |" in body
    assert "| `policy` | `sha256:71c0` |" in body
    assert "| `reward` | `sha256:9d2c` | 16,363 | 21 | 3.0" in body
    assert "| `reward` and `verifier` | 0.61 | 16,363 |" in body
    assert "In 168 of 493 candidate pairs that is another response than the prompt's worst." in body
    assert "chosen one in 56\u00a0% of the pairs of unequal length" in body
    assert "- Not checked: Contamination of the prompts with public benchmarks." in body
    for column in DELIVERED.columns:
        assert f"| `{column.name}` | " in body


def test_few_responses_per_prompt_are_named_as_a_limit(facts):
    few = dataclasses.replace(facts, manifest=dataclasses.replace(facts.manifest, sampling={"n": 10}))
    sentence = "With 10 responses per prompt the rejected response at mu-2sigma is always the worst one."
    assert sentence in dataset_card(few)
    assert "is always the worst one" not in dataset_card(facts)


def test_a_missing_licence_is_said(bare_facts):
    card = dataset_card(bare_facts)
    assert "No licence was stated." in card
    assert yaml.safe_load(parts(card)[0])["license"] == "unknown"


def test_hostile_text_becomes_neither_markup_nor_metadata(poisoned_facts, facts):
    card = dataset_card(poisoned_facts)
    card.encode()
    front, body = parts(card)
    assert yaml.safe_load(front)["configs"] == metadata(facts)["configs"]
    found = tokens(body)
    assert not MARKUP & {token.type for token in found}
    clean = tokens(parts(dataset_card(facts))[1])
    for kind in ("table_open", "fence", "heading_open", "hr"):
        assert sum(token.type == kind for token in found) == sum(token.type == kind for token in clean)
    assert max(len(line) for line in body.splitlines()) < 5_000


def test_the_clean_card_has_no_markup_of_its_own(facts):
    found = tokens(parts(dataset_card(facts))[1])
    assert not MARKUP & {token.type for token in found}
    headings = [found[i + 1].content for i, token in enumerate(found) if token.type == "heading_open"]
    assert headings == [
        "demo, version 2026-11-20-7f3a9c1e",
        "Stages",
        "Models and sampling",
        "Raters",
        "Loading",
        "Columns",
        "Limits",
    ]


def test_every_row_of_a_table_has_as_many_cells_as_its_head(poisoned_facts):
    body = parts(dataset_card(poisoned_facts))[1]
    width = None
    for line in body.splitlines():
        if not line.startswith("|"):
            width = None
            continue
        cells = len(re.findall(r"(?<!\\)\|", line))
        width = width or cells
        assert cells == width, line[:200]
