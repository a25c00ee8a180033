"""A night is killed at every seam, first, middle and last pass, and started again: nothing is lost or doubled."""

import pytest
from killed_nights import KILLED

from tasks._seams import SEAMS

OF_TRAINING = {"request_committed", "trained", "policy_file_committed", "policy_committed", "promoted"}


def passes_of(nights, seam: str, *, train: bool) -> int:
    """How often a night passes a seam: found by killing it ever later."""
    count = 1
    while nights.run(f"count-{seam}-{count}", crash=f"{seam}:{count}", train=train) == KILLED:
        count *= 2
    low, high = count // 2, count
    while high - low > 1:
        middle = (low + high) // 2
        killed = nights.run(f"count-{seam}-{middle}", crash=f"{seam}:{middle}", train=train) == KILLED
        low, high = (middle, high) if killed else (low, middle)
    return low


def kill_and_start_again(nights, undisturbed, seam: str, at: int) -> int:
    """Kill a night at a pass over a seam and start it again; returns how many chunks were worked twice."""
    name, train = f"{seam}-{at}", seam in OF_TRAINING
    assert nights.run(name, crash=f"{seam}:{at}", train=train) == KILLED, f"the night never passed {seam}:{at}"
    assert nights.run(name, train=train) == 0, (nights.folder / name / "log.txt").read_text()[-2000:]
    assert nights.outcome(name) == undisturbed[train]
    redone = sum(times - 1 for times in nights.worked(name).values())
    assert redone <= 1, f"{redone} chunks were worked again; one was in flight"
    return redone


@pytest.mark.parametrize("seam", ["file_written", "receipt_committed", "date_claimed", "manifest_committed"])
def test_a_night_killed_at_its_first_pass_goes_on(nights, undisturbed, seam):
    kill_and_start_again(nights, undisturbed, seam, 1)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seam", sorted(SEAMS))
def test_a_night_killed_at_its_first_middle_and_last_pass_goes_on(nights, undisturbed, seam, figure):
    last = passes_of(nights, seam, train=seam in OF_TRAINING)
    assert last >= 1, f"no night ever passes {seam}"
    places = sorted({1, (last + 1) // 2, last})
    redone = [kill_and_start_again(nights, undisturbed, seam, at) for at in places]
    figure(
        "A night is killed (SIGKILL) at a seam and started again: 25 chunks, one in flight",
        seam=f"`{seam}`",
        passes=last,
        **{
            "killed at": ", ".join(map(str, places)),
            "same version and policy afterwards": f"{len(places)} of {len(places)}",
            "chunks worked again": max(redone),
        },
    )
