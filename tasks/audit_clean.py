"""A cleaned, selected version of audited data, published exactly as `curate` publishes one."""

from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from sweetspot import ids, schemas
from sweetspot.auditing.cleaning import REASONS, decide
from sweetspot.auditing.findings import Cleaning
from sweetspot.auditing.inspection import Inspection
from sweetspot.auditing.settings import Audit
from sweetspot.auditing.tables import Votes
from sweetspot.delivery.books import Book, IdSet
from sweetspot.delivery.facts import VersionFacts, column_facts
from sweetspot.delivery.manifest import FileEntry, Manifest
from sweetspot.errors import CheckError, ContractError
from tasks._facts import length_facts
from tasks._publication import Content, Publication, draft_manifest, publish_version, shards
from tasks._store import encode_table
from tasks.audit_measure import Measured
from tasks.audit_report import write_file
from tasks.audit_rows import Delivery, delivered_rows, units_with_texts
from tasks.audit_source import AuditSource

VERDICT_ROWS = 500_000
CODE_VERSION = 2
"""Raised by hand when the same source and settings would give another version."""


def clean_and_deliver(
    source: AuditSource,
    measured: Measured,
    inspected: Inspection,
    settings: Audit,
    *,
    code_commit: str = "unknown",
    lock_sha256: str = "",
) -> Cleaning:
    """Decide about every preference and publish those that go on.

    Raises:
        ContractError: no preference is left, or the data has nothing to select by.
        CheckError: the books do not balance, or the date has been published with other content.
    """
    table = measured.table
    labels = ""
    if isinstance(table, Votes):
        labels = write_file(settings.out, "labels.parquet", _labels(table, inspected))
        if not table.paired or not {"prompt", "first", "second"} <= set(measured.reading.columns):
            return _labels_only(table, inspected, settings, labels)
    places, keys = units_with_texts(source, measured) if isinstance(table, Votes) else (None, None)
    decisions = decide(
        table,
        inspected,
        settings,
        places=places,
        prompt_keys=keys,
        containment=measured.containment,
        scored=measured.scored,
    )
    if not decisions.kept.any():
        raise ContractError(f"{source.name}: no preference is left to deliver: {decisions.counts(~decisions.kept)}")
    delivery = Delivery(source, measured, decisions, settings)
    books = _books(measured, delivery)
    for book in books:
        book.balance()
    models = dict(measured.scored.revisions) if measured.scored is not None else {}
    publication = _publication(source, settings, models, code_commit, lock_sha256)
    content = _content(delivery, books, publication, inspected)
    version = publish_version(content, publication, store_uri=_store(settings.out), dataset=settings.dataset)
    if sum(version.rows.values()) != delivery.rows_out:
        raise CheckError(f"{version.uri}: {version.rows} rows published, expected {delivery.rows_out}")
    return _report(delivery, inspected, settings, version.uri)


def _store(out: str) -> str:
    return out if "://" in out else f"file://{out}"


def _publication(
    source: AuditSource, settings: Audit, models: dict[str, str], code_commit: str, lock_sha256: str
) -> Publication:
    now = datetime.now(UTC)
    config = {**settings.model_dump(mode="json", exclude={"out", "workers"}), "source_sha256": source.sha256}
    config |= {f"{role}_revision": revision for role, revision in models.items()}
    return Publication(
        run_id=f"audit-{settings.dataset}-{ids.fingerprint(config)}",
        logical_date=now.strftime("%Y-%m-%d"),
        created_utc=now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        code_commit=code_commit,
        lock_sha256=lock_sha256,
        config=config,
        models=models,
    )


def _books(measured: Measured, delivery: Delivery) -> tuple[Book, ...]:
    """What came in, went on and left: rows of the source, then preferences."""
    used = delivery.used_places
    left: dict[str, list[str]] = {}
    for one in delivery.left_rows:
        left.setdefault(one.reason, []).append(str(one.row))
    rows = IdSet.of(str(place) for place in range(measured.rows))
    reading = Book(
        "read_source", "source_row", rows, IdSet.of(map(str, used)), {k: IdSet.of(v) for k, v in left.items()}
    )
    decisions = delivery.decisions
    names = np.arange(len(decisions)).astype(str)
    reasons = {
        reason: IdSet.of(names[~decisions.kept & (decisions.reason == reason)].tolist())
        for reason in decisions.counts(~decisions.kept)
    }
    cleaning = Book(
        "clean_labels", decisions.unit, IdSet.of(names.tolist()), IdSet.of(names[decisions.kept].tolist()), reasons
    )
    return reading, cleaning


def _content(delivery: Delivery, books: tuple[Book, ...], publication: Publication, inspected: Inspection) -> Content:
    key = ids.fingerprint(["audit", CODE_VERSION, publication.config, [book.to_json() for book in books]])
    notes = tuple(note for note in (*inspected.estimate.warnings, *delivery.decisions.notes) if ": " in note)

    def draft(facts: Publication, files: list[FileEntry], version: str) -> Manifest:
        return draft_manifest(
            facts,
            files,
            dataset=delivery.settings.dataset,
            version=version,
            models={"estimator": inspected.estimate.method, **publication.models},
            sampling={},
            seeds={},
            books=books,
            checks={"books": {"passed": True, "detail": "every row and every preference adds up"}},
            warnings=notes,
        )

    return Content(
        fingerprint=key,
        location=f"{delivery.settings.dataset}/audits/{key}",
        files=lambda: _files(delivery, books),
        draft=draft,
        facts=lambda manifest: _facts(delivery, manifest),
        ends={"delivered": int(delivery.decisions.kept.sum())},
    )


def _files(delivery: Delivery, books: tuple[Book, ...]) -> Iterator[tuple[str, pa.Table]]:
    """Delivered rows in the order of the source, then what left, then what was decided about every preference.

    Raises:
        CheckError: a kept preference found no text: nothing of it may be published as complete.
    """
    for split in ("train", "eval"):
        rows = delivery.rows_in(split)
        if rows:
            yield from shards(split, rows, delivered_rows(delivery, split))
    if delivery.rows_done != delivery.rows_out:
        raise CheckError(
            f"{delivery.source.name}: {delivery.rows_done} rows were written, the decisions call for "
            f"{delivery.rows_out}; the source changed while it was read"
        )
    yield "dropped/dropped-00000-of-00001.parquet", _dropped(delivery)
    verdicts = _verdicts(delivery)
    count = -(-len(verdicts) // VERDICT_ROWS)
    for shard in range(count):
        part = verdicts.slice(shard * VERDICT_ROWS, VERDICT_ROWS).combine_chunks()
        yield f"verdicts/verdicts-{shard:05d}-of-{count:05d}.parquet", part


def _dropped(delivery: Delivery) -> pa.Table:
    """Every row and preference that left, columns built without a dictionary per row."""
    decisions, left = delivery.decisions, delivery.left_rows
    gone = np.flatnonzero(~decisions.kept)
    reasons = decisions.reason[gone].tolist()
    columns = {
        "stage": ["read_source"] * len(left) + ["clean_labels"] * gone.size,
        "unit": ["source_row"] * len(left) + [decisions.unit] * gone.size,
        "row_id": [str(one.row) for one in left] + [str(k) for k in gone],
        "prompt_id": [""] * (len(left) + gone.size),
        "reason": [one.reason for one in left] + reasons,
        "detail": [f"{one.row_id}: {one.detail}" for one in left]
        + [f"{decisions.row_id[k]}: {REASONS.get(why, why)}" for k, why in zip(gone, reasons, strict=True)],
    }
    return schemas.DROPPED.check(pa.table(columns, schema=schemas.DROPPED.arrow))


def _verdicts(delivery: Delivery) -> pa.Table:
    decisions = delivery.decisions
    action = delivery.actions()
    wrong = decisions.error_probability
    weighted = (
        np.where(np.isnan(wrong), 1.0, 1 - wrong) if delivery.settings.clean == "reweight" else np.ones(len(wrong))
    )
    columns = {
        "row_id": decisions.row_id.tolist(),
        "candidate": np.arange(len(decisions)),
        "source_row": decisions.first,
        "pair_id": [delivery.pair_ids.get(k) for k in range(len(decisions))],
        "action": action.tolist(),
        "reason": decisions.reason.tolist(),
        "error_probability": pa.array(wrong, mask=np.isnan(wrong)),
        "weight": np.where(decisions.kept, weighted, 0.0),
    }
    return schemas.VERDICTS.check(pa.table(columns, schema=schemas.VERDICTS.arrow))


def _facts(delivery: Delivery, manifest: Manifest) -> VersionFacts:
    chosen, rejected = (np.array(side, dtype=np.float64) for side in zip(*delivery.lengths, strict=True))
    kept = delivery.decisions.kept
    rating = delivery.decisions.rating[kept]
    return VersionFacts(
        manifest=manifest,
        store=_store(delivery.settings.out),
        prompt_source=delivery.source.name,
        flow="audit",
        license=delivery.settings.license,
        annotations="found",
        lengths=length_facts(chosen, rejected),
        columns={
            name: column_facts(values)
            for name, values in (
                ("chosen_rating", rating[:, 0]),
                ("rejected_rating", rating[:, 1]),
                ("margin", rating[:, 0] - rating[:, 1]),
                ("margin_implicit", delivery.decisions.implicit[kept]),
                ("preference_probability", 1 - delivery.decisions.error_probability[kept]),
            )
        },
        not_checked=("The audit's own report.json and report.html, beside this version, say what was checked.",),
    )


def _report(delivery: Delivery, inspected: Inspection, settings: Audit, uri: str) -> Cleaning:
    action, decisions = delivery.actions(), delivery.decisions
    changed = {name: int((action == name).sum()) for name in ("flipped", "weighted", "flagged")}
    routed = int((decisions.kept & (decisions.route == "sft")).sum())
    return Cleaning(
        action=settings.clean,
        estimator="; ".join((inspected.estimate.why, *(note for note in decisions.notes if ": " not in note))),
        rows_in=len(decisions),
        rows_out=int(decisions.kept.sum()),
        changed={
            **{name: count for name, count in changed.items() if count},
            **({"routed_to_sft": routed} if routed else {}),
        },
        dropped=decisions.counts(~decisions.kept),
        version_uri=uri,
    )


def _labels(votes: Votes, inspected: Inspection) -> bytes:
    """The aggregated label of every unit as Parquet."""
    found = inspected.estimate
    names = [None if code < 0 else votes.classes[code] for code in found.label.tolist()]
    wrong = found.error_probability
    table = {
        "unit": pa.array(votes.units, pa.large_string()),
        "label": pa.array(names, pa.large_string()),
        "error_probability": pa.array(wrong, mask=np.isnan(wrong)),
        "votes": pa.array(votes.counts().sum(axis=1)),
    }
    return encode_table(pa.table(table))


def _labels_only(votes: Votes, inspected: Inspection, settings: Audit, where: str) -> Cleaning:
    """What is reported where there are no texts to publish: the labels alone."""
    decided = int((inspected.estimate.label >= 0).sum())
    return Cleaning(
        action=settings.clean,
        estimator=f"{inspected.estimate.why}; the source has no texts, so only labels were written: {where}",
        rows_in=len(votes.units),
        rows_out=decided,
        dropped={"undecided": len(votes.units) - decided} if decided < len(votes.units) else {},
    )
