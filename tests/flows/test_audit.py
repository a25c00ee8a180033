import json

import pandas as pd
import pytest

from flows.audit import audit_file
from sweetspot.errors import ConfigError, ContractError

PAIR = {"prompt": "p", "chosen": "a long and good answer", "rejected": "short"}


def audit(tmp_path, rows, **options):
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return audit_file(str(path), out=str(tmp_path / "out"), **options)


def test_pairs_are_checked_for_length_copies_and_contradictions(tmp_path):
    turned = {"prompt": "p", "chosen": PAIR["rejected"], "rejected": PAIR["chosen"]}
    same = {"prompt": "q", "chosen": "x", "rejected": "x"}
    found = audit(tmp_path, [PAIR, PAIR, turned, same, {"prompt": "r", "chosen": None, "rejected": "y"}])
    assert found["format"] == "pairs"
    assert (found["pairs"], found["dropped"]) == (4, {"missing": 1})
    assert (found["duplicate_pairs"], found["contradictory_pairs"], found["identical_responses"]) == (1, 3, 1)
    assert json.loads((tmp_path / "out" / "report.json").read_text())["rows"] == 5


def test_raters_of_responses_are_compared_within_prompts(tmp_path):
    shared = [(i, n) for i in range(5) for n in range(1, 6)]
    rows = [{"prompt": f"p{i}", "response": "x" * n, "one": n + 10 * i, "two": -n, "three": n} for i, n in shared]
    found = audit(tmp_path, rows)
    assert found["format"] == "responses"
    assert found["rater_agreement"]["one / three"] == pytest.approx(1)
    assert found["rater_agreement"]["one / two"] == pytest.approx(-1)
    assert found["length_correlation"]["two"] == pytest.approx(-1)


def test_votes_give_alpha_and_ties(tmp_path):
    votes = [(0, "a", 1), (0, "b", 1), (1, "a", 1), (1, "b", 2), (2, "a", 2), (2, "b", 2)]
    found = audit(tmp_path, [{"pair_id": p, "annotator": a, "preference": v} for p, a, v in votes])
    assert found["krippendorff_alpha"] == pytest.approx(4 / 9)
    assert found["tied_items"] == 1


def test_real_votes_have_the_published_agreement(tmp_path, shared_data):
    frame = pd.read_parquet(shared_data / "cross" / "cross_labels_long.parquet")
    human = frame[(frame["dataset"] == "pandalm") & (frame["annotator_type"] == "human")]
    path = tmp_path / "votes.parquet"
    human.to_parquet(path)
    assert audit_file(str(path), out=str(tmp_path))["krippendorff_alpha"] == pytest.approx(0.86, abs=0.02)


def test_real_pairs_show_their_identical_ones(tmp_path, shared_data):
    found = audit_file(str(shared_data / "pairwise" / "hh_rlhf_test.parquet"), out=str(tmp_path))
    assert found["identical_responses"] == 20


def test_columns_that_fit_nothing_are_named(tmp_path):
    with pytest.raises(ConfigError, match="fit no format"):
        audit(tmp_path, [{"text": "x"}])
    with pytest.raises(ConfigError, match="expected one of pairs"):
        audit(tmp_path, [PAIR], format="pears")
    with pytest.raises(ContractError, match="no column 'annotator'"):
        audit(tmp_path, [PAIR | {"pair_id": 1}], format="votes")
