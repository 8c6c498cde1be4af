"""The kinds of law: what each gives is a method that answers, what it does not give is one line that says so.

    Law                    whose it is, and how far to believe it
      ModelLaw             ... with variables that a model and its training tokens give
        LossForm           a formula of the loss whose coefficients are not public: to be fitted
          LossLaw          a formula with coefficients
        Rule               quantities such as a learning rate
      Allocation           how to divide a budget
      Finding              sentences
      FittedLaw            a loss law and the record of its fit (laws.fitting.fitted_law)

Code that needs a loss or a form from any law asks it for one: `as_loss_law`, `as_form`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from moewright.architecture import Architecture
from moewright.complaints import check_names
from moewright.display import Shown
from moewright.errors import UserError
from moewright.laws.design_axes import AxisName
from moewright.laws.form import Form
from moewright.laws.variable import TRAIN_TOKENS, Array, Status, Values, Variable, check_values, status_of


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

    def check(self, given: Mapping[str, Any], owner: str) -> dict[str, Array]:
        """The arguments as arrays that broadcast; UserError for one that is missing, unknown or impossible."""
        known = [variable.name for variable in (*self.arguments, *self.optional)]
        if any(name not in known for name in given):
            check_names(given, known, owner, "argument")
        optional = [variable for variable in self.optional if variable.name in given]
        return check_values([*self.arguments, *optional], given, owner)

    def answer(self, coefficients: Mapping[str, Any], given: Mapping[str, Any], owner: str) -> dict[str, Any]:
        """Numbers or arrays by the names in `answers`; NaN or infinite where there is no optimum.

        A fit may leave a coefficient at 0 or below, where a closed form divides by it or takes its root.
        """
        numbers = {name: np.asarray(value, dtype=np.float64)[()] for name, value in coefficients.items()}
        with np.errstate(all="ignore"):
            solved = self.solve(numbers, **self.check(given, owner))
        return {name: _plain(value) for name, value in solved.items()}


@dataclass(frozen=True)
class ExpansionVariable:
    """A law's variable for how many experts stand behind those that a token uses, and what the number multiplies.

    The law's runs had experts of one share of the active parameters, so they cannot tell whether its expansion
    multiplies the experts' channels or everything. Both readings agree at that share; see `readings`.
    """

    name: str
    of: Callable[[Any], Any]
    """The variable from an expansion: channels stored over used."""
    experts_share: float
    """Share of the active parameters, without the vocabulary's, that the routed experts had in the law's runs."""

    def readings(self, expansion: Values, total_over_active: Values) -> tuple[Any, Any]:
        """The variable if expansion multiplies the experts' channels only, and if it multiplies all that is active.

        The second is the expansion at which a model with the runs' share of experts has this total over active.
        """
        rest = 1 - self.experts_share
        of_all = np.maximum((np.asanyarray(total_over_active) - rest) / self.experts_share, 1.0)
        return self.of(np.asanyarray(expansion)), self.of(of_all)


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """Whether a law may rank mixtures: choices of total and active size, sparsity, expert size and shared experts;
    and what its runs moved, on which alone it is heard (`laws.judge`).

    A law of dense models has no such variable, and a law of one fixed mixture was never asked.
    """

    moved: frozenset[AxisName] = frozenset()
    """The axes on which its runs differed and its formula has a variable."""
    least_tokens_per_param: float = 0.0
    """The fewest training tokens for each active parameter in its runs: with fewer, more experts can do harm
    (arXiv 2502.05172), which a law without such runs cannot know. 0 where its source does not say."""
    expansion: ExpansionVariable | None = None
    """None where the formula takes parameters, total and active, in place of an expansion."""

    reason: str | None = None
    """Why it may not; None where it may."""
    of_form: bool = False
    """The reason lies in the form's variables, not in the runs behind the law: it holds for fits to other runs too."""
    dense: "LossLaw | None" = None
    """For a law without a loss of its own: the dense law whose compute-optimal loss is taken instead, ..."""
    dense_flops: Callable[[Mapping[str, Any]], Any] | None = None
    """... at these FLOPs of training, a function of the law's variables. That loss falls as the FLOPs grow."""

    def loss(self, law: "Law", variables: Mapping[str, Any]) -> Any:
        """The loss by which the law ranks, unchecked: its own, or that of its dense law."""
        if self.dense is None or self.dense_flops is None:
            return law.bare_loss(variables)
        return self.dense.optimum(train_flops=self.dense_flops(variables))["loss"]


MAY_JUDGE = Judgement()
NO_LOSS = Judgement(reason="it gives no loss")
UNFITTED = Judgement(reason="it is a form to fit to your runs first")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Law(Shown):
    """What all laws have. Losses of different laws never compare: tokenizer, data and schedule differ.

    Every question can be put to every law: one that it cannot answer is an `InapplicableLaw` with the reason.
    """

    name: str
    title: str
    source: str
    confidence: str
    """How the coefficients reached moewright: A the authors' text or code, B two independent secondary sources,
    C one secondary source; "checked" where they reproduce numbers that the paper states."""
    params_convention: str
    """Which parameters its N counts."""
    judges: Judgement = NO_LOSS
    """Whether it may rank mixtures, and why not."""
    inputs: tuple[Variable, ...] = ()
    """What its formula takes, by call name."""
    notes: tuple[str, ...] = ()

    @property
    def gives(self) -> tuple[str, ...]:
        """The names of what the law can compute or say."""
        return ()

    def _facts(self) -> Mapping[str, Any]:
        return {
            "name": self.name,
            "title": self.title,
            "gives": ", ".join(self.gives) or "a form to fit",
            "inputs": [variable.name for variable in self.inputs],
            "source": self.source,
            "confidence": self.confidence,
        }

    def as_form(self) -> "LossForm":
        """The law as a form to fit."""
        raise InapplicableLaw(f"{self.name} has no form to fit; it gives {', '.join(self.gives)}")

    def as_loss_law(self) -> "LossLaw":
        """The law as a form with coefficients."""
        raise InapplicableLaw(f"{self.name} gives no loss; it gives {', '.join(self.gives)}")

    def loss(self, **variables: Any) -> Any:
        """Loss in nats per token (of the law's own tokenizer) for numbers or arrays that broadcast.

        Options, such as clark2022's router, go by name too. UserError names a variable that is missing, unknown or
        impossible.

        >>> from moewright import laws
        >>> point = {"total_params": 1e9, "active_params": 2e8, "active_experts": 8, "shared_ratio": 0.125}
        >>> round(laws.get("zhao2025").loss(**point, train_tokens=2e10), 6)
        2.844121
        >>> laws.get("zhao2025").loss(**point, train_tokens=[1e10, 2e10]).round(3).tolist()
        [2.997, 2.844]
        """
        return self.as_loss_law().loss(**variables)

    def bare_loss(self, variables: Mapping[str, Any], coefficients: Mapping[str, Any] | None = None) -> Any:
        """The formula alone, unchecked: for callers whose variables are right by construction, and for whatever the
        formula's arithmetic accepts, such as columns of intervals or draws of coefficients."""
        return self.as_loss_law().bare_loss(variables, coefficients)

    def quantity(self, name: str, **variables: Any) -> Any:
        """A named quantity of the law other than its loss, for numbers or arrays that broadcast."""
        raise InapplicableLaw(f"{self.name} gives no {name}; it gives {', '.join(self.gives)}")

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
        """What the law says is best, by name; `moewright laws NAME` lists the arguments and the answers."""
        raise InapplicableLaw(f"{self.name} has no optimum; it gives {', '.join(self.gives) or 'a form to fit'}")

    def variables(self, architecture: Architecture, *, train_tokens: float | None = None) -> dict[str, float]:
        """The law's inputs for a model, in the law's own conventions; InapplicableLaw says why there are none."""
        raise InapplicableLaw(f"{self.name} gives no number for a model; it gives {', '.join(self.gives)}")

    def domain(self, **variables: Any) -> dict[str, Status]:
        """For each variable given: inside, below or above the runs behind the law, and by which factor."""
        raise InapplicableLaw(f"{self.name} gives no number for a model; it gives {', '.join(self.gives)}")

    def conditions(self, architecture: Architecture, *, train_tokens: float | None = None) -> dict[str, Status]:
        """Status of what the law's experiments held fixed and its formula has no symbol for."""
        return {}


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ModelLaw(Law):
    """A law about models, whose variables follow from an architecture and its training tokens."""

    held_fixed: tuple[Variable, ...] = ()
    """Conditions of its runs that the formula has no symbol for, such as an expansion of 64."""
    applies: Callable[[Architecture], str | None] = lambda _: None
    """Why the law says nothing about an architecture, or None if it does."""

    def variables(self, architecture: Architecture, *, train_tokens: float | None = None) -> dict[str, float]:
        reason = self.applies(architecture)
        if reason is not None:
            raise InapplicableLaw(f"{self.name} does not apply: {reason}")
        if train_tokens is not None:
            TRAIN_TOKENS.check(train_tokens, self.name)
        derived: dict[str, float] = {}
        for variable in self.inputs:
            value = variable.of(architecture, train_tokens)
            if value is None and variable.per_token:
                raise UserError(f"{self.name} needs train_tokens, the number of training tokens")
            if value is None:
                raise InapplicableLaw(f"{self.name} takes {variable.name}, which a model and its tokens do not give")
            derived[variable.name] = float(value)
        return derived

    def domain(self, **variables: Any) -> dict[str, Status]:
        known = {variable.name: variable for variable in (*self.inputs, *self.held_fixed)}
        for name in variables:
            if name not in known:
                check_names([name], known, self.name, "variable")
        return {
            name: status_of(known[name], known[name].check(values, self.name)) for name, values in variables.items()
        }

    def conditions(self, architecture: Architecture, *, train_tokens: float | None = None) -> dict[str, Status]:
        held = {variable: variable.of(architecture, train_tokens) for variable in self.held_fixed}
        return {
            variable.name: status_of(variable, np.asarray(value))
            for variable, value in held.items()
            if value is not None
        }


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class LossForm(ModelLaw):
    """A formula of the loss, to be fitted to runs."""

    judges: Judgement = UNFITTED
    form: Form
    optimum_rule: Optimum | None = None
    fit_settings: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Settings of a fit that this form does better with than with the general ones; a comment says why."""

    def as_form(self) -> "LossForm":
        return self

    def as_loss_law(self) -> "LossLaw":
        raise InapplicableLaw(f"{self.name} is a form without public coefficients: fit it to your runs first")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class LossLaw(LossForm):
    """A formula of the loss with its coefficients."""

    judges: Judgement = MAY_JUDGE
    coefficients: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    options: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=lambda: MappingProxyType({}))
    """Choices such as the router: option -> value -> coefficients; the first value is the default."""

    @property
    def gives(self) -> tuple[str, ...]:
        return ("loss",) if self.optimum_rule is None else ("loss", "optimum")

    def as_loss_law(self) -> "LossLaw":
        return self

    def loss(self, **variables: Any) -> Any:
        coefficients = self.coefficients_with(variables)
        checked = check_values(self.inputs, self._without_options(variables), self.name)
        with np.errstate(over="ignore"):
            return _plain(self.form.loss(coefficients, checked))

    def bare_loss(self, variables: Mapping[str, Any], coefficients: Mapping[str, Any] | None = None) -> Any:
        return self.form.loss(self.coefficients_with({}) if coefficients is None else coefficients, variables)

    def optimum(self, **arguments: Any) -> dict[str, Any]:
        if self.optimum_rule is None:
            return super().optimum(**arguments)
        coefficients = self.coefficients_with(arguments)
        return self.optimum_rule.answer(coefficients, self._without_options(arguments), self.name)

    def domain(self, **variables: Any) -> dict[str, Status]:
        return super().domain(**self._without_options(variables))

    def coefficients_with(self, arguments: Mapping[str, Any]) -> Mapping[str, float]:
        """The coefficients under the options among some arguments, each other option at its default."""
        coefficients = dict(self.coefficients)
        for option, choices in self.options.items():
            chosen = arguments.get(option, next(iter(choices)))
            if chosen not in choices:
                check_names([str(chosen)], choices, self.name, f"value of {option}")
            coefficients |= choices[chosen]
        return coefficients

    def _without_options(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in arguments.items() if name not in self.options}


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Rule(ModelLaw):
    """A law of quantities other than a loss: a learning rate, a batch size, a leverage."""

    quantities: Mapping[str, Quantity]
    optimum_rule: Optimum | None = None

    @property
    def gives(self) -> tuple[str, ...]:
        return (*self.quantities, *(() if self.optimum_rule is None else ("optimum",)))

    def quantity(self, name: str, **variables: Any) -> Any:
        if name not in self.quantities:
            return super().quantity(name, **variables)
        wanted = self.quantities[name]
        inputs = [variable for variable in self.inputs if variable.name in wanted.variables]
        return _plain(wanted.value(**check_values(inputs, variables, self.name)))

    def optimum(self, **arguments: Any) -> dict[str, Any]:
        if self.optimum_rule is None:
            return super().optimum(**arguments)
        return self.optimum_rule.answer({}, arguments, self.name)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Allocation(Law):
    """How a budget of compute divides between the model and its data, without a loss."""

    optimum_rule: Optimum
    findings: tuple[str, ...] = ()

    @property
    def gives(self) -> tuple[str, ...]:
        return ("optimum", *(("findings",) if self.findings else ()))

    def optimum(self, **arguments: Any) -> dict[str, Any]:
        return self.optimum_rule.answer({}, arguments, self.name)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Finding(Law):
    """What a study found, in sentences, without a formula."""

    findings: tuple[str, ...]

    @property
    def gives(self) -> tuple[str, ...]:
        return ("findings",)


def least_loss_of(law: Law) -> float:
    """The law's own loss of an endless model, below which no model is; 0 where the law has none."""
    try:
        asymptote = law.as_form().form.asymptote
        return 0.0 if asymptote is None else max(0.0, float(law.as_loss_law().coefficients_with({})[asymptote]))
    except InapplicableLaw:  # it gives a loss by way of another law
        return 0.0


def check_loss(law: Law, loss: float) -> None:
    """InapplicableLaw for a loss that no model has: not above 0, or below the law's own loss of an endless model."""
    floor = least_loss_of(law)
    if not (np.isfinite(loss) and loss > 0 and loss >= floor * (1 - 1e-9)):
        raise InapplicableLaw(
            f"its formula gives a loss of {loss:.4g} here, below the {floor:.4g} of an endless model: the model lies "
            "too far outside its runs"
        )


def _plain(value: Any) -> Any:
    array = np.asarray(value)
    return array.item() if array.ndim == 0 else array
