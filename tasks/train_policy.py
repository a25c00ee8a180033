"""train: a pinned version to a new policy, its exam on held-out prompts, and the gate to promotion."""

from dataclasses import asdict, dataclass
from typing import Any

from sweetspot import ids
from sweetspot.config import Evaluation, Sampling, Training
from tasks import _ray
from tasks._policies import PolicyRef, promote
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
    """Run the training job on the cluster, then promote its policy if the gate lets it through."""
    store = Store(run.store)
    fields = request.to_json()
    prefix = f"{run.dataset}/policies/{_identity(request)}"
    store.create(f"{prefix}/request.json", ids.canonical_json(fields))
    seam("request_committed")
    done = store.record_if_there(f"{prefix}/policy.json")
    if done is None:
        with _ray.cluster(run.cluster) as dashboard:
            name = f"train-{prefix.rsplit('/', 1)[-1]}"
            _ray.run_job(
                "tasks.train_job",
                [run.store, prefix],
                name=name,
                dashboard=dashboard,
                deadline_s=run.cluster.job_timeout_s,
            )
        done = store.record(f"{prefix}/policy.json")
    result = _result(done, PolicyRef(prefix, done["revision"], run.store))
    if result.promoted:
        promote(result.policy, run.dataset, version=request.version.root.rsplit("/", 1)[-1])
    return result


def _identity(request: TrainRequest) -> str:
    """Where a table lies or how long it took does not change what is trained."""
    fields = request.to_json()
    return ids.fingerprint(
        [
            fields["version"]["manifest_sha256"],
            fields["start"]["revision"],
            fields["prompts"]["fingerprint"],
            {key: fields[key] for key in ("sampling", "training", "evaluation")},
        ]
    )


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
