"""The draws of a fitted law in the form that a page carries: how sure they are that one model ends below another.

Coefficients, residuals and errors of the form are columns with one value for each draw. The formula is not written a
second time: it is recorded over columns of its coefficients and variables (`designs.recorded`).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from moewright.architecture import Architecture
from moewright.designs.recorded import Program, named
from moewright.laws import FittedLaw, InapplicableLaw
from moewright.laws.fitting.reach import COMPUTE, FARTHEST
from moewright.report.page.encoding import encoded


def drawn_law(law: FittedLaw) -> dict[str, Any] | None:
    """Plain values for `openDraws`; None for a law without draws, or whose formula is no list of operations."""
    if not len(law.record.draws):
        return None
    parts, program = law.drawn_parts(2), Program()
    # Of unlike values, so that what leaves the record is seen to: equal ones would be taken for a constant.
    variables = {
        name: named(name, np.geomspace(max(low, 1e-3), 2 * max(high, 1e-3), len(law.record.draws) + 1)[1:])
        for name, (low, high) in law.record.ranges.items()
    }
    coefficients = {name: named(f"coefficient {name}", values) for name, values in parts.coefficients.items()}
    with np.errstate(all="ignore"):
        loss = program.add(law.form.loss(coefficients, variables))
    if program.carried:
        return None
    return {
        "number": len(law.record.draws),
        "steps": program.steps,
        "loss": loss,
        "coefficients": {f"coefficient {name}": encoded(values) for name, values in parts.coefficients.items()},
        "residuals": [encoded(values) for values in parts.residuals.T],
        "farthest": FARTHEST,
        "directions": [
            {
                "variable": None if reach.direction == COMPUTE else reach.direction,
                **{name: getattr(reach, name) for name in ("logarithmic", "low", "high", "slope")},
                "standard": encoded(values),
            }
            for reach, values in zip(parts.reaches, parts.standard.T, strict=True)
        ],
    }


def law_variables(law: FittedLaw, architecture: Architecture, train_tokens: float) -> Mapping[str, float] | None:
    """What the law's formula takes of a model; None where the law does not apply to it."""
    try:
        return {name: float(value) for name, value in law.variables(architecture, train_tokens=train_tokens).items()}
    except InapplicableLaw:
        return None
