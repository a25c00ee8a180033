"""`sweetspot audit` on real preference data, and proofs on real score matrices.

    python benchmarks/audit_real.py [--data ../shared/data] [--out docs/results/audit] [--only SET ...]

Writes README.md with every figure and, for the sets whose licence allows it, the report of the audit as it came out.
Without the data it says so and ends with exit code 2.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from _audit_page import Audited, page
from _audit_sets import SETS, RealSet

from flows.audit import audit_file


def main() -> None:
    """Audit every set, prove what can be proved, write the page."""
    parser = argparse.ArgumentParser(description="sweetspot audit on real preference data")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("docs/results/audit"))
    parser.add_argument("--only", nargs="*", default=[], help="sets to audit; the page is then not written")
    chosen = parser.parse_args()
    if not chosen.data.is_dir():
        sys.stderr.write(f"SKIPPED: no real preference data at {chosen.data}; name its folder with --data\n")
        sys.exit(2)
    data, out = chosen.data.resolve(), chosen.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    audited = [audit_set(real, data, out) for real in SETS if not chosen.only or real.name in chosen.only]
    if not chosen.only:
        (out / "README.md").write_text(page(audited, data))


def audit_set(real: RealSet, data: Path, out: Path) -> Audited:
    """Audit one set as a user would, from a file of its own; keep the report where texts may be shown."""
    with tempfile.TemporaryDirectory() as folder:
        before = Path.cwd()
        os.chdir(folder)
        try:
            real.table(data).to_parquet(f"{real.name}.parquet")
            started = time.perf_counter()
            result = audit_file(f"{real.name}.parquet", out="report", stress=True, **real.settings)
            seconds = time.perf_counter() - started
            if real.may_be_shown:
                (out / f"{real.name}.html").write_text(Path("report/report.html").read_text())
        finally:
            os.chdir(before)
    return Audited(real, result, seconds)


if __name__ == "__main__":
    main()
