"""Copies of a run's metrics for W&B, MLflow or trackio. The run's own file stays the truth."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

from moewright.errors import UserError
from moewright.experiment.planning import check_tracker
from moewright.foreign_text import visible

Mirror = Callable[[Mapping[str, float], int], None]
"""Takes numbers by name, and the step."""


def open_mirrors(names: Sequence[str], run: str, settings: Mapping[str, Any]) -> Mirror:
    """One function that passes metrics on to all named trackers. UserError if one is not installed.

    A tracker that fails later is left out with a warning: it must not stop a run.
    """
    mirrors = {name: _open(name, run, settings) for name in names}

    def mirror(values: Mapping[str, float], step: int) -> None:
        for name in list(mirrors):
            try:
                mirrors[name](values, step)
            except Exception as error:
                del mirrors[name]
                warnings.warn(visible(f"mirrors: {name} failed and gets no more metrics: {error}"), stacklevel=2)

    return mirror


def flat_numbers(record: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The numbers in a nested record, as `outer/inner`; lists (one value for each layer) by their position."""
    numbers: dict[str, float] = {}
    for key, value in record.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            numbers |= flat_numbers(value, f"{name}/")
        elif isinstance(value, list):
            numbers |= flat_numbers({str(index): item for index, item in enumerate(value)}, f"{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            numbers[name] = float(value)
    return numbers


def _open(name: str, run: str, settings: Mapping[str, Any]) -> Mirror:
    check_tracker(name)
    module = import_module(name)
    try:
        return _OPENERS[name](module, run, settings)
    except Exception as error:
        raise UserError(f"mirrors: {name} could not begin a run ({error}); set it up, or leave it out") from None


def _wandb(module: Any, run: str, settings: Mapping[str, Any]) -> Mirror:
    opened = module.init(project="moewright", name=run, config=dict(settings))
    return lambda values, step: opened.log(dict(values), step=step)


def _mlflow(module: Any, run: str, settings: Mapping[str, Any]) -> Mirror:
    module.set_experiment("moewright")
    module.start_run(run_name=run)
    module.log_params({key: str(value)[:250] for key, value in settings.items()})  # longer values are refused
    return lambda values, step: module.log_metrics({key.replace("/", "."): v for key, v in values.items()}, step=step)


def _trackio(module: Any, run: str, settings: Mapping[str, Any]) -> Mirror:
    module.init(project="moewright", name=run, config=dict(settings))
    return lambda values, step: module.log(dict(values), step=step)


_OPENERS: Mapping[str, Callable[[Any, str, Mapping[str, Any]], Mirror]] = {
    "wandb": _wandb,
    "mlflow": _mlflow,
    "trackio": _trackio,
}
