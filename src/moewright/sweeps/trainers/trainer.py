"""A trainer of the user's own as a sweep sees it: what it is told of a run, and where its loss will be."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from moewright.data.dataset import Dataset
from moewright.experiment.recipe import Recipe
from moewright.experiment.trainer_folder import LossPlace
from moewright.records import Record
from moewright.sweeps.sweep_spec import Execution


@dataclass(frozen=True)
class CellRun:
    """One run as its trainer is told of it."""

    id: str
    recipe: Recipe
    dataset: Dataset
    folder: Path
    """The run's, absolute."""
    execution: Execution
    beside: Path
    """The folder of the specification, absolute."""


@dataclass(frozen=True)
class CellFolder:
    """What goes into a run's folder."""

    files: Mapping[str, str | bytes | Path]
    """Name, perhaps with folders, and text or bytes; a path is another's file, which is linked to."""
    command: str
    """Lines of bash that start the trainer, or go on with it, in the run's folder."""
    loss: LossPlace
    resumes: bool
    """Whether another start goes on where the last one was."""
    counts_steps: bool = True
    """Whether the run is done only when what it logs reaches its last step."""
    checkpoints: str | None = None
    """A regular expression for the names of its checkpoints in output/, with a group for the step."""
    notes: tuple[str, ...] = ()
    """Conventions that were converted, and what the trainer does otherwise than the lab."""


class Trainer(Record, ABC):
    """A trainer with its settings, which stand under `trainer:` of a sweep's specification."""

    version: ClassVar[int] = 1
    """Of what it makes of a recipe. Whoever changes what the same recipe comes to raises it: then runs have new ids."""
    indifferent: ClassVar[tuple[str, ...]] = ()
    """Settings that do not change what a run is, only how it is started and read."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What `--trainer` takes."""

    def decisive(self) -> dict[str, Any]:
        """What of it makes a run the run that it is."""
        settings = {name: value for name, value in self.to_dict().items() if name not in (*self.indifferent, "kind")}
        return {"name": self.name, "version": self.version, **settings}

    @abstractmethod
    def check(self, recipe: Recipe, dataset: Dataset) -> tuple[str, ...]:
        """What it will do otherwise than the lab, in words. UserError for a recipe that it cannot express."""

    @abstractmethod
    def cell(self, run: CellRun) -> CellFolder:
        """The folder of a run. UserError as `check`."""

    def check_cells(self, recipes: Sequence[Recipe]) -> None:
        """UserError where different recipes would be the same run to it."""
