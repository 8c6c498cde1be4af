"""Qwen4-Exp (2026), the language model, as transformers 5.24 builds it.

Qwen3.5's mixers and experts between gated residual streams, an indexer of averaged blocks, and tables of n-grams.
"""

import math

from moewright.architecture.mixers import BlockIndexer, Mixer
from moewright.architecture.own_weights import OwnWeight
from moewright.architecture.spec import Architecture, Layer
from moewright.hf.config_reader import Config, Family
from moewright.hf.families.qwen import delta_net, gated_attention, qwen_experts
from moewright.hf.parts import COMMON_DEFAULTS, build, without

_MOST_TABLES = 500
"""N-gram tables of a model; a layer has 16 by default."""


def _read(c: Config) -> Architecture:
    n, d = c.num_layers(), c.size("hidden_size")
    kinds = c.per_layer("layer_types", n, "linear_attention", "indexed_attention", "full_attention")
    if kinds is None:
        every = c.size("full_attention_interval")
        kinds = ["linear_attention" if (index + 1) % every else "indexed_attention" for index in range(n)]
    linear, attending = delta_net(c), gated_attention(c)
    if set(kinds) != {"linear_attention"}:
        attending = attending.model_copy(update={"indexer": _indexer(c)})
    moe = qwen_experts(c, normalize=c.flag("norm_topk_prob"), shared=True)
    streams, rank = c.size("hc_count"), c.size("hc_lowrank")
    tables = _tables(c, n, kinds)
    residual = _residual(d, streams, rank, halves=2)
    plain: dict[str, Layer] = {}
    layers = []
    for index, kind in enumerate(kinds):
        mixer: Mixer = linear if kind == "linear_attention" else attending
        if index in tables:
            weights, state = tables[index]
            layer = Layer(mixer=mixer, feed_forward=moe, own_weights=(*residual, *weights), own_state=state)
        else:
            layer = plain.setdefault(kind, Layer(mixer=mixer, feed_forward=moe, own_weights=residual))
        layers.append(layer)
    return build(c, layers, own_weights=_residual(d, streams, rank, halves=0))


def _indexer(c: Config) -> BlockIndexer:
    c.fixed("indexer_kv_heads", 1)
    budget, ratio = c.size("indexer_budget"), c.size("indexer_compress_ratio")
    if budget % ratio:
        raise c.error("indexer_budget", f"is not a multiple of indexer_compress_ratio ({ratio})", budget)
    return BlockIndexer(
        num_heads=c.size("indexer_n_heads"),
        head_dim=c.size("indexer_head_dim"),
        block_size=ratio,
        top_blocks=budget // ratio,
        pooled=True,
    )


def _residual(d: int, streams: int, rank: int, halves: int) -> tuple[OwnWeight, ...]:
    """How each half, or the head where there is none, reads the residual streams, and writes to them.

    The norm of the first stream is the layer's or the model's own, so the others' are what is left.
    """
    reads = max(halves, 1)
    weights = [
        OwnWeight(
            name="residual.down", component="other", outputs=rank, inputs=streams * d, copies=reads, use="matmul"
        ),
        OwnWeight(name="residual.up", component="other", outputs=streams * d, inputs=rank, copies=reads, use="matmul"),
    ]
    if halves:
        weights.append(
            OwnWeight(
                name="residual.inject",
                component="other",
                outputs=streams,
                inputs=streams * d,
                copies=reads,
                use="matmul",
            )
        )
    if streams > 1:
        weights.append(
            OwnWeight(name="residual.further_norms", component="norm", outputs=(streams - 1) * d, copies=reads)
        )
    return tuple(weights)


def _tables(c: Config, n: int, kinds: list[str]) -> dict[int, tuple[list[OwnWeight], int]]:
    """By layer: a table of hashed n-grams, its way into the residual streams, and what a sequence keeps for it."""
    ids = sorted(set(c.integers("ple_layer_ids")))
    if not ids:
        return {}
    if ids[0] < 1 or ids[-1] > n:
        raise c.error("ple_layer_ids", f"expected numbers from 1 to {n}", ids)
    if any(kinds[number - 1] != "linear_attention" for number in ids):
        raise c.error("ple_layer_ids", "expected layers of linear attention", ids)
    d, streams, size = c.size("hidden_size"), c.size("hc_count"), c.size("ngram_size")
    embedded, kernel = c.optional_size("ple_embed_dim") or d, c.size("ple_conv_kernel_size")
    heads = (size - 1) * c.size("heads_per_ngram")
    if not 0 < heads * len(ids) <= _MOST_TABLES:
        raise c.error("heads_per_ngram", f"1 to {_MOST_TABLES} tables are understood; here are {heads * len(ids)}")
    if embedded % heads:
        raise c.error("ple_embed_dim", f"{embedded} is not a multiple of the {heads} tables of a layer")
    sizes = _primes(c.size("ngram_vocab_size_base"), heads * len(ids))
    divisor, width = c.size("make_ngram_vocab_size_divisible_by"), streams * d
    found = {}
    for place, number in enumerate(ids):
        rows = sum(sizes[place * heads : (place + 1) * heads])
        weights = [
            OwnWeight(
                name="ngram_embedding",
                component="embedding",
                outputs=-(-rows // divisor) * divisor,
                inputs=embedded // heads,
                use="lookup",
            ),
            OwnWeight(name="ngram.key_proj", component="other", outputs=width, inputs=embedded, use="matmul"),
            OwnWeight(name="ngram.value_proj", component="other", outputs=d, inputs=embedded, use="matmul"),
            OwnWeight(name="ngram.norms", component="norm", outputs=width, copies=3),
            OwnWeight(name="ngram.conv", component="other", outputs=width, inputs=kernel, use="convolution"),
        ]
        found[number - 1] = weights, (kernel - 1) * size * width + size - 1
    return found


def _primes(start: int, count: int) -> list[int]:
    """The first primes from `start` on: the sizes of the tables."""
    found: list[int] = []
    candidate = max(start, 2)
    while len(found) < count:
        root = math.isqrt(candidate)
        if candidate == 2 or (candidate % 2 and all(candidate % divisor for divisor in range(3, root + 1, 2))):
            found.append(candidate)
        candidate += 1
    return found


FAMILIES = {
    "qwen4_exp_text": Family(
        model_type="qwen4_exp_text",
        class_name="Qwen4ExpForCausalLM",
        read=_read,
        defaults={
            **without(COMMON_DEFAULTS, "head_dim"),
            "layer_types": None,
            "full_attention_interval": 4,
            "norm_topk_prob": True,
            "hc_count": 4,
            "hc_lowrank": 320,
            "ple_layer_ids": None,
            "ple_embed_dim": None,
            "ple_conv_kernel_size": 4,
            "ngram_size": 3,
            "heads_per_ngram": 8,
            "ngram_vocab_size_base": 20_000_000,
            "make_ngram_vocab_size_divisible_by": 128,
        },
        aliases={"num_local_experts": "num_experts"},
        # indexer sizes are read where a layer has one
        neutral=(
            "intermediate_size",
            "seed",
            "split_ngram_parts",
            "output_gate_type",
            "number_of_conv_states",
            "mamba_ssm_dtype",
            "attn_output_gate",
            "indexer_n_heads",
            "indexer_kv_heads",
            "indexer_head_dim",
            "indexer_budget",
            "indexer_compress_ratio",
        ),
    )
}
