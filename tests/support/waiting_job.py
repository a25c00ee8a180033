"""A job that notes its start in a folder and waits there for a file: `go` ends it well, `fail` with our error."""

import os
import time
from pathlib import Path

from sweetspot.errors import CheckError
from tasks._ray_jobs import job_main


def main(folder: str) -> None:
    """Note our process id, then wait."""
    with (Path(folder) / "starts").open("a") as file:
        file.write(f"{os.getpid()}\n")
    while True:
        if (Path(folder) / "go").exists():
            print("went well", flush=True)
            return
        if (Path(folder) / "fail").exists():
            raise CheckError("this job was told to fail")
        time.sleep(0.05)


if __name__ == "__main__":
    import sys

    job_main(main, sys.argv[1:])
