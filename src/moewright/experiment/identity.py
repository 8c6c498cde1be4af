"""What makes two runs the same run: its settings, its tokens, and what training means by them. No torch.

The text of the code does not enter: whoever only moves, renames or comments it leaves every run what it was. What the
code computes does, through `TRAINING_VERSION`, which tests/lab/test_golden.py holds people to.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self, get_args

from pydantic import BaseModel

from moewright.experiment.balance_loss import BalanceLoss
from moewright.experiment.balance_losses import LOSSES, loss_named
from moewright.experiment.recipe import Recipe
from moewright.experiment.schedule import peak_learning_rate
from moewright.sealed_records import digest

TRAINING_VERSION = 1
"""What a recipe means: equal settings, tokens and versions are equal losses, on one machine bit for bit.

Whoever changes what training computes, be it a default, a constant or the order of two sums, raises it and adds a line
here; the golden test fails until then, and then asks for new golden values with one command.

1: what commit 34ba6fa computes, before there were versions.
"""

FORMER_CODE = {"f688a0c478360e7464583ffc5ad8eacd877d3479c2f522bae2c416af23c724fa": 1}
"""Training versions by the digest of the sources that trained runs of sweeps before there were versions: 34ba6fa's."""

RESUMABLE = ("log_every_steps", "mirrors", "checkpoints", "data")
"""What a recipe may change between an interruption and its continuation: none of it touches the weights.

`data` is where the tokens lie; the tokens themselves are compared by their fingerprint.
"""

_ID_DIGITS = 12
"""48 bits: among a million runs, two share an id with a chance of 0.2 %."""
_RATE_DIGITS = 12
"""Of a learning rate that a law advises: the last bits of logarithms and powers differ between machines."""


@dataclass(frozen=True)
class RunIdentity:
    """What a run is, in plain values. Equal identities are the same run."""

    settings: Mapping[str, Any]
    """Those of the resolved recipe that decide it; see `decisive_settings`."""
    peak_learning_rate: float | None
    """What a law advises may change with the law. None: not recorded."""
    data: str | None
    """The fingerprint of the tokens. None: not recorded."""
    training_version: int | None
    """None: not known."""
    initial_weights: str | None = None
    """The fingerprint of those that the recipe names. None: it names none, or it is not recorded."""
    trainer: Mapping[str, Any] | None = None
    """Another trainer's name, its settings that decide the run, and the version of what it makes of a recipe, in place
    of `training_version`. None: the lab."""

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        data_fingerprint: str,
        training_version: int | None = TRAINING_VERSION,
        initial_weights: str | None = None,
        trainer: Mapping[str, Any] | None = None,
    ) -> Self:
        """The identity of a recipe on tokens, and on the weights that it begins with, by their fingerprint."""
        peak = peak_learning_rate(recipe)
        return cls.recorded(recipe.to_dict(), peak, data_fingerprint, training_version, initial_weights, trainer)

    @classmethod
    def recorded(
        cls,
        recipe: Mapping[str, Any],
        peak: float | None,
        data_fingerprint: str | None,
        training_version: int | None,
        initial_weights: str | None,
        trainer: Mapping[str, Any] | None = None,
    ) -> Self:
        """The identity of a run as a file records it, whose recipe an older version may have resolved."""
        rounded = None if peak is None else float(f"{peak:.{_RATE_DIGITS}g}")
        version = training_version if trainer is None else None
        return cls(decisive_settings(recipe), rounded, data_fingerprint, version, initial_weights, trainer)

    @property
    def id(self) -> str:
        """12 hex digits."""
        # Runs without such weights or another trainer keep the ids that they had before there were any.
        newer = ("initial_weights", "trainer")
        values = {name: value for name, value in vars(self).items() if name not in newer or value is not None}
        return digest(values)[:_ID_DIGITS]

    def difference(self, other: "RunIdentity") -> str | None:
        """The first thing, with dots, in which two are not the same run; None: they are. What is not recorded agrees.

        A setting is named as in the recipe; else it is `trainer`, `data`, `initial_weights`, `training_version` or
        `peak_learning_rate`.
        """
        setting = _first_difference(self.settings, other.settings)
        if setting is not None:
            return setting
        if self.trainer != other.trainer:
            return "trainer"
        for name in ("data", "initial_weights", "training_version", "peak_learning_rate"):
            values = getattr(self, name), getattr(other, name)
            if None not in values and values[0] != values[1]:
                return name
        return None


def run_id(
    recipe: Recipe,
    data_fingerprint: str,
    training_version: int = TRAINING_VERSION,
    initial_weights: str | None = None,
    trainer: Mapping[str, Any] | None = None,
) -> str:
    """12 hex digits, the same for the same run. `initial_weights`: the fingerprint of those that the recipe names.
    `trainer`: see `RunIdentity`.

    Where data and weights lie, how often is logged and when checkpoints are written does not matter, nor does a setting
    that is written out at its default.

    >>> from moewright.experiment.recipe import Recipe
    >>> recipe = Recipe.load("examples/train/tiny.yaml")
    >>> run_id(recipe, "37407d32") == run_id(recipe.model_copy(update={"log_every_steps": 7}), "37407d32")
    True
    >>> run_id(recipe, "37407d32") == run_id(recipe.model_copy(update={"seed": 1}), "37407d32")
    False
    """
    return RunIdentity.of(recipe, data_fingerprint, training_version, initial_weights, trainer).id


def decisive_settings(recipe: Mapping[str, Any], *, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """The settings of a resolved recipe, in plain values, that decide the run, but for those at their default.

    So a new setting whose default is what was before leaves every run what it was, and a default that changes needs
    another training version. Of initial weights it says that there are some: where they lie does not matter, and
    what they are their fingerprint says. `without` names further settings to leave out.
    """
    kept = {name: value for name, value in recipe.items() if name not in (*RESUMABLE, *without, "format")}
    if kept.get("initial_weights") is not None:
        kept["initial_weights"] = "given"
    return _without_defaults(kept, Recipe)


def _without_defaults(values: Mapping[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    if issubclass(model, BalanceLoss):
        model = LOSSES.get(loss_named(values), model)
    kept = {}
    for name, value in values.items():
        field = model.model_fields.get(name)
        inner = None if field is None else _only_model(field.annotation)
        if inner is not None and isinstance(value, Mapping):
            value = _without_defaults(value, inner)
        elif inner is not None and isinstance(value, list | tuple):
            value = [_without_defaults(item, inner) if isinstance(item, Mapping) else item for item in value]
        if field is None or field.is_required() or value != _plain_default(field.default):
            kept[name] = value
    return kept


def _plain_default(default: Any) -> Any:
    if isinstance(default, BaseModel):
        return _without_defaults(default.model_dump(mode="json"), type(default))
    return list(default) if isinstance(default, tuple) else default


def _only_model(annotation: Any) -> type[BaseModel] | None:
    """The record in a field's type, or in the list or option that it is; None for a choice of several.

    Balancing losses are told apart by their kind instead, so that one more leaves every id what it was.
    """
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = {model for argument in get_args(annotation) if (model := _only_model(argument)) is not None}
    if found and all(issubclass(model, BalanceLoss) for model in found):
        return BalanceLoss
    return found.pop() if len(found) == 1 else None


def _first_difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    for key in {**before, **now}:
        if before.get(key) == now.get(key) and (key in before) == (key in now):
            continue
        inner = before.get(key, {}), now.get(key, {})
        deeper = _first_difference(*inner) if all(isinstance(value, Mapping) for value in inner) else None
        return f"{key}.{deeper}" if deeper else key
    return None


# The sources, for the record only

_TRAINING = "moewright.lab.training"
_PACKAGES = ("moewright.architecture", "moewright.data", "moewright.experiment", "moewright.lab")


@cache
def code_digest() -> str:
    """SHA-256 (hex) over the sources that training runs, for the record: nothing depends on it.

    Those are the modules of `architecture`, `data`, `experiment` and `lab` that training imports, directly or through
    others.
    """
    whole = hashlib.sha256()
    for name, source in sorted(_sources(_TRAINING).items()):
        if name.startswith(_PACKAGES):
            whole.update(f"{name}\0{source}\0".encode())
    return whole.hexdigest()


def _sources(module: str) -> dict[str, str]:
    """The sources of a module and of all that it imports of moewright, by module name."""
    found: dict[str, str] = {}
    looked_at: set[str] = set()
    waiting = [module, *(loss.__module__ for loss in LOSSES.values())]  # which are imported by name
    while waiting:
        name = waiting.pop()
        if name in looked_at:
            continue
        looked_at.add(name)
        path = _file(name)
        if path is None:
            continue
        found[name] = path.read_text(encoding="utf-8")
        parents = [name.rsplit(".", depth)[0] for depth in range(1, name.count("."))]
        imported = [*parents, *_imports(found[name])]
        waiting += [one for one in imported if one.startswith("moewright.")]
    return found


_IMPORT = re.compile(
    r"^[ \t]*(?:import +(moewright[\w.]*)|from +(moewright[\w.]*) +import +(\([^)]*\)|[^#\n]*))", re.MULTILINE
)


def _imports(source: str) -> Iterator[str]:
    """What a source imports of moewright, by its lines: parsing all of them would take a second at each start."""
    for whole, module, names in _IMPORT.findall(source):
        yield whole or module
        yield from (f"{module}.{name}" for name in re.findall(r"\w+", names))


def _file(module: str) -> Path | None:
    """The source of a module of this package; None for a name inside a module."""
    base = Path(__file__).parents[1].joinpath(*module.split(".")[1:])
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)
