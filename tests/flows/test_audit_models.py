"""The audit with models: what the shipped policy says of pairs, checked against transformers itself."""

import json
import math
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from flows.audit import audit_file
from flows.cli import main
from sweetspot.errors import ConfigError, ContractError
from sweetspot.pathology import ches
from tasks._versions import open_uri


@pytest.fixture(scope="session")
def policy(root):
    return str(root / "deployments" / "world" / "policy")


@pytest.fixture(scope="session")
def trained(policy, tmp_path_factory):
    """The policy with one layer's weights moved, as a training would leave them."""
    folder = tmp_path_factory.mktemp("trained") / "model"
    shutil.copytree(policy, folder)
    weights = load_file(folder / "model.safetensors")
    generator = torch.Generator().manual_seed(0)
    name = next(name for name in sorted(weights) if "down_proj" in name)
    noise = torch.randn(weights[name].shape, generator=generator) * weights[name].float().std() * 0.5
    weights[name] = (weights[name].float() + noise).to(weights[name].dtype)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return str(folder)


def pairs(n=24, **extra):
    return [
        {"id": f"r{k}", "prompt": f"sort {9183 + k}", "chosen": f"{1389 + k}", "rejected": f"{k}9", **extra}
        for k in range(n)
    ]


ODD = [
    {"id": "long", "prompt": "sort " + "1 " * 400, "chosen": "1", "rejected": "2"},
    {"id": "same", "prompt": "sort 1", "chosen": "1", "rejected": "1"},
    {
        "id": "turns",
        "prompt": [{"role": "user", "content": "sort 2"}],
        "chosen": [{"role": role, "content": "x"} for role in ("assistant", "user", "assistant")],
        "rejected": [{"role": "assistant", "content": "y"}],
    },
]


def audit(tmp_path, rows, **options):
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return audit_file(str(path), out=str(tmp_path / "out"), **options)


def finding(result, check):
    return next(one for one in result.findings if one.check == check)


def by_hand(path, row):
    """Log-probabilities and CHES of one pair, one unpadded sequence at a time."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(path)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": row["prompt"]}], add_generation_prompt=True, return_dict=False
    )
    sums, states = [], []
    for side in ("chosen", "rejected"):
        response = [*tokenizer.encode(row[side], add_special_tokens=False), tokenizer.eos_token_id]
        with torch.no_grad():
            out = model(torch.tensor([[*prompt, *response]]), output_hidden_states=True)
        before = slice(len(prompt) - 1, len(prompt) + len(response) - 1)
        logps = out.logits[0, before].double().log_softmax(-1)
        sums.append(float(logps[torch.arange(len(response)), torch.tensor(response)].sum()))
        states.append(out.hidden_states[-1][0, before].double().numpy())
    return sums, ches(*states)


def test_the_figures_are_those_of_transformers_itself(tmp_path, policy):
    rows = pairs()
    result = audit(tmp_path, rows, policy=policy)
    expected = [by_hand(policy, row) for row in rows]
    found = finding(result, "likelihoods")
    assert found.figures["pairs"] == 24
    assert found.figures["reference_accuracy"] == np.mean([sums[0] > sums[1] for sums, _ in expected])
    risk = finding(result, "displacement_risk")
    per_token = np.array([one.length_normalised for _, one in expected])
    assert risk.figures["ches_per_token_median"] == pytest.approx(np.median(per_token), rel=1e-4)
    assert risk.figures["positive_share"] == np.mean(per_token > 0)
    order = np.argsort(-per_token)
    assert [one.row_id for one in risk.suspects[:3]] == [f"r{k}" for k in order[:3]]
    assert risk.suspects[0].texts["prompt"] == rows[order[0]]["prompt"]


def test_pairs_that_cannot_be_scored_are_counted_and_no_other_is_lost(tmp_path, policy):
    result = audit(tmp_path, [*ODD, *pairs()], policy=policy)
    figures = finding(result, "likelihoods").figures
    assert (figures["scorable_pairs"], figures["picked_pairs"], figures["pairs"]) == (26, 26, 24)
    assert (figures["not_scored_too_long"], figures["not_scored_several_turns"]) == (1, 1)
    assert any("1 for longer than" in note for note in finding(result, "likelihoods").warnings)
    nothing = audit(tmp_path, ODD, policy=policy)
    assert finding(nothing, "likelihoods").level == "not_checked"
    assert "several turns" in finding(nothing, "likelihoods").says
    assert finding(nothing, "displacement_risk").level == "not_checked"


def test_a_sample_is_the_same_in_any_order_of_rows_and_said(tmp_path, policy):
    rows = pairs()
    first = audit(tmp_path, rows, policy=policy, policy_rows=7)
    turned = audit(tmp_path, rows[::-1], policy=policy, policy_rows=7)
    figures = finding(first, "likelihoods").figures
    assert (figures["pairs"], figures["scorable_pairs"]) == (7, 24)
    assert any(note.startswith("sample: 7 of 24") for note in finding(first, "likelihoods").warnings)
    suspects = [{one.row_id for one in finding(run, "displacement_risk").suspects} for run in (first, turned)]
    assert suspects[0] == suspects[1]
    assert len(suspects[0]) == 7


def test_columns_of_the_data_are_set_aside_for_the_model_and_it_is_said(tmp_path, policy):
    rows = pairs(ref_chosen_logps=-1.0, ref_rejected_logps=-2.0, policy_chosen_logps=-9.0, policy_rejected_logps=-1.0)
    own = audit(tmp_path, rows)
    assert finding(own, "likelihoods").figures["reference_accuracy"] == 1.0
    found = finding(audit(tmp_path, rows, policy=policy), "likelihoods")
    assert any(note.startswith("columns: ") for note in found.warnings)
    assert "displacement_rate" not in found.figures


def test_policy_and_reference_give_displacement_and_implicit_margins(tmp_path, policy, trained):
    rows = pairs()
    result = audit(tmp_path, rows, policy=trained, reference=policy, clean="flag", selection={"keep_fraction": 0.25})
    before, after = ([by_hand(path, row)[0] for row in rows] for path in (policy, trained))
    shift = np.array(after) - np.array(before)
    figures = finding(result, "likelihoods").figures
    assert figures["displacement_rate"] == np.mean(shift[:, 0] < 0)
    assert figures["mean_chosen_shift_nats"] == pytest.approx(shift[:, 0].mean(), abs=1e-3)
    implicit = shift[:, 0] - shift[:, 1]
    assert figures["implicit_margin_positive_share"] == np.mean(implicit > 0)
    version = open_uri(result.cleaning.version_uri)
    delivered = {row["prompt"][0]["content"]: row["margin_implicit"] for row in version.read_split("train").to_pylist()}
    best = np.argsort(-implicit)[: min(6, int((implicit > 0).sum()))]
    assert set(delivered) == {rows[k]["prompt"] for k in best}
    for k in best:
        assert delivered[rows[k]["prompt"]] == pytest.approx(implicit[k], abs=1e-3)
    assert set(version.manifest().models) == {"estimator", "policy", "reference"}
    assert "upper bound of implicit" in result.cleaning.estimator


def test_selection_needs_every_pair_and_drops_what_no_model_could_read(tmp_path, policy, trained):
    models = {"policy": trained, "reference": policy}
    with pytest.raises(ContractError, match=r"would score 5 of 24 pairs.*raise policy_rows to 24"):
        audit(tmp_path, pairs(), **models, policy_rows=5, clean="drop", selection={"keep_fraction": 0.5})
    result = audit(tmp_path, [*ODD, *pairs()], **models, clean="drop", selection={"keep_fraction": 0.5})
    assert result.cleaning.dropped["not_scored"] == 2
    assert result.cleaning.dropped["identical_responses"] == 1
    # Without selection a sample is enough, and what was not scored has no implicit margin.
    some = audit(tmp_path, pairs(), **models, policy_rows=5, clean="flag", attempt=2)
    margins = [row["margin_implicit"] for row in open_uri(some.cleaning.version_uri).read_split("train").to_pylist()]
    assert sum(value is not None and not math.isnan(value) for value in margins) == 5


def test_a_label_that_is_turned_turns_its_implicit_margin(tmp_path, policy, trained):
    rows = pairs(60)
    for k, row in enumerate(rows):
        row["score_chosen"], row["score_rejected"] = (0.0, 4.0) if k < 6 else (3.0 + k / 60, 1.0)
    found = []
    for attempt, clean in enumerate(("flag", "flip"), start=1):
        result = audit(tmp_path, rows, policy=trained, reference=policy, clean=clean, attempt=attempt)
        delivered = open_uri(result.cleaning.version_uri).read_split("train").to_pylist()
        found.append({row["prompt"][0]["content"]: row for row in delivered})
    signs = []
    for prompt, row in found[0].items():
        other = found[1][prompt]
        turned = row["chosen"] != other["chosen"]
        signs.append(turned)
        assert other["margin_implicit"] == pytest.approx(-row["margin_implicit"] if turned else row["margin_implicit"])
        assert row["margin_implicit"] != 0
    assert sum(signs) == 6


def test_other_weights_make_another_version(tmp_path, policy, trained):
    moved = tmp_path / "moved"
    shutil.copytree(policy, moved)
    first = audit(tmp_path, pairs(), policy=str(moved), clean="flag")
    shutil.copy(f"{trained}/model.safetensors", moved / "model.safetensors")
    with pytest.raises(Exception, match="raise `attempt`"):
        audit(tmp_path, pairs(), policy=str(moved), clean="flag")
    assert first.cleaning.version_uri


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"policy": "/nowhere/model"}, "no such model directory"),
        ({"policy": "organisation/model"}, "needs its commit"),
        ({"reference": "POLICY"}, "no policy; name the model to be trained"),
        ({"policy": "POLICY", "format": "votes", "columns": {"vote": "v"}}, "the source holds votes"),
        ({"policy": "POLICY", "reference": "OTHER"}, "another tokenizer"),
        ({"policy": "PICKLED"}, "can run code when read"),
        ({"embedder": "POLICY"}, "no file is named; leave out embedder"),
        ({"embedder": "/nowhere", "against": ["x.jsonl"]}, "no such model directory"),
    ],
)
def test_models_that_cannot_work_are_refused_before_anything_is_written(tmp_path, policy, settings, message):
    for name in ("other", "pickled"):
        shutil.copytree(policy, tmp_path / name)
    (tmp_path / "pickled" / "pytorch_model.bin").write_bytes(b"x")
    rules = json.loads((tmp_path / "other" / "tokenizer.json").read_text())
    rules["normalizer"] = {"type": "Lowercase"}
    (tmp_path / "other" / "tokenizer.json").write_text(json.dumps(rules))
    named = {"POLICY": policy, "OTHER": str(tmp_path / "other"), "PICKLED": str(tmp_path / "pickled")}
    settings = {key: named.get(value, value) if isinstance(value, str) else value for key, value in settings.items()}
    rows = [row | {"unit": row["id"], "annotator": "a", "v": "1"} for row in pairs()]
    with pytest.raises(ConfigError, match=message):
        audit(tmp_path, rows, **settings)
    assert not (tmp_path / "out").exists()


def test_copies_too_short_for_a_run_of_words_are_found_by_their_embeddings(tmp_path, policy, root):
    """Unrelated prompts of the same world pass as often as the control says; copies pass far more often."""
    world = (root / "deployments/world/prompts.jsonl").read_text().splitlines()
    questions = list(dict.fromkeys(json.loads(line)["prompt"] for line in world))
    bench, rows = tmp_path / "bench.jsonl", pairs(300)
    for row, question in zip(rows, questions, strict=False):
        row["prompt"] = question
    bench.write_text("\n".join(json.dumps({"prompt": question}) for question in questions[300:400]))
    clean = finding(audit(tmp_path, rows, against=[str(bench)], embedder=policy), "meaning_overlap")
    assert (clean.figures["prompts"], clean.figures["references"]) == (300, 100)
    assert clean.level == "ok"
    for row, question in zip(rows[:60], questions[300:], strict=False):
        row["prompt"] = question
    result = audit(tmp_path, rows, against=[str(bench)], embedder=policy)
    assert finding(result, "contamination").figures["contaminated_rows"] == 0
    found = finding(result, "meaning_overlap")
    assert found.level == "bad"
    assert all(int(one.row_id[1:]) < 60 for one in found.suspects)
    assert found.suspects[0].texts["nearest reference"] == found.suspects[0].texts["prompt"]


def test_too_few_prompts_for_a_control_are_said(tmp_path, policy):
    bench = tmp_path / "bench.jsonl"
    bench.write_text(json.dumps({"prompt": "sort 12"}))
    found = finding(audit(tmp_path, pairs(5), against=[str(bench)], embedder=policy), "meaning_overlap")
    assert (found.level, "too few" in found.says) == ("not_checked", True)


def test_the_command_names_the_refusal(tmp_path, monkeypatch, capsys):
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in pairs()))
    monkeypatch.setattr(
        "sys.argv", ["sweetspot", "audit", str(path), "--set", "policy=/nowhere", "--out", str(tmp_path)]
    )
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert "no such model directory" in capsys.readouterr().err
