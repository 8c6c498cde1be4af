"""The coefficients of a served pass, from the packaged file that a documented benchmark writes."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from moewright.hardware.training_coefficients import StepCoefficient, StepRange
from moewright.records import FileRecord, Items

ServingCoefficientName = Literal[
    "memory",
    "experts",
    "cache",
    "products_bf16",
    "products_fp8",
    "products_fp4",
    "widened",
    "mixing",
    "gap_of_a_mixer",
    "gap_of_a_mixture",
    "gap_of_an_indexer",
    "gap_of_a_prompt_layer",
    "gap_of_a_prompt_scan",
    "gap_of_a_prompt_indexer",
    "gap_of_a_pass",
    "gap_of_a_request",
    "interference",
    "rows_half",
    "links",
    "network",
    "latency_of_a_reduction",
    "latency_of_a_dispatch",
    "latency_of_a_handover",
    "local_memory",
    "local_products",
    "local_mixing",
    "local_gap",
    "local_gap_of_a_pass",
]
"""Fractions of the memory's bandwidth (`memory`, `experts`, `cache`), of peaks (`products_*`, `mixing`), of what is
left of them for weights of 4 bits on a device without such products (`widened`), of `links` and `network`; seconds of a
layer's half (`gap_of_a_mixer`, `gap_of_a_mixture`; of a prompt's pass, which no graph captures,
`gap_of_a_prompt_layer`), what an indexer of sparse attention or a linear mixer's scan adds to them, seconds of a pass,
of a request before its first token, of a collective, of a handover to the host; the part of a prompt's pass by which
others' tokens are delayed (`interference`); rows of an expert at which its product takes twice as long; `local_*` of
llama.cpp and MLX."""
RangeName = Literal["server_decode", "server_prefill", "server_load", "local_decode", "local_prefill"]


class ServingCoefficients(FileRecord):
    """Coefficients of a served pass, with their sources and the ranges of what they predict."""

    format: Literal["moewright-serving-coefficients/2"] = "moewright-serving-coefficients/2"
    coefficients: Annotated[dict[ServingCoefficientName, StepCoefficient], Field(min_length=1)]
    measured_devices: Items[str]
    """Devices with measurements among the fitted rows."""
    ranges: Annotated[dict[RangeName, StepRange], Field(min_length=1)]
    """Measured over predicted seconds, by class of software and what is asked, on these devices."""
    unmeasured_width: Annotated[float, Field(ge=1, le=100)]
    """Of a range, high over low, on all other devices at least."""

    def values(self) -> dict[str, float]:
        """The coefficients by name."""
        return {name: coefficient.value for name, coefficient in self.coefficients.items()}

    def range_on(self, device: str, name: RangeName) -> StepRange:
        """The range that holds on a device."""
        found = self.ranges[name]
        if device in self.measured_devices:
            return found
        return found.at_least(self.unmeasured_width, f"no measurement on {device}")


@cache
def serving_coefficients() -> ServingCoefficients:
    """The packaged coefficients, fitted by `python -m tests.benchmarks.serving_pass`."""
    return ServingCoefficients.read(Path(str(files("moewright.hardware") / "serving_coefficients.yaml")))
