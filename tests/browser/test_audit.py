"""An audit in a real browser: its form, and its report and artifact, in which hostile data runs and loads nothing."""

import dataclasses
import json
import random
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest
from hostile_pages import poisoned
from prefect_pages import READ_FORM, as_key, open_artifact, open_form, setting, watch_to_its_end

from sweetspot.auditing.findings import AuditResult, Bars, Cleaning, Curves, Finding, Histogram, Suspect
from sweetspot.auditing.report import report_html
from sweetspot.auditing.settings import Audit

pytestmark = pytest.mark.timeout(600)

RUN_TIMEOUT_MS = 300_000

RUNS = "window.pwned=1;document.title='pwned'"
CORPUS = {
    "script": f"<script>{RUNS}</script>",
    "image": f"<img src=x onerror={RUNS}>",
    "remote_image": "<img src=HOST/i.png>",
    "svg": f"<svg onload={RUNS}><use href=HOST/x.svg#a></use></svg>",
    "svg_animate": f"<svg><animate onbegin={RUNS} attributeName=x dur=1s>",
    "math": f"<math><mtext></mtext><mglyph><style><!--</style><img title=--&gt;&lt;img src=1 onerror={RUNS}&gt;>",
    "attribute": f'" autofocus onfocus="{RUNS}" onmouseover="{RUNS}" x="',
    "single": f"' autofocus onfocus='{RUNS}' x='",
    "style_attribute": '" style="background:url(HOST/s.png)',
    "css": "%;background:url(HOST/c.png)",
    "close_style": "</style><style>*{background:url(HOST/c2.png)}</style>",
    "close_title": f"</title><script>{RUNS}</script>",
    "close_pre": "</pre></div></td></tr></table><iframe src=HOST/frame></iframe>",
    "textarea": f"</textarea></select><script>{RUNS}</script>",
    "object": "<object data=HOST/o></object><embed src=HOST/e><link rel=stylesheet href=HOST/l.css>",
    "meta": "<meta http-equiv=refresh content='0;url=HOST/m'>",
    "base": "<base href=HOST/ target=_blank>",
    "form": f"<form action=HOST/f><input autofocus onfocus={RUNS}></form>",
    "link": f'<a href="javascript:{RUNS}" ping=HOST/p>click</a>',
    "details": f"<details open ontoggle={RUNS}>",
    "video": f"<video src=HOST/v onerror={RUNS}><source onerror={RUNS}></video>",
    "comment": f"--><script>{RUNS}</script><!--",
    "cdata": f"]]><script>{RUNS}</script>",
    "template": "{{ cycler.__init__.__globals__ }}{% raw %}{{ 7*7 }}",
    "entity": f"&lt;script&gt;{RUNS}&lt;/script&gt;&#x3C;script&#x3E;",
    "overlong": "\u003cscript\u003e" + RUNS + "\u003c/script\u003e",
    "utf7": "+ADw-script+AD4-window.pwned=1+ADw-/script+AD4-",
    "null": f"<scr\x00ipt>{RUNS}</scr\x00ipt>",
    "bidi": "\u202e\u2066evil\u2069\u202c",
    "surrogate": f"\ud83d<script>{RUNS}</script>\udc00",
    "mutation": f'<noscript><p title="</noscript><img src=x onerror={RUNS}>">',
    "long_word": "W" * 30_000,
}


@pytest.fixture(scope="module")
def listener() -> Iterator[tuple[str, list[str]]]:
    """A server of this machine that hostile texts call, and what was asked of it."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()


def audit() -> AuditResult:
    charts = (
        Bars(("a", "b"), (0.5, 0.75), "accuracy", ((0.4, 0.6), (0.7, 0.8)), 0.5),
        Curves((0.0, 1.0), {"one": (0.1, 0.2), "two": (0.3, 0.1)}, "share kept", "error rate"),
        Histogram((0.0, 1.0, 2.0), {"chosen": (1, 2), "rejected": (2, 1)}, "length"),
    )
    suspects = (Suspect("row 1", "why", 0.9, {"prompt": "p", "chosen": "c"}), Suspect("row 2", "why"))
    finding = Finding("length", "Length", "look", "It is long.", {"rate": 0.5, "who": "w1"}, {"rate": (0.4, 0.6)})
    finding = dataclasses.replace(finding, charts=charts, suspects=suspects, warnings=("code: words",))
    cleaning = Cleaning("drop", "because", 10, 9, {"flipped": 1}, {"bad": 1}, "file:///x")
    unchecked = Finding("none", "Nothing", "not_checked", "No column.")
    return AuditResult(
        source="a.jsonl",
        source_sha256="0" * 64,
        format="plain",
        kind="pairs",
        rows=10,
        unreadable={"gone": 1},
        findings=(finding, unchecked),
        cleaning=cleaning,
        options={"o": "x"},
        seconds={"read": 1.0},
    )


@pytest.mark.parametrize("name", CORPUS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_hostile_data_runs_nothing_and_loads_nothing(page, requests_made, listener, tmp_path, name, scheme):
    host, asked = listener
    payload = CORPUS[name].replace("HOST", host)
    path = tmp_path / "report.html"
    path.write_text(report_html(poisoned(audit(), payload, keep=("level", "kind"))))
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("dialog", lambda dialog: (problems.append(dialog.message), dialog.dismiss()))
    page.emulate_media(color_scheme=scheme)
    before = len(requests_made)
    page.goto(path.as_uri())
    page.mouse.move(300, 300)
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    page.wait_for_timeout(20)
    assert requests_made[before:] == [path.as_uri()]
    assert asked == []
    assert problems == []
    assert page.evaluate("window.pwned") is None
    assert page.title().startswith("Audit of ")
    assert page.evaluate("document.querySelectorAll('script, iframe, img, object, form, base, link, use').length") == 0
    assert page.evaluate("document.querySelectorAll('table').length") == 4
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "wider than the window"


def hostile_votes(host):
    """Ballots in which the texts that an artifact repeats, ids of pairs and names of annotators, try to escape."""
    names = [payload.replace("HOST", host) for key, payload in CORPUS.items() if key not in ("surrogate", "long_word")]
    names += [f"![x]({host}/m.png)", f"[a]({host}/l) <{host}/b> | # h", f"```mermaid\nclick A '{host}'\n```"]
    draw = random.Random(0)
    return [
        {"pair_id": pair, "annotator": name, "preference": draw.choice([1, 2])} for pair in names for name in names[:9]
    ]


@pytest.fixture(scope="module")
def finished(page, served, listener):
    """The state of an audit of hostile votes that was submitted in the form, with its artifact open."""
    votes = served.folder / f"<img src=x onerror={RUNS}>.jsonl"
    votes.write_text("\n".join(json.dumps(row) for row in hostile_votes(listener[0])))
    open_form(page, served, "audit")
    setting(page, "source").locator("textarea").fill(str(votes))
    setting(page, "dataset").locator("textarea").fill("hostile")
    page.get_by_role("button", name="Submit").click()
    state = watch_to_its_end(page, RUN_TIMEOUT_MS)
    open_artifact(page, "audit-hostile")
    page.get_by_text("Audit of").first.wait_for()
    page.screenshot(path=served.folder / "audit-artifact.png")
    return state


def test_the_form_shows_the_settings_with_their_help(page, served):
    open_form(page, served, "audit")
    (config,) = page.evaluate(READ_FORM)
    shown = {as_key(field["name"]): field["help"] for field in config["fields"]}
    assert set(shown) == set(Audit.model_fields)
    plain = {name: field.description for name, field in Audit.model_fields.items() if field.description}
    assert {name: shown[name] for name in plain} == {name: text.replace("`", "") for name, text in plain.items()}


def test_an_audit_from_the_form_ends_and_its_artifact_repeats_hostile_names_as_text(
    page, served, listener, requests_made, finished
):
    log = (served.folder / "out" / "logs" / "worker.log").read_text()
    assert finished == "Completed", log[-3000:]
    assert listener[1] == []
    assert page.evaluate("window.pwned") is None
    assert {urlsplit(address).netloc for address in requests_made if address.startswith("http")} == {
        f"127.0.0.1:{served.port}"
    }
    text = page.locator("body").inner_text()
    assert text.count("pwned") > 5, "hardly a hostile text is on the page, so nothing was tried"


def test_the_listener_would_have_noticed(page, listener, tmp_path):
    host, asked = listener
    path = tmp_path / "open.html"
    path.write_text(f"<img src={host}/i.png><script>window.pwned=1</script>")
    page.goto(path.as_uri())
    page.wait_for_timeout(200)
    assert asked == ["/i.png"]
    assert page.evaluate("window.pwned") == 1
    asked.clear()


def test_the_policy_alone_would_stop_a_text_that_escaped(page, listener, tmp_path):
    host, asked = listener
    path = tmp_path / "escaped.html"
    html = report_html(audit())
    path.write_text(html.replace("</header>", f"<img src={host}/i.png><script>window.pwned=1</script></header>"))
    page.goto(path.as_uri())
    page.wait_for_timeout(200)
    assert asked == []
    assert page.evaluate("window.pwned") is None


@pytest.mark.parametrize("width", [360, 800, 1400])
def test_the_page_fits_any_window(page, tmp_path, width):
    path = tmp_path / "report.html"
    path.write_text(report_html(audit()))
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(path.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.set_viewport_size({"width": 1280, "height": 1000})
