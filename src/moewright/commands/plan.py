"""plan: how to lay a training run, or a server, out over devices, what it holds and what a step takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, overload

from moewright.commands.checking import as_list, command, written
from moewright.errors import UserError

if TYPE_CHECKING:
    from moewright.architecture import Architecture
    from moewright.architecture.cache import CacheDtype
    from moewright.architecture.spec import WeightFormatName
    from moewright.hardware.devices import Device
    from moewright.hardware.layout_plan import LayoutPlan
    from moewright.hardware.serving_plan import ServingPlan

    class _Settings(TypedDict, total=False):
        """The arguments of `plan` beside the model, the devices and `serve`."""

        sequence_length: int | None
        global_batch: str | float | None
        precision: str
        optimizer: str
        gradient_dtype: str
        layout: str | None
        train_tokens: str | float | None
        price: Mapping[str, float] | str | Iterable[str] | None
        top: int
        batch: int | None
        context: int | None
        generate: int | None
        weights_dtype: WeightFormatName
        kv_dtype: CacheDtype
        draft_tokens: int
        acceptance: float | None
        experts_on: str | Path | Device | None
        serve_tokens: str | float | None
        power_price: float | None
        coefficients: str | Path | None


_FOR_TRAINING = {
    "sequence_length": None,
    "global_batch": None,
    "precision": "bf16",
    "optimizer": "adamw",
    "gradient_dtype": "fp32",
    "train_tokens": None,
    "coefficients": None,
}
_FOR_SERVING = {
    "batch": None,
    "context": None,
    "generate": None,
    "weights_dtype": "bf16",
    "kv_dtype": "bf16",
    "draft_tokens": 0,
    "acceptance": None,
    "experts_on": None,
}
"""Arguments that only one of the two takes, with what they are where they are not given."""


@overload
def plan(
    config: str | Path | dict[str, Any] | Architecture,
    *,
    hardware: str | Path | Device,
    devices: int,
    serve: Literal[True],
    **settings: Unpack[_Settings],
) -> ServingPlan: ...


@overload
def plan(
    config: str | Path | dict[str, Any] | Architecture,
    *,
    hardware: str | Path | Device,
    devices: int,
    serve: Literal[False] = False,
    **settings: Unpack[_Settings],
) -> LayoutPlan: ...


@command
def plan(
    config: str | Path | dict[str, Any] | Architecture,
    *,
    hardware: str | Path | Device,
    devices: int,
    sequence_length: int | None = None,
    global_batch: str | float | None = None,
    precision: str = "bf16",
    optimizer: str = "adamw",
    layout: str | None = None,
    train_tokens: str | float | None = None,
    price: Mapping[str, float] | str | Iterable[str] | None = None,
    top: int = 5,
    serve: bool = False,
    batch: int | None = None,
    context: int | None = None,
    generate: int | None = None,
    weights_dtype: WeightFormatName = "bf16",
    kv_dtype: CacheDtype = "bf16",
    draft_tokens: int = 0,
    acceptance: float | None = None,
    experts_on: str | Path | Device | None = None,
    serve_tokens: str | float | None = None,
    power_price: float | None = None,
    coefficients: str | Path | None = None,
    gradient_dtype: str = "fp32",
) -> LayoutPlan | ServingPlan:
    """How do I lay it out? Degrees of a training run on your devices, or with --serve of a server.

    Times are ranges of tuned public software (docs/hardware.md). A `LayoutPlan`, or with `serve` a `ServingPlan`.

    >>> import moewright
    >>> best = moewright.plan("examples/configs/olmoe-1b-7b.json", hardware="H100", devices=8).layouts[0]
    >>> best.tp, best.pp
    (1, 1)
    >>> served = moewright.plan("qwen3-30b-a3b", hardware="H100", devices=2, serve=True, batch=16).layouts[0]
    >>> served.tp * served.dp * served.pp * served.instances
    2

    Args:
        config: HF config.json, its folder, or a moewright architecture file.
        hardware: Device, such as H100, or a YAML file of devices: FILE or FILE:NAME.
        devices: How many of that device.
        sequence_length: Tokens of a sequence. [default: 4096 or the model's longest]
        global_batch: Tokens of a step, such as 4194304. [default: 4 x 2^20, rounded up to a sequence for each device]
        precision: Format of products: bf16, fp8, mxfp8, nvfp4.
        optimizer: What its states take: adamw, adamw_bf16_moments, adamw_precision_aware, adamw_8bit, muon.
        layout: A layout to price, not a search, such as tp=1,pp=2,ep=32,micro_batch=1,recompute=moe_act+layernorm.
        train_tokens: Tokens of the whole run, such as 2T, for its cost.
        price: Of a device-hour, such as H100=2.5; repeatable.
        top: How many layouts to show.
        serve: Lay out a server instead of a training run.
        batch: Sequences at a time on all devices. [default: batches that none beats in both speeds]
        context: Tokens of a prompt. [default: 4096, or what the model's context leaves beside generate]
        generate: Tokens that follow each prompt; others' prompts then take time in between.
        weights_dtype: Format of the weights that are served: bf16, fp8, mxfp4 ...
        kv_dtype: Format of the cache: bf16, fp8 ...
        draft_tokens: Tokens that the model's prediction blocks propose at a time.
        acceptance: Probability that a proposed token is right, such as 0.8.
        experts_on: Device whose memory holds routed experts that do not fit, such as DESKTOP, as llama.cpp has it.
        serve_tokens: Tokens that are generated in the model's life, such as 10T, for their cost.
        power_price: Of a kilowatt-hour, in the currency of price.
        coefficients: File of `moewright calibrate` for a training run. [default: the packaged ones]
        gradient_dtype: Format in which gradients are summed: fp32, or bf16.

    Raises:
        UserError: For whatever cannot be read, does not divide or does not fit.
    """
    from moewright.complaints import check_number
    from moewright.hardware.bills import read_prices
    from moewright.hf.loading import load_architecture
    from moewright.quantities import parse_tokens

    given = locals()
    for name, default in (_FOR_TRAINING if serve else _FOR_SERVING).items():
        if given[name] != default:
            where = "a training run, and serve is given" if serve else "a server; give serve too"
            raise UserError(f"{written(name)}: is for {where}")
    prices = read_prices(price if isinstance(price, Mapping) else as_list(price))
    served = None if serve_tokens is None else parse_tokens(serve_tokens, "serve-tokens")
    if power_price is not None:
        check_number(power_price, "power-price", above=0)
    for name, asked in (("price", prices), ("power-price", power_price)):
        if asked and train_tokens is None and served is None:
            raise UserError(f"{name}: needs train-tokens or serve-tokens, the tokens whose cost is asked for")
    loaded = load_architecture(config)
    if layout is not None and top != 5:
        raise UserError("top: a given layout is the only one; leave out top or layout")
    if serve:
        from moewright.hardware.serving_plan import plan_serving

        return plan_serving(
            loaded.architecture,
            hardware,
            devices,
            name=loaded.name,
            batch=batch,
            context=context,
            generate=generate,
            weights_dtype=weights_dtype,
            kv_dtype=kv_dtype,
            draft_tokens=draft_tokens,
            acceptance=acceptance,
            experts_on=experts_on,
            layout=layout,
            serve_tokens=served,
            price=prices,
            power_price=power_price,
            top=top,
            warnings=loaded.warnings,
        )
    from moewright.hardware.layout_plan import plan_training
    from moewright.hardware.training_coefficients import StepCoefficients

    tokens_of_step = None if global_batch is None else parse_tokens(global_batch, "global-batch")
    tokens = None if train_tokens is None else parse_tokens(train_tokens, "train-tokens")
    planned = plan_training(
        loaded.architecture,
        hardware,
        devices,
        name=loaded.name,
        sequence_length=sequence_length,
        global_batch=tokens_of_step,
        precision=precision,  # type: ignore[arg-type]  # checked there
        optimizer=optimizer,  # type: ignore[arg-type]  # checked there
        gradient_dtype=gradient_dtype,  # type: ignore[arg-type]  # checked there
        layout=layout,
        train_tokens=tokens,
        price=prices,
        power_price=power_price,
        coefficients=None if coefficients is None else StepCoefficients.read(Path(coefficients)),
        top=top,
        warnings=loaded.warnings,
    )
    if served is None:
        return planned
    from moewright.hardware.serving_plan import with_lifetime

    return with_lifetime(planned, loaded.architecture, hardware, served, price=prices, power_price=power_price)
