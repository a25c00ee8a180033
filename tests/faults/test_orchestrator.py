"""Whatever becomes of Prefect's server and its runs, results are the same and are published once."""

import os
import signal
import sys
import time
from collections import Counter

import pytest
import yaml
from scored_world import RATERS, scored_rows, write_rows
from small_flows import EVERY_S

from tasks._versions import differences, open_version

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
TABLE = "Prefect is harmed: kill -9 of the server or of a run (detection by the automation we ship)"


@pytest.fixture
def config(tmp_path):
    source = write_rows(tmp_path / "scored.jsonl", scored_rows(prompts=160))
    settings = {
        "flow": "curate",
        "dataset": "tiny",
        "store": f"file://{tmp_path}/store",
        "prompts": {"source": str(source), "starts_from": "responses", "score_columns": list(RATERS)},
        "cluster": {"chunk_prompts": 8},
    }
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(settings))
    return [sys.executable, "-m", "flows.cli", "run", str(path)]


def end(process, patience_s=400):
    return process.wait(patience_s)


def test_silent_and_stuck_runs_are_marked_crashed_and_a_finished_one_is_left_alone(server, figure):
    register = server.spawn([sys.executable, "-m", "flows.automations"], "register")
    assert end(register) == 0, (server.home / "register.log").read_text()[-2000:]
    assert end(server.spawn([sys.executable, "-m", "flows.automations"], "register")) == 0  # renews, adds none
    short = server.spawn([sys.executable, "tests/support/small_flows.py", "sleep", "1"], "short")
    zombie = server.spawn([sys.executable, "tests/support/small_flows.py", "sleep", "3600"], "zombie")
    assert end(short) == 0
    server.wait(lambda: sorted(run["state_type"] for run in server.runs()) == ["COMPLETED", "RUNNING"], 120)
    stuck = server.create_run(server.runs()[0]["flow_id"], "PENDING")
    os.kill(zombie.pid, signal.SIGKILL)
    zombie.wait()
    started = time.monotonic()
    server.wait(lambda: crashed(server, "No heartbeat for 90 s"), 180)
    silent_s = time.monotonic() - started
    server.wait(lambda: crashed(server, "Did not begin within 110 s"), 180)
    stuck_s = time.monotonic() - started
    assert crashed(server, "Did not begin") == [stuck]
    states = sorted((run["state_type"], run["state"]["name"]) for run in server.runs())
    assert states == [("COMPLETED", "Skipped"), ("CRASHED", "Crashed"), ("CRASHED", "Crashed")]
    assert max(silent_s, stuck_s) <= 120
    for harm, seconds in (("run killed", silent_s), ("run never begins", stuck_s)):
        figure(TABLE, harm=harm, **{"seconds down": "-", "seconds to Crashed": round(seconds), "result": "Crashed"})


def test_runs_of_a_machine_that_died_are_crashed_after_the_server_is_back(server, figure):
    """What the server knew of heartbeats lies in its database."""
    assert end(server.spawn([sys.executable, "-m", "flows.automations"], "register")) == 0
    zombie = server.spawn([sys.executable, "tests/support/small_flows.py", "sleep", "3600"], "zombie")
    server.wait(lambda: [run["state_type"] for run in server.runs()] == ["RUNNING"], 120)
    time.sleep(5)  # its first heartbeat
    os.kill(zombie.pid, signal.SIGKILL)
    zombie.wait()
    server.kill()
    time.sleep(20)
    server.start()
    seconds = server.wait(lambda: crashed(server, "No heartbeat for 90 s"), 180)
    assert seconds <= 120
    figure(TABLE, harm="both killed", **{"seconds down": 20, "seconds to Crashed": round(seconds), "result": "Crashed"})


def crashed(server, message):
    """Runs that are Crashed with this message, which goes on with what is safe and what to do."""
    found = [run for run in server.runs() if run["state_type"] == "CRASHED" and message in run["state"]["message"]]
    assert all("; safe: committed chunks are safe" in run["state"]["message"] for run in found)
    return [run["id"] for run in found]


@pytest.mark.parametrize("down_s", [3, 60])
def test_a_server_that_dies_and_comes_back_changes_nothing(server, config, tmp_path, down_s, figure):
    run = server.spawn(config, "run")
    server.wait(lambda: any(run["state_type"] == "RUNNING" for run in server.runs()), 180)
    server.kill()
    time.sleep(down_s)
    server.start()
    assert end(run) == 0, (tmp_path / "run.log").read_text()[-3000:]
    version = open_version(f"file://{tmp_path}/store", "tiny")
    assert not list(differences(version))
    states = {run["state_type"] for run in server.runs()}
    assert states == {"COMPLETED"}
    figure(TABLE, harm="server killed", **{"seconds down": down_s, "seconds to Crashed": "-", "result": "Completed"})


def test_two_nights_of_one_date_at_once_publish_one_version(server, config, tmp_path):
    both = [server.spawn(config, f"run{number}") for number in range(2)]
    codes = [end(run) for run in both]
    assert codes == [0, 0], [(tmp_path / f"run{number}.log").read_text()[-1500:] for number in range(2)]
    versions = list((tmp_path / "store" / "tiny" / "versions").glob("*/manifest.json"))
    assert len(versions) == 1
    assert {run["state_type"] for run in server.runs()} == {"COMPLETED"}


def test_a_run_that_is_falsely_marked_crashed_and_started_again_publishes_one_version(server, config, tmp_path, figure):
    first = server.spawn(config, "first")
    server.wait(lambda: any(run["state_type"] == "RUNNING" for run in server.runs()), 180)
    server.set_state(server.runs()[0]["id"], "CRASHED")
    second = server.spawn(config, "second")
    assert [end(first), end(second)] == [0, 0], (tmp_path / "first.log").read_text()[-1500:]
    version = open_version(f"file://{tmp_path}/store", "tiny")
    assert len(list((tmp_path / "store" / "tiny" / "versions").glob("*/manifest.json"))) == 1
    assert not list(differences(version))
    harm = "falsely marked Crashed, started again"
    figure(TABLE, harm=harm, **{"seconds down": "-", "seconds to Crashed": "-", "result": "1 version"})


def test_a_night_with_other_settings_for_a_published_date_is_refused(server, config, tmp_path):
    assert end(server.spawn(config, "first")) == 0
    other = [*config, "--set", "pairing.rejected=min_of_5"]
    assert end(server.spawn(other, "second")) == 1
    assert "has been published as" in (tmp_path / "second.log").read_text()
    assert end(server.spawn([*other, "--set", "attempt=2"], "third")) == 0
    assert len(list((tmp_path / "store" / "tiny" / "versions").glob("*/manifest.json"))) == 2


def test_after_an_outage_the_newest_night_runs_and_the_rest_are_skipped(server, tmp_path):
    pool = [sys.executable, "-m", "prefect", "work-pool", "create", "local", "--type", "process"]
    assert end(server.spawn(pool, "pool")) == 0
    deploy = server.spawn([sys.executable, "tests/support/small_flows.py", "deploy"], "deploy")
    assert end(deploy) == 0, (tmp_path / "deploy.log").read_text()[-2000:]
    time.sleep(3 * EVERY_S)  # nobody works meanwhile
    worker = server.spawn([sys.executable, "-m", "prefect", "worker", "start", "--pool", "local"], "worker")
    try:
        server.wait(lambda: Counter(names_by_date(server)) >= Counter({"Completed": 1, "Skipped": 2}), 300)
    finally:
        os.killpg(worker.pid, signal.SIGKILL)  # at SIGTERM Prefect's worker sometimes goes on
        end(worker)
    names = names_by_date(server)
    assert names.count("Skipped") >= 2, names
    assert names[: names.index("Completed")] == ["Skipped"] * names.index("Completed"), names
    messages = [run["state"]["message"] for run in server.runs() if run["state"]["name"] == "Skipped"]
    assert all("later nights are due already" in message for message in messages)


def names_by_date(server):
    """Names of the ends of all runs, the oldest run first."""
    done = [run for run in server.runs() if run["state_type"] == "COMPLETED"]
    return [run["state"]["name"] for run in sorted(done, key=lambda run: run["expected_start_time"])]
