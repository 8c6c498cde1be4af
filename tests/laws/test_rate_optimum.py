"""The learning-rate optimum against analytic parabolas, numpy's fit, scipy's t and simulated noise."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t

from moewright import UserError
from moewright.laws import best_rate
from moewright.laws.rate_optimum import student_quantile

RATES: np.ndarray = 1e-3 * 2.0 ** np.arange(-2, 3)


def parabola(rates: np.ndarray, best: float, curvature: float, floor: float) -> np.ndarray:
    return floor + curvature / 2 * np.log(rates / best) ** 2


@settings(max_examples=300, deadline=None)
@given(
    best=st.floats(-0.99, 0.99),
    curvature=st.floats(1e-2, 1.0),
    floor=st.floats(1.0, 5.0),
    scale=st.floats(1e-6, 1e3),
    noise=st.none() | st.floats(1e-4, 1e-3),
    order=st.permutations(range(5)),
)
def test_parabolas_come_back(
    best: float, curvature: float, floor: float, scale: float, noise: float | None, order: list[int]
) -> None:
    """300 cases: vertex, value and curvature, in any order of the runs and any unit of the rate."""
    rates = scale * RATES
    truth = scale * 1e-3 * 2.0**best
    losses = parabola(rates, truth, curvature, floor)
    found = best_rate(rates[order], losses[order], noise)
    assert found.status == "inside"
    assert found.rate == pytest.approx(truth, rel=1e-6)
    assert found.loss == pytest.approx(floor, rel=1e-9)
    assert found.curvature == pytest.approx(curvature, rel=1e-6)
    assert found.grid_best == rates[np.argmin(losses)]
    if noise is None:
        assert found.interval is None
        assert any("no interval" in message for message in found.messages)
    else:
        assert found.interval is not None
        assert found.interval[0] < truth < found.interval[1]
    json.dumps(found.to_dict(), allow_nan=False)


def test_it_is_numpys_parabola_and_its_own_inequality() -> None:
    """100 noisy tables: vertex by numpy.polyfit; at each end of the interval the slope is t standard errors from 0."""
    random = np.random.default_rng(0)
    checked = 0
    for _ in range(100):
        losses = parabola(RATES, 1.1e-3, 0.1, 3.0) + 0.01 * random.standard_normal(5)
        found = best_rate(RATES, losses, 0.01, level=0.8)
        if found.status != "inside":
            continue
        assert found.rate is not None
        x = np.log(found.used)
        coefficients, covariance = np.polyfit(x, losses[np.isin(RATES, found.used)], 2, cov="unscaled")
        assert np.log(found.rate) == pytest.approx(-coefficients[1] / (2 * coefficients[0]), abs=1e-9)
        assert found.interval is not None
        for end in np.log(found.interval):
            slope = np.array([2 * end, 1.0, 0.0])
            error = 0.01 * np.sqrt(slope @ covariance @ slope)
            assert abs(slope @ coefficients) / error == pytest.approx(t.ppf(0.9, 1e6), rel=1e-4)
        checked += 1
    assert checked > 80


@pytest.mark.parametrize("repeats", [1, 2])
def test_intervals_hold_the_best_rate_as_often_as_they_say(repeats: int) -> None:
    """2,000 tables of three rates, noise stated or from two seeds each: 90 % of the intervals hold the truth."""
    random = np.random.default_rng(repeats)
    rates = np.repeat([0.5e-3, 1e-3, 2e-3], repeats)
    clean = parabola(rates, 1.1e-3, 0.4, 3.0)
    held = bounded = 0
    for _ in range(2000):
        losses = clean + 0.005 * random.standard_normal(len(rates))
        found = best_rate(rates, losses, 0.005 if repeats == 1 else None)
        if found.interval is not None:
            bounded += 1
            held += found.interval[0] <= 1.1e-3 <= found.interval[1]
    assert bounded > 1700
    # Two standard deviations of 2,000 draws are .013.
    assert held / bounded == pytest.approx(0.9, abs=0.02)


def test_a_steep_side_does_not_draw_the_answer_away() -> None:
    x = np.log(2.0) * np.arange(-3, 4)
    losses = 3 + 0.05 * (np.exp(2 * x) - 2 * x - 1) / 4
    found = best_rate(1e-3 * np.exp(x), losses, 0.005)
    square, slope, _ = np.polyfit(x, losses, 2)
    assert found.rate is not None
    assert abs(np.log(found.rate / 1e-3)) < 0.5 * abs(slope / (2 * square))
    assert len(found.used) < len(x)


@pytest.mark.parametrize(
    ("losses", "status", "rate", "diverged", "message"),
    [
        ([3.0, 3.1, 3.3, 3.5, 3.9], "edge_low", RATES[0], 0, "test lower rates"),
        ([3.5, 3.4, 3.3, 3.2, 3.1], "edge_high", RATES[4], 0, "test higher rates"),
        ([3.011, 3.002, 3.051, 3.106, 3.166], "edge_low", RATES[1], 0, "test lower rates"),  # the vertex is outside
        ([3.5, 3.4, 3.3, 3.2, np.nan], "edge_high", RATES[3], 1, "did not diverge"),
        ([3.5, 3.4, 3.5, np.inf, np.nan], "inside", RATES[1], 2, "left out: 2"),
        ([3.5, np.nan, 3.4, 3.5, 3.6], "inside", None, 1, "look at the lost ones"),
        ([3.0, 3.1, np.nan, np.nan, np.nan], "too_few", RATES[0], 3, "2 rates"),
        ([np.nan] * 5, "too_few", None, 5, "0 rates"),
        ([3.001, 3.0, 3.001, 3.0, 3.001], "flat", RATES[1], 0, "no curvature"),
    ],
)
def test_statuses(losses: list[float], status: str, rate: float | None, diverged: int, message: str) -> None:
    found = best_rate(RATES, losses, 0.01)
    assert (found.status, found.diverged) == (status, diverged)
    assert any(message in line for line in found.messages)
    if rate is not None:
        assert found.rate == pytest.approx(rate, rel=1e-9)
    if status != "inside":
        assert found.interval is None
        assert found.rate == found.grid_best


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1e-3], [3.0, 3.1]), "one loss for each rate"),
        (([1e-3, -1e-3], [3.0, 3.1]), "positive"),
        (([1e-3], [3.0], 0.0), "noise"),
        (([1e-3], [3.0], 0.1, 1.0), "level"),
    ],
)
def test_impossible_input_is_refused(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        best_rate(*arguments)  # type: ignore[arg-type]


def test_students_quantiles_are_scipys() -> None:
    for freedom in (1, 2, 3, 4, 7, 30, 201):
        for share in (0.5, 0.6, 0.9, 0.95, 0.9995):
            assert student_quantile(share, freedom) == pytest.approx(t.ppf(share, freedom), rel=1e-9, abs=1e-12)
    assert student_quantile(0.95, None) == pytest.approx(1.6448536269514722, rel=1e-12)
