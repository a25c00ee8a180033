"""train: a pinned version to a new policy, its exam on held-out prompts, and the gate to promotion."""

import hashlib
from dataclasses import asdict, dataclass, replace
from typing import Any

from pydantic import ValidationError

from sweetspot import ids
from sweetspot.config import Evaluation, Sampling, Training
from sweetspot.errors import CheckError
from tasks import _ray, _ray_jobs
from tasks._policies import PolicyRef, promote
from tasks._records import DAMAGED, parse_record
from tasks._seams import seam
from tasks._stage import Run
from tasks._store import Store
from tasks._tables import TableRef
from tasks._versions import VersionRef


@dataclass(frozen=True)
class TrainRequest:
    """Everything the job needs, committed to the store before it starts; the same request trains once.

    Attributes:
        version: pinned dataset version.
        start: policy to start from, and the reference.
        prompts: table of prompts, for the held-out ones.
        sampling: how the exam samples.
        training: of the job.
        evaluation: of the exam and the gate.
    """

    version: VersionRef
    start: PolicyRef
    prompts: TableRef
    sampling: Sampling
    training: Training
    evaluation: Evaluation

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, read back by `from_json` in the job."""
        return {
            "version": asdict(self.version),
            "start": asdict(self.start),
            "prompts": self.prompts.to_json(),
            "sampling": self.sampling.model_dump(mode="json"),
            "training": self.training.model_dump(mode="json"),
            "evaluation": self.evaluation.model_dump(mode="json"),
        }

    @property
    def identity(self) -> str:
        """The same for requests that train the same; where a table lies or how often to save changes nothing."""
        fields = self.to_json()
        return ids.fingerprint(
            [
                fields["version"]["manifest_sha256"],
                fields["version"]["public_key"],
                fields["start"]["revision"],
                fields["prompts"]["fingerprint"],
                fields["sampling"],
                {name: value for name, value in fields["training"].items() if name != "checkpoint_steps"},
                fields["evaluation"],
            ]
        )

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "TrainRequest":
        """The request a job was given."""
        prompts = {**fields["prompts"], "notes": tuple(fields["prompts"]["notes"])}
        return cls(
            version=VersionRef(**fields["version"]),
            start=PolicyRef(**fields["start"]),
            prompts=TableRef(**prompts),
            sampling=Sampling(**fields["sampling"]),
            training=Training(**fields["training"]),
            evaluation=Evaluation(**fields["evaluation"]),
        )


@dataclass(frozen=True)
class TrainedPolicy:
    """What came out of a training.

    Attributes:
        policy: the new policy, committed whether promoted or not.
        promoted: it samples the next night.
        reasons: why not, one sentence each.
        before: held-out result of the start policy, mean over prompts.
        after: of the new policy.
        gain_interval: 95 % interval of the paired difference.
        figures: losses, log-probabilities and standard errors, for the report.
    """

    policy: PolicyRef
    promoted: bool
    reasons: tuple[str, ...]
    before: float
    after: float
    gain_interval: tuple[float, float]
    figures: dict[str, Any]


def train_policy(request: TrainRequest, run: Run) -> TrainedPolicy:
    """Run the training job on the cluster, then promote its policy if the gate lets it through.

    However often a request is launched it trains once: what was asked for lies in the store under its identity, a
    policy that is there is not trained again, and a job that still runs is joined.

    Raises:
        CheckError: the version, the start policy or the request is not the one that was asked for, the training
            diverged or took too long.
        EngineError: the job failed, or its Ray head does not answer.
    """
    store = Store(run.store)
    prefix = f"{run.dataset}/policies/{request.identity}"
    sha256 = _commit_request(store, f"{prefix}/request.json", request)
    seam("request_committed")
    done = store.record_if_there(f"{prefix}/policy.json")
    if done is None:
        with _ray.cluster(run.cluster) as dashboard:
            _ray_jobs.run_job(
                "tasks.train_job",
                [run.store, prefix, sha256],
                name=f"train-{ids.fingerprint([run.store, prefix])}",
                dashboard=dashboard,
                deadline_s=run.cluster.job_timeout_s,
            )
        done = store.record(f"{prefix}/policy.json")
    result = _result(done, PolicyRef(prefix, done["revision"], run.store))
    return _promoted(result, request, run.dataset) if result.promoted else result


def _commit_request(store: Store, key: str, request: TrainRequest) -> str:
    """sha256 of the request as it lies in the store; one of the same identity that was there first counts.

    Raises:
        CheckError: what lies there asks for something else.
    """
    data = ids.canonical_json(request.to_json())
    if not store.create(key, data):
        data = store.read(key)
        try:
            found = TrainRequest.from_json(parse_record(data, f"{store.uri}/{key}")).identity
        except (KeyError, TypeError, ValidationError):
            found = "unknown"
        if found != request.identity:
            raise CheckError(f"{store.uri}/{key}: asks for training {found}, not for {request.identity}; {DAMAGED}")
    return hashlib.sha256(data).hexdigest()


def _promoted(result: TrainedPolicy, request: TrainRequest, dataset: str) -> TrainedPolicy:
    """The result after moving the dataset's pointer; a policy of a later date keeps it."""
    manifest = request.version.manifest()
    reason = promote(result.policy, dataset, version=manifest.version, logical_date=manifest.logical_date)
    return replace(result, promoted=False, reasons=(*result.reasons, reason)) if reason else result


def _result(marker: dict[str, Any], policy: PolicyRef) -> TrainedPolicy:
    exam = marker["exam"]
    return TrainedPolicy(
        policy=policy,
        promoted=bool(marker["promote"]),
        reasons=tuple(marker["reasons"]),
        before=exam["before"],
        after=exam["after"],
        gain_interval=tuple(exam["gain_interval"]),
        figures={**marker["figures"], **exam},
    )
