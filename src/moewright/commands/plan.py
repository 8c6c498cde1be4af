"""plan: how to lay a training run out over devices, what it holds and what a step takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moewright.commands.checking import as_list, command
from moewright.errors import UserError

if TYPE_CHECKING:
    from moewright.architecture import Architecture
    from moewright.hardware.devices import Device
    from moewright.hardware.layout_plan import LayoutPlan


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
) -> LayoutPlan:
    """How do I lay it out? Data, tensor, pipeline, expert and context degrees of a training run on your devices.

    Times are ranges: 10th to 90th percentile of tuned public software.

    >>> import moewright
    >>> best = moewright.plan("examples/configs/olmoe-1b-7b.json", hardware="H100", devices=8).layouts[0]
    >>> best.tp, best.pp
    (1, 1)

    Args:
        config: HF config.json, its folder, or a moewright architecture file.
        hardware: Device, such as H100, or a YAML file of devices: FILE or FILE:NAME.
        devices: How many of that device.
        sequence_length: Tokens of a sequence. [default: 4096 or the model's longest]
        global_batch: Tokens of a step, such as 4194304. [default: 4 x 2^20, rounded up to a sequence for each device]
        precision: Format of products: bf16, fp8, mxfp8, nvfp4.
        optimizer: What its states take: adamw, adamw_bf16_moments, adamw_8bit, muon.
        layout: A layout to price instead of searching, such as tp=1,pp=2,ep=32,micro_batch=1.
        train_tokens: Tokens of the whole run, such as 2T, for its cost.
        price: Of a device-hour, such as H100=2.5; repeatable.
        top: How many layouts to show.

    Raises:
        UserError: For whatever cannot be read, does not divide or does not fit.
    """
    from moewright.hardware.layout_plan import plan_training
    from moewright.hf.loading import load_architecture
    from moewright.quantities import parse_count

    loaded = load_architecture(config)
    batch = None if global_batch is None else parse_count(global_batch, "global-batch")
    tokens = None if train_tokens is None else parse_count(train_tokens, "train-tokens")
    prices = _prices(price)
    if prices and tokens is None:
        raise UserError("price: needs train-tokens, the tokens whose cost is asked for")
    if layout is not None and top != 5:
        raise UserError("top: a given layout is the only one; leave out top or layout")
    return plan_training(
        loaded.architecture,
        hardware,
        devices,
        name=loaded.name,
        sequence_length=sequence_length,
        global_batch=batch,
        precision=precision,  # type: ignore[arg-type]  # checked there
        optimizer=optimizer,  # type: ignore[arg-type]  # checked there
        layout=layout,
        train_tokens=tokens,
        price=prices,
        top=top,
        warnings=loaded.warnings,
    )


def _prices(given: Mapping[str, float] | str | Iterable[str] | None) -> dict[str, float]:
    from moewright.complaints import check_number, named_texts
    from moewright.quantities import parse_count

    if isinstance(given, Mapping):
        return {str(name): check_number(value, f"price: {name}", above=0) for name, value in given.items()}
    texts = named_texts(as_list(given), "price")
    return {name.strip(): parse_count(value, f"price: {name.strip()}") for name, value in texts.items()}
