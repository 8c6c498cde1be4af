"""Many models counted at once give, entry by entry, what each of them gives alone."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from moewright.architecture import Architecture, Layer, cache, counts, variables, weight_formats
from moewright.architecture.columns import (
    ArchitectureColumns,
    AttentionColumns,
    DenseColumns,
    ExpertGroupColumns,
    LayerColumns,
    MoEColumns,
    SharedExpertColumns,
)
from moewright.architecture.feed_forwards import Dense, ExpertGroup, MoE, SharedExpert
from moewright.architecture.mixers import Attention
from moewright.hardware import decode_tokens_per_second, memory_per_device, training_memory, training_seconds

SIZES = ("width", "dense_layers", "layers", "kv_heads", "share", "head_dim", "experts", "top_k", "size", "shared")
LATENT = (*SIZES, "latent")
VOCABULARY = 5000
Sizes = dict[str, int]

MEASURES: dict[str, Callable[[Any], Any]] = {
    "total": counts.total_params,
    "active": counts.active_params,
    "active without embedding": lambda a: counts.active_params(a, count_embedding=False),
    "total non-embedding": counts.total_params_non_embedding,
    "by component": lambda a: sum(n * count for n, count in enumerate(counts.params(a).values())),
    "products": counts.matmul_flops_per_token,
    "training FLOPs": lambda a: counts.training_flops_per_token(a, 300),
    "6 N": counts.six_n_flops_per_token,
    "mtp": counts.mtp_params,
    "cache": cache.kv_bytes_per_token,
    "cache of a sequence": lambda a: cache.cache_bytes_per_sequence(a, 300, "fp8"),
    "bytes": weight_formats.weights_bytes,
    "bytes fp8": lambda a: weight_formats.weights_bytes(a, "fp8"),
    "bytes nvfp4": lambda a: weight_formats.weights_bytes(a, "nvfp4"),
    "G": variables.active_experts_zhao,
    "S": variables.shared_ratio_zhao,
    "granularity": variables.granularity_liew,
    "sparsity": variables.sparsity_abnar,
    "slowest decoding": lambda a: decode_tokens_per_second(a, "H100", devices=4, batch=5, context=300)[0],
    "fastest decoding": lambda a: decode_tokens_per_second(a, "H100", devices=4, batch=5, context=300)[1],
    "memory": lambda a: memory_per_device(a, "H100", devices=4, batch=5, context=300).needed,
    "training memory": lambda a: training_memory(a, tokens_per_sequence=300).total,
    "training memory, recomputed": lambda a: training_memory(a, tokens_per_sequence=300, recompute="layers").total,
    "training time": lambda a: training_seconds(a, 1e9, "H100")[0],
}


@st.composite
def model_sizes(draw: st.DrawFn) -> Sizes:
    whole = {name: draw(st.integers(1, 300)) for name in SIZES}
    whole["experts"] += whole["top_k"]
    whole["latent"] = draw(st.integers(0, 1)) * draw(st.integers(1, 300))  # 0: no latent experts
    return whole


def alone(sizes: Sizes, tied: bool, mtp: int) -> Architecture:
    mixer = Attention(
        num_heads=sizes["kv_heads"] * sizes["share"],
        num_kv_heads=sizes["kv_heads"],
        head_dim=sizes["head_dim"],
        qk_norm="per_head",
    )
    group = ExpertGroup(count=sizes["experts"], expert_size=sizes["size"], top_k=sizes["top_k"])
    shared = SharedExpert(count=sizes["shared"], expert_size=sizes["size"])
    dense = Layer(mixer=mixer, feed_forward=Dense(size=3 * sizes["size"]))
    moe = MoE(groups=(group,), shared=shared, latent_size=sizes["latent"] or None)
    mixture = Layer(mixer=mixer, feed_forward=moe)
    return Architecture(
        vocab_size=VOCABULARY,
        hidden_size=sizes["width"],
        layers=(*[dense] * sizes["dense_layers"], *[mixture] * sizes["layers"]),
        tie_embeddings=tied,
        mtp_layers=mtp,
    )


def together(models: list[Sizes], tied: bool, mtp: int) -> ArchitectureColumns:
    c = {name: np.array([sizes[name] for sizes in models]) for name in LATENT}
    mixer = AttentionColumns(
        num_heads=c["kv_heads"] * c["share"], num_kv_heads=c["kv_heads"], head_dim=c["head_dim"], qk_norm="per_head"
    )
    group = ExpertGroupColumns(count=c["experts"], expert_size=c["size"], top_k=c["top_k"])
    shared = SharedExpertColumns(count=c["shared"], expert_size=c["size"])
    return ArchitectureColumns(
        vocab_size=VOCABULARY,
        hidden_size=c["width"],
        runs=(
            (c["dense_layers"], LayerColumns(mixer, DenseColumns(size=3 * c["size"]))),
            (c["layers"], LayerColumns(mixer, MoEColumns(groups=(group,), shared=shared, latent_size=c["latent"]))),
        ),
        tie_embeddings=tied,
        mtp_layers=mtp,
    )


@settings(max_examples=40, deadline=None)
@given(st.lists(model_sizes(), min_size=1, max_size=4), st.booleans(), st.integers(0, 2))
def test_a_column_is_its_models(models: list[Sizes], tied: bool, mtp: int) -> None:
    many = together(models, tied, mtp)
    for name, measure in MEASURES.items():
        each = [measure(alone(sizes, tied, mtp)) for sizes in models]
        found = np.broadcast_to(measure(many), (len(models),))
        if isinstance(each[0], int):
            assert found.tolist() == each, name
        else:
            assert found == pytest.approx(np.array(each), rel=1e-12), name


def test_counting_leaves_columns_as_they_were() -> None:
    sizes = dict.fromkeys(LATENT, 6)
    many = together([sizes, sizes], tied=False, mtp=1)
    for measure in MEASURES.values():
        measure(many)
    assert [times.tolist() for times, _ in many.layer_runs()] == [[6, 6], [6, 6]]
    assert many.hidden_size.tolist() == [6, 6]
    assert many.num_layers.tolist() == [12, 12]


def test_columns_are_arrays() -> None:
    with pytest.raises(ValidationError, match="size"):
        DenseColumns(size=3)  # type: ignore[arg-type]
