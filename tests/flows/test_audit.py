import json
import sqlite3

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset

from flows.audit import audit_file
from flows.cli import main
from sweetspot.errors import CheckError, ConfigError, ContractError
from tasks._store import Store
from tasks._versions import differences, open_uri

ANSWER = "Paris lies on the Seine and has been the capital of France for centuries, as you may know."
PAIR = {"prompt": "What is the capital of France?", "chosen": ANSWER, "rejected": "I do not know that one, sorry."}


def pairs(n=8, **extra):
    texts = {"prompt": "Question {}?", "chosen": "Long and good answer number {}.", "rejected": "Bad answer {}."}
    return [{"id": f"r{k}", **{name: text.format(k) for name, text in texts.items()}, **extra} for k in range(n)]


def audit(tmp_path, rows, name="data.jsonl", **options):
    path = tmp_path / name
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return audit_file(str(path), out=str(tmp_path / "out"), **options)


def finding(result, check):
    return next(one for one in result.findings if one.check == check)


def delivered(result):
    version = open_uri(result.cleaning.version_uri)
    assert not list(differences(version))
    return version.read_split("train").to_pylist()


def test_both_reports_are_written_and_say_the_same(tmp_path):
    result = audit(tmp_path, pairs())
    page = (tmp_path / "out" / "report.html").read_text()
    figures = json.loads((tmp_path / "out" / "report.json").read_text())
    assert {one["check"] for one in figures["findings"]} == {one.check for one in result.findings}
    assert "Question" not in json.dumps(result.options)
    assert "<script" not in page


def test_copies_contradictions_and_identical_responses_are_found(tmp_path):
    turned = PAIR | {"chosen": PAIR["rejected"], "rejected": PAIR["chosen"]}
    same = PAIR | {"prompt": "q", "chosen": "x", "rejected": "x"}
    result = audit(tmp_path, [PAIR, PAIR, turned, same, *pairs()])
    assert finding(result, "duplicates").figures["duplicate_rows"] == 1
    assert finding(result, "duplicates").figures["identical_responses"] == 1
    assert finding(result, "contradictions").figures["contradictory_rows"] == 3


def test_rows_that_are_nearly_the_same_are_found_with_opposite_labels(tmp_path):
    words = [f"word{k}" for k in range(200)]
    near = PAIR | {"chosen": " ".join(words), "rejected": "something else entirely, with a few words"}
    edited = near | {"chosen": " ".join([*words[:-1], "other"])}
    opposite = {"prompt": near["prompt"], "chosen": near["rejected"], "rejected": edited["chosen"]}
    result = audit(tmp_path, [near, edited, *pairs()])
    assert finding(result, "near_duplicates").figures["near_duplicate_rows"] == 1
    assert finding(result, "near_duplicates").figures["opposite_labels"] == 0
    result = audit(tmp_path, [near, opposite, *pairs()])
    assert finding(result, "near_duplicates").figures["opposite_labels"] == 1
    assert finding(result, "near_duplicates").suspects[0].texts["chosen"] == near["rejected"]


def test_overlap_with_a_benchmark_is_found_and_dropped(tmp_path):
    benchmark = tmp_path / "bench.jsonl"
    benchmark.write_text(json.dumps({"question": f"Please tell me: {ANSWER}"}))
    result = audit(tmp_path, [PAIR, *pairs()], against=[str(benchmark)], clean="drop")
    assert finding(result, "contamination").figures["contaminated_rows"] == 1
    assert result.cleaning.dropped == {"contaminated": 1}
    assert len(delivered(result)) == 8


TOPIC_WORDS = (
    *("soup onion pan boil", "court judge appeal verdict", "rhyme stanza poem ode"),
    *("loop list class method", "goal match league coach", "angle prime cosine root"),
)


def about_topics(n=300, **extra):
    """Pairs about six topics with scores that support all labels but every fiftieth."""
    return [
        row
        | {"prompt": f"{TOPIC_WORDS[k % 6]} number {k}", "score_rejected": 1.0}
        | {"score_chosen": -1.0 if k % 50 == 7 else 2.0 + (k % 7) / 3}
        | {name: values[k % 6] for name, values in extra.items()}
        for k, row in enumerate(pairs(n))
    ]


def test_one_topic_is_spoilt_by_the_words_of_the_prompts_where_no_column_names_topics(tmp_path):
    flips = finding(audit(tmp_path, about_topics(), stress=True), "stress_flips")
    assert flips.figures["one_topic_recall"] > 0.9
    assert flips.figures["one_topic_noticed_in_seeds"] == "3 of 3"
    assert any("clusters of the 300 prompts by their words" in note for note in flips.warnings)
    named = finding(audit(tmp_path, about_topics(category=tuple("abcdef")), stress=True), "stress_flips")
    assert named.figures["one_topic_planted"] == 3 * 50
    assert set(named.charts[2].labels) == set("abcdef")


def test_one_topic_of_scored_responses_is_spoilt_too(tmp_path):
    rows = [
        {"prompt": f"{TOPIC_WORDS[k % 3]} number {k}", "response": f"answer {k} {side}"}
        | dict.fromkeys(("helpful", "honest", "polite", "brief", "clear"), side + (k * 7 + side) % 5 / 50)
        for k in range(60)
        for side in range(3)
    ]
    flips = finding(audit(tmp_path, rows, stress=True), "stress_flips")
    assert flips.figures["one_topic_planted"] > 0
    assert any("clusters of the 60 prompts" in note for note in flips.warnings)


def test_one_topic_of_votes_is_spoilt_where_their_prompts_are_there(tmp_path):
    rows = [
        {"pair_id": f"u{k}", "annotator": f"w{who}", "preference": 2 if (k * 5 + who) % 9 == 0 else 1}
        | {"prompt": f"{TOPIC_WORDS[k % 6]} number {k}", "response_1": f"one {k}", "response_2": f"two {k}"}
        for k in range(120)
        for who in range(5)
    ]
    flips = finding(audit(tmp_path, rows, stress=True), "stress_flips")
    assert flips.figures["one_topic_planted"] > 0
    # Everybody was wrong about it, so nobody's vote speaks against another's: that is what the page must say.
    assert flips.figures["one_topic_recall"] < 0.3 < flips.figures["uniform_10_recall"]
    assert "one topic, all" in flips.says
    assert any("clusters of the 120 prompts" in note for note in flips.warnings)
    bare = [{name: row[name] for name in ("pair_id", "annotator", "preference")} for row in rows]
    flips = finding(audit(tmp_path, bare, stress=True), "stress_flips")
    assert any(note.startswith("not_planted: one topic, all: no topic is known") for note in flips.warnings)


# --- bad input: each ends in a clear error or a counted reason, and nothing else is lost


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (['{"prompt": "cut'], "unreadable"),
        (["[1, 2]"], "unreadable"),
        ([PAIR | {"chosen": None}], "missing"),
        ([PAIR | {"chosen": 7}], "wrong_type"),
        (['{"prompt": "p", "chosen": "\\ud800 alone", "rejected": "b"}'], "surrogate"),
        ([PAIR | {"chosen": "x" * 10_000_000}], "too_long"),
        ([PAIR | {"prompt": [{"role": "wizard", "content": "x"}]}], "bad_role"),
        ([PAIR | {"prompt": [{"role": "assistant", "content": "x"}]}], "no_user_turn"),
        ([{"text": "of another schema"}], "missing"),
    ],
)
def test_a_bad_row_is_counted_and_no_other_is_lost(tmp_path, rows, reason):
    result = audit(tmp_path, [*pairs(), *rows], clean="flag")
    assert result.unreadable == {reason: len(rows)}
    assert result.rows == 8 + len(rows)
    assert {row["prompt"][0]["content"] for row in delivered(result)} == {f"Question {k}?" for k in range(8)}
    left = load_dataset("parquet", data_files=f"{tmp_path}/out/audited/versions/*/dropped/*.parquet", split="train")
    assert [(row["stage"], row["row_id"], row["reason"]) for row in left] == [("read_source", "8", reason)]


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        ("", ContractError, "is empty"),
        ("\n\n", ContractError, "holds no rows"),
        ("not json\n" * 3, ConfigError, "fit no layout"),
        ('{"text": "x"}', ConfigError, "fit no layout"),
        ('{"prompt": "a", "chosen": "b", "rejectd": "c"}', ConfigError, "--column rejected=rejectd"),
        ('{"prompt": "", "chosen": 1.5, "rejected": []}', ConfigError, "fit no layout"),
    ],
)
def test_a_file_without_usable_rows_is_refused_with_the_next_step(tmp_path, content, error, message):
    with pytest.raises(error, match=message):
        audit(tmp_path, [content])


def test_if_no_row_is_usable_the_reasons_are_listed(tmp_path):
    with pytest.raises(ContractError, match=r"none of 2 rows can be used: bad_role 2; first row 0"):
        audit(tmp_path, [PAIR | {"prompt": [{"role": "wizard", "content": "x"}]}] * 2)


def test_a_truncated_parquet_file_is_refused(tmp_path):
    path = tmp_path / "cut.parquet"
    pd.DataFrame(pairs(2000)).to_parquet(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ContractError, match="damaged or cut short"):
        audit_file(str(path), out=str(tmp_path / "out"))


def test_a_changed_byte_in_a_parquet_page_is_noticed(tmp_path):
    path = tmp_path / "flipped.parquet"
    pq.write_table(pa.table(pd.DataFrame(pairs(2000))), path, write_page_checksum=True, compression="none")
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ContractError, match="damaged"):
        audit_file(str(path), out=str(tmp_path / "out"))


def test_parquet_bytes_that_are_no_text_cost_one_row(tmp_path):
    frame = pa.table(pd.DataFrame(pairs(5)))
    raw = pa.array([b"\xff\xfe", *(text.encode() for text in frame["chosen"].to_pylist()[1:])], pa.binary())
    broken = pa.Array.from_buffers(pa.string(), 5, raw.buffers())
    path = tmp_path / "p.parquet"
    pq.write_table(frame.set_column(frame.schema.get_field_index("chosen"), "chosen", broken), path)
    assert audit_file(str(path), out=str(tmp_path / "out")).unreadable == {"not_utf8": 1}


def test_one_row_is_enough_for_a_report(tmp_path):
    result = audit(tmp_path, [PAIR], clean="drop")
    assert (result.rows, len(delivered(result))) == (1, 1)


def test_ties_only_are_reported_and_cannot_be_delivered(tmp_path):
    rows = [{"prompt": f"p{k}", "output_1": "a", "output_2": "b", "label": "tie"} for k in range(5)]
    rows.append({"prompt": "decided", "output_1": "good one", "output_2": "bad", "label": "1"})
    result = audit(tmp_path, rows, clean="flag")
    assert result.cleaning.dropped == {"tie": 5}
    with pytest.raises(ConfigError, match="do not say which response won"):
        audit(tmp_path, rows[:5])


def test_nan_and_infinite_scores_are_missing_scores(tmp_path):
    rows = pairs(40, score_chosen=2.0, score_rejected=1.0)
    rows[0]["score_chosen"] = float("nan")
    rows[1]["score_chosen"] = float("inf")
    result = audit(tmp_path, rows)
    assert finding(result, "margins").figures["rows_without_scores"] == 2
    assert "NaN" not in (tmp_path / "out" / "report.json").read_text()


def test_repeated_ids_are_counted_and_every_row_is_kept(tmp_path):
    rows = [row | {"id": "same"} for row in pairs()]
    result = audit(tmp_path, rows, clean="flag")
    assert finding(result, "duplicates").figures["rows_with_a_repeated_id"] == 7
    assert len({row["pair_id"] for row in delivered(result)}) == 8


@pytest.mark.parametrize(
    ("votes", "check", "words"),
    [
        ([(k, "only", 1 + k % 2) for k in range(6)], "agreement", "one annotator"),
        ([(k, f"a{k}", 1 + k % 2) for k in range(6)], "agreement", "No unit was judged twice"),
        ([(k, a, 1) for k in range(6) for a in "xyz"], "agreement", "are the same class"),
        ([(k, a, "tie") for k in range(6) for a in "xyz"], "agreement", "are the same class"),
    ],
)
def test_votes_that_cannot_disagree_say_so(tmp_path, votes, check, words):
    rows = [{"pair_id": p, "annotator": a, "preference": v} for p, a, v in votes]
    result = audit(tmp_path, rows)
    assert finding(result, check).level in ("not_checked", "look")
    assert words in finding(result, check).says


def test_the_same_settings_publish_the_same_version_and_others_need_an_attempt(tmp_path):
    first = audit(tmp_path, pairs(), clean="drop")
    assert audit(tmp_path, pairs(), clean="drop").cleaning.version_uri == first.cleaning.version_uri
    with pytest.raises(CheckError, match="raise `attempt`"):
        audit(tmp_path, pairs(), clean="flag")
    assert audit(tmp_path, pairs(), clean="flag", attempt=2).cleaning.version_uri != first.cleaning.version_uri


# --- cleaning


def scored(n=60, wrong=6):
    """Pairs whose scores speak for the label by 2, and strongly against it in the first few."""
    rows = pairs(n)
    for k, row in enumerate(rows):
        row["score_chosen"], row["score_rejected"] = (0.0, 4.0) if k < wrong else (3.0 + k / n, 1.0)
    return rows


def test_doubtful_labels_are_dropped_turned_or_weighted(tmp_path):
    dropped = audit(tmp_path, scored(), clean="drop")
    assert dropped.cleaning.dropped == {"label_doubtful": 6}
    turned = audit(tmp_path, scored(), clean="flip", attempt=2)
    assert turned.cleaning.changed == {"flipped": 6}
    rows = {row["prompt"][0]["content"]: row for row in delivered(turned)}
    assert rows["Question 0?"]["chosen"][0]["content"] == "Bad answer 0."
    assert (rows["Question 0?"]["chosen_rating"], rows["Question 0?"]["margin"]) == (4.0, 4.0)
    assert rows["Question 9?"]["chosen"][0]["content"] == "Long and good answer number 9."
    weighted = audit(tmp_path, scored(), clean="reweight", attempt=3)
    kept = {row["prompt"][0]["content"]: row["preference_probability"] for row in delivered(weighted)}
    assert len(kept) == 60
    assert kept["Question 0?"] < 0.2 < 0.8 < kept["Question 9?"]


def test_every_preference_has_a_verdict_with_its_reason_and_probability(tmp_path):
    result = audit(tmp_path, [*scored(), scored()[20]], clean="drop")
    place = result.cleaning.version_uri.removeprefix("file://")
    verdicts = pd.read_parquet(f"{place}/verdicts").set_index("candidate")
    assert list(verdicts["action"].value_counts().sort_index().items()) == [("dropped", 7), ("kept", 54)]
    assert verdicts.loc[60, "reason"] == "duplicate"
    assert verdicts.loc[0, "reason"] == "label_doubtful"
    assert verdicts.loc[0, "error_probability"] > 0.5
    assert set(verdicts.loc[verdicts["action"] == "kept", "pair_id"]) == {row["pair_id"] for row in delivered(result)}
    assert verdicts.loc[verdicts["action"] == "dropped", "weight"].eq(0).all()


def test_selection_keeps_the_best_margins_and_small_ones_go_to_sft(tmp_path):
    rows = scored(wrong=0)
    for k, row in enumerate(rows):
        row["score_chosen"] = 1.0 + k / 10
    best = audit(tmp_path, rows, clean="flag", selection={"keep_fraction": 0.25})
    kept = {row["prompt"][0]["content"] for row in delivered(best)}
    assert kept == {f"Question {k}?" for k in range(45, 60)}
    assert best.cleaning.dropped == {"margin_not_positive": 1, "not_selected": 44}
    mixed = audit(tmp_path, rows, clean="flag", attempt=2, selection={"keep_fraction": 1.0, "sft_margin": 1.0})
    routes = {row["prompt"][0]["content"]: row["route"] for row in delivered(mixed)}
    assert (routes["Question 1?"], routes["Question 59?"]) == ("sft", "dpo")


def test_selection_without_scores_is_refused(tmp_path):
    with pytest.raises(ContractError, match="no score margins"):
        audit(tmp_path, pairs(), clean="drop", selection={"keep_fraction": 0.5})


def test_relabelling_yields_two_rows_under_two_goals(tmp_path):
    result = audit(tmp_path, scored(10, wrong=0), clean="flag", relabelling={"enabled": True})
    rows = sorted(delivered(result), key=lambda row: row["pair_id"])
    assert len(rows) == 20
    assert rows[0]["chosen"] == rows[1]["rejected"]
    assert rows[0]["goal"] != rows[1]["goal"]


def test_a_prompt_is_held_out_whole_and_evaluation_rows_keep_their_split(tmp_path):
    rows = [row | {"prompt": f"Question {k // 4}?"} for k, row in enumerate(pairs(80))]
    result = audit(tmp_path, rows, clean="flag", held_out_fraction=0.3)
    version = open_uri(result.cleaning.version_uri)
    train, held = ({row["prompt_id"] for row in version.read_split(s).to_pylist()} for s in ("train", "eval"))
    assert held
    assert not train & held
    split = [row | {"split": "test" if k < 3 else "train"} for k, row in enumerate(pairs())]
    split.append(split[0] | {"split": "train", "id": "leak", "chosen": "another good one"})
    result = audit(tmp_path, split, clean="drop", attempt=2)
    assert result.cleaning.dropped == {"leaks_into_eval": 1}
    assert open_uri(result.cleaning.version_uri).read_split("eval").num_rows == 3


def test_best_and_worst_of_scored_responses_become_pairs(tmp_path):
    rows = [
        {"prompt": f"p{i}", "response": f"answer {n} of {i}", "model": f"m{n}", "one": n, "two": 10 * n, "three": n + i}
        for i in range(6)
        for n in range(1, 5)
    ]
    result = audit(tmp_path, rows, clean="drop", dataset="paired")
    pair = next(row for row in delivered(result) if row["prompt"][0]["content"] == "p2")
    assert (pair["chosen"][0]["content"], pair["chosen_model"]) == ("answer 4 of 2", "m4")
    assert (pair["rejected"][0]["content"], pair["rejected_model"]) == ("answer 1 of 2", "m1")
    assert pair["margin"] > 0


def test_lists_of_responses_are_paired_too(tmp_path):
    rows = [{"prompt": f"p{i}", "responses": ["good", "fair", "bad"], "rewards": [3.0, i / 10, -2.0]} for i in range(6)]
    rows.append({"prompt": "odd", "responses": ["one"], "rewards": [1.0, 2.0]})
    result = audit(tmp_path, rows, clean="drop")
    assert result.unreadable == {"length_mismatch": 1}
    assert {(row["chosen"][0]["content"], row["rejected"][0]["content"]) for row in delivered(result)} == {
        ("good", "bad")
    }


def test_votes_with_texts_become_pairs_by_their_aggregated_label(tmp_path):
    rows = [
        {"pair_id": f"u{k}", "instruction": f"p{k}", "response1": "good", "response2": f"bad {k}"}
        | {f"annotator{a}": 2 if a == 1 and k % 9 == 0 else 1 for a in (1, 2, 3)}
        for k in range(40)
    ]
    rows[7] |= {f"annotator{a}": 0 for a in (1, 2, 3)}
    result = audit(tmp_path, rows, clean="drop")
    assert result.cleaning.dropped == {"tie": 1}
    assert {row["chosen"][0]["content"] for row in delivered(result)} == {"good"}
    labels = pd.read_parquet(tmp_path / "out" / "labels.parquet")
    assert labels.set_index("unit").loc["u7", "label"] == "tie"


def test_votes_without_texts_leave_their_labels(tmp_path):
    votes = [(k, a, 1 + (k + (a == "z")) % 2) for k in range(30) for a in "xyz"]
    result = audit(tmp_path, [{"pair_id": p, "annotator": a, "preference": v} for p, a, v in votes], clean="drop")
    assert result.cleaning.version_uri == ""
    assert len(pd.read_parquet(tmp_path / "out" / "labels.parquet")) == 30


def test_a_delivered_version_loads_and_names_no_text_in_its_books(tmp_path):
    result = audit(tmp_path, [PAIR, *pairs()], clean="drop")
    place = result.cleaning.version_uri.removeprefix("file://")
    loaded = load_dataset(place, split="train")
    assert loaded[0]["chosen"][0]["role"] == "assistant"
    manifest = Store(f"file://{tmp_path}/out").read(f"audited/{place.split('/audited/')[1]}/manifest.json").decode()
    assert "Question" not in manifest
    books = {book["stage"]: book for book in json.loads(manifest)["books"]}
    assert books["read_source"]["rows_in"]["count"] == 9
    assert books["clean_labels"]["rows_out"]["count"] == 9


# --- real data


def test_real_pairs_show_their_identical_ones(tmp_path, shared_data):
    result = audit_file(str(shared_data / "pairwise" / "hh_rlhf_test.parquet"), out=str(tmp_path), clean="drop")
    assert finding(result, "duplicates").figures["identical_responses"] == 20
    assert result.cleaning.dropped["identical_responses"] == 20


def test_real_tournament_shows_the_pull_of_the_first_place(tmp_path, shared_data):
    result = audit_file(str(shared_data / "pairwise" / "qlora_gpt4_tournament.parquet"), out=str(tmp_path))
    assert finding(result, "position_bias").figures["first_shown_rate"] == pytest.approx(0.57, abs=0.01)
    assert finding(result, "intransitivity").figures["cyclic_rate"] < 0.01


@pytest.mark.parametrize(
    ("name", "alpha"),
    [("pandalm_3raters", 0.873), ("llmfao_worker_labels", 0.294), ("ukp_convincing_worker_labels", 0.317)],
)
def test_real_votes_have_the_known_agreement(tmp_path, shared_data, name, alpha):
    result = audit_file(str(shared_data / "pairwise" / f"{name}.parquet"), out=str(tmp_path))
    assert finding(result, "agreement").figures["krippendorff_alpha"] == pytest.approx(alpha, abs=5e-4)


# --- the flow and the command


def test_the_flow_runs_from_a_file_and_leaves_an_artifact(tmp_path, command):
    path = tmp_path / "p.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in scored()))
    settings = {"source": str(path), "out": str(tmp_path / "out"), "clean": "drop", "dataset": "mine.v1"}
    done = command.run("run", command.write("audit.yaml", {"flow": "audit", **settings}))
    assert done.returncode == 0, done.stderr
    (version,) = (tmp_path / "out" / "mine.v1" / "versions").iterdir()
    assert str(version) in done.stdout
    assert open_uri(str(version)).read_split("train").num_rows == 54
    assert "Question 0?" not in done.stdout + done.stderr
    with sqlite3.connect(command.folder / "prefect" / "prefect.db") as database:
        ((shown,),) = database.execute("select data from artifact where key = 'audit-mine-v1'").fetchall()
    assert "How many labels are wrong?" in shown
    assert "Question 0?" not in shown


def test_the_command_takes_roles_settings_and_says_what_is_wrong(tmp_path, monkeypatch, capsys):
    path = tmp_path / "p.jsonl"
    rows = [{"ask": row["prompt"], "chosen": row["chosen"], "rejected": row["rejected"]} for row in pairs()]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    out = str(tmp_path / "out")

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["sweetspot", "audit", str(path), "--out", out, *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return ended.value.code, " ".join((printed.out + printed.err).split())

    code, said = run("--column", "prompt=ask", "--clean", "flag", "--set", "dataset=mine", "--select", "1.0")
    assert code == 0
    assert "trl_standard" in said
    assert f"{out}/mine/versions/" in said
    assert run("--column", "prompt=aks")[0] == 2
    assert "did you mean 'ask'" in run("--column", "prompt=aks")[1]
    assert run("--column", "prompt")[1].startswith("ConfigError: --column prompt: expected ROLE=NAME")
    code, said = run("--column", "prompt=ask", "--clean", "scrub")
    assert (code, "clean: Input should be" in said) == (2, True)
    assert "did you mean 'dataset'" in run("--set", "datasett=x")[1]
