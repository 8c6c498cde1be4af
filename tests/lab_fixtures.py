"""What tiny runs need: their tokens, one thread so that bits repeat, and no measurement of the machine."""

from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def quickly() -> Iterator[None]:
    """Runs in this process compute on one thread and do not measure its matrix products, which takes a second."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop, "matmul_peak", lambda *_: 1e9)
            yield
    finally:
        torch.set_num_threads(threads)


@pytest.fixture
def quick() -> Iterator[None]:
    """`quickly`, for a test."""
    with quickly():
        yield
