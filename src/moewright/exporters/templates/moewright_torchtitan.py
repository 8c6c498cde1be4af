"""A torchtitan model of the sizes in torchtitan_model.json, which lies beside this file. Made by moewright.

    PYTHONPATH=<this folder> torchrun ... -m torchtitan.train --module moewright_torchtitan --config pretrain

`pretrain` sets the model only; give data, tokenizer, batch, learning rate and parallelism on the command line.
"""

import json
from pathlib import Path

from torchtitan.components.loss import ChunkedLossWrapper, CrossEntropyLoss
from torchtitan.components.optimizer import register_moe_load_balancing_hook
from torchtitan.distributed.pipeline_parallel import pipeline_llm
from torchtitan.models import deepseek_v3, qwen3
from torchtitan.models.common import ComplexRoPE, CosSinRoPE, Embedding, Linear, RMSNorm
from torchtitan.models.common.config_utils import (
    get_attention_config,
    make_ffn_config,
    make_gqa_config,
    make_moe_config,
    make_routed_experts_config,
    make_router_config,
)
from torchtitan.models.deepseek_v3.model import DeepSeekV3TransformerBlock
from torchtitan.models.qwen3.model import Qwen3TransformerBlock
from torchtitan.protocols.model_spec import ModelSpec
from torchtitan.trainer import Trainer

SIZES = json.loads(Path(__file__).with_name("torchtitan_model.json").read_text(encoding="utf-8"))
IS_DEEPSEEK = SIZES["model"] == "deepseek_v3"
FAMILY = deepseek_v3 if IS_DEEPSEEK else qwen3


def model_config(attn_backend: str = "flex", moe_comm_backend: str = "standard"):
    """The model's Config: every size from the file, initialisation as the family's own models have it."""
    layers = [
        _layer(layer, index, attn_backend, moe_comm_backend)
        for index, layer in enumerate(layer for layer in SIZES["layers"] for _ in range(layer["repeat"]))
    ]
    dim, vocab_size = SIZES["dim"], SIZES["vocab_size"]
    head_init = deepseek_v3._output_linear_init(dim) if IS_DEEPSEEK else qwen3._LINEAR_INIT
    # A tied embedding takes the head's initialisation.
    embedding_init = qwen3._EMBEDDING_SKIP_INIT if SIZES["enable_weight_tying"] else FAMILY._EMBEDDING_INIT
    fields = {
        "dim": dim,
        "vocab_size": vocab_size,
        "norm": _norm(dim),
        "enable_weight_tying": SIZES["enable_weight_tying"],
        "tok_embeddings": Embedding.Config(num_embeddings=vocab_size, embedding_dim=dim, param_init=embedding_init),
        "lm_head": Linear.Config(in_features=dim, out_features=vocab_size, param_init=head_init),
        "layers": layers,
    }
    if not IS_DEEPSEEK:
        return qwen3.Qwen3Model.Config(**fields)
    mtp_layers = deepseek_v3._build_mtp_layers(layers[-1], dim=dim, num_mtp_layers=SIZES["num_mtp_layers"])
    return deepseek_v3.DeepSeekV3Model.Config(**fields, mtp_layers=mtp_layers)


def model_spec() -> ModelSpec:
    """The model with its family's parallelism. Checkpoints are torchtitan's own: no adapter to other formats."""
    return ModelSpec(
        name=SIZES["model"],
        flavor="moewright",
        model=model_config(),
        parallelize_fn=deepseek_v3.parallelize_deepseekv3 if IS_DEEPSEEK else qwen3.parallelize_qwen3,
        pipelining_fn=pipeline_llm,
        post_optimizer_build_fn=register_moe_load_balancing_hook,
        state_dict_adapter=None,
    )


def pretrain() -> Trainer.Config:
    """What --config names."""
    loss = CrossEntropyLoss.Config(global_vocab_size=SIZES["vocab_size"])
    if SIZES["num_mtp_layers"]:
        return Trainer.Config(
            model_spec=model_spec(), loss=deepseek_v3.MTPLoss.Config(global_vocab_size=SIZES["vocab_size"])
        )
    return Trainer.Config(model_spec=model_spec(), loss=ChunkedLossWrapper.Config(loss_fn=loss))


def _norm(size: int) -> RMSNorm.Config:
    return RMSNorm.Config(normalized_shape=size, eps=SIZES["norm_eps"], param_init=FAMILY._NORM_INIT)


def _output_init(index: int):
    """Of the projections that write into the residual stream."""
    return deepseek_v3._depth_init(index) if IS_DEEPSEEK else qwen3._residual_output_init(_num_layers())


def _num_layers() -> int:
    return sum(layer["repeat"] for layer in SIZES["layers"])


def _layer(layer: dict, index: int, attn_backend: str, moe_comm_backend: str):
    block = DeepSeekV3TransformerBlock if IS_DEEPSEEK else Qwen3TransformerBlock
    attention = _latent_attention if IS_DEEPSEEK else _grouped_attention
    dense = layer.get("feed_forward")
    return block.Config(
        attention=attention(layer["attention"], index, attn_backend),
        attention_norm=_norm(SIZES["dim"]),
        ffn_norm=_norm(SIZES["dim"]),
        feed_forward=_feed_forward(dense["hidden_dim"], index) if dense else None,
        moe=None if dense else _experts(layer["moe"], index, moe_comm_backend),
    )


def _grouped_attention(sizes: dict, index: int, attn_backend: str):
    head_dim = sizes["head_dim"]
    return make_gqa_config(
        dim=SIZES["dim"],
        n_heads=sizes["n_heads"],
        n_kv_heads=sizes["n_kv_heads"],
        head_dim=head_dim,
        wqkv_param_init=qwen3._LINEAR_INIT,
        wo_param_init=_output_init(index),
        inner_attention=get_attention_config(attn_backend),
        fuse_qkv=True,
        rope=CosSinRoPE.Config(dim=head_dim, max_seq_len=SIZES["max_seq_len"], theta=sizes["rope_theta"]),
        qk_norm=_norm(head_dim) if sizes["qk_norm"] else None,
    )


def _latent_attention(sizes: dict, index: int, attn_backend: str):
    yarn = dict(sizes["yarn"] or {})
    mscale = yarn.pop("mscale", 1.0)
    rope = ComplexRoPE.Config(
        dim=sizes["qk_rope_head_dim"],
        max_seq_len=SIZES["max_seq_len"],
        theta=sizes["rope_theta"],
        scaling="yarn" if yarn else "none",
        **yarn,
    )
    names = ("n_heads", "q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
    attention = deepseek_v3.make_mla_attention_config(
        layer_id=index,
        dim=SIZES["dim"],
        **{name: sizes[name] for name in names},
        mscale=mscale,
        attn_backend=attn_backend,
        linear_init=deepseek_v3._LINEAR_INIT,
        norm_init=deepseek_v3._NORM_INIT,
        depth_init=deepseek_v3._depth_init,
        rope=rope,
    )
    attention.q_norm.eps = attention.kv_norm.eps = SIZES["norm_eps"]
    return attention


def _feed_forward(hidden_dim: int, index: int):
    return make_ffn_config(
        dim=SIZES["dim"],
        hidden_dim=hidden_dim,
        w1_param_init=FAMILY._LINEAR_INIT,
        w2w3_param_init=_output_init(index),
    )


def _experts(sizes: dict, index: int, comm_backend: str):
    num_experts, top_k, shared = sizes["num_experts"], sizes["top_k"], sizes["shared_hidden_dim"]
    gate_init = _output_init(index) if IS_DEEPSEEK else qwen3._LINEAR_INIT
    experts_init = deepseek_v3._depth_experts_init(index) if IS_DEEPSEEK else qwen3._moe_experts_init(_num_layers())
    return make_moe_config(
        num_experts=num_experts,
        router=make_router_config(
            dim=SIZES["dim"],
            num_experts=num_experts,
            gate_param_init=gate_init,
            top_k=top_k,
            **{name: sizes[name] for name in ("score_func", "route_norm", "route_scale")},
            num_expert_groups=sizes["num_expert_groups"],
            num_limited_groups=sizes["num_limited_groups"],
        ),
        routed_experts=make_routed_experts_config(
            dim=SIZES["dim"],
            hidden_dim=sizes["hidden_dim"],
            num_experts=num_experts,
            top_k=top_k,
            param_init=experts_init,
            comm_backend=comm_backend,
        ),
        shared_experts=_feed_forward(shared, index) if shared else None,
        load_balance_coeff=sizes["load_balance_coeff"],
    )
