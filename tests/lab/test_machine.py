"""The machine's speed is a number however slow the machine."""

import time
from itertools import count

import pytest
import torch

from moewright.lab import machine


def test_every_product_is_timed_when_one_call_takes_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that moves a second with every look: far more than the time for measuring."""
    clock = count()
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(clock)))
    monkeypatch.setattr(machine, "_SIZE", 8)
    assert machine.matmul_peak(torch.device("cpu"), torch.float32) == 2 * 8**3
