"""Benchmarks of pairing and of selection by several margins."""

from typing import Any

import numpy as np
import pandas as pd
from _measure import (
    OURS,
    Answer,
    Contestant,
    Entry,
    Floor,
    Inputs,
    Size,
    faster_than,
    memory_within,
    same_integers,
    within,
)
from numpy.typing import NDArray
from scipy.special import logit

from sweetspot.margins import Bees, bees
from sweetspot.pairing import PairPositions, pair_positions

_BLOCK_ROWS = 1 << 14
_INDEX_BYTES, _REASON_BYTES = 8, 40


def _rewards(*, prompts: int, samples: int, missing: float, sampled: int) -> Inputs:
    """Normal rewards (P, N), drawn in blocks so that no other large array ever exists."""
    rng = np.random.default_rng(0)
    rewards = np.empty((prompts, samples))
    for start in range(0, prompts, _BLOCK_ROWS):
        block = rewards[start : start + _BLOCK_ROWS]
        rng.standard_normal(out=block)
        if missing:
            block[rng.random(block.shape) < missing] = np.nan
    return {"rewards": rewards, "sampled": sampled}


def _ours(inputs: Inputs) -> PairPositions:
    return pair_positions(inputs["rewards"], chosen="max", rejected="mu-2sigma")


def _positions(result: PairPositions, inputs: Inputs) -> Answer:
    return {"chosen": result.chosen, "rejected": result.rejected}


def _long_table(inputs: Inputs) -> pd.DataFrame:
    """One row per sample, prompt by prompt; a missing sample has no row."""
    n_prompts, n_samples = inputs["rewards"].shape
    table = pd.DataFrame(
        {
            "prompt_id": np.repeat(np.arange(n_prompts), n_samples),
            "sample": np.tile(np.arange(n_samples), n_prompts),
            "reward": inputs["rewards"].ravel(),
        }
    )
    return table.dropna().reset_index(drop=True)


def _pandas_long(table: pd.DataFrame) -> tuple[Any, Any, pd.DataFrame]:
    reward: Any = table.groupby("prompt_id", sort=False)["reward"]
    target = reward.transform("mean") - 2 * reward.transform("std", ddof=0)
    below = table["reward"] < reward.transform("max")
    distance = (table["reward"] - target).abs().where(below)
    return reward.idxmax(), distance.groupby(table["prompt_id"], sort=False).idxmin(), table


def _pandas_rows(result: tuple[Any, Any, pd.DataFrame], inputs: Inputs) -> Answer:
    chosen, rejected, table = result
    sample = table["sample"].to_numpy()
    return {"chosen": sample[chosen.to_numpy()], "rejected": sample[rejected.to_numpy()]}


def _pandas_wide(wide: pd.DataFrame) -> tuple[Any, Any]:
    target = wide.mean(axis=1) - 2 * wide.std(axis=1, ddof=0)
    below = wide.lt(wide.max(axis=1), axis=0)
    distance = wide.sub(target, axis=0).abs().where(below)
    return wide.idxmax(axis=1), distance.idxmin(axis=1)


def _wide_columns(result: tuple[Any, Any], inputs: Inputs) -> Answer:
    return {"chosen": result[0].to_numpy(), "rejected": result[1].to_numpy()}


def _numpy_whole(inputs: Inputs) -> tuple[NDArray[Any], NDArray[Any]]:
    rewards = inputs["rewards"]
    target = np.nanmean(rewards, axis=1, keepdims=True) - 2 * np.nanstd(rewards, axis=1, keepdims=True)
    below = rewards < np.nanmax(rewards, axis=1, keepdims=True)
    return np.nanargmax(rewards, axis=1), np.where(below, np.abs(rewards - target), np.inf).argmin(axis=1)


def _polars_table(inputs: Inputs) -> Any:
    import polars  # pyright: ignore[reportMissingImports]

    long = _long_table(inputs)
    return polars.DataFrame({name: long[name].to_numpy() for name in long}).with_columns(
        polars.col("prompt_id").set_sorted()
    )


def _polars_groups(table: Any) -> Any:
    import polars  # pyright: ignore[reportMissingImports]

    reward, sample = polars.col("reward"), polars.col("sample")
    distance = (reward - (reward.mean() - 2 * reward.std(ddof=0))).abs()
    below = polars.when(reward < reward.max()).then(distance).otherwise(float("inf"))
    return table.group_by("prompt_id", maintain_order=True).agg(
        chosen=sample.get(reward.arg_max()), rejected=sample.get(below.arg_min())
    )


def _named_columns(result: Any, inputs: Inputs) -> Answer:
    return {"chosen": result["chosen"].to_numpy(), "rejected": result["rejected"].to_numpy()}


def _apply_sample(inputs: Inputs) -> pd.DataFrame:
    return _long_table({"rewards": inputs["rewards"][: inputs["sampled"]]})


def _apply_frames(table: pd.DataFrame) -> pd.DataFrame:
    """The usual way: a function of the rows of one prompt that returns a row of the result."""

    def one(rows: pd.DataFrame) -> pd.Series:
        reward: Any = rows["reward"]
        sample: Any = rows["sample"]
        target = reward.mean() - 2 * reward.std(ddof=0)
        below = (reward - target).abs()[reward < reward.max()]
        return pd.Series({"chosen": sample[reward.idxmax()], "rejected": sample[below.idxmin()]})

    picks: Any = table.groupby("prompt_id")[["sample", "reward"]].apply(one)
    return picks


def _apply(table: pd.DataFrame) -> tuple[Any, pd.DataFrame]:
    """Kinder: only the column of rewards is split, and the result is a tuple."""

    def one(rewards: pd.Series) -> tuple[Any, Any]:
        target = rewards.mean() - 2 * rewards.std(ddof=0)
        below = (rewards - target).abs()[rewards < rewards.max()]
        return rewards.idxmax(), below.idxmin()

    return table.groupby("prompt_id")["reward"].apply(one), table


def _apply_rows(result: tuple[Any, pd.DataFrame], inputs: Inputs) -> Answer:
    picks, table = result
    rows = np.array(picks.to_list())
    sample = table["sample"].to_numpy()
    return {"chosen": sample[rows[:, 0]], "rejected": sample[rows[:, 1]]}


def _pairing_floor(size: Size) -> Floor:
    cells, rows = size["prompts"] * size["samples"], size["prompts"]
    moved = 8 * cells + rows * (2 * _INDEX_BYTES + _REASON_BYTES)
    text = "rewards read once, two indices and a reason per prompt written once; seven operations per reward (sum, "
    text += "largest, centred, squared, distance, its size, smallest)"
    return Floor(text, moved, elements=7.0 * cells)


_OURS_PAIRING = Contestant(OURS, _ours, _positions)
_PANDAS_LONG = Contestant("pandas, group by", _pandas_long, _pandas_rows, _long_table, runs=3)
_PANDAS_WIDE = Contestant(
    "pandas, one column per sample",
    _pandas_wide,
    _wide_columns,
    lambda inputs: pd.DataFrame(inputs["rewards"]),
    note="another format than a table of samples",
)
_NUMPY = Contestant("numpy, whole arrays", _numpy_whole, lambda found, _: {"chosen": found[0], "rejected": found[1]})
_POLARS = Contestant("polars, group by", _polars_groups, _named_columns, _polars_table, package="polars")
_APPLY_FRAMES = Contestant(
    "pandas, groupby.apply",
    _apply_frames,
    _named_columns,
    _apply_sample,
    share=lambda size: min(1.0, size["sampled"] / size["prompts"]),
    note="sample of prompts, scaled",
)
_APPLY = Contestant(
    "pandas, groupby.apply on the rewards alone",
    _apply,
    _apply_rows,
    _apply_sample,
    share=lambda size: min(1.0, size["sampled"] / size["prompts"]),
    note="sample of prompts, scaled",
)

_ABOUT = (
    "Chosen max, rejected mu-2sigma. Ours gets a (prompts, samples) array; the rivals get a table with one row per "
    "sample, sorted by prompt (polars is told so), ready made: loading and conversion are timed for nobody."
)

PAIRING = Entry(
    name="pairing",
    title="Pairing, 1 M prompts × 64 rewards in memory",
    about=_ABOUT,
    sizes={
        "full": {"prompts": 1_000_000, "samples": 64, "missing": 0.0, "sampled": 2000},
        "quick": {"prompts": 50_000, "samples": 64, "missing": 0.0, "sampled": 200},
        "tiny": {"prompts": 300, "samples": 64, "missing": 0.0, "sampled": 50},
    },
    make=_rewards,
    contestants=(_OURS_PAIRING, _PANDAS_LONG, _PANDAS_WIDE, _NUMPY, _POLARS, _APPLY_FRAMES, _APPLY),
    agree=same_integers,
    floor=_pairing_floor,
    targets=(
        faster_than(_PANDAS_LONG.name, 5),
        faster_than(_PANDAS_WIDE.name, 5),
        faster_than(_POLARS.name, 10),
        faster_than(_APPLY_FRAMES.name, 1000),
        memory_within(2),
    ),
)

PAIRING_MISSING = Entry(
    name="pairing-missing",
    title="Pairing, the same with 5 % of the rewards missing",
    about=_ABOUT + " A missing sample is NaN for us and has no row in the tables.",
    sizes={name: {**size, "missing": 0.05} for name, size in PAIRING.sizes.items()},
    make=_rewards,
    contestants=(_OURS_PAIRING, _PANDAS_LONG, _PANDAS_WIDE, _POLARS, _APPLY_FRAMES, _APPLY),
    agree=same_integers,
    floor=_pairing_floor,
    targets=(memory_within(2),),
)

_KEEP_ONE_OF, _LOWER, _MIN_COUNT = 10, -2.0, 30


def _margins(*, pairs: int) -> Inputs:
    """Two sources that share the truth: external reward margins, and implicit ones in nats."""
    rng = np.random.default_rng(0)
    truth = rng.standard_normal(pairs)
    margins = np.stack([3 * truth + 2 * rng.standard_normal(pairs), 5 * truth + 4 * rng.standard_normal(pairs) + 1])
    return {"margins": margins, "keep": pairs // _KEEP_ONE_OF}


def _bees(inputs: Inputs) -> Bees:
    return bees(inputs["margins"], keep=inputs["keep"])


def _literal_upper(margin: Any, divisor: float) -> float:
    """The search as written: U rises until few margins are left above it."""
    top = margin.max()
    upper = max(float(int(top / divisor)), np.ceil(_LOWER + 1))
    while True:
        count = int((margin >= upper).sum())
        if count < _MIN_COUNT or count < top - upper:
            return max(min(upper, top), _LOWER + 1)
        upper += 1


def _margin_table(inputs: Inputs) -> tuple[pd.DataFrame, int]:
    return pd.DataFrame({"external": inputs["margins"][0], "implicit": inputs["margins"][1]}), inputs["keep"]


def _pandas_bees(prepared: tuple[Any, int]) -> tuple[Any, Any]:
    table, keep = prepared
    scored = table.copy()
    with np.errstate(divide="ignore", invalid="ignore"):
        for name, divisor in (("external", 1.5), ("implicit", 2.0)):
            upper = _literal_upper(table[name], divisor)
            scored[name] = table[name].clip(_LOWER, upper)
            scored[f"odds_{name}"] = logit((scored[name] - _LOWER) / (upper - _LOWER))
        odds = scored["odds_external"] + scored["odds_implicit"]
    scored["odds"], scored["sum"] = odds, scored["external"] + scored["implicit"]
    probability = 1 / (1 + np.exp(-odds.fillna(0.0)))
    eligible = scored[(table["external"] > 0) & (table["implicit"] > 0)]
    best = eligible.sort_values(["odds", "sum"], ascending=False, kind="stable").head(keep)
    return probability, best


def _same_selection(ours: Answer, theirs: Answer) -> str:
    assert np.array_equal(ours["selected"], theirs["selected"]), "the selections differ"
    apart = float(np.abs(ours["probability"] - theirs["probability"]).max())
    assert apart <= 1e-12, f"probabilities differ by {apart:g}"
    return f"same {ours['selected'].size:,} pairs in the same order; probabilities to {apart:.0e}"


BEES = Entry(
    name="bees",
    title="BeeS, 10 M pairs, two sources, the best tenth kept",
    about="Ours gets a (2, pairs) array, pandas a table of two columns. Both find U, fuse, filter and order.",
    sizes={"full": {"pairs": 10_000_000}, "quick": {"pairs": 500_000}, "tiny": {"pairs": 2000}},
    make=_margins,
    contestants=(
        Contestant(OURS, _bees, lambda found, _: {"selected": found.selected, "probability": found.probability}),
        Contestant(
            "pandas",
            _pandas_bees,
            lambda found, _: {"selected": found[1].index.to_numpy(), "probability": found[0].to_numpy()},
            _margin_table,
        ),
    ),
    agree=_same_selection,
    floor=lambda size: Floor(
        "two margins read once; a probability per pair and the selected indices written once", size["pairs"] * 24.8
    ),
    targets=(within(5),),
)
