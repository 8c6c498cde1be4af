"""The budgets that a design must stay within, checked against each other."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field, model_validator

from moewright.architecture.cache import CACHE_BYTES, CacheDtype
from moewright.architecture.counts import DEFAULT_TOKENS_PER_SEQUENCE
from moewright.architecture.spec import WeightFormatName
from moewright.architecture.weight_formats import WEIGHT_FORMATS
from moewright.complaints import check_integer, check_number, one_of
from moewright.designs.served_as import ServedAs
from moewright.errors import UserError
from moewright.quantities import format_count, parse_bytes, parse_count
from moewright.records import LARGEST_SIZE, Positive, Record, Size

DEFAULT_CONTEXT = 32_768

TRAINING = ("train_tokens", "train_flops", "train_device_hours")
NEED_HARDWARE = ("decode_tokens_per_second", "time_to_first_token")


RANGES = {
    "train_tokens": (1e4, 1e18),
    "train_flops": (1e10, 1e29),
    "train_device_hours": (1e-4, 1e13),
    "serve_tokens": (1.0, 1e21),
}
"""What an amount may be, a thousand times beyond anything that was trained and served: no law is asked for a loss at
nothing or at infinity. A bound on size or speed may be anything; one that nothing reaches bounds nothing."""


class Budgets(Record):
    """Bounds (None: no bound) and the conditions under which they are counted."""

    memory_bytes: Positive | None = None
    """All devices together: weights, all experts resident, and the cache of `batch` sequences of `context` tokens."""
    device_memory_bytes: Positive | None = None
    """The fullest of the devices named by `hardware`, after their reserve, holding its part of the same."""
    total_params: Positive | None = None
    active_params: Positive | None = None
    """With the input embedding, as most published figures count."""
    decode_tokens_per_second: Positive | None = None
    """At least, for each of `batch` sequences of `context` tokens, at the low end of the roofline's range."""
    time_to_first_token: Positive | None = None
    """Seconds at most, for `batch` prompts of `context` tokens at once, at the high end of the roofline's range."""
    train_tokens: Positive | None = None
    train_flops: Positive | None = None
    """Instead of tokens: they are then as many as a design's FLOPs per token allow."""
    train_device_hours: Positive | None = None
    """Instead of either: of the device that trains (`costs.trained_on`), at the low end of the range of utilisation."""
    hardware: str | None = None
    devices: Size = 1
    train_hardware: str | None = None
    train_devices: int | None = None
    price: dict[str, float] = Field(default={})
    """Of a device-hour, by the device's own name."""
    power_price: Positive | None = None
    """Of a kilowatt-hour, in the same currency; money then has the devices' energy in it."""
    serve_tokens: Positive | None = None
    """Generated in the model's life; their bill then counts in the choice."""
    context: int = DEFAULT_CONTEXT
    batch: Size = 1
    weights_dtype: WeightFormatName = "bf16"
    kv_dtype: CacheDtype = "bf16"
    tokens_per_sequence: int = DEFAULT_TOKENS_PER_SEQUENCE
    """Of training, for its FLOPs."""

    @model_validator(mode="after")
    def _say_what_is_asked(self) -> "Budgets":
        if self.memory_bytes is None and self.device_memory_bytes is None and self.total_params is None:
            raise ValueError("nothing sets the size")
        if sum(getattr(self, name) is not None for name in TRAINING) != 1:
            raise ValueError(f"exactly one of {', '.join(TRAINING)} sets the training")
        return self

    @property
    def served(self) -> ServedAs:
        """As asked: a space may have formats of its own (`LayerPlan.served`)."""
        return ServedAs(self.weights_dtype, self.kv_dtype)

    @property
    def training(self) -> str:
        """The field that sets the training."""
        return next(name for name in TRAINING if getattr(self, name) is not None)

    @property
    def leaves_active_open(self) -> bool:
        """Whether nothing but the size bounds how many parameters a token may use."""
        return self.active_params is None and self.decode_tokens_per_second is None and self.time_to_first_token is None

    def relaxed(self, name: str, factor: float) -> "Budgets":
        """The same with one budget wider by a factor: a speed falls, everything else rises."""
        value = getattr(self, name)
        wider = value / factor if name == "decode_tokens_per_second" else value * factor
        return self.model_copy(update={name: wider})


def make_budgets(given: Mapping[str, Any]) -> Budgets:
    """Budgets from what a user wrote, by option name with underscores; UserError for what is missing or contradictory.

    Names as in Budgets, but `memory` (of each device) and `train_...` in any written form.

    >>> budgets = make_budgets({"memory": "80GB", "devices": 2, "active_params": "3B", "train_tokens": "2T"})
    >>> f"{budgets.memory_bytes:.3g}", f"{budgets.active_params:.3g}", budgets.training
    ('1.6e+11', '3e+09', 'train_tokens')
    """
    written = {name: value for name, value in given.items() if value is not None}
    memory = parse_bytes(written["memory"], "memory") if "memory" in written else None
    _check_size(written)
    _check_training(written)
    for name in NEED_HARDWARE:
        if name in written and "hardware" not in written:
            raise UserError(f"{_option(name)}: needs a device to be counted on; add --hardware H100")
    if "train_device_hours" in written and not written.keys() & {"hardware", "train_hardware"}:
        raise UserError("train-device-hours: needs a device to be counted on; add --hardware H100 or --train-hardware")
    if "devices" in written and not written.keys() & {"hardware", "memory"}:
        raise UserError("devices: applies to --memory or --hardware only, and neither was given")
    counts: dict[str, Any] = {
        name: parse_count(written[name], _option(name))
        for name in ("total_params", "active_params", *NEED_HARDWARE, *TRAINING, "serve_tokens")
        if name in written
    }
    for name, (low, high) in RANGES.items():
        if name in counts and not low <= counts[name] <= high:
            raise UserError(f"{_option(name)}: {counts[name]:.3g} is out of range; expected {low:g} to {high:g}")
    total, active = counts.get("total_params"), counts.get("active_params")
    if total is not None and active is not None and active > total:
        raise UserError(
            f"active-params: {format_count(active)} exceed the total of {format_count(total)}; "
            "active parameters are a part of the total"
        )
    devices = check_integer(written.get("devices", 1), "devices", 1, LARGEST_SIZE)
    sized: dict[str, Any] = {"memory_bytes": memory * devices if memory is not None else None}
    if "hardware" in written:
        sized = {"device_memory_bytes": memory if memory is not None else room_of(str(written["hardware"]), devices)}
    return Budgets(
        **sized,
        **counts,
        hardware=str(written["hardware"]) if "hardware" in written else None,
        devices=devices,
        train_hardware=str(written["train_hardware"]) if "train_hardware" in written else None,
        train_devices=written.get("train_devices"),
        price=written.get("price", {}),
        power_price=_power_price(written),
        context=_tokens(written.get("context", DEFAULT_CONTEXT)),
        batch=check_integer(written.get("batch", 1), "batch", 1, LARGEST_SIZE),
        weights_dtype=one_of(written.get("weights_dtype", "bf16"), "weights-dtype", WEIGHT_FORMATS),
        kv_dtype=one_of(written.get("kv_dtype", "bf16"), "kv-dtype", CACHE_BYTES),
    )


def _power_price(written: Mapping[str, Any]) -> float | None:
    price = written.get("power_price")
    return None if price is None else float(check_number(price, "power-price", above=0))


def _check_size(written: Mapping[str, Any]) -> None:
    if "memory" in written and "total_params" in written:
        raise UserError("memory, total-params: both set the size, and both were given; leave one out")
    if not written.keys() & {"memory", "total_params", "hardware"}:
        raise UserError("memory, total-params, hardware: one of them sets the size; write --memory 80GB")


def _check_training(written: Mapping[str, Any]) -> None:
    found = [_option(name) for name in TRAINING if name in written]
    if len(found) != 1:
        stated = f"{' and '.join(found)} were given" if found else "none was given"
        raise UserError(
            f"{', '.join(map(_option, TRAINING))}: exactly one of them sets the training, {stated}; write "
            "--train-tokens 2T"
        )


def room_of(hardware: str, devices: int) -> float:
    """Bytes that each of so many devices leaves after its reserve; UserError for devices that do not join."""
    from moewright.hardware import load_device
    from moewright.hardware.placement import place
    from moewright.hardware.serving import RESERVE

    device = load_device(hardware)
    place(device, devices)  # only whole nodes, and no more than a network joins
    return (1 - RESERVE) * device.memory


def _option(name: str) -> str:
    return name.replace("_", "-")


def _tokens(context: str | float) -> int:
    """A whole number of tokens from a count with or without a unit."""
    tokens = parse_count(context, "context")
    return check_integer(int(tokens) if tokens.is_integer() else tokens, "context", 1, LARGEST_SIZE)
