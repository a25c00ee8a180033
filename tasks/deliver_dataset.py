"""deliver_dataset: the tables of a run, proved complete, published as a version."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from sweetspot import schemas
from sweetspot.delivery.books import Book
from sweetspot.delivery.manifest import FileEntry, Manifest
from sweetspot.errors import CheckError
from tasks._account import account, check_seams, dropped_rows
from tasks._facts import gather_facts
from tasks._pair_account import check_pairs
from tasks._publication import Content, DeliveredVersion, Publication, draft_manifest, publish_version, shards
from tasks._tables import HeldTable, TableRef

__all__ = ["DeliveredVersion", "Publication", "deliver_dataset"]

_WARNING = re.compile(r"^[a-z_]+: ")
"""How a method's warning begins; a stage's other notes are figures."""


def deliver_dataset(
    tables: Mapping[str, TableRef], facts: Publication, *, store_uri: str, dataset: str, private_key: str = ""
) -> DeliveredVersion:
    """Publish a version: all books must balance, then data, then documents, then the manifest.

    Args:
        tables: the run's tables by schema name.
        facts: what the manifest says besides.
        store_uri: store to publish in.
        dataset: name of the dataset.
        private_key: path of the key that signs the manifest; empty signs nothing.

    Raises:
        CheckError: the books do not balance, the version's name holds other content, or the date has been published
            as another version.
    """
    tables = {name: HeldTable(**vars(ref)) for name, ref in tables.items()}
    check_seams(tables)
    check_pairs(tables)
    dropped = dropped_rows(tables)
    ends = account(tables, dropped)
    content = Content(
        fingerprint=tables["delivered"].fingerprint,
        location=tables["delivered"].location,
        files=lambda: _files(tables, dropped),
        draft=lambda publication, files, version: _manifest(
            tables, publication, files, version=version, dataset=dataset
        ),
        facts=lambda draft: gather_facts(draft, tables, ends),
        ends=ends,
    )
    return publish_version(content, facts, store_uri=store_uri, dataset=dataset, private_key=private_key)


def _files(tables: Mapping[str, TableRef], dropped: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    delivered = tables["delivered"].read().sort_by("pair_id")
    split_of = {row["prompt_id"]: row["split"] for row in tables["prompts"].read(["prompt_id", "split"]).to_pylist()}
    splits = [split_of[key] for key in delivered["prompt_id"].to_pylist()]
    for split in ("train", "eval"):
        rows = delivered.filter(pa.array([name == split for name in splits], pa.bool_()))
        if split == "train" and not len(rows):
            raise CheckError("no training pair is left to deliver; see the dropped rows of select_pairs")
        yield from shards(split, len(rows), [rows])
    chunks = tables["responses"].chunks
    for index in range(chunks):
        yield f"samples/samples-{index:05d}-of-{chunks:05d}.parquet", _samples(tables, index)
    yield "dropped/dropped-00000-of-00001.parquet", dropped.combine_chunks()


def _samples(tables: Mapping[str, TableRef], index: int) -> pa.Table:
    quality = tables["quality"].read_chunk(index, ["response_id", "quality"]).to_pylist()
    quality_of = {row["response_id"]: row["quality"] for row in quality}
    scores: dict[str, list[dict[str, Any]]] = {}
    for row in tables["scores"].read_chunk(index, ["response_id", "rater", "score"]).to_pylist():
        if row["score"] is not None:
            scores.setdefault(row["response_id"], []).append({"rater": row["rater"], "score": row["score"]})
    columns = ["prompt_id", "response_id", "sample_index", "response", "model", "finish_reason"]
    return schemas.SAMPLES.table(
        {
            **row,
            "quality": quality_of.get(row["response_id"]),
            "scores": scores.get(row["response_id"], []),
        }
        for row in tables["responses"].read_chunk(index, columns).to_pylist()
    )


def _manifest(
    tables: Mapping[str, TableRef],
    facts: Publication,
    files: list[FileEntry],
    *,
    version: str,
    dataset: str,
) -> Manifest:
    sampled = facts.config.get("prompts", {}).get("starts_from") != "responses"
    sampling = facts.config.get("sampling", {}) if sampled else {}
    return draft_manifest(
        facts,
        files,
        dataset=dataset,
        version=version,
        models=facts.models,
        sampling=sampling,
        seeds={"sampling": sampling["seed"]} if sampling else {},
        books=tuple(Book.from_json(ref.book) for ref in tables.values()),
        checks={
            "books": {"passed": True, "detail": "every stage's ids add up"},
            "prompts": {"passed": True, "detail": "every prompt ended in exactly one place"},
            **facts.checks,
        },
        warnings=tuple(note for ref in tables.values() for note in ref.notes if _WARNING.match(note)),
    )
