"""The suite for accelerators runs on a processor too, and says what is wrong."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from moewright.lab.model import operations
from tests.benchmarks import accelerator

CPU = torch.device("cpu")


def test_operators_that_a_processor_has_are_right() -> None:
    rows = [*accelerator.expert_rows(CPU, False), *accelerator.attention_rows(CPU, False)]
    assert {row.state for row in rows} <= {"right", "-"}, "\n".join(map(str, rows))
    done = {row.what for row in rows if row.state == "right"}
    assert {"grouped product of experts", "attention: torch's choice", "attention: math"} <= done
    assert all(row.against.startswith("not here: ") for row in rows if row.state == "-")


def test_a_grouped_product_that_is_off_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    product = operations._grouped_product

    def off(rows: Tensor, weights: Tensor, ends: Tensor) -> Tensor:
        return product(rows, weights, ends) * (1.1 if rows.dtype != torch.float64 else 1.0)

    monkeypatch.setattr(operations, "_grouped_product", off)
    assert {row.state for row in accelerator.expert_rows(CPU, False)} == {"WRONG"}


@pytest.mark.slow
def test_the_whole_table_by_its_command() -> None:
    """Compiled too, and with two processes under FSDP2."""
    command = [sys.executable, "-m", "tests.benchmarks.accelerator", "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FSDP2 over 2                   float32   right" in done.stdout
