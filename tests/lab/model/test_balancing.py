"""Balance losses and the loss-free bias against computations by hand, from logits and in plain Python floats."""

import itertools
import math
import random
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from moewright.architecture.feed_forwards import ExpertGroup, MoE, Router
from moewright.architecture.spec import Architecture
from moewright.errors import UserError
from moewright.experiment.balance_losses.switch import SwitchLoss
from moewright.experiment.routing import SelectionBias
from moewright.lab.model import Transformer
from moewright.lab.model.balancing import balance_loss, set_even_bias, update_selection_bias, z_loss
from moewright.lab.model.moe import DROPLESS, MoELayer, RoutingMode
from tests.lab.model.samplers import fill

WIDTH = 5


@pytest.fixture(autouse=True)
def _float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def mixture(score: Any = "softmax", routers: str = "one group", bias: bool = False) -> MoE:
    groups = [ExpertGroup(count=4, expert_size=3, top_k=2), ExpertGroup(count=3, expert_size=8, top_k=1)]
    return MoE(
        groups=tuple(groups[:1] if routers == "one group" else groups),
        router=Router(score=score, selection_bias="buffer" if bias else None),
        router_per_group=routers == "router per group",
    )


def built(moe: MoE, seed: int) -> MoELayer:
    layer = MoELayer(moe, WIDTH)
    fill(layer, seed)
    if layer.router.selection_bias is not None:
        layer.router.selection_bias.zero_()
    return layer


def batch(seed: int, sequences: int = 3, length: int = 4) -> tuple[Tensor, Tensor]:
    """Inputs, and which are not padding: the first sequence is whole, the last one only padding."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.tensor([length, *(1 + s % length for s in range(sequences - 2)), 0])
    return torch.randn(sequences, length, WIDTH, generator=generator), torch.arange(length) < lengths[:, None]


# By hand: a routed token is (sequence, choices as numbers over all experts, shares of each router's experts)

Token = tuple[int, list[int], list[float]]


def spans(moe: MoE) -> list[range]:
    """The experts of each group, numbered over all groups."""
    ends = list(itertools.accumulate(group.count for group in moe.groups))
    return [range(end - group.count, end) for group, end in zip(moe.groups, ends, strict=True)]


def routers(moe: MoE) -> list[range]:
    return spans(moe) if moe.router_per_group else [range(spans(moe)[-1].stop)]


def by_score(moe: MoE, logits: list[float]) -> list[float]:
    """One router's scores of all its experts, not normalised for sigmoid and sqrt_softplus."""
    if moe.router.score == "softmax":
        return [math.exp(v) / sum(math.exp(w) for w in logits) for v in logits]
    if moe.router.score == "sigmoid":
        return [1 / (1 + math.exp(-v)) for v in logits]
    return [math.sqrt(math.log(1 + math.exp(v))) for v in logits]


def routed(moe: MoE, logits: Tensor, valid: Tensor, bias: list[float] | None = None) -> list[Token]:
    tokens = []
    for b, t in itertools.product(*map(range, valid.shape)):
        if valid[b, t]:
            scores, shares = [], []
            for router in routers(moe):
                values = by_score(moe, [logits[b, t, e].item() for e in router])
                scores += values
                shares += [value / sum(values) for value in values]
            ranks = [score + (bias[e] if bias else 0.0) for e, score in enumerate(scores)]
            chosen = []
            for group, span in zip(moe.groups, spans(moe), strict=True):
                chosen += sorted(span, key=lambda e: -ranks[e])[: group.top_k]
            tokens.append((b, chosen, shares))
    return tokens


def loads_over_even(moe: MoE, tokens: list[Token]) -> list[float]:
    loads = [sum(e in chosen for _, chosen, _ in tokens) for e in range(moe.num_experts)]
    return [
        loads[e] / (len(tokens) * group.top_k / group.count)
        for group, span in zip(moe.groups, spans(moe), strict=True)
        for e in span
    ]


def balance_by_hand(loss: SwitchLoss, moes: list[MoE], tokens: list[list[Token]], whole: list[list[Token]]) -> float:
    """The definition in `SwitchLoss`; `tokens` and `whole` of each layer: of the forward pass, of the whole step."""
    sequences = sorted({b for b, _, _ in tokens[0]}) if loss.scope == "sequence" else [None]
    samples = []  # for each sample and layer: relative loads, mean shares
    for sequence in sequences:
        layers = []
        for moe, here, step in zip(moes, tokens, whole, strict=True):
            mine = [token for token in here if sequence in (None, token[0])]
            r = loads_over_even(moe, step if loss.scope == "global_batch" else mine)
            p = [sum(shares[e] for _, _, shares in mine) / len(mine) for e in range(moe.num_experts)]
            layers.append((r, p))
        if loss.layers == "pooled":
            r, p = (
                [sum(column) / len(layers) for column in zip(*rows, strict=True)] for rows in zip(*layers, strict=True)
            )
            layers = [(r, p)]
        samples.append(layers)
    by_layer = []
    for index in range(len(samples[0])):
        moe, values = moes[index], []
        sizes = [group.expert_size for group in moe.groups for _ in range(group.count)]
        mean_size = sum(sizes) / len(sizes)
        for layers in samples:
            r, p = layers[index]
            if loss.size_penalty:
                r = [load * size / mean_size for load, size in zip(r, sizes, strict=True)]
            total = sum(load * share for load, share in zip(r, p, strict=True)) / len(routers(moe))
            values.append(total * (moe.top_k if loss.balanced_value == "top_k" else 1))
        by_layer.append(sum(values) / len(values))
    return loss.weight * (sum(by_layer) if loss.layers == "sum" else sum(by_layer) / len(by_layer))


@pytest.mark.parametrize("routing", ["one group", "one router", "router per group"])
@pytest.mark.parametrize("score", ["softmax", "sigmoid", "sqrt_softplus"])
def test_losses_by_hand(score: str, routing: str) -> None:
    """Every scope, balanced value, treatment of layers and size penalty: 36 settings for each kind of routers."""
    moes = [mixture(score, routing)] * 2
    layers = [built(moe, seed) for seed, moe in enumerate(moes)]
    (x, valid), (other_x, other_valid) = batch(1), batch(2)
    tokens = [routed(one.spec, x @ one.router.weight.t(), valid) for one in layers]
    others = [routed(one.spec, other_x @ one.router.weight.t(), other_valid) for one in layers]
    routings = [layer(x, valid, DROPLESS)[1] for layer in layers]
    step = [
        (here.loads + layer(other_x, other_valid, DROPLESS)[1].loads).sum(0)
        for here, layer in zip(routings, layers, strict=True)
    ]
    for scope, value, over, penalty in itertools.product(
        ("micro_batch", "sequence", "global_batch"), ("one", "top_k"), ("mean", "sum", "pooled"), (False, True)
    ):
        settings = {"scope": scope, "balanced_value": value, "layers": over, "size_penalty": penalty}
        loss = SwitchLoss.from_dict({"weight": 0.3, **settings})
        expected = balance_by_hand(loss, moes, tokens, [a + b for a, b in zip(tokens, others, strict=True)])
        actual = balance_loss(loss, routings, layers, step if scope == "global_batch" else None)
        assert actual.item() == pytest.approx(expected, rel=1e-12), loss


def test_z_loss_by_hand() -> None:
    layers = [built(mixture("sigmoid", "router per group"), 1), built(mixture(), 2)]
    x, valid = batch(3)
    by_layer = []
    for layer in layers:
        logits, values = x @ layer.router.weight.t(), []
        for b, t in valid.nonzero().tolist():
            parts = [math.log(sum(math.exp(logits[b, t, e].item()) for e in router)) for router in routers(layer.spec)]
            values.append(sum(part**2 for part in parts) / len(parts))
        by_layer.append(sum(values) / len(values))
    actual = z_loss([layer(x, valid, DROPLESS)[1] for layer in layers])
    assert actual.item() == pytest.approx(sum(by_layer) / 2, rel=1e-12)


@pytest.mark.parametrize("routing", ["one group", "one router", "router per group"])
def test_even_routing_costs_one_or_top_k(routing: str) -> None:
    """Twelve tokens, each with a favourite expert further on, so that every expert of a group is chosen as often."""
    for score, over in itertools.product(("softmax", "sigmoid", "sqrt_softplus"), ("mean", "pooled")):
        moe = mixture(score, routing)
        layer = MoELayer(moe, 12)
        fill(layer, 0)
        with torch.no_grad():
            for span in spans(moe):
                for e, t in itertools.product(range(len(span)), range(12)):
                    layer.router.weight[span[e], t] = 0.7 ** ((e - t) % len(span)) + 0.01 * (t // len(span))
        answers = [layer(torch.eye(12).view(3, 4, 12), None, DROPLESS)[1]] * 2
        loads = answers[0].loads.sum(0).tolist()
        assert loads == [12 * group.top_k // group.count for group in moe.groups for _ in range(group.count)]
        for value, expected in (("one", 1.0), ("top_k", moe.top_k)):
            loss = SwitchLoss.from_dict({"weight": 1.0, "balanced_value": value, "layers": over})
            assert balance_loss(loss, answers, [layer] * 2).item() == pytest.approx(expected, rel=1e-14, abs=0)


def test_pooling_needs_equal_layers() -> None:
    layers = [built(mixture(), 1), built(mixture(routers="one router"), 2)]
    x, valid = batch(4)
    routings = [layer(x, valid, DROPLESS)[1] for layer in layers]
    with pytest.raises(UserError, match="pooled"):
        balance_loss(SwitchLoss(weight=1.0, layers="pooled"), routings, layers)


@pytest.mark.parametrize("over", ["mean", "sum"])
def test_global_batch_with_accumulation_is_one_big_batch(over: Any) -> None:
    """Three micro-batches of unlike sizes and padding, averaged by their tokens."""
    layers = [built(mixture("sigmoid", "router per group"), 1), built(mixture(), 2)]
    x, valid = batch(5, sequences=6)
    x.requires_grad_()
    weights = [layer.router.weight for layer in layers]
    loss = SwitchLoss(weight=0.7, scope="global_batch", layers=over)
    whole = [layer(x, valid, DROPLESS)[1] for layer in layers]
    loads = [routing.loads.sum(0) for routing in whole]
    one = balance_loss(SwitchLoss(weight=0.7, layers=over), whole, layers)
    gradients = torch.autograd.grad(one, (x, *weights))
    parts = []
    for rows in (slice(0, 1), slice(1, 3), slice(3, 6)):
        routings = [layer(x[rows], valid[rows], DROPLESS)[1] for layer in layers]
        parts.append(balance_loss(loss, routings, layers, loads) * valid[rows].sum() / valid.sum())
    accumulated = sum(parts)
    assert isinstance(accumulated, Tensor)
    torch.testing.assert_close(accumulated, one, rtol=1e-12, atol=0)
    for actual, expected in zip(torch.autograd.grad(accumulated, (x, *weights)), gradients, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-12)


# The loss-free bias


@pytest.mark.parametrize("routing", ["one group", "one router", "router per group"])
@pytest.mark.parametrize("update", ["sign", "proportional"])
def test_bias_by_hand(update: Any, routing: str) -> None:
    """Twenty steps whose choices follow the moving bias, with both switches on and off."""
    for over_experts, zero_mean in itertools.product((False, True), repeat=2):
        settings = SelectionBias(step=0.03, update=update, step_over_experts=over_experts, zero_mean=zero_mean)
        moe = mixture("sigmoid", routing, bias=True)
        layer, bias = built(moe, 3), [0.0] * moe.num_experts
        moved = 0
        for step in range(20):
            x, valid = batch(step)
            tokens = routed(moe, x @ layer.router.weight.t(), valid, bias)
            moved += [sorted(t[1]) for t in tokens] != [
                sorted(t[1]) for t in routed(moe, x @ layer.router.weight.t(), valid)
            ]
            for router in routers(moe):
                size = 0.03 / len(router) if over_experts else 0.03
                r = loads_over_even(moe, tokens)
                for e in router:
                    change = 1 - r[e] if update == "proportional" else (r[e] < 1) - (r[e] > 1)
                    bias[e] += size * change
                if zero_mean:
                    mean = sum(bias[e] for e in router) / len(router)
                    for e in router:
                        bias[e] -= mean
            loads = layer(x, valid, DROPLESS)[1].loads.sum(0)
            update_selection_bias(settings, [layer], [loads])
            assert layer.router.selection_bias is not None
            assert layer.router.selection_bias.tolist() == pytest.approx(bias, rel=0, abs=1e-13)
        assert moved or over_experts  # the bias is large enough to matter


def even_bias_by_hand(scores: list[list[float]], bias: list[float], top_k: int) -> list[float]:
    """For each expert the bias at which as many tokens as its even load exceed their cutoffs, by sorting."""
    cutoffs = [sorted((s + b for s, b in zip(row, bias, strict=True)), reverse=True)[top_k] for row in scores]
    load = len(scores) * top_k / len(bias)
    answers = []
    for e in range(len(bias)):
        needed = sorted(cutoff - row[e] for cutoff, row in zip(cutoffs, scores, strict=True))
        at = int(load)
        above = needed[min(at + 1, len(needed) - 1)] if load > at else needed[at]
        answers.append(needed[at] + (above - needed[at]) * (load - at))
    return answers


@pytest.mark.parametrize("routing", ["one group", "one router", "router per group"])
@pytest.mark.parametrize("score", ["softmax", "sigmoid", "sqrt_softplus"])
def test_quantile_by_hand(score: str, routing: str) -> None:
    """Ten steps of two forward passes whose choices follow the moving bias, with padding, with and without memory."""
    for memory in (0.0, 0.4):
        moe = mixture(score, routing, bias=True)
        layer, bias = built(moe, 3), [0.0] * moe.num_experts
        for step in range(10):
            reported, wanted = [], []
            for turn in range(2):
                x, valid = batch(2 * step + turn, sequences=5, length=6)
                reported.append(layer(x, valid, RoutingMode(quantiles=True))[1].even_bias)
                logits = (x @ layer.router.weight.t())[valid].tolist()
                scores = [[s for part in routers(moe) for s in by_score(moe, [row[e] for e in part])] for row in logits]
                spread = []
                for group, span in zip(moe.groups, spans(moe), strict=True):
                    rows = [[row[e] for e in span] for row in scores]
                    spread += even_bias_by_hand(rows, [bias[e] for e in span], group.top_k)
                assert reported[-1].tolist() == pytest.approx(spread, rel=0, abs=1e-13)
                wanted.append(spread)
            for router in routers(moe):
                moved = {e: memory * bias[e] + (1 - memory) * (wanted[0][e] + wanted[1][e]) / 2 for e in router}
                for e in router:
                    bias[e] = moved[e] - sum(moved.values()) / len(router)
            set_even_bias(memory, [layer], [(reported[0] + reported[1]) / 2])
            assert layer.router.selection_bias is not None
            assert layer.router.selection_bias.tolist() == pytest.approx(bias, rel=0, abs=1e-13)
        assert max(map(abs, bias)) > 0.01


def test_quantile_is_megatrons_on_whole_loads() -> None:
    """The (q+1)-th largest of score less cutoff, with q whole, is what `qb_dual_update` of Megatron-Core takes."""
    layer = built(mixture("sigmoid", bias=True), 3)
    scores = torch.rand(40, 4, generator=torch.Generator().manual_seed(1))
    assert layer.router.selection_bias is not None
    layer.router.selection_bias.copy_(torch.tensor([0.3, -0.2, 0.0, 0.1]))
    beta = -layer.router.selection_bias
    cutoffs = (scores - beta).topk(3, dim=1).values[:, -1:]
    column = (scores - cutoffs).topk(40 * 2 // 4 + 1, dim=0).values[-1]
    torch.testing.assert_close(layer.router.even_bias(scores), -column, rtol=0, atol=0)


def test_quantile_balances_what_no_step_of_the_sign_does_in_as_many() -> None:
    """One expert scores far above the others: eight updates on the same tokens leave no load 5 % off the even one."""
    worst = {}
    for update in ("sign", "quantile"):
        layer = built(mixture("sigmoid", bias=True), 3)
        x = torch.randn(1, 400, WIDTH, generator=torch.Generator().manual_seed(2)) + 1
        for _ in range(8):
            routing = layer(x, None, RoutingMode(quantiles=update == "quantile"))[1]
            if update == "quantile":
                set_even_bias(0.0, [layer], [routing.even_bias])
            else:
                update_selection_bias(SelectionBias(), [layer], [routing.loads.sum(0)])
        loads = layer(x, None, DROPLESS)[1].loads.sum(0)
        worst[update] = float((loads / 200 - 1).abs().max())
    assert worst["quantile"] < 0.05 < worst["sign"], worst


def test_nothing_but_padding_leaves_the_bias_as_it_is() -> None:
    layer = built(mixture("sigmoid", bias=True), 3)
    assert layer.router.selection_bias is not None
    layer.router.selection_bias.copy_(torch.tensor([0.3, -0.3, 0.1, -0.1]))
    x, _ = batch(1)
    routing = layer(x, torch.zeros(x.shape[:2], dtype=torch.bool), RoutingMode(quantiles=True))[1]
    assert torch.equal(routing.even_bias, layer.router.selection_bias)


def _model(router: dict[str, object] | None = None) -> Transformer:
    attention = {"kind": "attention", "num_heads": 2, "num_kv_heads": 1, "head_dim": 4, "rope": {}}
    experts = {
        "kind": "moe",
        "groups": [{"count": 6, "expert_size": 3, "top_k": 2}],
        "router": {"score": "sigmoid", "selection_bias": "buffer", "normalize": True, **(router or {})},
    }
    layers = [{"repeat": 2, "layers": [{"mixer": attention, "feed_forward": experts}]}]
    model = Transformer(Architecture.from_dict({"vocab_size": 20, "hidden_size": 6, "layers": layers}))
    fill(model, 4)
    return model


def _biases(model: Transformer) -> list[list[float]]:
    return [bias.tolist() for name, bias in model.named_buffers() if "selection_bias" in name]


def test_bias_rests_in_forward_passes() -> None:
    """Neither training nor evaluation moves it, nor a gradient; only the update does, and state_dict keeps it."""
    model = _model()
    before = _biases(model)
    tokens = torch.randint(20, (2, 8), generator=torch.Generator().manual_seed(0))
    for mode in (True, False):
        model.train(mode)
        model(tokens, targets=tokens)[0].backward()
        assert _biases(model) == before
    assert sum("selection_bias" in name for name in model.state_dict()) == 2
    assert not any("selection_bias" in name for name, _ in model.named_parameters())


def test_bias_never_enters_gates() -> None:
    """One number on all experts changes no choice; where all are chosen, no bias changes anything."""
    r = random.Random(1)
    for score, normalize in itertools.product(("softmax", "sigmoid", "sqrt_softplus"), (False, True)):
        router = Router.from_dict({"score": score, "normalize": normalize, "selection_bias": "buffer"})
        for count, top_k, biases in ((6, 2, [3.25] * 6), (4, 4, [r.uniform(-3, 3) for _ in range(4)])):
            layer = built(MoE(groups=(ExpertGroup(count=count, expert_size=3, top_k=top_k),), router=router), 5)
            x, valid = batch(6)
            y, routing = layer(x, valid, DROPLESS)
            assert layer.router.selection_bias is not None
            layer.router.selection_bias.copy_(torch.tensor(biases))
            biased, with_bias = layer(x, valid, DROPLESS)
            torch.testing.assert_close(biased, y, rtol=1e-13, atol=1e-14)
            torch.testing.assert_close(with_bias.shares, routing.shares, rtol=0, atol=0)
            assert torch.equal(with_bias.loads, routing.loads)


def test_bias_is_the_same_with_recomputation_and_accumulation() -> None:
    """Ten optimizer steps of four sequences: at once, with recomputation, and in two unequal micro-batches."""
    answers = []
    for recompute, sizes in ((False, (4,)), (True, (4,)), (False, (1, 3)), (True, (3, 1))):
        model = _model()
        model.recompute = recompute
        for step in range(10):
            tokens = torch.randint(20, (4, 6), generator=torch.Generator().manual_seed(step))
            loads = [torch.zeros(6, dtype=torch.int64) for _ in model.moe_layers()]
            for part in tokens.split(sizes):
                loss, routings = model(part, targets=part)
                loss.backward()
                loads = [total + routing.loads.sum(0) for total, routing in zip(loads, routings, strict=True)]
            update_selection_bias(SelectionBias(step=0.02), model.moe_layers(), loads)
        answers.append((_biases(model), [p.grad for p in model.parameters()]))
    for biases, gradients in answers[1:]:
        assert biases == answers[0][0]
        for actual, expected in zip(gradients, answers[0][1], strict=True):
            torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-12)
