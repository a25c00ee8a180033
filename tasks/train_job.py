"""The training job itself: `python -m tasks.train_job STORE PREFIX REQUEST_SHA256`, run by the cluster, not by hand.

Reads its request from the store, pins the dataset by hash, trains, examines both policies on the
held-out prompts, and commits the new policy with its figures. Whether it is promoted is decided here
by the gate and carried out by the flow.
"""

import hashlib
import math
import os
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sweetspot import ids
from sweetspot.config import Sampling
from sweetspot.delivery.manifest import Manifest
from sweetspot.engines.samplers import open_sampler
from sweetspot.errors import CheckError
from sweetspot.training import EvaluationResult, TrainingResult, compare, decide, divergence, evaluate, train_policy
from tasks import _ray_jobs
from tasks._parquet import Limits
from tasks._policies import commit_policy, find_policy
from tasks._private_folders import cache_folder, held_alone
from tasks._records import parse_record
from tasks._seams import seam
from tasks._store import Store
from tasks.train_policy import TrainRequest


def main(store_uri: str, prefix: str, request_sha256: str) -> None:
    """Carry out the request at `prefix`, unless its policy is there already.

    Raises:
        CheckError: the request, the version or the start policy is not the one that was pinned, at the start or at
            the end; training diverged, so there is no policy to examine; or nothing can be examined.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    request = _request(Store(store_uri), f"{prefix}/request.json", request_sha256)
    # One folder per request: a job started again goes on from its last checkpoint, a twin waits and finds a policy.
    with held_alone(cache_folder() / "training" / ids.fingerprint([store_uri, prefix])) as scratch:
        if find_policy(store_uri, prefix) is None:
            facts = _train(request, scratch)
            commit_policy(store_uri, prefix, scratch / "policy", facts)
        shutil.rmtree(scratch, ignore_errors=True)


def _request(store: Store, key: str, sha256: str) -> TrainRequest:
    data = store.read(key)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise CheckError(f"{store.uri}/{key}: not the request this job was launched with; start the run again")
    return TrainRequest.from_json(parse_record(data, f"{store.uri}/{key}"))


def _train(request: TrainRequest, scratch: Path) -> dict[str, Any]:
    """Train and examine in `scratch`; returns the facts of the new policy."""
    within = Limits(unpacked_bytes=request.training.max_unpacked_bytes)
    rows = request.version.read_split("train", within).to_pylist()
    result = train_policy(
        rows, policy_dir=request.start.local_path(), output_dir=scratch, training=request.training, resume=True
    )
    for reason in divergence(result):
        raise CheckError(reason)
    seam("trained")
    before, after = _exam(request, scratch / "policy")
    # What was pinned is still what lies there, signature included, or nobody could say what the policy was made from.
    manifest, _ = request.version.manifest(), request.start.local_path()
    return {**_terms(request, manifest), **_facts(request, result, before, after)}


def _terms(request: TrainRequest, manifest: Manifest) -> dict[str, Any]:
    """What the policy was trained on and under which terms."""
    config = manifest.config
    return {
        "dataset": manifest.dataset,
        "logical_date": manifest.logical_date,
        "trained_on": manifest.version,
        "manifest_sha256": request.version.manifest_sha256,
        "license": str(config.get("prompts", config).get("license", "unknown")),
    }


def _exam(request: TrainRequest, new_policy: Path) -> tuple[EvaluationResult, EvaluationResult]:
    """The same held-out prompts, the same seeds, both policies."""
    table = request.prompts.read(["prompt_id", "prompt", "answer", "split"]).to_pylist()
    prompts = [row for row in table if row["split"] == "eval" and row["answer"] is not None]
    if not prompts:
        raise CheckError(
            "no held-out prompt has a reference answer, so nothing can be examined; raise prompts.held_out_fraction or "
            "set prompts.answer_column"
        )
    sampling = request.sampling.model_copy(update={"engine": "transformers", "n": max(2, request.evaluation.samples)})
    start, trained = (_result(sampling, path, prompts, request) for path in (request.start.local_path(), new_policy))
    return start, trained


def _result(
    sampling: Sampling, policy: Path | str, prompts: list[dict[str, Any]], request: TrainRequest
) -> EvaluationResult:
    sampler = open_sampler(sampling, str(policy))
    return evaluate(
        sampler,
        prompts,
        [row["answer"] for row in prompts],
        check=request.evaluation.check,
        samples=sampling.n,
        seed=sampling.seed,
    )


def _facts(
    request: TrainRequest, result: TrainingResult, before: EvaluationResult, after: EvaluationResult
) -> dict[str, Any]:
    gain = compare(before, after)
    decision = decide(gain.difference, result, request.evaluation)
    return {
        "kind": "trained",
        "version": asdict(request.version),
        "start": request.start.to_json(),
        "training": request.training.model_dump(mode="json"),
        "promote": decision.promote,
        "reasons": list(decision.reasons),
        "exam": {
            "check": request.evaluation.check,
            "prompts": len(before.prompt_ids),
            "before": before.mean,
            "before_standard_error": before.standard_error,
            "after": after.mean,
            "after_standard_error": after.standard_error,
            "gain": gain.difference,
            "gain_interval": [gain.low, gain.high],
        },
        "figures": _plain(result),
    }


def _plain(result: TrainingResult) -> dict[str, Any]:
    """Figures as JSON; what is not finite is null."""
    figures = {key: value for key, value in asdict(result).items() if key != "losses"}
    return {
        "losses": [_finite(loss) for loss in result.losses],
        **{key: _finite(value) for key, value in figures.items()},
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


if __name__ == "__main__":
    _ray_jobs.job_main(main, sys.argv[1:])
