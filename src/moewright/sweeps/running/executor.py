"""What runs the jobs of a sweep: the interface of executors, a job that was handed over, and what each job is told.

A new executor is a file beside `local_executor.py` and a line in `EXECUTORS` of `sweeping.py`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from moewright.errors import needs_the_lab
from moewright.experiment.attempts import AttemptBegin
from moewright.experiment.sweep_folder import JOBS
from moewright.sweeps.sweep_spec import Execution

if TYPE_CHECKING:
    import submitit

SIGNAL_SECONDS = 60
"""Before its time limit a job is told to write a checkpoint; a tenth of the limit where that is less."""


@dataclass(frozen=True)
class Job:
    """A run that was handed over."""

    run: str
    slot: int
    handle: "submitit.Job[Any]"
    folder: Path
    """Of submitit's files."""

    @property
    def attempt(self) -> int:
        """The number that its worker was to note; a job that Slurm requeues makes further ones. See `_job_folder`."""
        return int(self.folder.name.partition(".")[0])

    @property
    def log(self) -> str:
        """The end of what it printed to standard error."""
        return "".join(path.read_text(errors="replace")[-2000:] for path in sorted(self.folder.glob("*.err")))


class Executor(Protocol):
    """Takes runs, and knows which are still under way."""

    name: str
    slots: int
    """Jobs at a time."""
    delay_seconds: float
    """How long it may take until files that a job has written show here as they are."""
    stopping: str
    """What becomes of the jobs when the submitter is told to stop, in words."""

    def warning(self) -> str | None:
        """What to know of the place where jobs go before any does, in one line."""

    def submit(self, out: Path, run: str, attempt: int, recipe: Mapping[str, Any], slot: int) -> Job:
        """Hand over a run."""

    def ended(self, jobs: Sequence[Job]) -> list[Job]:
        """Those that are no longer under way or waiting."""

    def stop(self, jobs: Sequence[Job], foreign: Sequence[AttemptBegin]) -> bool:
        """Ask them to write a checkpoint and end, and workers of other submitters, by the notes of their beginnings.

        Returns whether they will: waiting for that makes sense.
        """

    def waiting(self, jobs: Sequence[Job]) -> list[Job]:
        """Those that need not get on now: they wait in a queue, or are suspended. Raises ClusterSilent."""

    def kill(self, jobs: Sequence[Job], foreign: Sequence[AttemptBegin]) -> None:
        """End these jobs, which hang, without a last checkpoint, and workers of other submitters as far as they can be
        reached. They may take their time to die: until then `ended` and the runs' locks say that they live."""

    def adopt(self, out: Path, runs: Sequence[str]) -> list[Job]:
        """Jobs of these runs that are under way or waiting, and can be followed: an earlier submitter's."""

    def slots_of(self, begun: AttemptBegin) -> set[int]:
        """The slots that a worker of another submitter takes up, by the note of its beginning."""

    @property
    def measuring(self) -> "MeasuringExecutor | None":
        """Itself, if its jobs begin at once and are done while one waits, so that steps can be measured in them."""


class MeasuringExecutor(Executor, Protocol):
    """Can call any function in a job."""

    @property
    def threads(self) -> int:
        """Of each job."""

    def prepare(self) -> None:
        """Load what jobs share, so that the first does not wait for it."""

    def start(self, folder: Path, slot: int, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Call a function in a job, told `threads` and `cores` of the slot. Returns submitit's job."""


def the_submitit() -> Any:
    """submitit, which starts processes and jobs: planning and looking on go without it. UserError if it is missing."""
    try:
        import submitit
    except ModuleNotFoundError as error:
        raise needs_the_lab(error) from None
    return submitit


def missing_lab(needs_torch: bool = True) -> str | None:
    """What to install before runs can be started or measured, in one line; None: nothing. Loads neither package.

    `needs_torch`: whether the lab trains them.
    """
    for name in ("submitit", "torch") if needs_torch else ("submitit",):
        try:
            is_there = find_spec(name) is not None
        except (ImportError, ValueError):
            is_there = False
        if not is_there:
            return str(needs_the_lab(ModuleNotFoundError(name=name)))
    return None


def worker_arguments(name: str, folder: Path, execution: Execution) -> dict[str, Any]:
    """What a worker is told wherever it runs."""
    return {"keep": execution.keep, "job": name, "job_folder": str(folder)}


def new_job_folder(out: Path, run: str, attempt: int) -> Path:
    """A folder that no earlier job had: submitit names files by process ids, which come again."""
    folder = out / JOBS / run / str(attempt)
    number = 1
    while folder.exists():
        number += 1
        folder = out / JOBS / run / f"{attempt}.{number}"
    folder.mkdir(parents=True)
    return folder


def signal_seconds(minutes: float) -> int:
    return round(min(SIGNAL_SECONDS, 60 * minutes / 10))
