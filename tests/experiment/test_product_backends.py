"""The backend of matrix products: the faster one, but for what the user says and what a run began with."""

import random
from collections.abc import Mapping

import pytest

from moewright.errors import UserError
from moewright.experiment.product_backends import (
    BACKENDS,
    MARGIN,
    OVERRIDE,
    PRODUCT_KINDS,
    ProductChoice,
    ProductRates,
    RateByKind,
    about_bf16,
    before_choices,
    choose_products,
)


def rates(r: random.Random, bf16: float | None = None) -> ProductRates:
    """Of a random machine; `bf16`: that rate for every kind."""

    def by_kind(rate: float | None = None) -> RateByKind:
        return RateByKind(**{kind: rate or r.uniform(0.5, 2.0) for kind in PRODUCT_KINDS})

    small, large = ({backend: by_kind() for backend in BACKENDS} for _ in range(2))
    return ProductRates(small=small, large=large, large_bf16=by_kind(bf16))


def never() -> ProductRates:
    """A measurement that would decide nothing."""
    raise AssertionError("measured")


NOTHING_SAID: Mapping[str, str] = {}


def test_the_faster_backend_is_chosen_for_each_kind_and_size_and_ties_are_torchs() -> None:
    """500 random machines; a choice survives being written down."""
    r = random.Random(3)
    for _ in range(500):
        found = rates(r)
        choice = choose_products(True, lambda found=found: found, environment=NOTHING_SAID)  # type: ignore[misc]
        assert (choice.because, choice.rates) == ("measured", found)
        for size in ("small", "large"):
            for kind in PRODUCT_KINDS:
                by_backend = {backend: getattr(getattr(found, size)[backend], kind) for backend in BACKENDS}
                chosen = getattr(getattr(choice, size), kind)
                assert by_backend[chosen] >= max(by_backend.values()) / MARGIN
                if max(by_backend.values()) < MARGIN * min(by_backend.values()):
                    assert chosen == "torch"
        assert ProductChoice.from_dict(choice.to_dict()) == choice


def test_a_run_keeps_what_it_began_with() -> None:
    """Whatever would be measured now."""
    r = random.Random(4)
    for _ in range(50):
        begun = choose_products(True, lambda: rates(r), environment=NOTHING_SAID)
        on = choose_products(True, never, begun, environment={OVERRIDE: " "})
        assert (on.small, on.large, on.because, on.rates, on.warning) == (
            begun.small,
            begun.large,
            "begun",
            begun.rates,
            None,
        )


def test_folders_from_before_choices_go_on_with_onednn_where_torch_has_it() -> None:
    for has in (True, False):
        choice = choose_products(has, never, before_choices(has), environment=NOTHING_SAID)
        assert choice.in_words == ("onednn" if has else "torch")
        assert choice.warning is None


def test_a_run_that_began_with_onednn_and_cannot_go_on_with_it_is_told() -> None:
    choice = choose_products(False, never, before_choices(True), environment=NOTHING_SAID)
    assert (choice.in_words, choice.because) == ("torch", "only")
    assert "last bits may differ" in str(choice.warning)


def test_what_the_user_says_is_done_and_told_where_bits_change() -> None:
    for backend in BACKENDS:
        assert choose_products(True, never, environment={OVERRIDE: backend}) == ProductChoice.all(backend, "stated")
    other = choose_products(True, never, before_choices(True), environment={OVERRIDE: "torch"})
    assert "began with the products of onednn and goes on with those of torch" in str(other.warning)
    same = choose_products(True, never, before_choices(True), environment={OVERRIDE: "onednn"})
    assert same.warning is None


def test_loops_go_by_groups_in_runs_that_begin_today_and_one_by_one_in_those_that_began_before() -> None:
    r = random.Random(6)
    written = before_choices(True).to_dict()
    del written["loops"]
    begun = ProductChoice.from_dict(written)
    for has in (True, False):
        assert choose_products(has, lambda: rates(r), environment=NOTHING_SAID).loops == "grouped"
        assert choose_products(has, never, environment={OVERRIDE: "torch"}).loops == "grouped"
        for said in (NOTHING_SAID, {OVERRIDE: "torch"}):
            assert choose_products(has, never, begun, environment=said).loops == "single"


@pytest.mark.parametrize(
    ("word", "has_onednn", "said"),
    [("mkl", True, "expected torch or onednn, found 'mkl'"), ("onednn", False, "no products of onednn here")],
)
def test_a_word_that_names_no_backend(word: str, has_onednn: bool, said: str) -> None:
    with pytest.raises(UserError, match=said):
        choose_products(has_onednn, never, environment={OVERRIDE: word})


def test_bf16_is_questioned_where_fp32_is_faster() -> None:
    r = random.Random(5)
    for _ in range(100):
        assert "fp32 is faster here" in str(about_bf16(rates(r, bf16=0.4)))
        assert about_bf16(rates(r, bf16=2.1)) is None
