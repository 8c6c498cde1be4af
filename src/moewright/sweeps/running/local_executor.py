"""Jobs as processes of this machine, each with cores of its own, through submitit."""

import os
import platform
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from moewright.errors import UserError
from moewright.experiment.attempts import AttemptBegin
from moewright.experiment.sweep_folder import STOP, run_path
from moewright.experiment.trainer_folder import is_of_another_trainer
from moewright.processors import allowed_processors, idle_processors, processors
from moewright.sweeps.running.executor import Job, new_job_folder, signal_seconds, the_submitit, worker_arguments
from moewright.sweeps.running.warm_start import WarmServer, warm_executor
from moewright.sweeps.running.worker import work
from moewright.sweeps.sweep_spec import Execution

_WITHOUT_LIMIT_MINUTES = 60 * 24 * 365.0
"""submitit's local jobs must have a time limit: a year."""


class LocalExecutor:
    """Processes of this machine: each slot has cores of its own, so that many small runs fill the machine."""

    name = "local"
    delay_seconds = 0.0
    stopping = "stopping: the workers write their checkpoints; Ctrl-C again leaves them to it"

    def __init__(self, execution: Execution, jobs: int | None):
        """Raises UserError if the jobs need more cores than there are, or than control groups grant."""
        granted = processors().granted
        cores = allowed_processors()[:granted]
        per_run = execution.cores_per_run or max(1, len(cores) // (jobs or len(cores)))
        self.slots = jobs or max(1, len(cores) // per_run)
        if self.slots * per_run > len(cores):
            raise UserError(
                f"jobs: {self.slots} at a time with {per_run} cores each need more than the {len(cores)} cores here; "
                "lower --jobs or execution.cores_per_run"
            )
        self._cores = [cores[slot * per_run : (slot + 1) * per_run] for slot in range(self.slots)]
        self._execution = execution
        self._server = WarmServer()

    def warning(self) -> str | None:
        """That others are at work on the processors. It decides nothing: with other threads runs would not go on to the
        same bits."""
        taken = sum(map(len, self._cores))
        found = processors()
        idle = idle_processors(found, allowed_processors())
        if idle >= taken:
            return None
        fewer = max(1, idle * self.slots // taken)
        advice = (
            f"--jobs {fewer} with execution.cores_per_run: {len(self._cores[0])} leaves them alone"
            if fewer < self.slots
            else f"execution.cores_per_run: {idle} may be faster"
        )
        room = f"other work leaves at most {idle} of {found.granted} processors idle"
        return f"{room}, and the workers keep to {taken}; {advice}"

    def submit(self, out: Path, run: str, attempt: int, recipe: Mapping[str, Any], slot: int) -> Job:
        """Start a process."""
        folder = new_job_folder(out, run, attempt)
        told = worker_arguments(self.name, folder, self._execution)
        needs_torch = not is_of_another_trainer(run_path(out, run))
        handle = self._start(folder, slot, needs_torch, work, str(out), run, dict(recipe), **told)
        return Job(run, slot, handle, folder)

    def prepare(self) -> None:
        """Load torch, once for all jobs."""
        if not self._execution.gpus_per_run:
            self._server.start()

    def start(self, folder: Path, slot: int, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Call a function in a process of its own, told `threads` and `cores` of the slot. Returns submitit's job."""
        return self._start(folder, slot, True, function, *arguments, **named)

    def _start(
        self, folder: Path, slot: int, needs_torch: bool, function: Callable[..., Any], *arguments: Any, **named: Any
    ) -> Any:
        """As `start`; `needs_torch`: whether it is worth a process that has loaded torch.

        UserError where nobody said which GPUs it can have; a dry run that starts nothing needs none.
        """
        execution = self._execution
        if execution.gpus_per_run and not execution.gpus:
            raise UserError(
                f"execution.gpus_per_run: {execution.gpus_per_run}, and execution.gpus does not say which are here; "
                "name them, such as gpus: [0, 1]"
            )
        submitit = the_submitit()
        is_warm = needs_torch and not execution.gpus_per_run  # a fork cannot use a GPU that its parent has looked at
        if is_warm:
            self.prepare()  # before signals are held back: Ctrl-C need not wait for torch
        executor = warm_executor(folder, self._server) if is_warm else submitit.LocalExecutor(folder)
        minutes = execution.time_limit or _WITHOUT_LIMIT_MINUTES
        first = slot * execution.gpus_per_run
        gpus = [execution.gpus[(first + i) % len(execution.gpus)] for i in range(execution.gpus_per_run)]
        executor.update_parameters(
            timeout_min=minutes,
            signal_delay_s=signal_seconds(minutes),
            gpus_per_node=len(gpus),
            visible_gpus=gpus,
        )
        cores = self._cores[slot]
        # Ctrl-C in a terminal reaches all processes there; workers hear of it from the submitter, by SIGTERM.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return executor.submit(function, *arguments, threads=len(cores), cores=cores, **named)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def ended(self, jobs: Sequence[Job]) -> list[Job]:
        """Those whose process is gone."""
        return [job for job in jobs if job.handle.done()]

    def stop(self, jobs: Sequence[Job], foreign: Sequence[AttemptBegin]) -> bool:
        """SIGTERM to their controllers, which pass it on; a file for workers that are too young to hear of it."""
        for begun in foreign:
            if self._is_here(begun) and begun.pid is not None:
                _send(signal.SIGTERM, begun.pid)
        for job in jobs:
            with suppress(OSError):  # a full disk
                (job.folder / STOP).touch()
            process = job.handle._process  # type: ignore[attr-defined]  # submitit's cancel sends SIGINT, which kills
            if process is not None and process.poll() is None:
                process.terminate()
        return True

    def waiting(self, jobs: Sequence[Job]) -> list[Job]:
        """None."""
        return []

    def kill(self, jobs: Sequence[Job], foreign: Sequence[AttemptBegin]) -> None:
        """SIGKILL, which ends stopped processes too, to the workers and to all that they started."""
        for begun in foreign:
            if self._is_here(begun) and begun.pid is not None and _is_worker(begun.pid):
                _kill_tree(begun.pid)
        for job in jobs:
            process = job.handle._process  # type: ignore[attr-defined]
            if process is not None and process.poll() is None:
                _kill_tree(process.pid)

    def _is_here(self, begun: AttemptBegin) -> bool:
        return begun.host == platform.node() and begun.job == self.name

    def adopt(self, out: Path, runs: Sequence[str]) -> list[Job]:
        """None: processes are known to their parent alone; the locks of the runs tell of them."""
        return []

    @property
    def measuring(self) -> "LocalExecutor":
        """Itself: a process begins at once."""
        return self

    @property
    def threads(self) -> int:
        """Of each job."""
        return len(self._cores[0])

    def slots_of(self, begun: AttemptBegin) -> set[int]:
        """Those whose cores it has."""
        cores = set(begun.cores)
        return {slot for slot, own in enumerate(self._cores) if cores & set(own)}


def _send(signal_number: int, process: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(process, signal_number)


def _is_worker(process: int) -> bool:
    """Whether a process id is still a worker's, and not one that another process got since."""
    try:
        return b"submitit.core._submit" in Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return False


def _kill_tree(process: int) -> None:
    """A process and whatever descends from it, as Linux tells it."""
    children: list[int] = []
    for path in Path(f"/proc/{process}/task").glob("*/children"):
        with suppress(OSError):
            children += map(int, path.read_text().split())
    _send(signal.SIGKILL, process)  # first: it shall start no others
    for child in children:
        _kill_tree(child)
