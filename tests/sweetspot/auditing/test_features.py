import numpy as np
import pytest

from sweetspot.auditing.features import (
    joined_responses,
    keys_of,
    merge_pairs,
    merge_responses,
    pair_features,
    response_features,
    sketches,
    text_features,
)
from sweetspot.auditing.groups import first_of, repeats, text_ids
from sweetspot.auditing.reading import PairTexts, ResponseTexts
from sweetspot.auditing.tables import FLAWS, STYLES, Labels
from sweetspot.validation._text import normal_form
from sweetspot.validation.duplicates import pair_duplicates


def message(text, role="assistant"):
    return [{"role": role, "content": text}]


def texts_of(rows, start=0):
    prompts, chosen, rejected = zip(*rows, strict=True)
    n = len(rows)
    return PairTexts(
        row=list(range(start, start + n)),
        row_id=[f"r{k}" for k in range(start, start + n)],
        prompt=[message(text, "user") for text in prompts],
        chosen=[message(text) for text in chosen],
        rejected=[message(text) for text in rejected],
        tie=[False] * n,
        labels={"provenance": [f"s{k % 2}" if k else None for k in range(start, start + n)]},
    )


def random_rows(n, seed=0):
    rng = np.random.default_rng(seed)
    return [(f"p{rng.integers(8)}", f"A {rng.integers(6)}", f"a {rng.integers(6)}") for _ in range(n)]


def test_repeats_agree_with_the_slow_search_over_texts():
    rows = random_rows(300)
    found = repeats(pair_features(texts_of(rows), minhash=False))
    slow = pair_duplicates(*(list(column) for column in zip(*rows, strict=True)))
    assert np.array_equal(found.duplicate_of, slow.duplicate_of)
    assert np.array_equal(found.contradictory, slow.contradictory)
    assert np.array_equal(found.identical, slow.identical)
    for flags in (found.contradictory, found.identical, found.duplicate_of >= 0):
        assert 0 < flags.sum() < len(rows)


def test_blocks_merge_to_what_one_block_would_give():
    rows = [(f"p{k}", " ".join(f"w{k % 3}{j}" for j in range(9)), "short") for k in range(12)]
    whole = pair_features(texts_of(rows))
    parts = merge_pairs([pair_features(texts_of(rows[:5])), pair_features(texts_of(rows[5:], start=5))])
    for name in ("row", "row_id", "keys", "chars", "flaws", "style", "tie"):
        assert np.array_equal(getattr(whole, name), getattr(parts, name)), name
    assert np.array_equal(whole.responses.row, parts.responses.row)
    assert np.array_equal(whole.responses.keys, parts.responses.keys)
    names = [
        [found.labels["provenance"].names[code] if code >= 0 else None for code in found.labels["provenance"].codes]
        for found in (whole, parts)
    ]
    assert names[0] == names[1] == [None, *(f"s{k % 2}" for k in range(1, 12))]


def test_the_order_of_the_responses_does_not_change_their_sketch():
    one, other = "the first response has many words", "and so has the second one here"
    a, b = sketches([joined_responses(one, other)]), sketches([joined_responses(other, one)])
    assert np.array_equal(a.keys, b.keys)
    apart = sketches([one, other])
    assert len(apart.row) == 2


def test_no_run_of_words_crosses_from_one_response_to_the_other():
    one, other = [f"a{k}" for k in range(9)], [f"b{k}" for k in range(9)]
    joined = joined_responses(" ".join(one), " ".join(other)).split()
    runs = [set(joined[k : k + 5]) for k in range(len(joined) - 4)]
    assert not [run for run in runs if run & set(one) and run & set(other)]


@pytest.mark.parametrize(
    ("text", "flaw"),
    [
        ("", "empty"),
        ("x" * 150, "char_run"),
        ("again and again " * 60, "compressible"),
        ("I cannot help with that.", "refusal"),
    ],
)
def test_flaws_are_bits_in_the_order_of_their_names(text, flaw):
    found = text_features([text, "a fine text"], [text, "a fine text"])
    assert found.flaws[0] >> FLAWS.index(flaw) & 1
    assert found.flaws[1] == 0


def test_style_is_counted():
    text = "# Title\n- one\n2. two\n**bold** and **more**\n```\ncode\n```\n\U0001f600"
    assert dict(zip(STYLES, text_features([text], [text]).style[0].tolist(), strict=True)) == {
        **{"list_items": 2, "headings": 1, "bold": 2, "code_blocks": 2, "emoji": 1}
    }


def test_equal_normal_forms_have_equal_keys():
    forms = [normal_form(text) for text in ("Hello  World", "hello world", "other", "ｈｅｌｌｏ world")]
    assert text_ids(keys_of(forms)).tolist() == [
        ids := text_ids(keys_of(forms))[0],
        ids,
        text_ids(keys_of(forms))[2],
        ids,
    ]
    assert first_of(text_ids(keys_of(forms))).tolist() == [0, 0, 2, 0]
    assert text_ids(keys_of([])).tolist() == []


def scored(entries):
    """(prompt, response, model, {rater: score}) per row."""
    return ResponseTexts(
        row=list(range(len(entries))),
        row_id=[f"r{k}" for k in range(len(entries))],
        prompt=[message(p, "user") for p, _, _, _ in entries],
        response=[message(r) for _, r, _, _ in entries],
        model=[m for _, _, m, _ in entries],
        scores=[s for _, _, _, s in entries],
    )


def test_scores_of_one_response_in_several_rows_are_joined():
    entries = [("p", "a", "m", {"x": 1.0}), ("p", "b", "m", {"x": 2.0}), ("p", "a", "m", {"y": 3.0})]
    entries += [("p", "a", "m", {"x": 9.0}), ("p", "a", "other", {"x": 4.0})]
    table, repeated = merge_responses([response_features(scored(entries))], long=True)
    assert table.raters == ("x", "y")
    assert np.array_equal(table.score, [[1, 3], [2, np.nan], [4, np.nan]], equal_nan=True)
    assert table.when.tolist() == [[0, 2], [1, -1], [4, -1]]
    assert repeated == [3]
    apart, _ = merge_responses([response_features(scored(entries))], long=False)
    assert len(apart) == 5


def test_labels_count_names_and_miss_none():
    labels = Labels.of(["b", None, "a", "b"])
    assert (labels.codes.tolist(), labels.names, labels.size) == ([0, -1, 1, 0], ("b", "a"), 2)
