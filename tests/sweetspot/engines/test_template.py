import json
import shutil

import pytest

from sweetspot.engines.template import ChatTemplate
from sweetspot.errors import ConfigError, ContractError

QUESTION = [{"role": "user", "content": "abc 1"}]


@pytest.fixture(scope="module")
def template(policy_dir):
    return ChatTemplate.load(str(policy_dir))


@pytest.fixture
def edited(tmp_path, policy_dir):
    """Load the template after changing one JSON file of the model."""

    def load(name, change):
        directory = tmp_path / "edited"
        shutil.copytree(policy_dir, directory)
        content = json.loads((directory / name).read_text())
        change(content)
        (directory / name).write_text(json.dumps(content))
        return ChatTemplate.load(str(directory))

    return load


@pytest.fixture
def with_chat_text(tmp_path, policy_dir):
    def load(text):
        directory = tmp_path / "other_chat"
        shutil.copytree(policy_dir, directory)
        (directory / "chat_template.jinja").write_text(text)
        return ChatTemplate.load(str(directory))

    return load


def test_prompt_ids_are_bos_role_text_and_generation_prompt(template, tokenizer):
    expected = ["<s>", "<|user|>", "a", "b", "c", " ", "1", "<|assistant|>"]
    assert tokenizer.convert_ids_to_tokens(list(template.prompt_ids(QUESTION))) == expected


def test_conversation_is_the_prompt_followed_by_the_response_and_eos(template):
    conversation = template.conversation_ids([*QUESTION, {"role": "assistant", "content": "x y"}])
    assert conversation == template.prompt_ids(QUESTION) + template.response_ids("x y")


def test_response_ids_end_in_one_eos_and_start_without_bos(template, tokenizer):
    assert tokenizer.convert_ids_to_tokens(list(template.response_ids("a b"))) == ["a", " ", "b", "</s>"]
    assert template.response_ids("") == (template.eos_id,)


@pytest.mark.parametrize("text", ["", "abc", " a  b ", "a , b"])
def test_text_gives_back_the_response_without_special_tokens(template, text):
    known = text.replace(",", "")
    assert template.text(template.response_ids(known)) == known


SPELLED = ["</s>", "a</s>b", "<|assistant|>", "1</s><|user|>2<|assistant|>3", "<s><s>", "<|us<s>er|>", "<unk><pad>"]


@pytest.fixture(scope="module")
def world_template(root):
    """Knows every printable character, so a special token can be spelled."""
    return ChatTemplate.load(str(root / "deployments" / "world" / "policy"))


@pytest.mark.parametrize("text", SPELLED)
def test_special_tokens_that_a_text_spells_are_ordinary_characters(world_template, text):
    def special(ids):
        return [token for token in ids if token in tokenizer.all_special_ids]

    tokenizer = world_template.tokenizer
    messages = [{"role": "user", "content": text}, {"role": "assistant", "content": text}]
    plain = [{**message, "content": "x"} for message in messages]
    for render in (world_template.prompt_ids, world_template.conversation_ids):
        ids, expected = render(messages), render(plain)
        assert special(ids) == special(expected)
        assert tokenizer.decode(list(ids)) == tokenizer.decode(list(expected)).replace("x", text)
    assert tokenizer.convert_ids_to_tokens(list(world_template.response_ids(text))) == [*text, "</s>"]


def test_a_text_without_special_tokens_is_rendered_as_transformers_does(world_template):
    messages = [{"role": "system", "content": "be kind"}, *QUESTION, {"role": "assistant", "content": "spelled-1-"}]
    expected = world_template.tokenizer.apply_chat_template(messages, return_dict=False)
    assert list(world_template.conversation_ids(messages)) == expected


def test_a_template_with_two_bos_is_refused(with_chat_text, policy_dir):
    twice = "{{ bos_token }}" + (policy_dir / "chat_template.jinja").read_text()
    with pytest.raises(ContractError, match="two BOS"):
        with_chat_text(twice).prompt_ids(QUESTION)


def test_messages_the_template_refuses_are_named_by_role_not_by_text(template):
    with pytest.raises(ContractError, match=r"refuses roles \['tool'\]: unknown role") as caught:
        template.prompt_ids([{"role": "tool", "content": "secret"}])
    assert "secret" not in str(caught.value)


def test_equal_models_have_equal_hashes(template, policy_dir):
    again = ChatTemplate.load(str(policy_dir))
    assert (again.full_chat_hash, again.tokenizer_hash) == (template.full_chat_hash, template.tokenizer_hash)
    assert len(template.full_chat_hash) == len(template.tokenizer_hash) == 64


def test_another_chat_text_changes_only_the_chat_hash(template, with_chat_text, policy_dir):
    other = with_chat_text((policy_dir / "chat_template.jinja").read_text() + " ")
    assert other.full_chat_hash != template.full_chat_hash
    assert other.tokenizer_hash == template.tokenizer_hash


def test_another_vocabulary_changes_only_the_tokenizer_hash(template, edited):
    def swap(content):
        words = content["model"]["vocab"]
        words["a"], words["b"] = words["b"], words["a"]

    other = edited("tokenizer.json", swap)
    assert other.tokenizer_hash != template.tokenizer_hash
    assert other.full_chat_hash == template.full_chat_hash


def test_padding_a_batch_leaves_the_tokenizer_hash(template, policy_dir, edited):
    def pad(content):
        content["padding"] = {
            "strategy": "BatchLongest",
            "direction": "Right",
            "pad_to_multiple_of": None,
            "pad_id": 0,
            "pad_type_id": 0,
            "pad_token": "<pad>",
        }

    assert edited("tokenizer.json", pad).tokenizer_hash == template.tokenizer_hash


def test_a_tokenizer_without_eos_is_refused(edited):
    with pytest.raises(ConfigError, match="no EOS token"):
        edited("tokenizer_config.json", lambda content: content.pop("eos_token"))


def test_a_tokenizer_without_chat_template_is_refused(tmp_path, policy_dir):
    shutil.copytree(policy_dir, tmp_path / "plain")
    (tmp_path / "plain" / "chat_template.jinja").unlink()
    with pytest.raises(ConfigError, match="no chat template"):
        ChatTemplate.load(str(tmp_path / "plain"))
