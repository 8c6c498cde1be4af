"""What a design run gives: ranked, buildable models, what bounds them, and how sure the law is."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moewright.architecture import Architecture
from moewright.design.budgets import Budgets
from moewright.files import new_folder, write_mapping
from moewright.sources import SPEC

HF_CONFIG = "config.json"


@dataclass(frozen=True)
class Design:
    """One model within the budgets."""

    architecture: Architecture
    family: str
    """The Hugging Face family that expresses it."""
    total_params: int
    active_params: int
    memory_bytes: int
    predicted_loss: dict[str, float]
    regret: dict[str, float]
    """Loss above the law's best design within the same budgets, in nats, by law."""
    binding: tuple[str, ...]
    """Budgets that wider experts would break."""
    extrapolation: dict[str, dict[str, float]]
    """By law and variable: how many times outside the law's fitted range; variables inside are left out."""

    @property
    def worst_regret(self) -> float:
        """The largest regret over the laws."""
        return max(self.regret.values())

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "architecture": self.architecture.to_dict(),
            "hf_family": self.family,
            "total_params": self.total_params,
            "active_params": self.active_params,
            "memory_bytes": self.memory_bytes,
            "predicted_loss": self.predicted_loss,
            "regret": self.regret,
            "worst_regret": self.worst_regret,
            "binding": list(self.binding),
            "extrapolation": self.extrapolation,
        }


@dataclass(frozen=True)
class Alike:
    """The designs that the law cannot tell from the best: how many, and the range of each size."""

    within: float
    """Nats."""
    count: int
    ranges: dict[str, tuple[int, int]]


@dataclass(frozen=True)
class Designs:
    """The answer of `moewright design`."""

    budgets: Budgets
    designs: tuple[Design, ...]
    laws: tuple[str, ...]
    optimum: dict[str, float]
    """What the law holds best at this total size, by its own variables."""
    alike: Alike
    shadow_prices: dict[str, dict[str, float]]
    """By law and budget: change of the best loss, in nats, for 10 % more of the budget."""
    considered: int
    feasible: int
    seconds: float
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The fields of `moewright design --json`."""
        return {
            "budgets": self.budgets.to_dict(),
            "designs": [design.to_dict() for design in self.designs],
            "laws": list(self.laws),
            "law_optimum": self.optimum,
            "indistinguishable": {"within": self.alike.within, "count": self.alike.count, **self.alike.ranges},
            "shadow_prices": self.shadow_prices,
            "search": {"candidates": self.considered, "feasible": self.feasible, "seconds": self.seconds},
            "warnings": list(self.warnings),
        }

    def write(self, folder: str | Path) -> Path:
        """Write each design as a moewright spec and a Hugging Face config.json, and the whole answer as designs.json.

        The folder must be new or empty; it appears complete or not at all.
        """
        folder = Path(folder)
        with new_folder(folder) as partial:
            for number, design in enumerate(self.designs, start=1):
                place = partial / f"design-{number:02d}"
                design.architecture.save(place / SPEC)
                write_mapping(place / HF_CONFIG, design.architecture.to_hf(design.family))
            write_mapping(partial / "designs.json", json.loads(json.dumps(self.to_dict())))
        return folder
