"""A law's form, apart from its coefficients: what a published law evaluates and what the fitter fits.

Every form here is linear in most of its coefficients once the others are given, so it is written as

    link(loss) = sum_i linear_i * basis_i(nonlinear coefficients, variables)

Arrays broadcast: coefficients may be numbers or columns of shape (S, 1) for S candidate laws, variables have shape (R,)
for R rows, and the loss then has shape (S, R).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from moewright.errors import UserError
from moewright.laws.variable import Values

Coefficients = Mapping[str, Values]
Columns = Mapping[str, Values]
Basis = Callable[[Coefficients, Columns], tuple[Values, ...]]
BasisSlopes = Callable[[Coefficients, Columns], Mapping[str, tuple[Values, ...]]]


@dataclass(frozen=True)
class Coefficient:
    """One coefficient: the values that a fit may give it and, if it is not linear, where a search may start."""

    name: str
    lower: float = -np.inf
    upper: float = np.inf
    start: tuple[float, float] = (0.0, 1.0)
    log_start: bool = False
    """Draw starts evenly in the logarithm."""
    log_search: bool = False
    """Search in the logarithm altogether: for positive coefficients whose size is unknown by powers of ten."""


def check_sign(coefficient: Coefficient, value: float, owner: str) -> None:
    """UserError for a value below 0 of a coefficient that the form takes as 0 or more, or one above of the opposite.

    The other bounds say where a fit searches, not what the formula means.
    """
    if not np.isfinite(value):
        raise UserError(f"{owner} {coefficient.name}: {value:g} must be finite")
    if coefficient.lower >= 0 > value:
        raise UserError(f"{owner} {coefficient.name}: {value:g} must be 0 or more in this form")
    if coefficient.upper <= 0 < value:
        raise UserError(f"{owner} {coefficient.name}: {value:g} must be 0 or less in this form")


@dataclass(frozen=True)
class Link:
    """How the linear sum becomes a loss, and back; each function also takes the coefficients."""

    loss: Callable[[Any, Coefficients], Any]
    sum: Callable[[Any, Coefficients], Any]
    slope: Callable[[Any, Coefficients], Any]
    """d loss / d sum, as a function of the loss."""


IDENTITY = Link(
    loss=lambda total, _: total, sum=lambda loss, _: loss, slope=lambda loss, _: np.ones_like(np.asarray(loss))
)


@dataclass(frozen=True)
class Form:
    """A family of laws; see the module's docstring for the shape that all share."""

    name: str
    formula: str
    variables: tuple[str, ...]
    nonlinear: tuple[Coefficient, ...]
    linear: tuple[Coefficient, ...]
    basis: Basis
    link: Link = field(default=IDENTITY)
    slopes: BasisSlopes | None = None
    """Derivatives of the basis by each nonlinear coefficient, where differences would take most of a fit's time; for a
    link that takes no coefficient."""
    asymptote: str | None = None
    """The coefficient that is the loss of an endless model on endless data, where the form has one."""

    @property
    def coefficients(self) -> tuple[Coefficient, ...]:
        """Nonlinear first, then linear: the order of every coefficient vector in the fitter."""
        return self.nonlinear + self.linear

    def loss(self, coefficients: Coefficients, variables: Columns) -> Any:
        """The loss in nats per token (of whatever tokenizer the coefficients belong to)."""
        columns = self.basis(coefficients, variables)
        total: Any = 0.0
        for coefficient, column in zip(self.linear, columns, strict=True):
            total = total + coefficients[coefficient.name] * column
        return self.link.loss(total, coefficients)


def power(base: Values, exponent: Values) -> Any:
    """base ** exponent for positive bases; through exp and log, which is faster on broadcast arrays."""
    return np.exp(exponent * np.log(base))
