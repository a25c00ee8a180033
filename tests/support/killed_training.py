"""Trainings in one process each, made to be killed: `python killed_training.py FOLDER`, with policy/ and rows.json.

Started once: it imports everything, then forks a process per line of input, `{"name", "step", "file", "every"}`, and
answers each with its exit status (negative: the signal it died of). The fork trains into FOLDER/name and goes on from
what it finds there; it notes every step with its loss in steps.txt. It kills itself after optimiser step `step`, or
when it has half written the `file`-th file of its checkpoints. Lastly it notes which files those were.
"""

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers.modeling_utils
import transformers.models.llama.modeling_llama  # here, once, and not in every fork

import sweetspot.training.job
from sweetspot.config import Training

SETTINGS = Training(loss="dpo", learning_rate=1e-3, batch_size=8, epochs=2.0, seed=3)


class Files:
    """Watches what a training writes below `checkpoints/`; dies in the middle of one of them."""

    def __init__(self, fatal: int | None) -> None:
        self.fatal, self.written = fatal, list[str]()

    def watch(self) -> None:
        """See the three ways files are written: by torch, by safetensors, and as text or bytes of Python's."""
        models: Any = transformers.modeling_utils
        torch.save = self.around(torch.save, lambda given: given[1])
        models.safe_save_file = self.around(models.safe_save_file, lambda given: given[1])
        Path.write_bytes = self.around(Path.write_bytes, lambda given: given[0])
        sys.addaudithook(self.opened)

    def around(self, write: Callable[..., Any], target: Callable[[tuple[Any, ...]], Any]) -> Callable[..., Any]:
        def wrapped(*given: Any, **options: Any) -> Any:
            path = str(target(given))
            result = write(*given, **options)
            self.note(path, lambda: os.truncate(path, os.path.getsize(path) // 2))
            return result

        return wrapped

    def opened(self, event: str, given: tuple[Any, ...]) -> None:
        if event == "open" and given[1] == "w" and str(given[0]).endswith(".json"):
            self.note(str(given[0]), lambda: os.close(os.open(given[0], os.O_CREAT | os.O_WRONLY)))

    def note(self, path: str, tear: Callable[[], None]) -> None:
        if "/checkpoints/" not in path:
            return
        self.written.append("/".join(Path(path).parts[-2:]))
        if len(self.written) == self.fatal:
            tear()
            os.kill(os.getpid(), signal.SIGKILL)


def train(folder: Path, *, name: str, step: int | None, file: int | None, every: int) -> None:
    """One training, from wherever the last one in its folder ended."""
    torch.set_num_threads(1)
    output = folder / name
    output.mkdir(exist_ok=True)
    files = Files(file)
    files.watch()

    def on_step(done: int, _total: int, loss: float) -> None:
        with (output / "steps.txt").open("a") as steps:
            steps.write(f"{done} {loss!r}\n")
        if done == step:
            os.kill(os.getpid(), signal.SIGKILL)

    sweetspot.training.job.train_policy(
        json.loads((folder / "rows.json").read_text()),
        policy_dir=folder / "policy",
        output_dir=output,
        training=SETTINGS.model_copy(update={"checkpoint_steps": every}),
        resume=True,
        on_step=on_step,
    )
    (output / "files.json").write_text(json.dumps(files.written))


def serve(folder: Path) -> None:
    """One training per line of input, each in a process of its own."""
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            log = os.open(folder / "log.txt", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
            os.dup2(log, 1)
            os.dup2(log, 2)
            try:
                train(folder, **json.loads(line))
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
