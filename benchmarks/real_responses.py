"""Real responses with real scores through `curate`: the shipped sample, and a study on AlpacaEval.

    python benchmarks/real_responses.py sample ENDE ZHEN      makes deployments/examples/data/wmt23_mqm_sample.parquet
    python benchmarks/real_responses.py study MATRIX FOLDER   six runs of `curate` on AlpacaEval 2 judgements
    python benchmarks/real_responses.py figures VERSION       what a delivered version holds, as one JSON object
    python benchmarks/real_responses.py read VERSION N        N of its pairs with their texts, to be read
    python benchmarks/real_responses.py trl VERSION           two steps of TRL's DPOTrainer on it, tiny random model

AlpacaEval is CC BY-NC 4.0: the study writes its rows under FOLDER only, and prints aggregate numbers.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from sweetspot.config import Curate
from sweetspot.pairing import pair_positions
from sweetspot.validation.bias import length_bias

SAMPLE = Path(__file__).parent.parent / "deployments/examples/data/wmt23_mqm_sample.parquet"
HIGHLIGHT = r"</?v>"
LANGUAGES = {"ende": "German", "zhen": "English"}
ENDE_RATERS, ZHEN_RATERS = 10, 8
RATERS = [f"rater{number}" for number in range(1, ENDE_RATERS + ZHEN_RATERS + 1)]

# All three compare with the answers of gpt4_1106_preview. The AlpacaEval 1 judges compare with those of
# text_davinci_003: another scale, so they only check the pairs afterwards.
JUDGES = {"weighted": "score_ae2_weighted", "cot": "score_ae2_cot", "fn": "score_ae2_fn"}
OTHER_JUDGE = "score_ae1_gpt4"
GRADED = {"weighted", "weighted_logit"}
SMALLEST_PROBABILITY = 1e-8
STUDY = {
    "mu-2sigma": {"scores": ("weighted_logit", "cot", "fn"), "rejected": "mu-2sigma"},
    "min": {"scores": ("weighted_logit", "cot", "fn"), "rejected": "min"},
    "min-of-5": {"scores": ("weighted_logit", "cot", "fn"), "rejected": "min_of_5"},
    "one-judge": {"scores": ("weighted_logit",), "rejected": "mu-2sigma"},
    # Two settings that go wrong, to show how: responses no graded judge saw, and scores left as probabilities.
    "any-judge": {"scores": ("weighted_logit", "cot", "fn"), "rejected": "mu-2sigma", "all_models": True},
    "raw": {"scores": ("weighted",), "rejected": "mu-2sigma"},
}
POSITIONS = ("min", "mu-2sigma", "mu-sigma", "mu", "min_of_5", "random")


def make_sample(ende: Path, zhen: Path, out: Path) -> pd.DataFrame:
    """Write the WMT23 ratings as one row per response and one column per rater.

    Args:
        ende: English to German, one row per rating: item_id, system, rater, source, response, score.
        zhen: Chinese to English, same columns.
        out: Parquet file to write.
    """
    tables = [_responses(pd.read_parquet(ende), "ende", 0), _responses(pd.read_parquet(zhen), "zhen", ENDE_RATERS)]
    wide = pd.concat(tables, ignore_index=True).reindex(columns=["prompt", "response", "model", *RATERS])
    table = pa.Table.from_pandas(wide, preserve_index=False).replace_schema_metadata(None)
    pq.write_table(table, out, compression="zstd")
    return wide


def _responses(ratings: pd.DataFrame, pair: str, first: int) -> pd.DataFrame:
    """Ratings of one language pair, wide; rater k becomes column `rater{first + k}`: the pairs share no rater."""
    number = ratings["rater"].str.removeprefix("rater").astype(int) + first
    plain = ratings[["source", "response"]].apply(lambda text: text.str.replace(HIGHLIGHT, "", regex=True).str.strip())
    tidy = pd.DataFrame(
        {
            "item": ratings["item_id"].str.rsplit(":", n=1).str[-1].astype(int),
            "prompt": f"Translate into {LANGUAGES[pair]}:\n" + plain["source"],
            "response": plain["response"],
            "model": ratings["system"],
            "rater": "rater" + number.astype(str),
            "score": ratings["score"] + 0.0,  # -0.0 becomes 0.0
        }
    )
    index = ["item", "prompt", "response", "model"]
    return tidy.pivot(index=index, columns="rater", values="score").reset_index().drop(columns="item")


def run_study(matrix: Path, folder: Path, only: str = "") -> dict[str, Any]:
    """Run `curate` on AlpacaEval under every setting of `STUDY`; returns the figures of each version."""
    from flows import _environment  # noqa: F401  (Prefect reads its settings when first imported)
    from flows.curate import curate

    folder.mkdir(parents=True, exist_ok=True)
    judged = alpaca_eval_rows(pd.read_parquet(matrix))
    sources = {"all": judged, "graded": judged[judged["weighted"].notna()]}
    for name, rows in sources.items():
        rows.to_parquet(folder / f"{name}.parquet")
    found = {}
    for name, setting in STUDY.items():
        if only in name:
            source = folder / ("all.parquet" if "all_models" in setting else "graded.parquet")
            result = curate(study_config(name, setting, source, folder))
            assert isinstance(result, dict), "only a scheduled run is ever skipped"
            version = Path(result["version"]["uri"].removeprefix("file://"))
            checks = {"other_judge": other_judge(_samples(version), judged), "coarse_only": coarse_only(version)}
            found[name] = {"stages": result["stages"], **version_figures(version), **checks}
    return found


def alpaca_eval_rows(matrix: pd.DataFrame) -> pd.DataFrame:
    """Responses scored by at least one judge of AlpacaEval 2, with the weighted score also in log-odds.

    A probability near 0 or 1 says "far below" or "far above" the baseline. As log-odds those differences
    survive; as probabilities four in five lie within .01 of 0.
    """
    rows = matrix.loc[matrix[list(JUDGES.values())].notna().any(axis=1)]
    rows = rows.rename(columns={column: name for name, column in JUDGES.items()})
    rows = rows.rename(columns={"instruction": "prompt"})
    clipped = rows["weighted"].clip(SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
    keep = ["prompt", "response", "model", "prompt_key", *JUDGES, OTHER_JUDGE]
    return rows[keep].assign(weighted_logit=np.log(clipped / (1 - clipped))).reset_index(drop=True)


def study_config(name: str, setting: dict[str, Any], source: Path, folder: Path) -> Curate:
    """Settings of one run of the study."""
    prompts = {"source": str(source), "starts_from": "responses", "held_out_fraction": 0.1}
    return Curate.model_validate(
        {
            "dataset": f"alpaca-eval-{name}",
            "store": f"file://{folder.resolve()}/store",
            "prompts": {**prompts, "score_columns": list(setting["scores"])},
            # Few responses were seen by two judges, and each judge saw other models: only a joint fit over
            # the shared responses puts the judges on one scale.
            "cleaning": {"method": "rank1" if len(setting["scores"]) > 1 else "auto"},
            "pairing": {"chosen": "max", "rejected": setting["rejected"]},
            "selection": {"keep_fraction": 0.5},
        }
    )


def version_figures(folder: Path) -> dict[str, Any]:
    """Length, quality and rule figures of a delivered version, from its own files."""
    rows, samples = _rows(folder), _samples(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    chosen, rejected = (
        np.array([len(turns[0]["content"]) for turns in rows[side]], dtype=float) for side in ("chosen", "rejected")
    )
    bias = length_bias(chosen, rejected)
    return {
        "folder": str(folder),
        "rows": {key: int(count) for key, count in rows["split"].value_counts().items()},
        "warnings": manifest["warnings"],
        "rating_medians": [float(np.median(rows[f"{side}_rating"])) for side in ("chosen", "rejected")],
        "margin_quantiles": np.quantile(rows["margin"], [0, 0.1, 0.5, 0.9, 1]).round(9).tolist(),
        "longer_chosen": [round(value, 3) for value in (bias.longer_chosen_rate, *bias.interval)],
        "length_ratio_median": round(float(np.median(chosen / np.maximum(rejected, 1))), 2),
        "chosen_models": rows["chosen_model"].value_counts().head(5).to_dict(),
        "rejected_models": rows["rejected_model"].value_counts().head(5).to_dict(),
        "candidates": position_figures(samples),
    }


def position_figures(samples: pd.DataFrame) -> dict[str, dict[str, float]]:
    """What each rule for the rejected response would pick from all rated responses, chosen fixed at the maximum.

    `z` is the rejected response's distance from the prompt's mean in the prompt's standard deviations.
    """
    rated = samples.dropna(subset=["quality"])
    rated = rated.assign(column=rated.groupby("prompt_id").cumcount(), chars=rated["response"].str.len())
    rated["text"] = rated.groupby("prompt_id")["response"].transform(lambda texts: pd.factorize(texts)[0])
    grids = {
        name: rated.pivot(index="prompt_id", columns="column", values=name) for name in ("quality", "chars", "text")
    }
    quality, chars = grids["quality"].to_numpy(dtype=float), grids["chars"].to_numpy(dtype=float)
    texts = grids["text"].fillna(-1).to_numpy(dtype=np.int64)
    lowest = pair_positions(quality, rejected="min", text_ids=texts)
    return {
        rule: _position_row(pair_positions(quality, rejected=rule, text_ids=texts), lowest.rejected, quality, chars)
        for rule in POSITIONS
    }


def _position_row(picked: Any, lowest: np.ndarray, quality: np.ndarray, chars: np.ndarray) -> dict[str, float]:
    rows = np.flatnonzero(picked.reason == "ok")
    high, low = picked.chosen[rows], picked.rejected[rows]
    spread, centre = np.nanstd(quality[rows], axis=1), np.nanmean(quality[rows], axis=1)
    below = (quality[rows] < quality[rows, low][:, None]).sum(axis=1)
    shorter = (chars[rows] < chars[rows, high][:, None]).sum(axis=1) / (np.isfinite(chars[rows]).sum(axis=1) - 1)
    return {
        "pairs": len(rows),
        "differs_from_min": round(float((low != lowest[rows]).mean()), 4),
        "z_median": round(float(np.median((quality[rows, low] - centre) / spread)), 2),
        "responses_below_median": float(np.median(below)),
        "margin_mean": round(float((quality[rows, high] - quality[rows, low]).mean()), 2),
        "chosen_longer_than_share_median": round(float(np.median(shorter)), 2),
        "longer_chosen": round(float((chars[rows, high] > chars[rows, low]).mean()), 3),
        "length_ratio_median": round(float(np.median(chars[rows, high] / np.maximum(chars[rows, low], 1))), 2),
    }


def other_judge(samples: pd.DataFrame, judged: pd.DataFrame) -> dict[str, float]:
    """Rank agreement within prompts of the cleaned quality with a judge that took no part and has another baseline."""
    joined = samples.merge(judged[["model", "response", OTHER_JUDGE]], on=["model", "response"])
    joined = joined.dropna(subset=["quality", OTHER_JUDGE]).drop_duplicates(["prompt_id", "model"])
    columns = ["quality", OTHER_JUDGE]
    ranks = joined.groupby("prompt_id")[columns].rank()
    centred = (ranks - ranks.groupby(joined["prompt_id"]).transform("mean")).to_numpy()
    products = np.column_stack([centred[:, 0] * centred[:, 1], centred**2])
    prompt, _ = pd.factorize(joined["prompt_id"])
    sums = np.zeros((prompt.max() + 1, 3))
    np.add.at(sums, prompt, products)
    varied = sums[(sums[:, 1] > 0) & (sums[:, 2] > 0)]
    correlation = float(np.mean(varied[:, 0] / np.sqrt(varied[:, 1] * varied[:, 2])))
    return {"responses": len(joined), "prompts": len(varied), "rank_correlation": round(correlation, 3)}


def coarse_only(folder: Path) -> dict[str, float]:
    """Share of chosen responses, and of all responses, from models that only judges with three grades have seen."""
    rows, samples = _rows(folder), _samples(folder)
    graded = {model for model, scores in zip(samples["model"], samples["scores"], strict=True) if GRADED & {*scores}}
    columns = {"of_chosen": rows["chosen_model"], "of_responses": samples["model"]}
    return {name: round(float(np.mean([m not in graded for m in column])), 3) for name, column in columns.items()}


def _rows(folder: Path) -> pd.DataFrame:
    parts = sorted((folder / "data").glob("*.parquet"))
    return pd.concat([pd.read_parquet(part).assign(split=part.name.split("-")[0]) for part in parts], ignore_index=True)


def _samples(folder: Path) -> pd.DataFrame:
    parts = sorted((folder / "samples").glob("*.parquet"))
    columns = ["prompt_id", "response", "model", "quality", "scores"]
    samples = pd.concat([pd.read_parquet(part, columns=columns) for part in parts], ignore_index=True)
    samples["scores"] = samples["scores"].map(lambda cells: {cell["rater"]: cell["score"] for cell in cells})
    return samples


def print_pairs(folder: Path, count: int, seed: int) -> None:
    """Print random pairs with every score of both responses, for a person to judge."""
    samples = _samples(folder)
    keys = zip(samples["prompt_id"], samples["model"], strict=True)
    scores = dict(zip(keys, samples["scores"], strict=True))
    rows = _rows(folder)
    for _, row in rows.sample(min(count, len(rows)), random_state=seed).iterrows():
        print("=" * 100)
        print(
            f"{row['prompt_id'][:12]} {row['split']} margin {row['margin']:.3f}\nPROMPT\n{row['prompt'][-1]['content']}"
        )
        for side in ("chosen", "rejected"):
            model, text = row[f"{side}_model"], row[side][0]["content"]
            print(f"--- {side.upper()} {model} {scores[row['prompt_id'], model]}, {len(text)} characters\n{text}")


def train_with_trl(folder: Path) -> dict[str, float]:
    """Two optimiser steps of an unmodified DPOTrainer on the delivered train split; returns its last log."""
    from datasets import load_dataset
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: index for index, symbol in enumerate(["<pad>", "<end>", *alphabet])}
    bytes_only = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    bytes_only.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore[reportAttributeAccessIssue]
    bytes_only.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bytes_only, pad_token="<pad>", eos_token="<end>")
    tokenizer.chat_template = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + eos_token }}{% endfor %}"
    shape = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2
    )
    rows = load_dataset("parquet", data_files={"train": f"{folder}/data/train-*.parquet"}, split="train")
    with tempfile.TemporaryDirectory() as out:
        settings = DPOConfig(
            output_dir=out, max_steps=2, per_device_train_batch_size=2, max_length=512, logging_steps=1,
            report_to=[], use_cpu=True, save_strategy="no", disable_tqdm=True, bf16=False, gradient_checkpointing=False,
        )  # fmt: skip
        LlamaForCausalLM(shape).save_pretrained(f"{out}/model")
        trainer = DPOTrainer(f"{out}/model", args=settings, train_dataset=rows, processing_class=tokenizer)
        trainer.train()
    return {"rows": len(rows), **[entry for entry in trainer.state.log_history if "loss" in entry][-1]}


def main() -> None:
    """Run the command named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    sample = commands.add_parser("sample")
    sample.add_argument("ende", type=Path)
    sample.add_argument("zhen", type=Path)
    sample.add_argument("--out", type=Path, default=SAMPLE)
    study = commands.add_parser("study")
    study.add_argument("matrix", type=Path)
    study.add_argument("folder", type=Path)
    study.add_argument("--only", default="", help="run the settings whose name holds this text")
    for name in ("figures", "read", "trl"):
        commands.add_parser(name).add_argument("version", type=Path)
    commands.choices["read"].add_argument("count", type=int)
    commands.choices["read"].add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    if asked.command == "sample":
        wide = make_sample(asked.ende, asked.zhen, asked.out)
        print(f"{len(wide)} responses to {wide['prompt'].nunique()} prompts, {asked.out.stat().st_size} bytes")
    elif asked.command == "read":
        print_pairs(asked.version, asked.count, asked.seed)
    else:
        found = {
            "study": lambda: run_study(asked.matrix, asked.folder, asked.only),
            "figures": lambda: version_figures(asked.version),
            "trl": lambda: train_with_trl(asked.version),
        }[asked.command]()
        print(json.dumps(found, indent=1, default=str))


if __name__ == "__main__":
    main()
