"""next: which runs to make next, in order, and what they are expected to settle."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moewright.commands.checking import as_list, command, writes
from moewright.commands.collect_runs import run_table_of
from moewright.complaints import named_texts, one_of
from moewright.errors import UserError
from moewright.files import read_mapping, write_text
from moewright.outputs import NEXT_MARK, NEXT_RUNS, Destination, deliver

if TYPE_CHECKING:
    import pandas as pd

    from moewright.architecture import Architecture
    from moewright.hardware.devices import Device
    from moewright.laws import Law
    from moewright.laws.selection.run_choice import NextRuns


@command
@writes(out=NEXT_RUNS)
def next_runs(
    runs: str | Path | pd.DataFrame | None = None,
    *,
    candidates: str | Path | dict[str, Any] | pd.DataFrame | None = None,
    for_: str = "forecast",
    spend: str | float | None = None,
    law: str | Path | Law | Iterable[str | Path | Law] | None = None,
    target: str
    | Path
    | dict[str, Any]
    | Architecture
    | Iterable[str | Path | dict[str, Any] | Architecture]
    | None = None,
    train_tokens: str | float | None = None,
    noise: float | None = None,
    within: float | None = None,
    confidence: float = 0.95,
    most: int = 20,
    hardware: str | Path | Device | None = None,
    price: Mapping[str, float] | str | Iterable[str] | None = None,
    out: str | Path | None = None,
    force: bool = False,
) -> NextRuns:
    """Which runs would settle it? The runs to make next, in order, each with its cost and what it is expected to tell.

    Beliefs are those of the laws given the runs so far, with what the laws' forms miss; without runs the first batch
    fills the space of the candidates. A candidate that diverges or fails costs and tells nothing: as many are expected
    to as did.

    Args:
        runs: Run table so far, or a folder of runs. [default: nothing has run]
        candidates: Sweep to choose from, or a table of models and tokens. [default: the runs' models, larger ones and
            longer training]
        for_: What the runs are for: forecast, design, compare.
        spend: FLOPs that the runs may take together, such as 1e21. [default: no limit]
        law: A law's name or the file of a fitted one; repeatable. [default: those whose variables all tables have]
        target: Model in question: a config or name, a sweep of such models, or variables such as
            total_params=7B,train_tokens=2T; repeatable. [default: four times the largest candidate]
        train_tokens: Training tokens of targets that are configs, such as 2T.
        noise: Standard deviation of log loss between seeds. [default: what the runs say]
        within: Nats to come to: half the 90 % interval, or the expected regret. [default: .01, or .002]
        confidence: Of a comparison's verdict.
        most: Runs to name at most.
        hardware: Device for the hours, such as H100, or a YAML file of devices: FILE or FILE:NAME.
        price: Of a device-hour, such as H100=2.5: the runs' cost in money too.
        out: Sweep specification (or table, where the candidates are one) of the runs that are named.
        force: Replace an existing file that is no earlier result of this command. Inputs are never replaced.

    Raises:
        UserError: For whatever cannot be read, and where nothing is left to choose from.
        RunStopped: When the place of the output was lost meanwhile; says where the result is instead.
    """
    import pandas as pd

    import moewright.runs as run_tables
    from moewright.hardware.bills import read_prices
    from moewright.laws.fitting.fitted_law import resolve_laws
    from moewright.laws.selection.grid import grid_of
    from moewright.laws.selection.run_choice import next_runs_of
    from moewright.quantities import parse_count
    from moewright.runs.table_files import TABLE_ENDINGS, check_ending, write_frame

    def write(found: NextRuns, path: Path) -> None:
        if sweep is not None:
            write_text(path, sweep.spec_text(found.rows, path))
        else:
            write_frame(table.iloc[list(found.rows)], path, NEXT_MARK)

    budget = None if spend is None else parse_count(spend, "spend")
    told = None if runs is None else run_table_of(runs)
    sweep = None
    if candidates is None:
        if told is None:
            raise UserError("candidates: nothing has run yet; name the sweep or the table to choose from")
        table = grid_of(told, budget)
    elif isinstance(candidates, pd.DataFrame):
        table = run_tables.prepare(candidates, "candidates")
    elif isinstance(candidates, dict) or Path(candidates).suffix.lower() in (".yaml", ".yml", ".json"):
        from moewright.sweeps.foresight.sweep_candidates import sweep_candidates

        sweep = sweep_candidates(candidates, told)
        table = sweep.table
    else:
        table = run_table_of(candidates)
    if out is not None:
        check_ending(Path(out), (".yaml", ".yml") if sweep is not None else TABLE_ENDINGS, "out")
    found = next_runs_of(
        told,
        table,
        _targets(as_list(target), train_tokens),
        resolve_laws(as_list(law)),
        purpose=for_,  # type: ignore[arg-type]  # checked there
        spend=budget,
        noise=noise,
        within=within,
        confidence=confidence,
        most=most,
        hardware=hardware,
        price=None if price is None else read_prices(price if isinstance(price, Mapping) else as_list(price)),
        settings=None if sweep is None else sweep.settings,
    )
    if out is not None:
        deliver((Destination("out", out, NEXT_RUNS), lambda path: write(found, path)), force=force)
    return found


def _targets(given: list[Any], train_tokens: str | float | None) -> pd.DataFrame | None:
    """Targets by the laws' variables, or by their architectures and tokens."""
    import pandas as pd

    if not given:
        if train_tokens is not None:
            raise UserError("train-tokens: goes with --target, the models that are in question")
        return None
    stated = [isinstance(each, str) and "=" in each for each in given]
    if any(stated) and not all(stated):
        raise UserError("target: give all as configs or all as variables; laws count parameters in their own ways")
    if all(stated):
        if train_tokens is not None:
            raise UserError("train-tokens: state train_tokens=... in each target")
        rows = [{**_variables(text), "name": text} for text in given]
        return pd.DataFrame(rows)
    if any(map(_is_sweep, given)):
        return _swept(given, train_tokens)
    if train_tokens is None:
        raise UserError("train-tokens: say how many tokens the targets are trained on, such as 2T")
    from moewright.hf.loading import load_architecture
    from moewright.quantities import parse_tokens

    tokens = parse_tokens(train_tokens, "train-tokens")
    models = [load_architecture(each) for each in given]
    return pd.DataFrame(
        [
            {"name": model.name, "architecture": model.architecture.model_dump_json(), "train_tokens": tokens}
            for model in models
        ]
    )


def _is_sweep(given: Any) -> bool:
    """Whether a target is a sweep's specification."""
    if isinstance(given, dict):
        return "axes" in given
    is_file = isinstance(given, str | Path) and Path(given).suffix.lower() in (".yaml", ".yml", ".json")
    return is_file and Path(given).is_file() and "axes" in read_mapping(Path(given))


def _swept(given: list[Any], train_tokens: str | float | None) -> pd.DataFrame:
    """The runs of one sweep as targets."""
    from moewright.sweeps.foresight.sweep_candidates import sweep_candidates

    if len(given) > 1:
        raise UserError("target: a sweep of the models in question goes alone; add the others to its axes")
    if train_tokens is not None:
        raise UserError("train-tokens: the sweep of the targets says how long each is trained")
    sweep = sweep_candidates(given[0], None)
    differ = [name for name in sweep.settings[0] if len({str(each.get(name)) for each in sweep.settings}) > 1]
    names = [" ".join(f"{name}={each[name]}" for name in differ if name in each) for each in sweep.settings]
    return sweep.table[["architecture", "train_tokens"]].assign(name=names)


def _variables(text: str) -> dict[str, float]:
    from moewright.laws.selection.grid import all_variables
    from moewright.laws.variable import parse_value

    given: Mapping[str, str] = named_texts([piece.strip() for piece in text.split(",")], "target")
    known = all_variables()
    return {one_of(name, "target", known): parse_value(value, f"target: {name}") for name, value in given.items()}
