"""What a user can set of an audit; the same class is the YAML file, the `--set a.b=c` paths and the form in the UI."""

from typing import Literal

from pydantic import Field

from sweetspot.config import MOST_BYTES, MOST_ROWS, MOST_TOKENS, Name, Relabelling, Section, Selection


class Audit(Section):
    """Someone's own preference data: checked, and if asked cleaned, selected and published."""

    source: str = "deployments/examples/data/wmt23_mqm_sample.parquet"
    """A .parquet, .jsonl, .json or .csv file (a path or a URI), or `datasets:NAME[:CONFIG]:SPLIT`."""
    format: str = ""
    """`pairs`, `responses`, `votes`, or the name of a layout; empty finds it from the columns."""
    columns: dict[str, str] = {}  # noqa: RUF012  (pydantic copies a default)
    """Role to column where names do not say it, such as `prompt: question`."""
    out: str = "out/audit"
    """Folder, or `s3://` address, for the report and a cleaned version."""
    against: list[str] = []  # noqa: RUF012
    """Files of a benchmark or of evaluation prompts that must not occur in the data."""
    embedder: str = ""
    """Directory or hub name of an encoder or language model that looks for prompts near in meaning to `against`."""
    embedder_revision: str = ""
    """Commit of a hub model; empty for a directory."""
    embedder_texts: int = Field(default=20_000, ge=20, le=10**8)
    """Most prompts, and most texts of `against`, that the embedder reads, picked by hash."""
    prompts: str = ""
    """File of the prompts you expect in use; coverage is measured against them."""
    policy: str = ""
    """Directory or hub name of the model you mean to train: can DPO learn these pairs from it? Empty: not asked."""
    policy_revision: str = ""
    """Commit of a hub model; empty for a directory."""
    reference: str = ""
    """The model DPO starts from, where `policy` has been trained since; gives implicit margins. Empty: `policy`."""
    reference_revision: str = ""
    """Commit of a hub model; empty for a directory."""
    policy_rows: int = Field(default=2000, ge=1, le=10**8)
    """Most pairs that the models score, picked by hash; selection by implicit margins needs all of them."""
    policy_tokens: int = Field(default=4096, ge=8, le=MOST_TOKENS)
    """Longest prompt plus response, in tokens; a pair with a longer one is left out of the scores and counted."""
    stress: bool = False
    """Plant errors into the data and report what the audit would have caught."""
    clean: Literal["none", "flag", "drop", "flip", "reweight"] = "none"
    """`none` only reports. Else a version is published: doubtful labels are flagged, dropped, flipped or weighted."""
    doubt_above: float = Field(default=0.5, gt=0, lt=1)
    """Probability of being wrong above which a label counts as doubtful."""
    selection: Selection = Selection(keep_fraction=1.0)
    """BeeS over the score margins, and the implicit ones where there are any, of the rows left; 1 keeps all."""
    relabelling: Relabelling = Relabelling()
    dataset: Name = "audited"
    """Name of the published dataset."""
    license: str = "unknown"
    """Licence of the source, for the card of what is made from it."""
    held_out_fraction: float = Field(default=0.0, ge=0, lt=1)
    """Share of prompts, by the hash of the prompt, put into the eval split besides rows whose own split says eval."""
    attempt: int = Field(default=1, ge=1, le=99)
    """One version is published per UTC date; raise this to publish another for a date that has one."""
    near_duplicates: bool = True
    """Look for rows, and for prompts, that are nearly the same; the dearest part of an audit."""
    workers: int = Field(default=2, ge=1, le=256)
    """Processes that read a large source."""
    max_rows: int = Field(default=100_000_000, ge=1, le=MOST_ROWS)
    """A Parquet file with more rows is refused before any of it is read."""
    max_unpacked_bytes: int = Field(default=64 * 2**30, ge=2**20, le=MOST_BYTES)
    """A file that is longer, or unpacks to more bytes, is refused: 40 kB of Parquet can become 10 GB."""
    max_row_bytes: int = Field(default=16 * 2**20, ge=2**10, le=2**34)
    """A Parquet file with more bytes per row on average is refused; one text of 10 MB is a row like any other."""
