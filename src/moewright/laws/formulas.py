"""Formulas that several laws share: the additive law and its allocation, the saturating expert count."""

from collections.abc import Callable
from typing import Any

import numpy as np

from moewright.laws.form import Coefficient, Coefficients, Columns, Form, power
from moewright.laws.law import Optimum
from moewright.laws.variable import TRAIN_FLOPS, Values


def additive_form(size: str) -> Form:
    """L = E + A/N^alpha + B/D^beta with N under the call name `size` (Hoffmann et al., arXiv 2203.15556, equation 2).

    One form serves dense models and one MoE shape trained at several sizes; only what N counts differs.
    """

    def basis(c: Coefficients, v: Columns) -> tuple[Values, ...]:
        N_term, D_term = power(v[size], -c["alpha"]), power(v["train_tokens"], -c["beta"])
        return (np.ones_like(N_term), N_term, D_term)

    return Form(
        name=f"additive in {size}",
        formula="L = E + A N^-alpha + B D^-beta",
        variables=(size, "train_tokens"),
        nonlinear=(Coefficient("alpha", 0.01, 3.0, (0.1, 1.0)), Coefficient("beta", 0.01, 3.0, (0.1, 1.0))),
        linear=(Coefficient("E", 0.0), Coefficient("A", 0.0), Coefficient("B", 0.0)),
        basis=basis,
        asymptote="E",
    )


def additive_optimum(size: str) -> Optimum:
    """The compute-optimal allocation of the additive form."""

    def solve(c: Coefficients, train_flops: Values) -> dict[str, Any]:
        split = split_six_nd(train_flops, c["A"], c["alpha"], c["B"], c["beta"], size)
        return {**split, "loss": form.loss(c, split)}

    form = additive_form(size)
    return Optimum(
        arguments=(TRAIN_FLOPS,),
        optional=(),
        solve=solve,
        answers={size: "N of least loss under C = 6 N D", "train_tokens": "D there", "loss": "the loss there"},
    )


def six_nd(params: Values, tokens: Values) -> Any:
    """FLOPs of training, 6 N D (Kaplan et al., arXiv 2001.08361, section 2.1).

    >>> six_nd(1e9, 2e10)
    1.2e+20
    """
    return 6 * params * tokens


def split_six_nd(train_flops: Values, A: Values, alpha: Values, B: Values, beta: Values, size: str) -> dict[str, Any]:
    """The N and D of least A N^-alpha + B D^-beta under C = 6 N D (Hoffmann et al., arXiv 2203.15556, equation 4).

    `size` is the call name under which N is returned.
    """
    N = power(alpha * A / (beta * B), 1 / (alpha + beta)) * power(train_flops / 6, beta / (alpha + beta))
    return {size: N, "train_tokens": train_flops / (6 * N)}


def saturated(num_experts: Values, start: Values, end: Values, offset: float = 0.0) -> Any:
    """The count that acts: about `start` for one expert, growing with their number, never above `end`.

    Clark et al. introduced it (arXiv 2202.01169, section 4.2). `offset` (phi) is added to the count by arXiv
    2502.05172; Clark et al. have none.
    """
    return 1 / (1 / (num_experts - 1 + offset + 1 / (1 / start - 1 / end)) + 1 / end)


def saturated_slopes(num_experts: Values, start: Values, end: Values, offset: float = 0.0) -> tuple[Any, Any]:
    """Derivatives of the logarithm of `saturated` by `start` and by `end`."""
    first = 1 / (1 / start - 1 / end)
    rising = num_experts - 1 + offset + first
    acting = 1 / (1 / rising + 1 / end)
    ratio = (first / rising) ** 2
    return acting * ratio / start**2, acting * (1 - ratio) / end**2


def minimise_in_log(function: Callable[[Any], Any], low: float, high: float, shape: tuple[int, ...]) -> Any:
    """The argument of least value of a function with one minimum between `low` and `high`; arrays of `shape` together.

    Golden-section search in the logarithm, to a relative 1e-10; an end is returned where the minimum lies outside.
    """
    left, right = np.full(shape, np.log(low)), np.full(shape, np.log(high))
    shrink = (np.sqrt(5) - 1) / 2
    for _ in range(int(np.ceil(np.log(1e-10 / np.log(high / low)) / np.log(shrink)))):
        inner_left, inner_right = right - shrink * (right - left), left + shrink * (right - left)
        go_left = function(np.exp(inner_left)) < function(np.exp(inner_right))
        left, right = np.where(go_left, left, inner_left), np.where(go_left, inner_right, right)
    return np.exp((left + right) / 2)
