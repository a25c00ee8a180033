import pytest
from pydantic import BaseModel, ValidationError

from sweetspot.config import Curate, Nightly, Sampling, Section
from sweetspot.configfile import FLOWS, load_config
from sweetspot.errors import ConfigError


def sections(model: type[BaseModel]):
    yield model
    for field in model.model_fields.values():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from sections(field.annotation)


def test_every_setting_has_a_help_text():
    for flow in FLOWS.values():
        for section in sections(flow):
            for name, field in section.model_fields.items():
                is_group = isinstance(field.annotation, type) and issubclass(field.annotation, Section)
                assert is_group or name == "kind" or field.description, f"{section.__name__}.{name}"


def test_form_fields_keep_the_order_of_the_source():
    properties = Sampling.model_json_schema()["properties"]
    assert [field["position"] for field in properties.values()] == list(range(len(properties)))


def test_every_default_shows_in_the_form():
    for section in sections(Nightly):
        for name, field in section.model_json_schema()["properties"].items():
            assert "default" in field or "const" in field, f"{section.__name__}.{name}"


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"sampling": {"n": 1}}, "sampling.n"),
        ({"sampling": {"temperature": -0.5}}, "sampling.temperature"),
        ({"sampling": {"n": 10**9}}, "sampling.n"),
        ({"selection": {"keep_fraction": 0}}, "selection.keep_fraction"),
        ({"dataset": "../escape"}, "dataset"),
        ({"pairing": {"rejected": "worst"}}, "pairing.rejected"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_a_bad_setting_is_named(settings, where):
    with pytest.raises(ValidationError) as caught:
        Curate(**settings)
    assert ".".join(str(part) for part in caught.value.errors()[0]["loc"]).startswith(where)


def test_relabelled_rows_and_a_rating_aware_loss_are_refused_together():
    with pytest.raises(ValidationError, match="negative by construction"):
        Nightly(relabelling={"enabled": True}, training={"loss": "rating_dpo"})
    Nightly(relabelling={"enabled": True}, training={"loss": "dpo"})


def write(tmp_path, text):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    return path


def test_overrides_reach_nested_settings(tmp_path):
    flow, settings = load_config(write(tmp_path, "flow: curate\n"), ["sampling.n=64", "pairing.rejected=min"])
    assert (flow, settings.sampling.n, settings.pairing.rejected) == ("curate", 64, "min")


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        ("flow: nothing\n", [], "expected one of nightly, curate, train"),
        ("- 1\n", [], "expected keys and values"),
        ("a: [\n", [], "is not YAML"),
        ("flow: curate\n", ["sampling"], "expected a.b=value"),
        ("flow: curate\n", ["samplng.n=3"], "did you mean 'sampling'"),
        ("flow: curate\n", ["sampling.temprature=1"], "did you mean 'temperature'"),
    ],
)
def test_a_bad_file_or_override_says_what_was_expected(tmp_path, text, overrides, message):
    with pytest.raises(ConfigError, match=message):
        load_config(write(tmp_path, text), overrides)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"no file .*nowhere\.yaml"):
        load_config(tmp_path / "nowhere.yaml")
