"""The designs near the asked budgets, and what gives their counts, costs and losses, in the form that a page carries.

Sizes are written as places in three short lists (shapes, mixtures, expert sizes). Everything else is computed in the
browser by `assets/what_if.js`, which runs the steps that our own functions took here (`designs.recorded`).
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from moewright.architecture import Architecture, counts
from moewright.architecture.spec import Countable
from moewright.designs.branch_and_bound import SearchProblem
from moewright.designs.budgets import Budgets
from moewright.designs.candidates import CANDIDATE_SIZES, Candidates, columns
from moewright.designs.costs import CostedOn, bytes_per_param, bytes_wanted, costed_on, design_costs
from moewright.designs.hearing import BEATS_BY
from moewright.designs.judges import DesignVariables, JudgingLaw, training_tokens
from moewright.designs.limits import memory_bytes
from moewright.designs.preference import WEIGHTS, worth_at
from moewright.designs.recorded import Program, named
from moewright.designs.rules import published_mixtures
from moewright.designs.vicinity import Vicinity, trained_with
from moewright.hardware import decode_tokens_per_second, memory_per_device
from moewright.hardware.serving_plan import MOST_SEQUENCES
from moewright.hf.published_models import ModelEntry
from moewright.laws import FittedLaw
from moewright.laws.law import least_loss_of
from moewright.report.page.encoding import encoded
from moewright.report.page.what_if_draws import drawn_law, law_variables

_MIXTURE = ("num_experts", "top_k", "shared_experts")
_SHAPE = tuple(name for name in CANDIDATE_SIZES if name not in (*_MIXTURE, "expert_size", "layer_plan"))
_TABLES = (_SHAPE, _MIXTURE, ("expert_size", "layer_plan"))
SIZE_LIMITS = ("memory_bytes", "total_params", "device_memory_bytes")
"""The budget of size is the first of these that is given, as `bytes_wanted` takes it."""


def what_if_data(vicinity: Vicinity, baseline: tuple[str, Architecture] | None = None) -> dict[str, Any]:
    """Plain values for `openWhatIf`; beside its answers stands the baseline, or else the nearest published model."""
    few = _with_extremes(vicinity.all_designs)
    recording = _Recording(vicinity, few)
    found = _values(vicinity, recording)
    if found["carried"]:  # something leaves the record, and its values are needed for every design
        found = _values(vicinity, _Recording(vicinity, vicinity.all_designs))
    devices = [(served["devices"], served["bill"]["devices"]) for served in found["served"]]
    return {**found, "beside": _beside(vicinity, baseline, devices)}


def _with_extremes(designs: Candidates) -> Candidates:
    """Designs with the least and the most of each size: what is recorded on them holds for all."""
    columns_of = [getattr(designs, name) for name in CANDIDATE_SIZES]
    return designs.take(np.unique([place for column in columns_of for place in (column.argmin(), column.argmax())]))


def _values(vicinity: Vicinity, recording: "_Recording") -> dict[str, Any]:
    problem, bounds = vicinity.problem, vicinity.problem.bounds
    on = costed_on(without_serving(problem.budgets))
    names = [limit.name for limit in bounds]
    size = names.index(next(name for name in SIZE_LIMITS if name in names))
    data = {
        "count": len(vicinity.all_designs),
        "tables": [_table(vicinity.all_designs, chosen) for chosen in _TABLES],
        "rules": _rules(vicinity),
        "limits": [
            {"name": limit.name, "option": limit.option, "asked": limit.most, "low": low, "high": high, "cost": step}
            for limit, low, high, step in zip(bounds, vicinity.low, vicinity.high, recording.limits(), strict=True)
        ],
        "size": {"limit": size, "params": _params_per_size(problem, size)},
        "active": names.index("active_params") if "active_params" in names else None,
        "counts": recording.counts(),
        **recording.costs(vicinity.low[size], vicinity.high[size], size),
        "laws": recording.laws(),
        "trainings": [_training(vicinity, place) for place in range(len(vicinity.trainings))],
        "published": [
            {
                "name": entry.name,
                "total_params": counts.total_params(entry.architecture),
                "active_params": counts.active_params(entry.architecture),
            }
            for entry in _reachable(vicinity, size)
        ],
        "margin": BEATS_BY,
        "one_device": on.serves == on.trains,
        "weights": WEIGHTS,
    }
    return data | recording.program()


def _rules(vicinity: Vicinity) -> dict[str, Any]:
    """What may be switched off, within which budgets, and how many designs in a row break which rules."""
    off = vicinity.without_rules
    inside = [0, len(vicinity.designs)]
    if off is None:
        return {"names": [], "low": [], "high": [], "runs": [inside]}
    runs = zip(*(each.tolist() for each in np.unique(off.breaks, return_counts=True)), strict=True)
    return {"names": off.rules, "low": off.low, "high": off.high, "runs": [inside, *map(list, runs)]}


def _table(designs: Candidates, names: Sequence[str]) -> dict[str, Any]:
    rows = np.stack([getattr(designs, name) for name in names], axis=1)
    distinct, places = np.unique(rows, axis=0, return_inverse=True)
    return {"names": names, "rows": distinct.tolist(), "places": encoded(places, "<u2")}


class _Recording:
    """Our own functions on columns that remember what was done to them."""

    def __init__(self, vicinity: Vicinity, designs: Candidates) -> None:
        self._vicinity, self._problem, self._program = vicinity, vicinity.problem, Program()
        recorded: dict[str, Any] = {name: named(name, getattr(designs, name)) for name in CANDIDATE_SIZES}
        self._designs = replace(designs, lines={}, **recorded)
        self._counted: Any = columns(self._designs, self._problem.space.vocab_size)
        amount = named("training", getattr(self._problem.budgets, self._problem.budgets.training))
        at = trained_with(self._problem.budgets, amount)  # a number that remembers itself
        self._variables = DesignVariables(self._designs, at, self._problem.space)

    def limits(self) -> list[int]:
        asked = self._problem.budgets.served
        return [self._program.add(limit.cost(self._counted, asked)) for limit in self._problem.bounds]

    def counts(self) -> dict[str, int]:
        tokens, budgets = self._variables.train_tokens, self._problem.budgets
        per_token = counts.training_flops_per_token(self._counted, budgets.tokens_per_sequence)
        found = {
            "total_params": counts.total_params(self._counted),
            "active_params": counts.active_params(self._counted),
            "memory_bytes": memory_bytes(self._counted, budgets),
            "train_tokens": tokens + 0 * self._counted.hidden_size,
            "train_flops": tokens * per_token,
        }
        return {name: self._program.add(values) for name, values in found.items()}

    def costs(self, low: float, high: float, size: int) -> dict[str, Any]:
        """On every number of devices that the sizes from low to high are assumed to be served on."""
        budgets = without_serving(self._problem.budgets)
        field = self._problem.bounds[size].name
        most_of: dict[tuple[int, int], float] = {}
        for most in _device_steps(self._problem, low, high, size):
            on = costed_on(budgets.model_copy(update={field: most}))
            most_of[on.devices, on.bill_devices] = most
        served: list[dict[str, Any]] = []
        for (devices, bill_devices), most in most_of.items():
            on = replace(costed_on(budgets), devices=devices, bill_devices=bill_devices)
            costs = design_costs(self._counted, self._variables.train_tokens, budgets, on)
            batches = [
                {**each, "rates": self._pair(each["rates"]), "fits": self._program.add(each["fits"])}
                for each in _served_batches(self._counted, budgets, on)
            ]
            served.append(
                {
                    "most": most,
                    "devices": devices,
                    "decode": self._pair(costs.decode_tokens_per_second),
                    "first": self._pair(costs.time_to_first_token),
                    "bill": {"devices": bill_devices, "batches": batches},
                }
            )
        return {
            "served": served,
            "hours": self._pair(costs.train_device_hours),
            "kv": self._program.add(costs.kv_bytes_per_token),
        }

    def _pair(self, ends: tuple[Any, Any]) -> list[int]:
        return [self._program.add(end) for end in ends]

    def laws(self) -> list[dict[str, Any]]:
        """Each law's losses in the readings in which it is heard, and as it is."""
        heard: dict[str, dict[int | None, JudgingLaw]] = {}
        for training in self._vicinity.trainings:
            for judge in training.hearing.readings if training.hearing.may_judge else ():
                heard.setdefault(judge.name, {})[judge.reading] = judge
        found = []
        for judge in self._problem.judges:
            readings = heard.get(judge.name, {}).values()
            steps = {"heard": [self._loss(each) for each in readings], "own": [self._loss(judge)]}
            # A fitted law may be asked far outside its runs; `laws.law.check_loss` then refuses, and the page too.
            floor = least_loss_of(judge.law) if isinstance(judge.law, FittedLaw) else None
            draws = drawn_law(judge.law) if isinstance(judge.law, FittedLaw) else None
            taken = {each.name: self._program.add(judge.value(each, self._variables)) for each in judge.inputs}
            found.append(
                {
                    "name": judge.name,
                    "readings": steps,
                    "floor": floor,
                    "draws": draws and {**draws, "variables": taken},
                }
            )
        return found

    def _loss(self, judge: JudgingLaw) -> int:
        at = {variable.name: judge.value(variable, self._variables) for variable in judge.inputs}
        return self._program.add(judge.evaluate(at))

    def program(self) -> dict[str, Any]:
        operations = list(dict.fromkeys(step[0] for step in self._program.steps))
        places = {name: place for place, name in enumerate(operations)}
        return {
            "operations": operations,
            "steps": [[places[name], *rest] for name, *rest in self._program.steps],
            "carried": [encoded(values) for values in self._program.carried],
        }


def without_serving(budgets: Budgets) -> Budgets:
    """The same without the tokens of a life, whose bill the page makes itself."""
    return budgets.model_copy(update={"serve_tokens": None})


def _served_batches(architecture: Countable[Any], budgets: Budgets, on: CostedOn) -> list[dict[str, Any]]:
    """What `designs.serving_bill` chooses among: batches with their speeds and whether they fit.

    The budgets' own first, then halves of it, then multiples.
    """
    found = []
    batches = [budgets.batch]
    while batches[-1] > 1:
        batches.append(batches[-1] // 2)
    batch = 2 * budgets.batch
    while batch <= MOST_SEQUENCES * on.bill_devices:
        batches.append(batch)
        batch *= 2
    for batch in batches:
        load: dict[str, Any] = {
            "devices": on.bill_devices,
            "batch": batch,
            "context": budgets.context,
            "weights_dtype": budgets.weights_dtype,
            "kv_dtype": budgets.kv_dtype,
        }
        found.append(
            {
                "batch": batch,
                "rates": decode_tokens_per_second(architecture, on.hardware, **load),
                "fits": memory_per_device(architecture, on.hardware, **load).spare,
            }
        )
    return found


def _params_per_size(problem: SearchProblem, size: int) -> float:
    """Parameters that one unit of the size budget holds, as the nearest published model is looked for."""
    budgets = problem.budgets
    return bytes_wanted(budgets) / bytes_per_param(budgets) / problem.bounds[size].most


def _device_steps(problem: SearchProblem, low: float, high: float, size: int) -> list[float]:
    """Sizes up to which the devices that are assumed, and twice as many for the bill of serving, stay as many.

    The last one is the largest size.
    """
    if problem.budgets.hardware is not None:
        return [high]
    from moewright.hardware import load_device

    on, unit = costed_on(problem.budgets), bytes_wanted(problem.budgets) / problem.bounds[size].most
    half = load_device(on.hardware).memory / unit / 2
    return [most * half for most in range(max(math.ceil(low / half), 1), math.ceil(high / half))] + [high]


def _training(vicinity: Vicinity, place: int) -> dict[str, Any]:
    training = vicinity.trainings[place]
    budgets = trained_with(vicinity.problem.budgets, training.amount)
    names = [limit.name for limit in vicinity.problem.bounds]
    size = names.index(next(name for name in SIZE_LIMITS if name in names))
    return {
        "amount": training.amount,
        "heard": training.hearing.laws,
        "as_they_are": not training.hearing.may_judge,
        "silent_where": _silent_where(vicinity, place),
        "worth": {
            entry.name: worth_at(entry, budgets, training.hearing).by_law for entry in _reachable(vicinity, size)
        },
    }


def _silent_where(vicinity: Vicinity, place: int) -> dict[str, list[dict[str, Any]]]:
    """By law: the rules that are off, as bits, and costs within one column of which the law falls silent then."""
    off = vicinity.without_rules
    found = {
        law: [{"off": 0, "costs": costs.T.tolist()}] for law, costs in vicinity.trainings[place].falls_silent.items()
    }
    for law, by_rules in off.falls_silent[place].items() if off else ():
        for rules, costs in by_rules.items():
            bits = sum(1 << off.rules.index(rule) for rule in rules) if off else 0
            found.setdefault(law, []).append({"off": bits, "costs": costs.T.tolist()})
    return found


def _reachable(vicinity: Vicinity, size: int) -> list[ModelEntry]:
    """The published models that are nearest to some budgets of the vicinity."""
    names = [limit.name for limit in vicinity.problem.bounds]
    params = _params_per_size(vicinity.problem, size)
    totals = vicinity.low[size] * params, vicinity.high[size] * params
    if "active_params" not in names:
        return _nearest_of_some(totals)
    active = names.index("active_params")
    return _nearest_of_some(totals, (vicinity.low[active], vicinity.high[active]))


def _nearest_of_some(total: tuple[float, float], active: tuple[float, float] | None = None) -> list[ModelEntry]:
    """The published models that are nearest, as `nearest_published` measures it, to some sizes of these ranges."""
    ranges = [(counts.total_params, total), *([(counts.active_params, active)] if active else [])]

    def distances(entry: ModelEntry) -> tuple[float, float]:
        """The least and the most over the ranges."""
        least = most = 0.0
        for count, ends in ranges:
            below, above = (math.log(end / count(entry.architecture)) for end in ends)
            least += max(below, -above, 0.0)
            most += max(abs(below), abs(above))
        return least, most

    found = {entry.name: (entry, *distances(entry)) for entry in published_mixtures()}
    nearest = min(most for _, _, most in found.values())
    return [entry for entry, least, _ in found.values() if least <= nearest]


def _beside(
    vicinity: Vicinity, baseline: tuple[str, Architecture] | None, devices: Sequence[tuple[int, int]]
) -> list[dict[str, Any]]:
    """What each model that may stand beside an answer costs: by training, and by devices that serve."""
    counted = columns(vicinity.all_designs, vicinity.problem.space.vocab_size)
    found = [baseline] if baseline else []
    if not baseline:
        totals, actives = (np.asarray(count(counted)) for count in (counts.total_params, counts.active_params))
        ranges = ((float(each.min()), float(each.max())) for each in (totals, actives))
        found = [(entry.name, entry.architecture) for entry in _nearest_of_some(*ranges)]
    return [_model(vicinity, name, architecture, devices) for name, architecture in found]


def _model(
    vicinity: Vicinity, name: str, architecture: Architecture, devices: Sequence[tuple[int, int]]
) -> dict[str, Any]:
    budgets = without_serving(vicinity.problem.budgets)
    on = costed_on(budgets)
    ons = [replace(on, devices=number, bill_devices=of_bill) for number, of_bill in devices]
    return {
        "name": name,
        **model_figures(vicinity, architecture, devices),
        "bill": [_served_batches(architecture, budgets, each) for each in ons],
    }


def model_figures(vicinity: Vicinity, architecture: Architecture, devices: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """What a model of any kind counts and costs under the budgets: by training, and by devices that serve."""
    budgets = without_serving(vicinity.problem.budgets)
    on = costed_on(budgets)
    amounts = [trained_with(budgets, training.amount) for training in vicinity.trainings]
    tokens = [float(training_tokens(architecture, trained)) for trained in amounts]
    ons = [replace(on, devices=number, bill_devices=of_bill) for number, of_bill in devices]
    served = [design_costs(architecture, 1.0, budgets, each) for each in ons]
    return {
        "total_params": counts.total_params(architecture),
        "active_params": counts.active_params(architecture),
        "memory_bytes": memory_bytes(architecture, budgets),
        "kv": served[0].kv_bytes_per_token,
        "hours": [[end * each for end in served[0].train_device_hours] for each in tokens],
        "decode": [costs.decode_tokens_per_second for costs in served],
        "first": [costs.time_to_first_token for costs in served],
        "variables": {
            judge.name: [law_variables(judge.law, architecture, each) for each in tokens]
            for judge in vicinity.problem.judges
            if isinstance(judge.law, FittedLaw)
        },
    }
