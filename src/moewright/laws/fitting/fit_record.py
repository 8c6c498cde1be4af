"""The file of a fitted law: what was fitted to what, how, and how it went; floats read back to the same bits."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, WithJsonSchema

from moewright.laws.fitting.extrapolation import TuningRecord
from moewright.laws.fitting.fit_settings import FitSettings
from moewright.laws.fitting.outliers import Outlier
from moewright.laws.fitting.reach import Reach
from moewright.laws.fitting.uncertainty import FitStatus, Identified
from moewright.records import Count, FileRecord, Items, Pair, Record


def _as_numbers(value: Any) -> Any:
    if isinstance(value, list):
        rows = value if value and isinstance(value[0], list) else [value]
        if not all(isinstance(row, list) and set(map(type, row)) <= {int, float} for row in rows):
            raise ValueError("a list of numbers is expected")
        if len({len(row) for row in rows}) > 1:
            raise ValueError("lists of unlike lengths")
        value = np.asarray(value, dtype=np.float64)
    if isinstance(value, np.ndarray) and not np.isfinite(value).all():
        raise ValueError("a number in it is not finite")
    return value


def _ordered(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError(f"expected [low, high], found {value[0]:g} above {value[1]:g}")
    return value


_LIST = {"type": "array", "items": {"type": "number"}}
Numbers = Annotated[npt.NDArray[np.float64], BeforeValidator(_as_numbers), WithJsonSchema(_LIST)]
Table = Annotated[
    npt.NDArray[np.float64], BeforeValidator(_as_numbers), WithJsonSchema({"type": "array", "items": _LIST})
]


_Rows = Annotated[int, Field(ge=1)]
_AtLeastZero = Annotated[float, Field(ge=0)]


class HoldoutErrors(Record):
    """A fitted law against the rows kept from the fit."""

    rows: float
    rmse: float
    """Nats."""
    rmse_log: float | None
    """None where the law predicts losses below zero, which have no logarithm."""
    bias: float
    """Mean of prediction - loss, nats."""
    coverage_90: float | None = None
    """Share of the rows inside their 90 % interval, among those that have one; absent without any."""
    withheld: Count = 0
    """Rows so far from the fitted ones that no interval is given."""

    def to_dict(self, defaults: bool = True) -> dict[str, Any]:
        return super().to_dict(defaults=False)


class FitRecord(FileRecord):
    """A law's file. Arrays have one row per replicate (B) or per fitted run (R)."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    called = "fitted law"

    format: Literal["moewright-law/2"] = "moewright-law/2"
    name: str
    law: str
    """The published law, or form, that was fitted."""
    coefficients: Mapping[str, float]
    ranges: Mapping[str, Annotated[Pair[float], AfterValidator(_ordered)]]
    """Of the fitted rows, by variable."""
    settings: FitSettings
    status: FitStatus
    """converged; bound_hit: a coefficient sits on a bound; poor_fit: the law explains its rows badly;
    not_converged: the solver stopped early; unstable: more than a tenth of the replicates failed; underdetermined: the
    rows cannot tell coefficients apart, and the law must not be trusted outside them."""
    messages: Items[str]
    data_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    num_rows: _Rows
    num_clusters: _Rows
    """Configurations: repeats count once."""
    num_free: Count
    """Coefficients that the fit could change."""
    objective: float
    rmse: _AtLeastZero
    """Nats, over the fitted rows."""
    rmse_log: _AtLeastZero
    draws: Table
    """Coefficients of the converged replicates, (B, P), in the form's order."""
    failed: Count
    """Replicates that did not converge, or had no configuration to spare, and are left out of `draws`."""
    residuals: Numbers
    """log(predicted) - log(loss) of the fitted rows, (R,)."""
    weights: Numbers
    """Of the fitted rows, (R,)."""
    identified: Items[Identified]
    holdout: HoldoutErrors | None = None
    tuned: TuningRecord | None = None
    outliers: Items[Outlier] = ()
    reach: Items[Reach] = ()
    """How far the law may be asked about larger runs, by direction; empty without a bootstrap."""


@FitRecord.upgrade(1)
def _settings_by_the_commands_names(values: dict[str, Any]) -> dict[str, Any]:
    """Version 1 kept settings under other names than the command's."""
    now = {
        "fixed": "fix",
        "bounds": "bound",
        "n_starts": "starts",
        "n_bootstrap": "bootstrap",
        "random_state": "seed",
    }
    settings = values.get("settings")
    if isinstance(settings, dict):
        settings = {now.get(name, name): value for name, value in settings.items()}
    return {**values, "settings": settings}
