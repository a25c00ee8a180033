"""The page of the audits of real data: every figure in a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _audit_proofs import (
    FloatArray,
    IntArray,
    Planted,
    alpaca_matrix,
    completion,
    corrupted_margins,
    corrupted_scores,
    rater_scales,
    wmt_scores,
)
from _audit_sets import RealSet

from sweetspot.auditing.findings import AuditResult, Bars, Finding
from sweetspot.auditing.verdict import judge

PUBLISHED = {
    "pandalm_humans": 0.86,
    "llmfao_workers": 0.29,
    "ukp_workers": 0.27,
    "summaries": 0.09,
}
"""Krippendorff's alpha as the README of the data has it."""


@dataclass(frozen=True)
class Audited:
    """One set, audited."""

    real: RealSet
    result: AuditResult
    seconds: float

    def finding(self, check: str) -> Finding | None:
        """The finding of a check, None where it was not made."""
        found = [one for one in self.result.findings if one.check == check and one.level != "not_checked"]
        return found[0] if found else None

    def figure(self, check: str, name: str) -> Any:
        """One figure, None where it is not there."""
        finding = self.finding(check)
        return None if finding is None else finding.figures.get(name)


def page(audited: Sequence[Audited], data: Path) -> str:
    """README.md of the results."""
    parts = [
        "# `sweetspot audit` on real data",
        "Made by `python benchmarks/audit_real.py`; nothing here is typed by hand. Reports are shown where the licence "
        "of the set lets its texts be repeated.",
        _verdicts(audited),
        _truth(audited),
        _agreement(audited),
        _places(audited),
        _pairs(audited),
        _noticed(audited),
        *_matrices(alpaca_matrix(data)),
        *_raters(*wmt_scores(data)),
    ]
    return "\n\n".join(parts) + "\n"


def _matrices(matrix: FloatArray) -> list[str]:
    rows = [
        (f"{one.hidden:.0%}", f"{one.additive:.4f}", f"{one.completed:.4f}", f"{one.worst_ratio:.3f}")
        for one in completion(matrix)
    ]
    return [
        "## Hidden scores completed",
        f"AlpacaEval 2, {matrix.shape[0]} prompts x {matrix.shape[1]} models; root mean squared error on the hidden "
        "scores, mean of three draws. Worst: the largest ratio of the two in any draw.",
        table(("hidden", "row + column", "`complete_scores`", "worst"), rows),
        "## Planted corruption found",
        "Means of three seeds. Distances are between rankings, 0 the same and 1 reversed. Errors that were there "
        "before count as false alarms, so precision is a lower bound.",
        f"Margins between the {matrix.shape[1]} models of AlpacaEval 2, some turned round; `lad`:",
        _planted(corrupted_margins(matrix)),
    ]


def _raters(scores: FloatArray, segment: IntArray) -> list[str]:
    scales = rater_scales(scores, segment)
    return [
        "WMT23 Chinese-English, three expert raters a response, single scores mirrored; `consensus`. Each way of "
        "ranking is compared with itself without corruption. Three raters can outvote one wrong score a response, and "
        "an expert's rare low score looks like an error, so few single scores are flagged. The robust ranking moves "
        "less than the mean until about a fifth of the scores are wrong:",
        _planted(corrupted_scores(scores, segment)),
        "## Rater scales undone",
        f"WMT23 Chinese-English, {scales.shared} pairs of scores that two raters gave the same response. Their mean "
        f"scores differ by {scales.raw_gap:.2f} standard deviations as given and by {scales.scaled_gap:.2f} on one "
        f"scale. A held-out rater's order of responses correlates with the others' mean by {scales.raw_order:.3f} as "
        f"given and {scales.scaled_order:.3f} on one scale: within a segment the same raters scored all responses, so "
        "scales hardly decide the order there.",
    ]


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _share(value: Any) -> str:
    return "–" if value is None else f"{value:.1%}"


def _number(value: Any) -> str:
    return "–" if value is None else f"{value:.3f}"


def _verdicts(audited: Sequence[Audited]) -> str:
    rows = [
        (
            f"[{one.real.name}]({one.real.name}.html)" if one.real.may_be_shown else one.real.name,
            one.real.credit,
            f"{one.result.rows:,}",
            f"{one.seconds:.0f} s",
            judge(one.result).headline.rstrip("."),
        )
        for one in audited
    ]
    return "## The sets\n\nTimes include the stress test, on two shared cores.\n\n" + table(
        ("set", "source, licence", "rows", "time", "verdict"), rows
    )


def _truth(audited: Sequence[Audited]) -> str:
    names = (
        *("majority_accuracy", "dawid_skene_accuracy", "estimate_accuracy", "best_annotator_accuracy"),
        *("estimate_accuracy_where_the_best_voted", "claimed_accuracy"),
    )
    rows = []
    for one in audited:
        finding = one.finding("against_gold")
        if finding is not None:
            low, high = finding.intervals["estimate_accuracy"]
            figures = [_share(finding.figures.get(name)) for name in names]
            says = finding.says.rsplit("). ", 1)[-1]
            known = str(finding.figures["units_with_truth"])
            rows.append((one.real.name, known, *figures, _claimed_before(one), f"{low:.1%} to {high:.1%}", says))
    header = (
        "set",
        "known truths",
        "majority",
        "Dawid–Skene",
        "estimate",
        "best single",
        "estimate there",
        "claimed",
        "before",
        "95 % of the estimate",
        "the report says",
    )
    return (
        "## Aggregated labels against known truth\n\n`claimed` is the mean probability that the estimate gives "
        "its own labels, after it was lowered to what the known truths bear out, each label's by truths other than its "
        "own; `before` is what the annotators' agreement alone would claim. The best single annotator is judged where "
        "it voted; `estimate there` is the estimate on the same units. Without a truth an audit can only show that, "
        "and says so.\n\n" + table(header, rows)
    )


def _claimed_before(one: Audited) -> str:
    """Mean certainty before the truths were asked, from the warning that says it was lowered."""
    errors = one.finding("label_errors")
    notes = [note for note in (errors.warnings if errors else ()) if note.startswith("tempered")]
    return notes[0].split(" from ")[1].split(" to ")[0] if notes else "–"


def _agreement(audited: Sequence[Audited]) -> str:
    rows = []
    for one in audited:
        alpha = one.figure("agreement", "krippendorff_alpha")
        if alpha is not None:
            published = PUBLISHED.get(one.real.name)
            rows.append((one.real.name, _number(alpha), "–" if published is None else f"{published:.2f}"))
    return (
        "## Agreement\n\nKrippendorff's alpha, ties as a class of their own, beside the figure in the README of the "
        "data. Where they differ, that figure is not borne out by the data beside it.\n\n"
        + table(("set", "alpha", "README of the data"), rows)
    )


def _places(audited: Sequence[Audited]) -> str:
    rows = []
    for one in audited:
        position, circles = one.finding("position_bias"), one.finding("intransitivity")
        if position is not None or circles is not None:
            first = one.figure("position_bias", "first_shown_rate")
            same = one.figure("position_bias", "same_winner_consistency")
            says = "–" if circles is None else circles.says.split(". ")[0]
            rows.append((one.real.name, _share(first), _share(same), says))
    return "## Position and circles\n\n" + table(
        ("set", "first shown wins", "same winner turned round", "circles"), rows
    )


def _pairs(audited: Sequence[Audited]) -> str:
    one = next(one for one in audited if one.real.name == "hh_rlhf_test")
    length = one.finding("length_bias")
    rows = [
        (label, f"{value:.1%}", f"{low:.1%} to {high:.1%}")
        for chart in (length.charts if length is not None else ())
        if isinstance(chart, Bars) and "helpful-base" in chart.labels
        for label, value, (low, high) in zip(chart.labels, chart.values, chart.intervals, strict=True)
    ]
    identical = one.figure("duplicates", "identical_responses")
    return (
        f"## HH-RLHF, test split\n\n{identical} pairs have the same text twice (the README of the data says 18). "
        "How often the longer response was chosen:\n\n" + table(("subset", "longer chosen", "95 %"), rows)
    )


def _noticed(audited: Sequence[Audited]) -> str:
    rows = []
    for one in audited:
        figures = (one.finding("stress_flips") or Finding("", "", "ok", "")).figures
        if not figures:
            continue
        rows.append(
            (
                one.real.name,
                *(
                    _share(figures.get(f"uniform_10_{name}"))
                    for name in ("recall", "precision", "random_removal_recall")
                ),
                *(
                    _share(figures.get(f"uniform_10_error_rate_{name}"))
                    for name in ("untouched", "random_removal", "cleaned")
                ),
                str(figures.get("one_annotator_noticed_in_seeds", "–")),
                str(figures.get("one_topic_noticed_in_seeds", "–")),
                str(figures.get("longer_wins_noticed_in_seeds", "–")),
                str(figures.get("trigger_noticed_in_seeds", "–")),
            )
        )
    header = (
        *("set", "flagged of 10 % turned", "precision", "removed at random", "error untouched", "after random removal"),
        *("after cleaning", "one annotator noticed", "one topic noticed", "longer wins noticed", "trigger noticed"),
    )
    return (
        "## Would I notice?\n\n`audit --stress`: labels turned round on purpose, three seeds. Errors are of kept "
        "labels for pairs, of decisions for votes, of the order of responses for scores; where no truth is known, they "
        "are differences from the estimate on the undisturbed data, which favours cleaning. Topics are those a column "
        "names, else clusters of the prompts by their words.\n\n" + table(header, rows)
    )


def _planted(rows: Sequence[Planted]) -> str:
    header = ("corrupted", "precision", "recall", "recall of random removal", "untouched", "random removal", "cleaned")
    return table(
        header,
        [
            (
                f"{one.share:.0%}",
                f"{one.precision:.3f}",
                f"{one.recall:.3f}",
                f"{one.removal_recall:.3f}",
                f"{one.untouched:.4f}",
                f"{one.removed:.4f}",
                f"{one.cleaned:.4f}",
            )
            for one in rows
        ],
    )
