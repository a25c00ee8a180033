"""What the model to be trained says of the pairs: log-probabilities of both responses, and CHES from the same passes.

Both responses of a pair are scored after the same rendered prompt. With two models, the second is the
one DPO starts from: CHES and `ref_*` are its own, and the implicit margin is the difference of both.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sweetspot.auditing.conversations import Messages
from sweetspot.auditing.reading import PairTexts
from sweetspot.auditing.scored import LOGPS, Scored, pick, scorable, with_scores
from sweetspot.auditing.settings import Audit
from sweetspot.auditing.tables import Pairs
from sweetspot.engines.revision import check_safe, model_revision
from sweetspot.engines.template import ChatTemplate
from sweetspot.errors import ConfigError, ContractError
from sweetspot.pathology import ches_of_sums
from tasks._policies import start_policy
from tasks.audit_measure import Measured, read_again
from tasks.audit_source import AuditSource

if TYPE_CHECKING:
    from sweetspot.engines.logprobs import ResponseStates, TransformersLogprobs

FloatArray = NDArray[np.float64]
PAIRS_AT_ONCE = 64
"""Pairs whose hidden states are held at once."""


class _Ids(NamedTuple):
    pair: int
    prompt: tuple[int, ...]
    chosen: tuple[int, ...]
    rejected: tuple[int, ...]

    @property
    def tokens(self) -> int:
        return len(self.prompt) + max(len(self.chosen), len(self.rejected))


@dataclass(frozen=True)
class _Models:
    """The model DPO starts from, and the trained one where it is another; both read the same ids."""

    reference: "TransformersLogprobs"
    policy: "TransformersLogprobs | None"

    @property
    def revisions(self) -> dict[str, str]:
        found = {"reference": self.reference.revision}
        return found if self.policy is None else {**found, "policy": self.policy.revision}

    @property
    def max_tokens(self) -> int:
        return min(model.max_tokens for model in (self.reference, self.policy) if model is not None)


def check_models(settings: Audit, kind: str) -> None:
    """Refuse settings that could only fail after the data has been read.

    Raises:
        ConfigError: a model that is not there or not safe to load, a reference alone, or a source without pairs.
    """
    if settings.reference and not settings.policy:
        raise ConfigError(
            f"reference: {settings.reference} is named and no policy; name the model to be trained as policy"
        )
    if settings.policy and kind != "pairs":
        raise ConfigError(
            f"policy: a model scores chosen and rejected of pairs, and the source holds {kind}; leave out policy, or "
            "audit pairs"
        )
    if settings.embedder and (not settings.against or kind == "votes"):
        missing = "the source holds votes, without prompts to compare" if settings.against else "no file is named"
        raise ConfigError(
            f"embedder: compares prompts with the texts of `against`, and {missing}; leave out embedder, or name "
            "files with --against"
        )
    named = ((settings.policy, settings.policy_revision), (settings.reference, settings.reference_revision))
    for path, revision in (*named, (settings.embedder, settings.embedder_revision)):
        if path:
            check_safe(path)
            if not Path(path).is_dir():
                model_revision(path, revision)


def score_likelihoods(source: AuditSource, measured: Measured, settings: Audit) -> Measured:
    """Score the pairs, or a sample of them by hash, under the named models.

    Returns:
        The table with `ref_*`, with two models `policy_*`, lengths in tokens, `ches` and `ches_per_token`; NaN where
        a pair was not scored. What was left out is counted in `scored`.

    Raises:
        ConfigError: a model cannot be opened, or two models have different tokenizers.
        ContractError: selection needs implicit margins of more pairs than `policy_rows`, or the source has changed.
        EngineError: the model cannot be scored with.
    """
    pairs = measured.table
    assert isinstance(pairs, Pairs)
    rows, picked = scorable(pairs), pick(pairs, settings.policy_rows)
    if selects_by_implicit_margin(settings) and len(picked) < len(rows):
        raise ContractError(
            f"policy_rows: the models would score {len(picked)} of {len(rows)} pairs, but selection by implicit "
            f"margins needs every one; raise policy_rows to {len(rows)}, or leave out reference"
        )
    models = _open(settings)
    names = (*LOGPS[: 4 if models.policy else 2], "chosen_tokens", "rejected_tokens", "ches", "ches_per_token")
    columns = {name: np.full(len(pairs), np.nan) for name in names}
    longest = min(settings.policy_tokens, models.max_tokens)
    left, seen = Counter[str](), 0
    for texts in read_again(source, measured.reading, pairs.row[picked].tolist()):
        assert isinstance(texts, PairTexts)
        seen += len(texts.row)
        for part in _in_parts(_tokenised(texts, pairs, models.reference.template, longest, left)):
            _fill(columns, part, models, left)
    if seen != len(picked):
        raise ContractError(
            f"{source.name}: {seen} of the {len(picked)} pairs to be scored were found again; the source changed while "
            "it was read. Audit a copy that nobody writes to"
        )
    scored = Scored(
        policy=settings.policy,
        reference=settings.reference or settings.policy,
        revisions=models.revisions,
        scorable=len(rows),
        picked=len(picked),
        left=dict(sorted(left.items())),
        replaced=any(name in pairs.numbers for name in LOGPS),
    )
    return replace(measured, table=with_scores(pairs, columns), scored=scored)


def selects_by_implicit_margin(settings: Audit) -> bool:
    """Whether rows will be selected, and two models give margins for it."""
    return settings.clean != "none" and settings.selection.keep_fraction < 1 and bool(settings.reference)


def _open(settings: Audit) -> _Models:
    from sweetspot.engines.logprobs import TransformersLogprobs

    policy = TransformersLogprobs(str(start_policy(settings.policy, settings.policy_revision).local_path()))
    if not settings.reference:
        return _Models(policy, None)
    reference = TransformersLogprobs(str(start_policy(settings.reference, settings.reference_revision).local_path()))
    if policy.template.tokenizer_hash != reference.template.tokenizer_hash:
        raise ConfigError(
            f"reference: {settings.reference} has another tokenizer than policy {settings.policy}, so their "
            "log-probabilities are of different tokens; name the model that the policy was trained from"
        )
    return _Models(reference, policy)


def _tokenised(
    texts: PairTexts, pairs: Pairs, template: ChatTemplate, most_tokens: int, left: Counter[str]
) -> Iterator[_Ids]:
    """Token ids of the pairs of a block; one that has none is counted with its reason."""
    places = np.searchsorted(pairs.row, texts.row)
    for k, index in enumerate(places.tolist()):
        found = _ids(index, texts.prompt[k], texts.chosen[k], texts.rejected[k], template)
        if isinstance(found, str):
            left[found] += 1
        elif found.tokens > most_tokens:
            left["too_long"] += 1
        else:
            yield found


def _ids(index: int, prompt: Messages, chosen: Messages, rejected: Messages, template: ChatTemplate) -> _Ids | str:
    """Token ids as in training, or why there are none."""
    if any([message["role"] for message in side] != ["assistant"] for side in (chosen, rejected)):
        return "several_turns"
    try:
        prompt_ids = template.prompt_ids(prompt)
    except ContractError:
        return "refused_by_template"
    sides = (template.response_ids(side[0]["content"]) for side in (chosen, rejected))
    return _Ids(index, prompt_ids, *sides)


def _in_parts(rows: Iterator[_Ids]) -> Iterator[list[_Ids]]:
    part = list[_Ids]()
    for row in rows:
        part.append(row)
        if len(part) == PAIRS_AT_ONCE:
            yield part
            part = []
    if part:
        yield part


def _fill(columns: dict[str, FloatArray], part: list[_Ids], models: _Models, left: Counter[str]) -> None:
    """Score some pairs and write down those with finite scores under every model."""
    prompts = [row.prompt for row in part] * 2
    responses = [row.chosen for row in part] + [row.rejected for row in part]
    found: ResponseStates = models.reference.score_with_states(prompts, responses)
    scores = {"ref": found.logps.reshape(2, -1)}
    if models.policy is not None:
        scores["policy"] = models.policy.score(prompts, responses).reshape(2, -1)
    every = np.concatenate(list(scores.values()))
    sums = found.hidden_sums.reshape(2, len(part), -1)
    good = np.isfinite(every).all(axis=0) & np.isfinite(sums).all(axis=(0, 2))
    if not good.all():
        left["not_finite"] += int((~good).sum())
    if not good.any():
        return
    where = np.array([row.pair for row in part])[good]
    for name, values in scores.items():
        columns[f"{name}_chosen_logps"][where], columns[f"{name}_rejected_logps"][where] = values[:, good]
    lengths = np.array([[len(row.chosen) for row in part], [len(row.rejected) for row in part]])[:, good]
    risk = ches_of_sums(sums[0, good], sums[1, good], chosen_lengths=lengths[0], rejected_lengths=lengths[1])
    columns["chosen_tokens"][where], columns["rejected_tokens"][where] = lengths
    columns["ches"][where], columns["ches_per_token"][where] = risk.score, risk.length_normalised
