"""What is known about a law, as plain data: for `moewright laws`, for JSON, for the report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from moewright.display import Shown, ShownTable
from moewright.laws.catalogue import get, names
from moewright.laws.law import Law
from moewright.laws.variable import Variable


@dataclass(frozen=True, repr=False)
class LawList(ShownTable):
    """Every published law, a line of facts each."""

    laws: tuple[dict[str, Any], ...]

    def to_dict(self) -> dict[str, Any]:
        """The fields of `moewright laws --json`."""
        return {"laws": list(self.laws)}

    def _facts(self) -> Mapping[str, Any]:
        return {"laws": len(self.laws)}

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        return self.laws


@dataclass(frozen=True, repr=False)
class LawDescription(Shown):
    """Everything about one law."""

    described: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """The fields of `moewright laws NAME --json`."""
        return self.described

    def _facts(self) -> Mapping[str, Any]:
        return {name: self.described[name] for name in ("name", "title", "formula", "gives")}


def describe(law: str | Law) -> dict[str, Any]:
    """Everything about one law: meaning and fitted range of each variable, formula, coefficients, optima, warnings."""
    law = get(law) if isinstance(law, str) else law
    described: dict[str, Any] = {
        "name": law.name,
        "title": law.title,
        "source": law.source,
        "confidence": law.confidence,
        "params_convention": law.params_convention,
        "gives": list(law.gives),
        "formula": law.form.formula if law.form else None,
        "coefficients": dict(law.coefficients),
        "options": {name: {value: dict(row) for value, row in rows.items()} for name, rows in law.options.items()},
        "variables": [_variable(variable) for variable in law.inputs if variable.is_input],
        "held_fixed": [_variable(variable) for variable in law.inputs if not variable.is_input],
        "findings": list(law.findings),
        "notes": list(law.notes),
        "fit_settings": dict(law.fit_settings),
    }
    record = getattr(law, "record", None)
    if record is not None:
        described["fit"] = {
            name: getattr(record, name)
            for name in ("law", "status", "num_rows", "num_clusters", "rmse", "rmse_log", "failed", "data_sha256")
        } | {"replicates": len(record.draws), "holdout": record.holdout, "tuned": record.tuned}
    rule = law.optimum_rule
    if rule is not None:
        described["optimum"] = {
            "arguments": [_variable(variable) for variable in rule.arguments],
            "optional": [_variable(variable) for variable in rule.optional],
            "answers": dict(rule.answers),
        }
        if not rule.arguments and (law.coefficients or law.quantities):
            described["optimum"]["values"] = law.optimum()
    return described


def describe_all() -> list[dict[str, Any]]:
    """One line of facts per law."""
    return [
        {
            "name": name,
            "title": get(name).title,
            "gives": list(get(name).gives),
            "variables": [variable.name for variable in get(name).inputs if variable.is_input],
            "confidence": get(name).confidence,
        }
        for name in names()
    ]


def _variable(variable: Variable) -> dict[str, Any]:
    return {
        "name": variable.name,
        "meaning": variable.meaning,
        "unit": variable.unit,
        "low": variable.low,
        "high": variable.high,
    }
