"""An audit of a data set with about every flaw, made up but consistent."""

import dataclasses

import numpy as np
import pytest

from sweetspot.auditing.findings import AuditResult, Bars, Cleaning, Curves, Finding, Histogram, Suspect


def label_errors():
    kept = np.linspace(0.5, 1, 11)
    return Finding(
        check="label_errors",
        title="Labels that look wrong",
        level="bad",
        says="About 8 % of the labels look flipped, most of them from the annotators w17 and w4.",
        figures={"error_rate": 0.081, "flagged": 412, "log_likelihood": -1234.5678, "converged": True},
        intervals={"error_rate": (0.072, 0.09)},
        charts=(
            Curves(
                x=tuple(kept.tolist()),
                series={
                    "by estimated error": tuple((0.08 * kept**4).tolist()),
                    "at random": (0.08,) * 11,
                },
                x_axis="share of the pairs kept",
                y_axis="share of wrong labels among them",
            ),
            Histogram(
                edges=tuple(np.linspace(0, 1, 11).tolist()),
                series={"all pairs": (3000, 900, 400, 200, 150, 120, 100, 90, 80, 130)},
                axis="probability that the label is wrong",
            ),
        ),
        suspects=(
            Suspect(
                row_id="pair-0193",
                reason="most annotators disagree with the label",
                probability=0.97,
                texts={
                    "prompt": "Give me three synonyms of 'quick'.",
                    "chosen": "I am sorry, I do not know.",
                    "rejected": "fast, rapid, swift",
                },
            ),
            Suspect(
                row_id="row 17",
                reason="the label goes against both raters",
                probability=0.91,
                texts={"prompt": "Why is the sky blue?", "chosen": "It is.", "rejected": "Rayleigh scattering."},
            ),
            Suspect(row_id="row 2044", reason="the same pair has the other label in row 90", probability=0.5),
        ),
        warnings=("few_labels: 3 of 41 annotators gave fewer than 20 labels",),
    )


def annotators():
    return Finding(
        check="annotators",
        title="Reliability of each annotator",
        level="look",
        says="Two of 41 annotators are hardly better than a coin: w17 and w4.",
        figures={"annotators": 41, "lowest_accuracy": 0.52},
        charts=(
            Bars(
                labels=("w17", "w4", "w9, who has quite a long name in this table", "w22", "w1"),
                values=(0.52, 0.55, 0.78, 0.83, 0.91),
                axis="accuracy, estimated",
                intervals=((0.44, 0.6), (0.46, 0.64), (0.7, 0.86), (0.77, 0.89), (0.85, 0.97)),
                reference=0.5,
            ),
        ),
    )


def length_bias():
    return Finding(
        check="length_bias",
        title="Length",
        level="look",
        says="The longer response is chosen in 64 % of the pairs; length alone explains 60 % of the preference.",
        figures={"longer_chosen_rate": 0.64, "odds_ratio": 3.2},
        intervals={"longer_chosen_rate": (0.61, 0.66)},
        charts=(
            Histogram(
                edges=(0.0, 250.0, 500.0, 750.0, 1000.0, 1250.0),
                series={"rejected": (400, 300, 200, 50, 5), "chosen": (250, 280, 260, 130, 35)},
                axis="length of the response, characters",
            ),
            Bars(
                labels=("helpful", "harmless"),
                values=(0.71, 0.43),
                axis="share of pairs in which the longer response is chosen",
                intervals=((0.68, 0.74), (0.39, 0.47)),
                reference=0.5,
            ),
        ),
    )


def quiet_findings():
    return (
        Finding("agreement", "Agreement of the annotators", "ok", "They agree well.", {"krippendorff_alpha": 0.71}),
        Finding("duplicates", "Copies", "ok", "No pair occurs twice.", {"duplicate_pairs": 0}),
        Finding("likelihoods", "Likelihoods", "not_checked", "There are no columns with reference log-probabilities."),
        Finding("contamination", "Overlap with benchmarks", "not_checked", "No file to compare with was named."),
    )


@pytest.fixture(scope="session")
def result():
    return AuditResult(
        source="data/team_votes.parquet",
        source_sha256="3f" * 32,
        format="long_annotator_table",
        kind="votes",
        rows=5183,
        unreadable={"missing": 11, "wrong_type": 2},
        findings=(length_bias(), *quiet_findings(), annotators(), label_errors()),
        cleaning=Cleaning(
            action="drop",
            estimator="flip mixture, because most pairs have at least three votes",
            rows_in=5170,
            rows_out=4758,
            changed={"reweighted": 120},
            dropped={"label_looks_wrong": 412},
            version_uri="file:///store/team/versions/2026-11-21-0a1b2c3d",
        ),
        options={"seed": 0, "near_threshold": 0.8, "against": None},
        seconds={"read": 1.2, "checks": 14.9},
    )


@pytest.fixture(scope="session")
def bare(result):
    """Nothing but what every audit has."""
    return dataclasses.replace(result, findings=(), cleaning=None, unreadable={}, options={}, seconds={})
