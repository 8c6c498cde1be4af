"""Forecasts that are written down before a run is made, and judged by its loss afterwards."""

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from moewright.complaints import check_number
from moewright.display import Shown
from moewright.errors import UserError
from moewright.laws.fitting.fit_settings import FitSettings
from moewright.laws.fitting.fitted_law import FittedLaw
from moewright.laws.fitting.observations import LARGEST_LOSS
from moewright.laws.fitting.uncertainty import LEVEL, FitStatus
from moewright.records import Output, Pair, Positive, Sha256
from moewright.sealed_records import SealedRecord


class PreregisteredForecast(SealedRecord):
    """What a fitted law expects of one planned run, with the day on which it said so."""

    format: Literal["moewright-forecast/1"] = "moewright-forecast/1"
    created: str = Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
    """UTC."""
    moewright: str
    law: str
    formula: str
    coefficients: Mapping[str, float]
    status: FitStatus
    settings: FitSettings
    data_sha256: Sha256
    """Of the fitted rows, as in the law's file."""
    num_rows: Annotated[int, Field(ge=1)]
    at: Mapping[str, float]
    """The planned run in the law's variables."""
    loss: Positive
    interval: Pair[Positive]
    """Of the loss of this run."""
    level: Annotated[float, Field(gt=0, lt=1)]

    remedy: ClassVar[str] = "a forecast that was changed judges nothing"


class ForecastScore(Shown, Output):
    """A preregistered forecast against the loss that was measured."""

    command: ClassVar[str] = "fit --score"
    law: str
    created: str
    level: float
    expected: float
    interval: Pair[float]
    measured: float
    inside: bool
    missed: float
    """Expected - measured, nats."""
    half_widths: float | None
    """How far from the expected loss the measured one lies, 1 at the end of the interval on that side; null where the
    interval does not reach to that side."""
    at: Mapping[str, float]
    data_sha256: str

    def _facts(self) -> Mapping[str, Any]:
        return {"law": self.law, "inside": self.inside, "expected": self.expected, "measured": self.measured}


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def forecast_of(law: FittedLaw, at: Mapping[str, float], level: float = LEVEL) -> PreregisteredForecast:
    """What the law expects of a run, dated now.

    UserError where it gives no interval: a forecast without one cannot fail.
    """
    why = law.why_withheld(**at)
    if why is not None:
        raise UserError(f"preregister: the fit gives no interval there, so nothing could be judged: {why}")
    low, high = law.prediction_interval(level, **at)
    record = law.record
    return PreregisteredForecast(
        created=_now(),
        moewright=version("moewright"),
        law=record.law,
        formula=law.form.formula,
        coefficients=record.coefficients,
        status=record.status,
        settings=record.settings,
        data_sha256=record.data_sha256,
        num_rows=record.num_rows,
        at={name: float(value) for name, value in at.items()},
        loss=float(law.loss(**at)),
        interval=(float(low), float(high)),
        level=level,
    )


def score_forecast(path: str | Path, measured: float) -> ForecastScore:
    """The forecast in a file against a measured loss.

    UserError for a file that was changed since, and for what is no loss in nats.
    """
    forecast = PreregisteredForecast.read(path)
    check_number(measured, "score", above=0)
    if measured > LARGEST_LOSS:
        raise UserError(f"score: {measured:g} is more than {LARGEST_LOSS:.1f} nats: a perplexity or a diverged run")
    low, high = forecast.interval
    off = measured - forecast.loss
    half_width = high - forecast.loss if off > 0 else forecast.loss - low
    half_widths = 0.0 if off == 0 else abs(off) / half_width if half_width > 0 else None
    return ForecastScore(
        law=forecast.law,
        created=forecast.created,
        level=forecast.level,
        expected=forecast.loss,
        interval=forecast.interval,
        measured=measured,
        inside=low <= measured <= high,
        missed=forecast.loss - measured,
        half_widths=half_widths,
        at=forecast.at,
        data_sha256=forecast.data_sha256,
    )
