"""The folder of a run that another trainer makes: what it is told, and where it writes. No torch.

trainer.json   what is to be looked for there (`TrainerRecord`)
launch.sh      starts the trainer, or goes on with it
printed.log    what it printed, of all starts
exit_code      how the last start ended; not there while it runs, nor after one that was stopped
output/        the trainer's own files

How the run stands is read from there by `trainer_outcome`, which stands on the readers of logs.
"""

import re
from pathlib import Path
from typing import Literal

from pydantic import field_validator, model_validator

from moewright.errors import UserError
from moewright.experiment.run_folder import newest_step
from moewright.files import open_regular
from moewright.quantities import brief, plain_integer
from moewright.records import FileRecord, Items, Record, Size

TRAINER, LAUNCH, PRINTED, EXIT_CODE, OUTPUT = "trainer.json", "launch.sh", "printed.log", "exit_code", "output"

_STEP_DIGITS = 18


def compiled(pattern: str) -> re.Pattern[str]:
    """A regular expression. ValueError for what is none."""
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ValueError(f"no regular expression: {error}") from None


class LossPlace(Record):
    """Where a trainer's final loss is: a metric that one of the readers of `runs` finds, or lines that it prints."""

    metric: str | None = None
    """Its name, as the trainer logs it. None: the loss that the reader takes for the final one."""
    pattern: str | None = None
    """A regular expression for lines of `file`: a group `loss`, and perhaps one `step`."""
    file: str | None = None
    """With a pattern: the text file in output/; None: what is printed."""
    format: str | None = None
    """Of the log, one of `runs.readers.discovery.LOG_FORMATS`; None: whichever knows it."""

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        if pattern is None:
            return None
        if "loss" not in compiled(pattern).groupindex:
            raise ValueError("needs a group for the loss: (?P<loss>[0-9.]+)")
        return pattern

    @model_validator(mode="after")
    def _one_way(self) -> "LossPlace":
        if self.pattern is not None and (self.metric is not None or self.format is not None):
            raise ValueError("metric and format have no use beside a pattern")
        if self.pattern is None and self.file is not None:
            raise ValueError("file has a use only with a pattern")
        if self.file is not None and (Path(self.file).is_absolute() or ".." in Path(self.file).parts):
            raise ValueError(f"file: {brief(self.file)} leads out of output/")
        return self


class TrainerRecord(FileRecord):
    """trainer.json: what another trainer makes in a run's folder."""

    format: Literal["moewright-trainer-run/1"] = "moewright-trainer-run/1"
    id: str
    """Of the run."""
    trainer: str
    """The name that `--trainer` takes."""
    steps: Size
    """Optimizer steps that the run is to have."""
    batch_tokens: Size
    """Of one step."""
    counts_steps: bool
    """Whether what it logs must reach `steps` before the run is done; False: its exit code says that."""
    loss: LossPlace
    resumes: bool
    """Whether another start goes on where the last one was; False: from the beginning."""
    checkpoints: str | None = None
    """A regular expression for the names of its checkpoints in output/, with a group for the step. None: not known."""
    notes: Items[str] = ()
    """Conventions that were converted, and what the trainer does otherwise than the lab."""


def is_of_another_trainer(folder: Path) -> bool:
    """Whether a run's folder is one that another trainer works in."""
    return (folder / TRAINER).is_file()


def reached_step(folder: Path) -> int:
    """The step of a run's newest checkpoint, the lab's or another trainer's; 0 without one, or where no name tells."""
    if not is_of_another_trainer(folder):
        return newest_step(folder)
    try:
        record = TrainerRecord.read(folder / TRAINER)
    except UserError:
        return 0
    if record.checkpoints is None or not (folder / OUTPUT).is_dir():
        return 0
    found = (re.fullmatch(record.checkpoints, path.name) for path in (folder / OUTPUT).iterdir())
    return max((plain_integer(each[1], _STEP_DIGITS) or 0 for each in found if each is not None), default=0)


def exit_code(folder: Path) -> int | None:
    """How the trainer's last start ended; None while it runs, and after one that was stopped."""
    try:
        with open_regular(folder / EXIT_CODE) as file:
            return plain_integer(file.read().decode("utf-8", "replace").strip())
    except OSError:
        return None
