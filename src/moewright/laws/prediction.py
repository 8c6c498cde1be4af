"""What each scaling law expects of a model, how far it must extrapolate, or why it is silent.

Losses of different laws never compare: each was measured with its own tokenizer, validation set and schedule.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from moewright.architecture import Architecture
from moewright.complaints import check_number
from moewright.display import ShownTable
from moewright.errors import UserError
from moewright.laws.catalogue import get, names
from moewright.laws.derive import active_params_with_embedding, caveats
from moewright.laws.fitting.fitted_law import FittedLaw
from moewright.laws.law import InapplicableLaw, Law, LossForm, Rule, check_loss
from moewright.laws.lifetime import LeastBill, Lifetime, least_bill
from moewright.laws.repeated_data import effective_tokens, repetition_notes
from moewright.laws.variable import Status
from moewright.records import Items, Output, Record

NEVER_COMPARE = (
    "Losses of different laws never compare: tokenizer, validation set and schedule differ. "
    "Compare models under one law."
)
RATES_APART = 2.0
"""The best rates of steplaw's mixtures lie 1.2 times above it at the median (arXiv 2503.04715): twice is no scatter."""


class DomainStatus(Record):
    """Where one variable lies against the runs behind a law."""

    status: str
    """inside, below, above or unstated."""
    factor: float
    """How many times too far out; 1 inside."""
    low: float | None
    high: float | None


class LawAnswer(Record):
    """One law's answer, as JSON gives it."""

    law: str
    applies: bool
    reason: str | None
    loss: float | None
    loss_interval_90: Items[float] | None
    """Of one new run; null for published laws, and where `interval_withheld` says why."""
    interval_withheld: str | None = None
    """Why a fitted law gives no interval here, and which runs would support one."""
    quantities: Mapping[str, float]
    variables: Mapping[str, float]
    inside: bool | None
    """Whether all of `domain` is; null where the law is silent."""
    domain: Mapping[str, DomainStatus]
    least_bill: LeastBill | None = None
    """With tokens to be served: the model of the same shape and loss whose training and serving take least."""
    no_least_bill: str | None = None
    """Why there is none."""


class PredictionAnswer(Output):
    """Every law's answer about one model."""

    command: ClassVar[str] = "predict"
    model: str
    train_tokens: float
    unique_tokens: float | None = None
    """Different tokens among them, where that was said; null: all."""
    effective_tokens: float
    """New tokens that would do as much, which laws of loss are asked about."""
    serve_tokens: float | None = None
    """To be served after training, where that was said."""
    lifetime_flops: float | None = None
    """6 N_a train_tokens + 2 N_a serve_tokens of the model as it is."""
    laws: Items[LawAnswer]
    warnings: Items[str]
    note: str = NEVER_COMPARE


@dataclass(frozen=True)
class LawPrediction:
    """One law's answer about one model, or the reason for none."""

    law: str
    title: str
    reason: str | None = None
    """Why the law says nothing; None if it answers."""
    loss: float | None = None
    loss_interval: tuple[float, float] | None = None
    """90 % interval of the loss of one new run under a fitted law; None for published laws."""
    withheld: str | None = None
    """Why a fitted law gives no interval."""
    quantities: dict[str, float] = field(default_factory=dict)
    """What else it gives: efficiency_leverage, learning_rate, batch_tokens."""
    variables: dict[str, float] = field(default_factory=dict)
    domain: dict[str, Status] = field(default_factory=dict)
    """Where each variable, and each condition that the law's runs shared, lies against these runs."""
    least_bill: LeastBill | None = None
    no_least_bill: str | None = None

    @property
    def outside(self) -> list[Status]:
        """What lies outside the law's runs, furthest first."""
        return sorted((s for s in self.domain.values() if s.status in ("below", "above")), key=lambda s: -s.factor)

    def answer(self) -> LawAnswer:
        """For JSON."""
        return LawAnswer(
            law=self.law,
            applies=self.reason is None,
            reason=self.reason,
            loss=self.loss,
            loss_interval_90=self.loss_interval,
            interval_withheld=self.withheld,
            quantities=self.quantities,
            variables=self.variables,
            inside=None if self.reason is not None else not self.outside,
            domain={
                name: DomainStatus(status=status.status, factor=status.factor, low=status.low, high=status.high)
                for name, status in self.domain.items()
            },
            least_bill=self.least_bill,
            no_least_bill=self.no_least_bill,
        )


@dataclass(frozen=True, repr=False)
class Prediction(ShownTable):
    """Every law's answer about one model."""

    model: str
    train_tokens: float
    laws: tuple[LawPrediction, ...]
    warnings: tuple[str, ...]
    unique_tokens: float | None = None
    """Different tokens among those trained on; None: all."""
    life: Lifetime | None = None
    """Training and serving of the model; None where nobody said how many tokens are served."""

    @property
    def effective_tokens(self) -> float:
        """New tokens that would do as much as those trained on, which laws of loss are asked about."""
        return effective_tokens(self.train_tokens, self.unique_tokens)

    def answer(self) -> PredictionAnswer:
        """For JSON."""
        return PredictionAnswer(
            model=self.model,
            train_tokens=self.train_tokens,
            unique_tokens=self.unique_tokens,
            effective_tokens=self.effective_tokens,
            serve_tokens=None if self.life is None else self.life.served_tokens,
            lifetime_flops=None if self.life is None else self.life.flops,
            laws=tuple(law.answer() for law in self.laws),
            warnings=self.warnings,
        )

    def to_dict(self) -> dict[str, Any]:
        """The fields of `moewright predict --json`."""
        return self.answer().to_dict()

    def _facts(self) -> Mapping[str, Any]:
        losses = {law.law: round(law.loss, 4) for law in self.laws if law.loss is not None}
        return {"model": self.model, "train_tokens": self.train_tokens, "losses": losses}

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        return [
            {
                "law": law.law,
                "loss": law.loss,
                "low_90": None if law.loss_interval is None else law.loss_interval[0],
                "high_90": None if law.loss_interval is None else law.loss_interval[1],
                **law.quantities,
                "outside": ", ".join(f"{status.variable} {status.factor:.3g}x" for status in law.outside),
                "reason": law.reason,
            }
            for law in self.laws
        ]


def predict_losses(
    name: str,
    architecture: Architecture,
    train_tokens: float,
    laws: Iterable[Law] | None = None,
    warnings: Iterable[str] = (),
    *,
    unique_tokens: float | None = None,
    serve_tokens: float | None = None,
) -> Prediction:
    """What each law expects of a model trained on so many tokens; None asks every published law that gives a number.

    A law that does not apply is listed with its reason. `name` and `warnings` are carried into the answer. With fewer
    `unique_tokens` than are trained, laws of loss are asked about the new tokens that would do as much. With
    `serve_tokens` each is asked, too, for the model of the same loss whose training and serving take least.
    """
    chosen = list(laws) if laws is not None else [law for law in map(get, names()) if _gives_numbers(law)]
    notes = repetition_notes(train_tokens, unique_tokens)
    worth = effective_tokens(train_tokens, unique_tokens)
    answers = tuple(_ask(law, architecture, worth if "loss" in law.gives else train_tokens) for law in chosen)
    life = None
    if serve_tokens is not None:
        check_number(serve_tokens, "serve-tokens", above=0)
        life = Lifetime(active_params_with_embedding(architecture), train_tokens, unique_tokens, serve_tokens)
        answers = tuple(_with_bill(law, answer, life) for law, answer in zip(chosen, answers, strict=True))
    told = (*warnings, *notes, *_rates_apart(answers), *caveats(architecture))
    return Prediction(name, train_tokens, answers, told, unique_tokens, life)


def _rates_apart(answers: Iterable[LawPrediction]) -> tuple[str, ...]:
    """A note where laws advise learning rates that differ by more than `RATES_APART`."""
    advised = [
        (answer.quantities["learning_rate"], answer.law) for answer in answers if "learning_rate" in answer.quantities
    ]
    if not advised or max(advised)[0] <= RATES_APART * min(advised)[0]:
        return ()
    (low, lowest), (high, highest) = min(advised), max(advised)
    return (
        f"laws advise learning rates {high / low:.2g} times apart, {low:.2g} ({lowest}) to {high:.2g} ({highest}): "
        "tune it on smaller runs, such as a sweep with a tuning stage",
    )


def _gives_numbers(law: Law) -> bool:
    return isinstance(law, LossForm | Rule | FittedLaw)


def _with_bill(law: Law, answer: LawPrediction, life: Lifetime) -> LawPrediction:
    if answer.loss is None:
        return answer
    try:
        return replace(answer, least_bill=least_bill(law, answer.variables, life))
    except InapplicableLaw as reason:
        return replace(answer, no_least_bill=str(reason))


def _ask(law: Law, architecture: Architecture, train_tokens: float) -> LawPrediction:
    try:
        if isinstance(law, LossForm) and "loss" not in law.gives:
            raise InapplicableLaw("its coefficients are not public: fit it to your runs")
        variables = law.variables(architecture, train_tokens=train_tokens)
        domain = law.domain(**variables) | law.conditions(architecture, train_tokens=train_tokens)
        loss = float(law.loss(**variables)) if "loss" in law.gives else None
        if loss is not None:
            check_loss(law, loss)
        quantities = {}
        if isinstance(law, Rule):
            for name, quantity in law.quantities.items():
                quantities[name] = float(law.quantity(name, **{key: variables[key] for key in quantity.variables}))
    except InapplicableLaw as reason:
        return LawPrediction(law.name, law.title, reason=str(reason).removeprefix(f"{law.name} does not apply: "))
    except UserError as error:
        # The model has a value for which the formula means nothing.
        return LawPrediction(law.name, law.title, reason=str(error).removeprefix(f"{law.name}: "))
    interval = withheld = None
    if isinstance(law, FittedLaw) and len(law.record.draws):
        withheld = law.why_withheld(**variables)
        if withheld is None:
            low, high = law.prediction_interval(**variables)
            interval = (float(low), float(high))
    return LawPrediction(law.name, law.title, None, loss, interval, withheld, quantities, variables, domain)
