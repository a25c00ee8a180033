"""Every bad input ends in one clear message, its exit code, and a store without a version."""

import json

import pytest
import yaml

from flows import cli

GOOD = {"prompt": "sort 321", "answer": "123"}


@pytest.fixture
def invoke(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["sweetspot", *arguments])
        with pytest.raises(SystemExit) as leaving:
            cli.main()
        shown = capsys.readouterr()
        return leaving.value.code, " ".join((shown.out + shown.err).split())

    return call


def settings(tmp_path, lines=(json.dumps(GOOD),), **changes):
    source = tmp_path / "prompts.jsonl"
    source.write_text("\n".join(lines))
    values = {"flow": "nightly", "store": f"file://{tmp_path}/store", "prompts": {"source": str(source)}}
    for name, value in changes.items():
        values[name] = {**values[name], **value} if isinstance(value, dict) and name in values else value
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(values))
    return str(path)


CASES = {
    "empty file": ({"lines": ()}, 1, "is empty; expected at least one row"),
    "missing column": ({"lines": ('{"promt": "x"}',)}, 1, "no column 'prompt'; did you mean 'promt'"),
    "unknown file": ({"prompts": {"source": "/nowhere.jsonl"}}, 2, "no file '/nowhere.jsonl'"),
    "unknown format": ({"prompts": {"source": "/x.docx"}}, 2, "expected one of .jsonl"),
    "unknown policy": ({"sampling": {"policy": "/no/model"}}, 2, "/no/model: no such model directory"),
    "one response": ({"sampling": {"n": 1}}, 2, "sampling.n: Input should be greater than or equal to 2"),
    "too many tokens": ({"sampling": {"max_night_tokens": 700}}, 2, "up to 768 tokens, more than the 700 of sampling"),
    "negative temperature": ({"sampling": {"temperature": -1}}, 2, "sampling.temperature"),
    "wrong type": ({"sampling": {"n": "many"}}, 2, "sampling.n: Input should be a valid integer"),
    "unknown setting": ({"sampling": {"temprature": 1}}, 2, "sampling.temprature: Extra inputs are not permitted"),
    "unwritable store": ({"store": "file:///proc/nowhere"}, 3, "cannot be written"),
    "credentials in the store": ({"store": "s3://me:secret@bucket/x"}, 2, "holds credentials"),
    "unknown scheme": ({"store": "ftp://host/x"}, 2, "expected file:// or s3://"),
    "unknown flow": ({"flow": "daily"}, 2, "expected one of nightly, curate, train"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_named_and_nothing_is_published(case, tmp_path, invoke):
    changes, code, message = CASES[case]
    found, shown = invoke("run", settings(tmp_path, **changes))
    assert message in shown
    assert found == code
    assert not list(tmp_path.glob("store/**/manifest.json"))


def test_an_unknown_command_or_option_is_wrong_usage(invoke):
    assert invoke("rnu")[0] == 2
    assert invoke("run")[0] == 2


def test_help_explains_every_command(invoke):
    code, shown = invoke("--help")
    assert code == 0
    for command in ("run", "serve", "doctor", "verify", "show", "audit"):
        assert command in shown


def test_a_dry_run_prints_settings_and_plans_and_makes_nothing(tmp_path, invoke):
    code, shown = invoke("run", settings(tmp_path, sampling={"n": 16}), "--dry-run")
    assert code == 0
    assert '"n": 16' in shown
    assert "responses at most 16 (16 per prompt), 384 tokens" in shown
    assert not list(tmp_path.glob("store/**/*.parquet"))


def test_verify_of_nothing_says_so(tmp_path, invoke):
    code, shown = invoke("verify", f"file://{tmp_path}/store/demo")
    assert code == 2
    assert "nothing has been published yet" in shown


def test_doctor_names_what_is_missing(tmp_path, invoke):
    code, shown = invoke("doctor", settings(tmp_path, sampling={"policy": "/no/model"}))
    assert code == 1
    assert "NOT OK policy /no/model" in shown
    assert "ok store" in shown


def test_doctor_asks_for_versions_without_known_holes(monkeypatch, invoke):
    assert "ok no version with a known hole" in invoke("doctor")[1]
    monkeypatch.setattr("flows._floors.installed", lambda name: "0.1")
    code, shown = invoke("doctor")
    assert code == 1
    assert "NOT OK no version with a known hole" in shown
    assert "prefect 0.1 is older than" in shown
