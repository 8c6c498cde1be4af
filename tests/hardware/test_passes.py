"""Layers that a token passes several times, against the same model written out."""

import numpy as np
import pytest

from moewright.architecture import Architecture
from moewright.architecture.feed_forwards import Dense, ExpertGroup, MoE
from moewright.architecture.mixers import Attention
from moewright.architecture.spec import Layer
from moewright.hardware import Parallelism, load_device, training_memory
from moewright.hardware.activations import recompute_code
from moewright.hardware.placement import place
from moewright.hardware.roofline import Load, pass_traffic, touched_experts
from moewright.hardware.training_coefficients import training_coefficients
from moewright.hardware.training_step import LayoutColumns, step_seconds


def some_layer(draw: np.random.Generator, *, routed: bool) -> Layer:
    heads = int(draw.choice([8, 16]))
    mixer = Attention(num_heads=heads, num_kv_heads=heads // 4, head_dim=64)
    size = int(draw.integers(2, 20)) * 64
    if not routed:
        return Layer(mixer=mixer, feed_forward=Dense(size=size))
    group = ExpertGroup(count=16, expert_size=size, top_k=int(draw.integers(1, 5)))
    return Layer(mixer=mixer, feed_forward=MoE(groups=(group,)))


@pytest.mark.parametrize("case", range(24))
def test_a_loop_is_its_passes_written_out_but_for_weights(case: int) -> None:
    draw = np.random.default_rng(case)
    plain = [some_layer(draw, routed=bool(draw.integers(2))) for _ in range(int(draw.integers(0, 3)))]
    once = [some_layer(draw, routed=bool(draw.integers(2))) for _ in range(int(draw.integers(1, 4)))]
    passes = int(draw.integers(2, 5))

    def model(middle: list[Layer]) -> Architecture:
        return Architecture(vocab_size=1000, hidden_size=512, layers=(*plain, *middle, *plain))

    looped = model([layer.model_copy(update={"passes": passes}) for layer in once])
    unrolled, single = model(once * passes), model(once)

    recompute = ("attention_scores", "layernorm+moe_act", "layers")[case % 3]
    spread = Parallelism(data=8, tensor=2, expert=8, zero_stage=case % 4)
    held, out, weights = (
        training_memory(each, spread, micro_batch=2, tokens_per_sequence=256, recompute=recompute)
        for each in (looped, unrolled, single)
    )
    assert (held.activations, held.logits) == pytest.approx((out.activations, out.logits))
    assert (held.weights, held.gradients, held.optimizer) == (weights.weights, weights.gradients, weights.optimizer)

    layout = LayoutColumns(
        *(np.array([size]) for size in (2, 1, 8, 4, 2, 1, 2, 4, case % 4, recompute_code(recompute)))
    )
    took, written_out, alone = (
        step_seconds(
            each,
            load_device("H100"),
            16,
            layout,
            tokens_per_sequence=256,
            coefficients=training_coefficients(),
        )
        for each in (looped, unrolled, single)
    )
    for part, seconds in took.items():
        same = alone if part in ("data", "optimizer") else written_out
        assert float(seconds[0]) == pytest.approx(float(same[part][0])), part

    load, placement = Load("decode", 32, 1024), place(load_device("H100"), 16)
    assert pass_traffic(looped, load, placement) == pass_traffic(unrolled, load, placement)
    assert touched_experts(looped, load, placement) == pytest.approx(touched_experts(unrolled, load, placement))
