import random
from itertools import islice

import pytest
import torch

from sweetspot.world.corpus import BEHAVIOURS
from sweetspot.world.pretrain import (
    IGNORED,
    PretrainConfig,
    corpus_documents,
    deterministic_torch,
    pretrain_policy,
    response_batch,
    similar_length_batches,
    warmup_then_cosine,
)
from sweetspot.world.problems import split_of
from sweetspot.world.tokenizer import ASSISTANT_ID, BOS_ID, EOS_ID, PAD_ID, USER_ID, build_tokenizer

TOKENIZER = build_tokenizer()
TINY = PretrainConfig(textbook_steps=2, web_steps=2, batch=4, warmup_steps=2, layers=1)


def test_documents_are_pretraining_prompts_with_one_bos_and_at_most_one_eos():
    for document in islice(corpus_documents(TOKENIZER, textbook_documents=0, seed=0), 300):
        assert document[0] == BOS_ID
        assert document.count(BOS_ID) == 1
        assert EOS_ID not in document[:-1]
        prompt = document[document.index(USER_ID) + 1 : document.index(ASSISTANT_ID)]
        assert split_of(TOKENIZER.decode(prompt)) == "pretrain"


def test_textbook_documents_all_end_and_the_web_has_some_that_do_not():
    documents = list(islice(corpus_documents(TOKENIZER, textbook_documents=1000, seed=0), 3000))
    unended = [document[-1] != EOS_ID for document in documents]
    assert not any(unended[:1000])
    assert 0 < sum(unended[1000:]) < 2000 * 3 * BEHAVIOURS["endless"][0]


def test_labels_are_the_response_and_its_eos_only():
    a = [BOS_ID, USER_ID, 20, 21, ASSISTANT_ID, 30, EOS_ID]
    b = [BOS_ID, USER_ID, 20, ASSISTANT_ID, EOS_ID]
    ids, labels = response_batch([a, b])
    assert ids.tolist() == [a, [*b, PAD_ID, PAD_ID]]
    assert labels.tolist() == [[IGNORED] * 5 + [30, EOS_ID], [IGNORED] * 4 + [EOS_ID] + [IGNORED] * 2]


def test_batches_hold_every_document_once_and_little_padding():
    rng = random.Random(0)
    documents = [[index] * rng.randint(5, 60) for index in range(64)]
    batches = list(islice(similar_length_batches(iter(documents), batch=8, seed=0), 8))
    assert sorted(document for batch in batches for document in batch) == documents
    padded = sum(max(map(len, batch)) * len(batch) for batch in batches)
    assert padded < 1.2 * sum(map(len, documents))


@pytest.mark.parametrize(("step", "factor"), [(0, 0.1), (9, 1.0), (49, 1.0), (75, 0.515), (100, 0.03)])
def test_learning_rate_warms_up_stays_flat_and_decays(step, factor):
    rate = warmup_then_cosine(step, steps=100, warmup_steps=10, flat_steps=50)
    assert rate == pytest.approx(factor, abs=1e-9)


def test_equal_seeds_give_equal_weights_and_other_seeds_do_not():
    first, again, other = (pretrain_policy(TOKENIZER, TINY, seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_the_callers_torch_state_is_left_alone():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with deterministic_torch(0):
        torch.rand(10)
        assert torch.get_num_threads() == 1
    assert torch.equal(torch.rand(3), expected)
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == (threads, deterministic)
