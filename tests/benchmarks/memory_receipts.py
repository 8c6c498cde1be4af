"""Training memory of a rank against what published runs report, one line each.

    python -m tests.benchmarks.memory_receipts

What was decided before a value was looked at: activations as Megatron-Core's sources keep them
(`activations.megatron_keeping`), nothing fitted; layout, optimizer, format of gradients and of the loss as the named
recipe sets them; the rank that reports (Megatron-LM's log is the last rank's, so of the last stage); rows whose recipe
or number of devices is not public are left out. The rows of Qwen3, Moonlight and Nemotron were read while the formulas
were written; those marked held were looked at once, after them.
"""

from dataclasses import dataclass

from moewright.architecture import Architecture
from moewright.architecture.feed_forwards import ExpertGroup, MoE
from moewright.architecture.mixers import Attention
from moewright.architecture.spec import Layer, Norm, Repeat
from moewright.hardware import Parallelism, training_memory
from moewright.hardware.activations import NOTHING, megatron_keeping
from moewright.hardware.pretraining import GradientDtype, OptimizerName, Stage
from moewright.hf import load_architecture

IN_PLACE = 2.0
"""Bytes of a logit where the loss is TransformerEngine's, which works in place (`cross_entropy_fusion_impl` te)."""
MOONLIGHT = {
    "model_type": "deepseek_v3",
    "architectures": ["DeepseekV3ForCausalLM"],
    "vocab_size": 163840,
    "hidden_size": 2048,
    "num_hidden_layers": 27,
    "first_k_dense_replace": 1,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "kv_lora_rank": 512,
    "q_lora_rank": None,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "n_routed_experts": 64,
    "num_experts_per_tok": 6,
    "moe_intermediate_size": 1408,
    "n_shared_experts": 2,
    "intermediate_size": 11264,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": False,
    "moe_layer_freq": 1,
    "n_group": 1,
    "topk_group": 1,
    "num_nextn_predict_layers": 0,
    "rms_norm_eps": 1e-5,
    "hidden_act": "silu",
    "attention_bias": False,
    "scoring_func": "sigmoid",
    "topk_method": "noaux_tc",
    "norm_topk_prob": True,
    "routed_scaling_factor": 2.446,
    "rope_theta": 50000,
}
"""moonshotai/Moonlight-16B-A3B's config.json, what is counted of it."""
BRIDGE = "Megatron-Bridge 067f987df, "
RECOMPUTE = BRIDGE + "skills/nemo-mbridge-perf-activation-recompute"
MEGATRON = "Megatron-LM d98e8a6, tests/functional_tests/test_cases/moe/"


@dataclass(frozen=True)
class Receipt:
    """What a rank held, and what of the run says how much that should be."""

    name: str
    model: Architecture
    spread: Parallelism
    tokens_per_sequence: int
    bytes: float
    source: str
    micro_batch: int = 1
    recompute: str = NOTHING
    optimizer: OptimizerName = "adamw"
    gradient_dtype: GradientDtype = "bf16"
    logit: float = IN_PLACE
    stage: Stage = "fullest"
    without_moments: bool = False
    """Whether it was read in the first step, before the optimizer had made its moments."""
    held: bool = False

    def predicted(self) -> float:
        """Bytes that the accounting says."""
        memory = training_memory(
            self.model,
            self.spread,
            micro_batch=self.micro_batch,
            tokens_per_sequence=self.tokens_per_sequence,
            optimizer=self.optimizer,
            gradient_dtype=self.gradient_dtype,
            recompute=self.recompute,
            keeping=megatron_keeping(logit=self.logit),
            stage=self.stage,
        )
        moments = 8 / 12 * memory.optimizer if self.without_moments else 0.0
        return float(memory.total - moments)


def small_gpt(experts: int, top_k: int, expert_size: int) -> Architecture:
    """The model of Megatron-LM's functional tests: 12 layers of 512, GPT-2's vocabulary made divisible by 128."""
    layer = Layer(
        mixer=Attention(num_heads=8, num_kv_heads=8, head_dim=64),
        feed_forward=MoE(
            groups=(ExpertGroup(count=experts, expert_size=expert_size, top_k=top_k),), gated=False, activation="gelu"
        ),
    )
    return Architecture(
        vocab_size=50304,
        hidden_size=512,
        layers=(Repeat(repeat=12, layers=(layer,)),),
        tie_embeddings=True,
        norm=Norm(kind="layer", bias=True),
    )


def receipts() -> list[Receipt]:
    """All of them."""
    qwen, nano = (load_architecture(name).architecture for name in ("qwen3-30b-a3b", "nemotron-3-nano-30b-a3b"))
    moonlight = load_architecture(MOONLIGHT).architecture
    on_16 = Parallelism(data=16, expert=16, zero_stage=1)
    rows = [
        Receipt("Qwen3-30B-A3B", qwen, on_16, 4096, 61.351e9, BRIDGE + "docs/training/moe-optimization.md"),
    ]
    for modules, size, first in (
        (NOTHING, 66.297e9, True),
        ("moe_act", 62.103e9, True),
        ("moe", 64.653e9, False),
        ("layernorm+moe", 63.639e9, False),
    ):
        spread = Parallelism(data=16, expert=8, zero_stage=1)
        rows.append(
            Receipt("Nemotron 3 Nano", nano, spread, 8192, size, RECOMPUTE, recompute=modules, without_moments=first)
        )
    for modules, size in (
        (NOTHING, 36.618e9),
        ("core_attn", 36.614e9),
        ("mla_up_proj", 35.902e9),
        ("mla_up_proj+mlp", 35.917e9),
        ("moe_act", 35.941e9),
        ("layernorm+moe_act", 35.949e9),
    ):
        spread = Parallelism(data=4, tensor=2, expert=8, zero_stage=1)
        rows.append(
            Receipt(
                "Moonlight-16B-A3B",
                moonlight,
                spread,
                4096,
                size,
                RECOMPUTE,
                recompute=modules,
                optimizer="adamw_precision_aware",
            )
        )
    held: tuple[tuple[str, Architecture, Parallelism, float, Stage], ...] = (
        (
            "gpt3_mcore_cp2_pp2_ep2_te_4experts2parallel_nondeterministic",
            small_gpt(4, 1, 2048),
            Parallelism(data=2, context=2, pipeline=2, expert=2),
            2.061327e9,
            "last",
        ),
        (
            "gpt3_mcore_tp2_cp2_pp2_ep2_te_4experts2parallel",
            small_gpt(4, 1, 2048),
            Parallelism(data=1, context=2, tensor=2, pipeline=2, expert=2),
            1.114967e9,
            "last",
        ),
        (
            "gpt3_moe_mcore_te_ep8_resume_torch_dist_dist_optimizer",
            small_gpt(8, 2, 1024),
            Parallelism(data=8, expert=8, zero_stage=1),
            3.359425e9,
            "fullest",
        ),
    )
    for name, model, spread, size, stage in held:
        rows.append(
            Receipt(
                name,
                model,
                spread,
                1024,
                size,
                MEGATRON + name,
                micro_batch=4,
                gradient_dtype="fp32",
                logit=6,
                stage=stage,
                held=True,
            )
        )
    return rows


def main() -> None:
    """Print a table in Markdown."""
    print("| run, a rank of | recomputed | GB reported | GB counted | ratio | |\n| --- | --- | --- | --- | --- | --- |")
    for row in receipts():
        again = {NOTHING: ""}.get(row.recompute, row.recompute.replace("+", ", "))
        counted = row.predicted()
        notes = ", ".join([*(["first step"] if row.without_moments else []), *(["held"] if row.held else [])])
        print(
            f"| {row.name} | {again} | {row.bytes / 1e9:.3f} | {counted / 1e9:.3f} | {counted / row.bytes:.3f} | "
            f"{notes} |"
        )


if __name__ == "__main__":
    main()
