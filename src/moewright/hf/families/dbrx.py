"""DBRX (Databricks, 2024)."""

from moewright.architecture.feed_forwards import ExpertGroup, MoE, Router
from moewright.architecture.mixers import Attention
from moewright.architecture.spec import Architecture, Norm
from moewright.hf.config_reader import Config, Family
from moewright.hf.parts import COMMON_DEFAULTS, stack


def _read(c: Config) -> Architecture:
    n, width, heads = c.num_layers("n_layers"), c.size("d_model"), c.size("n_heads")
    if width % heads:
        raise c.error("n_heads", f"{heads} does not divide d_model ({width})")
    attn = c.section(
        "attn_config",
        {"kv_n_heads": 1},
        neutral=("attn_pdrop", "clip_qkv", "rope_theta", "rope_parameters", "rope_scaling"),
    )
    kv_heads = attn.size("kv_n_heads")
    if heads % kv_heads:
        raise attn.error("kv_n_heads", f"{kv_heads} does not divide n_heads ({heads})")
    mixer = Attention(
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=width // heads,
        # transformers reads the base from the outer keys or from attn_config
        rope=attn.rope(500_000.0) if attn.has("rope_theta") else c.rope(10_000.0),
    )
    ffn = c.section(
        "ffn_config",
        {"ffn_act_fn": None, "moe_normalize_expert_weights": 1.0},
        neutral=("moe_loss_weight", "moe_jitter_eps", "uniform_expert_assignment", "hidden_size"),
    )
    activation = ffn.mapping("ffn_act_fn") or {"name": "silu"}
    if activation.get("name") != "silu":
        raise ffn.error("ffn_act_fn", "only silu is understood", activation)
    order = ffn.raw("moe_normalize_expert_weights")
    if order not in (None, 1, 1.0):
        raise ffn.error("moe_normalize_expert_weights", "only 1 or null is understood", order)
    moe = MoE(
        groups=(
            ExpertGroup(
                count=ffn.size("moe_num_experts"),
                expert_size=ffn.size("ffn_hidden_size"),
                top_k=ffn.top_k("moe_top_k", "moe_num_experts"),
            ),
        ),
        router=Router(normalize=order is not None),
    )
    for section in (attn, ffn):
        for message in section.finish():
            c.warn(message)
    return Architecture(
        vocab_size=c.size("vocab_size"),
        hidden_size=width,
        layers=tuple(stack(c, [mixer] * n, [moe] * n)),
        tie_embeddings=c.flag("tie_word_embeddings"),
        norm=Norm(kind="layer", eps=1e-5),
        max_context=c.optional_size("max_seq_len"),
    )


FAMILIES = {
    "dbrx": Family(
        model_type="dbrx",
        class_name="DbrxForCausalLM",
        read=_read,
        defaults={**COMMON_DEFAULTS, "max_seq_len": None, "attn_config": None, "ffn_config": None},
        aliases={
            "num_attention_heads": "n_heads",
            "hidden_size": "d_model",
            "num_hidden_layers": "n_layers",
            "max_position_embeddings": "max_seq_len",
        },
        neutral=("emb_pdrop", "num_key_value_heads", "attn_pdrop"),
    ),
}
