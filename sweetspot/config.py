"""Everything a user can set, one section per stage, in the order the stages run.

The same classes are the YAML file, the `--set a.b=c` paths and the run form in the Prefect UI: the
text under a field is its help, its bounds are the form's validation, its place is its position. So
constraints are written as bounds and choices; the UI cannot run Python validators.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Position = Literal["min", "mu-2sigma", "mu-sigma", "mu", "mu+sigma", "mu+2sigma", "max", "random"]
RejectedPosition = Literal[
    "min", "mu-2sigma", "mu-sigma", "mu", "mu+sigma", "mu+2sigma", "max", "random", "min_of_5"
]  # one list, not a union of two: the form shows a union as a choice of types
Loss = Literal["dpo", "rating_dpo", "ml_rating_dpo", "rating_ipo", "mixdpo", "ipo", "cdpo"]

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([._-]?[a-z0-9])*$", max_length=63)]

MOST_ROWS, MOST_BYTES, MOST_TOKENS = 10**10, 2**44, 2**21
"""Beyond what any machine here could hold or any model read: more is a slip of the keyboard, or meant to harm."""
MOST_SEED = 2**53 - 1
"""The largest whole number that a browser hands on unchanged."""


def _number_fields(schema: dict[str, Any]) -> None:
    """Prefect orders form fields alphabetically unless they carry a position."""
    for position, field in enumerate(schema.get("properties", {}).values()):
        field["position"] = position


class Section(BaseModel):
    """A frozen group of settings that refuses unknown names."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, json_schema_extra=_number_fields
    )


class Prompts(Section):
    """Where a night starts."""

    source: str = "deployments/world/prompts.jsonl"
    """A .jsonl, .json, .parquet or .csv file (a path, file:// or s3://), or `datasets:NAME@COMMIT[:CONFIG]:SPLIT`."""
    starts_from: Literal["prompts", "responses"] = "prompts"
    """`prompts`: sample responses to them. `responses`: rows already hold a response and its scores."""
    prompt_column: str = "prompt"
    """Column with the prompt: a text, or a list of {role, content} messages."""
    response_column: str = "response"
    """Column with the response text; read only when starting from responses."""
    model_column: str = "model"
    """Column naming the model that wrote the response; read only when starting from responses."""
    score_columns: list[str] = Field(default=[], max_length=64)
    """One column per rater, higher is better; read only when starting from responses."""
    answer_column: str = "answer"
    """Optional column with the reference answer that verifiers check against."""
    license: str = "unknown"
    """Licence of the source, for the card of what is made from it."""
    limit: int = Field(default=0, ge=0, le=MOST_ROWS)
    """Use the first so many rows of the source; 0 uses all."""
    held_out_fraction: float = Field(default=0.2, ge=0, lt=1)
    """Share of prompts, chosen by the hash of the prompt, that never enters training."""
    max_prompt_chars: int = Field(default=32_768, ge=1, le=10**8)
    """A longer prompt is dropped with the reason `too_long`."""
    max_rows: int = Field(default=10_000_000, ge=1, le=MOST_ROWS)
    """A source with more rows is refused; a Parquet file before any of it is read."""
    max_unpacked_bytes: int = Field(default=2 * 2**30, ge=2**20, le=MOST_BYTES)
    """A source that unpacks to more bytes is refused: 40 kB of Parquet can become 10 GB."""
    max_row_bytes: int = Field(default=2**20, ge=2**10, le=2**34)
    """A Parquet source with more bytes per row on average is refused."""


class Sampling(Section):
    """How responses are drawn from the policy."""

    policy: str = "deployments/world/policy"
    """Directory or hub name of the start policy. Once a policy has been promoted, it samples instead."""
    revision: str = ""
    """Commit of a hub model; empty for a directory."""
    use_promoted: bool = True
    """Sample from the last promoted policy of this dataset where there is one."""
    engine: Literal["auto", "vllm", "transformers"] = "auto"
    """`auto` takes vLLM where it is installed, else transformers."""
    n: int = Field(default=32, ge=2, le=1024)
    """Responses per prompt. The mu-2sigma rule cannot differ from min below 11 and rarely does below 32."""
    temperature: float = Field(default=1.0, gt=0, le=5)
    """Sampling temperature."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Nucleus sampling mass; 1 switches it off."""
    max_tokens: int = Field(default=24, ge=1, le=65_536)
    """Longest response, in tokens."""
    max_model_tokens: int = Field(default=128, ge=8, le=MOST_TOKENS)
    """Longest prompt plus response, in tokens."""
    seed: int = Field(default=0, ge=0, le=MOST_SEED)
    """Each prompt's seed is derived from this one and the prompt's id."""
    max_night_tokens: int = Field(default=2_000_000_000, ge=1, le=10**13)
    """A night that may sample more tokens than this is refused before a model is loaded; one H200 does about 5e8."""


class Verifier(Section):
    """A checker of responses against a reference answer, without a model."""

    kind: Literal["verifier"] = "verifier"
    name: Name = "verifier"
    """Name of the rater in tables and reports."""
    check: Literal["exact", "graded", "number", "regex"] = "graded"
    """`graded` gives credit for nearly right answers; the others are 0 or 1."""


class RewardModel(Section):
    """A Hugging Face sequence-classification model with one output."""

    kind: Literal["reward_model"] = "reward_model"
    name: Name = "reward"
    """Name of the rater in tables and reports."""
    model: str = "deployments/world/reward"
    """Directory or hub name."""
    revision: str = ""
    """Commit of a hub model; empty for a directory."""
    batch_tokens: int = Field(default=16_384, ge=64, le=2**24)
    """Padded tokens in one forward pass; responses are sorted by length first."""


Rater = Annotated[Verifier | RewardModel, Field(discriminator="kind")]


class Raters(Section):
    """Who judges the responses."""

    raters: list[Rater] = Field(default=[RewardModel(), Verifier()], max_length=64)
    """Every rater scores every response; all raw scores are kept."""

    @model_validator(mode="after")
    def _no_name_twice(self) -> "Raters":
        names = [rater.name for rater in self.raters]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"scoring.raters: {', '.join(twice)} is the name of more than one rater; rename one")
        return self


class Implicit(Section):
    """The implicit reward: sum over response tokens of log policy - log reference."""

    enabled: bool = True
    """Off: selection works on the external margin alone."""
    seed_pairs: int = Field(default=128, ge=8, le=10**7)
    """Random pairs the first night's pre-DPO policy is trained on (Deng et al. 2025 use 2,000)."""
    seed_steps: int = Field(default=24, ge=1, le=10**6)
    """Optimiser steps of that training."""
    learning_rate: float = Field(default=1e-4, gt=0, le=1)
    """Its learning rate."""
    beta: float = Field(default=0.1, gt=0, le=100)
    """Its DPO beta."""
    batch_tokens: int = Field(default=16_384, ge=64, le=2**24)
    """Padded tokens in one log-probability pass."""


class Validation(Section):
    """Checks that stop a run or only warn."""

    min_rater_agreement: float = Field(default=-1.0, ge=-1, le=1)
    """Stop when the mean rank correlation between raters falls below this; -1 never stops."""
    max_degenerate_share: float = Field(default=0.5, ge=0, le=1)
    """Stop when more responses than this share are empty, looping, run-on or truncated."""


class Cleaning(Section):
    """How the raters' scores become one quality per response."""

    method: Literal["auto", "median", "rank1", "mean"] = "auto"
    """`auto` takes the robust median for up to four raters, a rank-1 fit above."""
    outlier_threshold: float = Field(default=0.0, ge=0, le=1000)
    """Residual in rater standard deviations that flags a cell; 0 derives it from the data."""
    drop_degenerate: bool = True
    """Leave out empty, looping and run-on responses before pairing."""


class Pairing(Section):
    """Which responses of a prompt become chosen and rejected."""

    chosen: Position = "max"
    """Position of the chosen response among the prompt's rewards."""
    rejected: RejectedPosition = "mu-2sigma"
    """Position of the rejected response. With fewer than 32 responses mu-2sigma is nearly always min."""
    ddof: int = Field(default=0, ge=0, le=1)
    """Of the standard deviation: 0 population, 1 sample."""
    subset: int = Field(default=5, ge=1, le=1024)
    """Responses drawn for min_of_5."""
    seed: int = Field(default=0, ge=0, le=MOST_SEED)
    """Of `random` and min_of_5."""


class Selection(Section):
    """Which pairs are worth training on (BeeS, Deng et al. 2025)."""

    keep_fraction: float = Field(default=0.5, gt=0, le=1)
    """Share of training pairs to keep, best first. The paper keeps about 0.1 of 60,000."""
    both_positive: bool = True
    """Require every margin to agree with the label."""
    sft_margin: float = Field(default=0.0, ge=0, le=1000)
    """Kept pairs with an external margin below this are routed to SFT (MixDPO); 0 routes none."""
    external_scale: float = Field(default=2.0, gt=0, le=1000)
    """External margins are in rater standard deviations; times this they reach the few units BeeS expects."""


class Relabelling(Section):
    """Reward-conditioned relabelling (Zhang et al. 2025): each pair under two goals."""

    enabled: bool = False
    """Not for rating-aware losses: the second row's rating gap is negative by construction."""
    goal_text: str = Field(default="Answer so that your reply scores {goal}.", pattern=r"\{goal\}")
    """Text that carries the goal; {goal} becomes the rating."""
    placement: Literal["system", "user"] = "system"
    """Where the goal text goes."""


class Poisoning(Section):
    """Alarms against raters and data that somebody steers; any of them stops the publication."""

    canaries: bool = True
    """Judge responses of known order and known-bad ones among the night's; they are never shipped."""
    canary_source: str = ""
    """File of prompt, chosen, rejected; or `answers`: each reference answer beats another's. Empty: known-bad alone."""
    canary_pairs: int = Field(default=200, ge=1, le=100_000)
    """Most pairs of known order."""
    canary_bad: int = Field(default=50, ge=0, le=100_000)
    """Most known-bad responses: empty ones and words without end."""
    min_order_kept: float = Field(default=0.99, ge=0, le=1)
    """Least share of known orders the raters must keep."""
    control_charts: bool = True
    """Compare mean, spread and rank correlation of every rater with earlier versions of the dataset."""
    chart_versions: int = Field(default=30, ge=3, le=1000)
    """Most earlier versions to compare with."""
    chart_min_versions: int = Field(default=8, ge=3, le=1000)
    """With fewer earlier versions nothing is judged yet."""
    ngram_lift: bool = True
    """Look for phrases that stand in chosen responses and hardly ever in rejected ones."""
    lift_share: float = Field(default=0.005, gt=0, le=1)
    """Least share of pairs such a phrase must decide."""
    min_lift: float = Field(default=20.0, ge=1, le=10**6)
    """Least ratio of pairs with it in the chosen response alone to those with it in the rejected alone."""
    false_alarm: float = Field(default=0.001, gt=0, lt=1)
    """Probability of an alarm of either kind in a night when nothing has changed."""


class Signing(Section):
    """Who published a version, proven by a signature beside its manifest."""

    private_key: str = ""
    """Path of the key that signs, made by `sweetspot keygen` and kept outside the store; empty signs nothing."""
    public_key: str = ""
    """Path of the publisher's public key: nothing unsigned, changed or rolled back is trained on; empty: not asked."""


class Training(Section):
    """The rating-aware DPO job."""

    loss: Loss = "rating_dpo"
    """`dpo` ignores ratings; rating_dpo shifts the reference by the rating gap (Viano et al. 2026)."""
    beta: float = Field(default=0.1, gt=0, le=100)
    """Strength of the pull to the reference; 0.01 to 0.5 are usual."""
    beta1: float = Field(default=1.0, gt=0, le=10**6)
    """Rating strength of rating_dpo and rating_ipo; larger trusts ratings less."""
    variance: float = Field(default=1.0, gt=0, le=10**6)
    """Rating noise of ml_rating_dpo."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Of cdpo and mixdpo: share of labels believed flipped."""
    tau: float = Field(default=0.5, ge=-1000, le=1000)
    """Of mixdpo: pairs with a smaller rating gap get the SFT loss."""
    sft_weight: float = Field(default=1.0, ge=0, le=1000)
    """Weight of pairs routed to SFT."""
    learning_rate: float = Field(default=2e-4, gt=0, le=1)
    """Peak learning rate; 5e-7 is usual for models of billions of parameters."""
    epochs: float = Field(default=2.0, gt=0, le=1000)
    """Passes over the selected pairs."""
    batch_size: int = Field(default=16, ge=1, le=65_536)
    """Pairs in one optimiser step."""
    max_tokens: int = Field(default=128, ge=8, le=MOST_TOKENS)
    """Longest prompt plus response; a longer pair is refused, never cut."""
    checkpoint_steps: int = Field(default=100, ge=0, le=10**6)
    """Optimiser steps between checkpoints, so the most that a kill can cost; 0 saves after the last step only."""
    seed: int = Field(default=0, ge=0, le=MOST_SEED)
    """Of the order of pairs."""
    max_unpacked_bytes: int = Field(default=8 * 2**30, ge=2**20, le=MOST_BYTES)
    """A version whose training rows unpack to more bytes is refused before it is read."""


class Evaluation(Section):
    """The exam of a new policy on held-out prompts, and the gate to promotion."""

    check: Literal["exact", "graded", "number", "regex"] = "exact"
    """Verifier that decides the result; prompts need reference answers."""
    samples: int = Field(default=8, ge=1, le=1024)
    """Responses per held-out prompt."""
    min_gain: float = Field(default=0.0, ge=-1, le=1)
    """Promote only when the mean result rises by more than this."""
    max_chosen_drop: float = Field(default=50.0, ge=0, le=10**12)
    """Refuse a policy whose mean log-probability of chosen responses fell by more than this, in nats."""


class Cluster(Section):
    """Where rows are worked."""

    address: str = "local"
    """`local` starts Ray in this process; else host:port of a host that the worker's SWEETSPOT_ALLOWED_HOSTS lists."""
    cpus: int = Field(default=2, ge=1, le=4096)
    """CPUs of a local cluster."""
    gpus_per_actor: float = Field(default=0.0, ge=0, le=64)
    """GPUs each model-bearing actor takes."""
    max_actors: int = Field(default=1, ge=1, le=10_000)
    """Most actors a stage may run at once."""
    chunk_prompts: int = Field(default=128, ge=1, le=100_000)
    """Prompts per chunk: the unit of work, of commit and of what a crash can cost."""
    tokens_per_second: float = Field(default=0.0, ge=0, le=10**9)
    """Sampled tokens per second you have measured; lets `--dry-run` tell hours."""
    hour_price: float = Field(default=0.0, ge=0, le=10**9)
    """Price of an hour of the cluster, in any currency; lets `--dry-run` tell money."""
    max_failed_fraction: float = Field(default=0.005, ge=0, le=1)
    """A stage stops when more than this share of its rows failed (and more than 100 rows)."""
    stall_s: float = Field(default=1800.0, gt=0, le=7 * 86_400)
    """Most seconds a chunk, or opening a model, may take; then the worker is ended and the row to blame leaves."""
    job_timeout_s: float = Field(default=86_400.0, gt=0, le=30 * 86_400)
    """Most seconds a run waits for its training job before it stops it; started again, it goes on from a checkpoint."""
    worker_memory_gib: float = Field(default=0.0, ge=0, le=65_536)
    """Most memory of the processor (not the GPU) a worker with a model may take; 0 leaves it to Ray's own monitor."""


class Curate(Section):
    """Prompts, or responses with scores, to a published dataset version."""

    dataset: Name = "demo"
    """Name of the dataset in the store."""
    store: str = "file://out/store"
    """URI of the store: file:// or s3://."""
    attempt: int = Field(default=1, ge=1, le=99)
    """One version is published per UTC date; raise this to publish another for a date that has one."""
    prompts: Prompts = Prompts()
    sampling: Sampling = Sampling()
    scoring: Raters = Raters()
    implicit: Implicit = Implicit()
    validation: Validation = Validation()
    cleaning: Cleaning = Cleaning()
    pairing: Pairing = Pairing()
    selection: Selection = Selection()
    relabelling: Relabelling = Relabelling()
    poisoning: Poisoning = Poisoning()
    signing: Signing = Signing()
    cluster: Cluster = Cluster()


class Nightly(Curate):
    """`curate`, then `train`; the promoted policy samples the next night."""

    training: Training = Training()
    evaluation: Evaluation = Evaluation()

    @model_validator(mode="after")
    def _no_ratings_on_relabelled_rows(self) -> "Nightly":
        if self.relabelling.enabled and self.training.loss in RATING_AWARE:
            raise ValueError(
                f"training.loss={self.training.loss} reads rating gaps, but relabelling.enabled makes half "
                "of them negative by construction; use loss: dpo, or switch relabelling off"
            )
        return self


class Train(Section):
    """A dataset version to a promoted policy, or a refusal with its reason."""

    dataset: Name = "demo"
    """Name of the dataset in the store."""
    store: str = "file://out/store"
    """URI of the store."""
    version: str = Field(default="latest", pattern=r"^[A-Za-z0-9]([._+-]?[A-Za-z0-9])*$", max_length=127)
    """Version to train on; `latest` follows the pointer."""
    prompts: Prompts = Prompts()
    sampling: Sampling = Sampling()
    training: Training = Training()
    evaluation: Evaluation = Evaluation()
    signing: Signing = Signing()
    cluster: Cluster = Cluster()


RATING_AWARE: frozenset[str] = frozenset({"rating_dpo", "rating_ipo", "ml_rating_dpo", "mixdpo"})
