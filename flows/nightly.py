"""`nightly`: curate a dataset version, train on it, promote the policy that will sample tomorrow."""

from dataclasses import asdict
from typing import Any

from prefect import State, flow

from flows._lateness import skipped_as_late
from flows._night import Night, night
from flows._telling import OPTIONS, told
from flows.curate import curate_tables, policies, report
from sweetspot.config import Nightly
from tasks._keys import read_public_key
from tasks._versions import open_version
from tasks.deliver_dataset import DeliveredVersion
from tasks.train_policy import TrainedPolicy, TrainRequest, train_policy


@flow(name="nightly", flow_run_name="nightly-{config.dataset}", **OPTIONS)
@told
def nightly(config: Nightly = Nightly()) -> dict[str, Any] | State:
    """Prompts to a published version to a policy that has passed its exam; the next night samples from it."""
    if skipped := skipped_as_late():
        return skipped
    with night(config) as book:
        version = curate_tables(config, book)
        trained = train_on(version, config, book)
        return {**report(version, book), "training": asdict(trained)}


def train_on(version: DeliveredVersion, config: Nightly, book: Night) -> TrainedPolicy:
    """Train from the policy that sampled, so the pairs are on-policy; examine on the held-out prompts."""
    key = read_public_key(config.signing.public_key) if config.signing.public_key else ""
    request = TrainRequest(
        version=open_version(config.store, config.dataset, version.version, public_key=key),
        start=policies(config, book.run)[0],
        prompts=book.tables["prompts"],
        sampling=config.sampling,
        training=config.training,
        evaluation=config.evaluation,
    )
    return book.step(train_policy, request, book.run)
