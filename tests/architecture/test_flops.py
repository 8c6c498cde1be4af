"""Matmul FLOPs against torch's own counter on modules that transformers builds and runs."""

import random
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from moewright.architecture.counts import (
    block_context,
    compressed_entries,
    matmul_flops_per_token,
    mean_context,
    mixing_flops,
    pooled_context,
)
from moewright.architecture.mixers import Window
from moewright.hf.config import read_config
from tests.hf import oracle
from tests.hf.samplers import SAMPLERS

FAMILIES = (
    "apertus",
    "aria_text",
    "cohere",
    "axk1",
    "beam",
    "deepseek_v3",
    "diffllama",
    "doge",
    "dots1",
    "ernie4_5_vl_moe_text",
    "exaone_moe",
    "flint",
    "gemma4_text",
    "glm4_moe",
    "gpt_oss",
    "granitemoe",
    "hunyuan_v1_moe",
    "inkling2_loop_text",
    "inkling2_text",
    "inkling_text",
    "mimo_v2_flash",
    "minimax_m2",
    "minimax_m3_vl_text",
    "mixtral",
    "muse_spark_text",
    "nemotron_h",
    "olmoe",
    "qwen2_moe",
    "qwen3_moe",
    "qwen4_exp_text",
    "zaya",
)


@pytest.mark.parametrize("family", FAMILIES)
def test_against_the_flop_counter(family: str) -> None:
    r = random.Random(f"flops {family}")
    for tokens in (1, 7, 12):
        values = SAMPLERS[family](r) | {"use_cache": False}
        values.pop("use_sliding_window", None)
        values.pop("num_kv_shared_layers", None)  # these layers of the module read what a cache holds
        if "kv_lora_rank" in values:
            values["num_key_value_heads"] = values["num_attention_heads"]
        if (
            family == "nemotron_h"
        ):  # its plain Mamba-2 works by chunks, which costs more than the recurrence counted here
            values.pop("hybrid_override_pattern", None)
            values["layers_block_type"] = ["moe", *r.choices(("full_attention", "moe", "mlp"), k=4)]
        if family == "qwen4_exp_text":  # and so is its delta net
            values |= {"layer_types": ["indexed_attention"] * values["num_hidden_layers"], "ple_layer_ids": []}
        module = oracle.build(family, values, device="cpu").eval()
        architecture = read_config(oracle.saved_config(module)).architecture
        counted = count_flops(module, torch.arange(tokens)[None] + 3)
        # The module multiplies whole score matrices and masks them: a context of `tokens` for every token, which is
        # the mean causal context of a sequence of 2 x tokens - 1.
        layers = [without_window(layer) for layer in architecture.iter_layers()]
        mixing = sum(layer.passes * mixing_flops(layer.mixer, 1) for layer in layers)
        scoring = sum(scoring_flops(layer.mixer, tokens) for layer in architecture.iter_layers())
        if family == "zaya":  # without a cache it projects a token before the first, all zeros, to half the values
            values_width = [layer.mixer.num_kv_heads * layer.mixer.head_dim for layer in layers]
            scoring += architecture.hidden_size * sum(values_width)
        if family == "diffllama":  # it makes each map twice, once for either half of the values
            scoring += sum(2 * tokens**2 * layer.mixer.num_heads * layer.mixer.head_dim for layer in layers)
        assert counted == tokens * (matmul_flops_per_token(architecture) + tokens * mixing) + scoring, values


def without_window(layer):  # type: ignore[no-untyped-def]
    changed = {"window": None} if getattr(layer.mixer, "window", None) is not None else {}
    if getattr(getattr(layer.mixer, "indexer", None), "pooled", False):  # masks what it did not choose
        changed["indexer"] = None
    return layer.model_copy(update={"mixer": layer.mixer.model_copy(update=changed)}) if changed else layer


def scoring_flops(mixer, tokens):  # type: ignore[no-untyped-def]
    """Of an indexer that scores a token's whole blocks one token at a time."""
    indexer = getattr(mixer, "indexer", None)
    if indexer is None or not getattr(indexer, "pooled", False):
        return 0
    blocks = sum(t // indexer.block_size for t in range(1, tokens + 1))
    return 2 * indexer.num_heads * indexer.head_dim * blocks


def count_flops(module: torch.nn.Module, tokens: torch.Tensor) -> int:
    """FLOPs of the forward pass in products; less those that compute rotary angles, which hold no weight, and reads of
    earlier blocks (Inkling 2), which weigh states of the residual."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(tokens)
    by_module = counter.get_flop_counts()
    left_out = ("rotary_emb", "attention_input", "mlp_input", "final_input", "message_input")
    return products(by_module["Global"]) - sum(
        products(flops) for name, flops in by_module.items() if name.endswith(left_out)
    )


def products(flops: dict[Any, int]) -> int:
    """All but convolutions, which are padded."""
    return sum(count for operation, count in flops.items() if "convolution" not in str(operation))


def test_mean_context_by_brute_force() -> None:
    r = random.Random(0)
    for _ in range(300):
        tokens, size = r.randrange(1, 60), r.randrange(1, 70)
        positions = range(1, tokens + 1)
        expected = {
            None: sum(positions),
            size: sum(min(t, size) for t in positions),
            Window(size=size): sum(min(t, size) for t in positions),
            Window(size=size, kind="chunked"): sum((t - 1) % size + 1 for t in positions),
        }
        for limit, total in expected.items():
            assert mean_context(tokens, limit) == pytest.approx(total / tokens, rel=1e-12)


def test_block_context_by_brute_force() -> None:
    r = random.Random(2)
    for _ in range(300):
        tokens, size, top = r.randrange(1, 80), r.randrange(1, 9), r.randrange(1, 5)
        read = 0
        for t in range(1, tokens + 1):
            blocks = sorted({position // size for position in range(t)})
            kept = set(blocks[-1:] + blocks[:-1][: top - 1])  # its own, and any others
            read += sum(position // size in kept for position in range(t))
        assert block_context(tokens, size, top) == pytest.approx(read / tokens, rel=1e-12)


def test_pooled_context_by_brute_force() -> None:
    r = random.Random(3)
    for _ in range(300):
        tokens, pool, top = r.randrange(1, 80), r.randrange(1, 9), r.randrange(1, 5)
        read = 0
        for t in range(1, tokens + 1):
            whole = [range(start, start + pool) for start in range(0, t, pool) if start + pool <= t]
            read += sum(map(len, whole[:top])) + t - sum(map(len, whole))
        assert pooled_context(tokens, pool, top) == pytest.approx(read / tokens, rel=1e-12)


def test_compressed_entries_by_brute_force() -> None:
    r = random.Random(1)
    for _ in range(300):
        tokens, rate, limit = r.randrange(1, 80), r.randrange(1, 9), r.choice((None, r.randrange(1, 9)))
        expected = sum(min(t // rate, limit or t) for t in range(1, tokens + 1)) / tokens
        assert compressed_entries(tokens, rate, limit) == pytest.approx(expected, rel=1e-12)
