import math

import pytest

from sweetspot.engines._requests import check_samples
from sweetspot.engines.protocols import Sample, SampleRequest
from sweetspot.errors import EngineError

REQUEST = SampleRequest("p3", (2, 5), 1)
GOOD = Sample("a", (9, 3), "stop", -1.5)


def test_n_sound_samples_pass_unchanged():
    samples = [GOOD, Sample("", (3,), "length", 0.0)]
    assert check_samples(samples, REQUEST, n=2) == samples


@pytest.mark.parametrize("count", [0, 1, 3])
def test_fewer_or_more_than_n_samples_are_an_engine_error(count):
    with pytest.raises(EngineError, match=f"prompt_id=p3: 1 faults, first: {count} samples, expected 2"):
        check_samples([GOOD] * count, REQUEST, n=2)


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (Sample("", (), "stop", -1.0), "sample 1 has no token"),
        (Sample("a", (9,), "abort", -1.0), "sample 1 ended with 'abort'"),
        (Sample("a", (9,), "stop", math.nan), "sample 1 has log-probability nan"),
        (Sample("a", (9,), "stop", -math.inf), "sample 1 has log-probability -inf"),
    ],
)
def test_a_faulty_sample_is_an_engine_error_that_names_it(sample, message):
    with pytest.raises(EngineError, match=message):
        check_samples([GOOD, sample], REQUEST, n=2)
