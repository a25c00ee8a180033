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
    assert text.startswith("Do not train on this yet: 1 serious problem found. The data holds 5,183 votes")
    text = text.replace("\u00a0", " ")
    said = ["About 8 % of the labels", "Two of 41 annotators", "length alone explains 60 %", "keeps 4,758 of 5,170"]
    assert [text.index(one) for one in said] == sorted(text.index(one) for one in said)
    assert "120 reweighted" in text
    assert text.endswith("2 checks could not be made; the end of the report says why.")
    assert "They agree well" not in text


def test_wrong_labels_are_named_before_anything_else(result):
    findings = (found("look", check="z", says="Last."), found("look", check="label_errors", says="First."))
    text = verdict(of(result, *findings, found("bad", says="Second.")))
    assert text.index("First.") < text.index("Second.") < text.index("Last.")


def test_further_problems_are_listed_by_title(result):
    text = verdict(of(result, *(found("look", says=f"Point {n}", title=f"Title {n}") for n in range(4))))
    assert "Point 1." in text
    assert "Point 2" not in text
    assert "See also \u201cTitle 2\u201d, \u201cTitle 3\u201d." in text


def test_many_lost_rows_are_said_and_few_are_not(result):
    assert "of its rows could not be used" not in verdict(of(result, rows=5183, unreadable={"missing": 13}))
    assert "10\u00a0% of its rows could not be used" in verdict(of(result, rows=100, unreadable={"missing": 10}))


def test_planted_damage_is_no_problem_of_the_data_but_a_bound_of_the_audit(result):
    figures = {"uniform_10_recall": 0.62, "uniform_10_random_removal_recall": 0.11}
    planted = Finding("stress_flips", "X", "look", "Planted.", figures)
    said = judge(of(result, found("ok"), planted, kind="pairs"))
    assert (said.standing, said.headline) == ("good", "Usable: none of 1 check found a problem.")
    assert "If one label in ten were wrong, this audit would point at 62\u00a0% of them" in said.paragraph
    assert "at random would hold 11\u00a0%" in said.paragraph
    blind = Finding("stress_flips", "X", "look", "Planted.", {"uniform_10_recall": 0.0})
    assert "this audit would find none of them" in verdict(of(result, found("ok"), blind))


def test_an_audit_that_changed_nothing_says_so(result):
    assert "Nothing was changed" in verdict(of(result, cleaning=None))


# --- the questions of somebody who will decide: how many, whose, why, what now


def labels(level="look", **figures):
    given = {"estimated_error_rate": 0.112, "checked": 800} | figures
    return Finding("label_errors", "X", level, "It says.", given, warnings=("uncalibrated: no known truth",))


def people(level="look", **figures):
    given = {"annotators_judged": 40, "unreliable_annotators": 2, "wrong_votes_share_of_worst_two": 0.35}
    return Finding("annotators", "X", level, "It says.", given | figures)


def test_it_says_what_share_of_the_labels_looks_wrong_and_how_many_that_are(result):
    text = verdict(of(result, labels(), people()))
    assert "About 11\u00a0% of the 800 labels that the votes add up to look wrong, that is some 90." in text
    assert "If annotators share a mistake it is more" in text
    assert "some 1,100" in verdict(of(result, labels(estimated_error_rate=0.1083, checked=10_445)))


def test_without_anything_that_could_show_a_wrong_label_the_headline_says_so(result):
    blind = Finding("label_errors", "X", "not_checked", "Unknown: each pair was judged once.")
    said = judge(of(result, blind, found("look"), kind="pairs", cleaning=None))
    assert said.standing == "caution"
    assert "wrong labels could not be looked for" in said.headline
    assert "Nobody can tell from this data how many labels are wrong: each pair was judged once." in said.paragraph
    assert "Next: have a second person label some 200 of the pairs" in said.paragraph
    assert "score_chosen" in said.paragraph


def gold(says, level="ok", **figures):
    given = {
        "estimate_accuracy": 0.93,
        "units_with_truth": 800,
        "best_annotator": "w7",
        "best_annotator_accuracy": 0.97,
    }
    return Finding("against_gold", "X", level, says, given | figures)


def test_known_truth_goes_before_any_estimate(result):
    text = verdict(of(result, labels(), people(), gold("Its certainty is earned.")))
    assert "In the 800 cases whose truth is known the votes together are right in 93\u00a0%" in text
    assert "about 7.0\u00a0% of the labels that they add up to are wrong." in text
    assert "11\u00a0%" not in text
    better = verdict(of(result, labels(), gold("w7 alone is right more often than all annotators together.")))
    assert "w7 alone is better, with 97\u00a0% of its votes right" in better


def test_where_votes_are_guesses_the_first_step_is_better_labels(result):
    guess = gold("It cannot be told from guessing: aggregation does not help here.", "bad", estimate_accuracy=0.52)
    text = verdict(of(result, labels("bad"), people(), guess, cleaning=None))
    assert "no better than guessing, and more votes of this kind will not help" in text
    assert text.index("Next: do not use these votes for labels") < text.index("then ")


def test_it_names_whose_labels_look_wrong(result):
    text = verdict(of(result, labels(), people(least_reliable="w17, w4")))
    assert (
        "Of the 40 annotators with enough votes to judge, 2 are clearly less reliable than the rest (w17, w4)" in text
    )
    assert "two annotators alone cast 35\u00a0% of the votes that look wrong" in text
    assert "alone" not in verdict(of(result, labels(), people(least_reliable="w4", wrong_votes_share_of_worst_two=0.1)))
    assert "look at the work of w17, w4 before their votes count" in text
    assert "Nobody stands out among the 40" in verdict(of(result, labels(), people("ok", unreliable_annotators=0)))
    figures = {"doubted_most": "shop", "doubted_most_by": "source", "doubted_most_rate": 0.3}
    figures |= {"doubted_others_rate": 0.04, "doubted_most_stands_out": True}
    text = verdict(of(result, labels(**figures)))
    assert "Most of it is in one source: 30\u00a0% of the labels of shop look wrong, 4\u00a0% of the others." in text
    text = verdict(of(result, labels(**figures | {"doubted_most_stands_out": False})))
    assert "No source stands out" in text
    assert "shop" not in text


def length(level="look", **figures):
    given = {"longer_chosen_rate": 0.6, "length_only_accuracy": 0.6}
    return Finding("length_bias", "X", level, "It says.", given | figures)


def test_it_says_what_explains_the_preference(result):
    text = verdict(of(result, length()))
    assert (
        "always taking the longer response would match 60\u00a0% of the labels (a coin would match 50\u00a0%)" in text
    )
    assert "the shorter response" in verdict(of(result, length(longer_chosen_rate=0.4)))
    apart = {"longer_chosen_in": "helpful", "shorter_chosen_in": "harmless", "length_and_source_accuracy": 0.61}
    text = verdict(of(result, length(**apart)))
    assert "the longer response is preferred in helpful, the shorter one in harmless" in text
    assert "61\u00a0%" in text
    assert "Length explains hardly any of the preference." in verdict(of(result, length("ok")))
    assert "cannot be seen in this data" in verdict(of(result, length("not_checked")))
    place = Finding("position_bias", "X", "bad", "It says.", {"first_shown_rate": 0.63})
    assert "what is shown first wins 63\u00a0% of the time" in verdict(of(result, length("ok"), place))
    assert "ask every judge in both orders" in verdict(of(result, place))


def test_at_most_three_steps_are_named_and_none_that_was_done(result):
    findings = (
        *(labels("bad"), people(least_reliable="w1"), length(), gold("does not help", "bad")),
        *(found("bad", check="contamination"), found("look", check="contradictions")),
    )
    text = verdict(of(result, *findings, cleaning=None))
    assert text.count("; then ") == 2
    assert text.index("do not use these votes") < text.index("also occur in the evaluation data")
    cleaned = verdict(of(result, *findings))
    assert "--clean" not in cleaned
    assert "keeps 4,758 of 5,170" in cleaned


def test_scored_responses_are_told_in_their_own_words(result):
    figures = {"outlying_scores": 275, "outlying_share": 0.047, "undecidable_responses": 1}
    alone = Finding("outlying_scores", "X", "look", "It says.", figures)
    figures = {"largest_over_smallest_spread": 3.0, "mean_rank_correlation": 0.33}
    scale = Finding("raters", "X", "look", "Spreads differ.", figures)
    pull = Finding("score_length", "X", "look", "It says.", {"mean_length_correlation": -0.31})
    text = verdict(of(result, alone, scale, pull, kind="responses"))
    assert "4.7\u00a0% of the scores (275) are far from what the other raters say; on 1 response the raters" in text
    assert "longer responses score lower (rank correlation \u22120.31)" in text
    assert "in the same order to 0.33" in text
    assert "spread 3.0 times as far" in text
    assert "put the raters on one scale" in text


def test_any_part_of_an_audit_makes_a_paragraph_without_gaps(result):
    everything = (labels("bad"), people(), length(), gold("x"), found("bad", check="agreement"), *result.findings)
    for chosen in range(1 << len(everything)):
        part = [one for k, one in enumerate(everything) if chosen >> k & 1]
        text = verdict(of(result, *part))
        assert not any(word in text for word in ("None", "nan", "{", "..", " ;", "  "))
        assert text.endswith(".")


def test_names_in_the_data_cannot_hide_or_reorder_the_verdict(result):
    text = verdict(of(result, found("look", says="By w\u202e1\n\x1b[31m")))
    assert "By w[U+202E]1 [U+001B][31m." in text
