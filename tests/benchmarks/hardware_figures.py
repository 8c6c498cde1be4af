"""Measured over predicted seconds of every public reading that can be priced, drawn for docs/hardware.md.

    python -m tests.benchmarks.hardware_figures THROUGHPUT CONFIGS [--out docs/figures]

Readings are those of `training_step` and `serving_pass`, twice each: priced with the packaged coefficients, which are
fitted to them, and with coefficients and a range that no reading of their model had a part in (some minutes of fits).
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from moewright.hardware.serving_coefficients import serving_coefficients
from moewright.hardware.training_coefficients import training_coefficients
from moewright.hardware.training_step import PRODUCT_FORMATS
from tests.benchmarks import serving_pass, training_step
from tests.benchmarks.cross_validation import ranges_by_fold

_WIDTH, _HEIGHT = 8.0, 4.2  # inches


@dataclass(frozen=True)
class ErrorOfReading:
    """One reading: its model, whether that was fitted, seconds, and the ends of its range over what is predicted."""

    model: str
    fitted: bool
    measured: float
    middle: float
    ends: tuple[float, float]

    @property
    def factor(self) -> float:
        """Measured over predicted."""
        return self.measured / self.middle

    @property
    def inside(self) -> bool:
        """Whether the range holds it."""
        return self.ends[0] <= self.factor <= self.ends[1]


def training_errors(throughput: Path, configs: Path) -> list[ErrorOfReading]:
    """Of every training step."""
    models = training_step.architectures(configs)
    rows, _ = training_step.read_rows(throughput / "measurements.csv", models)
    coefficients = training_coefficients()
    formats = [PRODUCT_FORMATS[row.precision] for row in rows]
    packaged = [coefficients.range_on(row.device, dtype).factors for row, dtype in zip(rows, formats, strict=True)]
    measured, labels = np.array([row.seconds for row in rows]), [row.model for row in rows]
    apart = training_step.left_out_seconds(rows, models, "model", training_step.fit(rows, models))
    ends = ranges_by_fold(np.log(measured / apart), ["step"] * len(rows), labels)
    fitted = training_step.predicted(rows, models, coefficients)
    return _errors(labels, measured, ((True, fitted, packaged), (False, apart, ends)))


def serving_errors(throughput: Path) -> list[ErrorOfReading]:
    """Of every served pass."""
    rows, _, models = serving_pass.read_rows(throughput / "measurements.csv")
    every = serving_pass.works(rows, models)
    passes = serving_pass.passes_of(every)
    apart = serving_pass.left_out_seconds(every, "model", serving_pass.fit(every))[passes]
    some = [work for work, chosen in zip(every, passes, strict=True) if chosen]
    coefficients = serving_coefficients()
    packaged = [coefficients.range_on(work.row.device, work.row.range).factors for work in some]
    measured, labels = np.array([work.row.seconds for work in some]), [work.row.model for work in some]
    ends = serving_pass.ends_by_fold(some, apart, "model")
    fitted = serving_pass.predicted(some, coefficients.values())
    return _errors(labels, measured, ((True, fitted, packaged), (False, apart, ends)))


def _errors(labels: Sequence[str], measured: Any, kinds: Sequence[tuple[bool, Any, Any]]) -> list[ErrorOfReading]:
    return [
        ErrorOfReading(model, fitted, float(took), float(middle), (float(low), float(high)))
        for fitted, predicted, ends in kinds
        for model, took, middle, (low, high) in zip(labels, measured, predicted, ends, strict=True)
    ]


def draw(errors: Sequence[ErrorOfReading], what: str, path: Path) -> None:
    """A row for each model; grey: fitted, blue: without its model; crosses lie outside of their range."""
    names = sorted({each.model for each in errors}, key=lambda name: np.median(_factors(errors, name)))
    figure, axis = plt.subplots(figsize=(_WIDTH, max(_HEIGHT, 0.28 * len(names) + 1.2)), layout="constrained")
    for fitted, colour, words in ((True, "tab:gray", "fitted"), (False, "tab:blue", "model left out")):
        for inside, mark in ((True, "o"), (False, "x")):
            some = [each for each in errors if (each.fitted, each.inside) == (fitted, inside)]
            axis.scatter(
                [each.factor for each in some],
                [names.index(each.model) + (0.16 if fitted else -0.16) for each in some],
                marker=mark,
                s=22,
                color=colour,
                alpha=0.8,
                label=f"{words}, {'inside' if inside else 'outside'} its range: {len(some)}",
            )
    axis.axvline(1.0, color="black", linewidth=0.8)
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter("{x:g}")
    axis.set_yticks(range(len(names)), names)
    axis.set_xlabel(f"measured over predicted seconds of {what}")
    figure.legend(fontsize="small", loc="outside lower center", ncols=2)
    figure.savefig(path, dpi=110)
    plt.close(figure)
    print(f"{path}: {len(errors) // 2} readings of {len(names)} models")


def _factors(errors: Sequence[ErrorOfReading], model: str) -> list[float]:
    return [each.factor for each in errors if each.model == model]


def main() -> None:
    """Draw both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("throughput", type=Path)
    parser.add_argument("configs", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/figures"))
    given = parser.parse_args()
    draw(
        training_errors(given.throughput, given.configs),
        "a training step",
        given.out / "training_step_errors.png",
    )
    draw(serving_errors(given.throughput), "a served pass", given.out / "served_pass_errors.png")


if __name__ == "__main__":
    main()
