"""Hostile text in every field of a version; its report and card, opened in a real browser, run and load nothing."""

import shutil
from collections.abc import Iterator

import pytest
from hostile_pages import poisoned
from markdown_it import MarkdownIt

from sweetspot.delivery.card import dataset_card
from sweetspot.delivery.report import report_html

CORPUS = [
    "<script>hit()</script>",
    "<img src=x onerror=hit()>",
    "<svg/onload=hit()>",
    "<svg><script>hit()</script></svg>",
    "<body onload=hit()>",
    "<iframe src='javascript:hit()'></iframe>",
    "<a href='javascript:hit()'>click</a>",
    "<math><mi xlink:href='javascript:hit()'>x</mi></math>",
    "'\"><script>hit()</script>",
    "</pre></code></textarea></title></style><script>hit()</script>",
    "]]><script>hit()</script>",
    "<!--><script>hit()</script>-->",
    "<style>@import 'http://beacon.example/a.css';</style>",
    "<link rel=stylesheet href=http://beacon.example/b.css>",
    "<meta http-equiv=refresh content='0;url=http://beacon.example/'>",
    "<base href=http://beacon.example/>",
    "<object data=http://beacon.example/o></object>",
    "<form action=http://beacon.example/><button autofocus onfocus=hit()>x</button></form>",
    "<details open ontoggle=hit()>x</details>",
    "<video poster=http://beacon.example/p.png><source onerror=hit()></video>",
    "![x](http://beacon.example/pixel.png)",
    "[x](javascript:hit())",
    "![x](data:text/html,<script>hit()</script>)",
    "<http://beacon.example/auto>",
    "[x]: http://beacon.example/ref\n[x]",
    "```mermaid\ngraph TD; A-->B; click A call hit()\n```",
    "| a | b |\n|---|---|\n| <img src=http://beacon.example/t.png> | c |",
    "$\\href{javascript:hit()}{x}$",
    "{{ hit() }} {% import os %} ${hit()} #{hit()}",
    "\N{RIGHT-TO-LEFT OVERRIDE}>tpircs/<)(tih>tpircs<\N{ZERO WIDTH SPACE}",
    "\x00<scr\x00ipt>hit()</script>",
    "＜script＞hit()＜/script＞",
    "&lt;script&gt;hit()&lt;/script&gt;",
    "\\<script>hit()\\</script>",
    "---\nlicense: x\n---\n<script>hit()</script>",
]
ALL = "\n\n".join(CORPUS)


@pytest.fixture(scope="module")
def browser() -> Iterator:
    chromium = shutil.which("chromium")
    if not chromium:
        pytest.skip("no chromium on this machine; `make system` brings it")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def seen(browser, page_html: str, folder) -> tuple[list[str], list[str], str]:
    """Open a page; what ran, what it asked for besides itself, and its text."""
    path, ran, asked = folder / "page.html", [], []
    path.write_text(page_html, encoding="utf-8")
    page = browser.new_page()
    page.expose_function("hit", lambda *_: ran.append("script"))
    page.on("dialog", lambda dialog: (ran.append("dialog"), dialog.dismiss()))
    page.route("**/*", lambda route: (asked.append(route.request.url), route.continue_()))
    page.goto(path.as_uri())
    for element in page.locator("a, button, summary").all()[:200]:
        if (element.get_attribute("href") or "").startswith("javascript:"):
            ran.append("javascript link")
    page.wait_for_timeout(200)
    text = page.inner_text("body")
    page.close()
    return ran, [url for url in asked if url != path.as_uri()], text


@pytest.fixture(scope="module")
def hostile(facts):
    """Facts in which every text is hostile, all payloads at once and each alone."""
    return lambda payload: poisoned(facts, payload)


@pytest.mark.parametrize("payload", [*CORPUS, ALL], ids=range(len(CORPUS) + 1))
def test_a_report_runs_and_loads_nothing(browser, hostile, payload, tmp_path):
    ran, asked, _ = seen(browser, report_html(hostile(payload)), tmp_path)
    assert (ran, asked) == ([], [])


@pytest.mark.parametrize("payload", [*CORPUS, ALL], ids=range(len(CORPUS) + 1))
def test_a_card_runs_and_loads_nothing_even_where_html_is_allowed(browser, hostile, payload, tmp_path):
    """Rendered with raw HTML, links and tables on: worse than any hub does it."""
    _, _, body = dataset_card(hostile(payload)).split("---\n", 2)
    html = MarkdownIt("commonmark", {"html": True, "linkify": False}).enable("table").render(body)
    ran, asked, _ = seen(browser, f"<!doctype html><meta charset=utf-8><body>{html}</body>", tmp_path)
    assert (ran, asked) == ([], [])


def test_the_corpus_bites_where_nothing_is_escaped(browser, tmp_path):
    """The same browser, the same check, no protection: it must see scripts run and addresses asked for."""
    html = MarkdownIt("commonmark", {"html": True}).render(ALL)
    ran, asked, _ = seen(browser, f"<!doctype html><body>{html}{CORPUS[0]}</body>", tmp_path)
    assert ran
    assert any("beacon.example" in url for url in asked)


def test_the_text_itself_is_still_readable(browser, hostile, tmp_path):
    _, _, text = seen(browser, report_html(hostile(CORPUS[0])), tmp_path)
    assert CORPUS[0] in text
