"""What designs cost: training, decoding, first token and cache, on the budgets' device or on a usual one."""

import math
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from moewright.architecture import Architecture, cache, counts
from moewright.architecture.spec import Countable
from moewright.architecture.weight_formats import WEIGHT_FORMATS
from moewright.designs.budgets import Budgets
from moewright.designs.candidates import Candidates, columns, placed, rows_by_plan
from moewright.designs.served_as import ServedAs
from moewright.designs.serving_bill import serving_device_hours
from moewright.errors import UserError
from moewright.laws.variable import Array

if TYPE_CHECKING:
    from moewright.hardware.devices import Hardware

# Named where the budgets name none: what most published mixtures of the catalogue were trained on.
USUAL_DEVICE = "H100"
MOST_ASSUMED = 512
"""Devices that are assumed where none was named: they hold 41 TB, more than any model takes."""
# Devices of one node, in powers of two; beyond, whole nodes.
NODE = 8
LAYOUT_SHOWN = ("tp", "pp", "ep", "cp", "zero", "micro_batch")
"""Of a layout of training; `moewright plan` prints all of it."""

CostName = Literal["train_device_hours", "decode_tokens_per_second", "time_to_first_token"]


@dataclass(frozen=True)
class CostedOn:
    """Where costs are counted, and at which prices."""

    hardware: "Hardware"
    """That serves."""
    devices: int
    assumed: bool
    """Whether the budgets named no device that serves."""
    train_hardware: str
    train_assumed: bool
    """Whether the device that trains is neither named nor the one that serves."""
    train_devices: int | None
    train_price: float | None
    """Of a device-hour."""
    serve_price: float | None
    train_power: tuple[float, float] | None
    """(low, high) money of the energy of a device-hour, where power has a price."""
    serve_power: tuple[float, float] | None
    bill_devices: int
    """On which the tokens of a model's life are counted: those that serve, or twice as many as the size fills."""

    @property
    def serves(self) -> str:
        """The name of the device that serves, which `hardware` may give as a file."""
        from moewright.hardware import load_device

        return load_device(self.hardware).name

    @property
    def trains(self) -> str:
        """The name of the device that trains."""
        from moewright.hardware import load_device

        return load_device(self.train_hardware).name


@dataclass(frozen=True)
class Costs:
    """Of one design (numbers) or of many (columns); ranges are (low, high)."""

    train_device_hours: tuple[Any, Any]
    decode_tokens_per_second: tuple[Any, Any]
    """For each sequence of the batch."""
    time_to_first_token: tuple[Any, Any]
    """Seconds, for the batch's prompts of the context's length."""
    kv_bytes_per_token: Any
    train_layout: str | None = None
    """The fastest on the named devices, whose time the hours then are; None: hours by the range of utilisation."""
    train_days: tuple[Any, Any] | None = None
    """On the named number of devices."""
    train_money: tuple[Any, Any] | None = None
    """Where the price is known."""
    serve_device_hours: tuple[Any, Any] | None = None
    """Of the tokens of the model's life, where their number is given; infinite where not one sequence fits."""
    serve_batch: Any = None
    """Sequences at a time on the devices of the bill; 0 where not one fits."""
    serve_money: tuple[Any, Any] | None = None

    train_refusal: str | None = None
    """Why `train_layout` is None although devices were named, in the words of `plan`."""

    def take(self, chosen: Any) -> "Costs":
        """Those of some designs of many, by an index or mask; a number chooses one."""

        def some(value: Any) -> Any:
            if isinstance(value, tuple):
                return some(value[0]), some(value[1])
            if value is None or isinstance(value, str):
                return value
            found = np.asarray(value)[chosen]
            return found if found.ndim else found.item()

        return Costs(**{item.name: some(getattr(self, item.name)) for item in fields(self)})

    @property
    def whole_bill(self) -> tuple[tuple[Any, Any], tuple[Any, Any]] | None:
        """Training and serving, in money where both prices are known, else in hours of the one device."""
        if self.serve_device_hours is None or not np.any(self.serve_batch):
            return None
        if self.train_money is not None and self.serve_money is not None:
            return self.train_money, self.serve_money
        return self.train_device_hours, self.serve_device_hours


def costed_on(budgets: Budgets) -> CostedOn:
    """The budgets' devices, or as many H100s as the size budget fills; UserError for a price of no device of these."""
    from moewright.hardware import load_device
    from moewright.hardware.bills import prices_of
    from moewright.hardware.layout_plan import check_devices

    trains, train_assumed = trained_on(budgets)
    if budgets.train_devices is not None:
        check_devices(load_device(trains), budgets.train_devices, "train-devices")
    serves, devices = budgets.hardware, budgets.devices
    bill_devices = devices
    if serves is None:
        filled = bytes_wanted(budgets) / load_device(USUAL_DEVICE).memory
        serves, devices = USUAL_DEVICE, _whole(min(math.ceil(filled), MOST_ASSUMED))
        bill_devices = _whole(min(math.ceil(2 * filled), MOST_ASSUMED))
    names = load_device(trains).name, load_device(serves).name
    price = {name: amount for name, (_, amount) in prices_of(budgets.price, names).items()}
    idle = next((name for name in price if name not in names), None)
    if idle is not None:
        used = " and ".join(dict.fromkeys(names))
        raise UserError(f"price: {idle} neither trains nor serves here; devices are {used}")
    if budgets.serve_tokens is not None and names[0] != names[1] and len(price) < 2:
        raise UserError(
            f"serve-tokens: training on {names[0]} and serving on {names[1]} add up in money only; "
            "give --price for both"
        )
    power = {
        kind: _power_of_an_hour(budgets.power_price, load_device(device), kind)
        for kind, device in (("train", trains), ("serve", serves))
    }
    return CostedOn(
        serves,
        devices,
        assumed=budgets.hardware is None,
        train_hardware=trains,
        train_assumed=train_assumed,
        train_devices=budgets.train_devices,
        train_price=price.get(names[0]),
        serve_price=price.get(names[1]),
        train_power=power["train"],
        serve_power=power["serve"],
        bill_devices=bill_devices,
    )


def trained_on(budgets: Budgets) -> tuple[str, bool]:
    """The device that trains, and whether it is assumed: the named one, else the one that serves if nodes of it can be
    joined, else a usual one. Device-hours without another device are always of the one that serves.
    """
    if budgets.train_hardware is not None:
        return budgets.train_hardware, False
    if budgets.hardware is None:
        return USUAL_DEVICE, True
    from moewright.hardware import load_device

    device = load_device(budgets.hardware)
    joined = device.network is not None or device.node.devices > NODE
    return (budgets.hardware, False) if joined or budgets.train_device_hours is not None else (USUAL_DEVICE, True)


def bytes_wanted(budgets: Budgets) -> float:
    """The size that the budgets allow, as bytes of weights."""
    if budgets.memory_bytes is not None:
        return budgets.memory_bytes
    if budgets.total_params is not None:
        return budgets.total_params * bytes_per_param(budgets)
    assert budgets.device_memory_bytes is not None
    return budgets.device_memory_bytes * budgets.devices


def bytes_per_param(budgets: Budgets) -> float:
    """Of a matrix in the budgets' weight format."""
    stored = WEIGHT_FORMATS[budgets.weights_dtype]
    return stored.bits / 8 if stored.quantized != "nothing" else float(stored.rest_bytes)


def hours_per_token(architecture: Countable[Any], budgets: Budgets, hardware: "Hardware") -> tuple[Any, Any]:
    """(low, high) device-hours of training on one token, by the range of utilisation."""
    from moewright.hardware import training_device_hours

    length = budgets.tokens_per_sequence
    hours = training_device_hours(architecture, 1.0, hardware, tokens_per_sequence=length)
    return _with_blocks(hours, architecture, length)


def _with_blocks(hours: tuple[Any, Any], architecture: Countable[Any], tokens_per_sequence: int) -> tuple[Any, Any]:
    """Both ends of the device-hours of a model, with what its prediction blocks take more."""
    if not architecture.mtp_layers:
        return hours
    whole, model = (
        count(architecture, tokens_per_sequence)
        for count in (counts.trained_flops_per_token, counts.training_flops_per_token)
    )
    return hours[0] * (whole / model), hours[1] * (whole / model)


def costs_of_candidates(
    candidates: Candidates, train_tokens: Any, budgets: Budgets, on: CostedOn, vocab_size: int
) -> Costs:
    """The costs of candidates, as columns: each as its plan has it served."""
    parts = rows_by_plan(candidates)
    tokens = np.broadcast_to(train_tokens, len(candidates))
    found = [
        design_costs(columns(candidates.take(rows), vocab_size), tokens[rows], budgets, on, plan.served(budgets.served))
        for rows, plan in parts
    ]
    if len(found) == 1:
        return found[0]
    rows_of = [rows for rows, _ in parts]

    def together(values: list[Any]) -> Any:
        if isinstance(values[0], tuple):
            low, high = zip(*values, strict=True)
            return together(list(low)), together(list(high))
        return None if values[0] is None else placed(rows_of, values)

    return Costs(**{item.name: together([getattr(each, item.name) for each in found]) for item in fields(Costs)})


def design_costs(
    architecture: Countable[Any], train_tokens: Any, budgets: Budgets, on: CostedOn, served: ServedAs | None = None
) -> Costs:
    """The costs of an architecture, or of columns of them, as the budgets ask for them or as they are served."""
    from moewright.hardware import decode_tokens_per_second, time_to_first_token

    served = served or budgets.served
    load: dict[str, Any] = {
        "devices": on.devices,
        "batch": budgets.batch,
        "context": budgets.context,
        **served.formats,
    }
    per_token = hours_per_token(architecture, budgets, on.train_hardware)
    serve_hours, serve_batch, serve_money = None, None, None
    if budgets.serve_tokens is not None:
        serve_hours, serve_batch = serving_device_hours(architecture, budgets, on.hardware, on.bill_devices, served)
        serve_money = money_of(serve_hours, on.serve_price, on.serve_power)
    return _trained(
        Costs(
            train_device_hours=(per_token[0] * train_tokens, per_token[1] * train_tokens),
            decode_tokens_per_second=decode_tokens_per_second(
                architecture, on.hardware, **load, speculation=served.speculation
            ),
            time_to_first_token=time_to_first_token(architecture, on.hardware, **load),
            kv_bytes_per_token=cache.kv_bytes_per_token(architecture, served.kv_dtype),
            serve_device_hours=serve_hours,
            serve_batch=serve_batch,
            serve_money=serve_money,
        ),
        on,
    )


def finalist_costs(
    architecture: Architecture, train_tokens: float, budgets: Budgets, on: CostedOn, costs: Costs | None = None
) -> Costs:
    """The costs of one architecture: training in the fastest layout where the number of devices is named.

    Where `plan` refuses, the hours stay those of the range of utilisation, `train_layout` is None, and `train_refusal`
    says why. `costs`: what `design_costs` says of it, where that is known.
    """
    costs = costs or design_costs(architecture, train_tokens, budgets, on)
    if on.train_devices is None:
        return costs
    from moewright.hardware.layout_plan import plan_training

    try:
        layouts = plan_training(
            architecture,
            on.train_hardware,
            on.train_devices,
            sequence_length=min(budgets.tokens_per_sequence, architecture.max_context or budgets.tokens_per_sequence),
            train_tokens=train_tokens,
            top=2,  # the first may be another one, as fast for all that can be told
        ).record.layouts
    except UserError as refusal:
        return replace(costs, train_refusal=str(refusal))
    planned = min(layouts, key=lambda layout: layout.step_seconds)
    assert planned.cost is not None
    # `plan` leaves blocks out.
    hours = _with_blocks(planned.cost.device_hours, architecture, budgets.tokens_per_sequence)
    layout = ",".join(f"{name}={getattr(planned, name)}" for name in LAYOUT_SHOWN)
    return _trained(replace(costs, train_device_hours=hours, train_layout=layout), on)


def _trained(costs: Costs, on: CostedOn) -> Costs:
    """With days and money of the training's device-hours."""
    hours = costs.train_device_hours
    days = None if on.train_devices is None else priced(hours, 1 / on.train_devices / 24)
    return replace(costs, train_days=days, train_money=money_of(hours, on.train_price, on.train_power))


def _power_of_an_hour(price: float | None, device: Any, kind: Any) -> tuple[float, float] | None:
    """(low, high) money of what a device draws in an hour; UserError where its board power is unknown."""
    from moewright.hardware.bills import DRAWN, Tariff

    if price is None:
        return None
    Tariff(device, power_price=price)  # refuses a device without a board power
    low, high = (share * device.board_power / 1000 * price for share in DRAWN[kind])
    return low, high


def money_of(hours: tuple[Any, Any], price: float | None, power: tuple[float, float] | None) -> tuple[Any, Any] | None:
    """Both ends of device-hours in money, energy included; None where neither has a price."""
    if price is None and power is None:
        return None
    low, high = power or (0.0, 0.0)
    return hours[0] * ((price or 0.0) + low), hours[1] * ((price or 0.0) + high)


def priced(hours: tuple[Any, Any], price: float | None) -> tuple[Any, Any] | None:
    """Both ends of a range times a price; None where that is not known."""
    return None if price is None else (hours[0] * price, hours[1] * price)


def middle(ends: tuple[Any, Any]) -> Array:
    """The geometric mean of the ends of a range, numbers or columns."""
    return np.sqrt(np.asarray(ends[0], dtype=np.float64) * np.asarray(ends[1], dtype=np.float64))


def middle_of_bill(bill: tuple[tuple[Any, Any], tuple[Any, Any]]) -> tuple[Array, Array]:
    """The middles of training and of serving, which add up."""
    training, serving = bill
    return middle(training), middle(serving)


def _whole(number: int) -> int:
    if number > NODE:
        return -(-number // NODE) * NODE
    return next(power for power in (1, 2, 4, NODE) if power >= number)
