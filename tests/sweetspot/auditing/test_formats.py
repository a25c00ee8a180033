import pytest

from sweetspot.auditing.blocks import Rows
from sweetspot.auditing.conversations import hh_messages, part_dialogues, part_texts
from sweetspot.auditing.formats import detect
from sweetspot.auditing.reading import read_pairs, read_responses
from sweetspot.auditing.winners import FIRST, SECOND, TIE, coding_of
from sweetspot.errors import ConfigError
from sweetspot.prompts import BadRow


def user(text):
    return {"role": "user", "content": text}


def reply(text):
    return {"role": "assistant", "content": text}


ASKED, GOOD, BAD = user("q"), reply("good"), reply("bad")
HH = "\n\nHuman: q\n\nAssistant: first\n\nHuman: and?\n\nAssistant: "

LAYOUTS = {
    "trl_standard": {"prompt": "q", "chosen": "good", "rejected": "bad"},
    "trl_implicit": {"chosen": "q is asked. good", "rejected": "q is asked. bad"},
    "trl_conversational": {"prompt": [ASKED], "chosen": [GOOD], "rejected": [BAD]},
    "dialogues": {"id": 1, "source": "s", "prompt": "q", "chosen": [ASKED, GOOD], "rejected": [ASKED, BAD]},
    "ultrafeedback_binarized": {
        **{"prompt": "q", "prompt_id": "x", "chosen": [ASKED, GOOD], "rejected": [ASKED, BAD]},
        **{"messages": [ASKED, GOOD], "score_chosen": 8.0, "score_rejected": 3.5},
    },
    "simpo": {
        **{"prompt_id": "x", "prompt": "q", "chosen": [ASKED, GOOD], "rejected": [ASKED, BAD]},
        **{"all_generated_responses": ["good", "bad"], "all_rm_scores": [0.9, 0.1]},
    },
    "hh_dialogues": {"chosen": f"{HH}good", "rejected": f"{HH}bad"},
    "two_responses": {"instruction": "q", "output_1": "good", "output_2": "bad", "gold": "1"},
    "response_lists": {"prompt": "q", "responses": ["a", "b"], "rewards": [1.0, 2.0]},
    "responses_long": {"source": "q", "system": "m", "response": "a", "rater": "r1", "score": -5.0},
    "responses_wide": {"prompt": "q", "response": "a", "n_chars": 1, "helpful": 3, "honest": 4.0},
    "votes_long": {"pair_id": "u", "worker": 7, "label": "a1"},
    "votes_wide": {"pair_id": "u", "annotator1": 1, "annotator2": 2},
    "tournament": {"question_id": "q", "first": "model x", "second": "model y", "score": "1"},
    "win_counts": {"model_a": "x", "model_b": "y", "wins_a": 3, "wins_b": 1},
}
RLHFLOW = {"chosen": [ASKED, GOOD], "rejected": [ASKED, BAD], "chosen_score": 8.0, "rejected_score": 3.5}


def columns(row, n=3):
    return {name: [value] * n for name, value in row.items()}


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_is_told_from_the_others(name):
    assert detect(columns(LAYOUTS[name])).layout.name == name


PAIRS = [name for name in LAYOUTS if detect(columns(LAYOUTS[name])).layout.kind == "pairs"]


@pytest.mark.parametrize("name", PAIRS)
def test_every_layout_of_pairs_gives_the_same_preference(name):
    sample = columns(LAYOUTS[name])
    reading = detect(sample)
    coding = coding_of(sample.get("gold", []))
    found = read_pairs(Rows(range(3), sample), reading, coding)
    assert not found.left
    assert found.prompt[0][-1]["role"] == "user"
    assert (found.chosen[0][-1]["content"], found.rejected[0][-1]["content"]) == ("good", "bad")


def test_scores_are_found_under_either_name_and_in_lists():
    for row, expected in ((RLHFLOW, (8.0, 3.5)), (LAYOUTS["simpo"], (0.9, 0.1))):
        sample = columns(row)
        found = read_pairs(Rows(range(3), sample), detect(sample), None)
        assert (found.numbers["score_chosen"][0], found.numbers["score_rejected"][0]) == expected


def test_numbered_raters_of_one_response_score_it_and_do_not_vote():
    row = {"prompt": "q", "response": "a", "model": "m", "rater1": -1.5, "rater2": -3.0}
    found = detect(columns(row))
    assert (found.layout.name, found.raters) == ("responses_wide", ("rater1", "rater2"))


def test_lengths_and_ids_are_not_taken_for_raters():
    assert detect(columns(LAYOUTS["responses_wide"])).raters == ("helpful", "honest")


def test_a_kind_or_a_layout_narrows_the_search():
    row = LAYOUTS["simpo"]
    assert detect(columns(row), format="responses").layout.name == "response_lists"
    assert detect(columns(row), format="dialogues").layout.name == "dialogues"
    with pytest.raises(ConfigError, match="--format pears: expected one of pairs, responses, votes, win_counts"):
        detect(columns(row), format="pears")


def test_two_columns_that_could_each_be_meant_are_refused():
    row = {"instruction": "q", "question": "q", "chosen": "a", "rejected": "b"}
    with pytest.raises(ConfigError, match=r"'instruction' and 'question' could each .* --column prompt=instruction"):
        detect(columns(row))
    assert detect(columns(row), columns={"prompt": "question"}).columns["prompt"] == "question"
    assert detect(columns(row | {"prompt": "p"})).columns["prompt"] == "prompt"


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"promt": "question"}, "no such role; did you mean 'prompt'"),
        ({"prompt": "instructon"}, "has no column 'instructon'; did you mean 'instruction'"),
    ],
)
def test_a_misnamed_role_or_column_gets_the_nearest(said, message):
    with pytest.raises(ConfigError, match=message):
        detect(columns({"instruction": "q", "chosen": "a", "rejected": "b"}), columns=said)


def test_a_dialogue_in_hh_notation_becomes_turns():
    assert [turn["role"] for turn in hh_messages(HH)] == ["user", "assistant", "user"]
    assert hh_messages("Human: a\nHuman: still a")[0]["content"] == "a\nHuman: still a"
    with pytest.raises(BadRow, match="no turn"):
        hh_messages("no speaker")


def test_dialogues_part_at_their_first_difference_but_keep_a_turn_each():
    long = [ASKED, GOOD, user("more"), GOOD]
    assert part_dialogues(long, [*long[:3], BAD]) == (long[:3], [GOOD], [BAD])
    assert part_dialogues([ASKED, GOOD], [ASKED, GOOD]) == ([ASKED], [GOOD], [GOOD])
    assert part_dialogues([ASKED, GOOD], [user("other"), BAD])[0] == []


def test_texts_part_between_words():
    assert part_texts("ask: good answer", "ask: great answer") == ("ask: ", "good answer", "great answer")
    assert part_texts("same text", "same text") == ("same ", "text", "text")
    assert part_texts("a", "b") == ("", "a", "b")


@pytest.mark.parametrize(
    ("values", "first", "second", "tie"),
    [
        (["1", "2", "0"], "1", "2", "0"),
        ([1.0, 2.0, 3.0], 1.0, 2.0, 3.0),
        (["A>B", "B>A", "A=B"], "A>B", "B>A", "A=B"),
        (["model_a", "model_b", "tie"], "model_a", "model_b", "tie"),
        ([True, False, "Equally Good"], True, False, "Equally Good"),
        ([1.2, 1.9, 1.5], 1.2, 1.9, 1.5),
    ],
)
def test_votes_are_understood_in_many_words(values, first, second, tie):
    coding = coding_of([*values, None, float("nan"), "-1"])
    assert [coding.code(value) for value in (first, second, tie)] == [FIRST, SECOND, TIE]
    assert coding.code("-1") is None


@pytest.mark.parametrize("values", [["0", "1"], ["happy", "sad"], [], ["tie"], [0.5, 7.0], ["0", "1", "2", "3"]])
def test_votes_that_do_not_name_a_side_are_plain_classes(values):
    assert coding_of(values) is None


def test_a_response_without_a_score_or_a_rater_leaves():
    sample = columns(LAYOUTS["responses_long"])
    sample["score"][1], sample["rater"][2] = float("nan"), None
    found = read_responses(Rows([4, 5, 6], sample), detect(columns(LAYOUTS["responses_long"])))
    assert [(one.row, one.reason) for one in found.left] == [(5, "no_score"), (6, "no_rater")]
    assert found.scores == [{"r1": -5.0}]
