"""predict: the loss that each scaling law expects of a model, how far it must extrapolate, or why it is silent.

Losses of different laws never compare: each was measured with its own tokenizer, validation set and schedule.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moewright.architecture.spec import Architecture
from moewright.commands.checking import as_list, command
from moewright.errors import UserError
from moewright.hf.sources import load_architecture
from moewright.laws import InapplicableLaw, Law, get, names
from moewright.laws.derive import caveats
from moewright.laws.variable import Status
from moewright.quantities import parse_count

NEVER_COMPARE = (
    "Losses of different laws never compare: tokenizer, validation set and schedule differ. "
    "Compare models under one law."
)
INTERVAL_LEVEL = 0.9


@dataclass(frozen=True)
class LawPrediction:
    """One law's answer about one model, or the reason for none."""

    law: str
    title: str
    reason: str | None = None
    """Why the law says nothing; None if it answers."""
    loss: float | None = None
    loss_interval: tuple[float, float] | None = None
    """90 % interval of the law's loss from a fit's draws; None for published laws."""
    quantities: dict[str, float] = field(default_factory=dict)
    """What else it gives: efficiency_leverage, learning_rate, batch_tokens."""
    variables: dict[str, float] = field(default_factory=dict)
    domain: dict[str, Status] = field(default_factory=dict)
    """Where each variable, and each condition that the law's runs shared, lies against these runs."""

    @property
    def outside(self) -> list[Status]:
        """What lies outside the law's runs, furthest first."""
        return sorted((s for s in self.domain.values() if s.status in ("below", "above")), key=lambda s: -s.factor)


@dataclass(frozen=True)
class Prediction:
    """Every law's answer about one model."""

    model: str
    train_tokens: float
    laws: tuple[LawPrediction, ...]
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The fields of `moewright predict --json`."""
        return {
            "model": self.model,
            "train_tokens": self.train_tokens,
            "laws": [_to_dict(answer) for answer in self.laws],
            "warnings": list(self.warnings),
            "note": NEVER_COMPARE,
        }


@command
def predict(
    config: str | Path | dict[str, Any] | Architecture,
    train_tokens: str | float,
    law: str | Path | Law | Iterable[str | Path | Law] | None = None,
) -> Prediction:
    """How good will it be? What every scaling law that applies expects, and how far it must extrapolate.

    A law that does not apply is listed with its reason.

    Args:
        config: HF config.json, its folder, or a moewright architecture file.
        train_tokens: Training tokens, such as 2T.
        law: A law's name or the file of a fitted one; repeatable. [default: all]

    Raises:
        UserError: For what cannot be read.
    """
    loaded = load_architecture(config)
    tokens = parse_count(train_tokens, "train-tokens")
    chosen = list(_all_that_answer()) if law is None else [resolve_law(each) for each in as_list(law)]
    answers = tuple(_ask(each, loaded.architecture, tokens) for each in chosen)
    return Prediction(loaded.name, tokens, answers, (*loaded.warnings, *caveats(loaded.architecture)))


def resolve_law(law: str | Path | Law) -> Law:
    """A law from its name, the file of a fitted one, or itself."""
    if isinstance(law, Law):
        return law
    if isinstance(law, Path) or law.endswith(".json") or "/" in law:
        from moewright.laws import load

        return load(law)
    return get(law)


def _all_that_answer() -> Iterable[Law]:
    for name in names():
        law = get(name)
        if law.form is not None or law.quantities:
            yield law


def _ask(law: Law, architecture: Architecture, train_tokens: float) -> LawPrediction:
    try:
        if law.form is None and not law.quantities:
            raise InapplicableLaw(f"{law.name} gives no number for a model; it gives {', '.join(law.gives)}")
        if law.form is not None and "loss" not in law.gives:
            raise InapplicableLaw("its coefficients are not public: fit it to your runs")
        variables = law.variables(architecture, train_tokens=train_tokens)
        domain = law.domain(**variables) | law.conditions(architecture, train_tokens=train_tokens)
        loss = float(law.loss(**variables)) if "loss" in law.gives else None
        quantities = {
            name: float(law.quantity(name, **{key: variables[key] for key in quantity.variables}))
            for name, quantity in law.quantities.items()
        }
    except InapplicableLaw as reason:
        return LawPrediction(law.name, law.title, reason=str(reason).removeprefix(f"{law.name} does not apply: "))
    except UserError as error:
        # The model has a value for which the formula means nothing.
        return LawPrediction(law.name, law.title, reason=str(error).removeprefix(f"{law.name}: "))
    return LawPrediction(law.name, law.title, None, loss, _interval(law, variables), quantities, variables, domain)


def _interval(law: Law, variables: dict[str, float]) -> tuple[float, float] | None:
    record = getattr(law, "record", None)
    if record is None or not len(record.draws):
        return None
    low, high = law.loss_interval(INTERVAL_LEVEL, **variables)  # type: ignore[attr-defined]  # a FittedLaw
    return float(low), float(high)


def _to_dict(answer: LawPrediction) -> dict[str, Any]:
    return {
        "law": answer.law,
        "applies": answer.reason is None,
        "reason": answer.reason,
        "loss": answer.loss,
        "loss_interval_90": list(answer.loss_interval) if answer.loss_interval else None,
        "quantities": answer.quantities,
        "variables": answer.variables,
        "inside": None if answer.reason is not None else not answer.outside,
        "domain": {
            name: {"status": status.status, "factor": status.factor, "low": status.low, "high": status.high}
            for name, status in answer.domain.items()
        },
    }
