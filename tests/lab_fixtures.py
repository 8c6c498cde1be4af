"""What tiny runs need: their tokens, one thread so that bits repeat, and no measurement of the machine."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from moewright.lab import loop
from tests.lab.tiny import write_tokens


@pytest.fixture
def data(tmp_path: Path) -> dict[str, Any]:
    """The `data` of a recipe."""
    return write_tokens(tmp_path)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Runs in this process do not measure its matrix products, which takes a second."""
    monkeypatch.setattr(loop, "matmul_peak", lambda *_: 1e9)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
