"""A night started from the form of the Prefect UI, by a browser, against the real `sweetspot serve`."""

import json
import os
import signal
import socket
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pandas as pd
import pytest
from prefect_pages import READ_FORM, as_key, choose, open_artifact, open_form, setting, watch_to_its_end

from flows._guard import basic
from sweetspot.config import Nightly, Section
from sweetspot.delivery.manifest import Manifest, parse_manifest

pytestmark = pytest.mark.timeout(1800)

RUN_TIMEOUT_MS = 900_000
GRACE_S = 30
DATASET, PROMPTS, RESPONSES_PER_PROMPT, REJECTED = "from-the-form", 24, 12, "mu-sigma"
STAGES = (
    "load_prompts sample_responses score_responses score_implicit "
    "validate clean_scores build_pairs select_pairs relabel_pairs"
)
SECTIONS = (
    "prompts sampling scoring implicit validation cleaning pairing selection relabelling poisoning signing "
    "training evaluation"
)


@dataclass(frozen=True)
class Finished:
    """A run that came to its end: its page, the stage table that page leads to, the folder it filled."""

    state: str
    header: list[str]
    rows: list[list[str]]
    versions: list[Path]

    @property
    def manifest(self) -> Manifest:
        """Of the version it delivered."""
        return parse_manifest((self.versions[0] / "manifest.json").read_bytes())


@pytest.fixture
def form(page, served) -> list[dict]:
    """The freshly opened form as a reader sees it: names, help texts and values, in order."""
    open_form(page, served, "nightly")
    (config,) = page.evaluate(READ_FORM)
    assert as_key(config["name"]) == "config"
    return config["fields"]


@pytest.fixture(scope="module")
def finished(page, served, root) -> Finished:
    """A night submitted through the form and watched to its end."""
    open_form(page, served, "nightly")
    store = served.folder / "store"
    setting(page, "dataset").locator("textarea").fill(DATASET)
    setting(page, "store").locator("textarea").fill(f"file://{store}")
    source = setting(page, "prompts", "source").locator("textarea")
    source.fill(str(root / "deployments" / "world" / "prompts.jsonl"))
    setting(page, "prompts", "limit").locator("input").fill(str(PROMPTS))
    setting(page, "sampling", "n").locator("input").fill(str(RESPONSES_PER_PROMPT))
    choose(page, setting(page, "pairing", "rejected"), REJECTED)
    page.screenshot(path=served.folder / "form-filled.png")
    page.get_by_role("button", name="Submit").click()
    state = watch_to_its_end(page, RUN_TIMEOUT_MS)
    page.screenshot(path=served.folder / "run.png")
    open_artifact(page, f"{DATASET}-stages")
    page.locator("table tbody tr").first.wait_for()
    page.screenshot(path=served.folder / "artifact.png")
    header = page.locator("table thead th").all_inner_texts()
    rows = [row.locator("td").all_inner_texts() for row in page.locator("table tbody tr").all()]
    stripped = [[cell.strip() for cell in row] for row in rows]
    return Finished(state, [cell.strip() for cell in header], stripped, list(store.glob(f"{DATASET}/versions/*")))


def test_the_form_shows_the_sections_in_the_order_of_the_stages(form):
    sections = [as_key(field["name"]) for field in form if field["fields"]]
    assert [name for name in sections if name != "cluster"] == SECTIONS.split()
    assert set(sections) == {*SECTIONS.split(), "cluster"}


def test_every_setting_is_in_the_form_with_its_help_text(form):
    def check(fields: list[dict], model: type[Section], where: str) -> int:
        by_name = {as_key(field["name"]): field for field in fields}
        assert sorted(by_name) == sorted(model.model_fields), where
        for name, declared in model.model_fields.items():
            inner = type(declared.default) if isinstance(declared.default, Section) else None
            help_text = declared.description or ((inner.__doc__ or "") if inner else "")
            assert by_name[name]["help"] == help_text.replace("`", ""), f"{where}.{name}"
        return len(by_name)

    assert check(form, Nightly, "config") == len(Nightly.model_fields)
    for field in form:
        name = as_key(field["name"])
        section = type(Nightly.model_fields[name].default)
        if issubclass(section, Section):
            check(field["fields"], section, name)
            assert [as_key(inner["name"]) for inner in field["fields"]] == list(section.model_fields), name


def test_every_plain_field_shows_its_default(form):
    wrong = {}
    for field in form:
        section = Nightly.model_fields[as_key(field["name"])].default
        for inner in field["fields"]:
            default = getattr(section, as_key(inner["name"]))
            if isinstance(default, bool | str | int | float):
                shown = inner["shown"] if isinstance(default, bool | str) else float(inner["shown"] or "nan")
                if shown != default:
                    wrong[f"{as_key(field['name'])}.{as_key(inner['name'])}"] = (inner["shown"], default)
    assert not wrong, f"shown in the form, declared: {wrong}"


def test_one_response_per_prompt_is_refused_with_a_reason(page, served):
    open_form(page, served, "nightly")
    setting(page, "sampling", "n").locator("input").fill("1")
    page.get_by_role("button", name="Submit").click()
    reason = page.get_by_text("1 is less than the minimum of 2").first
    reason.wait_for()
    assert "config.sampling.n" in reason.inner_text()
    assert page.get_by_role("button", name="Submit").is_visible()


def test_a_page_of_another_site_can_neither_read_nor_start_runs(served):
    """As a browser would: the preflight is refused, and a form post without a token too."""
    api = f"{served.address}/api/flow_runs/filter"
    foreign = {"origin": "http://elsewhere.example", "content-type": "application/json"}
    preflight = {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(urllib.request.Request(api, headers={**foreign, **preflight}, method="OPTIONS"))
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(urllib.request.Request(api, b"{}", {**foreign, **basic(served.login)}))
    with urllib.request.urlopen(urllib.request.Request(f"{served.address}/api/health", headers=foreign)) as answer:
        assert answer.headers["access-control-allow-origin"] is None


def test_the_run_completes(finished, served):
    log = (served.folder / "out" / "logs" / "worker.log").read_text()
    assert finished.state == "Completed", log[-4000:]


def test_its_page_shows_the_stage_table_that_the_manifest_confirms(finished):
    assert finished.header[:4] == ["stage", "in", "out", "unit"]
    shown = {row[0]: (int(row[1]), int(row[2])) for row in finished.rows}
    assert list(shown) == STAGES.split()
    assert shown["sample_responses"] == (PROMPTS, PROMPTS)
    assert shown["score_responses"] == (PROMPTS * RESPONSES_PER_PROMPT,) * 2
    books = {book.stage: (book.rows_in.count, book.rows_out.count) for book in finished.manifest.books}
    assert shown == books


def test_the_delivered_version_was_made_with_the_settings_of_the_form(finished):
    assert len(finished.versions) == 1
    config = finished.manifest.config
    assert config["sampling"]["n"] == RESPONSES_PER_PROMPT
    assert config["pairing"]["rejected"] == REJECTED
    assert config["prompts"]["limit"] == PROMPTS
    samples = pd.concat(pd.read_parquet(path) for path in (finished.versions[0] / "samples").glob("*.parquet"))
    assert len(samples) == PROMPTS * RESPONSES_PER_PROMPT
    assert len(set(samples["prompt_id"])) == PROMPTS


def test_no_request_leaves_this_machine(finished, served, requests_made):
    assert len(requests_made) > 50
    hosts = {urlsplit(address.removeprefix("blob:")).netloc for address in requests_made if address[:5] != "data:"}
    assert hosts == {f"127.0.0.1:{served.port}"}


def test_a_killed_prefect_server_comes_back_asks_for_its_login_and_knows_the_runs(finished, served):
    server = next(pid for pid, line in served.alive().items() if "prefect server start" in line)
    started = served.said.count("started    Prefect server")
    os.kill(server, signal.SIGKILL)
    deadline = time.monotonic() + RUN_TIMEOUT_MS / 1000
    while served.said.count("started    Prefect server") == started:
        assert time.monotonic() < deadline, served.said
        assert served.process.poll() is None, served.said
        time.sleep(0.2)
    runs = f"{served.address}/api/flow_runs/count"
    with pytest.raises(urllib.error.HTTPError, match=r"40[13]"):
        urllib.request.urlopen(urllib.request.Request(runs, b"{}", {"content-type": "application/json"}))
    headers = {"content-type": "application/json", **csrf_headers(served)}
    with urllib.request.urlopen(urllib.request.Request(runs, b"{}", headers)) as answer:
        assert json.load(answer) == 1


def test_stopping_in_the_middle_of_a_run_leaves_no_process_and_frees_the_port(finished, served):
    start_run(served, {"dataset": "cut-short", "store": f"file://{served.folder}/store", "prompts": {"limit": 24}})
    parts = ("prefect server start", "prefect worker start", "raylet", "prefect.engine", "MapWorker")
    deadline = time.monotonic() + RUN_TIMEOUT_MS / 1000
    while not all(part in " ".join(served.alive().values()) for part in parts):
        assert time.monotonic() < deadline, served.alive()
        time.sleep(0.2)
    assert served.stop(signal.SIGTERM) == 0, served.said
    assert "Traceback" not in served.said
    assert all_gone(served), served.alive()
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", served.port))


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGHUP], ids=["Ctrl-C", "closed-terminal"])
def test_stopping_before_it_is_up_leaves_no_process(make_served, sign):
    served = make_served("interrupted")
    deadline = time.monotonic() + GRACE_S
    while not any("prefect server start" in line for line in served.alive().values()):
        assert time.monotonic() < deadline, served.said
        time.sleep(0.1)
    assert served.stop(sign) == 0, served.said
    assert "Traceback" not in served.said
    assert all_gone(served), served.alive()


def start_run(served, config: dict) -> None:
    """Start nightly/manual through the server's API; settings that are not given keep their defaults."""
    api = f"{served.address}/api/deployments"
    named = urllib.request.Request(f"{api}/name/nightly/manual", headers=basic(served.login))
    with urllib.request.urlopen(named) as answer:
        deployment = json.load(answer)["id"]
    body = json.dumps({"parameters": {"config": config}}).encode()
    headers = {"content-type": "application/json", **csrf_headers(served)}
    with urllib.request.urlopen(urllib.request.Request(f"{api}/{deployment}/create_flow_run", body, headers)) as answer:
        assert answer.status == 201


def csrf_headers(served) -> dict[str, str]:
    """What a client of this server sends along to show who it is, and that it is no page of another site."""
    client, known = "test", basic(served.login)
    request = urllib.request.Request(f"{served.address}/api/csrf-token?client={client}", headers=known)
    with urllib.request.urlopen(request) as answer:
        return {**known, "Prefect-Csrf-Token": json.load(answer)["token"], "Prefect-Csrf-Client": client}


def all_gone(served) -> bool:
    """Whether every process of ours ends within the time Ray's workers take to miss their head."""
    deadline = time.monotonic() + GRACE_S
    while served.alive() and time.monotonic() < deadline:
        time.sleep(0.2)
    return not served.alive()
