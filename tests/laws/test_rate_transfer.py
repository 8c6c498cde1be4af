"""The transfer rule of learning rates against Gaussian conditioning in its other form, and on worlds that are known."""

import math
from collections.abc import Mapping
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from moewright.laws.rate_optimum import best_rate
from moewright.laws.rate_transfer import EXPONENTS, MUP_EXPONENT, RateRule, TunedModel, tuned_model

START = {
    "active_params": 1e6,
    "train_tokens": 1e8,
    "num_experts": 8.0,
    "top_k": 2.0,
    "expert_share": 1.0,
    "batch_tokens": 65536.0,
}


def model(**times: float) -> dict[str, float]:
    return {name: value * times.get(name, 1.0) for name, value in START.items()}


@pytest.mark.parametrize("mup", [False, True])
def test_the_rule_is_gaussian_conditioning(mup: bool) -> None:
    """The same belief by covariances of the tuned models and the new one, not by coefficients; weights of tau by
    scipy's density."""
    random = np.random.default_rng(3)
    places = [model(**{name: math.exp(random.normal()) for name in START}) for _ in range(6)]
    rates, deviations = np.exp(random.normal(-6, 1, 5)), random.uniform(0.05, 0.4, 5)
    tuned = [
        TunedModel(place, rate, spread, None) for place, rate, spread in zip(places, rates, deviations, strict=False)
    ]
    found = RateRule(3e-3, START, tuned, mup).predict(places[-1])

    prior = {**EXPONENTS, **({"active_params": MUP_EXPONENT} if mup else {})}
    means, covariance = np.full(6, math.log(3e-3)), np.full((6, 6), 1.5**2)
    for name, (mean, spread) in prior.items():
        far = np.log([place[name] / START[name] for place in places])
        means += mean * far
        covariance += spread**2 * np.outer(far, far)
    weights, answers = [], []
    for miss in (0.05, 0.1, 0.2, 0.4):
        among = covariance[:5, :5] + np.diag(deviations**2 + miss**2)
        pull = np.linalg.solve(among, covariance[:5, 5])
        variance = covariance[5, 5] - covariance[:5, 5] @ pull + miss**2
        answers.append((means[5] + pull @ (np.log(rates) - means[:5]), variance))
        density = multivariate_normal.logpdf(np.log(rates), means[:5], among)
        weights.append(density - (math.log(miss / 0.15) / 0.7) ** 2 / 2)
    shares = np.exp(np.array(weights) - max(weights))
    shares /= shares.sum()
    centre = sum(share * mean for share, (mean, _) in zip(shares, answers, strict=True))
    whole = sum(
        share * (variance + (mean - centre) ** 2) for share, (mean, variance) in zip(shares, answers, strict=True)
    )
    assert math.log(found.rate) == pytest.approx(centre, rel=1e-9)
    assert found.deviation == pytest.approx(math.sqrt(whole), rel=1e-9)
    assert found.gives_away == pytest.approx(0.5 * whole / 2, rel=1e-9)  # curvature .5 until a parabola says it


@settings(max_examples=30, deadline=None)
@given(size=st.floats(-1.2, 0.0), tokens=st.floats(-0.2, 0.5), experts=st.floats(-0.6, 0.3), level=st.floats(-1.0, 1.0))
def test_exponents_are_learned(size: float, tokens: float, experts: float, level: float) -> None:
    def best(sizes: Mapping[str, float]) -> float:
        powers = {"active_params": size, "train_tokens": tokens, "num_experts": experts}
        return 3e-3 * math.exp(level + sum(power * math.log(sizes[n] / START[n]) for n, power in powers.items()))

    steps = product((1, 4), (1, 4), (1, 8))
    places = [model(active_params=n, train_tokens=d, num_experts=e) for n, d, e in steps]
    rule = RateRule(3e-3, START, [TunedModel(place, best(place), 0.05, 0.5) for place in places])
    far = model(active_params=16, train_tokens=8, num_experts=16)
    found = rule.predict(far)
    assert abs(math.log(found.rate / best(far))) < 0.15
    assert found.interval[0] < best(far) < found.interval[1]


def test_intervals_hold_what_is_drawn_from_the_prior() -> None:
    random = np.random.default_rng(11)
    places = [model(active_params=n, num_experts=e, train_tokens=d) for n, e, d in product((1, 3), (1, 4), (1, 5))]
    far, held = model(active_params=10, num_experts=16, train_tokens=10), 0
    for _ in range(300):
        powers = {name: random.normal(*EXPONENTS[name]) for name in START}
        level, miss = random.normal(math.log(3e-3), 1.5), 0.15 * math.exp(0.7 * random.normal())

        def log_best(sizes: Mapping[str, float], level: float = level, powers: Mapping[str, float] = powers) -> float:
            return float(level + sum(power * math.log(sizes[n] / START[n]) for n, power in powers.items()))

        tuned = [
            TunedModel(place, math.exp(log_best(place) + random.normal(0, miss) + random.normal(0, 0.1)), 0.1, None)
            for place in places
        ]
        low, high = RateRule(3e-3, START, tuned).predict(far).interval
        held += low < math.exp(log_best(far) + random.normal(0, miss)) < high
    assert 0.85 * 300 < held < 0.96 * 300


def test_the_least_sure_are_tested_until_the_rest_are_sure() -> None:
    places = [model(active_params=n, num_experts=e) for n, e in product((1, 1.1, 8), (1, 1.1, 8))]
    nothing = RateRule(3e-3, START, [])
    assert len(nothing.to_test(places, 1e-6, 0.2)) == 9
    some = nothing.to_test(places, 0.04, 0.2)
    assert 1 < len(some) < 9
    known = RateRule(3e-3, START, [TunedModel(places[each], 3e-3, 0.05, 0.5) for each in range(9)])
    assert known.to_test(places, 0.04, 0.2) == ()
    assert some[0] == 8  # the furthest


def test_what_a_tuning_tells() -> None:
    rates = [1e-3, 2e-3, 4e-3]
    inside = best_rate(rates, [3.1, 3.0, 3.1], noise=0.01)
    found = tuned_model(START, 2e-3, inside, math.log(2))
    assert inside.interval is not None
    assert found.deviation == pytest.approx(math.log(inside.interval[1] / inside.interval[0]) / 2 / 1.6449, rel=1e-4)
    assert found.curvature == pytest.approx(0.2 / math.log(2) ** 2)
    unknown = tuned_model(START, 2e-3, best_rate(rates, [3.1, 3.0, 3.1]), math.log(2))
    assert unknown.deviation == pytest.approx(math.log(2) / math.sqrt(12))
    end = tuned_model(START, 4e-3, best_rate(rates, [3.2, 3.1, 3.0], noise=0.01), math.log(2))
    assert end.deviation == pytest.approx(2 * math.log(2) / math.sqrt(12))
    assert end.curvature is None
