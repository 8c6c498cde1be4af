"""What is known about a law, as a record: for `moewright laws`, for JSON, for the report."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field

from moewright.display import Shown, ShownTable
from moewright.laws.catalogue import get, names
from moewright.laws.fitting.extrapolation import TuningRecord
from moewright.laws.fitting.fit_record import HoldoutErrors
from moewright.laws.fitting.fitted_law import FittedLaw
from moewright.laws.law import Allocation, Finding, Law, LossForm, LossLaw, ModelLaw, Optimum, Rule
from moewright.laws.variable import Variable
from moewright.records import Items, Output, Reading, Record


class VariableDescription(Record):
    """One variable of a law, and the range of the runs behind it."""

    name: str
    meaning: str
    unit: str
    low: float | None
    high: float | None


class OptimumDescription(Record):
    """What a law can optimise; `values` where that needs no argument."""

    arguments: Items[VariableDescription]
    optional: Items[VariableDescription]
    answers: Mapping[str, str]
    values: Mapping[str, Reading] | None = None

    def to_dict(self, defaults: bool = True) -> dict[str, Any]:
        return super().to_dict(defaults=False)


class FitDescription(Record):
    """The record of a fit without its arrays."""

    law: str
    status: str
    num_rows: int
    num_clusters: int
    rmse: float
    rmse_log: float
    failed: int
    data_sha256: str
    replicates: int
    holdout: HoldoutErrors | None
    tuned: TuningRecord | None


class LawDescription(Shown, Output):
    """Everything about one law."""

    command: ClassVar[str] = "laws NAME"
    name: str
    title: str
    source: str
    confidence: str
    params_convention: str
    gives: Items[str]
    formula: str | None = None
    coefficients: Mapping[str, float] = Field(default_factory=dict)
    options: Mapping[str, Mapping[str, Mapping[str, float]]] = Field(default_factory=dict)
    """Option -> value -> coefficients; the first value is the default."""
    variables: Items[VariableDescription]
    held_fixed: Items[VariableDescription] = ()
    """What the law's runs held fixed and its formula has no symbol for."""
    findings: Items[str] = ()
    notes: Items[str]
    fit_settings: Mapping[str, str] = Field(default_factory=dict)
    fit: FitDescription | None = None
    """Of a fitted law only."""
    optimum: OptimumDescription | None = None
    """Of a law that has one only."""

    def to_dict(self, defaults: bool = True) -> dict[str, Any]:
        absent = [name for name in ("fit", "optimum") if getattr(self, name) is None]
        return {name: value for name, value in super().to_dict(defaults).items() if name not in absent}

    def _facts(self) -> Mapping[str, Any]:
        return {name: getattr(self, name) for name in ("name", "title", "gives", "source", "confidence")}


class LawLine(Record):
    """One law in the list."""

    name: str
    title: str
    gives: Items[str]
    variables: Items[str]
    confidence: str


class LawList(ShownTable, Output):
    """All laws, one line each."""

    command: ClassVar[str] = "laws"
    laws: Items[LawLine]

    def _facts(self) -> Mapping[str, Any]:
        return {"laws": len(self.laws)}

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        return [line.to_dict() for line in self.laws]


def describe(law: str | Law) -> LawDescription:
    """Everything about one law: meaning and fitted range of each variable, formula, coefficients, optima, warnings.

    >>> from moewright import laws
    >>> laws.describe("abnar2025").formula
    'L = a N^-alpha + b D^-beta + c (1-S)^-lambda + d (1-S)^-delta N^-gamma + e'
    """
    law = get(law) if isinstance(law, str) else law
    of_kind: dict[str, Any] = {}
    inner = law.law if isinstance(law, FittedLaw) else law
    rule = inner.optimum_rule if isinstance(inner, LossForm | Rule | Allocation) else None
    if isinstance(inner, ModelLaw):
        of_kind["held_fixed"] = _variables(inner.held_fixed)
    if isinstance(inner, LossForm):
        of_kind |= {"formula": inner.form.formula, "fit_settings": dict(inner.fit_settings)}
    if isinstance(inner, LossLaw):
        of_kind |= {"coefficients": dict(inner.coefficients), "options": inner.options}
    if isinstance(inner, Allocation | Finding):
        of_kind["findings"] = inner.findings
    return LawDescription(
        name=law.name,
        title=law.title,
        source=law.source,
        confidence=law.confidence,
        params_convention=law.params_convention,
        gives=law.gives,
        variables=_variables(law.inputs),
        notes=law.notes,
        fit=_fit(law) if isinstance(law, FittedLaw) else None,
        optimum=None if rule is None else _optimum(law, rule),
        **of_kind,
    )


def describe_all() -> LawList:
    """One line of facts per law."""
    lines = []
    for law in map(get, names()):
        variables = tuple(variable.name for variable in law.inputs)
        line = LawLine(name=law.name, title=law.title, gives=law.gives, variables=variables, confidence=law.confidence)
        lines.append(line)
    return LawList(laws=tuple(lines))


def _fit(law: FittedLaw) -> FitDescription:
    record = law.record
    return FitDescription(
        law=record.law,
        status=record.status,
        num_rows=record.num_rows,
        num_clusters=record.num_clusters,
        rmse=record.rmse,
        rmse_log=record.rmse_log,
        failed=record.failed,
        data_sha256=record.data_sha256,
        replicates=len(record.draws),
        holdout=record.holdout,
        tuned=record.tuned,
    )


def _optimum(law: Law, rule: Optimum) -> OptimumDescription:
    return OptimumDescription(
        arguments=_variables(rule.arguments),
        optional=_variables(rule.optional),
        answers=rule.answers,
        values=law.optimum() if not rule.arguments and "optimum" in law.gives else None,
    )


def _variables(variables: Sequence[Variable]) -> tuple[VariableDescription, ...]:
    return tuple(
        VariableDescription(name=item.name, meaning=item.meaning, unit=item.unit, low=item.low, high=item.high)
        for item in variables
    )
