"""A whole version, made up but consistent, and the smallest one that is allowed."""

import dataclasses

import numpy as np
import pytest
from hostile_pages import HOSTILE, poisoned

from sweetspot.delivery.books import Book, IdSet
from sweetspot.delivery.facts import (
    Agreement,
    Example,
    HeldOut,
    LengthFacts,
    MarginFacts,
    QualityFacts,
    RaterFacts,
    VersionFacts,
    column_facts,
    histogram,
    histograms,
)
from sweetspot.delivery.manifest import FileEntry, Manifest

PROMPTS, SAMPLES = 512, 32


def book(stage, unit, total, dropped):
    """A book over ids 0..total-1; `dropped` maps reasons to how many left."""
    ids = [f"{unit}-{index}" for index in range(total)]
    left, first = {}, 0
    for reason, count in dropped.items():
        left[reason] = IdSet.of(ids[first : first + count])
        first += count
    return Book(stage=stage, unit=unit, rows_in=IdSet.of(ids), rows_out=IdSet.of(ids[first:]), dropped=left)


@pytest.fixture(scope="session")
def books():
    responses = PROMPTS * SAMPLES
    return (
        book("load_prompts", "source_row", 530, {"duplicate": 15, "too_long": 3}),
        book("sample_responses", "prompt", PROMPTS, {}),
        book("score_responses", "response", responses, {"failed_non_finite": 2}),
        book("clean_scores", "response", responses - 2, {"empty": 31, "looping": 212, "run_on": 40}),
        book("build_pairs", "prompt", PROMPTS, {"sigma_zero": 6, "no_gap": 11, "same_text": 2}),
        book("select_pairs", "pair", 393, {"below_keep_fraction": 181, "margins_disagree": 16}),
        book("deliver_dataset", "pair", 296, {}),
    )


@pytest.fixture(scope="session")
def manifest(books):
    return Manifest(
        format_version=1,
        dataset="demo",
        version="2026-11-20-7f3a9c1e",
        parent_sha256="ab" * 32,
        nonce="5f0c2f0e9b5d4b0f",
        run_id="0b9f2f2e-52a5-4c6b-9b0a-6a5f7d1c2e3f",
        logical_date="2026-11-20",
        created_utc="2026-11-20T02:14:09Z",
        code_commit="69f66a3c0d1e",
        lock_sha256="cd" * 32,
        config={"dataset": "demo", "sampling": {"n": SAMPLES, "temperature": 1.0}, "raters": [{"name": "reward"}]},
        models={"policy": "sha256:71c0", "tokenizer": "sha256:aa10", "chat_template_sha256": "ef" * 32},
        sampling={"n": SAMPLES, "temperature": 1.0, "top_p": 1.0, "max_tokens": 24},
        seeds={"sampling": 0, "pairing": 0},
        files=(
            FileEntry("data/train-00000-of-00001.parquet", 48_213, 196, "11" * 32),
            FileEntry("data/eval-00000-of-00001.parquet", 24_881, 100, "22" * 32),
            FileEntry("samples/samples-00000-of-00001.parquet", 913_402, PROMPTS * SAMPLES, "33" * 32),
            FileEntry("dropped/dropped-00000-of-00001.parquet", 21_400, 519, "44" * 32),
        ),
        books=books,
        checks={"degenerate_share": {"passed": True, "detail": "1.7 % of responses, at most 50 % allowed"}},
        warnings=("few_raters: 2 raters can disagree, but neither can be shown to be wrong",),
    )


@pytest.fixture(scope="session")
def facts(manifest):
    draw = np.random.default_rng(0)
    quality = draw.normal(0, 1, (PROMPTS, SAMPLES))
    chosen, rejected = quality.max(axis=1), np.sort(quality, axis=1)[:, 1]
    margins = (chosen - rejected)[:393]
    kept = np.sort(margins)[-196:]
    margin = histograms({"candidates": margins, "kept": kept}, bins=32)
    sides = histograms({"chosen": chosen, "rejected": rejected}, bins=36)
    lengths = histograms({"chosen": draw.gamma(9, 6, 296), "rejected": draw.gamma(7, 6, 296)}, bins=28)
    reward = 3 + 1.7 * quality.ravel() + draw.normal(0, 1, quality.size)
    reward[::800] = np.nan
    graded = np.clip(np.round(0.35 + 0.3 * quality.ravel(), 1), 0, 1)
    return VersionFacts(
        manifest=manifest,
        store="s3://night/preferences",
        prompt_source="s3://night/prompts/2026-11-20.jsonl",
        license="apache-2.0",
        languages=("en",),
        creator="Alignment team",
        stage_seconds={
            "load_prompts": 0.6,
            "sample_responses": 1843.0,
            "score_responses": 212.4,
            "clean_scores": 4.1,
            "build_pairs": 0.3,
            "select_pairs": 0.2,
        },
        raters=(
            RaterFacts("reward", "sha256:9d2c", histogram(reward, 48), outliers=14),
            RaterFacts("verifier", "graded-1", histogram(graded, 21), outliers=0),
        ),
        agreement=(Agreement("reward", "verifier", 0.61, 16_363),),
        quality=QualityFacts(sides["chosen"], sides["rejected"], "max", "mu-2sigma", 493, differs_from_min=168),
        margins=MarginFacts(margin["candidates"], margin["kept"], sft=12),
        lengths=LengthFacts(lengths["chosen"], lengths["rejected"], "characters", 0.56, 0.50, 0.62),
        held_out=HeldOut("exact answers", 0.293, 0.531, 0.20, 0.28, 100, promoted=True),
        columns={"margin": column_facts([*kept, np.nan]), "chosen_rating": column_facts(chosen)},
        examples=(Example("Sort the digits 4 1 3.", "1 3 4", "4 1 3 4 1 3", 1.84, -2.11),),
        not_checked=("Contamination of the prompts with public benchmarks.",),
    )


@pytest.fixture(scope="session")
def bare_facts(manifest):
    """Nothing but what is required: no file, no book, no number."""
    empty = dataclasses.replace(
        manifest,
        parent_sha256=None,
        lock_sha256=None,
        files=(),
        books=(),
        checks={},
        warnings=(),
        models={},
        sampling={},
    )
    return VersionFacts(manifest=empty, store="out/store", prompt_source="prompts.jsonl")


@pytest.fixture(scope="session", params=HOSTILE)
def payload(request):
    return HOSTILE[request.param]


@pytest.fixture(scope="session")
def poisoned_facts(facts, payload):
    return poisoned(facts, payload)
