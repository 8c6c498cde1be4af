"""`moewright sweep`, with runs that `counting_script.py` trains: a second trainer, which has processes of its own.

python -m tests.sweeps.counting_trainer sweep SPEC --out DIR
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from moewright import cli
from moewright.errors import RunStopped, UserError
from moewright.experiment import run_folder
from moewright.experiment.attempts import Ending
from moewright.experiment.locks import take_lock
from moewright.files import read_mapping
from moewright.sweeps.running import local_executor, worker

SCRIPT = Path(__file__).with_name("counting_script.py")


def train(recipe: dict[str, Any], folder: Path) -> Ending:
    """The script in a process of its own, which holds the run's lock as long as it lives."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = take_lock(folder / run_folder.LOCK)
    if lock is None:
        raise UserError(f"{folder}: another process trains there")
    steps = recipe["train_tokens"] // recipe["batch_tokens"]
    seed = recipe["seed"] * 1000 + round(recipe["learning_rate"] * 1e5)
    try:
        process = subprocess.Popen([sys.executable, str(SCRIPT), str(folder), str(steps), str(seed)], pass_fds=[lock])
    finally:
        os.close(lock)
    try:
        code = process.wait()
    except KeyboardInterrupt:
        process.terminate()
        code = process.wait()
    if code:
        raise RunStopped(f"the script ended with exit code {code}")
    is_done = (folder / "result.json").exists()
    result = read_mapping(folder / "result.json") if is_done else {"step": run_folder.newest_step(folder)}
    run_folder.RunStatus(state="finished" if is_done else "interrupted", **result).write(folder / run_folder.STATUS)
    return "finished" if is_done else "interrupted"


def work(*arguments: Any, **named: Any) -> str:
    """What a job does: a worker's work, with this trainer."""
    worker._train = train
    return worker.work(*arguments, **named)


if __name__ == "__main__":
    from tests.sweeps import counting_trainer  # by its name, under which the jobs find it

    setattr(local_executor, "work", counting_trainer.work)  # noqa: B010
    cli.main()
