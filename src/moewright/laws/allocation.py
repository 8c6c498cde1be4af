"""How laws divide a training budget between the size of the model and the number of tokens."""

from collections.abc import Callable
from typing import Any

import numpy as np

from moewright.laws.form import power
from moewright.laws.variable import Values


def split_six_nd(train_flops: Values, A: Values, alpha: Values, B: Values, beta: Values, size: str) -> dict[str, Any]:
    """The N and D of least A N^-alpha + B D^-beta under C = 6 N D (Hoffmann et al., arXiv 2203.15556, equation 4).

    `size` is the call name under which N is returned.
    """
    N = power(alpha * A / (beta * B), 1 / (alpha + beta)) * power(train_flops / 6, beta / (alpha + beta))
    return {size: N, "train_tokens": train_flops / (6 * N)}


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
