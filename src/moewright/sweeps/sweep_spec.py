"""The description of a sweep, as people write it: a recipe, what varies, and how the runs are carried out."""

import re
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from moewright.errors import UserError
from moewright.files import read_mapping
from moewright.quantities import LEAST_NOISE, brief, split_quantity
from moewright.records import Count, FileRecord, Free, Positive, Record, Size
from moewright.sweeps.settings.axes import Axis

OPTION_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
"""Of options of other programs: they are written into scripts as they are."""
LONGEST = 10 * 366 * 24 * 60.0
"""Minutes: ten years."""
_MINUTES = {"s": 1 / 60, "m": 1.0, "h": 60.0, "d": 1440.0}


def _minutes(value: Any) -> Any:
    """90s, 30m, 2h and 1d as minutes."""
    if isinstance(value, str) and value[-1:] in _MINUTES:
        try:
            number, unit = split_quantity(value)
            return number * _MINUTES[unit]
        except (KeyError, ValueError):
            return value
    return value


class TransferRule(Record):
    """One rule of the best rate for all groups, learned from those that are tested, cheapest first; see `RateRule`."""

    within: Positive = 0.01
    """Nats: a group is tested where its predicted rate is expected to lie further than this above its best loss."""


FARTHEST_RATE = 1000.0
"""Times the recipe's own rate, or one of so many: beyond that no search from there is meant."""
LEAST_RATE_STEP = 1.02
"""Between two rates that are tried: of three digits, which `round_rate` leaves, closer ones may be the same run."""


class Tuning(Record):
    """A first stage that finds the learning rate of each group of cells; the other runs then use it.

    One rate for all sizes confounds every comparison of mixtures: the best one falls with size and expert count.
    """

    multipliers: Annotated[tuple[Positive, ...], Field(min_length=3, strict=False)] = (0.5, 1.0, 2.0)
    """Of the recipe's own learning rate."""
    per: Annotated[tuple[str, ...], Field(min_length=1, strict=False)] = ("hidden_size", "num_layers", "num_experts")
    """Cells that agree in these settings or sizes share a rate."""
    cell: dict[str, Any] = Field({})
    """Which cell of a group is tuned: the first with these settings."""
    seeds: Annotated[tuple[Count, ...], Field(min_length=1, strict=False)] | None = None
    """Of the tuning runs. None: the first of the sweep's."""
    extend: Count = 2
    """How many more multipliers are tried beyond an end of the list that turns out best."""
    promote: Literal["vertex", "best"] = "vertex"
    """vertex: the minimum of the parabola in log rate, where it lies inside. best: the best rate that was tried."""
    noise: Annotated[float, Field(ge=LEAST_NOISE)] | None = None
    """One run's standard deviation between seeds in nats, for the interval of the best rate."""
    transfer: TransferRule | None = None
    """Groups whose rate the others tell well enough are not tested. None: every group is."""

    @model_validator(mode="after")
    def _distinct(self) -> "Tuning":
        if len(set(self.multipliers)) != len(self.multipliers):
            raise ValueError("multipliers has a value twice")
        for each in self.multipliers:
            if not 1 / FARTHEST_RATE <= each <= FARTHEST_RATE:
                raise ValueError(
                    f"multipliers: {each:g} times the recipe's own learning rate; {1 / FARTHEST_RATE:g} to "
                    f"{FARTHEST_RATE:g} are taken, for others change the recipe's rate"
                )
        for one, other in pairwise(sorted(self.multipliers)):
            if other < LEAST_RATE_STEP * one:
                raise ValueError(f"multipliers: {one:g} and {other:g} are less than {LEAST_RATE_STEP - 1:.0%} apart")
        return self


class Execution(Record):
    """How runs are carried out. Nothing here changes what a run is."""

    cores_per_run: Size | None = None
    """None: all cores divided by the jobs; on Slurm 1."""
    gpus: Annotated[tuple[Count, ...], Field(strict=False)] = ()
    """Local only: the GPUs that jobs share in turn."""
    gpus_per_run: Count = 0
    time_limit: Annotated[float, BeforeValidator(_minutes), Field(gt=0, le=LONGEST)] | None = None
    """Of one attempt, in minutes or as 90s, 30m, 2h. A run that reaches it keeps a checkpoint."""
    stall_limit: Annotated[float, BeforeValidator(_minutes), Field(gt=0, le=LONGEST)] | None = None
    """A worker whose run has not got on for so long is stopped and the run retried; written like time_limit. None: it
    is only shown as stalled."""
    after_time_limit: Literal["stop", "continue"] = "stop"
    """stop: the run waits for the next `moewright sweep`. continue: it goes on at once."""
    retries: Count = 2
    """How often in a row a run may fail without getting further, beyond the first time."""
    keep: Literal["all", "model", "none"] = "model"
    """What stays of the last checkpoint of a finished run: with the optimizer's state, the weights, or nothing."""
    slurm: dict[Annotated[str, Field(pattern=OPTION_NAME)], Free] = Field({})
    """Parameters of submitit's Slurm executor: partition, account, mem_gb ..."""

    @model_validator(mode="after")
    def _consistent(self) -> "Execution":
        if len(set(self.gpus)) != len(self.gpus):
            raise ValueError("gpus has a value twice")
        inner = [name for value in self.slurm.values() if isinstance(value, dict) for name in value]  # sbatch's own
        if odd := [name for name in inner if not re.fullmatch(OPTION_NAME, name)]:
            raise ValueError(f"slurm: {brief(odd[0])} is no name of an option")
        if self.gpus_per_run > len(self.gpus) > 0:
            raise ValueError(f"gpus_per_run ({self.gpus_per_run}) exceeds the {len(self.gpus)} gpus")
        return self


def _listed(value: Any) -> Any:
    """One law is a list of one."""
    return [value] if isinstance(value, str) else value


class ForecastSettings(Record):
    """What a dry run should say about the laws that these runs are for; see `laws.forecast`."""

    law: Annotated[tuple[str, ...], BeforeValidator(_listed), Field(min_length=1, strict=False)]
    """Names of laws, or files of fitted ones; one or several."""
    noise: Annotated[float, Field(ge=LEAST_NOISE, lt=1)]
    """Standard deviation of the logarithm of one run's loss between seeds."""
    replicates: Size = 100
    truth: str | None = None
    """The law that is assumed to be true, a name or a file. None: the law itself, or a published one."""
    targets: Annotated[tuple[dict[str, float], ...], Field(min_length=1, strict=False)] | None = None
    """Models whose loss matters, by the law's variables. None: four times the largest run."""


class SweepSpec(FileRecord):
    """Everything that decides a sweep."""

    format: Literal["moewright-sweep/1"] = "moewright-sweep/1"
    version_without_format: ClassVar[int | None] = 1
    recipe: str | dict[str, Any]
    """What every run starts from: the path of a recipe of `moewright train`, or its contents."""
    axes: Annotated[tuple[Axis, ...], Field(strict=False)] = ()
    """The runs are all combinations of the points of these."""
    only: Annotated[tuple[dict[str, Any], ...], Field(min_length=1, strict=False)] | None = None
    """Of the combinations those that have one of these settings, as `moewright next` chooses them. None: all."""
    seeds: Annotated[tuple[Count, ...], Field(min_length=1, strict=False)] = (0,)
    """Each cell is run with each."""
    tuning: Tuning | None = None
    trainer: str | dict[str, Any] | None = None
    """What trains the runs: a name that `--trainer` takes, or its settings with `kind`. None: the lab."""
    execution: Execution = Execution.default()
    forecast: ForecastSettings | None = None

    @model_validator(mode="after")
    def _distinct(self) -> "SweepSpec":
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError("seeds has a value twice")
        return self


class LoadedSweep:
    """A specification with the recipe that it names."""

    def __init__(self, spec: SweepSpec, recipe: dict[str, Any], beside: Path, folder: Path):
        self.spec, self.recipe, self.beside, self.folder = spec, recipe, beside, folder
        """`beside`: the folder that the recipe's own paths start from; `folder`: the specification's."""

    @classmethod
    def load(cls, path: Path) -> "LoadedSweep":
        """Read a specification, YAML or JSON; paths in it are relative to it. UserError names what is wrong."""
        if path.is_dir():
            raise UserError(f"{path}: is a folder; expected a sweep's specification, a YAML or JSON file")
        return cls.from_dict(read_mapping(path), path.parent)

    @classmethod
    def from_dict(cls, values: dict[str, Any], beside: Path | None = None) -> "LoadedSweep":
        """Validate a plain dictionary; paths in it are relative to `beside`."""
        beside = beside or Path()
        if "axes" not in values and "train_tokens" in values:
            raise UserError("this is a recipe, not a sweep; name it under `recipe:` beside `axes:`")
        spec = SweepSpec.from_dict(values)
        if isinstance(spec.recipe, str):
            file = beside / spec.recipe
            return cls(spec, read_mapping(file), file.parent, beside)
        return cls(spec, spec.recipe, beside, beside)

    def with_trainer(self, trainer: str | dict[str, Any]) -> "LoadedSweep":
        """The same runs by another trainer: its name, or its settings with `kind`."""
        spec = self.spec.model_copy(update={"trainer": trainer})
        return LoadedSweep(spec, self.recipe, self.beside, self.folder)

    def to_dict(self) -> dict[str, Any]:
        """What was given, for the record."""
        given = self.spec.model_dump(mode="json", exclude_unset=True)
        return {**given, "recipe": self.recipe, "beside": str(self.beside.resolve())}
