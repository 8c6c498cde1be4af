"""ERNIE 4.5 (Baidu, 2025), the language models; of the ones that see, with experts for images beside those for text."""

from collections.abc import Sequence

from moewright.architecture.feed_forwards import ExpertGroup, Router
from moewright.architecture.spec import Architecture, Layer
from moewright.hf.config_reader import Config, Family
from moewright.hf.parts import (
    COMMON_DEFAULTS,
    attention,
    build,
    choose_feed_forwards,
    experts,
    shared_of_routed_size,
    stack,
)


def _read(c: Config) -> Architecture:
    n, bias = c.num_layers(), c.flag("use_bias")
    start, step = c.count("moe_layer_start_index"), c.size("moe_layer_interval")
    end = c.raw("moe_layer_end_index")
    end = n - 1 if end is None or end == -1 else c.count("moe_layer_end_index")
    sparse = [(index + 1) % step == 0 and start <= index <= end for index in range(n)]
    layers = _layers(c, bias, sparse)
    return build(c, layers, lm_head_bias=bias, mtp_layers=c.count("num_nextn_predict_layers"))


def _read_vl(c: Config) -> Architecture:
    n, bias = c.num_layers(), c.flag("use_bias")
    sizes = c.integers("moe_intermediate_size") or [1536, 512]
    if len(sizes) != 2 or not all(sizes):
        raise c.error("moe_intermediate_size", "expected the sizes of the experts for text and for images", sizes)
    counts = c.raw("moe_num_experts")
    if isinstance(counts, list):  # Baidu's own files
        if len(counts) != 2 or counts[0] != counts[1]:
            raise c.error("moe_num_experts", "expected as many experts for images as for text", counts)
        c.replace("moe_num_experts", counts[0])
    c.replace("moe_intermediate_size", sizes[0])
    count, top_k = c.size("moe_num_experts"), c.top_k("moe_k", "moe_num_experts")
    images = ExpertGroup(count=count, expert_size=sizes[1], top_k=top_k)
    kinds = c.per_layer("mlp_layer_types", n, "dense", "sparse") or ["dense"] + ["sparse"] * (n - 1)
    return build(c, _layers(c, bias, [kind == "sparse" for kind in kinds], images))


def _layers(c: Config, bias: bool, sparse: Sequence[bool], images: ExpertGroup | None = None) -> list[Layer]:
    mixer = attention(c, qkv_bias=bias, output_bias=bias, rope=c.rope(500_000.0))
    moe = experts(
        c,
        count="moe_num_experts",
        top_k="moe_k",
        size="moe_intermediate_size",
        # The bias of loss-free balancing is registered as a parameter here, and so is counted.
        router=Router(normalize=True, selection_bias="parameter"),
        shared=shared_of_routed_size(c, "moe_num_shared_experts", "moe_intermediate_size", bias=bias),
        image_group=images,
    )
    return stack(c, [mixer] * len(sparse), choose_feed_forwards(c, sparse, moe, bias=bias))


_DEFAULTS = {
    **COMMON_DEFAULTS,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
    "use_bias": False,
    "moe_num_shared_experts": 2,
}
_ALIASES = {"num_experts": "moe_num_experts", "num_experts_per_tok": "moe_k"}

FAMILIES = {
    "ernie4_5_vl_moe_text": Family(
        model_type="ernie4_5_vl_moe_text",
        class_name="Ernie4_5_VLMoeForConditionalGeneration",
        read=_read_vl,
        defaults={
            **_DEFAULTS,
            "moe_intermediate_size": [1536, 512],
            "mlp_layer_types": None,
        },
        aliases=_ALIASES,
        neutral=("moe_norm_min", "intermediate_size"),
    ),
    "ernie4_5_moe": Family(
        model_type="ernie4_5_moe",
        class_name="Ernie4_5_MoeForCausalLM",
        read=_read,
        defaults={
            **_DEFAULTS,
            "moe_layer_start_index": 1,
            "moe_layer_end_index": -1,
            "moe_layer_interval": 1,
            "num_nextn_predict_layers": 0,
        },
        aliases=_ALIASES,
        neutral=("moe_norm_min", "moe_use_aux_free", "moe_gate_act", "moe_capacity", "moe_gate", "intermediate_size"),
    ),
}
