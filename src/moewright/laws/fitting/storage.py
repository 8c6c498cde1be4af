"""A fitted law as one JSON file, floats written so that they read back to the same bits."""

from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from moewright.errors import UserError
from moewright.files import read_mapping, write_mapping
from moewright.laws.catalogue import get, names
from moewright.laws.fitting.fitted import FitRecord, FittedLaw
from moewright.laws.fitting.identifiability import Identified
from moewright.laws.law import MAY_JUDGE

FORMAT = "moewright-law/1"
_ARRAYS = ("draws", "residuals", "weights")


def save(law: FittedLaw, path: Path) -> None:
    """Write the law; UserError where its form is not one of moewright's, which `load` could not find again."""
    if law.record.law not in names():
        raise UserError(
            f"{law.name}: the form {law.record.law} is not in moewright's list of laws, so no file can name it"
        )
    record = {item.name: getattr(law.record, item.name) for item in fields(FitRecord)}
    for name in _ARRAYS:
        record[name] = record[name].tolist()
    record["identified"] = [asdict(item) for item in law.record.identified]
    write_mapping(
        path,
        {
            "format": FORMAT,
            "name": law.name,
            "law": law.record.law,
            "coefficients": dict(law.coefficients),
            "ranges": {variable.name: [variable.low, variable.high] for variable in law.inputs},
            **{name: value for name, value in record.items() if name != "law"},
        },
    )


def load(path: str | Path) -> FittedLaw:
    """The law in a file that `save` wrote; UserError names the file and what is wrong with it."""
    path = Path(path)
    content = read_mapping(path)
    if content.get("format") != FORMAT:
        raise UserError(f"{path}: not a fitted law: format is {content.get('format')!r}, expected {FORMAT!r}")
    try:
        return _read(content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, UserError):
            raise UserError(f"{path}: {error}") from None
        missing = f"the field {error} is missing" if isinstance(error, KeyError) else str(error)
        raise UserError(f"{path}: damaged fitted law: {missing}") from None


def _read(content: dict[str, Any]) -> FittedLaw:
    parent = get(content["law"])
    if parent.form is None:
        raise ValueError(f"{parent.name} is not a law that can be fitted")
    values = {item.name: content[item.name] for item in fields(FitRecord)}
    for name in _ARRAYS:
        values[name] = np.array(values[name], dtype=np.float64)
    coefficients = parent.form.coefficients
    values["draws"] = values["draws"].reshape(-1, len(coefficients))
    if not values["residuals"].shape == values["weights"].shape == (values["num_rows"],):
        raise ValueError("residuals and weights must have one number per row")
    values["messages"] = tuple(values["messages"])
    values["identified"] = tuple(
        Identified(**{**item, "moves_with": tuple(item["moves_with"])}) for item in values["identified"]
    )
    return fitted_law(
        parent,
        content["name"],
        {coefficient.name: float(content["coefficients"][coefficient.name]) for coefficient in coefficients},
        {name: (low, high) for name, (low, high) in content["ranges"].items()},
        FitRecord(**values),
    )


def fitted_law(
    parent: Any, name: str, coefficients: dict[str, float], ranges: dict[str, tuple[float, float]], record: FitRecord
) -> FittedLaw:
    """A fitted law with its parent's form, variables and optimum, and its own coefficients and fitted ranges."""
    inputs = tuple(
        replace(variable, low=ranges[variable.name][0], high=ranges[variable.name][1])
        for variable in parent.inputs
        if variable.is_input and variable.name in ranges
    )
    return FittedLaw(
        name=name,
        title=f"{parent.title}, fitted to {record.num_rows} runs",
        source=f"fitted by moewright; form of {parent.source}",
        confidence=record.status,
        params_convention=parent.params_convention,
        inputs=inputs,
        form=parent.form,
        coefficients=coefficients,
        optimum_rule=parent.optimum_rule,
        applies=parent.applies,
        # What its authors' runs could not tell, these may.
        judges=parent.judges if parent.judges.of_form else MAY_JUDGE,
        notes=record.messages,
        record=record,
    )
