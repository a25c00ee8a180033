"""The chat template: the only place where messages become token ids and token ids become text."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sweetspot.engines.revision import local_directory
from sweetspot.errors import ConfigError, ContractError

Messages = Sequence[dict[str, str]]


@dataclass(frozen=True)
class ChatTemplate:
    """A tokenizer and its chat template.

    Special tokens come from the template alone: a message or a response that spells one, such as `<|im_end|>`, becomes
    the ordinary tokens of those characters, so no text can end its turn or begin another.

    Attributes:
        tokenizer: A transformers tokenizer; use the methods below where one serves.
        eos_id: Token that ends a response.
        full_chat_hash: sha256 of the template's text.
        tokenizer_hash: sha256 of the tokenizer's rules and vocabulary, truncation and padding left out.
    """

    tokenizer: Any
    eos_id: int
    full_chat_hash: str
    tokenizer_hash: str

    @classmethod
    def load(cls, path: str, revision: str = "") -> "ChatTemplate":
        """Load the tokenizer of a model.

        Args:
            path: Directory or hub name.
            revision: Commit of a hub model.

        Raises:
            ConfigError: no such model, unsafe files, or a tokenizer without what chats need.
        """
        from transformers import AutoTokenizer

        directory = local_directory(path, revision)
        tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=False, local_files_only=True)
        missing = [name for name, there in _needs(tokenizer).items() if not there]
        if missing:
            raise ConfigError(
                f"{path}: its tokenizer has no {' and no '.join(missing)}; use a chat model, or save the tokenizer "
                "again with what is missing"
            )
        rules = json.loads(tokenizer.backend_tokenizer.to_str())
        rules = {name: value for name, value in rules.items() if name not in ("truncation", "padding")}
        return cls(
            tokenizer=tokenizer,
            eos_id=tokenizer.eos_token_id,
            full_chat_hash=_sha256(tokenizer.get_chat_template()),
            tokenizer_hash=_sha256(json.dumps(rules, sort_keys=True)),
        )

    def prompt_ids(self, messages: Messages) -> tuple[int, ...]:
        """Token ids of a prompt, ending where the assistant's turn begins.

        Raises:
            ContractError: the template refuses the messages, or writes two BOS tokens.
        """
        return self._render(messages, add_generation_prompt=True)

    def conversation_ids(self, messages: Messages) -> tuple[int, ...]:
        """Token ids of a whole conversation, the assistant's last turn included, as reward models are trained.

        Raises:
            ContractError: the template refuses the messages, or writes two BOS tokens.
        """
        return self._render(messages, add_generation_prompt=False)

    def response_ids(self, text: str) -> tuple[int, ...]:
        """Token ids of a finished response that was not sampled here: its text, then EOS.

        Tokens that were drawn may split the same text otherwise; keep those where they are known.
        """
        return (*self._plain_ids(text), self.eos_id)

    def text(self, ids: Sequence[int]) -> str:
        """Text of token ids, special tokens left out, spaces as they are."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def _render(self, messages: Messages, *, add_generation_prompt: bool) -> tuple[int, ...]:
        from jinja2 import TemplateError

        try:
            ids = self._token_ids(messages, add_generation_prompt)
        except TemplateError as error:
            roles = [message["role"] for message in messages]
            raise ContractError(f"messages: the chat template refuses roles {roles}: {error}") from None
        bos = self.tokenizer.bos_token_id
        if bos is not None and ids[:2] == (bos, bos):
            raise ContractError(
                f"messages: the rendered chat starts with two BOS tokens (id {bos}); take BOS out of the chat "
                "template or out of the tokenizer's own post-processing"
            )
        return ids

    def _token_ids(self, messages: Messages, add_generation_prompt: bool) -> tuple[int, ...]:
        """The rendered messages; special tokens that they spell are set aside while the template's own are read."""
        spelled: list[str] = []
        mark = f"spelled-{_sha256(json.dumps([dict(message) for message in messages]))}"

        def set_aside(match: re.Match[str]) -> str:
            spelled.append(match[0])
            return f"{mark}-{len(spelled) - 1}-"

        marked = [{**message, "content": self._special.sub(set_aside, message["content"])} for message in messages]
        rendered = self.tokenizer.apply_chat_template(
            marked, add_generation_prompt=add_generation_prompt, tokenize=False
        )
        ids: list[int] = []
        for place, piece in enumerate(re.split(rf"{mark}-(\d+)-", str(rendered))):
            ids += self._plain_ids(spelled[int(piece)]) if place % 2 else self._ids(piece)
        return tuple(ids)

    @cached_property
    def _special(self) -> re.Pattern[str]:
        tokens = [token.content for token in self.tokenizer.added_tokens_decoder.values() if token.special]
        return re.compile("|".join(re.escape(token) for token in sorted(tokens, key=len, reverse=True)) or "(?!)")

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False)

    def _plain_ids(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)


def _needs(tokenizer: Any) -> dict[str, bool]:
    return {
        "chat template": tokenizer.chat_template is not None,
        "EOS token": tokenizer.eos_token_id is not None,
        "tokenizer.json": tokenizer.is_fast,
    }


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
