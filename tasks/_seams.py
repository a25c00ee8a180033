"""Seams: the places between two effects on the store where a dying process could leave half of something.

Naming them lets a test kill the process at each, and lets a reader see what must be safe.
"""

import os
import signal
from collections import Counter

CRASH = "SWEETSPOT_CRASH"
"""Environment variable `name:k`: die at the k-th pass over that seam, as by `kill -9`. For tests."""
SEAMS = {
    "file_written": "a temporary file is complete, its name is not there yet",
    "part_committed": "a chunk's rows are there, its receipt is not",
    "receipt_committed": "a chunk is committed",
    "chunks_committed": "all chunks of a table are there, the table is not",
    "table_committed": "a table is committed",
    "data_file_committed": "a file of a version is there",
    "first_try_noted": "the time of publication is pinned",
    "documents_committed": "all files of a version are there, the manifest is not",
    "date_claimed": "the date is ours, nothing of the version is there",
    "manifest_committed": "the version is published, latest.json does not know it",
    "latest_moved": "latest.json points at the version",
    "request_committed": "a training is asked for, it has not begun",
    "trained": "the new policy is in scratch",
    "policy_file_committed": "a file of a policy is there, its marker is not",
    "policy_committed": "a policy is committed, not promoted",
    "promoted": "the pointer shows the new policy",
}
_passes: Counter[str] = Counter()


def seam(name: str) -> None:
    """Mark a seam; does nothing unless a test asked this process to die here."""
    wanted = os.environ.get(CRASH)
    if wanted is None:
        return
    _passes[name] += 1
    if f"{name}:{_passes[name]}" == wanted:
        os.kill(os.getpid(), signal.SIGKILL)
