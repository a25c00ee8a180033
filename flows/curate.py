"""`curate`: prompts, or responses with scores, to a published dataset version."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from prefect import State, flow, get_run_logger

from flows._built import code_commit, lock_sha256
from flows._lateness import skipped_as_late
from flows._night import Night, night, summary_rows
from flows._telling import OPTIONS, told
from sweetspot.config import Curate
from sweetspot.engines.raters import rater_revision
from sweetspot.engines.template import ChatTemplate
from tasks._policies import PolicyRef, policy_of_run, start_policy
from tasks._stage import Run
from tasks.build_pairs import MU_2SIGMA_IS_MIN, MU_2SIGMA_NEEDS, build_pairs, most_responses
from tasks.check_preferences import check_preferences
from tasks.clean_scores import clean_scores
from tasks.deliver_dataset import DeliveredVersion, Publication, deliver_dataset
from tasks.load_prompts import load_prompts, load_responses
from tasks.relabel_pairs import relabel_pairs
from tasks.sample_responses import sample_responses
from tasks.score_implicit import score_implicit
from tasks.score_responses import score_responses
from tasks.select_pairs import select_pairs
from tasks.validate import validate


@flow(name="curate", flow_run_name="curate-{config.dataset}", **OPTIONS)
@told
def curate(config: Curate = Curate()) -> dict[str, Any] | State:
    """Prompts, or responses with scores, to a cleaned, margin-selected, published dataset version."""
    if skipped := skipped_as_late():
        return skipped
    with night(config) as book:
        return report(curate_tables(config, book), book)


def curate_tables(config: Curate, book: Night) -> DeliveredVersion:
    """Every stage, in order; each reads tables by key and leaves one table and its book."""
    run, models = book.run, dict[str, Any]()
    if config.prompts.starts_from == "prompts":
        warn(config, n=config.sampling.n)
        models = _sample_and_score(config, book)
    else:
        book.enter(*book.step(load_responses, config.prompts, run).values())
        warn(config, n=most_responses(book.tables["responses"]))
    prompts, responses, scores = (book.tables[name] for name in ("prompts", "responses", "scores"))
    implicit = book.tables.get("implicit")
    checks = book.stage(validate, responses, scores, config.validation, run)
    quality = book.stage(clean_scores, scores, checks, config.cleaning, run)
    pairs = book.stage(build_pairs, prompts, responses, quality, config.pairing, run, implicit=implicit)
    selected = book.stage(select_pairs, pairs, config.selection, run)
    book.stage(relabel_pairs, prompts, responses, pairs, selected, config.relabelling, run, implicit=implicit)
    alarms = book.step(check_preferences, book.tables, config, run)
    facts = _publication(config, book, models, alarms)
    where = {"store_uri": config.store, "dataset": config.dataset, "private_key": config.signing.private_key}
    return book.step(deliver_dataset, book.tables, facts, **where)


def _sample_and_score(config: Curate, book: Night) -> dict[str, Any]:
    """The part of the night that needs models; returns their revisions."""
    sampling, run = config.sampling, book.run
    policy, start = policies(config, run)
    prompts = book.stage(load_prompts, config.prompts, run)
    responses = book.stage(sample_responses, prompts, policy, sampling, run)
    scores = book.stage(score_responses, prompts, responses, config.scoring, run)
    if config.implicit.enabled:
        book.stage(score_implicit, prompts, responses, scores, (policy, start), config.implicit, run)
    return {
        "policy": policy.revision,
        "reference": start.revision,
        "chat_template_sha256": ChatTemplate.load(str(start.local_path())).full_chat_hash,
        "raters": {rater.name: rater_revision(rater) for rater in config.scoring.raters},
    }


def policies(config: Curate, run: Run) -> tuple[PolicyRef, PolicyRef]:
    """The sampling policy (the promoted one, if there was one when this run first started) and the start policy."""
    start = start_policy(config.sampling.policy, config.sampling.revision)
    promoted = config.sampling.use_promoted
    return policy_of_run(run.store, run.dataset, run.run_id, start, use_promoted=promoted), start


def warn(config: Curate, *, n: int) -> None:
    """Say in the log what cannot work as its setting suggests; `n` is the most responses a prompt has."""
    if config.pairing.rejected == "mu-2sigma" and n < MU_2SIGMA_NEEDS:
        get_run_logger().warning(
            "pairing.rejected=mu-2sigma with %d responses per prompt: the rule %s min; use %d or more, or min_of_5",
            n,
            "is identical to" if n <= MU_2SIGMA_IS_MIN else "seldom differs from",
            MU_2SIGMA_NEEDS,
        )


def _publication(config: Curate, book: Night, models: dict[str, Any], checks: dict[str, Any]) -> Publication:
    return Publication(
        run_id=book.run.run_id,
        logical_date=book.logical_date,
        created_utc=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        code_commit=code_commit(),
        lock_sha256=lock_sha256(),
        config=config.model_dump(mode="json"),
        models=models,
        checks=checks,
    )


def report(version: DeliveredVersion, book: Night) -> dict[str, Any]:
    """What the flow returns and the terminal prints."""
    return {"version": asdict(version), "stages": summary_rows(book.tables), "run_id": book.run.run_id}
