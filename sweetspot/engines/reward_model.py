"""A reward model as a rater: a sequence classifier with one output, read in batches of similar length."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification

from sweetspot.config import RewardModel
from sweetspot.engines._batches import right_padded, token_budget_batches
from sweetspot.engines._loading import load_for_inference, most_positions
from sweetspot.engines.protocols import RatedResponse
from sweetspot.engines.revision import local_directory, model_revision
from sweetspot.engines.template import ChatTemplate
from sweetspot.errors import ConfigError, EngineError

TOLERANCE = 1e-3
HALF_PRECISION_TOLERANCE = 5e-2


class RewardModelRater:
    """A `Rater` on a Hugging Face sequence classifier.

    The model reads what it was trained on: prompt and response rendered by its own chat template.
    """

    def __init__(self, settings: RewardModel) -> None:
        directory = local_directory(settings.model, settings.revision)
        self.name = settings.name
        self.revision = model_revision(settings.model, settings.revision)
        self._template = ChatTemplate.load(str(directory))
        self._model: Any = load_for_inference(AutoModelForSequenceClassification, directory)
        self._batch_tokens = settings.batch_tokens
        if self._model.config.num_labels != 1:
            raise ConfigError(
                f"{settings.model}: has {self._model.config.num_labels} outputs, expected 1; name a reward model"
            )
        self._pad_id = _set_pad_id(self._model, self._template, settings.model)

    @property
    def tolerance(self) -> float:
        """Largest difference between a score given alone and in a batch, in the model's own unit."""
        return TOLERANCE if self._model.dtype == torch.float32 else HALF_PRECISION_TOLERANCE

    def score(self, items: Sequence[RatedResponse]) -> list[float]:
        """Score responses in the model's own unit; see `Rater.score`.

        NaN where prompt and response are longer than the model's positions: it cannot read them whole.
        """
        rows = [self._ids(item) for item in items]
        scores = [math.nan] * len(rows)
        readable = [row for row, ids in enumerate(rows) if len(ids) <= most_positions(self._model)]
        lengths = [len(rows[row]) for row in readable]
        for batch in token_budget_batches(lengths, batch_tokens=self._batch_tokens):
            chosen = [readable[position] for position in batch]
            for row, score in zip(chosen, self._forward([rows[row] for row in chosen]), strict=True):
                scores[row] = score
        return scores

    def check_batch_invariance(self, samples: Sequence[RatedResponse], *, tolerance: float | None = None) -> float:
        """Score samples one by one and in one padded batch, and compare.

        Args:
            samples: A few responses of different lengths.
            tolerance: Largest allowed difference, in the model's own unit; None takes 1e-3, or 5e-2
                for a model in half precision, whose scores carry about three digits.

        Returns:
            The largest difference.

        Raises:
            EngineError: a larger difference, or a score that is not finite.
        """
        rows = [self._ids(item) for item in samples]
        alone = [self._forward([row])[0] for row in rows]
        together = self._forward(rows) if rows else []
        limit = tolerance if tolerance is not None else self.tolerance
        differences = [abs(one - other) for one, other in zip(alone, together, strict=True)]
        for index, difference in enumerate(differences):
            if not difference <= limit:
                raise EngineError(
                    f"rater {self.name}: sample {index} of {len(rows)} scores {alone[index]:.6g} alone and "
                    f"{together[index]:.6g} in a batch, limit {limit:g}; its scores depend on padding (check "
                    "pad_token_id in config.json) or its weights are broken"
                )
        return max(differences, default=0.0)

    def _ids(self, item: RatedResponse) -> tuple[int, ...]:
        return self._template.conversation_ids([*item.prompt, {"role": "assistant", "content": item.response}])

    @torch.inference_mode()
    def _forward(self, rows: Sequence[Sequence[int]]) -> list[float]:
        ids, mask = right_padded(rows, pad_id=self._pad_id, device=self._model.device)
        logits = self._model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        return logits[:, 0].double().tolist()


def _set_pad_id(model: Any, template: ChatTemplate, path: str) -> int:
    """The padding token the classifier's pooling skips: the model's own, else the tokenizer's."""
    config: Any = model.config.get_text_config()
    if config.pad_token_id is None:
        config.pad_token_id = template.tokenizer.pad_token_id
    if config.pad_token_id is None:
        raise ConfigError(
            f"{path}: neither config.json nor the tokenizer has a padding token, so a batch cannot tell the end of a "
            "response; set pad_token_id in config.json to the one used in training"
        )
    return config.pad_token_id
