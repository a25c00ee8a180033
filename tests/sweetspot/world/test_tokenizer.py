import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from sweetspot.world.tokenizer import build_tokenizer

TOKENIZER = build_tokenizer()
PRINTABLE = "".join(chr(code) for code in range(32, 127))
CHAT = [
    {"role": "system", "content": "be brief"},
    {"role": "user", "content": "sort 312"},
    {"role": "assistant", "content": "123"},
]


def ids(text: str) -> list[int]:
    return TOKENIZER(text)["input_ids"]


@settings(max_examples=50, deadline=None)
@given(st.text(alphabet=PRINTABLE + "\n", max_size=40).filter(lambda t: "<" not in t))
def test_printable_text_round_trips_one_token_per_character(text):
    assert len(ids(text)) == len(text)
    assert TOKENIZER.decode(ids(text)) == text


def test_every_printable_character_is_known():
    assert TOKENIZER.unk_token_id not in ids(PRINTABLE)
    assert set(string.ascii_lowercase + string.digits + string.punctuation) <= set(TOKENIZER.get_vocab())


@pytest.mark.parametrize("character", ["é", "\t", "漢", "😀"])
def test_other_characters_become_unknown(character):
    assert ids("a" + character + "b") == [ids("a")[0], TOKENIZER.unk_token_id, ids("b")[0]]


def test_special_ids_are_distinct_and_plain_encoding_adds_none():
    special = [getattr(TOKENIZER, f"{name}_token_id") for name in ("pad", "unk", "bos", "eos")]
    assert special == [0, 1, 2, 3]
    assert not set(ids("sort 12")) & {0, 1, 2, 3}


def test_chat_renders_in_order_with_one_bos_and_a_final_eos():
    text = TOKENIZER.apply_chat_template(CHAT, tokenize=False)
    assert text == "<s>be brief\n<|user|>sort 312<|assistant|>123</s>"


@pytest.mark.parametrize("add_special_tokens", [True, False])
def test_there_is_never_a_double_bos(add_special_tokens):
    direct = TOKENIZER.apply_chat_template(CHAT[1:2], add_generation_prompt=True, return_dict=False)
    text = TOKENIZER.apply_chat_template(CHAT[1:2], add_generation_prompt=True, tokenize=False)
    again = TOKENIZER(text, add_special_tokens=add_special_tokens)["input_ids"]
    assert direct == again
    assert direct.count(TOKENIZER.bos_token_id) == 1
    assert direct[0] == TOKENIZER.bos_token_id


def test_the_generation_prompt_is_a_prefix_of_the_whole_conversation():
    prompt = TOKENIZER.apply_chat_template(CHAT[:2], add_generation_prompt=True, return_dict=False)
    whole = TOKENIZER.apply_chat_template(CHAT, return_dict=False)
    assert whole[: len(prompt)] == prompt
    assert whole[-1] == TOKENIZER.eos_token_id
    assert TOKENIZER.decode(whole[len(prompt) :], skip_special_tokens=True) == "123"


def test_an_unknown_role_is_refused():
    with pytest.raises(Exception, match="role must be system, user or assistant, got tool"):
        TOKENIZER.apply_chat_template([{"role": "tool", "content": "x"}], tokenize=False)


def test_saved_and_loaded_by_auto_tokenizer_it_is_the_same(tmp_path):
    TOKENIZER.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.get_vocab() == TOKENIZER.get_vocab()
    assert loaded.chat_template == TOKENIZER.chat_template
    assert loaded.apply_chat_template(CHAT, return_dict=False) == TOKENIZER.apply_chat_template(CHAT, return_dict=False)
    assert loaded.decode(ids("a - b , c!")) == "a - b , c!"
