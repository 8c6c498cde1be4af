"""llama.cpp's mixtures of types, against files that it wrote."""

import re
from pathlib import Path
from typing import Any

import pytest

from moewright.architecture.gguf_presets import GGUF_PRESETS, gguf_bytes
from moewright.architecture.gguf_types import GGUF_TYPES
from moewright.hf import load_architecture
from tests.test_cli import run

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "configs"
in_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"published configs are in {SHARED}, which is absent")

# Sizes of published files, keys and tokenizer included. Qwen/Qwen3-30B-A3B-GGUF at dae61f03; bartowski's GGUF files of
# Llama 3.1 8B at bf5b95e9 (Q4_K_M: sha256 7b064f58...).
FILES = {
    ("Qwen--Qwen3-30B-A3B", "Q4_K_M"): 18_556_685_824,
    ("meta-llama--Meta-Llama-3.1-8B", "Q4_K_M"): 4_920_739_232,
}


@in_shared
@pytest.mark.parametrize(("name", "preset"), sorted(FILES))
def test_published_files(name: str, preset: str) -> None:
    """Less than 8 MB more than the tensors: what the keys and the tokenizer of these models take."""
    found = gguf_bytes(load_architecture(SHARED / f"{name}.json").architecture, preset)
    assert found is not None
    assert 0 < FILES[name, preset] - found < 8_000_000


SMALL = {
    "model_type": "qwen3_moe",
    "vocab_size": 512,
    "hidden_size": 256,
    "intermediate_size": 512,
    "moe_intermediate_size": 96,
    "num_hidden_layers": 16,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "head_dim": 64,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "tie_word_embeddings": False,
}


def test_by_hand() -> None:
    """Every tensor in Q4_K_M, rows of 96 in blocks of 32; the layers that have more bits written out."""
    more = {0, 1, 4, 7, 10, 13, 14, 15}
    norms = 4 * (16 * (2 * 256 + 2 * 64) + 256)
    routers = 4 * 16 * 4 * 256
    attention = sum(
        (256 * 256 + 256 * 64 + 256 * 256) // 256 * 144 + 64 * 256 // 256 * (210 if layer in more else 144)
        for layer in range(16)
    )
    up = 16 * 4 * 2 * 96 * 256 // 256 * 144
    down = sum(4 * 256 * 96 // 32 * (34 if layer in more else 22) for layer in range(16))
    outside = 512 * (144 + 210)
    found = gguf_bytes(load_architecture(SMALL).architecture, "Q4_K_M")
    assert found == norms + routers + attention + up + down + outside


def test_tied_embeddings_have_the_head_s_type() -> None:
    tied = gguf_bytes(load_architecture(SMALL | {"tie_word_embeddings": True}).architecture, "Q4_K_M")
    apart = gguf_bytes(load_architecture(SMALL).architecture, "Q4_K_M")
    assert tied is not None
    assert apart is not None
    assert apart - tied == 512 * 144


def test_more_bits_are_more_bytes() -> None:
    sizes = [gguf_bytes(load_architecture(SMALL).architecture, name) for name in GGUF_PRESETS]
    assert sizes == sorted(sizes, key=lambda size: -(size or 0))


DEEPSEEK_V2_LITE = {
    "model_type": "deepseek_v2",
    "hidden_size": 2048,
    "intermediate_size": 10944,
    "moe_intermediate_size": 1408,
    "n_routed_experts": 64,
    "n_shared_experts": 2,
    "num_experts_per_tok": 6,
    "num_attention_heads": 16,
    "num_hidden_layers": 27,
    "q_lora_rank": None,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "vocab_size": 102400,
    "first_k_dense_replace": 1,
}


@pytest.mark.parametrize(
    ("model", "preset", "gib", "within"),
    [
        # What llama-bench prints of the tensors of published files, in GiB to two digits ("deepseek2 671B Q8_0 |
        # 664.29 GiB", "deepseek2 16B Q4_K - Medium | 9.65 GiB"), in many public logs.
        ("deepseek-v3", "Q8_0", 664.29, 0.005),
        (DEEPSEEK_V2_LITE, "Q8_0", 15.55, 0.005),
        (DEEPSEEK_V2_LITE, "Q4_K_M", 9.65, 0.005),
        # Files of before April 2025, which have keys' and values' matrices of latents in one, with the bits of values.
        ("deepseek-v3", "Q4_K_M", 376.65, 0.07),
        ("deepseek-v3", "Q5_K_M", 442.74, 0.07),
    ],
    ids=lambda value: value["model_type"] if isinstance(value, dict) else str(value),
)
def test_latent_attention_against_what_llama_bench_prints(
    model: str | dict[str, Any], preset: str, gib: float, within: float
) -> None:
    found = gguf_bytes(load_architecture(model).architecture, preset)
    assert found is not None
    assert found / 2**30 == pytest.approx(gib, abs=within)


def test_latent_attention_by_hand() -> None:
    """Rows of 128 keep no blocks of 256: keys of latents in Q5_0, values of latents in Q4_K."""
    one = DEEPSEEK_V2_LITE | {"num_hidden_layers": 1, "tie_word_embeddings": False}
    keys = 16 * 512 * 128 // 32 * 22
    values = 16 * 128 * 512 // 256 * 144
    others = (16 * 192 + 576 + 16 * 128) * 2048 // 256 * 144
    feed_forward = 2 * 10944 * 2048 // 256 * 144 + 2048 * (10944 // 32) * 34  # rows of 10944: in blocks of 32
    outside = 102400 * 2048 // 256 * (144 + 210)
    norms = 4 * (3 * 2048 + 512)
    found = gguf_bytes(load_architecture(one).architecture, "Q4_K_M")
    assert found == keys + values + others + feed_forward + outside + norms


@pytest.mark.parametrize(("preset", "gib", "within"), [("Q4_K_S", 62.27, 0.005), ("Q4_K_M", 67.96, 0.13)])
def test_files_with_a_prediction_block(preset: str, gib: float, within: float) -> None:
    """What llama-bench prints of GLM-4.5-Air ("glm4moe 106B.A12B Q4_K - Small | 62.27 GiB | 110.47 B"): a layer more
    than the model has, with copies of embedding and head. Unsloth's Q4_K_M, 67.96 GiB, has some types of its own."""
    air = load_architecture("glm-4.5-air").architecture
    found = gguf_bytes(air, preset, "glm4_moe")
    without = gguf_bytes(air, preset)
    assert found is not None
    assert without is not None
    assert found / 2**30 == pytest.approx(gib, abs=within)
    assert without < 0.97 * found


def test_what_llama_cpp_has_in_shapes_of_its_own_is_not_stated() -> None:
    for name in ("deepseek-v3.2", "kimi-linear-48b-a3b", "nemotron-3-nano-30b-a3b"):
        architecture = load_architecture(name).architecture
        assert all(gguf_bytes(architecture, preset) is None for preset in GGUF_PRESETS)


def test_they_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "inspect", "qwen3-30b-a3b", "--explain")
    assert code == 0
    assert re.search(r"Q4_K_M +18\.55 GB +GGUF as llama\.cpp mixes types, 4\.86 bits a weight", out)


def test_the_table_of_the_docs() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "accounting.md").read_text(encoding="utf-8")
    cells = {name: float(bits) for name, bits in re.findall(r"\b(I?[QTMN][A-Z0-9_]+) \| ([\d.]+) \|", text)}
    assert cells == {kind.name: kind.bits for kind in GGUF_TYPES.values() if kind.block > 1}
