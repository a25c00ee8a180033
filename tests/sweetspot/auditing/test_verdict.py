import dataclasses

import pytest

from sweetspot.auditing.findings import Finding
from sweetspot.auditing.report import verdict
from sweetspot.auditing.verdict import judge


def found(level, *, check="x", says="It is so.", title="X"):
    return Finding(check, title, level, says)


def of(result, *findings, **changed):
    return dataclasses.replace(result, findings=findings, **changed)


@pytest.mark.parametrize(
    ("levels", "standing", "headline"),
    [
        ((), "caution", "Nothing could be checked."),
        (("not_checked",), "caution", "Nothing could be checked."),
        (("ok", "not_checked"), "good", "Usable: none of 1 check found a problem."),
        (("ok", "look", "look"), "caution", "Usable, with 2 points to look at first."),
        (("look", "bad", "ok"), "bad", "Do not train on this yet: 1 serious problem found."),
    ],
)
def test_the_worst_finding_decides(result, levels, standing, headline):
    said = judge(of(result, *(found(level) for level in levels)))
    assert (said.standing, said.headline) == (standing, headline)


def test_the_paragraph_says_what_was_read_found_and_done(result):
    text = verdict(result)
    assert text.startswith("Do not train on this yet: 1 serious problem found. The source holds 5,183 votes")
    said = ["About 8 % of the labels", "Two of 41 annotators", "length alone explains 60 %", "keeps 4,758 of 5,170"]
    assert [text.index(one) for one in said] == sorted(text.index(one) for one in said)
    assert "120 reweighted" in text
    assert text.endswith("2 checks could not be made; the end of the report says why.")
    assert "They agree well" not in text


def test_wrong_labels_are_named_before_anything_else_of_their_level(result):
    findings = (found("look", check="z", says="Last."), found("look", check="label_errors", says="First."))
    text = verdict(of(result, *findings, found("bad", says="Before all.")))
    assert text.index("Before all.") < text.index("First.") < text.index("Last.")


def test_more_than_four_problems_are_listed_by_title(result):
    text = verdict(of(result, *(found("look", says=f"Point {n}", title=f"Title {n}") for n in range(6))))
    assert "Point 3." in text
    assert "Point 4" not in text
    assert "See also \u201cTitle 4\u201d, \u201cTitle 5\u201d." in text


def test_many_lost_rows_are_said_and_few_are_not(result):
    assert "of its rows could not be used" not in verdict(of(result, rows=5183, unreadable={"missing": 13}))
    assert "10\u00a0% of its rows could not be used" in verdict(of(result, rows=100, unreadable={"missing": 10}))


def test_planted_damage_comes_after_real_damage(result):
    text = verdict(of(result, found("look", check="stress_flips", says="Planted."), found("look", says="Real 5%")))
    assert text.index("Real 5\u00a0%.") < text.index("Planted.")


def test_an_audit_that_changed_nothing_says_so(result):
    assert "Nothing was changed" in verdict(of(result, cleaning=None))


def test_names_in_the_data_cannot_hide_or_reorder_the_verdict(result):
    text = verdict(of(result, found("look", says="By w\u202e1\n\x1b[31m")))
    assert "By w[U+202E]1 [U+001B][31m." in text
