"""What a runtime makes of a model: windows, latents, heads on many devices; against cache objects and by hand."""

import random
from typing import Any

import pytest
import torch
from transformers import DynamicCache

import moewright
from moewright.architecture import Architecture
from moewright.architecture.cache import CacheLayout, cache_bytes_per_sequence
from moewright.architecture.feed_forwards import Dense, ExpertGroup, MoE
from moewright.architecture.inventory import layer_weights, outer_weights
from moewright.architecture.mixers import Attention, LatentAttention, Mixer, Window
from moewright.architecture.spec import Layer
from moewright.hardware import memory_per_device
from moewright.hardware.serving import tensor_parallel_share
from moewright.hf.config import read_config
from tests.architecture.test_cache import CASES
from tests.hf import oracle
from tests.test_cli import run

GPT_OSS, DEEPSEEK = "examples/configs/gpt-oss-20b.json", "examples/configs/deepseek-v3.json"


@pytest.mark.parametrize("family", ["gpt_oss", "llama4_text", "mimo_v2_flash", "gemma4_text"])
def test_windows_in_full_against_a_cache_that_knows_no_windows(family: str) -> None:
    module = oracle.build(family, CASES[family], device="cpu").eval()
    kept = DynamicCache()  # made without the config every layer keeps all tokens
    with torch.no_grad():
        module(torch.arange(21)[None] % 60 + 3, use_cache=True, past_key_values=kept)
    layers: list[Any] = kept.layers
    elements = sum(layer.keys.numel() + layer.values.numel() for layer in layers if layer.keys is not None)
    architecture = read_config(oracle.saved_config(module)).architecture
    assert cache_bytes_per_sequence(architecture, 21, "fp32", CacheLayout(windows="full")) == 4 * elements
    assert cache_bytes_per_sequence(architecture, 21, "fp32") < 4 * elements


def random_mixer(rng: random.Random) -> Mixer:
    if rng.random() < 0.4:
        sizes: dict[str, Any] = {
            name: rng.randrange(2, 9) for name in ("kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
        }
        return LatentAttention(num_heads=16, q_lora_rank=rng.choice([None, 6]), **sizes)
    heads = rng.choice([1, 2, 4, 8, 16])
    window = Window(size=rng.randrange(3, 30)) if rng.random() < 0.5 else None
    return Attention(num_heads=16, num_kv_heads=heads, head_dim=4, window=window)


def kept_by_hand(mixer: Mixer, tokens: int, devices: int, layout: CacheLayout) -> list[int]:
    """Elements on each device, put there head by head: query head h is on device h * devices // 16, with its key."""
    on: list[set[int]] = [set() for _ in range(devices)]
    if isinstance(mixer, LatentAttention) and layout.latent == "latent":
        return [tokens * (mixer.kv_lora_rank + mixer.qk_rope_head_dim)] * devices
    if isinstance(mixer, LatentAttention):
        kv_heads, width = 16, mixer.qk_nope_head_dim + mixer.qk_rope_head_dim + mixer.v_head_dim
    else:
        assert isinstance(mixer, Attention)
        kv_heads, width = mixer.num_kv_heads, 2 * mixer.head_dim
        if mixer.window is not None and layout.windows == "window":
            tokens = min(tokens, mixer.window.size)
    for head in range(16):
        on[head * devices // 16].add(head * kv_heads // 16)
    return [len(heads) * width * tokens for heads in on]


@pytest.mark.parametrize("case", range(60))
def test_each_device_by_hand(case: int) -> None:
    rng = random.Random(case)
    mixers = [random_mixer(rng) for _ in range(rng.randrange(1, 5))]
    feed_forwards: list[Any] = [Dense(size=16), MoE(groups=(ExpertGroup(count=16, top_k=2, expert_size=8),))]
    layers = tuple(Layer(mixer=mixer, feed_forward=rng.choice(feed_forwards)) for mixer in mixers)
    model = Architecture(vocab_size=64, hidden_size=32, layers=layers)
    devices, tokens, batch = rng.choice([1, 2, 4, 8, 16]), rng.randrange(1, 50), rng.randrange(1, 5)
    layout = CacheLayout(rng.choice(["latent", "decompressed"]), rng.choice(["window", "full"]))
    found = tensor_parallel_share(model, devices, batch=batch, context=tokens, layout=layout)
    each = [kept_by_hand(mixer, tokens, devices, layout) for mixer in mixers]
    assert found.cache == pytest.approx(2 * batch * max(map(sum, zip(*each, strict=True))))
    # Weights: a head's rows lie where the head does; what has no heads, routers and norms lie everywhere.
    held: float = sum(2 * weight.params for weight in outer_weights(model) if weight.component == "norm")
    held += sum(2 * weight.params / devices for weight in outer_weights(model) if weight.component != "norm")
    for layer in layers:
        everywhere = {"kv_a_proj", "kv_a_norm", "q_a_proj", "q_a_norm"}
        for weight in layer_weights(model, layer):
            size = 2 * weight.params
            if weight.name in ("k_proj", "v_proj") and isinstance(layer.mixer, Attention):
                held += 2 * 32 * 4 * max(1, layer.mixer.num_kv_heads // devices)  # vLLM: max(1, heads // degree)
            elif weight.name in everywhere or weight.component in ("router", "norm"):
                held += size
            else:
                held += size / devices
    assert found.weights == pytest.approx(held)


def test_published_cases() -> None:
    # Eight key-value heads on sixteen devices: each on two, so a device holds an eighth and not a sixteenth.
    found = moewright.inspect(GPT_OSS, tensor_parallel=16)
    assert found.tensor_parallel is not None
    assert found.tensor_parallel.head_copies == 2
    assert found.tensor_parallel.cache == found.cache_bytes_per_sequence / 8
    latent = moewright.inspect(DEEPSEEK, tensor_parallel=8).tensor_parallel
    assert latent is not None
    assert (latent.cache_per_token, latent.head_copies) == (70_272, 8)  # vLLM: MLA's latents are on every rank


def test_one_device_on_hardware_and_alone_agree() -> None:
    architecture = read_config(DEEPSEEK).architecture
    for layout in (CacheLayout(), CacheLayout("decompressed")):
        alone = tensor_parallel_share(architecture, 1, batch=3, context=5000, layout=layout)
        placed = memory_per_device(architecture, "H100", devices=1, batch=3, context=5000, layout=layout)
        assert (alone.weights, alone.cache) == pytest.approx((placed.weights, placed.cache))
    # Heads that are stored can be split, latents cannot: one sequence's latents lie on one device of the eight.
    by_head = memory_per_device(architecture, "H100", devices=8, context=5000, layout=CacheLayout("decompressed"))
    eight = tensor_parallel_share(architecture, 8, batch=1, context=5000, layout=CacheLayout("decompressed"))
    assert by_head.cache == pytest.approx(eight.cache) == pytest.approx(alone.cache / 3 / 8)


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--latent-cache", "latnet"], 2, "latent-cache"),
        (["--window-cache", "half"], 2, "window-cache"),
        (["--tensor-parallel", "0"], 2, "tensor-parallel: expected"),
        (["--tensor-parallel", "2", "--hardware", "H100"], 2, "give devices"),
        (["--latent-cache", "decompressed"], 0, "no latent attention"),
        (["--window-cache", "full", "--tensor-parallel", "16"], 0, "layers with a window keep all tokens"),
    ],
)
def test_options(capsys: pytest.CaptureFixture[str], options: list[str], code: int, says: str) -> None:
    found, out, err = run(capsys, "inspect", GPT_OSS, *options)
    assert found == code
    assert says in out + err
    assert code == 0 or err.count("\n") == 1
