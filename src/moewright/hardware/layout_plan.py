"""How to lay a training run out over devices: the data behind `moewright plan`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from moewright.architecture.counts import training_flops_per_token, usual_sequence
from moewright.architecture.spec import Architecture
from moewright.complaints import check_integer, integer_in_text, named_texts, one_of
from moewright.display import ShownTable
from moewright.errors import UserError
from moewright.hardware.activations import NOTHING, RECOMPUTED_MODULES, check_modules, recompute_code, recompute_of
from moewright.hardware.bills import Tariff
from moewright.hardware.devices import Device, Hardware, load_device
from moewright.hardware.launch_flags import megatron_flags, torchtitan_settings
from moewright.hardware.layout_record import (
    LayoutPlanRecord,
    LayoutRecord,
    RefusedRecord,
    TrainingMemoryParts,
)
from moewright.hardware.layout_search import (
    LARGEST_DEGREE,
    REFUSAL_REASONS,
    RefusedLayouts,
    TrainingJob,
    broken_rules,
    fastest_layouts,
    kept_states,
    layout_memory,
    search_layouts,
)
from moewright.hardware.pretraining import OPTIMIZER_BYTES, GradientDtype, OptimizerName
from moewright.hardware.training_coefficients import StepCoefficients, training_coefficients
from moewright.hardware.training_step import (
    PRECISIONS,
    PRODUCT_FORMATS,
    LayoutColumns,
    TrainingPrecision,
    domain_devices,
    step_seconds,
)

DEFAULT_BATCH = 4 * 2**20
"""Tokens of a step: what most published runs of mixtures begin with or stay at."""
SHORT_NAMES = {
    "tp": "tensor",
    "pp": "pipeline",
    "ep": "expert",
    "cp": "context",
    "chunks": "chunks",
    "micro_batch": "micro_batch",
    "zero": "zero_stage",
    "recompute": "recompute",
}
"""What `--layout` calls the fields of LayoutColumns."""
RANGE_MEANS = "8 of 10 public steps of models left out of the fit lie inside; routing evened out"
NOTES = ("A learned router that is not evened out takes 8 to 25 % longer.",)
"""Megatron-Bridge: 295 TFLOP/s with forced and 237 with learned routing at 16K tokens, 389 and 357 at 128K."""


@dataclass(frozen=True, repr=False)
class LayoutPlan(ShownTable):
    """The best layouts, and why the others are refused."""

    record: LayoutPlanRecord

    def to_dict(self) -> dict[str, Any]:
        """The fields of `moewright plan --json`."""
        return self.record.to_dict()

    @property
    def layouts(self) -> tuple[LayoutRecord, ...]:
        """The fastest first, led by the least spread of those that are not told apart from it."""
        return self.record.layouts

    def _facts(self) -> Mapping[str, Any]:
        best = self.record.layouts[0]
        return {
            "model": self.record.model,
            "layout": layout_text(best),
            "tokens_per_second_per_device": best.tokens_per_second_per_device,
        }

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        return [
            {
                **{name: getattr(layout, name) for name in (*SHORT_NAMES, "dp", "micro_batches")},
                "memory_bytes_per_device": layout.memory_bytes_per_device,
                "step_seconds_low": layout.step_seconds[0],
                "step_seconds_high": layout.step_seconds[1],
                "mfu_low": layout.mfu[0],
                "mfu_high": layout.mfu[1],
            }
            for layout in self.record.layouts
        ]


def layout_text(layout: LayoutRecord) -> str:
    """A layout as `--layout` takes it."""
    return ",".join(f"{name}={getattr(layout, name)}" for name in SHORT_NAMES)


def plan_training(
    architecture: Architecture,
    hardware: Hardware,
    devices: int,
    *,
    name: str = "",
    sequence_length: int | None = None,
    global_batch: float | None = None,
    precision: TrainingPrecision = "bf16",
    optimizer: OptimizerName = "adamw",
    gradient_dtype: GradientDtype = "fp32",
    layout: str | None = None,
    train_tokens: float | None = None,
    price: Mapping[str, float] | None = None,
    power_price: float | None = None,
    coefficients: StepCoefficients | None = None,
    top: int = 5,
    warnings: Sequence[str] = (),
) -> LayoutPlan:
    """The best layouts of a training run, or one that is given. Raises UserError for what cannot be."""
    device = load_device(hardware)
    one_of(precision, "precision", PRECISIONS)
    one_of(optimizer, "optimizer", OPTIMIZER_BYTES)
    one_of(gradient_dtype, "gradient-dtype", get_args(GradientDtype))
    check_integer(top, "top", 1, 100)
    check_devices(device, devices)
    length = check_length(architecture, sequence_length)
    notes = [*warnings, *NOTES]
    if PRODUCT_FORMATS[precision] not in device.peak_flops:
        raise UserError(f"precision: {device.name} has no {precision} products; it has {', '.join(device.peak_flops)}")
    if architecture.mtp_layers:
        notes.append("Prediction blocks (multi-token prediction) are left out.")
    job = TrainingJob(
        architecture,
        device,
        devices,
        length,
        sequences_of(global_batch, length, devices),
        optimizer,
        precision,
        gradient_dtype,
    )
    tariff = Tariff(device, price, power_price)
    if layout is None:
        found, held, refused = search_layouts(job)
        if not len(found):
            raise UserError(_nothing_fits(job, refused))
    else:
        found, refused = given_layout(job, layout), {}
        held = layout_memory(job, found)
        if float(held.total[0]) > job.usable_memory:
            notes.insert(0, f"This layout does not fit: it holds {held.total[0] / 1e9:.0f} GB.")
    coefficients = coefficients or training_coefficients()
    parts = step_seconds(
        architecture,
        device,
        devices,
        found,
        tokens_per_sequence=length,
        precision=precision,
        optimizer=kept_states(optimizer, precision),
        gradient_dtype=gradient_dtype,
        coefficients=coefficients,
    )
    middle = np.asarray(sum(parts.values()))
    reach = coefficients.range_on(device.name, device.compute_dtype(PRODUCT_FORMATS[precision]))
    flops = float(training_flops_per_token(architecture, length))
    tokens = job.sequences * length
    records = []
    for place in fastest_layouts(found, middle, np.asarray(held.total), top):
        seconds = (float(middle[place]) * reach.factors[0], float(middle[place]) * reach.factors[1])
        speed = (tokens / seconds[1] / devices, tokens / seconds[0] / devices)
        peak = device.peak_flops["bf16"]
        plain = _plain(found, place)
        memory = {part: float(values[place]) for part, values in vars(held).items()}
        total = sum(memory.values())
        record = LayoutRecord(
            **plain,
            memory_bytes_per_device=total,
            memory=TrainingMemoryParts(**memory),
            fits=total <= job.usable_memory,
            step_seconds=seconds,
            components={
                part: (float(values[place]) * reach.factors[0], float(values[place]) * reach.factors[1])
                for part, values in parts.items()
            },
            tokens_per_second_per_device=speed,
            mfu=(speed[0] * flops / peak, speed[1] * flops / peak),
            cost=None if train_tokens is None else tariff.bill("train", train_tokens, speed),
            megatron=(),
            torchtitan=None,
        )
        titan = torchtitan_settings(record, job)
        flags = megatron_flags(record, job)
        records.append(
            record.model_copy(update={"megatron": tuple(flags), "torchtitan": None if titan is None else tuple(titan)})
        )
    return LayoutPlan(
        LayoutPlanRecord(
            model=name,
            hardware=device.name,
            devices=devices,
            domain_devices=domain_devices(device, devices),
            sequence_length=length,
            global_batch=tokens,
            precision=precision,
            optimizer=optimizer,
            gradient_dtype=gradient_dtype,
            usable_memory=job.usable_memory,
            range=RANGE_MEANS,
            range_source=reach.source,
            layouts=tuple(records),
            considered=len(found) + sum(some.count for some in refused.values()),
            refused={reason: _refused(reason, some) for reason, some in refused.items()},
            lifetime=None,
            warnings=tuple(notes),
        )
    )


def check_devices(device: Device, devices: int, option: str = "devices") -> None:
    """Raise UserError for numbers of devices that no network joins."""
    check_integer(devices, option, 1, 100_000)
    if devices > device.node.devices:
        if device.network is None:
            raise UserError(
                f"{option}: {device.name} has nodes of {device.node.devices} and no network; {devices} are too many"
            )
        if devices % min(device.node.devices, 8):
            raise UserError(
                f"{option}: {devices} do not fill nodes of {device.node.devices} {device.name}; take a multiple of "
                f"{min(device.node.devices, 8)}"
            )


def check_length(architecture: Architecture, length: int | None) -> int:
    """Tokens of a sequence; by default 4096 or the model's longest. Raises UserError for longer than the model's."""
    if length is None:
        return usual_sequence(architecture)
    longest = architecture.max_context
    check_integer(length, "sequence-length", 1)
    if longest is not None and length > longest:
        raise UserError(f"sequence-length: {length} is longer than the model's context of {longest}")
    return length


def sequences_of(global_batch: float | None, length: int, devices: int) -> int:
    """Sequences of a step. Raises UserError where the tokens are not whole ones."""
    if global_batch is None:  # whole sequences for every device
        return max(-(-DEFAULT_BATCH // length // devices), 1) * devices
    sequences, rest = divmod(global_batch, length)
    if rest or not sequences:
        raise UserError(f"global-batch: {global_batch:.0f} tokens are not whole sequences of {length}")
    return int(sequences)


def _plain(layouts: LayoutColumns, place: int) -> dict[str, Any]:
    values: dict[str, Any] = {short: int(getattr(layouts, name)[place]) for short, name in SHORT_NAMES.items()}
    values["recompute"] = recompute_of(values["recompute"])
    return values | {"dp": int(layouts.data[place]), "micro_batches": int(layouts.micro_batches[place])}


def _refused(reason: str, some: RefusedLayouts) -> RefusedRecord:
    plain = _plain(some.nearest, 0)
    return RefusedRecord(
        reason=REFUSAL_REASONS[reason],  # type: ignore[index]
        count=some.count,
        nearest=",".join(f"{name}={plain[name]}" for name in SHORT_NAMES),
        bytes=some.bytes,
    )


def _nothing_fits(job: TrainingJob, refused: Mapping[Any, RefusedLayouts]) -> str:
    if "memory" in refused and refused["memory"].bytes is not None:
        least = refused["memory"].bytes / 1e9
        return (
            f"devices: no layout on {job.devices} {job.device.name} fits; the leanest holds {least:.0f} GB of "
            f"{job.usable_memory / 1e9:.0f}; take more devices or more memory"
        )
    return f"global-batch: no layout on {job.devices} {job.device.name} divides {job.sequences} sequences and the model"


def _recomputed(job: TrainingJob, value: str) -> str:
    try:
        if "experts" in value.split("+"):  # the lab's, which no trainer has
            one_of("experts", "recompute", (NOTHING, *(module for module in RECOMPUTED_MODULES if module != "experts")))
        return check_modules(job.architecture, value)
    except UserError as error:
        raise UserError(f"layout: {error}") from None


def given_layout(job: TrainingJob, text: str) -> LayoutColumns:
    """The layout of a text such as tp=1,pp=2,ep=32,micro_batch=1; what is not named is 1, ZeRO 1."""
    values: dict[str, int] = dict.fromkeys(SHORT_NAMES, 1) | {"recompute": 0}
    for name, value in named_texts(text.replace(" ", "").split(","), "layout").items():
        if one_of(name, "layout", SHORT_NAMES) == "recompute":
            values[name] = recompute_code(_recomputed(job, value))
        elif name == "zero":
            values[name] = integer_in_text(value, "layout: zero", 0, 3)
        else:
            values[name] = integer_in_text(value, f"layout: {name}", 1, LARGEST_DEGREE)
    sharing = values["tp"] * values["pp"] * values["cp"]
    data, rest = divmod(job.devices, sharing)
    if rest or not data:
        raise UserError(f"layout: tp x pp x cp = {sharing} does not divide {job.devices} devices")
    count = max(job.sequences // (data * values["micro_batch"]), 1)
    columns = {SHORT_NAMES[name]: np.array([value]) for name, value in values.items()}
    layouts = LayoutColumns(**columns, data=np.array([data]), micro_batches=np.array([count]))
    for reason, broken in broken_rules(job, layouts).items():
        if broken[0]:
            raise UserError(f"layout: {REFUSAL_REASONS[reason]} ({text})")
    return layouts
