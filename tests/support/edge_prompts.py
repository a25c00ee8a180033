"""Two hundred prompts that have broken somebody's pipeline, as rows of a JSON lines file."""

import json

SPECIAL = ("<|im_start|>", "<|im_end|>", "<s>", "</s>", "<|endoftext|>", "[INST]", "<bos>", "<eos>", "<pad>", "{{x}}")
INVISIBLE = {
    "nul": "\x00", "bell": "\x07", "escape": "\x1b[31m", "delete": "\x7f", "bom": "\ufeff", "zero width": "\u200b",
    "zwj": "\u200d", "bidi": "\u202e", "isolate": "\u2066", "soft hyphen": "\xad", "line": "\u2028",
    "noncharacter": "\uffff", "tag": "\U000e0041", "combining": "e" + "\u0301" * 50, "private": "\ue000",
    "replacement": "\ufffd", "nel": "\x85", "variation": "\u2764\ufe0f",
    "family": "\U0001f468\u200d\U0001f469\u200d\U0001f467", "astral": "\U0001f9ff",
}  # fmt: skip
BLANK = ("", " ", "\t", "\n", "\r\n", "\u00a0", "\u2003", "\u3000", " \n \t ", "\u2029")
SURROGATES = ('"\\ud800"', '"\\udfff sort 12"', '"x \\ud83d"', '"\\udc00\\ud800"', '"sort \\ud800 31"')
SCRIPTS = (
    "排序 321",
    "رتّب ٣٢١",
    "סדר 321",
    "เรียง 321",
    "321 क्रम",
    "сортировать 321",
    "ソート 321",
    "정렬 321",
    "ταξινόμησε 321",
    "ẗ̈ 321",
)
WRONG_TYPES = (
    None, 5, 1.5, True, {}, [], {"role": "user"}, [None], [1], [{}], [{"role": "user"}], [{"content": "x"}],
    [{"role": "robot", "content": "x"}], [{"role": "assistant", "content": "x"}], [{"role": "user", "content": None}],
    [{"role": "user", "content": ["x"]}], [{"role": "system", "content": "x"}], [{"role": "user", "content": ""}],
    [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}],
    [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}],
)  # fmt: skip
MARKUP = (
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "</textarea><b>", "&lt;b&gt;", "{% raw %}", "${x}",
    "%s%n", "'; DROP TABLE runs;--", "../../etc/passwd", "=1+1", "+1", "-1", "@x", "file:///etc/passwd", "http://169.254.169.254/",
)  # fmt: skip
SIZES = (100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000)


def edge_lines() -> list[str]:
    """Exactly 200 lines; some are not JSON at all."""
    texts = [f"{token} sort 321" for token in SPECIAL] + list(SPECIAL)
    texts += [text for mark in INVISIBLE.values() for text in (mark, f"sort {mark} 321")]
    texts += [*BLANK, *SCRIPTS, *MARKUP]
    texts += ["x" * size for size in SIZES] + ["sort 1 " * (size // 7) for size in SIZES[:5]]
    texts += ["\U0001f600" * 300, "a\n" * 500, "\\" * 200, '"' * 200, "sort 321", "sort 321", "SORT 321", "sort  321 "]
    values = [*texts, *WRONG_TYPES]
    values += [_with_system(mark) for mark in (*INVISIBLE.values(), *SCRIPTS, *SPECIAL[:6])]
    # Not escaped: a line separator inside a text is not the end of a line.
    lines = [json.dumps({"prompt": value}, ensure_ascii=False) for value in values]
    lines += [f'{{"prompt": {text}}}' for text in SURROGATES]
    lines += ["not json", "{", "[]", '"text"', "null", "{}", '{"Prompt": "sort 1"}', '{"prompt": "a", "prompt": "b"}']
    assert len(lines) <= 200
    return lines + [json.dumps({"prompt": f"sort {number}"}) for number in range(100, 300 - len(lines))]


def _with_system(text: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": text}, {"role": "user", "content": f"sort 12 {text}"}]
