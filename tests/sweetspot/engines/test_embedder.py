import shutil

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, BertConfig, BertForMaskedLM

from sweetspot.engines.embedder import TransformersEmbedder
from sweetspot.engines.revision import model_revision
from sweetspot.errors import ConfigError

TEXTS = ["a b c", "hello there", "z", "seven words are in this one text"]


@pytest.fixture(scope="module")
def embedder(policy_dir):
    return TransformersEmbedder(str(policy_dir), batch_tokens=32)


def test_a_vector_is_the_mean_of_the_last_hidden_states(embedder, policy_dir, tokenizer):
    """One unpadded text at a time, from a causal model's own hidden states."""
    model = AutoModelForCausalLM.from_pretrained(policy_dir, dtype=torch.float32)
    found = embedder.embed(TEXTS)
    assert (found.vectors.dtype, found.cut) == (np.float32, 0)
    for text, vector in zip(TEXTS, found.vectors, strict=True):
        with torch.no_grad():
            states = model(torch.tensor([tokenizer(text)["input_ids"]]), output_hidden_states=True).hidden_states[-1]
        np.testing.assert_allclose(vector, states[0].mean(dim=0).numpy(), atol=1e-5)
    assert embedder.revision == model_revision(str(policy_dir))


def test_neighbours_in_a_batch_and_their_order_change_nothing(embedder, policy_dir):
    together = embedder.embed(TEXTS).vectors
    alone = np.concatenate([embedder.embed([text]).vectors for text in TEXTS])
    turned = TransformersEmbedder(str(policy_dir)).embed(TEXTS[::-1]).vectors[::-1]
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(together, turned, atol=1e-5)


def test_a_long_text_is_read_up_to_what_the_model_holds_and_counted(embedder):
    found = embedder.embed(["ab" * 40, "ab" * 32, "c"])
    assert found.cut == 1
    np.testing.assert_allclose(found.vectors[0], found.vectors[1], atol=1e-5)


def test_a_text_without_tokens_is_the_zero_vector_and_no_texts_give_none(embedder):
    assert not embedder.embed(["", "a"]).vectors[0].any()
    assert embedder.embed([]).vectors.shape[0] == 0


def test_an_encoder_without_its_pooler_is_enough_and_one_without_weights_is_refused(tmp_path, policy_dir):
    shutil.copytree(policy_dir, tmp_path / "encoder")
    config = BertConfig(
        vocab_size=43,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    BertForMaskedLM(config).save_pretrained(tmp_path / "encoder")
    assert TransformersEmbedder(str(tmp_path / "encoder")).embed(TEXTS).vectors.shape == (4, 32)
    config.num_hidden_layers = 2
    config.save_pretrained(tmp_path / "encoder")
    with pytest.raises(ConfigError, match="weights of BertModel are missing"):
        TransformersEmbedder(str(tmp_path / "encoder"))
