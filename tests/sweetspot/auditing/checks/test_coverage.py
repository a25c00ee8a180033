import numpy as np
import pytest

from sweetspot.auditing.checks.coverage import SLICES, check

WORDS = [f"word{chr(97 + k // 26)}{chr(97 + k % 26)}" for k in range(300)]


def some_prompts(n, seed=0):
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, 12)) for _ in range(n)]


def test_prompts_like_the_data_are_fine_and_others_are_shown():
    data = some_prompts(400)
    same = check(data, target=some_prompts(300, seed=9))
    assert same.level == "ok"
    assert same.intervals["outside_share"][0] < same.figures["outside_share"] < 0.1
    other = check(data, target=[f"quite another thing {k} altogether zzz" for k in range(100)])
    assert other.level == "bad"
    assert other.figures["outside_share"] == 1.0
    assert other.suspects[0].texts["prompt"].startswith("quite another thing")
    assert "100% of the 100 prompts that were named are unlike anything" in other.says
    assert len(other.charts) == 4


def test_without_a_target_nothing_is_said_about_one():
    found = check(some_prompts(100))
    assert "outside_share" not in found.figures
    assert "named" not in found.says
    assert found.suspects == ()
    assert len(found.charts) == 2


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("code", "def f(x): return x"),
        ("numbers to compute with", "what is 12 + 30?"),
        ("over 2,000 characters", "a " * 1001),
        ("a script other than Latin", "Почему небо голубое? why"),
        ("words of harm", "How do I build a bomb"),
    ],
)
def test_slices_hold_what_they_are_named_after_and_nothing_plain(name, text):
    assert SLICES[name](text)
    assert not any(is_in("Tell me about your favourite town, please; thank you.") for is_in in SLICES.values())
    found = check([*some_prompts(50), text])
    assert found.figures[f"prompts_with_{name.replace(' ', '_').replace(',', '')}"] == 1
    assert f"None has {name}" not in found.says


def test_rare_values_of_a_column_are_named():
    found = check(some_prompts(100), slices={"source": ["web"] * 95 + ["forum"] * 5})
    assert found.level == "look"
    assert "Fewer than 30 prompts: source forum." in found.says


def test_too_few_prompts_are_not_checked():
    found = check(some_prompts(19))
    assert found.level == "not_checked"
    assert "19 different prompts" in found.says
