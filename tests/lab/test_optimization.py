"""Gradients of a step, and what the optimizers make of them, against the formulas written out."""

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from moewright.data.dataset import open_files
from moewright.experiment.recipe import Recipe
from moewright.lab.losses import accumulate_gradients
from moewright.lab.model import Transformer
from moewright.lab.optimization import AdamW, initialize, rate_factor
from moewright.lab.session import Session
from moewright.lab.sharding import World
from tests.lab import tiny

pytestmark = pytest.mark.usefixtures("quick")


def begin(data: dict[str, Any], **changes: Any) -> Session:
    """A session of a run that does not begin yet."""
    dataset = open_files(data["train"], data["validation"], data["vocab_size"], data["dtype"])
    return Session(Recipe.from_dict(tiny.recipe(data, **changes)), dataset, World(0, 1, torch.device("cpu")))


def gradients(session: Session) -> dict[str, Tensor]:
    """Of the session's next step, which is not taken; in float64."""
    accumulate_gradients(session.model, session.recipe, session.batches, session.step, session.members, None)
    taken = {name: p.grad.double() for name, p in session.model.named_parameters() if p.grad is not None}
    session.model.zero_grad()
    return taken


def test_norms_by_layer_and_expert_before_clipping(data: dict[str, Any]) -> None:
    """Two groups of unlike experts in the second layer, an expert that no token chooses, a limit far below."""
    plain = tiny.architecture()
    (layer,) = plain["layers"][0]["layers"]
    groups = [{"count": 3, "expert_size": 8, "top_k": 1}, {"count": 2, "expert_size": 4, "top_k": 1}]
    mixture = {"kind": "moe", "groups": groups, "router": {"selection_bias": "buffer"}}
    dense = {**layer, "feed_forward": {"kind": "dense", "size": 20}}
    plain["layers"] = [dense, {**layer, "feed_forward": mixture}, layer]
    session = begin(data, architecture=plain, optimizer={"clip_norm": 1e-3}, log_every_steps=3, balancing={})
    session.model.moe_layers()[0].router.selection_bias[1] = -9.0  # type: ignore[index]
    taken = gradients(session)
    session.next_step()
    found = session.gradient_norms
    assert found is not None

    def norm(*parts: Tensor) -> float:
        return math.sqrt(sum(float(part.square().sum()) for part in parts))

    for number, value in enumerate(found.layers):
        wanted = norm(*(grad for name, grad in taken.items() if name.startswith(f"layers.{number}.")))
        assert value == pytest.approx(wanted, rel=1e-5)
    by_layer = []
    for number in (1, 2):
        stacks = {name: grad for name, grad in taken.items() if f"layers.{number}.feed_forward.groups." in name}
        experts = []
        for group in range(3 - number):
            mine = [grad for name, grad in stacks.items() if f".groups.{group}." in name]
            experts += [norm(*(grad[e] for grad in mine)) for e in range(len(mine[0]))]
        by_layer.append(sorted(experts))
    assert found.least_expert == pytest.approx([values[0] for values in by_layer], rel=1e-5)
    assert found.median_expert == pytest.approx([values[(len(values) - 1) // 2] for values in by_layer], rel=1e-5)
    assert found.largest_expert == pytest.approx([values[-1] for values in by_layer], rel=1e-5)
    assert found.least_expert[0] == 0
    session.next_step()
    assert session.gradient_norms is None  # metrics hold steps 1, 3, 6 ...


def weights(session: Session) -> dict[str, Tensor]:
    """Copies in float64."""
    return {name: p.detach().double() for name, p in session.model.named_parameters()}


@pytest.mark.parametrize("clip", [None, 0.05])
def test_adamw_by_hand(data: dict[str, Any], clip: float | None) -> None:
    """Loshchilov and Hutter (arXiv 1711.05101), algorithm 2, in float64; decay of matrices only; the norm clipped."""
    settings = {"beta1": 0.8, "beta2": 0.9, "eps": 1e-6, "weight_decay": 0.3, "clip_norm": clip}
    session = begin(data, optimizer=settings, learning_rate=0.02)
    moments: dict[str, tuple[Any, Any]] = dict.fromkeys(weights(session), (0.0, 0.0))
    for t in range(1, 5):
        before, g = weights(session), gradients(session)
        norm = math.sqrt(sum(float(each.square().sum()) for each in g.values()))
        factor = min(1.0, clip / norm) if clip else 1.0
        assert factor < 1 or not clip, "nothing is clipped"
        _, stated, rate = session.next_step()
        assert stated == pytest.approx(norm, rel=1e-5)
        after = weights(session)
        for name, weight in before.items():
            m = 0.8 * moments[name][0] + 0.2 * factor * g[name]
            v = 0.9 * moments[name][1] + 0.1 * (factor * g[name]) ** 2
            moments[name] = (m, v)
            decay = 0.3 if weight.ndim > 1 else 0.0
            step = (m / (1 - 0.8**t)) / ((v / (1 - 0.9**t)).sqrt() + 1e-6) + decay * weight
            torch.testing.assert_close(after[name], weight - rate * step, rtol=1e-5, atol=1e-6, msg=f"{name} at {t}")


def test_muon_takes_each_matrix_apart(data: dict[str, Any]) -> None:
    """Every expert's, and gate and up of a pair; AdamW has the rest. One step is torch's Muon on that matrix alone."""
    session = begin(data, optimizer={"kind": "muon", "momentum": 0.9, "weight_decay": 0.2, "clip_norm": None})
    adamw, muon = session.optimizers.optimizers
    names = {id(tensor): name for name, tensor in session.optimizers.tensors.items()}
    by_adamw, by_muon = (
        {names[id(tensor)] for group in each.param_groups for tensor in group["params"]} for each in (adamw, muon)
    )
    expected = set()
    for layer in ("layers.0.", "layers.1."):
        expected |= {f"{layer}mixer.{each}_proj" for each in "qkvo"}
        experts, shared = f"{layer}feed_forward.groups.0.", f"{layer}feed_forward.shared."
        expected |= {f"{experts}up_proj.{e}.{half}" for e in range(4) for half in ("gate", "up")}
        expected |= {f"{experts}down_proj.{e}" for e in range(4)}
        expected |= {f"{shared}up_proj.gate", f"{shared}up_proj.up", f"{shared}down_proj"}
    assert by_muon == expected
    assert {name for name in by_adamw if "norm" not in name} == {
        "embed_tokens",
        "lm_head",
        "layers.0.feed_forward.router.weight",
        "layers.1.feed_forward.router.weight",
    }
    assert sum(tensor.numel() for tensor in session.optimizers.tensors.values()) == sum(
        p.numel() for p in session.model.parameters()
    )
    up = session.model.get_parameter("layers.1.feed_forward.groups.0.up_proj")
    size = up.shape[1] // 2
    alone = [torch.nn.Parameter(up.detach()[2, rows].clone()) for rows in (slice(0, size), slice(size, None))]
    theirs = torch.optim.Muon(alone, momentum=0.9, weight_decay=0.2, adjust_lr_fn="match_rms_adamw")
    for _ in range(3):
        g = gradients(session)["layers.1.feed_forward.groups.0.up_proj"][2].float()
        for part, gradient in zip(alone, (g[:size], g[size:]), strict=True):
            part.grad = gradient
        theirs.param_groups[0]["lr"] = session.next_step()[2]
        theirs.step()
        torch.testing.assert_close(up.detach()[2], torch.cat([part.detach() for part in alone]), rtol=0, atol=2e-6)


@pytest.mark.parametrize("size", [4, 2, 1])
def test_micro_batches_add_up(data: dict[str, Any], size: int) -> None:
    """8 sequences at once, or by 4, 2 and 1: with the balance of the global batch and of sequences, the same step."""
    losses = [{"weight": 0.3, "scope": "global_batch"}, {"weight": 0.3, "scope": "sequence"}]
    changes: dict[str, Any] = {"balancing": {"losses": losses, "z_loss": 0.01}}
    whole, parts = (gradients(begin(data, **changes, micro_batch_sequences=each)) for each in (8, size))
    for name, gradient in whole.items():
        torch.testing.assert_close(parts[name], gradient, rtol=1e-4, atol=1e-7, msg=name)
    settings: tuple[Any, ...] = ({}, changes["balancing"])
    alone, changed = (gradients(begin(data, balancing=each)) for each in settings)
    router = "layers.0.feed_forward.router.weight"
    assert not torch.allclose(alone[router], changed[router], rtol=1e-2)


# Initialization


def built(width: int, **rule: Any) -> tuple[Transformer, Recipe]:
    shards = {"train": ["x"], "validation": {"x": ["x"]}, "vocab_size": tiny.VOCAB}
    recipe = Recipe.from_dict(tiny.recipe(shards, architecture=tiny.architecture(width), initialization=rule))
    model = Transformer(recipe.architecture)
    initialize(model, recipe.initialization, seed=3)
    return model, recipe


def test_mup_is_the_standard_rule_at_the_base_width() -> None:
    """Of deviation 1 / sqrt(base_width) and learning-rate factors 1, for all that reads the width; down and output
    projections read their own inputs."""
    mup, recipe = built(64, rule="mup", base_width=64)
    standard, _ = built(64, rule="standard", deviation=64**-0.5)
    for (name, one), other in zip(mup.named_parameters(), standard.parameters(), strict=True):
        if one.shape[-1] == 64:
            assert torch.allclose(one, other, rtol=1e-6), name
            assert rate_factor(name, one, recipe.initialization) == 1
        else:
            assert rate_factor(name, one, recipe.initialization) == (64 / one.shape[-1] if one.ndim > 1 else 1)


def test_mup_at_twice_the_width() -> None:
    """Table 8 of arXiv 2203.03466: inner matrices 1 / sqrt(inputs), the head sqrt(base) / inputs, rates of both halved;
    the embedding and vectors as they were."""
    model, recipe = built(128, rule="mup", base_width=64)
    expected = {
        "embed_tokens": (1 / 8, 1.0),
        "lm_head": (8 / 128, 0.5),
        "layers.0.feed_forward.router.weight": (8 / 128, 0.5),
        "layers.0.mixer.q_proj": (128**-0.5, 0.5),
        "layers.0.mixer.o_proj": (128**-0.5 / 2, 0.5),  # into the residual of 2 layers
        "layers.0.feed_forward.groups.0.up_proj": (128**-0.5, 0.5),
        "layers.0.mixer_norm.weight": (0.0, 1.0),
    }
    parameters = dict(model.named_parameters())
    for name, (deviation, factor) in expected.items():
        assert float(parameters[name].detach().std()) == pytest.approx(deviation, rel=0.1), name
        assert rate_factor(name, parameters[name], recipe.initialization) == factor
    same, _ = built(128, rule="mup", base_width=64)
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), same.parameters(), strict=True))


def test_rates_reach_their_parameters(data: dict[str, Any]) -> None:
    """Adam's first step without decay moves every weight by its learning rate: the recipe's times muP's factor."""
    changes = {"initialization": {"rule": "mup", "base_width": 8}, "optimizer": {"weight_decay": 0.0, "eps": 1e-15}}
    session = begin(data, **changes, schedule={"kind": "constant"})
    before = weights(session)
    _, _, rate = session.next_step()
    for name, after in weights(session).items():
        moved = (after - before[name]).abs()
        factor = rate_factor(name, after, session.recipe.initialization)
        assert float(moved.max()) == pytest.approx(rate * factor, rel=1e-3), name


def test_coordinates_keep_their_size_with_the_width(data: dict[str, Any]) -> None:
    """The coordinate check of arXiv 2203.03466, appendix D.1: three steps at one learning rate change the activations
    before the head by one size from width 32 to 256, and the logits by no more; under the standard rule those grow."""

    def changes(width: int, rule: dict[str, Any]) -> tuple[float, float]:
        model = tiny.architecture(width)
        session = begin(data, architecture=model, initialization=rule, schedule={"kind": "constant"})
        tokens = torch.arange(64).view(4, 16)
        outputs = []
        for steps in (0, 3):
            for _ in range(steps):
                session.next_step()
            with torch.no_grad():
                outputs.append((session.model.hidden(tokens)[0], session.model(tokens)[0]))
        (hidden, logits), (hidden_after, logits_after) = outputs
        return float((hidden_after - hidden).abs().mean()), float((logits_after - logits).abs().mean())

    widths = (32, 96, 256)
    hidden, logits = zip(*(changes(width, {"rule": "mup", "base_width": 32}) for width in widths), strict=True)
    assert max(hidden) < 1.4 * min(hidden), hidden
    assert max(logits) < 1.1 * logits[0], logits
    _, grown = zip(*(changes(width, {"deviation": 32**-0.5}) for width in widths), strict=True)
    assert grown[2] > 3 * grown[0], grown


def test_coordinates_of_a_mixture_keep_their_size(data: dict[str, Any]) -> None:
    """The same check of what a mixture adds: what the router's own move does to its logits as the model widens, and the
    mixture's output as its experts widen in a model of one width; under the standard rule both grow."""

    def changes(model: dict[str, Any], rule: dict[str, Any]) -> tuple[float, float]:
        session = begin(data, architecture=model, initialization=rule, schedule={"kind": "constant"})
        (layer, *_), seen = session.model.moe_layers(), []

        def note(module: torch.nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            seen.append((inputs[0], layer.router.weight.clone(), output[0] if isinstance(output, tuple) else output))

        for steps in (0, 3):
            for _ in range(steps):
                session.next_step()
            hook = layer.register_forward_hook(note)
            with torch.no_grad():
                session.model(torch.arange(64).view(4, 16))
            hook.remove()
        (_, router, out), (inputs, router_after, out_after) = seen
        moved = inputs @ (router_after - router).T
        return float(moved.abs().mean()), float((out_after - out).abs().mean())

    def widened(width: int, expert_size: int) -> dict[str, Any]:
        model = tiny.architecture(width)
        del model["layers"][0]["layers"][0]["feed_forward"]["shared"]
        model["layers"][0]["layers"][0]["feed_forward"]["groups"][0]["expert_size"] = expert_size
        return model

    mup = {"rule": "mup", "base_width": 32}
    logits = [changes(widened(width, 24), mup)[0] for width in (32, 96, 256)]
    assert max(logits) < 1.1 * logits[0], logits
    outputs = [changes(widened(32, size), mup)[1] for size in (32, 128, 512)]
    assert max(outputs) < 1.5 * min(outputs), outputs
    standard = {"deviation": 32**-0.5}
    logits = [changes(widened(width, 24), standard)[0] for width in (32, 96, 256)]
    assert logits[2] > 2 * logits[0], logits
    outputs = [changes(widened(32, size), standard)[1] for size in (32, 128, 512)]
    assert outputs[2] > 3 * outputs[0], outputs


def test_training_by_adamw_loads_no_compiler_and_no_tables(tmp_path: Path, data: dict[str, Any]) -> None:
    """The one takes as long to import as torch, the others half a second of a core."""
    recipe = tiny.save(tiny.recipe(data, 1), tmp_path / "recipe.json")
    heavy = {"torch._dynamo", "torch._inductor", "sympy", "torch.distributed.tensor", "pandas", "pyarrow", "scipy"}
    script = (
        "import sys\nfrom moewright.cli import main\n"
        "try:\n    main()\nexcept SystemExit as ended:\n    assert not ended.code\n"
        f"print(*{heavy} & set(sys.modules), file=sys.stderr)"
    )
    arguments = ["train", recipe, "--out", str(tmp_path / "run"), "--quiet"]
    ended = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)
    assert ended.stderr.splitlines()[-1:] == [""]
    assert (tmp_path / "run" / "status.json").exists()


def test_adamw_is_torchs() -> None:
    """Its class, bit for bit, over 20 steps in which a tensor at times has no gradient."""
    r = torch.Generator().manual_seed(2)
    mine, theirs = ([torch.randn(size, generator=torch.Generator().manual_seed(1)) for size in (3, 50)] for _ in "ab")
    settings = [{"weight_decay": 0.1, "factor": 1.0}, {"weight_decay": 0.0, "factor": 1.0}]

    def groups(tensors: list[torch.Tensor]) -> list[dict[str, Any]]:
        return [{"params": [tensor], **each} for tensor, each in zip(tensors, settings, strict=True)]

    optimizer = AdamW(groups(mine), (0.9, 0.95), 1e-8)
    for tensor in mine:
        pieces = {piece: torch.zeros_like(tensor) for piece in ("exp_avg", "exp_avg_sq")}
        optimizer.state[tensor] = {**pieces, "step": torch.zeros(())}
    reference = torch.optim.AdamW(groups(theirs), betas=(0.9, 0.95), eps=1e-8, fused=True)
    for step in range(20):
        for place, (one, other) in enumerate(zip(mine, theirs, strict=True)):
            one.grad = None if place == step % 3 else torch.randn(one.shape, generator=r)
            other.grad = None if one.grad is None else one.grad.clone()
        for group in (*optimizer.param_groups, *reference.param_groups):
            group["lr"] = 0.01 / (1 + step)
        optimizer.step()
        reference.step()
        assert all(map(torch.equal, mine, theirs))
    optimizer.zero_grad()
    assert all(tensor.grad is None for tensor in mine)
