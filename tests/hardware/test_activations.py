"""What a layer keeps, by hand, and what recomputing each module spares of it."""

import random

import numpy as np
import pytest

from moewright.errors import UserError
from moewright.hardware import Parallelism, load_device, training_memory
from moewright.hardware.activations import (
    RECOMPUTED_MODULES,
    check_modules,
    kept_bytes,
    megatron_keeping,
    modules_of,
    recompute_code,
    recompute_of,
    recompute_text,
)
from moewright.hardware.training_coefficients import training_coefficients
from moewright.hardware.training_step import LayoutColumns, step_seconds
from moewright.hf import load_architecture

MIXTRAL = load_architecture("examples/configs/mixtral-8x7b.json").architecture
DEEPSEEK = load_architecture("examples/configs/deepseek-v3.json").architecture


def test_mixtral_as_megatron_keeps_it() -> None:
    """One token of one layer: norms' and sublayers' inputs; queries, keys and values as the product made them, queries
    and keys rotated, attention's output; of two experts copy, gate, up and product; eight scores and their softmax."""
    layer = MIXTRAL.layer_runs()[0][1]
    attention = (4096 + 2 * 1024) + (4096 + 1024) + 4096
    bf16 = 2 * (4 * 4096 + attention + 2 * (4096 + 3 * 14336)) + 4 * 16
    assert kept_bytes(MIXTRAL, layer, keeping=megatron_keeping()) == (bf16, 0)
    # In 8-bit products their inputs take a byte: attention's normed input and, beside it in bf16, its output; copies
    # and gated products of experts. What the router reads stays bf16.
    fp8 = bf16 - 4096 + 4096 - 2 * (4096 + 14336)
    assert kept_bytes(MIXTRAL, layer, keeping=megatron_keeping(1)) == (fp8, 0)
    spared = {
        "core_attn": 0,
        "layernorm": 2 * 4096,  # the one before the mixture; that of attention is part of its product
        "moe_act": 2 * 2 * 14336,
        "moe": 2 * 2 * (4096 + 3 * 14336) + 4 * 16,
        "moe_act+moe": 2 * 2 * (4096 + 3 * 14336) + 4 * 16,
        "layernorm+moe": 2 * 4096 + 2 * 2 * (4096 + 3 * 14336) + 4 * 16,
    }
    for recompute, expected in spared.items():
        assert kept_bytes(MIXTRAL, layer, recompute, megatron_keeping()) == (bf16 - expected, expected)
    assert kept_bytes(MIXTRAL, layer, "layers", megatron_keeping()) == (2 * 4096, bf16)


def test_latent_attention_as_megatron_keeps_it() -> None:
    """DeepSeek-V3's 128 heads: queries and keys of 192, values and output of 128 channels each."""
    _, dense = DEEPSEEK.layer_runs()[0]
    latents = 2 * 1536 + 2 * 512 + 64  # as their norms read and leave them, and the rotary key
    norms = 2 * 7168
    inputs = 2 * 7168
    numbers = norms + inputs + latents + 128 * (192 + 192 + 128 + 128) + 3 * 18432
    assert kept_bytes(DEEPSEEK, dense, keeping=megatron_keeping()) == (2 * numbers, 0)
    assert kept_bytes(DEEPSEEK, dense, "mla_up_proj", megatron_keeping())[1] == 2 * 128 * (192 + 192 + 128)
    assert kept_bytes(DEEPSEEK, dense, "mlp", megatron_keeping())[1] == 2 * (7168 + 3 * 18432)


def test_texts_and_codes_go_both_ways() -> None:
    rng = random.Random(0)
    for _ in range(200):
        chosen = [module for module in RECOMPUTED_MODULES if module != "layers" and rng.random() < 0.4]
        rng.shuffle(chosen)
        text = "+".join(chosen) or "attention_scores"
        assert modules_of(text) == frozenset(chosen)
        assert recompute_of(recompute_code(text)) == recompute_text(chosen)
    for wrong in ("", "moe+moe", "layers+moe", "attention_scores+moe", "MoE", "moe+"):
        with pytest.raises(UserError, match=r"^recompute: "):
            modules_of(wrong)
    with pytest.raises(UserError, match=r"^recompute: this model has nothing that mla_up_proj would compute again$"):
        check_modules(MIXTRAL, "mla_up_proj")
    assert check_modules(DEEPSEEK, "moe+mla_up_proj") == "mla_up_proj+moe"


def test_more_recomputed_is_less_memory_and_more_time() -> None:
    """On random sets of modules, each with one more: 40 cases."""
    rng = random.Random(1)
    free = [module for module in RECOMPUTED_MODULES if module not in ("layers", "experts")]
    for _ in range(40):
        some = rng.sample(free, rng.randrange(len(free)))
        more = [*some, rng.choice([module for module in free if module not in some])]
        held, seconds = [], []
        for modules in (some, more):
            text = recompute_text(modules)
            spread = Parallelism(data=32, pipeline=8, expert=32, zero_stage=1)
            memory = training_memory(DEEPSEEK, spread, recompute=text, keeping=megatron_keeping())
            held.append(memory.activations)
            layout = LayoutColumns(*(np.array([n]) for n in (1, 8, 32, 32, 1, 1, 1, 16, 1, recompute_code(text))))
            parts = step_seconds(
                DEEPSEEK,
                load_device("H100"),
                256,
                layout,
                tokens_per_sequence=4096,
                coefficients=training_coefficients(),
            )
            seconds.append(float(parts["recomputation"][0]))
        # Of a layer that is computed again all of it is there at once, which is little beside eight micro-batches.
        assert held[1] <= 1.03 * held[0]
        assert seconds[1] >= seconds[0] * (1 - 1e-9)


def test_whole_layers_again_are_a_forward_pass_more() -> None:
    """With everything else left out, a third of the time of a step's forward and backward passes."""
    layout = LayoutColumns(*(np.array([n]) for n in (1, 1, 1, 8, 1, 1, 1, 16, 1, recompute_code("layers"))))
    parts = step_seconds(
        MIXTRAL, load_device("H100"), 8, layout, tokens_per_sequence=4096, coefficients=training_coefficients()
    )
    once = sum(float(parts[name][0]) for name in ("attention", "dense", "experts", "elementwise")) / 3
    assert float(parts["recomputation"][0]) == pytest.approx(once)
