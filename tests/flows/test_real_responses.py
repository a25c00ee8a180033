"""The shipped real responses, from the file to a published version that an unmodified TRL trainer takes."""

import datasets
import pytest
from trl_steps import first_losses

from sweetspot.delivery.manifest import parse_manifest


@pytest.fixture(scope="module")
def version(command, root):
    example = str(root / "deployments" / "examples" / "real_responses.yaml")
    done = command.run("run", example, "--set", f"store=file://{command.folder}/store")
    assert done.returncode == 0, done.stderr[-3000:]
    return next((command.folder / "store" / "real-responses" / "versions").iterdir())


def test_every_response_is_accounted_for(version):
    manifest = parse_manifest((version / "manifest.json").read_bytes())
    books = {book.stage: book for book in manifest.books}
    assert books["load_responses"].rows_in.count == 2591
    for book in manifest.books:
        book.balance()


def test_pairs_are_real_texts_of_two_systems_for_one_source(version):
    rows = datasets.load_dataset("parquet", data_files=str(version / "data" / "*.parquet"), split="train")
    assert rows.num_rows > 100
    for row in rows:
        chosen, rejected = row["chosen"][0]["content"], row["rejected"][0]["content"]
        assert chosen.strip()
        assert rejected.strip()
        assert chosen != rejected
        assert row["chosen_model"] != row["rejected_model"]
        assert row["chosen_rating"] > row["rejected_rating"]


def test_trl_trains_on_it(version, root, tmp_path):
    losses = first_losses(version, str(root / "deployments" / "world" / "policy"), tmp_path)
    assert len(losses) == 3
    assert losses[0] == pytest.approx(0.6931, abs=1e-3)
