"""Layouts on a cluster: the best with memory, time and cost, and why not the others."""

from collections.abc import Iterator, Sequence

from moewright.hardware.layout_record import LayoutPlanRecord, LayoutRecord
from moewright.hardware.serving_record import ServingLayoutRecord, ServingPlanRecord
from moewright.quantities import format_bytes
from moewright.report.page.page_blocks import (
    Origin,
    PageBlock,
    PageColumn,
    PageGrid,
    PageNumber,
    grid_html,
    grid_markdown,
    list_html,
    list_markdown,
    range_text,
)
from moewright.report.page.page_sources import PageSource

_DIVIDED = Origin("exact", "the layout", "degrees that divide the devices", "hardware.md")
_HELD = Origin("exact", "weights, optimizer and activations by the layout", "the fullest device", "hardware.md")
_TRAINING_DEGREES = ("tp", "pp", "ep", "dp", "cp", "zero", "micro_batch")
_SERVING_DEGREES = ("tp", "dp", "ep", "pp", "instances", "batch")
_TRAINING = (
    ("step", "seconds", "step_seconds"),
    ("tokens/s of a device", "", "tokens_per_second_per_device"),
    ("MFU", "%", "mfu"),
)
_SERVING = (
    ("prefill", "seconds", "prefill_seconds"),
    ("tokens/s of a user", "", "tokens_per_second_per_user"),
    ("tokens/s of a device", "", "tokens_per_second_per_device"),
    ("MFU", "%", "mfu"),
)


def plan_blocks(sources: Sequence[PageSource]) -> Iterator[PageBlock]:
    """A block for each plan."""
    for source in sources:
        record: LayoutPlanRecord | ServingPlanRecord = source.value
        yield _block(record, f"plan-{source.number}")


def _block(record: LayoutPlanRecord | ServingPlanRecord, name: str) -> PageBlock:
    serves = isinstance(record, ServingPlanRecord)
    degrees: tuple[str, ...] = _SERVING_DEGREES if serves else _TRAINING_DEGREES
    times: tuple[tuple[str, str, str], ...] = _SERVING if serves else _TRAINING
    layouts: Sequence[LayoutRecord | ServingLayoutRecord] = record.layouts
    timed = Origin("modelled", record.range, "[low, high]", "hardware.md")
    columns = [
        PageColumn("layout", is_text=True),
        *(PageColumn(each.replace("_", " "), origin=_DIVIDED) for each in degrees),
        PageColumn("memory of a device", origin=_HELD),
        *(PageColumn(word, unit, timed, is_more_better=unit != "seconds") for word, unit, _ in times),
        PageColumn("device-hours", origin=timed),
    ]
    rows = [
        [
            PageNumber(f"{number}", number, mark="" if layout.fits else "does not fit"),
            *(PageNumber(f"{getattr(layout, each):,}", getattr(layout, each)) for each in degrees),
            PageNumber(format_bytes(layout.memory_bytes_per_device, 3), layout.memory_bytes_per_device),
            *(_range(getattr(layout, field), unit) for _, unit, field in times),
            _hours(layout),
        ]
        for number, layout in enumerate(layouts, start=1)
    ]
    where = f"{record.devices:,} x {record.hardware}"
    grid = PageGrid(f"{name}-grid", f"The best of {record.considered:,} layouts on {where}", columns, rows)
    refused = [
        f"{each.count:,} layouts: {each.reason}; the nearest is {each.nearest}"
        + (f", which would hold {format_bytes(each.bytes, 3)}" if each.bytes is not None else "")
        for each in record.refused.values()
    ]
    notes = [*refused, *record.warnings]
    return PageBlock(
        "costs",
        name,
        f"{'Serving' if serves else 'Training'} {record.model} on {where}",
        f"{grid_html(grid)}{list_html(notes)}",
        f"{grid_markdown(grid)}\n{list_markdown(notes)}",
    )


def _range(ends: tuple[float, float], unit: str) -> PageNumber:
    if unit == "%":
        return PageNumber(f"{100 * ends[0]:.0f} to {100 * ends[1]:.0f}", ends[0])
    return PageNumber(range_text(ends), ends[0])


def _hours(layout: LayoutRecord | ServingLayoutRecord) -> PageNumber:
    if layout.cost is None:
        return PageNumber("-")
    hours = layout.cost.device_hours
    return PageNumber(range_text(hours), hours[0])
