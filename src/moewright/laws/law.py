"""A law: a form with coefficients, and everything that one must know before believing it."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from moewright.architecture import Architecture
from moewright.complaints import check_names
from moewright.errors import UserError
from moewright.laws.form import Form
from moewright.laws.variable import TRAIN_TOKENS, Array, Status, Variable, check_values, status_of

if TYPE_CHECKING:
    from moewright.laws.fitting.fitted import FittedLaw


class InapplicableLaw(UserError):  # noqa: N818  (a reason to print, seldom an error)
    """The law has nothing to say about this model or question; the message gives the reason."""


@dataclass(frozen=True)
class Quantity:
    """Something that a law gives other than a loss, such as a learning rate, from variables of its own."""

    unit: str
    variables: tuple[str, ...]
    value: Callable[..., Any]
    """Takes the variables by name."""


@dataclass(frozen=True)
class Optimum:
    """What a law can optimise: the arguments it needs and the function that answers, by coefficients."""

    arguments: tuple[Variable, ...]
    optional: tuple[Variable, ...]
    solve: Callable[..., dict[str, Any]]
    """Takes the coefficients (numbers, or arrays of bootstrap draws) and the given arguments by name."""
    answers: Mapping[str, str]
    """What each returned name means."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """Whether a law may rank mixtures: choices of total and active size, sparsity, expert size and shared experts.

    A law of dense models has no such variable, and a law of one fixed mixture was never asked.
    """

    reason: str | None = None
    """Why it may not; None where it may."""
    of_form: bool = False
    """The reason lies in the form's variables, not in the runs behind the law: it holds for fits to other runs too."""
    dense: "Law | None" = None
    """For a law without a loss of its own: the dense law whose compute-optimal loss is taken instead, ..."""
    dense_flops: Callable[[Mapping[str, Any]], Any] | None = None
    """... at these FLOPs of training, a function of the law's variables. That loss falls as the FLOPs grow."""


MAY_JUDGE = Judgement()
NO_LOSS = Judgement(reason="it gives no loss")


@dataclass(frozen=True)
class Law:
    """A published scaling law. Losses of different laws never compare: tokenizer, data and schedule differ."""

    name: str
    title: str
    source: str
    confidence: str
    """How the coefficients reached moewright: A the authors' text or code, B two independent secondary sources,
    C one secondary source; "checked" where they reproduce numbers that the paper states."""
    params_convention: str
    inputs: tuple[Variable, ...] = ()
    form: Form | None = None
    coefficients: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    options: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=lambda: MappingProxyType({}))
    """Choices such as the router: option -> value -> coefficients; the first value is the default."""
    quantities: Mapping[str, Quantity] = field(default_factory=lambda: MappingProxyType({}))
    optimum_rule: Optimum | None = None
    applies: Callable[[Architecture], str | None] = lambda _: None
    """Why the law says nothing about an architecture, or None if it does."""
    judges: Judgement = NO_LOSS
    """Whether it may rank mixtures, and why not."""
    fit_settings: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Settings of a fit that this form does better with than with the general ones; its notes say why."""
    findings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    # Evaluating

    def loss(self, **variables: Any) -> Any:
        """Loss in nats per token for numbers or arrays that broadcast; options such as router= by name."""
        form = self._form()
        coefficients = self.coefficients_with(variables)
        checked = check_values(self._inputs(), self._without_options(variables), self.name)
        with np.errstate(over="ignore"):
            return _plain(form.loss(coefficients, checked))

    def bare_loss(self, variables: Mapping[str, Any], coefficients: Mapping[str, Any] | None = None) -> Any:
        """The formula alone, unchecked: for callers whose variables are right by construction, and for whatever the
        formula's arithmetic accepts, such as columns of intervals or draws of coefficients."""
        return self._form().loss(self.coefficients_with({}) if coefficients is None else coefficients, variables)

    def quantity(self, name: str, **variables: Any) -> Any:
        """A named quantity of the law other than its loss; see `quantities`."""
        if name not in self.quantities:
            raise InapplicableLaw(f"{self.name} gives no {name}; it gives {', '.join(self.gives)}")
        wanted = self.quantities[name]
        inputs = [variable for variable in self.inputs if variable.name in wanted.variables]
        return _plain(wanted.value(**check_values(inputs, variables, self.name)))

    def efficiency_leverage(self, **variables: Any) -> Any:
        """Compute that a dense model needs for the same loss, over this model's compute."""
        return self.quantity("efficiency_leverage", **variables)

    def learning_rate(self, **variables: Any) -> Any:
        """Peak learning rate that the rule advises."""
        return self.quantity("learning_rate", **variables)

    def batch_tokens(self, **variables: Any) -> Any:
        """Batch size in tokens that the rule advises."""
        return self.quantity("batch_tokens", **variables)

    def optimum(self, **arguments: Any) -> dict[str, Any]:
        """What the law says is best; `optimum_rule` lists the arguments and the answers."""
        rule = self._optimum_rule()
        checked = self._optimum_arguments(self._without_options(arguments))
        solved = rule.solve(self.coefficients_with(arguments), **checked)
        return {name: _plain(value) for name, value in solved.items()}

    def domain(self, **variables: Any) -> dict[str, Status]:
        """For each variable given: inside, below or above the runs behind the law, and by which factor."""
        known = {variable.name: variable for variable in self.inputs}
        given = self._without_options(variables)
        for name in given:
            if name not in known:
                check_names([name], known, self.name, "variable")
        return {name: status_of(known[name], known[name].check(values, self.name)) for name, values in given.items()}

    @property
    def gives(self) -> tuple[str, ...]:
        """The names of what the law can compute."""
        names: tuple[str, ...] = ("loss",) if self.form is not None and (self.coefficients or self.options) else ()
        names += tuple(self.quantities)
        if self.optimum_rule is not None:
            names += ("optimum",)
        return names + (("findings",) if self.findings else ())

    def fit(self, table: Any, **settings: Any) -> "FittedLaw":
        """This law's form fitted to a table: columns by call name, the loss in `loss`; settings of `LawFitter`."""
        from moewright.laws.fitting.estimator import LawFitter

        known = inspect.signature(LawFitter).parameters
        for name in settings:
            if name not in known or name == "law":
                check_names([name], [other for other in known if other != "law"], "fit", "setting")
        return LawFitter(self, **settings).fit(table).law_

    def coefficients_with(self, arguments: Mapping[str, Any]) -> Mapping[str, float]:
        """The coefficients under the options among some arguments, each other option at its default."""
        coefficients = dict(self.coefficients)
        for option, choices in self.options.items():
            chosen = arguments.get(option, next(iter(choices)))
            if chosen not in choices:
                check_names([str(chosen)], choices, self.name, f"value of {option}")
            coefficients |= choices[chosen]
        return coefficients

    # From an architecture

    def variables(self, architecture: Architecture, *, train_tokens: float | None = None) -> dict[str, float]:
        """The law's inputs for a model, in the law's own conventions; InapplicableLaw says why there are none."""
        reason = self.applies(architecture)
        if reason is not None:
            raise InapplicableLaw(f"{self.name} does not apply: {reason}")
        if train_tokens is not None:
            TRAIN_TOKENS.check(train_tokens, self.name)
        derived: dict[str, float] = {}
        for variable in self._inputs():
            value = variable.of(architecture, train_tokens)
            if value is None and variable.per_token:
                raise UserError(f"{self.name} needs train_tokens, the number of training tokens")
            if value is None:
                raise InapplicableLaw(f"{self.name} takes {variable.name}, which a model and its tokens do not give")
            derived[variable.name] = float(value)
        return derived

    def conditions(self, architecture: Architecture, *, train_tokens: float | None = None) -> dict[str, Status]:
        """Status of what the law's experiments held fixed and its formula has no symbol for."""
        held = {variable: variable.of(architecture, train_tokens) for variable in self.inputs if not variable.is_input}
        return {
            variable.name: status_of(variable, np.asarray(value))
            for variable, value in held.items()
            if value is not None
        }

    # Inside

    def _inputs(self) -> list[Variable]:
        return [variable for variable in self.inputs if variable.is_input]

    def _form(self) -> Form:
        if self.form is None:
            raise InapplicableLaw(f"{self.name} gives no loss; it gives {', '.join(self.gives)}")
        if not self.coefficients and not self.options:
            raise InapplicableLaw(f"{self.name} is a form without public coefficients: fit it to your runs first")
        return self.form

    def _optimum_rule(self) -> Optimum:
        if self.optimum_rule is None:
            raise InapplicableLaw(f"{self.name} has no optimum; it gives {', '.join(self.gives) or 'a form to fit'}")
        return self.optimum_rule

    def _optimum_arguments(self, given: Mapping[str, Any]) -> dict[str, Array]:
        rule = self._optimum_rule()
        known = [variable.name for variable in (*rule.arguments, *rule.optional)]
        if any(name not in known for name in given):
            check_names(given, known, self.name, "argument")
        optional = [variable for variable in rule.optional if variable.name in given]
        return check_values([*rule.arguments, *optional], given, self.name)

    def _without_options(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in arguments.items() if name not in self.options}


def _plain(value: Any) -> Any:
    array = np.asarray(value)
    return array.item() if array.ndim == 0 else array
