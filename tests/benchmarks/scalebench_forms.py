"""Forms for the tasks of scalebench (arXiv 2604.22753) that no law of the catalogue has, with rough coefficients.

The coefficients are no fits to the tasks' tables: the exponents are usual ones, and the scales put the loss near what
such models have. A belief takes them as a centre that is worth one run.
"""

from typing import Any

import numpy as np

from moewright.laws.form import Coefficient, Coefficients, Columns, Form
from moewright.laws.law import LossLaw
from moewright.laws.variable import Values, Variable


def _law(name: str, form: Form, units: dict[str, str], coefficients: dict[str, float]) -> LossLaw:
    return LossLaw(
        name=name,
        title=form.formula,
        source="this benchmark",
        confidence="none: rough",
        params_convention="the table's",
        form=form,
        coefficients=coefficients,
        inputs=tuple(Variable(variable, variable, unit=units.get(variable, "")) for variable in form.variables),
    )


def _power(name: str, start: float = 0.3) -> Coefficient:
    return Coefficient(name, 0.01, 3.0, (start / 2, start * 2), log_start=True)


def _repeated(c: Coefficients, v: Columns) -> tuple[Values, ...]:
    unique = np.minimum(v["unique_tokens"], v["train_tokens"])
    passes = v["train_tokens"] / unique - 1
    worth = unique * (1 + c["R"] * -np.expm1(-passes / c["R"]))
    return np.ones_like(worth), v["total_params"] ** -c["alpha"] * 1e3, worth ** -c["beta"] * 1e3


REPEATED = _law(
    "repeated tokens",
    Form(
        "repeated",
        "L = E + A N^-alpha + B D'^-beta, D' = U (1 + R (1 - exp(-(D/U - 1)/R)))  (Muennighoff et al. 2023)",
        ("total_params", "train_tokens", "unique_tokens"),
        (_power("alpha"), _power("beta"), Coefficient("R", 0.5, 500.0, (5.0, 50.0), log_start=True, log_search=True)),
        (Coefficient("E", 0.0), Coefficient("A", 0.0), Coefficient("B", 0.0)),
        _repeated,
    ),
    {"total_params": "parameters", "train_tokens": "tokens", "unique_tokens": "tokens"},
    {"alpha": 0.353, "beta": 0.353, "R": 15.4, "E": 1.87, "A": 0.521, "B": 1.488},
)


def _streams(c: Coefficients, v: Columns) -> tuple[Values, ...]:
    larger = v["total_params"] / 1e9 * (1 + c["k"] * np.log(v["streams"]))
    return np.ones_like(larger), larger ** -c["alpha"]


STREAMS = _law(
    "parallel streams",
    Form(
        "streams",
        "L = E + A (N (1 + k ln P))^-alpha  (ParScale)",
        ("total_params", "streams"),
        (_power("alpha"), Coefficient("k", 0.0, 5.0, (0.1, 1.0))),
        (Coefficient("E", 0.0), Coefficient("A", 0.0)),
        _streams,
    ),
    {"total_params": "parameters"},
    {"alpha": 0.2, "k": 0.3, "E": 0.8, "A": 0.8},
)


def _upcycled(c: Coefficients, v: Columns) -> tuple[Values, ...]:
    size, tokens = v["active_params"], v["train_tokens"]
    return np.ones_like(size), size ** -c["alpha"] * v["expansion"] ** c["gamma"], tokens ** -c["beta"]


UPCYCLED = _law(
    "upcycled mixtures",
    Form(
        "upcycled",
        "L = E + A N2^-alpha P^gamma + B D2^-beta, in billions",
        ("active_params", "expansion", "train_tokens"),
        (_power("alpha"), Coefficient("gamma", -1.0, 1.0, (-0.2, 0.2)), _power("beta")),
        (Coefficient("E", 0.0), Coefficient("A", 0.0), Coefficient("B", 0.0)),
        _upcycled,
    ),
    {},
    {"alpha": 0.3, "gamma": 0.0, "beta": 0.3, "E": 1.8, "A": 0.4, "B": 0.4},
)


def _vocabulary(c: Coefficients, v: Columns) -> tuple[Values, ...]:
    size, vocabulary, characters = v["total_params"] / 1e8, v["vocabulary"] / 3e4, v["characters"] / 1e10
    ones = np.ones_like(size)
    grown = c["g"] * np.log(size)
    far = np.log(vocabulary)
    return ones, size ** -c["alpha"], characters ** -c["beta"], far, far**2, far * grown


VOCABULARY = _law(
    "vocabulary",
    Form(
        "vocabulary",
        "L + 10 = E + A N^-alpha + B C^-beta + a ln V + b (ln V)^2 + c g ln V ln N",
        ("total_params", "vocabulary", "characters"),
        (_power("alpha"), _power("beta"), Coefficient("g", 0.5, 2.0, (0.9, 1.1))),
        tuple(Coefficient(name) for name in ("E", "A", "B", "a", "b", "c")),
        _vocabulary,
    ),
    {},
    {"alpha": 0.3, "beta": 0.3, "g": 1.0, "E": 4.5, "A": 0.5, "B": 0.8, "a": 0.0, "b": 0.0, "c": 0.0},
)


def _rates(c: Coefficients, v: Columns) -> tuple[Values, ...]:
    size, tokens = np.log(v["total_params"] / 3e8), np.log(v["train_tokens"] / 2e10)
    rate, batch = np.log(v["learning_rate"] / 2e-3), np.log(v["batch"] / 256)
    losses = np.exp(-c["alpha"] * size), np.exp(-c["beta"] * tokens)
    bent = rate, rate * size, rate * tokens, rate**2, batch, batch * size, batch * tokens, batch**2, rate * batch
    return np.ones_like(rate), *losses, *bent


_RATES: dict[str, Any] = dict.fromkeys(("r", "rn", "rd", "rr", "b", "bn", "bd", "bb", "rb"), 0.0)
RATES = _law(
    "learning rate and batch",
    Form(
        "rates",
        "L = E + A N^-alpha + B D^-beta + a quadratic in ln rate and ln batch whose slopes follow ln N and ln D",
        ("learning_rate", "batch", "total_params", "train_tokens"),
        (_power("alpha"), _power("beta")),
        tuple(Coefficient(name) for name in ("E", "A", "B", *_RATES)),
        _rates,
    ),
    {},
    {"alpha": 0.3, "beta": 0.3, "E": 1.7, "A": 0.4, "B": 0.4, **_RATES, "rr": 0.02, "bb": 0.02},
)


def _experts(c: Coefficients, v: Columns) -> tuple[Values, ...]:
    size = v["active_params"] / 1e8
    return np.ones_like(size), size ** -c["alpha"] * v["num_experts"] ** -c["gamma"]


EXPERTS = _law(
    "experts over an asymptote",
    Form(
        "experts",
        "L = E + A N^-alpha E^-gamma  (Wang et al. 2024 at constant tokens)",
        ("active_params", "num_experts"),
        (_power("alpha"), Coefficient("gamma", -1.0, 1.0, (0.02, 0.2))),
        (Coefficient("E", 0.0), Coefficient("A", 0.0)),
        _experts,
    ),
    {"active_params": "parameters"},
    {"alpha": 0.3, "gamma": 0.1, "E": 1.8, "A": 1.5},
)

FORMS = {law.name: law for law in (EXPERTS, REPEATED, STREAMS, UPCYCLED, VOCABULARY, RATES)}
