from collections import Counter
from itertools import islice

import pytest

from sweetspot.errors import ContractError
from sweetspot.world.problems import TASKS, normalise, problem_stream, split_of, unique_problems


def solve(prompt: str) -> str:
    """Answer a prompt from its words alone, without the code that wrote it."""
    match prompt.split():
        case ["sort", digits]:
            return "".join(d * digits.count(d) for d in "0123456789")
        case ["reverse", letters]:
            return "".join(letters[i] for i in range(len(letters) - 1, -1, -1))
        case ["max", "of", *numbers]:
            return str(max(int(n) for n in numbers))
        case ["first", "of", word, *_]:
            return word
        case ["last", "of", *_, word]:
            return word
        case ["add", a, "and", b]:
            return str(int(a) + int(b))
        case ["double", letters]:
            return "".join(letters[i // 2] for i in range(2 * len(letters)))
        case ["drop", letter, "from", letters]:
            return "".join(c for c in letters if c != letter)
        case ["change", old, "to", new, "in", letters]:
            return "".join(new if c == old else c for c in letters)
        case ["join", left, right]:
            return f"{left}-{right}"
    raise AssertionError(prompt)


@pytest.mark.parametrize("split", ["pretrain", "reward", "prompts"])
def test_an_independent_solver_agrees_with_every_answer(split):
    for problem in islice(problem_stream(split, seed=3), 300):
        assert solve(problem.prompt) == problem.answer
        assert problem.payload in problem.prompt


def test_no_prompt_is_in_two_splits():
    drawn = {
        split: {normalise(p.prompt) for p in islice(problem_stream(split, seed=0), 4000)}
        for split in ("pretrain", "reward", "prompts")
    }
    assert not drawn["pretrain"] & drawn["prompts"]
    assert not drawn["pretrain"] & drawn["reward"]
    assert not drawn["reward"] & drawn["prompts"]


def test_split_ignores_case_and_spacing():
    assert split_of("  Sort   123 ") == split_of("sort 123")


def test_unique_problems_are_unique_and_balanced():
    problems = unique_problems("prompts", count=205, seed=1)
    assert len({normalise(p.prompt) for p in problems}) == 205
    counts = Counter(p.task for p in problems)
    assert set(counts) == set(TASKS)
    assert max(counts.values()) - min(counts.values()) == 1


def test_a_shorter_list_starts_a_longer_one_and_seeds_differ():
    long = unique_problems("reward", count=60, seed=4)
    assert unique_problems("reward", count=25, seed=4) == long[:25]
    assert unique_problems("reward", count=60, seed=5) != long
    assert unique_problems("reward", count=0, seed=5) == []


def test_asking_for_more_than_a_task_has_is_refused():
    with pytest.raises(ContractError, match="task 'add' gave no new prompt of split 'reward'"):
        unique_problems("reward", count=900, seed=0)
