"""The model's parts against torch's own in float64, and the whole model against itself run in other ways."""

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, scaled_dot_product_attention

from moewright.architecture.feed_forwards import Activation
from moewright.architecture.mixers import Attention, LatentAttention, Rope, Window
from moewright.architecture.spec import Architecture
from moewright.lab.fast import blockwise_attention, chunked_loss, products
from moewright.lab.model import Transformer
from moewright.lab.model.attention import AttentionContext, attend, rotary_angles
from moewright.lab.model.moe import Routing
from moewright.lab.model.operations import activate, head_loss, linear, rms_norm, rotate
from tests.lab.model.samplers import ACTIVATIONS, fill, random_architecture


def draw(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()


def same_with_gradients(actual: Tensor, expected: Tensor, inputs: list[Tensor]) -> None:
    """Values and gradients of two computations of the same inputs."""
    torch.testing.assert_close(actual, expected, rtol=1e-11, atol=1e-12)
    weigh = torch.linspace(-1, 2, actual.numel(), dtype=actual.dtype).view_as(actual)
    ours = torch.autograd.grad((actual * weigh).sum(), inputs)
    theirs = torch.autograd.grad((expected * weigh).sum(), inputs, retain_graph=True)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("shape", [(7,), (4, 7), (2, 3, 4, 5), (0, 3), (3, 1)])
def test_rms_norm(shape: tuple[int, ...], weighted: bool) -> None:
    x, weight = draw(*shape), draw(shape[-1]) if weighted else None
    inputs = [x] if weight is None else [x, weight]
    expected = torch.nn.functional.rms_norm(x, shape[-1:], weight, 0.1)
    same_with_gradients(rms_norm(x, weight, 0.1), expected, inputs)


def test_linear() -> None:
    x, a, b, bias = draw(2, 3, 5), draw(4, 5), draw(1, 5), draw(4)
    same_with_gradients(linear(x, a, bias), torch.nn.functional.linear(x, a, bias), [x, a, bias])
    turned = x.transpose(0, 1)
    expected = torch.cat([turned @ a.t(), turned @ b.t()], dim=-1)
    same_with_gradients(linear(turned, torch.cat([a, b])), expected, [x, a, b])
    assert linear(x.to(torch.bfloat16), a, bias).dtype == torch.bfloat16


@pytest.mark.parametrize(("channels", "fraction"), [(8, 1.0), (8, 0.5), (7, 1.0), (6, 0.3)])
def test_rotation_is_a_complex_product(channels: int, fraction: float) -> None:
    x, length, theta = draw(2, 3, 5, channels), 5, 50.0
    half = int(channels * fraction) // 2
    frequencies = torch.tensor([theta ** (-i / half) for i in range(half)], dtype=torch.float64)
    turns = torch.outer(torch.arange(length, dtype=torch.float64), frequencies)
    pairs = torch.complex(x[..., :half], x[..., half : 2 * half]) * torch.polar(torch.ones_like(turns), turns)
    expected = torch.cat([pairs.real, pairs.imag, x[..., 2 * half :]], dim=-1)
    cos, sin = rotary_angles(Rope(theta=theta, fraction=fraction), channels, length, x.device, x.dtype)
    same_with_gradients(rotate(x, cos, sin), expected, [x])


@pytest.mark.parametrize("length", [1, 4, 5, 11])
@pytest.mark.parametrize(("heads", "kv_heads", "width"), [(4, 2, 3), (3, 1, 6), (2, 2, 1)])
@pytest.mark.parametrize("group_bytes", [0, 400, 2**20])
def test_causal_attention(
    monkeypatch: pytest.MonkeyPatch, length: int, heads: int, kv_heads: int, width: int, group_bytes: int
) -> None:
    """The blockwise loop with blocks of 4, above and below the length, in groups of one head to all; as a mask; and
    torch's own."""
    monkeypatch.setattr(blockwise_attention, "GROUP_BLOCK", 4)
    monkeypatch.setattr(blockwise_attention, "SCORE_BYTES", group_bytes)
    q, k, v = draw(2, heads, length, 3), draw(2, kv_heads, length, 3, seed=1), draw(2, kv_heads, length, width, seed=2)
    per_key = heads // kv_heads
    expected = scaled_dot_product_attention(
        q, k.repeat_interleave(per_key, 1), v.repeat_interleave(per_key, 1), is_causal=True, scale=0.7
    ).transpose(1, 2)
    same_with_gradients(attend(q, k, v, 0.7, None), expected, [q, k, v])
    everything = torch.ones(length, length, dtype=torch.bool).tril()
    same_with_gradients(attend(q, k, v, 0.7, everything), expected, [q, k, v])


def test_what_a_token_may_look_at() -> None:
    r = random.Random(3)
    for _ in range(60):
        length, size = r.randrange(1, 9), r.randrange(1, 10)
        window = r.choice((None, Window(size=size), Window(size=size, kind="chunked")))
        documents = [[r.randrange(3) for _ in range(length)] for _ in range(2)] if r.random() < 0.5 else None
        context = AttentionContext(length, None if documents is None else torch.tensor(documents))
        allowed = context.mask(window, torch.device("cpu"))
        if allowed is None:
            allowed = torch.ones(length, length, dtype=torch.bool).tril()
        seen = allowed.expand(2, 1, length, length)[:, 0]
        for b in range(2):
            for i in range(length):
                for j in range(length):
                    may = j <= i
                    if window is not None and window.kind == "sliding":
                        may = may and j in range(i - size + 1, i + 1)
                    elif window is not None:
                        may = may and j >= i - i % size
                    if documents is not None:
                        may = may and documents[b][i] == documents[b][j]
                    assert bool(seen[b, i, j]) == may, (window, documents, b, i, j)


@pytest.mark.parametrize("rows", [1, 3, 4, 9])
@pytest.mark.parametrize("with_bias", [True, False])
def test_head_loss(monkeypatch: pytest.MonkeyPatch, rows: int, with_bias: bool) -> None:
    """Against all logits at once; chunks of 4 rows, so that the last is full, short, or the only one."""
    monkeypatch.setattr(chunked_loss, "LOGIT_ROWS", 4)
    hidden, weight, bias = draw(rows, 5), draw(7, 5), draw(7) if with_bias else None
    targets = torch.tensor([(3 * i) % 7 if i % 4 != 1 else -100 for i in range(rows)])
    inputs = [hidden, weight] if bias is None else [hidden, weight, bias]
    logits = hidden @ weight.t() + (0 if bias is None else bias)
    expected = 0.3 * cross_entropy(logits, targets, reduction="sum")
    same_with_gradients(head_loss(hidden, weight, targets, 0.3, bias), expected, inputs)
    same_with_gradients(7 * head_loss(hidden, weight, targets, 0.3, bias), 7 * expected, inputs)
    with torch.no_grad():
        torch.testing.assert_close(head_loss(hidden, weight, targets, 0.3, bias), expected)


def test_head_loss_of_nothing_and_of_no_class() -> None:
    hidden, weight = draw(3, 5), draw(7, 5)
    value = head_loss(hidden, weight, torch.full((3,), -100), 1.0)
    assert value == 0
    assert not any(gradient.any() for gradient in torch.autograd.grad(value, (hidden, weight)))
    for wrong in (7, -1):
        with pytest.raises((IndexError, RuntimeError)):
            head_loss(hidden, weight, torch.tensor([0, wrong, 1]), 1.0)


@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name: Activation, gated: bool) -> None:
    functions: dict[str, Callable[[Tensor], Tensor]] = {
        "silu": torch.nn.functional.silu,
        "gelu": torch.nn.functional.gelu,
        "gelu_tanh": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
        "relu": torch.nn.functional.relu,
        "relu2": lambda x: torch.nn.functional.relu(x) ** 2,
    }
    x = draw(3, 4, 6)
    gate, up = x.chunk(2, dim=-1)
    expected = functions[name](gate) * up if gated else functions[name](x)
    same_with_gradients(activate(x, name, gated), expected, [x])
    assert torch.autograd.gradcheck(lambda v: activate(v, name, gated), x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_products(dtype: torch.dtype) -> None:
    """100 random shapes, sizes of one among them, inputs contiguous, transposed and cut out of larger ones."""
    r = random.Random(4)
    tolerance = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float64: 1e-13}[dtype]

    def matrix(rows: int, columns: int, seed: int) -> Tensor:
        kind = r.choice(("plain", "transposed", "cut rows", "cut columns", "every second"))
        whole = draw(*{"transposed": (columns, rows)}.get(kind, (2 * rows + 1, 2 * columns + 1)), seed=seed).detach()
        whole = whole.to(dtype)
        if kind == "transposed":
            return whole.t()
        if kind == "every second":
            return whole[: 2 * rows : 2, : 2 * columns : 2]
        view = whole[1 : rows + 1, : columns if kind == "cut columns" else None]
        return view[:, :columns] if kind == "cut rows" else view[:, :columns].contiguous() if kind == "plain" else view

    for case in range(100):
        m, n, k = (r.choice((1, 1, 2, 3, 8, 17, 33)) for _ in range(3))
        for product, a, b, expected in (
            (products.times_transposed, (m, k), (n, k), "mk,nk->mn"),
            (products.times, (m, k), (k, n), "mk,kn->mn"),
            (products.transposed_times, (k, m), (k, n), "km,kn->mn"),
        ):
            first, second = matrix(*a, seed=case), matrix(*b, seed=case + 1000)
            result = product(first, second)
            truth = torch.einsum(expected, first.double(), second.double())
            assert result.dtype == dtype
            assert result.shape == truth.shape
            assert (result.double() - truth).abs().max() <= tolerance * (1 + truth.abs().max()), (case, product)


# The whole model


def _model(r: random.Random, seed: int) -> Transformer:
    model = Transformer(random_architecture(r))
    fill(model, seed)
    return model


def _tokens(model: Transformer, batch: int, length: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(model.architecture.vocab_size, (batch, length), generator=generator)


def _run(model: Transformer, tokens: Tensor, targets: Tensor, **how: Any) -> tuple[Tensor, list[Tensor], list[Routing]]:
    """The loss with some weight on the balance quantities, its gradients, and what the routers did."""
    value, routings = model(tokens, targets=targets, loss_scale=0.5, **how)
    for routing in routings:
        ramp = torch.arange(routing.shares.shape[-1], dtype=routing.shares.dtype)
        value = value + 0.1 * (routing.shares * ramp).sum() + 0.01 * routing.z.sum()
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(value, learned, allow_unused=True)
    zeros = [torch.zeros_like(p) if g is None else g for p, g in zip(learned, gradients, strict=True)]
    return value.detach(), zeros, routings


def test_recomputing_is_bit_identical() -> None:
    r = random.Random(6)
    for seed in range(8):
        model = _model(r, seed)
        tokens = _tokens(model, 2, 6, seed)
        kept = _run(model, tokens, tokens.roll(-1, 1))
        model.recompute = True
        again = _run(model, tokens, tokens.roll(-1, 1))
        assert torch.equal(kept[0], again[0])
        assert all(map(torch.equal, kept[1], again[1]))
        assert all(torch.equal(a.loads, b.loads) for a, b in zip(kept[2], again[2], strict=True))


def test_packed_documents_do_not_see_each_other() -> None:
    """Chunked windows are left out: their blocks are those of the sequence."""
    r = random.Random(7)
    seen = 0
    while seen < 8:
        model = _model(r, seen)
        if any(
            isinstance(layer.mixer, Attention | LatentAttention)
            and layer.mixer.window is not None
            and layer.mixer.window.kind == "chunked"
            for layer in model.architecture.iter_layers()
        ):
            continue
        seen += 1
        lengths = (3, 1, 5)
        tokens = _tokens(model, 2, sum(lengths), seen)
        documents = torch.tensor([i for i, length in enumerate(lengths) for _ in range(length)]).expand(2, -1)
        packed, routings = model(tokens, document_ids=documents)
        alone = [model(part) for part in tokens.split(lengths, dim=1)]
        torch.testing.assert_close(packed, torch.cat([logits for logits, _ in alone], dim=1), rtol=1e-10, atol=1e-10)
        for index, routing in enumerate(routings):
            assert torch.equal(routing.loads, sum(parts[index].loads for _, parts in alone))


def test_padding_changes_nothing() -> None:
    r = random.Random(8)
    for seed in range(8):
        model = _model(r, seed)
        lengths = [6, 2, 4]
        tokens = _tokens(model, 3, 6, seed)
        valid = torch.arange(6) < torch.tensor(lengths)[:, None]
        targets = tokens.roll(-1, 1).masked_fill(~valid, -100)
        value, gradients, routings = _run(model, tokens, targets, valid=valid)
        singles = [_run(model, tokens[b : b + 1, :n], targets[b : b + 1, :n]) for b, n in enumerate(lengths)]
        torch.testing.assert_close(value, sum(single[0] for single in singles), rtol=1e-11, atol=1e-11)
        for index, gradient in enumerate(gradients):
            expected = sum(single[1][index] for single in singles)
            torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-10)
        for index, routing in enumerate(routings):
            assert torch.equal(routing.loads, torch.cat([single[2][index].loads for single in singles]))
            assert routing.tokens.tolist() == lengths


def test_weights_shared_by_embedding_and_head_get_both_gradients() -> None:
    """Tied and untied models of equal weights: the tied gradient is the sum of the untied two."""
    plain = {"kind": "attention", "num_heads": 2, "num_kv_heads": 1, "head_dim": 4}
    layers = [{"mixer": plain, "feed_forward": {"kind": "dense", "size": 4}}]
    tied, untied = (
        Transformer(
            Architecture.from_dict({"vocab_size": 9, "hidden_size": 6, "layers": layers, "tie_embeddings": together})
        )
        for together in (True, False)
    )
    fill(tied, 1)
    untied.double().load_state_dict(tied.state_dict() | {"lm_head": tied.embed_tokens})
    tokens = _tokens(tied, 2, 5, 1)
    gradients = []
    for model in (tied, untied):
        model(tokens, targets=tokens.roll(-1, 1))[0].backward()
        head = 0 if model.lm_head is None else model.lm_head.grad
        assert model.embed_tokens.grad is not None
        assert head is not None
        gradients.append(model.embed_tokens.grad + head)
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-13)
