import itertools

from hypothesis import given
from hypothesis import strategies as st

from sweetspot import ids


def test_prompt_id_depends_on_roles_and_contents_only():
    first = [{"role": "user", "content": "two plus two"}]
    assert ids.prompt_id(first) == ids.prompt_id([{"content": "two plus two", "role": "user"}])
    assert ids.prompt_id(first) != ids.prompt_id([{"role": "system", "content": "two plus two"}])


def test_moving_text_between_messages_changes_the_id():
    joined = [{"role": "user", "content": "ab"}, {"role": "user", "content": "c"}]
    moved = [{"role": "user", "content": "a"}, {"role": "user", "content": "bc"}]
    assert ids.prompt_id(joined) != ids.prompt_id(moved)


def test_pairs_are_ordered():
    assert ids.pair_id("p", "a", "b") != ids.pair_id("p", "b", "a")


@given(st.integers(0, 2**31), st.text(max_size=20))
def test_derived_seeds_fit_an_engine(seed, prompt):
    assert 0 <= ids.derived_seed(seed, prompt) < 2**62


def test_derived_seeds_of_neighbours_are_far_apart():
    seeds = sorted(ids.derived_seed(0, f"prompt {i}") for i in range(1000))
    assert min(b - a for a, b in itertools.pairwise(seeds)) > 1024


def test_uniform_is_uniform_and_salted():
    values = [ids.uniform(str(i), "split") for i in range(4000)]
    assert abs(sum(value < 0.2 for value in values) / 4000 - 0.2) < 0.02
    assert ids.uniform("1", "split") != ids.uniform("1", "seed")


def test_fingerprint_ignores_key_order_and_sees_values():
    assert ids.fingerprint({"a": 1, "b": [2]}) == ids.fingerprint({"b": [2], "a": 1})
    assert ids.fingerprint({"a": 1}) != ids.fingerprint({"a": 2})
