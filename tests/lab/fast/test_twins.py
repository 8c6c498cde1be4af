"""Every operation's twin against its plain definition: outputs and all gradients, on random shapes, fp64 and fp32."""

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from moewright.experiment.product_backends import ProductChoice
from moewright.lab.fast import blockwise_attention, chunked_loss, expert_loop
from moewright.lab.fast.choice import Implementation, Operation, implementation, using_products
from moewright.lab.model import Transformer, operations
from tests.lab.model.samplers import ACTIVATIONS, fill, random_architecture

CASES = 60
"""Of each operation in each precision."""
SIZES = (1, 2, 3, 5, 8, 16, 17, 33)
TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-5}

Drawn = tuple[tuple[Any, ...], set[str]]
"""Arguments, and what is special about them."""


class Draw:
    """Random tensors and sizes of one case."""

    def __init__(self, seed: int, dtype: torch.dtype):
        self.random, self.dtype = random.Random(seed), dtype
        self.generator = torch.Generator().manual_seed(seed)

    def size(self) -> int:
        return self.random.choice(SIZES)

    def flag(self) -> bool:
        return self.random.random() < 0.5

    def tensor(self, *shape: int) -> Tensor:
        """With gradients; now and then a transposed or cut view, as the model hands them on."""
        values = torch.randn(*shape, generator=self.generator, dtype=torch.float64).to(self.dtype)
        if len(shape) > 1 and self.flag():
            values = values.transpose(-1, -2).contiguous().transpose(-1, -2)
        return values.requires_grad_()


def linear(draw: Draw) -> Drawn:
    rows = [draw.size() for _ in range(draw.random.choice((1, 2)))] if draw.flag() else [0]
    outputs, inputs = draw.size(), draw.size()
    bias = draw.tensor(outputs) if draw.flag() else None
    wide = torch.float64 if draw.flag() else None
    facts = {"no rows"} if rows == [0] else {f"{len(rows)} axes"}
    return (draw.tensor(*rows, inputs), draw.tensor(outputs, inputs), bias, wide), facts


def rms_norm(draw: Draw) -> Drawn:
    rows, width = ([0] if draw.random.random() < 0.1 else [draw.size(), 2]), draw.size()
    weight = draw.tensor(width) if draw.flag() else None
    facts = {"weighted" if weight is not None else "unweighted", "no rows" if rows == [0] else "rows"}
    return (draw.tensor(*rows, width), weight, draw.random.choice((1e-6, 0.1))), facts


def rotate(draw: Draw) -> Drawn:
    length, half, rest = draw.size(), draw.random.randrange(5), draw.random.randrange(3)
    angles = torch.rand(length, half, generator=draw.generator, dtype=torch.float64) * 7
    facts = {"nothing turns" if half == 0 else "a rest" if rest else "all turn"}
    x = draw.tensor(2, draw.size(), length, max(1, 2 * half + rest))
    return (x, angles.cos().to(draw.dtype), angles.sin().to(draw.dtype)), facts


def activate(draw: Draw) -> Drawn:
    name, gated = draw.random.choice(ACTIVATIONS), draw.flag()
    rows = 0 if draw.random.random() < 0.1 else draw.size()
    return (draw.tensor(rows, 2 * draw.size()), name, gated), {name, "gated" if gated else "plain"}


def causal_attention(draw: Draw) -> Drawn:
    batch, keys, share, length, channels, values = (draw.random.choice((1, 2, 3)), *(draw.size() for _ in range(5)))
    keys, share = min(keys, 3), min(share, 3)
    q, k, v = ((keys * share, channels), (keys, channels), (keys, values))
    tensors = tuple(draw.tensor(batch, heads, length, size) for heads, size in (q, k, v))
    facts = {"grouped" if share > 1 else "a key each", "several blocks" if length > 4 else "one block"}
    return (*tensors, channels**-0.5), facts


def expert_ffn(draw: Draw) -> Drawn:
    tokens, experts, width, size = (draw.size() for _ in range(4))
    rows = 0 if draw.random.random() < 0.1 else draw.random.randrange(1, 6 * tokens + 1)
    expert = torch.randint(experts, (rows,), generator=draw.generator).sort().values
    counts = torch.bincount(expert, minlength=experts)
    token = torch.randint(tokens, (rows,), generator=draw.generator)
    name, gated = draw.random.choice(ACTIVATIONS), draw.flag()
    weights = draw.tensor(experts, 2 * size if gated else size, width), draw.tensor(experts, width, size)
    facts = {"no rows" if rows == 0 else "an empty expert" if not counts.all() else "all experts"}
    if bool(((counts > 16) & (counts % 2 == 1)).any()):
        facts.add("an odd number of rows above 16")
    return (draw.tensor(tokens, width), token, draw.tensor(rows), counts, *weights, name, gated), facts


def head_loss(draw: Draw) -> Drawn:
    tokens, vocabulary, width = (draw.size() for _ in range(3))
    targets = torch.randint(vocabulary, (tokens,), generator=draw.generator)
    ignored = torch.rand(tokens, generator=draw.generator) < draw.random.choice((0.0, 0.3, 1.0))
    targets = targets.masked_fill(ignored, chunked_loss.IGNORED)
    bias = draw.tensor(vocabulary) if draw.flag() else None
    facts = {"nothing predicted" if ignored.all() else "some ignored" if ignored.any() else "all predicted"}
    facts.add("several chunks" if tokens > 4 else "one chunk")
    return (draw.tensor(tokens, width), draw.tensor(vocabulary, width), targets, 0.3, bias), facts


SAMPLERS: dict[str, tuple[Callable[[Draw], Drawn], int]] = {
    "linear": (linear, 3),
    "rms_norm": (rms_norm, 4),
    "rotate": (rotate, 3),
    "activate": (activate, 7),
    "causal_attention": (causal_attention, 4),
    "expert_ffn": (expert_ffn, 4),
    "head_loss": (head_loss, 5),
}
"""For each operation how its arguments are drawn, and how many special cases must come up."""


def test_every_operation_has_a_sampler() -> None:
    assert [operation.__name__ for operation in operations.OPERATIONS] == list(SAMPLERS)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("operation", operations.OPERATIONS, ids=lambda operation: operation.__name__)
def test_twin_equals_definition(monkeypatch: pytest.MonkeyPatch, operation: Operation[...], dtype: torch.dtype) -> None:
    """60 random cases; blocks, chunks and groups of 4 or little more, so that there are several; every second with the
    loops as runs had them before there were groups."""
    monkeypatch.setattr(blockwise_attention, "BLOCK", 4)
    monkeypatch.setattr(blockwise_attention, "GROUP_BLOCK", 4)
    monkeypatch.setattr(blockwise_attention, "SCORE_BYTES", 300)
    monkeypatch.setattr(expert_loop, "GROUP_BYTES", 600)
    monkeypatch.setattr(chunked_loss, "LOGIT_ROWS", 4)
    sampler, special = SAMPLERS[operation.__name__]
    seen: Counter[str] = Counter()
    for case in range(CASES):
        draw = Draw(case, dtype)
        arguments, facts = sampler(draw)
        seen.update(facts)
        leaves = [argument for argument in arguments if isinstance(argument, Tensor) and argument.requires_grad]
        results = []
        choice = ProductChoice.all("torch", "stated", loops="single" if case % 2 else "grouped")
        for run in (operation.plain, operation.fast):
            with implementation("plain" if run is operation.plain else "fast"), using_products(choice):
                y = run(*arguments)
                weigh = torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view(y.shape)
                results.append((y, torch.autograd.grad((y * weigh).sum(), leaves, materialize_grads=True)))
        (plain, plain_gradients), (fast, fast_gradients) = results
        assert fast.dtype == plain.dtype
        for one, other in zip((fast, *fast_gradients), (plain, *plain_gradients), strict=True):
            assert one.shape == other.shape
            assert one.dtype == other.dtype
            if other.numel():
                error = (one - other).abs().max().item() / (1 + other.abs().max().item())
                assert error <= TOLERANCE[dtype], (case, facts, error)
    assert len(seen) == special, seen
    assert min(seen.values()) >= 3, seen


def test_whole_models_agree() -> None:
    """Loss and gradients of 30 random models in fp64, as they are written and by the twins."""
    r = random.Random(17)
    for seed in range(30):
        model = Transformer(random_architecture(r))
        fill(model, seed)
        tokens = torch.randint(model.architecture.vocab_size, (2, 7), generator=torch.Generator().manual_seed(seed))
        learned = [weight for weight in model.parameters() if weight.requires_grad]

        def run(kind: Implementation | None) -> list[Tensor]:
            with implementation(kind):
                loss, routings = model(tokens, targets=tokens.roll(-1, 1))  # noqa: B023
                loss = loss + sum(0.1 * routing.z.sum() for routing in routings)
                return [loss, *torch.autograd.grad(loss, learned, materialize_grads=True)]  # noqa: B023

        plain, fast, chosen = run("plain"), run("fast"), run(None)
        assert all(map(torch.equal, fast, chosen))  # on a processor
        for one, other in zip(fast, plain, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-9 * (1 + other.abs().max().item()))


def test_choice_is_by_device_and_can_be_overruled(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def noting(name: str) -> Callable[[Tensor], Tensor]:
        def note(x: Tensor) -> Tensor:
            calls.append(name)
            return x

        return note

    for name in ("plain", "fast"):
        monkeypatch.setattr(operations.causal_attention, name, noting(name))
    here, elsewhere = torch.zeros(1), torch.zeros(1, device="meta")
    operations.causal_attention(here)  # type: ignore[call-arg]
    operations.causal_attention(elsewhere)  # type: ignore[call-arg]
    for kind in ("plain", "fast", None):
        with implementation(kind):
            operations.causal_attention(here)  # type: ignore[call-arg]
    operations.causal_attention(here)  # type: ignore[call-arg]
    assert calls == ["fast", "plain", "plain", "fast", "fast", "fast"]
