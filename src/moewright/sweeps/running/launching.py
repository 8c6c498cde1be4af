"""One attempt of a worker at a run that another trainer makes: its script started, told to stop, and looked after."""

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from moewright.experiment.attempts import Ending
from moewright.experiment.trainer_folder import LAUNCH
from moewright.experiment.trainer_outcome import read_outcome, reopen
from moewright.sweeps.trainers.launch_script import HELD

GRACE_SECONDS = 90.0
"""That a trainer has for its last checkpoint, when it is told to stop."""
_POLL_SECONDS = 0.1


def launch(folder: Path, lock: int) -> tuple[Ending, str | None]:
    """Start a run's trainer in a session of its own and wait for its end. Returns how that was, and why.

    The trainer inherits `lock`, the run's: as long as it lives, even after this worker, no other attempt begins.
    Raises KeyboardInterrupt after a signal, when it has ended.
    """
    process: subprocess.Popen[bytes] | None = None
    reopen(folder)
    try:
        process = subprocess.Popen(
            ["bash", LAUNCH],
            cwd=folder,
            env={**os.environ, HELD: "1"},
            stdin=subprocess.DEVNULL,
            pass_fds=[lock],
            start_new_session=True,
        )
        process.wait()
    except KeyboardInterrupt:
        if process is not None:
            _stop(process)
        raise
    finally:
        if process is not None:
            _signal(process.pid, signal.SIGKILL)  # what is left of a trainer whose parent was killed
    status = read_outcome(folder).status
    if status is None:
        return "failed", f"the launch script ended with code {process.returncode} before it started anything"
    if status.state in ("finished", "diverged"):
        return "finished" if status.state == "finished" else "diverged", status.reason
    killed = f"the trainer was ended by signal {-process.returncode}" if process.returncode < 0 else None
    return "failed", status.reason or killed or f"the trainer ended with code {process.returncode} and left no result"


def _stop(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM to all of it, and time to end."""
    _signal(process.pid, signal.SIGTERM)
    end = time.monotonic() + GRACE_SECONDS
    with suppress(KeyboardInterrupt):  # a second signal: no more waiting
        while time.monotonic() < end and (process.poll() is None or _lives(process.pid)):
            time.sleep(_POLL_SECONDS)


def _signal(group: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _lives(group: int) -> bool:
    """Whether a process of the group is there that is no zombie, as Linux tells it."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):
            state, _, its_group = path.read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state not in "ZX":
                return True
    return False
