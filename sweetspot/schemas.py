"""Every table: its columns, their types, units and meaning, and its key. Nothing else defines a column.

Strings are `large_string`: a chunk of long responses passes the 2 GiB that `string` can index.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from sweetspot.errors import ContractError

TEXT = pa.large_string()
RATER_SCORES = pa.list_(pa.struct([("rater", TEXT), ("score", pa.float64())]))
MESSAGES = pa.list_(pa.struct([("role", TEXT), ("content", TEXT)]))


@dataclass(frozen=True)
class Column:
    """One column: name, Arrow type, meaning with unit, and whether null is allowed."""

    name: str
    type: pa.DataType
    meaning: str
    nullable: bool = False


@dataclass(frozen=True)
class Schema:
    """One table: what a row is, its columns, and the columns that together identify a row."""

    name: str
    row: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]

    @property
    def arrow(self) -> pa.Schema:
        """The Arrow schema, nullability included."""
        return pa.schema([pa.field(c.name, c.type, c.nullable) for c in self.columns])

    def table(self, rows: Iterable[dict]) -> pa.Table:
        """Build a checked table from rows.

        Raises:
            ContractError: a column is missing, unknown, of the wrong type, or null where it may not be.
        """
        rows = list(rows)
        try:
            table = pa.Table.from_pylist(rows, schema=self.arrow)
        except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError) as error:
            # Arrow's own words quote the value, which may be a prompt or a response.
            raise ContractError(
                f"{self.name}: a row does not fit the schema ({type(error).__name__}{self._where(rows)})"
            ) from None
        return self.check(table)

    def differences(self, found: pa.Schema, columns: Sequence[str] | None = None) -> str:
        """How the columns of a table differ from these, or from those of these that are named; empty if they do not.

        What Arrow says besides names, order and types (metadata, nullability, chunks) makes no difference.
        """
        expected = {column.name: column.type for column in self.columns if columns is None or column.name in columns}
        types = dict(zip(found.names, found.types, strict=True))
        said = [f"column {name!r} is missing" for name in expected if name not in types]
        said += [f"column {name!r} is not expected" for name in types if name not in expected]
        said += [
            f"{name}: type {types[name]}, expected {kind}"
            for name, kind in expected.items()
            if name in types and types[name] != kind
        ]
        if not said and columns is None and found.names != list(expected):
            said = [f"columns in the order {found.names}, expected {list(expected)}"]
        return "; ".join(said)

    def _where(self, rows: Sequence[dict]) -> str:
        """The first column that cannot hold its values, and the first of these rows; no value."""
        for field in self.arrow:
            for index, row in enumerate(rows):
                try:
                    pa.array([row.get(field.name)], type=field.type)
                except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError):
                    return f": column {field.name}, row {index} of {len(rows)}, {type(row[field.name]).__name__}"
        return ""

    def check(self, table: pa.Table) -> pa.Table:
        """Return `table` if it has exactly these columns and types, no forbidden null and a unique key.

        Raises:
            ContractError: naming the column, the count and the first offending row.
        """
        if found := self.differences(table.schema):
            raise ContractError(f"{self.name}: {found}; see sweetspot/schemas.py")
        for column in self.columns:
            values = table[column.name]
            if values.null_count and not column.nullable:
                first = values.is_null().to_pylist().index(True)
                raise ContractError(
                    f"{self.name}.{column.name}: {values.null_count} of {len(table)} rows are null, first row "
                    f"{first}; this column must be filled"
                )
        keys = table.select(list(self.key)).group_by(list(self.key)).aggregate([]).num_rows
        if keys != table.num_rows:
            raise ContractError(f"{self.name}: {table.num_rows - keys} rows repeat the key {self.key}")
        return table


PROMPTS = Schema(
    "prompts",
    "one prompt that may enter the night",
    (
        Column("prompt_id", TEXT, "first 32 hex digits of the sha256 of the normalised messages"),
        Column("source_row", pa.int64(), "row of the source the prompt came from, from 0"),
        Column("prompt", MESSAGES, "chat messages, Unicode NFC, ending with a user turn"),
        Column("answer", TEXT, "reference answer for verifiers", nullable=True),
        Column("split", TEXT, "train or eval, by the hash of the prompt"),
        Column("source", TEXT, "file or dataset the prompt came from"),
    ),
    ("prompt_id",),
)

RESPONSES = Schema(
    "responses",
    "one response to one prompt",
    (
        Column("response_id", TEXT, "hash of prompt_id, model and sample index"),
        Column("prompt_id", TEXT, "the prompt answered"),
        Column("sample_index", pa.int32(), "0 to N-1 within the prompt"),
        Column("response", TEXT, "text, special tokens removed"),
        Column("prompt_token_ids", pa.list_(pa.int32()), "what the sampler was given; null if not sampled here", True),
        Column("token_ids", pa.list_(pa.int32()), "what the sampler drew; null if not sampled here", True),
        Column("tokens", pa.int32(), "length of token_ids", True),
        Column("finish_reason", TEXT, "stop or length; null if unknown", True),
        Column("sum_logprob", pa.float64(), "log-probability of the response under the sampler, nats", True),
        Column("seed", pa.int64(), "seed of the prompt's request", True),
        Column("model", TEXT, "revision of the policy, or the name of the model in the source"),
    ),
    ("response_id",),
)

SCORES = Schema(
    "scores",
    "one rater's verdict on one response",
    (
        Column("response_id", TEXT, "the response judged"),
        Column("prompt_id", TEXT, "its prompt"),
        Column("rater", TEXT, "name of the rater"),
        Column("rater_revision", TEXT, "hash of the rater's weights, or version of a verifier"),
        Column(
            "score",
            pa.float64(),
            "raw score, in the rater's own unit, higher is better; null if status is not ok",
            True,
        ),
        Column("status", TEXT, "ok, missing, non_finite, too_large or failed"),
    ),
    ("response_id", "rater"),
)

IMPLICIT = Schema(
    "implicit",
    "log-probability of one response under policy and reference",
    (
        Column("response_id", TEXT, "the response"),
        Column("prompt_id", TEXT, "its prompt"),
        Column("policy_logp", pa.float64(), "sum over response tokens, nats"),
        Column("reference_logp", pa.float64(), "sum over response tokens, nats"),
    ),
    ("response_id",),
)

CHECKS = Schema(
    "checks",
    "what is wrong with one response, whoever wrote it",
    (
        Column("response_id", TEXT, "the response"),
        Column("prompt_id", TEXT, "its prompt"),
        Column("chars", pa.int32(), "length in characters"),
        Column("flaw", TEXT, "empty, char_run, repetitive, compressible, truncated or refusal; null if none", True),
    ),
    ("response_id",),
)

QUALITY = Schema(
    "quality",
    "the cleaned quality of one response",
    (
        Column("response_id", TEXT, "the response"),
        Column("prompt_id", TEXT, "its prompt"),
        Column("quality", pa.float64(), "robust consensus of the raters, unit: rater standard deviations"),
        Column("raters", pa.int32(), "raters with a usable score"),
        Column("outliers", pa.int32(), "scores flagged as one rater's error"),
        Column("disagreement", pa.bool_(), "too many raters disagree to say which is wrong"),
    ),
    ("response_id",),
)

PAIRS = Schema(
    "pairs",
    "one candidate preference",
    (
        Column("pair_id", TEXT, "hash of prompt_id and both response ids"),
        Column("prompt_id", TEXT, "the prompt"),
        Column("split", TEXT, "train or eval"),
        Column("chosen_id", TEXT, "response_id of the chosen response"),
        Column("rejected_id", TEXT, "response_id of the rejected response"),
        Column("chosen_rating", pa.float64(), "quality of the chosen response"),
        Column("rejected_rating", pa.float64(), "quality of the rejected response"),
        Column("margin_external", pa.float64(), "chosen minus rejected quality, rater standard deviations"),
        Column("margin_implicit", pa.float64(), "chosen minus rejected implicit reward, nats", True),
        Column("differs_from_min", pa.bool_(), "the rule picked another rejected response than the minimum"),
    ),
    ("pair_id",),
)

SELECTED = Schema(
    "selected",
    "one pair worth training on",
    (
        Column("pair_id", TEXT, "the pair"),
        Column("prompt_id", TEXT, "its prompt"),
        Column("preference_probability", pa.float64(), "BeeS, a ranking score, not calibrated; null for eval", True),
        Column("route", TEXT, "dpo or sft"),
    ),
    ("pair_id",),
)

DELIVERED = Schema(
    "delivered",
    "one row of a published version, as TRL reads it",
    (
        Column("prompt", MESSAGES, "explicit prompt, ending with a user turn"),
        Column("chosen", MESSAGES, "one assistant message"),
        Column("rejected", MESSAGES, "one assistant message"),
        Column("prompt_id", TEXT, "identity of the prompt"),
        Column("pair_id", TEXT, "identity of the pair; relabelled rows end in :a or :b"),
        Column("source", TEXT, "where the prompt came from"),
        Column("chosen_rating", pa.float64(), "quality of chosen, rater standard deviations"),
        Column("rejected_rating", pa.float64(), "quality of rejected, rater standard deviations"),
        Column("score_chosen", pa.float64(), "same as chosen_rating"),
        Column("score_rejected", pa.float64(), "same as rejected_rating"),
        Column("margin", pa.float64(), "chosen_rating minus rejected_rating"),
        Column("margin_external", pa.float64(), "same, before any relabelling"),
        Column("margin_implicit", pa.float64(), "nats; null when not computed", True),
        Column(
            "preference_probability",
            pa.float64(),
            "BeeS, or in an audited version the estimated probability that the label is right; null for eval, on "
            "relabelled b rows and where unknown",
            True,
        ),
        Column("route", TEXT, "dpo or sft"),
        Column("goal", pa.float64(), "goal of a relabelled row, else null", True),
        Column("chosen_model", TEXT, "who wrote chosen"),
        Column("rejected_model", TEXT, "who wrote rejected"),
        Column(
            "ref_chosen_logps", pa.float64(), "log-probability of chosen under the reference, nats; NaN if not computed"
        ),
        Column(
            "ref_rejected_logps",
            pa.float64(),
            "log-probability of rejected under the reference, nats; NaN if not computed",
        ),
    ),
    ("pair_id",),
)

SAMPLES = Schema(
    "samples",
    "every response and every score of a version",
    (
        Column("prompt_id", TEXT, "the prompt"),
        Column("response_id", TEXT, "the response"),
        Column("sample_index", pa.int32(), "0 to N-1 within the prompt"),
        Column("response", TEXT, "text"),
        Column("model", TEXT, "who wrote it"),
        Column("finish_reason", TEXT, "stop or length; null if unknown", True),
        Column("quality", pa.float64(), "cleaned quality; null if it left before", True),
        Column("scores", RATER_SCORES, "raw score of every rater that gave one"),
    ),
    ("response_id",),
)

DROPPED = Schema(
    "dropped",
    "one row that left, with its reason",
    (
        Column("stage", TEXT, "stage it left at"),
        Column("unit", TEXT, "what left: source_row, response or pair, or prompt"),
        Column("row_id", TEXT, "id of what left"),
        Column("prompt_id", TEXT, "its prompt; empty if it never got one"),
        Column("reason", TEXT, "why, one of a fixed list per stage"),
        Column("detail", TEXT, "the failed check in words and numbers; no prompt or response text"),
    ),
    ("unit", "row_id", "stage"),
)

VERDICTS = Schema(
    "verdicts",
    "what an audit decided about one preference of the source",
    (
        Column("row_id", TEXT, "the source's own id, or its place, as in `row 17`"),
        Column("candidate", pa.int64(), "number of the preference in the audit, from 0"),
        Column("source_row", pa.int64(), "place in the source of the chosen response, from 0; -1 if it has none"),
        Column("pair_id", TEXT, "the delivered pair; null if it left", True),
        Column("action", TEXT, "kept, flagged, flipped, weighted or dropped"),
        Column("reason", TEXT, "why, one of a fixed list; empty if nothing is wrong with it"),
        Column(
            "error_probability",
            pa.float64(),
            "estimated probability that the delivered label is wrong; null if unknown",
            True,
        ),
        Column(
            "weight",
            pa.float64(),
            "suggested weight in training: 1 - error_probability when weighted, else 1; 0 if it left",
        ),
    ),
    ("candidate",),
)

TABLES = (
    *(PROMPTS, RESPONSES, SCORES, IMPLICIT, CHECKS, QUALITY, PAIRS, SELECTED, DELIVERED, SAMPLES, DROPPED),
    VERDICTS,
)
