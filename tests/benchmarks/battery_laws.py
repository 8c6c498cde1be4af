"""Every law fitted to tables that leave it little to go by, and everything that is then asked of it.

    python -m tests.benchmarks.battery_laws

fits each form to a table of its own kind (a published law's own losses with noise, else a smooth surface) in which one
thing is amiss: a column constant, a coefficient at 0 or at a bound, one row, two sizes, repeated rows, huge or tiny
values. The answer is printed, written as JSON, drawn, saved, loaded, described, asked for a model and for designs. What
may come of it is a result or one line of a UserError: no other exception, no warning of arithmetic, no NaN.
"""

import io
import json
import re
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import moewright
from moewright import UserError, laws
from moewright.designs.space import Space
from moewright.report.design_tables import print_designs
from moewright.report.fit_figures import write_fit_figures
from moewright.report.fit_tables import print_fit
from moewright.report.law_tables import print_law, print_prediction
from moewright.screen import Screen

ROWS = 40
SPACE = Space(widths=(1024,), depths=(16,), experts=(8, 64))
FORMS = [name for name in laws.names() if isinstance(laws.get(name), laws.LossForm)]
_RANGES = {
    "shared_ratio": (0.0, 0.6), "sparsity": (0.1, 0.9), "num_experts": (1, 64), "granularity": (1, 16),
    "active_experts": (1, 20), "train_flops": (1e18, 1e21), "total_params": (1e8, 4e9), "active_params": (3e7, 1e9),
    "train_tokens": (1e10, 1e11),
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One fit: a law, what is amiss, the table and the settings."""

    law: str
    amiss: str
    table: pd.DataFrame
    settings: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.law}, {self.amiss}"


def table_for(name: str, rows: int = ROWS) -> pd.DataFrame:
    """Rows that the law's form accepts, with losses by the law itself where it has any, else by a smooth surface."""
    law = laws.get(name).as_form()
    random = np.random.default_rng(0)
    columns = {}
    for variable in law.inputs:
        low, high = _RANGES.get(variable.name, (variable.low or 0.0, variable.high or 1.0))
        if name == "liew2026" and variable.name == "sparsity":
            low, high = 2.0, 32.0
        wide = low > 0 and high > 8 * low
        drawn = random.uniform(np.log(low), np.log(high), rows) if wide else random.uniform(low, high, rows)
        columns[variable.name] = np.exp(drawn) if wide else drawn
    if {"total_params", "active_params"} <= set(columns):
        columns["active_params"] = np.minimum(columns["active_params"], 0.9 * columns["total_params"])
    surface = 2.0 + sum(0.3 * (1 - np.argsort(np.argsort(values)) / rows) for values in columns.values()) / len(columns)
    if isinstance(law, laws.LossLaw):
        given = np.asarray(law.loss(**columns), dtype=np.float64)
        surface = np.where((given > 0.5) & (given < 10), given, surface)
    return pd.DataFrame({**columns, "loss": surface * np.exp(0.003 * random.standard_normal(rows))})


def cases() -> Iterator[Case]:
    """All of them, law by law."""
    for name in FORMS:
        law, table = laws.get(name).as_form(), table_for(name)
        yield Case(name, "nothing", table, {})
        for variable in law.inputs:
            for place, word in ((table[variable.name].min(), "least"), (table[variable.name].median(), "median")):
                yield Case(name, f"{variable.name} constant at its {word}", table.assign(**{variable.name: place}), {})
        if "shared_ratio" in table:
            yield Case(name, "no shared experts", table.assign(shared_ratio=0.0), {})
        for coefficient in law.form.coefficients:
            for value in {0.0, *(end for end in (coefficient.lower, coefficient.upper) if np.isfinite(end))}:
                yield Case(name, f"{coefficient.name} fixed at {value:g}", table, {"fix": {coefficient.name: value}})
            far = max(1.0, abs(coefficient.lower) if np.isfinite(coefficient.lower) else 1.0)
            bound = (
                {coefficient.name: (far, 2 * far)} if coefficient.upper > 0 else {coefficient.name: (-2 * far, -far)}
            )
            yield Case(name, f"{coefficient.name} bounded", table, {"bound": bound})
        number = len(law.form.coefficients)
        for rows in (1, 2, number, number + 1):
            yield Case(name, f"{rows} rows", table[:rows], {})
        two = table.copy()
        for variable in law.inputs:
            values = table[variable.name].to_numpy()
            two[variable.name] = np.where(np.arange(ROWS) % 2, np.quantile(values, 0.2), np.quantile(values, 0.8))
        yield Case(name, "two sizes", two, {})
        yield Case(name, "repeated rows", pd.concat([table[: number + 2]] * 5, ignore_index=True), {})
        yield Case(name, "the same row", pd.concat([table[:1]] * ROWS, ignore_index=True), {})
        yield Case(name, "one loss", table.assign(loss=2.5), {})
        yield Case(name, "tiny losses", table.assign(loss=table["loss"] * 1e-6), {})
        for factor in (1e-4, 1e6):
            scaled = table.copy()
            for variable in law.inputs:
                if variable.unit in ("parameters", "tokens", "FLOPs"):
                    scaled[variable.name] *= factor
            yield Case(name, f"sizes times {factor:g}", scaled, {})
        yield Case(name, "losses without order", table.assign(loss=table["loss"].to_numpy()[::-1].copy()), {})


def faults(case: Case, folder: Path, plots: bool = True, designs: bool = True) -> tuple[str, list[str]]:
    """How the fit ended (a status, or refused) and what was wrong with it or with what it answered."""
    found: list[str] = []
    ended = ["refused"]

    def fitted() -> str:
        fit = moewright.fit(case.table, case.law, bootstrap=30, **case.settings)
        ended[:] = [fit.law.status]
        asked.update(fit=fit, law=fit.law)
        return _printed(print_fit, fit)

    def saved() -> str:
        asked["law"].save(folder / "law.json")
        asked["law"] = laws.load(folder / "law.json")
        return (folder / "law.json").read_text()

    asked: dict[str, Any] = {}
    steps: dict[str, Any] = {
        "fit": fitted,
        "json": lambda: json.dumps(asked["fit"].to_dict(), allow_nan=False),
        "plots": lambda: "" if write_fit_figures(asked["fit"], folder) else "nothing drawn",
        "save": saved,
        "laws": lambda: _printed(print_law, laws.describe(asked["law"])),
        "laws json": lambda: json.dumps(laws.describe(asked["law"]).to_dict(), allow_nan=False),
        "predict": lambda: _printed(print_prediction, _prediction(asked["law"])),
        "predict json": lambda: json.dumps(_prediction(asked["law"]).to_dict(), allow_nan=False),
        "design": lambda: _printed(print_designs, _designs(asked["law"])),
    }
    for name, step in steps.items():
        if (name == "plots" and not plots) or (name == "design" and not designs):
            continue
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            try:
                text = step()
            except UserError as error:
                text = str(error)
                if "\n" in text:
                    found.append(f"{name}: a complaint of several lines: {text!r}")
            except Exception:
                found.append(f"{name}: {traceback.format_exc(limit=-2)}")
                text = ""
        if name == "fit" and "fit" not in asked and found == []:
            found += [f"fit: NaN in a complaint: {text}"] if re.search(r"\bnan\b", text, re.IGNORECASE) else []
            break
        if re.search(r"\b(nan|inf)\b", text, re.IGNORECASE):
            found.append(f"{name}: NaN or inf: ...{_around(text)}")
        found += [f"{name}: {item.category.__name__}: {item.message}" for item in heard[:1]]
        if "fit" not in asked:
            break
    return ended[0], found


def _around(text: str) -> str:
    place = re.search(r"\b(nan|inf)\b", text, re.IGNORECASE)
    return "" if place is None else text[max(0, place.start() - 60) : place.end() + 20]


def _printed(function: Any, answer: Any) -> str:
    file = io.StringIO()
    function(Screen(file=file, width=80), answer)
    return file.getvalue()


def _prediction(law: Any) -> Any:
    return moewright.predict("olmoe-1b-7b", train_tokens="2T", law=[law])


def _designs(law: Any) -> Any:
    return moewright.design(memory="80GB", train_tokens="2T", law=[law], space=SPACE)


def main() -> None:
    """Run every case; print how many ended how, then each fault."""
    ends: Counter[str] = Counter()
    faulty = 0
    with tempfile.TemporaryDirectory() as folder:
        for number, case in enumerate(cases()):
            # A search of designs takes seconds and drawing one; both read only what the other answers read too.
            ended, found = faults(case, Path(folder), plots=number % 8 == 0, designs=number % 40 == 0)
            ends[ended] += 1
            faulty += bool(found)
            for fault in found:
                print(f"{case}: {fault}", flush=True)
    print(f"{ends.total()} cases of {len(FORMS)} laws; {faulty} with faults; ended: {dict(ends.most_common())}")
    sys.exit(faulty > 0)


if __name__ == "__main__":
    main()
