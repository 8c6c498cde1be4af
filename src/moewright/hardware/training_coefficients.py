"""The coefficients of a training step, from the packaged file that a documented benchmark writes."""

from __future__ import annotations

import math
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field, field_validator

from moewright.records import FileRecord, Items, Pair, Positive, Record

CoefficientName = Literal[
    "products_bf16",
    "products_fp8",
    "products_fp4",
    "mixing",
    "memory",
    "rows_half",
    "width_half",
    "elementwise",
    "casts",
    "gap_of_a_mixer",
    "gap_of_a_scan",
    "gap_of_a_mixture",
    "gap_of_an_expert",
    "casting_gaps",
    "links",
    "network",
    "exposed_dispatch",
    "exposed_tensor",
    "exposed_data",
]
"""Fractions of peaks (`products_*`, `mixing`, `memory`, `links`, `network`), rows and width at which a grouped product
reaches half of it, times that each kept byte is moved (`elementwise`; `casts` besides where products have 8 or 4 bits),
seconds of a layer and micro-batch (`gap_of_*`; of an expert: of each that a device holds) and how much longer they are
where products have 8 or 4 bits (`casting_gaps`), exposed fractions."""


class StepCoefficient(Record):
    """One number of the step's formulas."""

    value: Positive
    spread: Pair[Positive]
    """10th to 90th percentile over bootstrap samples of the sources that it was fitted to."""
    source: str


class StepRange(Record):
    """Measured over predicted seconds of a step."""

    factors: Pair[Positive]
    """They hold four fifths of what tuned public software took."""
    source: str

    def at_least(self, width: float, why: str) -> StepRange:
        """The same around its geometric middle, its high end at least `width` of its low one.

        >>> StepRange(factors=(0.5, 2.0), source="").at_least(9, "no row").factors
        (0.3333333333333333, 3.0)
        """
        low, high = self.factors
        reach = max(math.sqrt(width * low / high), 1.0)
        return self if reach == 1 else StepRange(factors=(low / reach, high * reach), source=f"{self.source}; {why}")


class StepCoefficients(FileRecord):
    """StepCoefficients of the training step, with their sources and the range of what they predict."""

    format: Literal["moewright-training-coefficients/2"] = "moewright-training-coefficients/2"
    coefficients: dict[CoefficientName, StepCoefficient]
    measured_devices: Items[str]
    """Devices with training measurements among the rows."""
    measured_formats: Items[str]
    """Formats of products with such measurements."""
    measured: StepRange
    """For these devices and formats."""
    unmeasured_width: Annotated[float, Field(ge=1, le=100)]
    """Of the range, high over low, for all others at least: datasheet peaks and the same coefficients."""

    @field_validator("coefficients")
    @classmethod
    def _all_are_there(cls, given: dict[CoefficientName, StepCoefficient]) -> dict[CoefficientName, StepCoefficient]:
        if missing := [name for name in get_args(CoefficientName) if name not in given]:
            raise ValueError(f"lacks {', '.join(missing)}")
        return given

    def values(self) -> dict[str, float]:
        """The coefficients by name. int8 products are not trained with."""
        return {name: coefficient.value for name, coefficient in self.coefficients.items()}

    def range_on(self, device: str, dtype: str) -> StepRange:
        """The range that holds on a device for products in a format."""
        if device in self.measured_devices and dtype in self.measured_formats:
            return self.measured
        return self.measured.at_least(self.unmeasured_width, f"no measurement on {device} in {dtype}")


@cache
def training_coefficients() -> StepCoefficients:
    """The packaged coefficients, fitted by `python -m tests.benchmarks.training_step`."""
    return StepCoefficients.read(Path(str(files("moewright.hardware") / "training_coefficients.yaml")))
