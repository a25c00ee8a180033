"""Which prompts lie near the texts of `against` in meaning, by the embeddings of a model that the user names."""

import numpy as np

from sweetspot.auditing.checks import meaning
from sweetspot.auditing.checks.meaning import Compared
from sweetspot.auditing.features import asked
from sweetspot.auditing.findings import Finding
from sweetspot.auditing.settings import Audit
from sweetspot.auditing.tables import Pairs, Scores
from sweetspot.validation._text import digest
from sweetspot.validation.meaning import FEW_TEXTS, meaning_overlap
from tasks._parquet import limits_of
from tasks._policies import start_policy
from tasks.audit_inspect import first_rows, prompts_at
from tasks.audit_measure import Measured, texts_of_file
from tasks.audit_source import AuditSource


def compare_meanings(source: AuditSource, measured: Measured, settings: Audit) -> tuple[Finding, ...]:
    """Embed the different prompts and the texts of `against`, or samples of them by hash, and compare.

    Raises:
        ConfigError: the model cannot be opened.
        EngineError: its embeddings are not finite.
    """
    table = measured.table
    assert isinstance(table, Pairs | Scores)
    rows = first_rows(table)
    if len(rows) < FEW_TEXTS:
        return (meaning.too_few(len(rows)),)
    prompts = prompts_at(source, measured, rows[: settings.embedder_texts])
    every = dict.fromkeys(
        text for name in settings.against for text in texts_of_file(name, limits_of(settings), only_prompts=True)
    )
    references = sorted(every, key=digest)[: settings.embedder_texts]
    from sweetspot.engines.embedder import TransformersEmbedder

    model = TransformersEmbedder(str(start_policy(settings.embedder, settings.embedder_revision).local_path()))
    mine, others = model.embed([asked(prompt) for prompt in prompts.values()]), model.embed(references)
    names = dict(zip(table.row.tolist(), table.row_id.tolist(), strict=True))
    compared = Compared(
        row_id=[str(names[place]) for place in prompts],
        references=references,
        names=[name.rsplit("/", 1)[-1] for name in settings.against],
        model=settings.embedder,
        revision=model.revision,
        different_prompts=len(rows),
        different_references=len(every),
        cut=mine.cut + others.cut,
    )
    return meaning.check(meaning_overlap(np.asarray(mine.vectors), others.vectors), compared)
