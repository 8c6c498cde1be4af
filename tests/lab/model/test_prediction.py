"""Prediction blocks against their definition, position by position, in float64 with all gradients."""

import random
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from moewright.architecture.counts import mtp_params, total_params
from moewright.architecture.spec import Architecture
from moewright.lab.model import Transformer
from moewright.lab.model.attention import AttentionContext
from moewright.lab.model.moe import DROPLESS
from tests.lab.model.samplers import fill

VOCAB, WIDTH, LENGTH = 11, 8, 6


@pytest.fixture(autouse=True)
def _float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def architecture(blocks: int, own_layers: bool, **changes: Any) -> Architecture:
    """A dense layer and one with experts, and prediction blocks like the last or of two other layers."""
    attention = {"kind": "attention", "num_heads": 2, "num_kv_heads": 1, "head_dim": 4, "rope": {"theta": 50.0}}
    dense = {"mixer": attention, "feed_forward": {"kind": "dense", "size": 7}}
    experts = {"kind": "moe", "groups": [{"count": 4, "expert_size": 5, "top_k": 2}], "shared": {"expert_size": 3}}
    routed = {"mixer": {**attention, "qk_norm": "per_head"}, "feed_forward": experts}
    block = [{**routed, "norms": "sandwich"}, {**dense, "norms": "post"}] if own_layers else None
    layers = [dense, routed]
    whole = {"vocab_size": VOCAB, "hidden_size": WIDTH, "layers": layers, "mtp_layers": blocks, "mtp_block": block}
    return Architecture.from_dict({**whole, **changes})


def norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return x / (x.square().mean() + eps).sqrt() * weight


def by_hand(model: Transformer, tokens: Tensor, targets: Tensor, weight: float) -> tuple[Tensor, Tensor]:
    """The model's mean loss and the weighted sum of the blocks' means, from logits of single positions."""
    eps = model.architecture.norm.eps
    head = model.embed_tokens if model.lm_head is None else model.lm_head
    states, _ = model.hidden(tokens)

    def nats(state: Tensor, target: int) -> Tensor:
        return -log_softmax(head @ state, dim=0)[target]

    sequences, length = tokens.shape
    main = [nats(states[b, t], int(targets[b, t])) for b in range(sequences) for t in range(length)]
    everything = torch.cat((tokens, targets[:, -1:]), dim=1)  # token t + 1 follows token t
    of_blocks = []
    for number, block in enumerate(model.prediction_blocks(), start=1):
        whole = length + 1 - number  # positions whose token `number` further on is known
        rows = []
        for b in range(sequences):
            for t in range(whole):
                ahead = model.embed_tokens[everything[b, t + number]]
                both = (
                    norm(ahead, block.embedding_norm.weight, eps),
                    norm(states[b, t], block.hidden_norm.weight, eps),
                )
                rows.append(block.eh_proj[:, :WIDTH] @ both[0] + block.eh_proj[:, WIDTH:] @ both[1])
        x = torch.stack(rows).view(sequences, whole, WIDTH)
        for layer in block.layers:
            x, _ = layer(x, AttentionContext(whole, None), None, DROPLESS)
        states = torch.stack([norm(row, block.output_norm.weight, eps) for row in x.flatten(0, 1)]).view_as(x)
        scored = [
            nats(states[b, t], int(everything[b, t + number + 1])) for b in range(sequences) for t in range(whole - 1)
        ]
        of_blocks.append(torch.stack(scored).mean())
    return torch.stack(main).mean(), weight * torch.stack(of_blocks).mean()


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("own_layers", [False, True])
@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_losses_and_gradients_are_the_definition(blocks: int, own_layers: bool, recompute: bool) -> None:
    r = random.Random(f"{blocks} {own_layers}")
    model = Transformer(architecture(blocks, own_layers, tie_embeddings=own_layers))
    fill(model, 5)
    tokens = torch.tensor([[r.randrange(VOCAB) for _ in range(LENGTH + 1)] for _ in range(3)])
    inputs, targets = tokens[:, :-1], tokens[:, 1:]
    wanted = by_hand(model, inputs, targets, 0.4)
    model.recompute = recompute
    losses, routings = model(inputs, targets=targets, loss_scale=1 / targets.numel(), prediction_weight=0.4)
    assert losses.shape == (1 + blocks,)
    assert len(routings) == len(model.moe_layers()) == 1 + blocks
    torch.testing.assert_close((losses[0], losses[1:].sum()), wanted, rtol=1e-12, atol=1e-13)
    learned = [p for p in model.parameters() if p.requires_grad]
    found = torch.autograd.grad(losses.sum(), learned)
    for actual, expected in zip(found, torch.autograd.grad(wanted[0] + wanted[1], learned), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-12)
        assert actual.any()


def test_without_a_weight_the_blocks_rest() -> None:
    """Validation, generation and export see the model alone."""
    model = Transformer(architecture(2, True))
    fill(model, 5)
    alone = Transformer(architecture(0, False))
    alone.load_state_dict({name: t for name, t in model.state_dict().items() if not name.startswith("prediction.")})
    tokens = torch.randint(VOCAB, (2, LENGTH), generator=torch.Generator().manual_seed(1))
    targets = tokens.roll(-1, 1)
    assert torch.equal(model(tokens)[0], alone(tokens)[0])
    (loss, routings), (other, others) = (each(tokens, targets=targets) for each in (model, alone))
    assert torch.equal(loss, other)
    assert len(routings) == len(others) == len(model.moe_layers(prediction=False)) == 1
    assert len(model.moe_layers()) == 3


def test_positions_beyond_the_sequence_choose_no_expert() -> None:
    model = Transformer(architecture(3, False))
    fill(model, 5)
    tokens = torch.randint(VOCAB, (2, LENGTH), generator=torch.Generator().manual_seed(1))
    _, routings = model(tokens, targets=tokens.roll(-1, 1), prediction_weight=0.1)
    assert [routing.tokens.tolist() for routing in routings] == [
        [n] * 2 for n in (LENGTH, LENGTH, LENGTH - 1, LENGTH - 2)
    ]


@pytest.mark.parametrize("own_layers", [False, True])
def test_parameters_are_those_that_are_counted(own_layers: bool) -> None:
    spec = architecture(2, own_layers)
    held = sum(p.numel() for p in Transformer(spec).parameters())
    assert held == total_params(spec) + mtp_params(spec)
