"""What `moewright sweep` prints as JSON: a sweep as it stands, or what it would come to."""

from typing import ClassVar

from moewright.laws.forecasting.forecast import Forecast
from moewright.laws.rate_optimum import RateOptimum
from moewright.records import Echo, Items, Output, Pair, Reading, Record
from moewright.sweeps.rate_tuning import PredictedMultiplier

CellSettings = dict[str, Echo]
"""What distinguishes a run, or a cell, from the others of the sweep."""


class InvalidCell(Record):
    """A cell that no recipe can have, or a run that would fail at once."""

    settings: CellSettings
    problem: str


class TunedAnswer(Record):
    """What the tuning of a group of cells says so far."""

    multiplier: float | None
    """The winner, of the recipe's own rate; null while runs are missing."""
    points: Items[Pair[Reading]]
    """Multipliers and losses in nats of the runs; null for one that diverged."""
    optimum: RateOptimum | None
    """null while runs are missing, and where the transfer rule was sure without any."""
    predicted: PredictedMultiplier | None
    """By the transfer rule, of a group that was not tested."""


class SweepAnswer(Output):
    """A sweep as it stands in its folder."""

    command: ClassVar[str] = "sweep"
    out: str
    states: dict[str, int]
    """How many runs are in each state."""
    runs: dict[str, str]
    """The state of each run by its id."""
    invalid: Items[InvalidCell]
    merged: int
    """Cells that are the same run as another."""
    tuned: dict[str, TunedAnswer]
    """By group."""
    written: Items[str]
    """Launch scripts, with --write-only: of the runs that wait for somebody to start them."""


class SweepTotals(Record):
    """All runs of a sweep together; FLOPs, tokens and seconds of those that are left."""

    runs: int
    stages: dict[str, int]
    states: dict[str, int]
    more_tuning: int
    """Tuning runs that come on top at most."""
    left: int
    train_flops: float
    train_tokens: int
    seconds: float | None
    """Without further tuning runs."""
    most_seconds: float | None
    """With all of them."""


class DiskUse(Record):
    """Bytes that the runs which are left will take, and what is free."""

    kept: float
    """When all are done."""
    peak: float
    """At most at any time: what all keep, and the checkpoints of as many of the largest as run at once."""
    free: int
    """Where the sweep's folder is or would be."""
    fits: bool
    """Whether the peak is free."""


class CalibrationAnswer(Record):
    """How seconds were told from recipes."""

    source: str
    error: float | None
    """Relative; null where too few kinds of step were measured to say."""
    start_seconds: float
    validation_share: float
    shapes_measured: int
    seconds_per: dict[str, dict[str, float]]
    """By kind of step: seconds per unit of each of its sizes."""


class ExpectedRun(Record):
    """One run, and what it will still take."""

    id: str | None
    """null while its learning rate is not known."""
    settings: CellSettings
    stage: str
    group: str | None
    state: str
    total_params: int
    active_params: int
    train_tokens: int
    train_flops: float
    peak_disk_bytes: int
    kept_disk_bytes: int
    learning_rate: float | None
    """null while its group is to be tuned."""
    seconds: float | None


class DuplicateCell(Record):
    """A cell that comes to the same run as another."""

    settings: CellSettings
    same_as: CellSettings


class Drift(Record):
    """How far the parameters of cells are from those of the base at the same backbone, although widths are held."""

    what: str
    """active, or total."""
    largest: float
    """Relative; the largest in size."""
    settings: CellSettings
    """Of the cell with the largest one."""
    above: int
    """Cells beyond `preflight.WORTH_WARNING`."""
    cells: int


class DryRunAnswer(Output):
    """What a sweep would come to."""

    command: ClassVar[str] = "sweep --dry-run"
    out: str | None
    executor: str
    jobs: int
    totals: SweepTotals
    disk_bytes: DiskUse
    calibration: CalibrationAnswer | None
    """null on Slurm, or where nothing is left to do."""
    runs: Items[ExpectedRun]
    invalid: Items[InvalidCell]
    problems: Items[InvalidCell]
    merged: int
    duplicates: Items[DuplicateCell]
    drifts: Items[Drift]
    warnings: dict[str, int]
    """Of recipes, by how many cells have them."""
    forecasts: Items[Forecast]
