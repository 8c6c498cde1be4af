"""What tokens cost on a device: its hours, money, and energy.

Energy is the stated board power times the hours times what is drawn of it. Only the devices are counted: no host, no
network, no cooling.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Literal

from moewright.complaints import check_number, named_texts
from moewright.errors import UserError
from moewright.hardware.devices import Device, load_device
from moewright.hardware.layout_record import BillRecord
from moewright.quantities import parse_count

# Drawn of the board power. High: Llama 3.1's model card counts the whole of it for its training. Low: assumed;
# generating draws less than reading prompts does (Patel et al. 2023, POLCA, arXiv 2308.12908, section 4).
DRAWN: dict[Literal["train", "serve"], tuple[float, float]] = {"train": (0.7, 1.0), "serve": (0.5, 1.0)}


class Tariff:
    """What a device-hour and a kilowatt-hour cost; either may be unknown."""

    def __init__(
        self, device: Device, price: Mapping[str, float] | None = None, power_price: float | None = None
    ) -> None:
        """Raises UserError for the price of another device, and for one of power where no board power is stated."""
        self.device, self.power_price = device, power_price
        self.hourly: float | None = None
        for name, (given, amount) in prices_of(price or {}, (device.name,)).items():
            if name != device.name:
                raise UserError(f"price: {given} is not the device asked about, {device.name}")
            self.hourly = amount
        if power_price is not None and device.board_power is None:
            raise UserError(f"power-price: no board power is stated for {device.name}; give it in a file of devices")

    @property
    def is_known(self) -> bool:
        """Whether anything has a price."""
        return self.hourly is not None or self.power_price is not None

    def bill(
        self, kind: Literal["train", "serve"], tokens: float, tokens_per_second_per_device: tuple[float, float]
    ) -> BillRecord:
        """For so many tokens at (low, high) tokens a second of each device."""
        slow, fast = tokens_per_second_per_device
        hours = (tokens / fast / 3600, tokens / slow / 3600)
        watts = self.device.board_power
        energy = None
        if watts is not None:
            low, high = DRAWN[kind]
            energy = (hours[0] * watts / 1000 * low, hours[1] * watts / 1000 * high)
        return BillRecord(
            device_hours=hours,
            money=_times(hours, self.hourly),
            energy_kwh=energy,
            energy_money=_times(energy, self.power_price),
        )


def prices_of(given: Mapping[str, float], devices: Collection[str]) -> dict[str, tuple[str, float]]:
    """By device the name that its price was given under, and the price.

    A device is one of `devices`, which may be of a user's file, or any that is known. UserError for one that is not,
    and for two prices of one.
    """
    found: dict[str, tuple[str, float]] = {}
    for name, amount in given.items():
        device = name if name in devices else load_device(name, "price").name
        if device in found:
            raise UserError(f"price: {name} and {found[device][0]} are the same device; give one price")
        found[device] = name, amount
    return found


def read_prices(given: Mapping[str, float] | Iterable[str] | None) -> dict[str, float]:
    """Prices of device-hours by device, from a mapping or texts NAME=PRICE; UserError for what is no price.

    >>> read_prices(["H100=2.5"])
    {'H100': 2.5}
    """
    if isinstance(given, Mapping):
        return {str(name): check_number(value, f"price: {name}", above=0) for name, value in given.items()}
    texts = named_texts((text.strip() for text in given or ()), "price", strip=True)
    return {name: parse_count(value, f"price: {name}") for name, value in texts.items()}


def _times(pair: tuple[float, float] | None, price: float | None) -> tuple[float, float] | None:
    return None if pair is None or price is None else (pair[0] * price, pair[1] * price)


def together(one: BillRecord, other: BillRecord) -> BillRecord:
    """Both bills in one."""

    def added(name: str) -> tuple[float, float] | None:
        first, second = getattr(one, name), getattr(other, name)
        return None if first is None or second is None else (first[0] + second[0], first[1] + second[1])

    return BillRecord(**{name: added(name) for name in BillRecord.model_fields})  # type: ignore[arg-type]
