"""The learning-rate stage on losses that are known: analytic parabolas, ends, runs that diverge or fail."""

import math
from collections.abc import Callable, Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from moewright.errors import UserError
from moewright.sweeps.rate_tuning import TunedRate, tune_rate
from moewright.sweeps.sweep_spec import Tuning

Losses = Callable[[float], Sequence[float | None]]


def always(loss: float | None) -> Losses:
    return lambda rate: [loss]


def parabola(best: float, curvature: float = 0.1) -> Losses:
    return lambda rate: [4 + curvature * math.log(rate / best) ** 2]


def settle(tuning: Tuning, losses: Losses) -> tuple[tuple[float, ...], TunedRate]:
    """Run what is asked for until nothing more is, as a sweep does: losses are known only of rates that were tried."""
    done: set[float] = set()

    def known(rate: float) -> Sequence[float | None]:
        return losses(rate) if rate in done else []

    while True:
        tried, found = tune_rate(tuning, known)
        if found.multiplier is not None:
            return tried, found
        assert set(tried) > done, "asks for nothing new and says nothing"
        done |= set(tried)


@settings(max_examples=200, deadline=None)
@given(best=st.floats(0.51, 1.99), curvature=st.floats(0.01, 1.0))
def test_a_best_rate_inside_is_found_from_the_given_ones(best: float, curvature: float) -> None:
    tried, found = settle(Tuning(extend=2), parabola(best, curvature))
    assert found.multiplier == pytest.approx(best, rel=6e-3)  # three digits
    assert found.optimum is not None
    inside = 2**-0.5 < best < 2**0.5
    assert tried == (0.5, 1.0, 2.0) if inside else len(tried) >= 3


@settings(max_examples=100, deadline=None)
@given(power=st.floats(-2.4, 2.4))
@example(power=1.5)
@example(power=-1.5)
def test_the_rates_are_widened_until_the_best_lies_between_others(power: float) -> None:
    best = 2.0**power
    tried, found = settle(Tuning(extend=2), parabola(best))
    losses = [loss for rate in tried for loss in parabola(best)(rate) if loss is not None]
    assert min(losses[1:-1]) <= min(losses[0], losses[-1]) + 1e-12  # equal where the best lies halfway to an end
    assert found.multiplier == pytest.approx(best, rel=6e-3)


def test_widening_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    tried, found = settle(Tuning(extend=1), parabola(100.0))
    assert tried == (0.5, 1.0, 2.0, 4.0)
    assert found.multiplier == 4.0
    assert found.optimum is not None
    assert found.optimum.status == "edge_high"
    assert settle(Tuning(extend=0), parabola(0.01))[1].multiplier == 0.5


def test_the_best_rate_that_was_tried_can_be_promoted() -> None:
    assert settle(Tuning(promote="best"), parabola(1.2))[1].multiplier == 1.0
    assert settle(Tuning(promote="vertex"), parabola(1.2))[1].multiplier == 1.2


def test_runs_that_diverge_or_fail_are_left_out() -> None:
    """Above twice the best rate runs diverge; another run failed for its own reasons."""
    fit = parabola(0.6)

    def losses(rate: float) -> list[float | None]:
        return [math.inf if rate > 1.5 else None if rate == 0.25 else fit(rate)[0]]

    _, found = settle(Tuning(multipliers=(0.25, 0.5, 0.7, 1.0, 2.0)), losses)
    assert found.multiplier == pytest.approx(0.6, rel=6e-3)
    assert (2.0, math.inf) in found.points
    assert 0.25 not in dict(found.points)


def test_a_group_without_any_loss_is_an_error() -> None:
    for none in (math.inf, None):
        with pytest.raises(UserError, match=r"every run diverged or failed at 0\.5, 1, 2 times"):
            settle(Tuning(), always(none))
