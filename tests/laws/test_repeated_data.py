"""Repeated tokens: what Muennighoff et al. 2023 (arXiv 2305.16264) say of them, and what predict makes of it."""

import math

import pytest

import moewright
from moewright import UserError
from moewright.laws.repeated_data import DECAY, effective_tokens

OLMOE = "examples/configs/olmoe-1b-7b.json"


def test_worth_is_the_sum_of_ever_less() -> None:
    """The n-th repetition of a token is worth exp(-n / R*) of a new one, added up here in 20,000 small steps."""
    for epochs in (1.5, 4, 16, 60):
        steps = 20_000
        width = (epochs - 1) / steps
        worth = sum(math.exp(-(step + 0.5) * width / DECAY) * width for step in range(steps))
        assert effective_tokens(epochs * 1e9, 1e9) == pytest.approx((1 + worth) * 1e9, rel=1e-6)


def test_what_the_paper_says_in_words() -> None:
    assert effective_tokens(4e11, 1e11) > 0.93 * 4e11, "up to four epochs nearly as good as new"
    assert effective_tokens(1e15, 1e11) == pytest.approx(16.39e11)
    assert effective_tokens(3e11, 1e12) == 3e11
    with pytest.raises(UserError, match="unique-tokens"):
        effective_tokens(1e9, 0)


def test_predict_asks_laws_about_new_tokens_and_rules_about_all() -> None:
    again = moewright.predict(OLMOE, "5T", unique_tokens="500B")
    new = {law.law: law for law in moewright.predict(OLMOE, again.effective_tokens).laws}
    every = {law.law: law for law in moewright.predict(OLMOE, "5T").laws}
    assert again.effective_tokens < 5e12
    assert again.answer().unique_tokens == 5e11
    assert any("10 passes over 500.0B tokens count as" in warning for warning in again.warnings)
    for law in again.laws:
        assert law.loss == new[law.law].loss
        if law.loss is None:
            assert law.quantities == every[law.law].quantities


def test_enough_tokens_change_nothing_and_say_so() -> None:
    plenty, plain = moewright.predict(OLMOE, "2T", unique_tokens="5T"), moewright.predict(OLMOE, "2T")
    assert [law.loss for law in plenty.laws] == [law.loss for law in plain.laws]
    assert any("nothing is seen twice" in warning for warning in plenty.warnings)
