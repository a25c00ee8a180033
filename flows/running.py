"""Run a flow in this process and tell a person what happened; or only say what would."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.table import Table

from flows._floors import refuse_old_versions
from sweetspot.budget import sampled_tokens
from sweetspot.config import Cluster, Curate, Nightly, RewardModel, Section
from sweetspot.engines.revision import check_safe
from sweetspot.errors import SweetspotError
from tasks._keys import read_private_key, read_public_key
from tasks._parquet import limits_of
from tasks._sources import read_source
from tasks._store import Store

COLUMNS = ("stage", "in", "out", "unit", "dropped", "seconds", "reused")
LINE_CHARS = 140
console = Console(highlight=False)
if not console.is_terminal:
    console.width = LINE_CHARS  # a log file has no width; 80 would cut the table


def run_flow(name: str, settings: Section) -> dict[str, Any]:
    """Run `nightly`, `curate`, `train` or `audit` and print its result; what it needs is checked first, in seconds."""
    refuse_old_versions()
    if isinstance(settings, Curate):
        for _, check in needs(settings):
            check()
    from prefect.exceptions import CancelledRun

    from flows.audit import audit
    from flows.curate import curate
    from flows.nightly import nightly
    from flows.train import train

    try:
        result = {"nightly": nightly, "curate": curate, "train": train, "audit": audit}[name](settings)
    except CancelledRun as end:
        raise SweetspotError(str(end)) from None
    print_result(result)
    return result


def needs(settings: Curate) -> Iterator[tuple[str, Callable[[], object]]]:
    """What a run of these settings needs, each as a name and a call that fails where it is not there."""
    prompts, signing = settings.prompts, settings.signing
    if signing.private_key:
        yield f"key {signing.private_key}", lambda: read_private_key(signing.private_key, store=settings.store)
    if signing.public_key:
        yield f"key {signing.public_key}", lambda: read_public_key(signing.public_key)
    yield f"store {settings.store}", Store(settings.store).probe
    within = limits_of(prompts)
    yield (
        f"prompts {prompts.source}",
        lambda: read_source(prompts.source, limit=1, within=within).require(prompts.prompt_column),
    )
    if prompts.starts_from == "prompts":
        yield f"policy {settings.sampling.policy}", lambda: check_safe(settings.sampling.policy)
        for rater in settings.scoring.raters:
            if isinstance(rater, RewardModel):
                yield f"rater {rater.name} {rater.model}", lambda model=rater.model: check_safe(model)


def print_result(result: dict[str, Any]) -> None:
    """The stage table, the version, the held-out result and where to look next."""
    if "stages" in result:
        print_stages(result["stages"])
    if "version" in result:
        version = result["version"]
        console.print(f"version    {version['uri']}", soft_wrap=True)
        console.print(f"rows       {version['rows']['train']} train, {version['rows']['eval']} eval")
        console.print(f"report     {version['uri']}/report.html", soft_wrap=True)
    if "verdict" in result:
        console.print(result["verdict"], markup=False)
        for place in (*result["files"].values(), result["cleaned"]):
            console.print(place, soft_wrap=True, markup=False)
    if "training" in result:
        print_training(result["training"])
    console.print("look       sweetspot serve   (opens the Prefect UI with this run)")


def print_stages(stages: list[dict[str, Any]]) -> None:
    """What went in and out of every stage."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in COLUMNS:
        table.add_column(column, justify="right" if column in ("in", "out", "seconds") else "left", no_wrap=True)
    for row in stages:
        table.add_row(*(str(row[column]) for column in COLUMNS))
    console.print(table)


def print_training(trained: dict[str, Any]) -> None:
    """Held-out result before and after, and what the gate decided."""
    low, high = trained["gain_interval"]
    gain = trained["after"] - trained["before"]
    console.print(
        f"held out   {trained['before']:.1%} before, {trained['after']:.1%} after: {gain:+.1%} "
        f"(95 % interval {low:+.1%} to {high:+.1%})"
    )
    verdict = "promoted; it samples the next night" if trained["promoted"] else "refused"
    console.print(f"policy     {trained['policy']['revision']} {verdict}")
    for reason in trained["reasons"]:
        console.print(f"           {reason}")


def plan(name: str, settings: Section) -> None:
    """Print resolved settings and the rows and tokens the run would make, without running it."""
    console.print_json(json.dumps({"flow": name, **settings.model_dump(mode="json")}))
    if not isinstance(settings, Curate):
        return
    prompts = settings.prompts
    source = read_source(prompts.source, limit=prompts.limit, within=limits_of(prompts))
    console.print(f"prompts    {len(source.rows)} rows in {source.name}")
    if settings.prompts.starts_from == "responses":
        return
    sampling = settings.sampling
    responses = len(source.rows) * sampling.n
    tokens = sampled_tokens(len(source.rows), sampling)
    console.print(f"responses  at most {responses} ({sampling.n} per prompt), {tokens} tokens")
    models = len(settings.scoring.raters) + (2 if settings.implicit.enabled else 0)
    console.print(f"forwards   {responses * models} ({models} scores of every response)")
    console.print(f"cost       {cost(tokens, settings.cluster)}")
    if isinstance(settings, Nightly):
        exam = settings.prompts.held_out_fraction * len(source.rows) * settings.evaluation.samples
        console.print(f"exam       about {exam:.0f} responses of each of two policies")


def cost(tokens: int, cluster: Cluster) -> str:
    """Hours and money of sampling so many tokens, as far as the settings tell."""
    if not cluster.tokens_per_second:
        return "unknown: set cluster.tokens_per_second (and cluster.hour_price) to what you measured"
    hours = tokens / cluster.tokens_per_second / 3600
    price = f", {hours * cluster.hour_price:.2f} at {cluster.hour_price:g} an hour" if cluster.hour_price else ""
    return f"sampling takes at most {hours:.2f} hours{price}"
