"""A model on a device, all in one: what `moewright inspect --hardware` shows."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from moewright.architecture.cache import AS_SMALL, CacheDtype, CacheLayout
from moewright.architecture.spec import Architecture, WeightFormatName
from moewright.complaints import check_number
from moewright.hardware.bills import Tariff, read_prices
from moewright.hardware.devices import Device, Hardware, load_device
from moewright.hardware.inspection_record import (
    AssessmentRecord,
    BilledWork,
    ComponentTimeRecord,
    DecodeRecord,
    DeviceMemoryRecord,
    DeviceTrainingRecord,
    PlacementRecord,
    PrefillRecord,
)
from moewright.hardware.layout_record import BillRecord
from moewright.hardware.placement import Placement, distinct_experts, place
from moewright.hardware.pretraining import (
    MODEL_FLOPS_UTILISATION,
    Parallelism,
    TrainingMemory,
    training_memory,
    training_seconds,
)
from moewright.hardware.roofline import Bound, InferencePhase, Load, pass_times, pass_traffic
from moewright.hardware.serving import DeviceMemory, check_load, memory_per_device

LowHigh = tuple[float, float]
BILLED_TOKENS: dict[BilledWork, float] = {"train": 1e12, "generate": 1e6, "read": 1e6}
"""Tokens by which the field states prices: trained, generated, read as prompts."""


@dataclass(frozen=True)
class ComponentTime:
    """One component's share of a pass."""

    seconds: LowHigh
    bound: Bound
    """At the fast end, where the device is the limit and not the software."""


@dataclass(frozen=True)
class StageTime:
    """One pass, decoding or prefill: seconds as (low, high)."""

    stage: InferencePhase
    seconds: LowHigh
    bound: tuple[Bound, Bound]
    """What takes most of the time at the fast and at the slow end."""
    components: dict[str, ComponentTime]
    """With `communication` and `overhead`. At the fast end communication is hidden where the sum is longer."""
    sent_bytes_in_group: float
    sent_bytes_between_groups: float
    experts_touched: float | None
    """Distinct experts of a layer that the pass uses, of all devices together; None without experts."""


@dataclass(frozen=True)
class Assessment:
    """Memory, speed and training of one architecture on some devices. Bytes and seconds; ranges are (low, high)."""

    device: Device
    devices: int
    placement: Placement
    batch: int
    context: int
    weights_dtype: WeightFormatName
    kv_dtype: CacheDtype
    compute_dtype: str
    memory: DeviceMemory[float]
    decode: StageTime
    prefill: StageTime
    training_tokens_per_day: LowHigh
    training_memory: dict[int, TrainingMemory[float]]
    """By ZeRO stage, over all devices data-parallel, one sequence of `context` tokens on each."""
    training_expert_parallel: int
    bills: dict[BilledWork, BillRecord] | None
    """Where a price was given: what so many tokens (`BILLED_TOKENS`) take."""

    @property
    def tokens_per_second_per_sequence(self) -> LowHigh:
        """Of decoding."""
        return 1 / self.decode.seconds[1], 1 / self.decode.seconds[0]

    @property
    def tokens_per_second(self) -> LowHigh:
        """Of decoding, all sequences together."""
        low, high = self.tokens_per_second_per_sequence
        return self.batch * low, self.batch * high

    @property
    def device_hours_per_trillion_tokens(self) -> LowHigh:
        """Of training."""
        low, high = self.training_tokens_per_day
        return self.devices * 24e12 / high, self.devices * 24e12 / low

    def answer(self) -> AssessmentRecord:
        """The `hardware` object of `moewright inspect --json`."""
        memory, placement = self.memory, self.placement
        return AssessmentRecord(
            device=self.device.name,
            description=self.device.description,
            sources=self.device.sources,
            devices=self.devices,
            efficiency=self.device.efficiency,
            batch=self.batch,
            context=self.context,
            weights_dtype=self.weights_dtype,
            kv_dtype=self.kv_dtype,
            compute_dtype=self.compute_dtype,
            placement=PlacementRecord(
                tensor_parallel=placement.tensor,
                groups=placement.groups,
                expert_parallel=placement.devices,
                link=self.device.node.link,
                link_between_groups=placement.link_between_groups,
            ),
            memory_per_device=DeviceMemoryRecord(
                weights=float(memory.weights),
                cache=float(memory.cache),
                reserve=memory.reserve,
                needed=float(memory.needed),
                capacity=memory.capacity,
                spare=float(memory.spare),
                fits=bool(memory.fits),
            ),
            decode=DecodeRecord(
                **_stage_fields(self.decode),
                tokens_per_second_per_sequence=self.tokens_per_second_per_sequence,
                tokens_per_second=self.tokens_per_second,
            ),
            prefill=PrefillRecord(**_stage_fields(self.prefill), time_to_first_token=self.prefill.seconds),
            training=DeviceTrainingRecord(
                utilisation=MODEL_FLOPS_UTILISATION,
                tokens_per_day=self.training_tokens_per_day,
                device_hours_per_trillion_tokens=self.device_hours_per_trillion_tokens,
                expert_parallel=self.training_expert_parallel,
                memory_per_device_by_zero_stage={
                    str(stage): kept.record() for stage, kept in self.training_memory.items()
                },
            ),
            bills=self.bills,
        )


def assess(
    architecture: Architecture,
    hardware: Hardware,
    *,
    devices: int = 1,
    batch: int = 1,
    context: int,
    weights_dtype: WeightFormatName = "bf16",
    kv_dtype: CacheDtype = "bf16",
    layout: CacheLayout = AS_SMALL,
    price: Mapping[str, float] | Iterable[str] | None = None,
    power_price: float | None = None,
) -> Assessment:
    """Everything about one architecture on some devices.

    `price`: of a device-hour, as NAME=PRICE or a mapping; `power_price`: of a kilowatt-hour. Raises UserError for an
    unknown device and impossible numbers.
    """
    device = load_device(hardware)
    if power_price is not None:
        check_number(power_price, "power-price", above=0)
    tariff = Tariff(device, read_prices(price), power_price)
    placement = place(device, devices)

    def load(stage: InferencePhase) -> Load:
        return Load(stage, batch, context, weights_dtype, kv_dtype, layout)

    check_load(load("decode"))
    day = 86400.0
    low, high = training_seconds(architecture, 1.0, device, devices, tokens_per_sequence=context)
    expert_parallel = _expert_parallel(architecture, devices)
    decode, prefill = (_stage_time(architecture, device, load(stage), placement) for stage in ("decode", "prefill"))
    bills = None
    if tariff.is_known:
        tokens: dict[BilledWork, tuple[float, LowHigh]] = {
            "train": (1.0, (low, high)),
            "generate": (batch, decode.seconds),
            "read": (batch * context, prefill.seconds),
        }
        bills = {
            work: tariff.bill(
                "train" if work == "train" else "serve",
                BILLED_TOKENS[work],
                (count / slow / devices, count / fast / devices),
            )
            for work, (count, (fast, slow)) in tokens.items()
        }
    return Assessment(
        device=device,
        devices=devices,
        placement=placement,
        batch=batch,
        context=context,
        weights_dtype=weights_dtype,
        kv_dtype=kv_dtype,
        compute_dtype=device.compute_dtype(load("decode").compute_dtype),
        memory=memory_per_device(
            architecture,
            device,
            devices=devices,
            batch=batch,
            context=context,
            weights_dtype=weights_dtype,
            kv_dtype=kv_dtype,
            layout=layout,
        ),
        decode=decode,
        prefill=prefill,
        training_tokens_per_day=(day / high, day / low),
        training_memory={
            stage: training_memory(
                architecture,
                Parallelism(data=devices, expert=expert_parallel, zero_stage=stage),
                tokens_per_sequence=context,
            )
            for stage in range(4)
        },
        training_expert_parallel=expert_parallel,
        bills=bills,
    )


def _expert_parallel(architecture: Architecture, devices: int) -> int:
    """The largest degree that divides both the devices and every layer's experts."""
    experts = [group.count for _, moe in architecture.moe_layers() for group in moe.groups]
    degrees = range(1, min([devices, *experts]) + 1)
    return max(d for d in degrees if devices % d == 0 and all(count % d == 0 for count in experts))


def _stage_time(architecture: Architecture, device: Device, load: Load, placement: Placement) -> StageTime:
    fast, slow = pass_times(architecture, device, load, placement)
    components: dict[str, ComponentTime] = {}
    for name, (memory, compute) in fast.components.items():
        ends = float(memory + compute), float(sum(slow.components[name]))
        components[name] = ComponentTime(ends, "memory" if memory >= compute else "compute")
    rest: tuple[Literal["communication"], Literal["overhead"]] = ("communication", "overhead")
    for kind in rest:
        components[kind] = ComponentTime((float(getattr(fast, kind)), float(getattr(slow, kind))), kind)
    traffic = pass_traffic(architecture, load, placement)
    return StageTime(
        stage=load.stage,
        seconds=(float(fast.total), float(slow.total)),
        bound=(fast.bound(), slow.bound()),
        components=components,
        sent_bytes_in_group=float(traffic.group_bytes),
        sent_bytes_between_groups=float(traffic.between_bytes),
        experts_touched=_experts_touched(architecture, load),
    )


def _experts_touched(architecture: Architecture, load: Load) -> float | None:
    tokens = load.batch * load.tokens_per_sequence
    layers = architecture.moe_layers()
    touched = sum(
        times * distinct_experts(group.count, group.top_k, tokens) for times, moe in layers for group in moe.groups
    )
    return float(touched) / sum(times for times, _ in layers) if layers else None


def _stage_fields(stage: StageTime) -> dict[str, Any]:
    return {
        "seconds": stage.seconds,
        "bound": stage.bound[0],
        "bound_at_the_slow_end": stage.bound[1],
        "experts_touched_per_layer": stage.experts_touched,
        "sent_bytes_in_group": stage.sent_bytes_in_group,
        "sent_bytes_between_groups": stage.sent_bytes_between_groups,
        "components": {
            name: ComponentTimeRecord(seconds=part.seconds, bound=part.bound) for name, part in stage.components.items()
        },
    }
