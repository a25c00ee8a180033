"""`train`: a published dataset version to a promoted policy, or a refusal with its reason."""

from dataclasses import asdict
from typing import Any

from prefect import flow

from flows._night import night
from flows._telling import OPTIONS, told
from sweetspot.config import Curate, Train
from tasks._keys import read_public_key
from tasks._policies import current_policy
from tasks._versions import open_version
from tasks.load_prompts import load_prompts
from tasks.train_policy import TrainRequest, train_policy


@flow(name="train", flow_run_name="train-{config.dataset}", **OPTIONS)
@told
def train(config: Train = Train()) -> dict[str, Any]:
    """Train on a published version, examine on held-out prompts, promote or refuse."""
    key = read_public_key(config.signing.public_key) if config.signing.public_key else ""
    version = open_version(config.store, config.dataset, config.version, public_key=key)
    start = current_policy(
        config.store, config.dataset, config.sampling.policy, config.sampling.revision,
        use_promoted=config.sampling.use_promoted,
    )  # fmt: skip
    where = Curate(dataset=config.dataset, store=config.store, cluster=config.cluster)
    with night(where) as book:
        prompts = book.stage(load_prompts, config.prompts, book.run)
        request = TrainRequest(version, start, prompts, config.sampling, config.training, config.evaluation)
        return {"training": asdict(book.step(train_policy, request, book.run)), "run_id": book.run.run_id}
