"""Attention, latent attention and the placement of norms against per-token loops written from the definitions."""

import cmath
import random
from collections import Counter

import torch
from torch import Tensor

from moewright.architecture.feed_forwards import Dense, FeedForward
from moewright.architecture.mixers import Attention, LatentAttention, Mixer, Rope, Window
from moewright.architecture.spec import Architecture, Layer, Norm
from moewright.lab.model import Transformer
from tests.lab.model.samplers import fill, random_architecture

EPS = 1e-6
Weights = dict[str, Tensor]


def rms(x: Tensor, weight: Tensor | None = None) -> Tensor:
    normed = x / ((x * x).mean() + EPS).sqrt()
    return normed if weight is None else normed * weight


def normed(norm: Norm, w: Weights, name: str, x: Tensor) -> Tensor:
    if norm.kind == "rms":
        y = rms(x, w[f"{name}.weight"])
    else:
        y = (x - x.mean()) / (x.var(correction=0) + EPS).sqrt() * w[f"{name}.weight"]
    return y + w[f"{name}.bias"] if norm.bias else y


def turned(rope: Rope | None, x: Tensor, position: int) -> Tensor:
    """Channel i and i + n/2 are the real and imaginary part of a number that turns with the position."""
    if rope is None:
        return x
    half = int(len(x) * rope.fraction) // 2
    y = x.clone()
    for i in range(half):
        turn = cmath.exp(1j * position * rope.theta ** (-i / half))
        y[i] = x[i] * turn.real - x[i + half] * turn.imag
        y[i + half] = x[i] * turn.imag + x[i + half] * turn.real
    return y


def attended(window: Window | None, q: list[Tensor], k: list[Tensor], v: list[Tensor], t: int) -> Tensor:
    """One head's output for token t, scores scaled by one over the root of the key's size."""
    first = 0
    if window is not None:
        first = max(0, t - window.size + 1) if window.kind == "sliding" else t - t % window.size
    places = range(first, t + 1)
    weights = torch.stack([(q[t] * k[s]).sum() / len(k[s]) ** 0.5 for s in places]).exp()
    return sum(
        (weight / weights.sum() * v[s] for weight, s in zip(weights, places, strict=True)), torch.zeros_like(v[t])
    )


def attention(spec: Attention, w: Weights, xs: list[Tensor]) -> list[Tensor]:
    size, heads, kv_heads = spec.head_dim, spec.num_heads, spec.num_kv_heads
    split = (heads * size, kv_heads * size, kv_heads * size)
    q, k, v = ([w[f"{name}_proj"] @ x for x in xs] for name in "qkv")
    if spec.qkv_bias:
        bias = w["qkv_bias"].split(split)
        q, k, v = ([part + b for part in parts] for parts, b in zip((q, k, v), bias, strict=True))
    if spec.qk_norm == "full":
        q, k = [rms(part, w["q_norm"]) for part in q], [rms(part, w["k_norm"]) for part in k]

    def head(parts: list[Tensor], index: int, norm: str | None = None) -> list[Tensor]:
        mine = [part[index * size : (index + 1) * size] for part in parts]
        if norm is None:
            return mine
        if spec.qk_norm in ("per_head", "unweighted"):
            mine = [rms(part, w[norm] if spec.qk_norm == "per_head" else None) for part in mine]
        return [turned(spec.rope, part, t) for t, part in enumerate(mine)]

    outputs = []
    for t, x in enumerate(xs):
        by_head = []
        for h in range(heads):
            g = h * kv_heads // heads
            out = attended(spec.window, head(q, h, "q_norm"), head(k, g, "k_norm"), head(v, g), t)
            if spec.output_gate is not None:
                gate = torch.sigmoid(w["g_proj"] @ x + (w["g_bias"] if spec.output_gate_bias else 0))
                out = out * (gate[h] if spec.output_gate == "per_head" else gate[h * size : (h + 1) * size])
            by_head.append(out)
        outputs.append(w["o_proj"] @ torch.cat(by_head) + (w["o_bias"] if spec.output_bias else 0))
    return outputs


def latent_attention(spec: LatentAttention, w: Weights, xs: list[Tensor]) -> list[Tensor]:
    nope, rope, width = spec.qk_nope_head_dim, spec.qk_rope_head_dim, spec.v_head_dim
    queries, latents, rope_keys = [], [], []
    for t, x in enumerate(xs):
        query = x
        if spec.q_lora_rank is not None:
            query = rms(w["q_a_proj"] @ x + (w["q_a_bias"] if spec.bias else 0), w["q_a_norm"])
        queries.append(w["q_proj"] @ query)
        compressed = w["kv_a_proj"] @ x + (w["kv_a_bias"] if spec.bias else 0)
        latents.append(w["kv_b_proj"] @ rms(compressed[: spec.kv_lora_rank], w["kv_a_norm"]))
        rope_keys.append(turned(spec.rope, compressed[spec.kv_lora_rank :], t))
    by_head = []
    for h in range(spec.num_heads):
        q = [part[h * (nope + rope) : (h + 1) * (nope + rope)] for part in queries]
        q = [torch.cat([part[:nope], turned(spec.rope, part[nope:], t)]) for t, part in enumerate(q)]
        both = [part[h * (nope + width) : (h + 1) * (nope + width)] for part in latents]
        k = [torch.cat([part[:nope], shared]) for part, shared in zip(both, rope_keys, strict=True)]
        by_head.append([attended(spec.window, q, k, [part[nope:] for part in both], t) for t in range(len(xs))])
    return [
        w["o_proj"] @ torch.cat([head[t] for head in by_head]) + (w["o_bias"] if spec.bias else 0)
        for t in range(len(xs))
    ]


def feed_forward(spec: Dense, w: Weights, x: Tensor) -> Tensor:
    """A plain squared ReLU; the other ones are tested elsewhere."""
    assert (spec.gated, spec.activation, spec.bias) == (False, "relu2", False)
    return w["down_proj"] @ (w["up_proj"] @ x).clamp(min=0) ** 2


def logits_by_hand(model: Transformer, tokens: list[int]) -> Tensor:
    architecture = model.architecture
    norm = architecture.norm
    everything: Weights = dict(model.named_parameters())
    xs = [everything["embed_tokens"][token] for token in tokens]
    for index, layer in enumerate(architecture.iter_layers()):
        w = {name.removeprefix(f"layers.{index}."): p for name, p in everything.items() if f"layers.{index}." in name}
        of_mixer = {name.removeprefix("mixer."): p for name, p in w.items()}
        of_ffn = {name.removeprefix("feed_forward."): p for name, p in w.items()}

        def mix(inputs: list[Tensor], spec: Mixer = layer.mixer, w: Weights = of_mixer) -> list[Tensor]:
            if isinstance(spec, Attention):
                return attention(spec, w, inputs)
            assert isinstance(spec, LatentAttention)
            return latent_attention(spec, w, inputs)

        def by_norm(name: str, values: list[Tensor], w: Weights = w) -> list[Tensor]:
            return [normed(norm, w, name, value) for value in values]

        def ffn(inputs: list[Tensor], spec: FeedForward = layer.feed_forward, w: Weights = of_ffn) -> list[Tensor]:
            assert isinstance(spec, Dense)
            return [feed_forward(spec, w, x) for x in inputs]

        if layer.norms == "pre":
            xs = add(xs, mix(by_norm("mixer_norm", xs)))
            xs = add(xs, ffn(by_norm("feed_forward_norm", xs)))
        elif layer.norms == "post":
            xs = add(xs, by_norm("mixer_output_norm", mix(xs)))
            xs = add(xs, by_norm("feed_forward_output_norm", ffn(xs)))
        elif layer.norms == "sandwich":
            xs = add(xs, by_norm("mixer_output_norm", mix(by_norm("mixer_norm", xs))))
            xs = add(xs, by_norm("feed_forward_output_norm", ffn(by_norm("feed_forward_norm", xs))))
        else:
            inputs = by_norm("mixer_norm", xs)
            xs = add(add(xs, mix(inputs)), ffn(inputs))
    head = everything.get("lm_head", everything["embed_tokens"])
    bias = everything.get("lm_head_bias", torch.zeros(len(head)))
    return torch.stack([head @ normed(norm, everything, "final_norm", x) + bias for x in xs])


def add(xs: list[Tensor], ys: list[Tensor]) -> list[Tensor]:
    return [x + y for x, y in zip(xs, ys, strict=True)]


def test_dense_models_equal_the_definition() -> None:
    """Logits and all gradients of 60 random models."""
    r = random.Random(9)
    seen: Counter[str] = Counter()
    for case in range(60):
        drawn = random_architecture(r)
        plain = Dense(size=4, gated=False, activation="relu2")
        layers = [Layer(mixer=layer.mixer, feed_forward=plain, norms=layer.norms) for layer in drawn.iter_layers()][:2]
        architecture = Architecture(**{**dict(drawn), "layers": tuple(layers), "hidden_size": 5})
        model = Transformer(architecture)
        fill(model, case)
        tokens = [r.randrange(architecture.vocab_size) for _ in range(r.randrange(1, 7))]
        actual, expected = model(torch.tensor([tokens]))[0][0], logits_by_hand(model, tokens)
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-10)
        weigh = torch.randn(actual.shape, generator=torch.Generator().manual_seed(case), dtype=torch.float64)
        ours, theirs = (
            torch.autograd.grad((logits * weigh).sum(), tuple(model.parameters()), materialize_grads=True)
            for logits in (actual, expected)
        )
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-9 * (1 + other.abs().max().item()))
        for layer in layers:
            mixer = layer.mixer
            assert isinstance(mixer, Attention | LatentAttention)
            seen.update(
                (layer.norms, mixer.kind, f"{architecture.norm.kind} norm", "rope" if mixer.rope else "no rope")
            )
            seen[f"{mixer.window.kind if mixer.window else 'no'} window"] += 1
            if isinstance(mixer, Attention):
                seen.update((f"qk_norm {mixer.qk_norm}", f"gate {mixer.output_gate}"))
                seen["grouped keys"] += mixer.num_heads > mixer.num_kv_heads > 1
            else:
                seen["full query" if mixer.q_lora_rank is None else "low-rank query"] += 1
    assert len(seen) == 4 + 2 + 2 + 2 + 3 + 4 + 3 + 1 + 2
    assert min(seen.values()) >= 4, seen
