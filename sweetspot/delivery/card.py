"""README.md of a version: a dataset card for people, with front matter that `datasets.load_dataset` reads."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml
from markupsafe import Markup

from sweetspot.delivery.facts import VersionFacts
from sweetspot.delivery.manifest import Manifest
from sweetspot.pages.wording import one_line, render_markdown
from sweetspot.schemas import DELIVERED, DROPPED, SAMPLES, VERDICTS, Schema

TEMPLATE = Path(__file__).parent / "templates" / "card.md.j2"

# The hub's own classes, as upper bounds.
_SIZES = (
    (1e3, "n<1K"),
    (1e4, "1K<n<10K"),
    (1e5, "10K<n<100K"),
    (1e6, "100K<n<1M"),
    (1e7, "1M<n<10M"),
    (1e8, "10M<n<100M"),
    (1e9, "100M<n<1B"),
    (1e10, "1B<n<10B"),
    (1e11, "10B<n<100B"),
    (1e12, "100B<n<1T"),
)
_BY_MACHINE = "machine-generated"


@dataclass(frozen=True)
class CardConfig:
    """One loadable part of a version.

    Attributes:
        name: what `load_dataset` is asked for.
        schema: its columns.
        splits: (split, glob of its files); only those with files.
    """

    name: str
    schema: Schema
    splits: tuple[tuple[str, str], ...]


# `samples` and `dropped` hold held-out prompts too, so their one split must not be called train.
_LAYOUT = (
    CardConfig("default", DELIVERED, (("train", "data/train-*.parquet"), ("eval", "data/eval-*.parquet"))),
    CardConfig("samples", SAMPLES, (("rows", "samples/*.parquet"),)),
    CardConfig("dropped", DROPPED, (("rows", "dropped/*.parquet"),)),
    CardConfig("verdicts", VERDICTS, (("rows", "verdicts/*.parquet"),)),
)


def dataset_card(facts: VersionFacts) -> str:
    """Write the card: YAML front matter, then Markdown in which no caller's text is markup."""
    front_matter = yaml.safe_dump(metadata(facts), sort_keys=False, allow_unicode=False, width=1000)
    offered = configs(facts.manifest)
    return render_markdown(
        TEMPLATE,
        front_matter=Markup(front_matter),
        facts=facts,
        manifest=facts.manifest,
        configs=offered,
        folder=Markup(facts.manifest.version),  # letters, digits and . _ + - only, checked by the manifest
        has_samples=bool(facts.manifest.files_under("samples/")),
        samples_load=any(config.name == "samples" for config in offered),
        columns=DELIVERED.columns,
        n=facts.manifest.sampling.get("n"),
    )


def metadata(facts: VersionFacts) -> dict[str, Any]:
    """The front matter as plain values."""
    by_machine = facts.annotations == _BY_MACHINE
    offered = configs(facts.manifest)
    return {
        "pretty_name": facts.manifest.dataset,
        # On one line each: readers look for the closing "---" line by line, before they parse.
        "license": one_line(facts.license),
        "language": [one_line(language) for language in facts.languages],
        "annotations_creators": [one_line(facts.annotations)],
        "size_categories": [size_category(facts.train_rows + facts.eval_rows)],
        "task_categories": ["text-generation"],
        "tags": [*(("synthetic", "rlaif") if by_machine else ()), "dpo", "preference", "sweetspot"],
        "configs": [
            {
                "config_name": config.name,
                **({"default": True} if config.name == "default" else {}),
                "data_files": [{"split": split, "path": path} for split, path in config.splits],
            }
            for config in offered
        ],
        "dataset_info": [{"config_name": config.name, "features": features(config.schema)} for config in offered],
    }


def configs(manifest: Manifest) -> tuple[CardConfig, ...]:
    """The parts that can be loaded: those with files, in types `datasets` has."""
    offered = []
    for config in _LAYOUT:
        there = tuple((split, path) for split, path in config.splits if manifest.files_under(path.partition("*")[0]))
        if there and features(config.schema) is not None:
            offered.append(CardConfig(config.name, config.schema, there))
    return tuple(offered)


def features(schema: Schema) -> list[dict[str, Any]] | None:
    """Columns in the notation of `dataset_info.features`; None if `datasets` has no type for one of them."""
    found = [_feature(column.type) for column in schema.columns]
    if any(feature is None for feature in found):
        return None
    return [{"name": column.name, **(feature or {})} for column, feature in zip(schema.columns, found, strict=True)]


def _feature(kind: pa.DataType) -> dict[str, Any] | None:
    if pa.types.is_map(kind):
        return None
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        inner = _feature(kind.value_type)
        if inner is None:
            return None
        return {"list": inner["dtype"] if "dtype" in inner else inner.get("struct", inner)}
    if pa.types.is_struct(kind):
        members = [(kind.field(index).name, _feature(kind.field(index).type)) for index in range(kind.num_fields)]
        if any(member is None for _, member in members):
            return None
        return {"struct": [{"name": name, **(member or {})} for name, member in members]}
    return {"dtype": {"double": "float64", "float": "float32"}.get(str(kind), str(kind))}


def size_category(rows: int) -> str:
    """The hub's size class of a number of rows."""
    return next((name for bound, name in _SIZES if rows < bound), "n>1T")
