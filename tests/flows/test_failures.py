"""Every kind of failure ends in one sentence on the run's page: what failed, what is safe, what to do."""

import errno
import inspect
import json
import logging
from typing import Any

import httpx
import pytest
import ray.exceptions
from orchestrated import Server
from prefect import flow
from prefect.exceptions import TerminationSignal
from prefect.settings import PREFECT_API_URL, temporary_settings

import flows._floors
from flows._cancelling import RunCancelledError
from flows._failures import Steps, explain, keeping_texts, step
from flows._telling import OPTIONS, say, told
from sweetspot import errors
from sweetspot.config import Curate
from tasks._ray_head import free_ports

SECRET = "the text of a prompt"
FULL = OSError(errno.ENOSPC, "No space left on device", "/scratch/x")
CASES = {
    "failed check": (errors.CheckError("validate: 3 rows"), "failed: validate: 3 rows", "look at what the check"),
    "stage stopped": (
        errors.CheckError("sample_responses: 120 of 400 prompts failed"), "120 of 400 prompts failed", "look at what"
    ),
    "store": (errors.StoreError("s3://b/x: 503 after 60 s"), "503 after 60 s", "when the store can be read"),
    "bad input": (errors.ContractError("no column 'prompt'"), "no column 'prompt'", "correct that input"),
    "bad setting": (errors.ConfigError("unknown rater 'x'"), "unknown rater 'x'", "correct that setting"),
    "no convergence": (errors.ConvergenceError("rpca: 500 steps"), "rpca: 500 steps", "change that method's"),
    "engine": (errors.EngineError("a worker died"), "a worker died", "the Ray logs have more"),
    "time-out of a job": (errors.EngineError("job x was stopped after 5 s"), "stopped after 5 s", "mend the cause"),
    "Ray head lost": (ray.exceptions.RaySystemError(SECRET), "the Ray cluster is lost", "mend the cause"),
    "Ray actor lost": (ray.exceptions.RayActorError(), "lost or refuses work (RayActorError", "mend the cause"),
    "time-out": (TimeoutError(SECRET), "no answer in time (TimeoutError", "mend the cause"),
    "no connection": (ConnectionResetError(SECRET), "refused or lost (ConnectionResetError", "mend the cause"),
    "Prefect gone": (httpx.ConnectError(SECRET), "the Prefect server does not answer", "mend the cause"),
    "disk full": (FULL, "the disk is full (/scratch/x); free some space", "when the store can be read and written"),
    "out of memory": (MemoryError(SECRET), "out of memory (MemoryError at tests", "mend the cause"),
    "unknown": (KeyError(SECRET), "unexpected KeyError at tests", "report that place"),
    "Ctrl-C": (KeyboardInterrupt(), "was stopped by Ctrl-C or SIGTERM", "start the run again with the same settings"),
    "signal": (TerminationSignal(15), "was stopped by a signal (TerminationSignal)", "start the run again"),
    "cancel": (RunCancelledError(), "was stopped because somebody cancelled the run", "start the run again"),
}  # fmt: skip


def caught(error):
    try:
        raise error
    except BaseException as same:
        return same


@pytest.mark.parametrize("kind", CASES)
def test_every_kind_of_failure_is_one_sentence_without_foreign_text(kind):
    error, what, advice = CASES[kind]
    told_of = explain(caught(error), Steps("clean_scores", ["load_prompts", "validate"]))
    assert what in told_of.what.replace("test_failures.py", "tests")
    assert told_of.what.startswith("clean_scores ")
    assert advice in told_of.next
    assert (
        told_of.safe
        == "load_prompts, validate are committed, clean_scores keeps its finished chunks, nothing was published"
    )
    assert SECRET not in told_of.sentence
    assert "\n" not in told_of.sentence
    assert told_of.sentence.count("; safe: ") == told_of.sentence.count("; next: ") == 1


@pytest.mark.parametrize(
    ("steps", "safe"),
    [
        (Steps(), "nothing had been made, nothing was published"),
        (Steps("validate", ["load_prompts"]), "load_prompts is committed, validate keeps its finished chunks, nothing"),
        (Steps("deliver_dataset", ["validate"]), "published whole or not at all (`sweetspot doctor URI` says which)"),
        (Steps("train_policy", ["deliver_dataset"]), "deliver_dataset is committed, the version is published"),
    ],
)
def test_what_is_safe_depends_on_how_far_the_run_came(steps, safe):
    assert safe in explain(errors.EngineError("x"), steps).safe


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server"), free_ports(1)[0])
    server.start()
    with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{server.port}/api"}):
        yield server
    server.kill()


def last_run(server):
    run = max(server.runs(), key=lambda run: run["created"])
    return run, [json.loads(found["data"])[0] for found in server.artifacts(run["id"]) if found["key"] == "failure"]


@flow(**OPTIONS)
@told
def failing(error: str) -> None:
    with step("load_prompts"):
        pass
    with step("clean_scores"):
        keeping_texts(lambda: caught_again(CASES[error][0]))()


def caught_again(error):
    raise error


@pytest.mark.parametrize(
    ("kind", "state"),
    [("failed check", "Failed"), ("disk full", "Failed"), ("unknown", "Failed"), ("Ctrl-C", "Crashed")],
)
def test_the_page_of_the_run_says_it(server, kind, state, caplog):
    _, what, advice = CASES[kind]
    raised = KeyboardInterrupt if kind == "Ctrl-C" else errors.SweetspotError
    with caplog.at_level(logging.INFO), pytest.raises(raised):
        failing(kind)
    run, shown = last_run(server)
    assert run["state"]["name"] == state
    message = run["state"]["message"]
    for text in (what.removesuffix("tests"), "; safe: load_prompts is committed", "; next: ", advice):
        assert text in message
    assert len(shown) == 1
    assert shown[0]["what failed"] in message
    assert SECRET not in json.dumps(run) + json.dumps(shown) + caplog.text


def test_a_cancel_is_cancelled_and_not_a_failure(server):
    state = failing("cancel", return_state=True)
    run, shown = last_run(server)
    assert state.is_cancelled()
    assert run["state"]["name"] == "Cancelled"
    assert "somebody cancelled the run; safe: " in run["state"]["message"]
    assert shown


def test_prefects_runner_can_call_the_hook():
    """It passes the arguments by name."""
    assert list(inspect.signature(say).parameters) == ["flow", "flow_run", "state"]


@flow(**OPTIONS)
@told
def settled(config: Curate) -> None:
    pass


def test_wrong_parameters_are_named_without_what_was_in_them(server):
    wrong: Any = {"sampling": {"temprature": SECRET}}
    with pytest.raises(Exception, match="temprature"):
        settled(wrong)
    run, _ = last_run(server)
    assert "sampling.temprature" in run["state"]["message"]
    assert "; safe: committed chunks are safe" in run["state"]["message"]
    assert SECRET not in run["state"]["message"]


def test_every_flow_refuses_old_versions_at_its_start(server, monkeypatch):
    monkeypatch.setattr(flows._floors, "installed", {"ray": "2.0.0"}.get)
    with pytest.raises(errors.ConfigError, match=r"ray 2.0.0 is older than .*; safe: nothing had been made"):
        failing("unknown")
