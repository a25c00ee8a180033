"""Embeddings of texts: the mean of a model's last hidden states over the tokens of a text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModel, AutoTokenizer

from sweetspot.engines._batches import right_padded, token_budget_batches
from sweetspot.engines._loading import load_for_inference, most_positions
from sweetspot.engines.revision import local_directory, model_revision
from sweetspot.errors import EngineError

MOST_TOKENS = 256
"""A longer text is read up to here: encoders of sentences are trained on no more."""
POOLER = ("pooler.",)
"""Weights for classification that many checkpoints lack and the mean of hidden states never reads."""


@dataclass(frozen=True)
class Embedded:
    """Embeddings of n texts.

    Attributes:
        vectors: (n, H) float32.
        cut: texts of which only the first tokens were read.
    """

    vectors: NDArray[np.float32]
    cut: int


class TransformersEmbedder:
    """An encoder, or a causal language model, of Hugging Face as a source of embeddings.

    Attributes:
        revision: of the model.
    """

    def __init__(self, model: str, *, revision: str = "", batch_tokens: int = 16_384) -> None:
        directory = local_directory(model, revision)
        self.revision = model_revision(model, revision)
        self._name, self._batch_tokens = model, batch_tokens
        self._tokenizer: Any = AutoTokenizer.from_pretrained(directory, trust_remote_code=False, local_files_only=True)
        self._model: Any = load_for_inference(AutoModel, directory, unread=POOLER)
        self._most_tokens = min(MOST_TOKENS, most_positions(self._model))

    def embed(self, texts: Sequence[str]) -> Embedded:
        """The mean last hidden state of each text.

        Args:
            texts: n texts; one without a token has the zero vector.

        Returns:
            Embedded.

        Raises:
            EngineError: a vector is not finite.
        """
        listed: list[list[int]] = self._tokenizer(list(texts), verbose=False)["input_ids"] if len(texts) else []
        ids = [row[: self._most_tokens] for row in listed]
        vectors = np.zeros((len(ids), int(self._model.config.get_text_config().hidden_size)), dtype=np.float32)
        there = [row for row, tokens in enumerate(ids) if tokens]
        for batch in token_budget_batches([len(ids[row]) for row in there], batch_tokens=self._batch_tokens):
            rows = [there[place] for place in batch]
            vectors[rows] = self._means([ids[row] for row in rows])
        broken = int((~np.isfinite(vectors)).any(axis=1).sum())
        if broken:
            raise EngineError(f"{self._name}: {broken} of {len(ids)} embeddings are not finite; use another model")
        return Embedded(vectors, sum(len(row) > self._most_tokens for row in listed))

    @torch.inference_mode()
    def _means(self, rows: list[list[int]]) -> NDArray[np.float32]:
        ids, mask = right_padded(rows, pad_id=0, device=self._model.device)
        hidden = self._model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
        weight = mask.unsqueeze(-1).float()
        return ((hidden * weight).sum(dim=1) / weight.sum(dim=1)).cpu().numpy()
