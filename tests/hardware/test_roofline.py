"""The roofline against arithmetic by hand, its limits, and its directions."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moewright.architecture import Architecture
from moewright.architecture.counts import mtp_params
from moewright.architecture.spec import WeightFormatName
from moewright.designs.candidates import build_design, columns
from moewright.designs.groups import groups_of
from moewright.designs.space import Space
from moewright.hardware import (
    SPEED_OF_LIGHT,
    Device,
    decode_tokens_per_second,
    load_device,
    memory_per_device,
    time_to_first_token,
    training_seconds,
)
from moewright.hardware.speculation import Speculation
from moewright.hf.loading import load_architecture

IDEAL = load_device("H100").model_copy(update={"efficiency": SPEED_OF_LIGHT})


def public(name: str) -> Architecture:
    return load_architecture(f"examples/configs/{name}.json").architecture


QWEN = public("qwen3-30b-a3b")


def test_one_sequence_is_read_at_the_speed_of_memory() -> None:
    # Qwen3-30B-A3B, from its published sizes: what one token multiplies with, input embedding out.
    attention = 2048 * 4096 + 2 * 2048 * 512 + 4096 * 2048
    expert = 3 * 2048 * 768
    read = 48 * (attention + 8 * expert + 2048 * 128) + 2048 * 151936
    cache = 48 * 2 * 4 * 128 * 4096
    seconds = 2 * (read + cache) / IDEAL.memory_bandwidth
    low, high = decode_tokens_per_second(QWEN, IDEAL, context=4096)
    assert low == high
    assert 1 / high == pytest.approx(seconds, rel=0.005)  # norms and activations are the rest


@pytest.mark.parametrize("draft", [1, 3])
def test_proposed_tokens_are_checked_in_one_pass(draft: int) -> None:
    """At a context of one token a step reads what a batch of as many tokens does, and blocks besides."""
    blocks = QWEN.model_copy(update={"mtp_layers": 1})
    guess = Speculation(draft, 0.8)
    (rate, _) = decode_tokens_per_second(blocks, IDEAL, context=1, speculation=guess)
    together, _ = decode_tokens_per_second(QWEN, IDEAL, context=1, batch=1 + draft)
    block = QWEN.model_copy(update={"layers": tuple(QWEN.iter_layers())[-1:]})
    once, _ = decode_tokens_per_second(block, IDEAL, context=1)
    kept = sum(0.8**place for place in range(draft + 1))
    assert kept / rate == pytest.approx(1 / together + draft / once, rel=1e-4)  # but for the cache of one token
    long, _ = decode_tokens_per_second(blocks, IDEAL, context=131_072, batch=8, speculation=guess)
    assert long > 1.2 * decode_tokens_per_second(QWEN, IDEAL, context=131_072, batch=8)[0]  # the cache is read once
    held = memory_per_device(blocks, IDEAL, context=4096, with_blocks=True)
    without = memory_per_device(QWEN, IDEAL, context=4096)
    assert held.cache - without.cache == without.cache / 48
    assert held.weights - without.weights == 2 * mtp_params(blocks)


def test_a_large_prompt_is_computed_at_the_peak() -> None:
    attention = 2048 * 4096 + 2 * 2048 * 512 + 4096 * 2048
    expert = 3 * 2048 * 768
    products = 2 * 48 * (attention + 8 * expert + 2048 * 128)
    scores = 4 * 48 * 32 * 128 * 16385 / 2  # a token of 16384 sees 8192.5 of them on average
    seconds = 16384 * (products + scores) / IDEAL.peak_flops["bf16"]
    low, high = time_to_first_token(QWEN, IDEAL, context=16384)
    assert low == high
    assert low == pytest.approx(seconds, rel=0.02)


def test_quantized_weights_are_read_and_multiplied_as_stored() -> None:
    load: dict[str, Any] = {"context": 16384, "batch": 8}
    in_bf16, in_fp8, in_int4 = (
        time_to_first_token(QWEN, IDEAL, weights_dtype=name, **load)[0] for name in ("bf16", "fp8", "int4")
    )
    products = (
        2 * 8 * 16384 * 48 * (2048 * (2 * 4096 + 2 * 512) + 8 * 3 * 2048 * 768)
    )  # all but router, head and scores
    saved = products * (1 / IDEAL.peak_flops["bf16"] - 1 / IDEAL.peak_flops["fp8"])
    assert in_bf16 - in_fp8 == pytest.approx(saved, rel=0.02)
    assert in_int4 == pytest.approx(in_bf16, rel=0.01)  # int4 is widened before it is multiplied
    # A device without fp8 computes in bf16.
    ampere = load_device("A100").model_copy(update={"efficiency": SPEED_OF_LIGHT})
    without = time_to_first_token(QWEN, ampere, weights_dtype="fp8", **load)
    assert without == pytest.approx(time_to_first_token(QWEN, ampere, **load), rel=0.02)
    # Decoding reads half of the bytes of what is quantized; head, router and cache stay as they are.
    slow, fast = (1 / decode_tokens_per_second(QWEN, IDEAL, weights_dtype=w, context=9)[1] for w in ("bf16", "fp8"))
    assert slow - fast == pytest.approx(products / 2 / 8 / 16384 / IDEAL.memory_bandwidth, rel=0.01)


def test_latent_attention_decodes_in_the_latent_space() -> None:
    # DeepSeek-V3 at a long context: 128 heads read one latent of 512 + 64 numbers a token, in 61 layers.
    deepseek = public("deepseek-v3")
    flops_ahead = 61 * 128 * 2 * (512 + 64 + 512)
    cached_bytes = 61 * 2 * (512 + 64)
    slow_to_read = IDEAL.model_copy(update={"memory_bandwidth": 1e9})
    slow_to_multiply = IDEAL.model_copy(update={"peak_flops": {"bf16": 1e12}})
    for device, each in ((slow_to_read, cached_bytes / 1e9), (slow_to_multiply, flops_ahead / 1e12)):
        short, long = (1 / decode_tokens_per_second(deepseek, device, context=n)[1] for n in (4096, 8192))
        assert long - short == pytest.approx(4096 * each, rel=1e-6)


def test_a_window_stops_the_growth() -> None:
    windowed = public("gpt-oss-20b")  # half of its layers see 128 tokens
    short, long = (1 / decode_tokens_per_second(windowed, IDEAL, context=n)[1] for n in (4096, 8192))
    every_layer_bytes = 24 * 2 * 8 * 64 * 2 * 4096
    assert long - short == pytest.approx(every_layer_bytes / 2 / IDEAL.memory_bandwidth, rel=1e-6)


# Tokens per second of one sequence of Mixtral-8x7B on A100s, measured and published by gpt-fast (its
# mixtral-moe/README.md, 2024).
@pytest.mark.parametrize(
    ("weights", "count", "published"),
    [
        ("bf16", 2, 78.75),
        ("bf16", 4, 118.23),
        ("bf16", 8, 203.69),
        ("int8", 1, 56.04),
        ("int8", 2, 99.91),
        ("int8", 4, 149.53),
        ("int8", 8, 218.48),
    ],
)
def test_published_rates_lie_in_the_range(weights: WeightFormatName, count: int, published: float) -> None:
    mixtral = public("mixtral-8x7b")
    low, high = decode_tokens_per_second(mixtral, "A100", devices=count, context=200, weights_dtype=weights)
    # The slowest, on cards limited to 330 of 400 W, lies one percent below.
    assert low * 0.99 <= published <= high


devices = st.sampled_from(["H100", "MI300X", "RTX-4090", "EPYC-9654-2S", "GB200"]).map(load_device)
formats = st.sampled_from(["bf16", "fp8", "int8", "mxfp4", "fp32"])
models = st.sampled_from(
    [public(n) for n in ("qwen3-30b-a3b", "deepseek-v3", "gpt-oss-20b", "jamba-v0.1", "qwen3-next-80b-a3b")]
)


@settings(max_examples=60, deadline=None)
@given(models, devices, formats, st.integers(1, 512), st.integers(1, 2**17))
def test_directions(model: Architecture, device: Device, weights: WeightFormatName, batch: int, context: int) -> None:
    load: dict[str, Any] = {"batch": batch, "context": context, "weights_dtype": weights}
    low, high = decode_tokens_per_second(model, device, **load)
    first_low, first_high = time_to_first_token(model, device, **load)
    assert 0 < low <= high
    assert 0 < first_low <= first_high
    more = load | {"batch": batch + 1}
    more_low, more_high = decode_tokens_per_second(model, device, **more)
    assert more_low <= low
    assert more_high <= high
    # More sequences never make fewer tokens in total.
    assert (batch + 1) * more_high >= batch * high * (1 - 1e-9)
    assert time_to_first_token(model, device, **more)[0] >= first_low
    longer = load | {"context": context + 64}
    assert decode_tokens_per_second(model, device, **longer)[1] <= high * (1 + 1e-9)
    assert time_to_first_token(model, device, **longer)[0] >= first_low
    twice = device.model_copy(update={"memory_bandwidth": 2 * device.memory_bandwidth})
    assert decode_tokens_per_second(model, twice, **load)[1] >= high
    assert memory_per_device(model, device, **more).needed >= memory_per_device(model, device, **load).needed


@settings(max_examples=20, deadline=None)
@given(models, st.sampled_from([1, 2, 4, 8, 16, 64]), st.integers(1, 256), formats)
def test_devices_share_the_memory(model: Architecture, count: int, batch: int, weights: WeightFormatName) -> None:
    one, many = (
        memory_per_device(model, "H100", devices=n, batch=batch, context=1000, weights_dtype=weights)
        for n in (1, count)
    )
    assert one.weights / count * 0.999 <= many.weights <= one.weights
    assert one.cache / count * 0.999 <= many.cache <= one.cache


@pytest.mark.parametrize(
    ("count", "batch", "weights"), [(1, 1, "bf16"), (2, 16, "int8"), (8, 4, "nvfp4"), (16, 3, "fp8")]
)
def test_columns_equal_single_architectures(count: int, batch: int, weights: WeightFormatName) -> None:
    space = Space(vocab_size=50304)
    some = next(groups_of(space).chunks())
    candidates = some.take(np.random.default_rng(7).choice(len(some), 25, replace=False)).with_expert_size(640)
    together = columns(candidates, vocab_size=50304)
    load: dict[str, Any] = {"devices": count, "batch": batch, "context": 3000, "weights_dtype": weights}
    rates = decode_tokens_per_second(together, "B200", **load)
    first = time_to_first_token(together, "B200", **load)
    memory = memory_per_device(together, "B200", **load)
    fits = np.asarray(memory.fits)
    days = training_seconds(together, 1e12, "B200", count)
    for row in range(len(candidates)):
        one = build_design(candidates.take([row]), space, 4096)
        assert [column[row] for column in rates] == pytest.approx(decode_tokens_per_second(one, "B200", **load))
        assert [column[row] for column in first] == pytest.approx(time_to_first_token(one, "B200", **load))
        assert [column[row] for column in days] == pytest.approx(training_seconds(one, 1e12, "B200", count))
        alone = memory_per_device(one, "B200", **load)
        assert memory.weights[row] == pytest.approx(alone.weights)
        assert memory.cache[row] == pytest.approx(alone.cache)
        assert fits[row] == alone.fits


def test_all_reduces_by_hand() -> None:
    # Two all-reduces a layer of 100 tokens x 2048 in bf16; a ring of four sends 2 x 3/4 of that from each device.
    sent = 48 * 2 * 2 * (3 / 4) * 100 * 2048 * 2
    link = IDEAL.model_copy(update={"node": replace_node(IDEAL, 1.0)})
    crawling, _ = time_to_first_token(QWEN, link, devices=4, context=100)
    assert crawling == pytest.approx(sent, rel=1e-6)  # at one byte a second nothing else counts


def replace_node(device: Device, bandwidth: float):  # type: ignore[no-untyped-def]
    return device.node.model_copy(update={"bandwidth": bandwidth})
