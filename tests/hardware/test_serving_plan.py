"""Served passes against the roofline, layouts against a plain loop, and public measurements that may not get worse."""

import math
import random
from itertools import product
from typing import Any

import numpy as np
import pytest

import moewright
from moewright import UserError
from moewright.architecture.mixers import AnyAttention, LatentAttention
from moewright.architecture.spec import Architecture, Repeat, WeightFormatName
from moewright.architecture.weight_formats import WEIGHT_FORMATS
from moewright.hardware.devices import SPEED_OF_LIGHT, load_device
from moewright.hardware.placement import Placement
from moewright.hardware.roofline import Load, pass_times
from moewright.hardware.serving import memory_per_device, tensor_parallel_share
from moewright.hardware.serving_coefficients import RangeName, serving_coefficients
from moewright.hardware.serving_layouts import (
    ServingJob,
    broken_serving_rules,
    serving_grid,
    serving_memory,
)
from moewright.hardware.serving_pass import Pass, ServingColumns, pass_seconds, served_work, software_of
from moewright.hardware.serving_plan import serving_layout_text
from moewright.hardware.speculation import Speculation
from moewright.hf import load_architecture

MODELS = ("qwen3-30b-a3b", "mixtral-8x7b", "deepseek-v3", "gpt-oss-20b", "qwen3-next-80b-a3b")
PERFECT = {
    name: 0.0 if "gap" in name or "latency" in name or name in ("rows_half", "interference") else 1.0
    for name in serving_coefficients().values()
}


def columns(*degrees: int) -> ServingColumns:
    return ServingColumns(*(np.array([size]) for size in degrees))


def looped(architecture: Architecture, passes: int) -> Architecture:
    """The architecture with each token going through each layer so often."""
    layers = tuple(
        Repeat(repeat=times, layers=(layer.model_copy(update={"passes": passes}),))
        for times, layer in architecture.layer_runs()
    )
    return architecture.model_copy(update={"layers": layers})


@pytest.mark.parametrize("passes", [1, 3])
@pytest.mark.parametrize("model", MODELS)
def test_with_perfect_coefficients_one_device_is_the_roofline(model: str, passes: int) -> None:
    """Another code with other formulas for the same: eight passes of each of five models, and of their loops."""
    architecture = looped(load_architecture(model).architecture, passes)
    device = load_device("H200").model_copy(update={"efficiency": SPEED_OF_LIGHT})
    draw = random.Random(model)
    for _ in range(8):
        batch, context = draw.choice([1, 3, 16, 200]), draw.choice([1, 100, 5000])
        weights, stage = draw.choice(["bf16", "fp8"]), draw.choice(["decode", "prefill"])
        load = Load(stage, batch, context, weights)  # type: ignore[arg-type]
        expected, _ = pass_times(architecture, device, load, Placement(1, 1, 1.0, "", 1.0))
        one = Pass(load.tokens_per_sequence, context, generates=stage == "decode")
        work = served_work(architecture, columns(1, 1, 1, 1, batch), one, WEIGHT_FORMATS[weights], domain=1)  # type: ignore[index]
        found = pass_seconds(work, device, "server", PERFECT)
        assert sum(found.values())[0] == pytest.approx(float(expected.total), rel=1e-9)  # type: ignore[index]


@pytest.mark.parametrize("model", MODELS)
def test_memory_is_that_of_the_other_rooms(model: str) -> None:
    architecture = load_architecture(model).architecture
    device = load_device("GB300")
    formats: tuple[WeightFormatName, ...] = ("bf16", "fp8")
    for weights in formats:
        job = ServingJob(architecture, device, 1, 3000, weights, "fp8")
        place = columns(1, 1, 1, 1, 5)
        held = serving_memory(job, place)
        alone = memory_per_device(
            architecture,
            device,
            batch=5,
            context=3000,
            weights_dtype=weights,
            kv_dtype="fp8",
        )
        assert float(held.with_sequences(place)[0]) == pytest.approx(alone.weights + alone.cache)
        for tensor in (2, 4, 8):
            shared = tensor_parallel_share(
                architecture,
                tensor,
                batch=5,
                context=3000,
                weights_dtype=weights,
                kv_dtype="fp8",
            )
            place = columns(tensor, 1, tensor, 1, 5)
            held = serving_memory(job, place)
            assert float(held.weights[0]) == pytest.approx(shared.weights)
            assert float(held.with_sequences(place)[0]) == pytest.approx(shared.total)


@pytest.mark.parametrize(("model", "hardware", "devices"), [("qwen3-30b-a3b", "H100", 16), ("mixtral-8x7b", "B200", 8)])
def test_the_search_is_a_plain_loop(model: str, hardware: str, devices: int) -> None:
    architecture = load_architecture(model).architecture
    device = load_device(hardware)
    job = ServingJob(architecture, device, devices, 4096)
    grid = serving_grid(job)
    broken = np.any(list(broken_serving_rules(job, grid).values()), axis=0)
    left = grid.take(~broken)
    found = {
        (int(t), int(d), int(e), int(p))
        for t, d, e, p in zip(left.tensor, left.data, left.expert, left.pipeline, strict=True)
    }
    expected = set()
    layers = [layer for times, layer in architecture.layer_runs() for _ in range(times)]
    for tensor, data, pipeline in product(range(1, devices + 1), repeat=3):
        size = tensor * data * pipeline
        if devices % size or tensor > min(8, device.node.devices, devices) or pipeline > 8:
            continue
        per_stage = math.ceil(len(layers) / pipeline)
        if per_stage * (pipeline - 1) >= len(layers):
            continue
        for expert in {1, tensor * data}:
            fine = True
            for layer in layers:
                if isinstance(layer.mixer, AnyAttention | LatentAttention):
                    fine &= layer.mixer.num_heads % tensor == 0
                for group in getattr(layer.feed_forward, "groups", ()):
                    slices = tensor * data // expert
                    fine &= group.count % expert == 0 and group.expert_size % (16 * slices) == 0
            if fine:
                expected.add((tensor, data, expert, pipeline))
    assert found == expected


def test_what_is_printed_fits_and_prices_alike() -> None:
    cases: list[tuple[str, int, dict[str, Any]]] = [
        ("H200", 8, {}),
        ("H200", 8, {"batch": 100, "generate": 500}),
        ("GB200", 64, {"kv_dtype": "fp8", "generate": 1000}),
    ]
    for hardware, devices, settings in cases:
        plan = moewright.plan(
            "deepseek-v3", hardware=hardware, devices=devices, serve=True, weights_dtype="fp8", **settings
        )
        assert plan.layouts
        for layout in plan.layouts:
            assert layout.tp * layout.dp * layout.pp * layout.instances == devices
            assert layout.ep in (1, layout.tp * layout.dp)
            assert layout.fits
            assert layout.batch <= layout.largest_batch
            assert layout.memory_bytes_per_device <= plan.record.usable_memory
            assert sum(high for _, high in layout.components.values()) == pytest.approx(layout.step_seconds[1])
            each = layout.tokens_per_second_per_user[0] * layout.batch * layout.instances / devices
            assert layout.tokens_per_second_per_device[0] == pytest.approx(each)
        best = plan.layouts[0]
        again = moewright.plan(
            "deepseek-v3",
            hardware=hardware,
            devices=devices,
            serve=True,
            weights_dtype="fp8",
            **settings | {"layout": serving_layout_text(best), "batch": best.batch * best.instances},
        )
        assert again.layouts[0] == best
        users = [layout.tokens_per_second_per_user[0] for layout in plan.layouts]
        assert users == sorted(users, reverse=True)


def test_accepted_tokens_are_those_of_a_simulation() -> None:
    draw = np.random.default_rng(0)
    for draft, acceptance in [(1, 0.85), (3, 0.6), (5, 0.9), (4, 0.0), (2, 1.0)]:
        right = draw.random((200_000, draft)) < acceptance
        taken = 1 + np.cumprod(right, axis=1).sum(axis=1).mean()
        assert Speculation(draft, acceptance).tokens_per_step == pytest.approx(taken, rel=0.01)


def test_prediction_blocks_pay_at_small_batches_only_where_tokens_are_accepted() -> None:
    def user(**settings: Any) -> float:
        plan = moewright.plan(
            "deepseek-v3", hardware="H200", devices=8, serve=True, weights_dtype="fp8", batch=1, **settings
        )
        return plan.layouts[0].tokens_per_second_per_user[0]

    alone = user()
    assert user(draft_tokens=1, acceptance=0.0) < alone
    assert alone * 1.2 < user(draft_tokens=1, acceptance=0.85) < alone * 1.85


def test_experts_go_to_the_host_until_the_rest_fits() -> None:
    def plan(hardware: str = "RTX-4090", **settings: Any) -> moewright.ServingPlan:
        return moewright.plan(
            "qwen3-30b-a3b",
            hardware=hardware,
            devices=1,
            serve=True,
            batch=1,
            context=8192,
            weights_dtype="int8",
            **settings,
        )

    with pytest.raises(UserError, match="no layout on 1 RTX-4090 fits"):
        plan()
    some = plan(experts_on="DESKTOP").layouts[0]
    assert 0 < some.experts_on_host < 48
    assert some.fits
    layer = 128 * 3 * 2048 * 768  # bytes of one layer's experts, scales left out
    assert some.memory_bytes_per_device + layer > 0.9 * 24e9
    assert some.llama_cpp is not None
    assert f"--n-cpu-moe {some.experts_on_host}" in some.llama_cpp
    assert plan("RTX-5090", experts_on="DESKTOP").layouts[0].experts_on_host < some.experts_on_host
    whole = plan("RTX-PRO-6000").layouts[0]
    assert whole.experts_on_host == 0
    assert whole.tokens_per_second_per_user[0] > some.tokens_per_second_per_user[0]


Measured = tuple[str, str, tuple[int, int, int, int], str, str, int, int, float, RangeName]
MEASURED: list[Measured] = [
    # ai-dynamo/aiconfigurator at 095f58a, silicon_sample.csv: milliseconds for each token of one of so many users with
    # 1,024 tokens each way; prompts of the others are left out here, so that the measured ones are a little longer
    ("minimax-m2.5", "B200", (8, 1, 1, 1), "nvfp4", "fp8", 4, 1536, 5.47, "server_decode"),
    ("minimax-m2.5", "B200", (4, 1, 1, 1), "fp8", "fp8", 16, 1536, 10.31, "server_decode"),
    ("minimax-m2.5", "H100", (4, 1, 4, 1), "fp8", "fp8", 16, 1536, 15.54, "server_decode"),
    ("qwen3.5-397b-a17b", "B300", (8, 1, 1, 1), "bf16", "bf16", 16, 1536, 9.74, "server_decode"),
    ("kimi-k2.5", "B300", (4, 1, 4, 1), "nvfp4", "fp8", 64, 1536, 23.82, "server_decode"),
    # lhl/strix-halo-testing issue 33, and antirez/ds4 issue 706
    ("gpt-oss-120b", "Strix-Halo", (1, 1, 1, 1), "mxfp4", "bf16", 1, 4096, 1000 / 44.14, "local_decode"),
]


@pytest.mark.parametrize("row", MEASURED, ids=lambda row: f"{row[0]} on {row[1]}")
def test_what_was_measured_stays_inside(row: Measured) -> None:
    """The regression gate: a fixed few of the fitted readings, as far from the middle as the range is wide at most."""
    model, hardware, layout, weights, cache, batch, position, milliseconds, name = row
    device, coefficients = load_device(hardware), serving_coefficients()
    # llama.cpp's files of gpt-oss have 8 bits for all but the experts
    stored = WEIGHT_FORMATS[weights]._replace(rest_bytes=1 if weights == "mxfp4" else 2)  # type: ignore[index]
    work = served_work(
        load_architecture(model).architecture,
        columns(*layout, batch),
        Pass(1, position, generates=True),
        stored,
        domain=8,
        kv_dtype=cache,  # type: ignore[arg-type]
    )
    seconds = sum(pass_seconds(work, device, software_of(device), coefficients.values()).values())
    low, high = coefficients.range_on(device.name, name).factors
    assert low <= milliseconds / 1000 / float(seconds[0]) <= high  # type: ignore[index]


@pytest.mark.parametrize(
    ("message", "settings"),
    [
        ("batch: is for a server; give serve too", {"batch": 3}),
        ("precision: is for a training run, and serve is given", {"serve": True, "precision": "fp8"}),
        ("acceptance: needs draft-tokens", {"serve": True, "acceptance": 0.5}),
        ("draft-tokens: this model has no prediction blocks", {"serve": True, "draft_tokens": 1, "acceptance": 0.5}),
        ("experts-on: is for one device", {"serve": True, "experts_on": "DESKTOP"}),
        ("layout: unknown 'cp'; known: tp, dp, ep, pp", {"serve": True, "layout": "cp=2"}),
        ("layout: ep is 1, or all devices", {"serve": True, "layout": "tp=4,dp=2,ep=2"}),
        ("context: 100000 tokens are longer", {"serve": True, "context": 100000}),
        ("batch: 100000000 sequences of 4096 tokens do not fit", {"serve": True, "batch": 10**8}),
    ],
)
def test_what_cannot_be_served_is_said_in_a_line(message: str, settings: dict[str, Any]) -> None:
    with pytest.raises(UserError) as raised:
        moewright.plan("qwen3-30b-a3b", hardware="H100", devices=8, **settings)
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


def test_a_prompt_that_is_not_given_leaves_room_for_the_answer() -> None:
    olmoe = "examples/configs/olmoe-1b-7b.json"  # a context of 4096

    def served(generate: int | None = None, context: int | None = None) -> int:
        found = moewright.plan(
            olmoe, hardware="H100", devices=1, serve=True, batch=4, generate=generate, context=context
        )
        return found.record.context

    assert served() == 4096
    assert served(generate=1000) == 3096
    assert served(generate=4095, context=1) == 1
    with pytest.raises(UserError, match=r"^generate: 4096 tokens leave no room in the model's context of 4096$"):
        served(generate=4096)
    with pytest.raises(UserError, match=r"^context: 3097 tokens and 1000 that follow are longer"):
        served(generate=1000, context=3097)
