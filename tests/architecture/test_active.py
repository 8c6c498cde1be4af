"""Active parameters against gradients: what one token's output depends on, in modules that transformers builds."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.modeling_layers import MtpModel

from moewright import inspect
from moewright.architecture.counts import active_params, layer_params, mtp_params, params, total_params
from moewright.architecture.mixers import KimiDeltaAttention
from moewright.hf.config import read_config
from tests.hf import oracle
from tests.hf.samplers import SAMPLERS

CONFIGS = Path(__file__).parents[2] / "examples" / "configs"
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "configs"
in_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"published files are in {SHARED}, which is absent")

FAMILIES = (
    "afmoe",
    "apertus",
    "aria_text",
    "axk1",
    "beam",
    "deepseek_v2",
    "deepseek_v3",
    "diffllama",
    "dots1",
    "ernie4_5_moe",
    "ernie4_5_vl_moe_text",
    "exaone_moe",
    "falcon_h1",
    "flint",
    "gemma4_text",
    "glm4_moe",
    "gpt_oss",
    "granitemoeshared",
    "hunyuan_v1_moe",
    "inkling2_loop_text",
    "inkling2_text",
    "inkling_text",
    "kimi_linear",
    "lfm2_moe",
    "mimo_v2_flash",
    "minimax_m2",
    "mixtral",
    "muse_spark_text",
    "nemotron_h",
    "olmo_hybrid",
    "olmoe",
    "phimoe",
    "qwen2_moe",
    "qwen3_moe",
    "qwen3_next",
    "qwen4_exp_text",
    "zamba2",
    "zaya",
)


def touched(module: torch.nn.Module) -> int:
    """Parameters that the output of one token depends on, the input embedding counted whole."""
    token = torch.tensor([[5]])
    module(token, use_cache=False).logits.sum().backward()
    total = 0
    for name, parameter in module.named_parameters():
        if "vision_moe" in name.split("."):  # tokens of text have no part in it
            assert parameter.grad is None
            continue
        if "ngram_embedding" in name:  # a table of which a token reads a few rows
            continue
        expert_tensor = "experts" in name.split(".") or "input_linear" in name or "output_linear" in name
        if expert_tensor and "shared" not in name and parameter.dim() >= 2:
            assert parameter.grad is not None
            used = parameter.grad.flatten(1).abs().sum(1) > 0  # one row for each expert
            total += int(used.sum()) * parameter[0].numel()
        # a frozen bias and an indexer of this family take part in a choice
        elif parameter.grad is not None or not parameter.requires_grad or "indexer" in name:
            total += parameter.numel()
    return total


@pytest.mark.parametrize("family", FAMILIES)
def test_against_gradients(family: str) -> None:
    r = random.Random(f"active {family}")
    for seed in range(5):
        values = runnable(SAMPLERS[family](r), family)
        torch.manual_seed(seed)
        module = oracle.build(family, values, device="cpu").float().eval()
        for parameter in module.parameters():
            torch.nn.init.normal_(parameter, std=0.3)  # every path carries a gradient
        architecture = read_config(oracle.saved_config(module)).architecture
        assert active_params(architecture) == touched(module), values


def runnable(values: dict[str, Any], family: str) -> dict[str, Any]:
    """The config, changed where transformers builds but does not run it."""
    if "kv_lora_rank" in values:
        values["num_key_value_heads"] = values["num_attention_heads"]
        values["kv_lora_rank"] *= 2  # deepseek_v2 views pairs as complex numbers
    if family == "phimoe":  # its router takes two experts, whatever the config says
        values |= {"num_local_experts": 5, "num_experts_per_tok": 2}
    if family == "inkling2_loop_text":  # each pass chooses, and active counts the experts of one
        values["num_experts_per_tok"] = values["n_routed_experts"]
    return values


# Total and active parameters as their publishers print them, in billions.
PUBLISHED = {
    "mixtral-8x7b": ("46.7", "12.9"),  # arXiv 2401.04088 says 47B and 13B; the release says 46.7B and 12.9B
    "mixtral-8x22b": ("141", "39"),
    "deepseek-v3": ("671", "37"),  # arXiv 2412.19437
    "deepseek-v2": ("236", "21"),  # arXiv 2405.04434
    "qwen3-30b-a3b": ("30.5", "3.3"),  # model card
    "qwen3-235b-a22b": ("235", "22"),
    "olmoe-1b-7b": ("6.9", "1.3"),  # arXiv 2409.02060
    "gpt-oss-20b": ("20.9", "3.6"),  # arXiv 2508.10925, table 1
    "gpt-oss-120b": ("116.8", "5.1"),
    "glm-4.5-air": ("106", "12"),  # arXiv 2508.06471
}


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_published_pairs(name: str) -> None:
    inspection = inspect(CONFIGS / f"{name}.json")
    for value, printed in zip((inspection.total_params, inspection.active_params), PUBLISHED[name], strict=True):
        assert as_printed(value / 1e9, printed), (name, value, printed)


def as_printed(value: float, printed: str) -> bool:
    """Equal to the printed digits, rounded or cut off (Qwen and GLM cut: 3.353 is printed as 3.3, 106.85 as 106)."""
    last: float = 10 ** -len(printed.partition(".")[2])
    return abs(value - float(printed)) <= 0.5 * last or 0 <= value - float(printed) < last


@pytest.mark.parametrize(
    "family", ["deepseek_v3", "glm4_moe", "inkling_text", "mellum", "sarvam_mla", "sarvam_moe", "step3p5"]
)
def test_prediction_blocks_against_transformers(family: str) -> None:
    r = random.Random(f"blocks {family}")
    for _ in range(8):
        blocks = 1 if family == "mellum" else r.choice((1, 2))
        values = SAMPLERS[family](r) | {"num_mtp_layers": blocks, "tie_word_embeddings": False}
        if family == "inkling_text":
            values["mtp_local_layer_ids"] = r.choice((None, list(range(blocks))))
        if family == "step3p5":
            values |= {
                "num_nextn_predict_layers": blocks,
                "mtp_mlp_layer_types": [r.choice(("dense", "sparse"))] * blocks,
            }
            values["mtp_layer_types"] = [r.choice(("full_attention", "sliding_attention"))] * blocks
            del values["num_mtp_layers"]
            values.pop("attention_other_setting", None)  # heads of windows alone, which it does not give to blocks
            values.pop("num_sliding_attention_heads", None)
        module = oracle.build(family, values)
        with torch.device("meta"):
            built = MtpModel(module, blocks)
        architecture = read_config(oracle.saved_config(module)).architecture
        assert mtp_params(architecture) == sum(oracle.count(layer) for layer in built.layers)


@in_shared
def test_prediction_blocks_as_they_are() -> None:
    # DeepSeek-V4-Flash: a window where the last layer is compressed, and a merging of its own; the total with it is
    # that of torchtitan's regression test. Nemotron: its own pattern, one layer a letter.
    flash = read_config(SHARED / "deepseek-ai--DeepSeek-V4-Flash.json").architecture
    assert mtp_params(flash) == 6_610_048_635
    assert total_params(flash) + mtp_params(flash) == 290_942_278_866
    ultra = read_config(SHARED / "nvidia--NVIDIA-Nemotron-3-Ultra-550B-A55B-BF16.json").architecture
    assert ultra.mtp_block is not None
    attention, moe = ultra.mtp_block
    d = ultra.hidden_size
    layers = sum(layer_params(ultra, attention).values()) + sum(layer_params(ultra, moe).values())
    assert mtp_params(ultra) == layers + 2 * d * d + 3 * d


@in_shared
def test_a_prediction_block_chooses_its_tokens_itself() -> None:
    # GLM-5.2's last three layers reuse the choice of an earlier one; its block, which comes after them, has an indexer.
    older, newer = (read_config(SHARED / f"zai-org--GLM-{name}.json").architecture for name in ("5.1", "5.2"))
    assert mtp_params(newer) == mtp_params(older) > 0
    assert older.mtp_block is None, "like the last layer, which is how that is written"
    assert newer.mtp_block is not None


@in_shared
def test_latent_experts_as_published() -> None:
    ultra = read_config(SHARED / "nvidia--NVIDIA-Nemotron-3-Ultra-550B-A55B-BF16.json").architecture
    assert as_printed(total_params(ultra) / 1e9, "550") or as_printed(total_params(ultra) / 1e9, "549")
    assert as_printed(active_params(ultra, count_embedding=False) / 1e9, "55")
    nano = read_config(SHARED / "nvidia--NVIDIA-Nemotron-3-Nano-30B-A3B-BF16.json").architecture
    assert total_params(nano) == 31_577_937_344  # the safetensors index of the published folder
    assert params(nano)["latent_projections"] == 0 < params(ultra)["latent_projections"]


@in_shared
def test_kimi_k3_to_the_byte() -> None:
    # metadata.total_size of the published index. Routed experts are MXFP4 (a byte of scale for 32), vectors and kernels
    # of the delta attention and selection biases fp32, the rest bf16; the vision tower by its config, nothing biased.
    k3 = read_config(SHARED / "moonshotai--Kimi-K3.json").architecture
    routed, heads, head_dim = params(k3)["routed_experts"], 96, 128
    linear = sum(isinstance(layer.mixer, KimiDeltaAttention) for layer in k3.iter_layers())
    in_fp32 = linear * (
        3 * heads * head_dim * 4 + head_dim + heads * head_dim + head_dim
    )  # kernels, A, dt_bias, o_norm
    selection_biases = sum(times * moe.num_experts for times, moe in k3.moe_layers())
    width, projected = 1024, 4 * 1024
    block = 3 * 1536 * width + 1536 * width + 2 * width * 4096 + 2 * width
    vision = 27 * block + 3 * 14 * 14 * width + 64 * 64 * width + width
    vision += projected * projected + projected * 7168 + 7168
    stored = routed * 17 // 32 + 2 * (total_params(k3) - routed + in_fp32) + 4 * selection_biases + 2 * vision
    assert stored == 1_560_860_324_864
    assert as_printed(active_params(k3, count_embedding=False) / 1e9, "104.2")


def test_kimi_k2() -> None:
    architecture = read_config(CONFIGS / "kimi-k2.json").architecture
    # The report (arXiv 2507.20534) prints 1.04T, the sizes in it and in the published config give 1.026T.
    assert total_params(architecture) / 1e12 == pytest.approx(1.026, abs=5e-4)
    assert as_printed(inspect(CONFIGS / "kimi-k2.json").active_params / 1e9, "32")


def test_multi_token_prediction_block() -> None:
    # 685B in the published DeepSeek-V3 files are the model, one block and copies of embedding and head.
    architecture = read_config(CONFIGS / "deepseek-v3.json").architecture
    copies = 2 * architecture.vocab_size * architecture.hidden_size
    stored = total_params(architecture) + mtp_params(architecture) + copies
    assert stored / 1e9 == pytest.approx(684.5, abs=0.05)
