import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweetspot.delivery.facts import (
    Agreement,
    Histogram,
    VersionFacts,
    column_facts,
    histogram,
    histograms,
    without_credentials,
)
from sweetspot.errors import ContractError

FAST = settings(max_examples=50, deadline=None)
VALUES = st.lists(st.floats(-1e6, 1e6) | st.just(math.nan), max_size=30)


@FAST
@given(VALUES, st.integers(1, 50))
def test_every_value_is_counted_once(values, bins):
    made = histogram(values, bins)
    assert sum(made.counts) + made.missing == len(values)
    assert made.outside == 0
    assert len(made.counts) == bins


@FAST
@given(VALUES)
def test_counts_agree_with_a_slow_count(values):
    edges = [-100.0, 0.0, 1.0, 5.0]
    made = histogram(values, edges)
    inside = [
        sum(a <= value < b or (b == edges[-1] and value == b) for value in values) for a, b in itertools.pairwise(edges)
    ]
    assert list(made.counts) == inside
    assert made.outside == sum(value < edges[0] or value > edges[-1] for value in values)


def test_mean_and_median_leave_out_missing_values_and_keep_those_outside():
    made = histogram([1.0, 2.0, 9.0, math.nan], [0.0, 5.0])
    assert (made.mean, made.median, made.missing, made.outside, made.total) == (4.0, 2.0, 1, 1, 3)


@pytest.mark.parametrize("values", [[], [math.nan], [3.0], [3.0, 3.0], [1e9, 1e9 + 1e-7], [0.0, 5e-324]])
def test_values_that_do_not_spread_still_make_bins(values):
    made = histogram(values, 10)
    assert np.all(np.diff(made.edges) > 0)
    assert made.total == sum(not math.isnan(value) for value in values)


def test_an_empty_column_has_no_mean():
    assert histogram([]).mean is None
    assert histogram([math.nan]).median is None


def test_integers_and_flags_are_numbers_too():
    assert histogram([True, False, True], 2).counts == (1, 2)
    assert histogram(np.array([1, 2, 3], np.int32), 3).counts == (1, 1, 1)


def test_histograms_share_their_edges():
    both = histograms({"chosen": [0.0, 1.0], "rejected": [-3.0, math.nan]}, bins=4)
    assert both["chosen"].edges == both["rejected"].edges == (-3.0, -2.0, -1.0, 0.0, 1.0)
    assert both["chosen"].counts == (0, 0, 0, 2)
    assert both["rejected"].counts == (1, 0, 0, 0)
    assert histograms({}) == {}


@pytest.mark.parametrize(
    ("values", "bins", "message"),
    [
        ([1.0, math.inf], 4, "values: 1 of 2"),
        (["a"], 4, "values"),
        ([[1.0]], 4, "dimension"),
        ([1.0], 0, "bins: got 0"),
        ([1.0], 1001, "bins: got 1001"),
        ([1.0], True, "bins: got True"),
        ([1.0], [0.0], "at least two, increasing"),
        ([1.0], [1.0, 0.0], "at least two, increasing"),
        ([1.0], [0.0, 0.0], "at least two, increasing"),
        ([1.0], [0.0, math.nan], "bins"),
    ],
)
def test_bad_input_is_named(values, bins, message):
    with pytest.raises(ContractError, match=message):
        histogram(values, bins)


@pytest.mark.parametrize(("edges", "counts"), [((0.0, 1.0), ()), ((0.0,), ()), ((1.0, 0.0), (1,))])
def test_a_histogram_made_by_hand_must_fit(edges, counts):
    with pytest.raises(ContractError, match="histogram"):
        Histogram(edges, counts)


def test_column_facts_of_a_column_with_nulls():
    made = column_facts([1.0, math.nan, -2.0])
    assert (made.count, made.nulls, made.low, made.high, made.total) == (3, 1, -2.0, 1.0, -1.0)


def test_column_facts_of_an_empty_column():
    made = column_facts([math.nan, math.nan])
    assert (made.count, made.nulls, made.low, made.total) == (2, 2, None, None)


@pytest.mark.parametrize("value", [1.01, -1.5, math.nan, math.inf])
def test_a_correlation_outside_its_range_is_refused(value):
    with pytest.raises(ContractError, match=r"rank correlation of a and b: got .* from -1 to 1"):
        Agreement("a", "b", value, 3)


@pytest.mark.parametrize("name", ["longer_chosen_rate", "low", "high"])
def test_a_length_share_that_is_not_a_number_is_refused(facts, name):
    with pytest.raises(ContractError, match=f"lengths: {name}"):
        dataclasses.replace(facts.lengths, **{name: math.nan})


@pytest.mark.parametrize(("name", "value"), [("before", -0.1), ("after", 1.1), ("low", -1.1), ("high", math.nan)])
def test_a_held_out_result_outside_its_range_is_refused(facts, name, value):
    with pytest.raises(ContractError, match=f"held out: {name}"):
        dataclasses.replace(facts.held_out, **{name: value})


def test_rows_come_from_the_files_of_the_manifest(facts):
    assert (facts.train_rows, facts.eval_rows) == (196, 100)


def test_the_address_of_a_version(facts):
    assert facts.uri == "s3://night/preferences/demo/versions/2026-11-20-7f3a9c1e"
    assert dataclasses.replace(facts, store="file://out/store/").uri.startswith("file://out/store/demo/versions/")


@pytest.mark.parametrize(
    ("uri", "clean"),
    [
        ("s3://key:secret@bucket/a@b", "s3://bucket/a@b"),
        ("https://user@host:9000/x", "https://host:9000/x"),
        ("file://out/store", "file://out/store"),
        ("out/a@b", "out/a@b"),
        ("datasets:name:train", "datasets:name:train"),
    ],
)
def test_credentials_are_taken_out_of_addresses(uri, clean, manifest):
    assert without_credentials(uri) == clean
    made = VersionFacts(manifest=manifest, store=uri, prompt_source=uri)
    assert (made.store, made.prompt_source) == (clean, clean)


def test_every_absent_number_is_listed_as_not_checked(facts, bare_facts):
    assert len(bare_facts.unchecked) == 7
    assert facts.unchecked == (
        "Human review: no person read or rated these responses.",
        "Contamination of the prompts with public benchmarks.",
    )
    judged = dataclasses.replace(facts, annotations="crowdsourced", not_checked=())
    assert judged.unchecked == ()
    for name in ("raters", "agreement"):
        assert len(dataclasses.replace(judged, **{name: ()}).unchecked) == 1
    for name in ("quality", "margins", "lengths", "held_out"):
        assert len(dataclasses.replace(judged, **{name: None}).unchecked) == 1
