"""LongCat-Flash (arXiv 2509.01322): shortcut-connected experts of which some compute nothing."""

from moewright.architecture.feed_forwards import ExpertGroup, MoE, Router
from moewright.architecture.own_weights import OwnWeight
from moewright.architecture.spec import Architecture
from moewright.hf.config_reader import Config, Family
from moewright.hf.parts import COMMON_DEFAULTS, build, dense, latent_attention, stack


def _read(c: Config) -> Architecture:
    n = c.num_layers("num_layers")
    if c.raw("q_lora_rank") is None:
        raise c.error("q_lora_rank", "LongCat-Flash needs a query rank", None)
    mixer, plain = latent_attention(c, rope=c.rope(1e7)), dense(c, "ffn_hidden_size")
    in_transformers = not _has_ngrams(c)  # LongCat-Flash-Lite is not
    real, idle = c.size("n_routed_experts"), c.count("zero_expert_num")
    chosen = c.top_k("moe_topk", "n_routed_experts", extra_choices=idle)
    moe = MoE(
        groups=(ExpertGroup(count=real, expert_size=c.size("expert_ffn_hidden_size"), top_k=chosen),),
        router=Router(
            normalize=False,
            scale=c.number("routed_scaling_factor"),
            bias=c.flag("router_bias"),
            selection_bias="buffer",
        ),
        identity_experts=idle,
        identity_input_weights=idle > 0 and in_transformers,
        parallel_dense=plain,  # the experts see what the first dense feed-forward of the pair sees
        activation=c.activation(),
    )
    if idle:
        c.warn(
            f"{idle} of {real + idle} experts compute nothing, so a token uses at most {chosen} real experts and "
            f"{chosen * real / (real + idle):.1f} under balanced routing; active parameters are for the most"
        )
    if idle and in_transformers:
        c.warn(
            "transformers keeps input projections for the experts that compute nothing; they are counted under "
            "'other' (the published total is without them)"
        )
    # A LongCat layer holds two attentions and two dense feed-forwards: two layers here.
    return build(c, stack(c, [mixer, mixer] * n, [moe, plain] * n), own_weights=_ngrams(c))


def _has_ngrams(c: Config) -> bool:
    return c.family == "longcat_flash_ngram" or c.has("ngram_vocab_size_ratio")


_MOST_TABLES = 100


def _ngrams(c: Config) -> tuple[OwnWeight, ...]:
    """LongCat-Flash-Lite's tables of n-grams, each of another number of rows (mlx-lm's longcat_flash_ngram.py)."""
    if not _has_ngrams(c):
        return ()
    width, tables = c.size("hidden_size"), c.size("emb_split_num") * (c.size("emb_neighbor_num") - 1)
    if not 0 < tables <= min(width, _MOST_TABLES):
        raise c.error("emb_neighbor_num", f"makes {tables} tables of n-grams", c.raw("emb_neighbor_num"))
    channels, rows = width // tables, c.size("ngram_vocab_size_ratio") * c.size("vocab_size")
    return (
        OwnWeight(
            name="ngram_tables",
            component="embedding",
            outputs=tables * rows + tables * tables,  # together: rows + 1, rows + 3, rows + 5 ...
            inputs=channels,
            use="lookup",
        ),
        OwnWeight(
            name="ngram_projections", component="other", outputs=width, inputs=channels, copies=tables, use="matmul"
        ),
    )


def _family(model_type: str, class_name: str) -> Family:
    return Family(
        model_type=model_type,
        class_name=class_name,
        read=_read,
        defaults={
            **COMMON_DEFAULTS,
            "rms_norm_eps": 1e-5,
            "routed_scaling_factor": 1.0,
            "router_bias": False,
            "ngram_vocab_size_ratio": 78,
            "emb_neighbor_num": 4,
            "emb_split_num": 4,
        },
        aliases={
            "num_local_experts": "n_routed_experts",
            "num_experts_per_tok": "moe_topk",
            "intermediate_size": "ffn_hidden_size",
            "moe_intermediate_size": "expert_ffn_hidden_size",
        },
        neutral=(
            "num_hidden_layers",
            "num_key_value_heads",
            "head_dim",
            "qk_head_dim",
            "attention_method",
            "mla_scale_q_lora",
            "mla_scale_kv_lora",
            "zero_expert_type",
            "norm_topk_prob",
            "use_cache",
        ),
    )


FAMILIES = {
    "longcat_flash": _family("longcat_flash", "LongcatFlashForCausalLM"),
    "longcat_flash_ngram": _family("longcat_flash_ngram", "LongcatFlashNgramForCausalLM"),
}
