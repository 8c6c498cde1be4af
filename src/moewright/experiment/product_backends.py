"""Which library computes a run's matrix products, decided by measuring; no torch.

torch brings two for processors: the one that its own product calls (MKL on x86), and oneDNN. Which is faster depends on
the processor, the kind of product and its size. They round in another order, so a run keeps the choice that it began
with. Only products in fp32 are chosen for: those in bf16 are torch's own.
"""

import os
from collections.abc import Callable, Mapping
from typing import Literal

from pydantic import ConfigDict

from moewright.errors import UserError
from moewright.quantities import brief
from moewright.records import Positive, Record, Size
from moewright.sealed_records import SealedRecord

OVERRIDE = "MOEWRIGHT_PRODUCTS"
"""The variable by which people say which backend computes all products."""
MARGIN = 1.05
"""oneDNN is chosen where it is so many times as fast: a tie goes to torch's own product, however the clock wavers."""

Backend = Literal["torch", "onednn"]
BACKENDS: tuple[Backend, ...] = ("torch", "onednn")
ProductKind = Literal["forward", "input_gradient", "weight_gradient"]
PRODUCT_KINDS: tuple[ProductKind, ...] = ("forward", "input_gradient", "weight_gradient")
"""Of a linear layer: its output, and the gradients of its input and of its weight."""


class BackendByKind(Record):
    """The backend of each kind of product."""

    model_config = ConfigDict(extra="ignore")  # it stands in lines of metrics, where what is newer is passed over

    forward: Backend
    input_gradient: Backend
    weight_gradient: Backend

    @classmethod
    def all(cls, backend: Backend) -> "BackendByKind":
        """The same for every kind."""
        return cls(**dict.fromkeys(PRODUCT_KINDS, backend))


class RateByKind(Record):
    """FLOP/s of each kind of product."""

    model_config = ConfigDict(extra="ignore")

    forward: Positive
    input_gradient: Positive
    weight_gradient: Positive

    @property
    def of_a_step(self) -> float:
        """FLOP/s of the three together, each as often as in a step: once."""
        return len(PRODUCT_KINDS) / (1 / self.forward + 1 / self.input_gradient + 1 / self.weight_gradient)


class ProductRates(Record):
    """What a machine reaches in matrix products, by backend."""

    model_config = ConfigDict(extra="ignore")

    small: dict[Backend, RateByKind]
    """By backend, in fp32, of products that the call itself decides."""
    large: dict[Backend, RateByKind]
    """By backend, in fp32."""
    large_bf16: RateByKind
    """By torch."""


class MeasuredProducts(SealedRecord):
    """A note in the user's cache: what one processor reaches with one torch and so many threads."""

    format: Literal["moewright-products/1"] = "moewright-products/1"
    processor: str
    capability: str
    """The instruction set that torch's kernels use."""
    torch: str
    threads: Size
    settings: dict[str, str]
    """Variables of the environment that the libraries heed."""
    rates: ProductRates


_OTHER_BITS = "its last bits may differ from those of an uninterrupted run"

Loops = Literal["single", "grouped"]
"""Whether the loops over heads and experts take one at a time or several, which rounds in another order."""
ChoiceReason = Literal["stated", "begun", "only", "measured"]


class ProductChoice(Record):
    """Which backend computes which product, and why."""

    model_config = ConfigDict(extra="ignore")

    small: BackendByKind
    """Of fewer multiplications than `lab.fast.choice.SMALL`."""
    large: BackendByKind
    because: ChoiceReason
    """MOEWRIGHT_PRODUCTS says so; the run began with it; torch has no other here; measured, now or before on this kind
    of machine."""
    loops: Loops = "single"
    """As runs began before they said so; runs that begin today: `grouped`."""
    rates: ProductRates | None = None
    """What was measured. None: nothing was."""
    warning: str | None = None
    """What the user should know of it."""

    @classmethod
    def all(
        cls, backend: Backend, because: ChoiceReason, warning: str | None = None, *, loops: Loops = "grouped"
    ) -> "ProductChoice":
        """The same for every product."""
        by_kind = BackendByKind.all(backend)
        return cls(small=by_kind, large=by_kind, because=because, loops=loops, warning=warning)

    @property
    def is_torchs(self) -> bool:
        """Whether no product goes to another backend than torch's own."""
        return self.in_words == "torch"

    @property
    def in_words(self) -> str:
        """`onednn`, or `small: torch; large: onednn, weight_gradient torch`."""
        small, large = (_in_words(one) for one in (self.small, self.large))
        return small if small == large else f"small: {small}; large: {large}"


def _in_words(backends: BackendByKind) -> str:
    most = backends.forward
    others = [f"{kind} {getattr(backends, kind)}" for kind in PRODUCT_KINDS if getattr(backends, kind) != most]
    return ", ".join([most, *others])


def before_choices(has_onednn: bool) -> ProductChoice:
    """What computed the products of a run whose folder does not say: oneDNN, wherever torch had it."""
    return ProductChoice.all("onednn" if has_onednn else "torch", "begun", loops="single")


def choose_products(
    has_onednn: bool,
    measure: Callable[[], ProductRates],
    begun: ProductChoice | None = None,
    *,
    environment: Mapping[str, str] = os.environ,
) -> ProductChoice:
    """For a run that now begins (`begun` None) or goes on, having begun with that.

    `has_onednn`: whether torch can be asked for oneDNN's products here. `measure` is called only if what it tells
    decides. UserError for a word in MOEWRIGHT_PRODUCTS that is no backend, or one that is not here.
    """
    stated = _stated(environment, has_onednn)
    if stated is not None:
        if begun is None:
            return ProductChoice.all(stated, "stated")
        if begun.in_words == stated:
            return ProductChoice.all(stated, "stated", loops=begun.loops)
        return ProductChoice.all(
            stated,
            "stated",
            f"the run began with the products of {begun.in_words} and goes on with those of {stated}, as {OVERRIDE} "
            f"says: {_OTHER_BITS}",
            loops=begun.loops,
        )
    if begun is not None:
        if has_onednn or begun.is_torchs:
            return begun.model_copy(update={"because": "begun", "warning": None})
        return ProductChoice.all(
            "torch",
            "only",
            f"the run began with the products of {begun.in_words}, and torch has none of oneDNN here: {_OTHER_BITS}",
            loops=begun.loops,
        )
    if not has_onednn:
        return ProductChoice.all("torch", "only")
    rates = measure()
    small, large = (_fastest(by_backend) for by_backend in (rates.small, rates.large))
    return ProductChoice(small=small, large=large, because="measured", loops="grouped", rates=rates)


def _stated(environment: Mapping[str, str], has_onednn: bool) -> Backend | None:
    text = environment.get(OVERRIDE, "").strip()
    if not text:
        return None
    stated = next((backend for backend in BACKENDS if backend == text), None)
    if stated is None:
        raise UserError(f"{OVERRIDE}: expected {' or '.join(BACKENDS)}, found {brief(text)}")
    if stated == "onednn" and not has_onednn:
        raise UserError(f"{OVERRIDE}: torch has no products of onednn here; without the variable its own are taken")
    return stated


def _fastest(rates: Mapping[Backend, RateByKind]) -> BackendByKind:
    def of(kind: ProductKind) -> Backend:
        return "onednn" if getattr(rates["onednn"], kind) > MARGIN * getattr(rates["torch"], kind) else "torch"

    return BackendByKind(**{kind: of(kind) for kind in PRODUCT_KINDS})


def about_bf16(rates: ProductRates) -> str | None:
    """What to tell a user who asks for bf16 where such products are faster in fp32; None where they are not."""
    best = RateByKind(**{kind: max(getattr(one, kind) for one in rates.large.values()) for kind in PRODUCT_KINDS})
    fp32, bf16 = best.of_a_step, rates.large_bf16.of_a_step
    if bf16 >= fp32:
        return None
    return (
        f"precision: matrix products in bf16 reach {bf16 / 1e9:.3g} GFLOP/s on this processor and in fp32 "
        f"{fp32 / 1e9:.3g}: fp32 is faster here"
    )
