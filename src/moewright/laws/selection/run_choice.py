"""The next runs of a law or several: which candidates, in which order, at which cost, and what is settled then."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from moewright.complaints import check_integer, check_number, one_of
from moewright.display import ShownTable
from moewright.errors import UserError
from moewright.hardware.bills import Tariff
from moewright.hardware.devices import Device, Hardware, load_device
from moewright.hardware.pretraining import device_hours
from moewright.laws.catalogue import get
from moewright.laws.counted_variables import in_conventions
from moewright.laws.fitting.observations import read_columns
from moewright.laws.forecasting.simulation import MIXTURES, reach_of
from moewright.laws.formulas import six_nd
from moewright.laws.law import Law
from moewright.laws.selection.belief import Belief, believe
from moewright.laws.selection.criterion import PURPOSES, Z90, Criterion, Purpose
from moewright.laws.selection.greedy import Chooser, Chosen, choose, fill_space
from moewright.laws.variable import Array
from moewright.quantities import LEAST_NOISE, counted
from moewright.records import Echo, Items, Output, Pair, Record
from moewright.runs.schema import FINISHED

if TYPE_CHECKING:
    import pandas as pd

WITHIN: dict[Purpose, float] = {"forecast": 0.01, "design": 0.002, "compare": 0.002}
"""Nats that each purpose comes to unless asked otherwise."""
MOST_CANDIDATES = 3000
"""Beliefs about so many take 72 MB, and a second for each law."""
_ANY_MODEL = ("hoffmann2022",)
_NAMES = ("run_id", "source")
"""By which a run and its copy may differ."""
SIZE_COLUMNS = ("active_params", "total_params")
"""Columns of a model's parameters, that which a run's cost is counted by first."""


class NextRun(Record):
    """One run to make."""

    candidate: int
    """Its row in the table of candidates, from 1."""
    name: str
    settings: Mapping[str, Echo]
    """What tells it from the other candidates."""
    train_flops: float
    device_hours: Pair[float] | None
    """On the hardware that was named."""
    money: Pair[float] | None
    """At the price that was named, in its currency."""
    doubt_after: float
    """Nats in doubt when it and those above have run."""


class TargetLoss(Record):
    """What is believed of a target now."""

    name: str
    loss: float
    """Nats."""
    low: float
    """End of the 90 % interval, the noise of a single run apart."""
    high: float


class NextRunsRecord(Output):
    """What `moewright next` answers."""

    command: ClassVar[str] = "next"

    purpose: str
    within: float
    """Nats to come to."""
    laws: Mapping[str, float]
    """Each with its weight: how likely the runs are under it, all adding up to 1."""
    misfit: Mapping[str, float]
    """Deviation of log loss that each law's form misses."""
    noise: float
    """Deviation of log loss between seeds."""
    failures: float
    """Share of runs that end without a loss."""
    runs: int
    """That have a loss."""
    candidates: int
    spend: float | None
    """FLOPs that may be spent; None: no limit."""
    spent: float
    """FLOPs of the runs below."""
    hardware: str | None
    targets: Items[TargetLoss]
    chosen: Items[NextRun]
    before: float
    """Nats in doubt now."""
    after: float
    """Nats in doubt when all of the runs below are done."""
    limit: float
    """Nats in doubt if every candidate were run."""
    settled: str | None
    """How the question is settled by the runs below, in words; None where it is not."""
    right: float | None
    """Probability that the target of the lowest loss is better than the next, when all is done; None for a forecast."""
    first_batch: bool
    """Nothing has run: the runs fill the space of the candidates evenly."""
    messages: Items[str]

    @property
    def hours(self) -> tuple[float, float] | None:
        """Device-hours of all runs together."""
        each = [run.device_hours for run in self.chosen if run.device_hours is not None]
        return (sum(low for low, _ in each), sum(high for _, high in each)) if each else None

    @property
    def money(self) -> tuple[float, float] | None:
        """What all runs together cost."""
        each = [run.money for run in self.chosen if run.money is not None]
        return (sum(low for low, _ in each), sum(high for _, high in each)) if each else None


@dataclass(frozen=True, repr=False)
class NextRuns(ShownTable):
    """The runs to make next."""

    record: NextRunsRecord

    @property
    def rows(self) -> tuple[int, ...]:
        """The chosen candidates' rows, from 0, in order."""
        return tuple(run.candidate - 1 for run in self.record.chosen)

    def to_dict(self) -> dict[str, Any]:
        """The fields of `moewright next --json`."""
        return self.record.to_dict()

    def _facts(self) -> Mapping[str, Any]:
        record = self.record
        return {
            "runs": len(record.chosen),
            "spent": record.spent,
            "before": record.before,
            "after": record.after,
            "settled": record.settled is not None,
        }

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        rows = [run.to_dict() for run in self.record.chosen]
        return [{**row.pop("settings"), **row} for row in rows]


def next_runs_of(
    runs: "pd.DataFrame | None",
    candidates: "pd.DataFrame",
    targets: "pd.DataFrame | None",
    laws: Sequence[Law] = (),
    *,
    purpose: Purpose = "forecast",
    spend: float | None = None,
    noise: float | None = None,
    within: float | None = None,
    confidence: float = 0.95,
    most: int = 20,
    hardware: Hardware | None = None,
    price: Mapping[str, float] | None = None,
    settings: Sequence[Mapping[str, Any]] | None = None,
) -> NextRuns:
    """Choose among candidates, one row each without a loss, by what they tell about the targets.

    All tables have the laws' variables as columns, or an `architecture` from which these are counted; `candidates` may
    have `train_flops` and a `run_id`, `targets` a `name`; `settings` are what tells candidates apart, `price` is of an
    hour of the device. Without targets: four times the largest candidate. Without laws: those of mixtures whose
    variables all tables have, or hoffmann2022.
    UserError for what cannot be.

    >>> import pandas as pd
    >>> sizes, tokens = [1e8, 2e8, 4e8, 8e8] * 3, [2e9] * 4 + [8e9] * 4 + [3.2e10] * 4
    >>> table = pd.DataFrame({"total_params": sizes, "train_tokens": tokens})
    >>> found = next_runs_of(None, table, None, spend=2e20)
    >>> found.record.first_batch, len(found.rows)
    (True, 6)
    """
    criterion = _criterion(purpose, within, confidence)
    check_integer(most, "most", 1, 1000)
    if noise is not None:
        check_number(noise, "noise", at_least=LEAST_NOISE, below=1)
    if spend is None and runs is None:
        raise UserError("spend: nothing has run yet; say how many FLOPs the first runs may take together")
    if not len(candidates):
        raise UserError("candidates: none is left to choose from")
    if len(candidates) > MOST_CANDIDATES:
        raise UserError(f"candidates: {len(candidates):,} are more than {MOST_CANDIDATES:,}; give fewer")
    device = None if hardware is None else load_device(hardware)
    if device is None and price:
        raise UserError("price: is of the device-hours on --hardware; name it")
    hourly = None if device is None else Tariff(device, price).hourly
    told, failures, messages = _told(runs)
    chosen_laws = list(laws) or _laws(told, candidates, targets)
    costs = costs_of(candidates)
    offered = [in_conventions(law, candidates)[0] for law in chosen_laws]
    asked = _targets(chosen_laws, offered, targets, criterion, int(np.argmax(costs)))
    parts = [_points(law, *tables) for law, *tables in zip(chosen_laws, offered, asked, strict=True)]
    seen = [None if told is None else in_conventions(law, told)[0] for law in chosen_laws]
    belief = believe(chosen_laws, seen, parts, noise, candidates=len(candidates), skip=not laws)
    chooser = Chooser(belief, len(candidates), criterion, failures)
    limit = chooser.limit()
    if told is None:
        assert spend is not None
        number = min(most, 1 + max(len(law.as_form().form.coefficients) for law in chosen_laws))
        found = _first_batch(chooser, _places(parts, len(candidates)), costs, spend, number)
    else:
        found = choose(belief, costs, criterion, np.inf if spend is None else spend, most, failures)
    messages += belief.notes
    if not found.rows and found.settled is None:
        messages.append(_why_none(costs, spend))
    return NextRuns(
        NextRunsRecord(
            purpose=purpose,
            within=criterion.within,
            laws=belief.weights,
            misfit=belief.misfit,
            noise=belief.noise,
            failures=failures,
            runs=0 if told is None else len(told),
            candidates=len(candidates),
            spend=spend,
            spent=float(costs[list(found.rows)].sum()),
            hardware=None if device is None else device.name,
            targets=_target_losses(belief, asked[0], len(candidates)),
            chosen=tuple(
                NextRun(
                    candidate=row + 1,
                    name=str(candidates["run_id"].iloc[row]) if "run_id" in candidates else f"row {row + 1}",
                    settings=_settings(candidates, row) if settings is None else settings[row],
                    train_flops=float(costs[row]),
                    device_hours=None if device is None else device_hours(float(costs[row]), device),
                    money=_money(float(costs[row]), device, hourly),
                    doubt_after=after,
                )
                for row, after in zip(found.rows, found.after, strict=True)
            ),
            before=found.before,
            after=found.after[-1] if found.after else found.before,
            limit=limit,
            settled=found.settled,
            right=found.right,
            first_batch=told is None,
            messages=tuple(dict.fromkeys(messages)),
        )
    )


def _money(flops: float, device: Device | None, hourly: float | None) -> tuple[float, float] | None:
    if device is None or hourly is None:
        return None
    low, high = device_hours(flops, device)
    return low * hourly, high * hourly


def costs_of(candidates: "pd.DataFrame") -> Array:
    """FLOPs (C,): the column train_flops, or 6 N D with active parameters, or else with all."""
    if "train_flops" in candidates:
        costs = candidates["train_flops"].to_numpy(dtype=float)
    else:
        size = next((name for name in SIZE_COLUMNS if name in candidates), None)
        if size is None or "train_tokens" not in candidates:
            raise UserError(
                "candidates: a run's cost needs train_flops, or train_tokens and active_params or total_params"
            )
        costs = six_nd(*(candidates[name].to_numpy(dtype=float) for name in (size, "train_tokens")))
    if np.isnan(costs).any():
        row = int(np.flatnonzero(np.isnan(costs))[0]) + 1
        raise UserError(
            f"candidates: row {row} says nothing of its cost: train_flops, or its parameters and train_tokens"
        )
    if not (np.isfinite(costs) & (costs > 0)).all():
        raise UserError("candidates: a run's FLOPs must be above 0")
    return np.asarray(costs)


def _criterion(purpose: Purpose, within: float | None, confidence: float) -> Criterion:
    one_of(purpose, "for", PURPOSES)
    check_number(confidence, "confidence", at_least=0.5, below=1)
    return Criterion(
        purpose, WITHIN[purpose] if within is None else check_number(within, "within", above=0), confidence
    )


def _told(runs: "pd.DataFrame | None") -> "tuple[pd.DataFrame | None, float, list[str]]":
    """The runs that have a loss, the share of those that ended without one, and what to say of it."""
    if runs is None:
        return None, 0.0, []
    if "loss" not in runs:
        raise UserError("runs: the table has no column loss")
    ended = runs[runs["status"] != "unfinished"] if "status" in runs else runs
    good = ended["loss"].notna() & ((ended["status"] == FINISHED) if "status" in ended else True)
    told, lost = ended[good], int((~good).sum())
    messages = []
    copies = told.astype(str).duplicated([name for name in told if name not in _NAMES])
    if copies.any():
        messages.append(f"heard once: {counted(int(copies.sum()), 'run')} that repeat another in all but the name")
        told = told[~copies]
    if len(ended) < len(runs):
        messages.append(f"left out: {counted(len(runs) - len(ended), 'unfinished run')}")
    if lost:
        messages.append(
            f"{lost} of {counted(len(ended), 'run')} diverged, failed or had no loss: as many of the next are "
            "expected to"
        )
    if told.empty:
        raise UserError("runs: none is finished and has a loss; leave the table out for a first batch")
    return told.reset_index(drop=True), lost / len(ended), messages


def _laws(told: "pd.DataFrame | None", candidates: "pd.DataFrame", targets: "pd.DataFrame | None") -> list[Law]:
    tables = [table for table in (told, candidates, targets) if table is not None]
    for names in (MIXTURES, _ANY_MODEL):
        laws = [law for law in map(get, names) if all(_has(law, table) for table in tables)]
        if laws:
            return laws
    needed = ", ".join(variable.name for variable in get(_ANY_MODEL[0]).inputs)
    raise UserError(f"law: no law's variables are in all tables ({needed} at least, or an architecture); name one")


def _has(law: Law, table: "pd.DataFrame") -> bool:
    counted, _ = in_conventions(law, table)
    return all(variable.name in counted and counted[variable.name].notna().all() for variable in law.inputs)


def _targets(
    laws: Sequence[Law],
    candidates: "Sequence[pd.DataFrame]",
    targets: "pd.DataFrame | None",
    criterion: Criterion,
    largest: int,
) -> "list[pd.DataFrame]":
    """The targets as each law has them, from the candidates as each has them and the row of that with most FLOPs."""
    if targets is None:
        if criterion.purpose != "forecast":
            raise UserError(f"target: {criterion.purpose} is between given models; name them")
        return [_four_times_the_largest(law, table, largest) for law, table in zip(laws, candidates, strict=True)]
    number = len(targets)
    if criterion.purpose == "compare" and number != 2:
        raise UserError(f"target: compare takes two models, found {number}")
    if criterion.purpose == "design" and number < 2:
        raise UserError("target: design is a choice between two models or more, found 1")
    return [in_conventions(law, targets)[0] for law in laws]


def _four_times_the_largest(law: Law, candidates: "pd.DataFrame", largest: int) -> "pd.DataFrame":
    """Four times the parameters and tokens of the candidate with most FLOPs, its other variables as they are."""
    import pandas as pd

    columns = read_columns(candidates, law.inputs, {})
    row = {each.name: reach_of(each) * float(columns[each.name][largest]) for each in law.inputs}
    return pd.DataFrame([{**row, "name": "4 x the largest candidate"}])


def _points(law: Law, candidates: "pd.DataFrame", targets: "pd.DataFrame") -> "pd.DataFrame":
    """Candidates, then targets, by the law's variables, from tables as the law has them."""
    import pandas as pd

    names = [variable.name for variable in law.inputs]
    tables = {"candidates": candidates, "target": targets}
    for where, table in tables.items():
        for name in names:
            if name not in table or table[name].isna().any():
                raise UserError(f"{where}: {law.name} needs {name}, which is missing; name another law or state it")
    return pd.concat([table[names] for table in tables.values()], ignore_index=True)


def _places(points: "Sequence[pd.DataFrame]", candidates: int) -> Array:
    """Candidates (C, V) by all variables of all laws, each scaled to 0 to 1 in its logarithm where it has one."""
    columns = {name: table[name].to_numpy(dtype=float)[:candidates] for table in points for name in table}
    logs = [np.log(values) if (values > 0).all() else values for values in columns.values()]
    return np.stack([(values - values.min()) / max(float(np.ptp(values)), 1e-12) for values in logs], axis=1)


def _first_batch(chooser: Chooser, places: Array, costs: Array, spend: float, number: int) -> Chosen:
    before, after = chooser.doubt, []
    rows = fill_space(places, costs, spend, number)
    for row in rows:
        chooser.make(row)
        after.append(chooser.doubt)
    return Chosen(rows, before, tuple(after), chooser.settled, chooser.right)


def _target_losses(belief: Belief, targets: "pd.DataFrame", first: int) -> tuple[TargetLoss, ...]:
    names = targets["name"] if "name" in targets else [f"target {number + 1}" for number in range(len(targets))]
    means, variances = belief.mean[first:], np.diag(belief.covariance)[first:]
    half = Z90 * np.sqrt(np.maximum(variances, 0.0))
    return tuple(
        TargetLoss(
            name=str(name), loss=float(np.exp(mean)), low=float(np.exp(mean - far)), high=float(np.exp(mean + far))
        )
        for name, mean, far in zip(names, means, half, strict=True)
    )


def _settings(candidates: "pd.DataFrame", row: int) -> dict[str, Any]:
    """The columns of numbers and texts in which the candidates differ, as far as this one has them."""
    hidden = {"run_id", "config_id", "architecture", "train_flops", "source", "status", "loss"}
    names = [name for name in map(str, candidates) if name not in hidden]
    differ = (name for name in names if candidates[name].astype(str).nunique() > 1)
    found = {name: _plain(candidates[name].iloc[row]) for name in differ}
    return {name: value for name, value in found.items() if value is not None and value == value}  # NaN: a missing one


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _why_none(costs: Array, spend: float | None) -> str:
    if spend is not None and costs.min() > spend:
        return f"spend: {spend:.3g} FLOPs do not pay for the cheapest candidate, which takes {costs.min():.3g}"
    return "no candidate tells anything about the question"
