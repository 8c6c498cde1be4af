"""Distinct experts against drawing them."""

import numpy as np
import pytest

from moewright.hardware.placement import distinct_experts, most_loaded


@pytest.mark.parametrize(
    ("experts", "top_k", "tokens"), [(8, 2, 3), (64, 8, 5), (128, 8, 16), (16, 16, 4), (256, 1, 9)]
)
def test_expected_distinct_experts(experts: int, top_k: int, tokens: int) -> None:
    draw = np.random.default_rng(experts * top_k * tokens)
    counts = [
        np.unique(np.argpartition(draw.random((tokens, experts)), top_k - 1, axis=1)[:, :top_k]).size
        for _ in range(4000)
    ]
    error = np.std(counts) / np.sqrt(len(counts))
    assert distinct_experts(experts, top_k, tokens) == pytest.approx(np.mean(counts), abs=4.5 * error + 1e-9)


@pytest.mark.parametrize(("experts", "top_k", "tokens", "devices"), [(64, 8, 1, 8), (128, 8, 16, 8), (256, 8, 64, 32)])
def test_the_most_loaded_device_is_bounded(experts: int, top_k: int, tokens: int, devices: int) -> None:
    draw = np.random.default_rng(0)
    most = []
    for _ in range(1500):
        used = np.unique(np.argpartition(draw.random((tokens, experts)), top_k - 1, axis=1)[:, :top_k])
        most.append(np.bincount(used * devices // experts, minlength=devices).max())
    touched = distinct_experts(experts, top_k, tokens)
    bound = most_loaded(touched, experts, devices)
    assert touched / devices <= np.mean(most) <= bound * 1.02
    assert bound <= experts / devices


def test_one_device_has_them_all() -> None:
    assert most_loaded(5.5, 8, 1) == 5.5
