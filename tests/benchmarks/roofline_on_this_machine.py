"""Predicted and measured speed of two small mixtures of experts on this machine.

    python tests/benchmarks/roofline_on_this_machine.py

The device is measured first, with nothing of the models in it: how fast memory is read, how fast large products are
(the peaks), what a layer costs that has next to nothing to compute, and what one more small expert costs (the gaps).
Then two models with random weights decode and answer prompts; for each the prediction and the median are printed.
"""

import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.cache_utils import DynamicCache

from moewright.hardware import Device, Efficiency, decode_tokens_per_second, time_to_first_token
from moewright.hardware.devices import Node
from moewright.hf.loading import load_architecture

MODELS: dict[str, PretrainedConfig] = {
    "qwen3_moe": AutoConfig.for_model(
        "qwen3_moe",
        vocab_size=32000,
        hidden_size=768,
        num_hidden_layers=8,
        num_attention_heads=12,
        num_key_value_heads=4,
        head_dim=64,
        num_experts=16,
        num_experts_per_tok=2,
        moe_intermediate_size=768,
    ),
    "olmoe": AutoConfig.for_model(
        "olmoe",
        vocab_size=32000,
        hidden_size=1024,
        num_hidden_layers=6,
        num_attention_heads=16,
        num_key_value_heads=16,
        num_experts=16,
        num_experts_per_tok=4,
        intermediate_size=512,
    ),
}
# How much worse than measured the bad end is; assumed, for a machine that others use too.
SLOWER = 0.7
CASES = [("decode", 1, 256), ("decode", 8, 256), ("prefill", 1, 512), ("prefill", 4, 256)]


def timed(run: Callable[[], object], repeats: int) -> list[float]:
    """Seconds of so many runs, after two to warm up.

    Processor time of the one thread that computes: the turns that a shared machine gives to others do not count.
    """
    seconds = []
    for number in range(repeats + 2):
        start = time.process_time()
        run()
        if number >= 2:
            seconds.append(time.process_time() - start)
    return seconds


def measure_device() -> Device:
    """This machine as a device, in fp32."""
    far_larger_than_caches = torch.randn(64, 4_000_000)
    vector = torch.randn(4_000_000)
    read = 4 * far_larger_than_caches.numel() / min(timed(lambda: far_larger_than_caches @ vector, 15))
    small = read_by_small_products()
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    peak = 2 * 2048**3 / min(timed(lambda: a @ b, 15))
    per_layer, per_expert = measure_gaps()
    return Device(
        name="this machine",
        memory=float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")),
        memory_bandwidth=read,
        peak_flops={"bf16": peak, "fp32": peak},
        node=Node(devices=1, bandwidth=read, link="none"),
        efficiency=Efficiency(
            # Peaks are measured, not printed, so the good end is 1. At the bad end matrices are read as small products
            # read them; the margins on what was measured, and the compute of small products, are assumed.
            memory=(SLOWER * min(small / read, 1.0), 1.0),
            compute=(0.3, 1.0),
            seconds_per_layer=(SLOWER * per_layer, per_layer / SLOWER),
            seconds_per_expert=(SLOWER * per_expert, per_expert / SLOWER),
        ),
    )


def read_by_small_products() -> float:
    """Bytes per second at which two tokens are multiplied with one matrix of 1024 x 1024 after the other."""
    matrices = torch.randn(64, 1024, 1024)  # far more than any cache holds
    tokens = torch.randn(2, 1024)

    def all_of_them() -> None:
        for matrix in matrices:
            functional.linear(tokens, matrix)

    return 4 * matrices.numel() / statistics.median(timed(all_of_them, 9))


def measure_gaps() -> tuple[float, float]:
    """Seconds that a layer and an expert take with next to nothing to compute: tiny models, one and four experts."""

    def tiny(experts: int, layers: int) -> float:
        config = AutoConfig.for_model(
            "qwen3_moe",
            vocab_size=64,
            hidden_size=32,
            num_hidden_layers=layers,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=16,
            num_experts=16,
            num_experts_per_tok=experts,
            moe_intermediate_size=16,
        )
        return measure(build(config), "decode", 1, 8, repeats=30)

    few, many = tiny(1, 4), tiny(1, 20)
    per_layer_with_one = (many - few) / 16
    per_expert = max((tiny(8, 20) - many) / 20 / 7, 0.0)
    return per_layer_with_one - per_expert, per_expert


def build(config: PretrainedConfig) -> PreTrainedModel:
    """The model with random weights in fp32. Experts one after another, as the roofline's gaps assume."""
    torch.manual_seed(0)
    config._attn_implementation = "sdpa"
    config._experts_implementation = "eager"
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


@torch.inference_mode()
def measure(model: PreTrainedModel, stage: str, batch: int, context: int, repeats: int = 9) -> float:
    """Median seconds of one pass."""
    vocabulary = model.config.vocab_size
    prompt = torch.randint(0, vocabulary, (batch, context))
    if stage == "prefill":
        return statistics.median(timed(lambda: model(prompt, use_cache=True, logits_to_keep=1), repeats))
    cache = DynamicCache(config=model.config)
    model(prompt[:, :-1], past_key_values=cache, use_cache=True, logits_to_keep=1)

    def step() -> None:
        model(torch.randint(0, vocabulary, (batch, 1)), past_key_values=cache, use_cache=True)
        cache.crop(-1)  # take the new token out again

    return statistics.median(timed(step, 3 * repeats))


def describe(device: Device) -> None:
    """Print what was measured of the machine."""
    gaps = device.efficiency
    print(
        f"  one thread reads {device.memory_bandwidth / 1e9:.1f} GB/s (small products {gaps.memory[0] / SLOWER:.2f} of "
        f"that), multiplies {device.peak_flops['fp32'] / 1e9:.0f} GFLOP/s in fp32, needs "
        f"{SLOWER * gaps.seconds_per_layer[1] * 1e6:.0f} us a layer and "
        f"{SLOWER * gaps.seconds_per_expert[1] * 1e6:.0f} us an expert"
    )


def main() -> None:
    """Print prediction and measurement for each model and case."""
    torch.set_num_threads(1)  # a barrier between threads waits for whoever else runs on a shared machine
    inside = 0
    for name, config in MODELS.items():
        model = build(config)
        architecture = load_architecture(config.to_dict()).architecture
        print(f"{name}: {sum(p.numel() for p in model.parameters()) / 1e6:.0f}M parameters")
        device = measure_device()  # anew for each model: others on the machine come and go
        describe(device)
        for stage, batch, context in CASES:
            settings: dict[str, Any] = {"batch": batch, "context": context, "weights_dtype": "fp32", "kv_dtype": "fp32"}
            if stage == "decode":
                low, high = (1 / rate for rate in reversed(decode_tokens_per_second(architecture, device, **settings)))
            else:
                low, high = time_to_first_token(architecture, device, **settings)
            seconds = measure(model, stage, batch, context)
            verdict = "inside" if low <= seconds <= high else "OUTSIDE"
            inside += verdict == "inside"
            print(
                f"  {stage:7s} batch {batch} x {context:4d}: predicted {low * 1e3:7.1f} to {high * 1e3:7.1f} ms, "
                f"measured {seconds * 1e3:7.1f} ms  {verdict}"
            )
    print(f"{inside} of {len(MODELS) * len(CASES)} inside")


if __name__ == "__main__":
    main()
