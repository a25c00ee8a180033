"""Texts that try to escape from a page, and what a page may consist of."""

import contextlib
import dataclasses
import re
from html.parser import HTMLParser

from sweetspot.errors import ContractError

VOID = {"meta", "br"}
TAGS = {
    *("html", "head", "meta", "title", "style", "body", "header", "main", "footer", "section", "nav", "div", "p", "br"),
    *("h1", "h2", "h3", "h4", "a", "b", "i", "span", "ul", "li", "table", "thead", "tbody", "tr", "th", "td", "pre"),
    *("details", "summary", "figure", "figcaption", "svg", "g", "path", "text"),
}
ATTRIBUTES = {
    *("class", "id", "style", "href", "lang", "charset", "name", "content", "http-equiv", "aria-label"),
    *("aria-hidden", "focusable", "viewbox", "d", "x", "y", "open"),
}


class Page(HTMLParser):
    """Tags, attributes and text of a page; complains of tags that do not close in order."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.texts, self.open, self.comments = [], [], [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def handle_comment(self, data):
        self.comments.append(data)

    @property
    def text(self):
        return "".join(text for tag, text in self.texts if tag != "style")


def assert_harmless(page):
    assert page.open == []
    assert page.comments == []
    assert set(page.tags) <= TAGS
    for tag, name, value in page.attributes:
        assert name in ATTRIBUTES, (tag, name)
        assert not name.startswith("on")
        assert not re.search(r"(?i)https?:|javascript:|data:(?!;)|url\(", value or "") or name == "content"
        if name == "href":
            assert re.fullmatch(r"#[a-z0-9-]+", value)
    for tag, text in page.texts:
        if tag == "style":
            assert not re.search(r"(?i)@import|url\(|https?:|<", text)


def poisoned(value, payload, keep=()):
    """`value` with every text replaced by `payload`, wherever a text of that kind is accepted and not in `keep`."""
    if isinstance(value, str):
        return payload
    if isinstance(value, dict):
        return {poisoned(key, payload, keep): poisoned(item, payload, keep) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(poisoned(item, payload, keep) for item in value)
    if not dataclasses.is_dataclass(value):
        return value
    for field in dataclasses.fields(value):
        if field.name in keep:
            continue
        with contextlib.suppress(ContractError):
            value = dataclasses.replace(value, **{field.name: poisoned(getattr(value, field.name), payload, keep)})
    return value


HOSTILE = {
    "script": "<script>alert(1)</script>",
    "image": "<img src=x onerror=alert(1)>",
    "svg": "<svg onload=alert(1)><use href='http://evil.example/x.svg#a'/></svg>",
    "attribute": '" onmouseover="alert(1)" style="background:url(http://evil.example)',
    "single": "' onfocus='alert(1)' autofocus='",
    "close_pre": "</pre></td></tr></table><iframe src='http://evil.example'></iframe>",
    "close_style": "</style><style>@import url(http://evil.example/x.css)</style>",
    "close_title": "</title><base href='http://evil.example/'>",
    "link": "<a href='javascript:alert(1)'>click</a>",
    "meta": "<meta http-equiv=refresh content='0;url=http://evil.example'>",
    "comment": "--><script>alert(1)</script><!--",
    "template": "{{ 7 * 7 }}{% include '/etc/passwd' %}{# #}",
    "entity": "&lt;script&gt;&#x3C;script&#x3E;",
    "markdown": "![x](http://evil.example/x.png) [a](javascript:alert(1)) <http://evil.example> **b** `c` | d",
    "bare_address": "http://evil.example/a www.evil.example a@evil.example",
    "fence": "```\n<script>alert(1)</script>\n```\n# heading\n---\nkey: value",
    "mermaid": "```mermaid\ngraph TD; A-->B; click A 'http://evil.example'\n```",
    "bidi": "safe\u202etxt.exe\u2066 \u200b\ufeff",
    "control": "a\x00b\x1b[31m\r\x85",
    "surrogate": "half \ud83d pair",
    "yaml": "x\n---\nconfigs: []\n# *a &b !c",
    "math": "$\\frac{1}{2}$ \\textbf{x}",
    "long": "A" * 20_000,
}
