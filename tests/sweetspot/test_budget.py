import pytest

from sweetspot.budget import sampled_tokens
from sweetspot.config import Sampling
from sweetspot.errors import ConfigError


def test_a_night_within_its_tokens_is_counted():
    assert sampled_tokens(100, Sampling(n=4, max_tokens=10, max_night_tokens=4000)) == 4000


def test_a_night_beyond_its_tokens_is_refused_with_the_estimate_and_the_setting():
    with pytest.raises(ConfigError, match=r"up to 4,040 tokens, more than the 4,000 of sampling\.max_night_tokens"):
        sampled_tokens(101, Sampling(n=4, max_tokens=10, max_night_tokens=4000))
