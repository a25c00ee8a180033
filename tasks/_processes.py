"""Child processes that we started ourselves: whether one has ended, without losing its id."""

import os
import subprocess


def has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether it ended, without reaping it: until then nobody else can get its id, or its group's."""
    if process.returncode is not None:
        return True
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
