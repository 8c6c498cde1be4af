"""Where a forecast asks the law: models beyond the planned runs, and the arguments of its optima there."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from moewright.complaints import check_names
from moewright.errors import UserError
from moewright.laws.law import Law, Optimum
from moewright.laws.variable import TRAIN_FLOPS, Array, Variable

REACH = 4.0
"""The default target has this many times the largest run's parameters, and the most tokens."""


def default_target(inputs: Sequence[Variable], columns: Mapping[str, Array]) -> dict[str, float]:
    """The largest planned model (total parameters, else active) with its parameters and the most tokens times `REACH`.

    Its other variables stay as they are, so that the combination is one of the planned ones.
    """
    sizes = [name for name in ("total_params", "active_params") if name in columns]
    largest = int(np.argmax(columns[sizes[0]])) if sizes else 0
    times = {"parameters": REACH, "tokens": REACH, "FLOPs": REACH**2}
    return {
        variable.name: times.get(variable.unit, 1.0)
        * float(columns[variable.name].max() if variable.unit == "tokens" else columns[variable.name][largest])
        for variable in inputs
    }


def read_targets(
    targets: Any, inputs: Sequence[Variable], optimum: Optimum | None, owner: str
) -> tuple[dict[str, float], ...]:
    """Targets given as one mapping or several: every variable of the law, and arguments of its optimum if wanted."""
    given = [targets] if isinstance(targets, Mapping) else list(targets)
    if not given or not all(isinstance(target, Mapping) for target in given):
        raise UserError(
            f"{owner}: targets are mappings of the law's variables to numbers, such as {{'train_tokens': 1e9}}"
        )
    needed = {variable.name: variable for variable in inputs}
    arguments = {} if optimum is None else {item.name: item for item in (*optimum.arguments, *optimum.optional)}
    read = []
    for target in given:
        extra = [name for name in target if name in arguments and name not in needed]
        check_names(target, [*needed, *extra], owner, "variable")
        read.append({name: float({**arguments, **needed}[name].check(value, owner)) for name, value in target.items()})
    return tuple(read)


def optimum_arguments(law: Law, target: Mapping[str, float]) -> dict[str, float]:
    """What the optimum takes of a target; FLOPs that the target does not state are 6 N D, N the form's own size."""
    rule = law.optimum_rule
    if rule is None or law.form is None:
        return {}
    size = "active_params" if "active_params" in law.form.variables else "total_params"
    known = dict(target)
    if size in target and "train_tokens" in target:
        known.setdefault(TRAIN_FLOPS.name, 6 * target[size] * target["train_tokens"])
    arguments = [variable.name for variable in (*rule.arguments, *rule.optional)]
    return {name: known[name] for name in arguments if name in known}
