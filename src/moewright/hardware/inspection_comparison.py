"""Inspected models side by side: every quantity in which they differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from moewright.architecture.counts import usual_sequence
from moewright.architecture.inventory import COMPONENTS, Component
from moewright.display import ShownTable
from moewright.hardware.inspection import Inspection, inspect_loaded
from moewright.hardware.inspection_record import (
    BILLED_WORDS,
    BilledWork,
    ComparedQuantity,
    ComparisonRecord,
    Unit,
    Value,
)
from moewright.hf.loading import Loaded

if TYPE_CHECKING:
    from moewright.hardware.assessment import Assessment

FLOPS = "FLOPs of a token"
"""The group of that name."""
FITS = "fits, a tenth of it free"
"""The quantity of that name: yes or no, of a device's memory."""


@dataclass(frozen=True, repr=False)
class InspectionComparison(ShownTable):
    """Models inspected with the same settings, beside one another."""

    inspections: tuple[Inspection, ...]

    def quantities(self) -> list[ComparedQuantity]:
        """All quantities of all models."""
        return [
            ComparedQuantity(group=group, name=name, unit=unit, values=tuple(map(read, self.inspections)))
            for group, name, unit, read in _quantities(self.inspections)
        ]

    def differences(self) -> list[ComparedQuantity]:
        """The quantities in which the models differ."""
        return [quantity for quantity in self.quantities() if quantity.differs]

    def _facts(self) -> Mapping[str, Any]:
        return {"models": [each.name for each in self.inspections], "differences": len(self.differences())}

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        names = [f"{place + 1} {each.name}" for place, each in enumerate(self.inspections)]
        return [
            {
                "group": each.group,
                "quantity": each.name,
                "unit": each.unit,
                **dict(zip(names, each.values, strict=True)),
            }
            for each in self.differences()
        ]

    def answer(self) -> ComparisonRecord:
        """What `moewright inspect A B --json` prints."""
        return ComparisonRecord(
            models=tuple(each.answer() for each in self.inspections),
            differences=tuple(self.differences()),
        )

    def to_dict(self) -> dict[str, Any]:
        """The fields of `moewright inspect A B --json`."""
        return self.answer().to_dict()


def compare_loaded(
    models: Sequence[Loaded], *, tokens_per_sequence: int | None = None, **settings: Any
) -> InspectionComparison:
    """Inspect models with the same settings; those of `inspect_loaded`.

    Without `tokens_per_sequence`, sequences are as long as the shortest of the models' own defaults. Raises UserError.
    """
    if tokens_per_sequence is None:
        tokens_per_sequence = usual_sequence(*(model.architecture for model in models))
    return InspectionComparison(
        tuple(inspect_loaded(each, tokens_per_sequence=tokens_per_sequence, **settings) for each in models)
    )


_Read = Callable[[Inspection], Value]


def _quantities(inspections: Sequence[Inspection]) -> list[tuple[str, str, Unit, _Read]]:
    settings = inspections[0]
    batch = f", batch {settings.batch}" if settings.batch > 1 else ""
    found: list[tuple[str, str, Unit, _Read]] = [
        ("Model", "family", "", lambda one: one.family),
        ("Model", "layers", "", lambda one: one.architecture.num_layers),
        ("Model", "width", "", lambda one: one.architecture.hidden_size),
        ("Model", "vocabulary", "", lambda one: one.architecture.vocab_size),
        ("Model", "context", "", lambda one: one.architecture.max_context),
        ("Model", "experts", "", _of_the_mixture("num_experts")),
        ("Model", "active experts", "", _of_the_mixture("top_k")),
        ("Model", "expert size", "", _of_the_mixture("expert_size")),
        ("Model", "shared experts", "", _of_the_mixture("shared_experts")),
        ("Parameters", "all", "parameters", lambda one: one.total_params),
        *(("Parameters", name, "parameters", _component("params", name)) for name in COMPONENTS),
        ("Parameters", "prediction blocks", "parameters", lambda one: one.mtp_params),
        ("Active", "all", "parameters", lambda one: one.active_params),
        *(("Active", name, "parameters", _component("active", name)) for name in COMPONENTS),
        (FLOPS, "forward", "FLOPs", lambda one: one.forward_flops),
        *((FLOPS, name, "FLOPs", _component("forward_flops_by_component", name)) for name in COMPONENTS),
        (FLOPS, "between tokens", "FLOPs", lambda one: one.mixing_flops),
        (FLOPS, "training", "FLOPs", lambda one: one.training_flops),
        ("Bytes", f"weights in {settings.weights_dtype}", "bytes", lambda one: one.weights_bytes[one.weights_dtype]),
        ("Bytes", "weights as published", "bytes", lambda one: one.published.total_bytes),
        ("Bytes", "published format", "", lambda one: one.published.dtype),
        (
            "Bytes",
            f"cache of a token in {settings.kv_dtype}",
            "bytes",
            lambda one: one.kv_bytes_per_token[one.cache_layout.latent],
        ),
        ("Bytes", "states of a sequence", "bytes", lambda one: one.state_bytes_per_sequence),
        ("Bytes", f"cache{batch}", "bytes", lambda one: one.batch * one.cache_bytes_per_sequence),
    ]
    if settings.tensor_parallel is not None:
        place = f"on one of {settings.tensor_parallel.devices}"
        found += [
            ("Bytes", f"weights {place}", "bytes", _of_the_share("weights")),
            ("Bytes", f"cache {place}", "bytes", _of_the_share("cache")),
        ]
    if settings.hardware is None:
        return found
    group = f"{settings.hardware.devices} x {settings.hardware.device.name}"
    return [
        *found,
        (group, "memory of a device", "bytes", _on_the_device(lambda on: on.memory.needed)),
        (group, FITS, "", _on_the_device(lambda on: "yes" if on.memory.fits else "no")),
        (group, "decoding, a sequence", "tokens/s", _on_the_device(lambda on: on.tokens_per_second_per_sequence)),
        (group, "decoding, all", "tokens/s", _on_the_device(lambda on: on.tokens_per_second)),
        (group, "time to first token", "seconds", _on_the_device(lambda on: on.prefill.seconds)),
        (group, "training", "tokens/day", _on_the_device(lambda on: on.training_tokens_per_day)),
        *(
            (group, f"{words}, {kind}", "money", _of_the_bill(work, field))
            for work, words in BILLED_WORDS.items()
            for field, kind in (("money", "money"), ("energy_money", "money for power"))
            if settings.hardware.bills is not None and getattr(settings.hardware.bills[work], field) is not None
        ),
    ]


def _of_the_bill(work: BilledWork, field: str) -> _Read:
    return _on_the_device(lambda on: None if on.bills is None else getattr(on.bills[work], field))


def _of_the_mixture(name: str) -> _Read:
    return lambda inspection: None if inspection.moe is None else getattr(inspection.moe, name)


def _of_the_share(name: str) -> _Read:
    return lambda inspection: None if inspection.tensor_parallel is None else getattr(inspection.tensor_parallel, name)


def _on_the_device(read: Callable[[Assessment], Value]) -> _Read:
    return lambda inspection: None if inspection.hardware is None else read(inspection.hardware)


def _component(table: str, name: Component) -> _Read:
    def read(inspection: Inspection) -> Value:
        value: int | float = getattr(inspection, table)[name]
        return value

    return read
