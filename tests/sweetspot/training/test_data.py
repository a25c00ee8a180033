import math

import pytest

from sweetspot.config import Training
from sweetspot.engines.template import ChatTemplate
from sweetspot.errors import ContractError, MissingRatingError
from sweetspot.training.data import rated_fraction, tokenise_pairs

OPENED = "{{ bos_token }}{% for m in messages %}"
ASKED = "{% if m['role'] != 'assistant' %}{{ '<user>' + m['content'] }}"
CLOSED = "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<bot>' }}{% endif %}"


def template_with(make_policy, answer: str) -> ChatTemplate:
    """A chat template whose past assistant turns are written by the Jinja expression `answer`."""
    chat_template = f"{OPENED}{ASKED}{{% else %}}{{{{ {answer} }}}}{CLOSED}"
    return ChatTemplate.load(str(make_policy(chat_template=chat_template)))


@pytest.fixture
def template(policy_dir):
    return ChatTemplate.load(str(policy_dir))


def test_prompt_then_response_then_eos_is_the_whole_rendered_chat(template, make_rows, settings):
    row = make_rows(1)[0]
    pair = tokenise_pairs([row], template, settings)[0]
    for side, response in (("chosen", pair.chosen_ids), ("rejected", pair.rejected_ids)):
        text = f"<s><user>{row['prompt'][0]['content']}<bot>{row[side][0]['content']}</s>"
        assert pair.prompt_ids + response == tuple(template.tokenizer.encode(text, add_special_tokens=False))
    assert template.tokenizer.decode(list(pair.prompt_ids)).endswith("<bot>")
    assert pair.tokens == len(pair.prompt_ids) + max(len(pair.chosen_ids), len(pair.rejected_ids))


def test_rows_keep_their_order_route_and_signed_gap(template, make_rows, settings):
    rows = make_rows(7, sft_every=3)
    pairs = tokenise_pairs(rows, template, settings)
    assert [pair.pair_id for pair in pairs] == [row["pair_id"] for row in rows]
    assert [pair.is_sft for pair in pairs] == [True, False, False, True, False, False, True]
    assert [pair.rating_gap for pair in pairs] == [row["chosen_rating"] - row["rejected_rating"] for row in rows]
    assert any(pair.rating_gap < 0 for pair in pairs)


def test_over_long_pairs_are_refused_with_count_and_first_id(template, make_rows, settings):
    rows = make_rows(6)
    for index in (2, 4):
        rows[index]["rejected"] = [{"role": "assistant", "content": "x" * 40}]
    with pytest.raises(ContractError, match=r"2 of 6 pairs are longer than max_tokens = 32 \(first: pair-2, \d+ tok"):
        tokenise_pairs(rows, template, settings.model_copy(update={"max_tokens": 32}))


def test_a_pair_of_exactly_max_tokens_is_kept(template, make_rows, settings):
    longest = tokenise_pairs(make_rows(1), template, settings)[0].tokens
    rows, exact = make_rows(1), settings.model_copy(update={"max_tokens": longest})
    assert len(tokenise_pairs(rows, template, exact)) == 1
    with pytest.raises(ContractError, match="1 of 1 pairs are longer"):
        tokenise_pairs(rows, template, exact.model_copy(update={"max_tokens": longest - 1}))


@pytest.mark.parametrize(
    "answer", ["'<bot>' + m['content'] + eos_token + '\\n'", "'<bot>' + m['content']|trim + eos_token"]
)
def test_white_space_of_a_template_around_a_response_is_no_difference(make_policy, make_rows, settings, answer):
    template = template_with(make_policy, answer)
    row = make_rows(1)[0]
    row["chosen"][0]["content"] = " ab "
    chosen = tokenise_pairs([row], template, settings)[0].chosen_ids
    assert template.tokenizer.decode(list(chosen)) == " ab </s>"


@pytest.mark.parametrize(
    "answer",
    [
        "'<bot>' + m['content'] + '<pad>'",
        "'<bot>' + 'thought' + m['content'] + eos_token",
        "'<bot>' + m['content'][1:] + eos_token",
        "m['content'] + eos_token",
    ],
)
def test_a_template_that_writes_a_past_response_otherwise_is_refused(make_policy, make_rows, settings, answer):
    template = template_with(make_policy, answer)
    with pytest.raises(ContractError, match="chosen: the chat template renders pair pair-0"):
        tokenise_pairs(make_rows(2), template, settings)


@pytest.mark.parametrize("loss", ["rating_dpo", "rating_ipo", "mixdpo"])
@pytest.mark.parametrize("missing", [None, math.nan])
def test_a_missing_rating_is_refused_where_the_loss_needs_it(template, make_rows, settings, loss, missing):
    rows = make_rows(5)
    rows[3]["rejected_rating"] = missing
    with pytest.raises(MissingRatingError, match=r"1 of 5 pairs lack a rating \(first: pair-3\)"):
        tokenise_pairs(rows, template, settings.model_copy(update={"loss": loss}))


@pytest.mark.parametrize("loss", ["dpo", "ipo", "cdpo", "ml_rating_dpo"])
def test_a_missing_rating_is_no_matter_where_the_loss_does_not_need_it(template, make_rows, settings, loss):
    rows = make_rows(4)
    rows[1]["chosen_rating"] = None
    pairs = tokenise_pairs(rows, template, settings.model_copy(update={"loss": loss}))
    assert [math.isnan(pair.rating_gap) for pair in pairs] == [False, True, False, False]
    assert rated_fraction(pairs) == 0.75


def test_a_rating_loss_without_any_rating_is_refused(template, make_rows, settings):
    rows = [{**row, "chosen_rating": None} for row in make_rows(3)]
    with pytest.raises(MissingRatingError, match="3 of 3 pairs lack a rating"):
        tokenise_pairs(rows, template, settings.model_copy(update={"loss": "ml_rating_dpo"}))


def test_a_pair_routed_to_sft_needs_no_rating(template, make_rows, settings):
    rows = make_rows(4, sft_every=2)
    rows[0]["chosen_rating"] = rows[2]["rejected_rating"] = None
    pairs = tokenise_pairs(rows, template, settings.model_copy(update={"loss": "rating_dpo"}))
    assert rated_fraction(pairs) == 1.0


def test_relabelled_rows_are_refused_for_rating_aware_losses_only(template, make_rows, settings):
    rows = make_rows(3)
    rows[2]["goal"] = 1.5
    assert len(tokenise_pairs(rows, template, settings)) == 3
    with pytest.raises(ContractError, match=r"goal: 1 of 3 rows are relabelled \(first: pair-2\)"):
        tokenise_pairs(rows, template, settings.model_copy(update={"loss": "ml_rating_dpo"}))


def test_row_references_count_only_where_both_are_there_and_trusted(template, make_rows, settings):
    rows = make_rows(3)
    rows[0].update(ref_chosen_logps=-5.0, ref_rejected_logps=-7.0)
    rows[1].update(ref_chosen_logps=-5.0)
    trusted = tokenise_pairs(rows, template, settings, trust_row_references=True)
    assert [pair.has_reference for pair in trusted] == [True, False, False]
    assert trusted[0].reference_logps == (-5.0, -7.0)
    assert not any(pair.has_reference for pair in tokenise_pairs(rows, template, settings))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"route": None, "chosen": None}, "rows: pair pair-0 lacks chosen, route"),
        ({"route": "both"}, "route: pair pair-0 has route 'both'"),
        ({"chosen": []}, r"chosen: pair pair-0 has messages with roles \[\]"),
        ({"rejected": [{"role": "user", "content": "a"}]}, r"rejected: pair pair-0 has messages with roles \['user'\]"),
        ({"chosen_rating": math.inf}, "chosen_rating: pair pair-0 has inf"),
    ],
)
def test_malformed_rows_are_refused(template, make_rows, change, message):
    with pytest.raises(ContractError, match=message):
        tokenise_pairs([{**make_rows(1)[0], **change}], template, Training(loss="dpo"))


def test_no_rows_are_refused(template, settings):
    with pytest.raises(ContractError, match="rows: got none"):
        tokenise_pairs([], template, settings)
