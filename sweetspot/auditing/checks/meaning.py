"""Prompts that lie near a benchmark in meaning, where no run of words is shared: by embeddings, against a control."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sweetspot.auditing.checks._shares import histogram, interval, not_checked, only, share
from sweetspot.auditing.findings import Finding, Level, Suspect
from sweetspot.validation.meaning import FEW_TEXTS, MeaningOverlap

CHECK, TITLE = "meaning_overlap", "Do prompts mean the same as texts of your benchmarks?"
SHOWN = 20
SHOWN_CHARS = 2000
BAD = 0.05


@dataclass(frozen=True)
class Compared:
    """What was embedded.

    Attributes:
        row_id: (n,) the user's name of a row with each prompt.
        references: (R,) texts that must not occur.
        names: files they came from.
        model: as the user named it.
        revision: of the model.
        different_prompts: in the data; more than n where a sample was taken.
        different_references: likewise.
        cut: texts of which only the first tokens were read.
    """

    row_id: Sequence[str]
    references: Sequence[str]
    names: Sequence[str]
    model: str
    revision: str
    different_prompts: int
    different_references: int
    cut: int


def too_few(prompts: int) -> Finding:
    """Where there are not enough prompts for a control."""
    why = f"{prompts} different prompts are too few to say how near unrelated ones come; {FEW_TEXTS} are needed."
    return not_checked(CHECK, TITLE, why)


def check(found: MeaningOverlap, compared: Compared) -> tuple[Finding, ...]:
    """The share of prompts nearer to a reference than unrelated prompts come, and the nearest ones."""
    n, hits = len(found.similarity), int(found.hit.sum())
    chance = interval(found.false_alarms, found.false_alarm_of)
    measured = interval(hits, n)
    figures = {
        "prompts": n,
        "references": len(compared.references),
        "near_prompts": hits,
        "near_share": share(hits, n),
        "false_alarm_rate": share(found.false_alarms, found.false_alarm_of),
        "control_prompts": found.false_alarm_of,
        "threshold_cosine": found.threshold,
        "largest_cosine": float(found.similarity.max()),
        "control_median_cosine": float(np.median(found.control)),
        "embedder_revision": compared.revision,
    }
    beyond_chance = measured[0] > chance[1]
    level: Level = "ok" if not beyond_chance else "bad" if measured[0] - chance[1] >= BAD else "look"
    order = np.argsort(-found.similarity, kind="stable")[: min(SHOWN, hits)]
    suspects = tuple(
        Suspect(
            str(compared.row_id[k]),
            f"cosine {found.similarity[k]:.3f} to a text of {', '.join(compared.names)}",
            texts={"nearest reference": compared.references[int(found.reference[k])][:SHOWN_CHARS]},
        )
        for k in order.tolist()
    )
    axis = "largest cosine with a reference, the mean of the data taken out"
    series = {"prompts": found.similarity, "unrelated prompts": found.control}
    return (
        Finding(
            CHECK, TITLE, level, _says(found, compared, hits, beyond_chance), figures,
            {"near_share": measured, "false_alarm_rate": chance}, only(histogram(series, axis)), suspects,
            _notes(found, compared),
        ),
    )  # fmt: skip


def _says(found: MeaningOverlap, compared: Compared, hits: int, beyond_chance: bool) -> str:
    n = len(found.similarity)
    says = (
        f"{hits} of {n} prompts ({share(hits, n):.1%}) come nearer to a text of {', '.join(compared.names)} than "
        f"cosine {found.threshold:.2f}, as {share(found.false_alarms, found.false_alarm_of):.1%} of unrelated prompts "
        f"do by chance ({found.false_alarms} of {found.false_alarm_of})"
    )
    if not beyond_chance:
        return f"{says}: no more than chance explains."
    return f"{says}: read the nearest beside their reference, and leave out those that ask the same in other words."


def _notes(found: MeaningOverlap, compared: Compared) -> tuple[str, ...]:
    notes = ["chance: prompts of the data itself, compared with as many others of it as there are references"]
    notes.append("subject: texts of one subject lie near each other without being copies; only reading tells")
    if len(found.similarity) < compared.different_prompts:
        notes.append(
            f"sample: {len(found.similarity)} of {compared.different_prompts} different prompts, picked by hash; raise "
            "embedder_texts for more"
        )
    if len(compared.references) < compared.different_references:
        notes.append(
            f"references: {len(compared.references)} of {compared.different_references} texts, picked by hash; raise "
            "embedder_texts for more"
        )
    if compared.cut:
        notes.append(f"cut: of {compared.cut} long texts only the beginning was embedded")
    return (*notes, *found.warnings)
