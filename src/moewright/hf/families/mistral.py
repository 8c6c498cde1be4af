"""Mistral's mixtures with latent attention: Mistral 4, and Mistral Large 4 (2026), whose layers share latents."""

from moewright.architecture.feed_forwards import MoE, Router
from moewright.architecture.mixers import LatentAttention, Rope
from moewright.architecture.spec import Architecture
from moewright.hf.config_reader import Config, Family
from moewright.hf.parts import (
    COMMON_DEFAULTS,
    DEEPSEEK_ROUTING,
    LATENT_NEUTRAL,
    SHARED_INDEXERS,
    build,
    choose_feed_forwards,
    dense_first_layers,
    expert_groups,
    experts,
    indexer,
    latent_attention,
    shared_indexers,
    shared_of_routed_size,
    stack,
    typed_layers,
)


def _read_mistral4(c: Config) -> Architecture:
    n = c.num_layers()
    rope = c.rope() if c.has("rope_parameters") or c.has("rope_scaling") else Rope(scaling=_MISTRAL4_YARN)
    moe = _experts(c, normalize=c.flag("norm_topk_prob"))
    mixer = latent_attention(c, rope=rope)
    return build(c, stack(c, [mixer] * n, choose_feed_forwards(c, dense_first_layers(c, n), moe)))


def _experts(c: Config, normalize: bool) -> MoE:
    groups, best = expert_groups(c)
    if groups > 1:
        # The modules rank a group by its two best softmax scores, which no other model does.
        c.warn(f"n_group: {groups} groups are ranked as in DeepSeek-V2, by the best expert; counts are not affected")
    return experts(
        c,
        count="n_routed_experts",
        top_k="num_experts_per_tok",
        size="moe_intermediate_size",
        router=Router(normalize=normalize, scale=c.number("routed_scaling_factor"), num_groups=groups, top_groups=best),
        shared=shared_of_routed_size(c, "n_shared_experts", "moe_intermediate_size"),
    )


def _read_large(c: Config) -> Architecture:
    n = c.num_layers()
    c.per_layer("layer_types", n, "indexed_attention", "deepseek_sparse_attention")
    rope = c.rope() if c.has("rope_parameters") or c.has("rope_scaling") else Rope(scaling=_LARGE_YARN)
    rotates, owns, reuses = _rotating(c, n), _own_latents(c, n), shared_indexers(c, n)
    made: dict[tuple[bool, bool, bool], LatentAttention] = {}
    kinds = list(zip(rotates, owns, reuses, strict=True))
    for turns, own, reuse in set(kinds):
        made[turns, own, reuse] = latent_attention(
            c,
            rope=rope if turns else None,
            rotates=turns,
            indexer=indexer(c, shared=reuse, query_input="layer_input"),
            key_values="own" if own else "earlier_layer",
            position_scaling=True,
        )
    feed_forwards = choose_feed_forwards(c, typed_layers(c, n), _experts(c, normalize=True))
    layers = stack(c, [made[kind] for kind in kinds], feed_forwards)
    return build(c, layers, rope_frequencies=c.size("qk_rope_head_dim") // 2)


def _rotating(c: Config, n: int) -> list[bool]:
    """1 in no_rope_layers is a layer whose rotary channels rotate; without a list every so many-th has none."""
    stated = c.integers("no_rope_layers")
    if not stated:
        every = c.size("no_rope_layer_interval")
        return [(index + 1) % every != 0 for index in range(n)]
    if len(stated) < n or set(stated) - {0, 1}:
        raise c.error("no_rope_layers", f"expected 0 or 1 for each of the {n} layers", stated)
    return [value == 1 for value in stated[:n]]


def _own_latents(c: Config, n: int) -> list[bool]:
    """Whether each layer makes its own latents, or reads those of the layer that kv_source_layers names."""
    sources = c.integers("kv_source_layers") or list(range(n))
    if len(sources) != n:
        raise c.error("kv_source_layers", f"has {len(sources)} entries for {n} layers")
    for index, source in enumerate(sources):
        if source > index or sources[source] != source:
            raise c.error(
                f"kv_source_layers[{index}]", "expected the layer itself, or an earlier one with its own", source
            )
    return [source == index for index, source in enumerate(sources)]


# What transformers takes where Mistral 4's config states no rotary embedding.
_MISTRAL4_YARN = {
    "rope_type": "yarn",
    "factor": 128.0,
    "original_max_position_embeddings": 8192,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
    "llama_4_scaling_beta": 0.1,
}
_LARGE_YARN = {
    "rope_type": "yarn",
    "factor": 2048.0,
    "original_max_position_embeddings": 512,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "attention_factor": 1.0,
}

FAMILIES = {
    "mistral4": Family(
        model_type="mistral4",
        class_name="Mistral4ForCausalLM",
        read=_read_mistral4,
        defaults={
            **COMMON_DEFAULTS,
            **DEEPSEEK_ROUTING,
            "q_lora_rank": 1024,
            "n_shared_experts": 1,
            "n_group": 1,
            "topk_group": 1,
        },
        aliases={"num_local_experts": "n_routed_experts"},
        neutral=(*LATENT_NEUTRAL, "num_nextn_predict_layers"),
    ),
    "mistral_large4_text": Family(
        model_type="mistral_large4_text",
        class_name="MistralLarge4ForConditionalGeneration",
        read=_read_large,
        defaults={
            **COMMON_DEFAULTS,
            "rms_norm_eps": 1e-5,
            "q_lora_rank": None,
            "n_shared_experts": 1,
            "n_group": 1,
            "topk_group": 1,
            "routed_scaling_factor": 1.0,
            "first_k_dense_replace": 1,
            "mlp_layer_types": None,
            "layer_types": None,
            **SHARED_INDEXERS,
            "no_rope_layers": None,
            "no_rope_layer_interval": 4,
            "kv_source_layers": None,
        },
        aliases={"num_local_experts": "n_routed_experts", "num_experts": "n_routed_experts"},
        neutral=(*LATENT_NEUTRAL, "final_logit_softcapping"),
    ),
}
