"""Tiny recipes that between them take every branch of what training computes, as plain values. No moewright here.

`test_golden` walks the classes of the recipe and names every setting that no recipe here has.
"""

import array
import random
from pathlib import Path
from typing import Any

VOCAB, LENGTH, BATCH, STEPS = 64, 16, 8, 4
"""Tokens of the vocabulary and of a sequence, sequences of an optimizer step, steps of a run."""

Plain = dict[str, Any]


def write_tokens(folder: Path) -> Plain:
    """Files of a noisy walk through the vocabulary, as the `data` of a recipe.

    By Python's own generator, whose numbers do not change between versions; numpy's may.
    """
    r = random.Random(5)
    for name, count in (("train", 6000), ("near", 700), ("far", 130)):
        tokens, token = array.array("H"), 0
        for _ in range(count):
            token = (token + (1 if r.random() < 0.7 else int(r.random() * VOCAB))) % VOCAB
            tokens.append(token)
        (folder / f"{name}.bin").write_bytes(tokens.tobytes())
    validation = {name: [str(folder / f"{name}.bin")] for name in ("near", "far")}
    train = [str(folder / "train.bin")]
    return {"train": train, "validation": validation, "vocab_size": VOCAB, "dtype": "uint16", "end_of_document": 3}


def attention(**changes: Any) -> Plain:
    """4 query heads over 2 of keys and values."""
    plain = {"kind": "attention", "num_heads": 4, "num_kv_heads": 2, "head_dim": 8, "rope": {"theta": 100.0}}
    return {**plain, **changes}


def latent(**changes: Any) -> Plain:
    """Latent attention of 2 heads."""
    sizes = {"q_lora_rank": None, "kv_lora_rank": 12, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 6}
    return {"kind": "latent_attention", "num_heads": 2, **sizes, "rope": {"theta": 100.0}, **changes}


def dense(**changes: Any) -> Plain:
    """A feed-forward of 40 channels."""
    return {"kind": "dense", "size": 40, **changes}


def moe(*groups: tuple[int, int, int], router: Plain | None = None, **changes: Any) -> Plain:
    """Groups of (experts, channels of each, how many a token uses); one of 2 of 4 if none is named."""
    named = [dict(zip(("count", "expert_size", "top_k"), group, strict=True)) for group in groups or ((4, 24, 2),)]
    return {"kind": "moe", "groups": named, "router": router or {}, **changes}


def model(*layers: Plain, **changes: Any) -> Plain:
    """A model of width 32."""
    return {
        "format": "moewright-architecture/1",
        "vocab_size": VOCAB,
        "hidden_size": 32,
        "layers": list(layers),
        **changes,
    }


def layer(mixer: Plain, feed_forward: Plain, norms: str = "pre") -> Plain:
    """One layer."""
    return {"mixer": mixer, "feed_forward": feed_forward, "norms": norms}


def twice(mixer: Plain, feed_forward: Plain) -> Plain:
    """Two equal layers."""
    return model({"repeat": 2, "layers": [layer(mixer, feed_forward)]})


def golden_recipes(folder: Path) -> dict[str, Plain]:
    """The recipes by name, on tokens that are written to the folder."""
    data = write_tokens(folder)

    def recipe(architecture: Plain, **changes: Any) -> Plain:
        return {
            "architecture": architecture,
            "data": data,
            "train_tokens": STEPS * BATCH * LENGTH,
            "sequence_length": LENGTH,
            "batch_tokens": BATCH * LENGTH,
            "micro_batch_sequences": BATCH,
            "learning_rate": 0.01,
            **changes,
        }

    warm = {"warmup_tokens": 200}
    limited = moe((8, 12, 3), router={"num_groups": 4, "top_groups": 2})
    return {
        "a mixture with a shared expert": recipe(
            twice(attention(), moe(shared={"expert_size": 16})), balancing={"losses": [{"weight": 0.01}]}
        ),
        "dense layers with all biases": recipe(
            model(
                layer(
                    attention(qkv_bias=True, output_bias=True, qk_norm="per_head"),
                    dense(gated=False, bias=True, activation="gelu"),
                    "post",
                ),
                layer(
                    attention(output_gate="per_channel", output_gate_bias=True, window={"size": 5}),
                    dense(activation="gelu_tanh"),
                    "parallel",
                ),
                norm={"kind": "layer", "bias": True, "eps": 1e-5},
                tie_embeddings=True,
                lm_head_bias=True,
            ),
            schedule={"kind": "wsd", **warm, "final_share": 0.0, "decay_share": 0.5},
            optimizer={"beta1": 0.8, "beta2": 0.99, "eps": 1e-6, "weight_decay": 0.2, "clip_norm": None},
            seed=3,
        ),
        "norms of queries and keys, windows, partial rotation": recipe(
            model(
                layer(
                    attention(qk_norm="full", output_gate="per_head", window={"size": 6, "kind": "chunked"}),
                    dense(activation="relu"),
                    "sandwich",
                ),
                layer(attention(qk_norm="unweighted", rope={"fraction": 0.5}), dense(gated=False, activation="relu2")),
                layer(attention(rope=None), moe(gated=False, activation="relu2")),
                norm={"bias": True},
            ),
            schedule={"kind": "constant", **warm},
            document_mask=True,
            recompute=True,
            optimizer={"clip_norm": 0.5},
            initialization={"deviation": 0.1},
        ),
        "latent attention, group-limited softmax routing": recipe(
            model(
                layer(latent(), dense()),
                layer(latent(q_lora_rank=10, bias=True, rope=None, window={"size": 5}), limited, "parallel"),
            ),
            schedule=warm,
        ),
        "group-limited sigmoid routing with a selection bias": recipe(
            twice(
                latent(),
                moe(
                    (8, 12, 3),
                    router={
                        "score": "sigmoid",
                        "normalize": True,
                        "scale": 2.5,
                        "selection_bias": "buffer",
                        "num_groups": 4,
                        "top_groups": 2,
                    },
                    shared={"count": 2, "expert_size": 8, "bias": True},
                ),
            ),
            balancing={
                "losses": [{"weight": 0.01, "scope": "sequence", "layers": "pooled"}],
                "z_loss": 0.01,
                "selection_bias": {"zero_mean": True},
            },
            micro_batch_sequences=4,
        ),
        "groups of unlike experts under one router": recipe(
            twice(
                attention(),
                moe(
                    (4, 24, 2),
                    (6, 8, 1),
                    router={"score": "sqrt_softplus", "score_after_top_k": True, "bias": True},
                    combine_groups="average",
                    shared={"expert_size": 16, "combine": "average"},
                    parallel_dense=dense(size=20, gated=False),
                ),
            ),
            balancing={
                "losses": [
                    {"weight": 0.02, "scope": "global_batch", "balanced_value": "top_k", "size_penalty": True},
                    {"weight": 0.01, "scope": "sequence", "layers": "sum"},
                ]
            },
            evaluation={"sequences": 3},
        ),
        "groups of unlike experts with a router each": recipe(
            twice(
                attention(),
                moe(
                    (4, 24, 2),
                    (2, 40, 1),
                    router={"selection_bias": "parameter", "weigh": "input"},
                    router_per_group=True,
                    shared={"expert_size": 16, "combine": "gated"},
                    output_bias=True,
                ),
            ),
            balancing={
                "losses": [{"weight": 0.02, "scope": "global_batch"}],
                "selection_bias": {"step": 0.02, "update": "proportional", "step_over_experts": True},
            },
            micro_batch_sequences=2,
        ),
        "capacity by position, rounded up": recipe(
            twice(attention(), moe(router={"score_after_top_k": True}, activation="gelu")),
            dispatch={"capacity": {"factor": 0.8}, "evaluation_capacity": {"factor": 1.1, "rounding": "floor"}},
            recompute=True,
        ),
        "capacity by score, rounded down": recipe(
            twice(attention(), moe((6, 16, 2), router={"normalize": True}, activation="relu")),
            dispatch={"capacity": {"factor": 0.72, "rounding": "floor", "multiple": 2, "drop": "score"}},
        ),
        "forced routing": recipe(twice(attention(), moe(activation="gelu_tanh")), dispatch={"forced": "uniform"}),
        "muon and mup at a law's learning rate": recipe(
            twice(attention(qkv_bias=True), moe(shared={"expert_size": 16})),
            learning_rate={"law": "steplaw"},
            optimizer={"kind": "muon", "momentum": 0.9},
            initialization={"rule": "mup", "base_width": 16},
            schedule=warm,
        ),
        "bf16 and mup at a law's learning rate": recipe(
            twice(attention(qk_norm="per_head"), moe((4, 24, 2), shared={"expert_size": 16})),
            learning_rate={"law": "ludziejewski2025_lr", "multiplier": 1e-4},
            initialization={"rule": "mup"},
            balancing={"losses": [{"weight": 0.01}], "z_loss": 0.001},
            precision="bf16",
        ),
        "muon in bf16": recipe(
            twice(latent(q_lora_rank=10), moe(gated=False)), optimizer={"kind": "muon"}, precision="bf16"
        ),
        "latent experts": recipe(
            twice(
                attention(),
                moe(latent_size=12, latent_norm=True, latent_bias=True, shared={"expert_size": 16}),
            ),
            balancing={"losses": [{"weight": 0.01}]},
        ),
        "prediction blocks": recipe(
            model(
                layer(attention(), moe(shared={"expert_size": 16})),
                mtp_layers=2,
                mtp_block=[layer(attention(qk_norm="per_head"), moe((6, 8, 2))), layer(attention(), dense())],
            ),
            balancing={"losses": [{"weight": 0.01, "scope": "global_batch"}]},
            prediction_loss_weight=0.4,
            micro_batch_sequences=4,
        ),
        "a prediction block like the last layer": recipe(
            twice(attention(), moe(router={"selection_bias": "buffer"})) | {"mtp_layers": 1},
            balancing={"selection_bias": {"update": "quantile"}},
            optimizer={"kind": "muon"},
            recompute=True,
        ),
        "quantile balancing": recipe(
            twice(
                attention(), moe((6, 12, 2), router={"score": "sigmoid", "normalize": True, "selection_bias": "buffer"})
            ),
            balancing={"selection_bias": {"update": "quantile", "memory": 0.3}},
            micro_batch_sequences=4,
        ),
        "a decay as long as it is by default": recipe(
            twice(attention(), dense()), schedule={"kind": "wsd", **warm}, train_tokens=20 * BATCH * LENGTH
        ),
        "sequences of several blocks": recipe(
            twice(attention(), moe()),
            sequence_length=600,
            batch_tokens=1200,
            train_tokens=3600,
            micro_batch_sequences=2,
            evaluation={"sequences": 1},
            data={**data, "validation": {"near": data["validation"]["near"]}, "end_of_document": None},
        ),
    }
