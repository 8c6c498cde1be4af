"""The tables of `moewright plan`, made to read well at 80 columns."""

from collections.abc import Iterable

from rich.table import Table

from moewright.hardware.layout_plan import LayoutPlan, layout_text
from moewright.hardware.layout_record import BillRecord, LayoutPlanRecord, LayoutRecord
from moewright.hardware.layout_search import TOLD_APART
from moewright.hardware.serving_record import ServingLayoutRecord, ServingPlanRecord
from moewright.quantities import format_bytes, format_count, format_figure, format_range
from moewright.report.plain_tables import bare_table, number_table
from moewright.screen import Screen, styled

_NAMES = {
    "attention": "attention scores",
    "dense": "attention matrices, dense and shared parts",
    "experts": "routed experts and routers",
    "vocabulary": "vocabulary",
    "elementwise": "norms, activations, permutation",
    "gaps": "gaps between kernels",
    "recomputation": "recomputation",
    "dispatch": "experts' dispatch and combine",
    "tensor": "tensor parallel",
    "context": "context parallel",
    "pipeline": "between stages",
    "bubble": "pipeline bubble",
    "data": "gradients and weights between copies",
    "optimizer": "optimizer",
}


_MOST_PARTS = 3


def print_layouts(console: Screen, plan: LayoutPlan) -> None:
    """Print the best layouts, the first in full, and why the others are refused."""
    record = plan.record
    best = record.layouts[0]
    console.print(
        styled(
            "[bold]{}[/bold] on {} x {}, {} tokens a step in sequences of {}, {}",
            record.model,
            f"{record.devices:,}",
            record.hardware,
            format_count(record.global_batch),
            f"{record.sequence_length:,}",
            record.precision,
        )
    )
    console.print()
    console.print(_layouts(record))
    console.print()
    # To be copied: a terminal breaks the line, no line end does.
    console.print(styled("[bold]The first[/bold]: --layout {}", layout_text(best)), soft_wrap=True)
    if console.explain:
        console.print(held_table(record, best))
        console.print()
        console.print(_times(best))
    else:
        print_shares(console, "Memory", best.memory)
        print_shares(console, "Time", [(_NAMES[name], ends[1]) for name, ends in best.components.items()])
    if best.cost is not None:
        console.print()
        print_bill(console, "Training", best.cost)
    if record.lifetime is not None:
        console.print()
        life = record.lifetime
        served = f"{life.context:,} tokens of prompt, {life.generate:,} of answer, {life.layout}, batch {life.batch:,}"
        print_bill(console, f"Serving {format_count(life.tokens)} tokens", life.serving)
        console.print(styled("({})", served))
        if life.together is not None:
            print_bill(console, "Together", life.together)
    if console.explain:
        console.print()
        console.print(styled("[bold]Megatron-LM[/bold]: {}", " ".join(best.megatron)))
        if best.torchtitan is not None:
            console.print(styled("[bold]torchtitan[/bold]: {}", " ".join(best.torchtitan)))
    print_end(console, record)
    if not console.explain:
        console.point_to("memory and time by component, flags for trainers, the nearest refused")


def _layouts(record: LayoutPlanRecord) -> Table:
    several = f"Layouts, fastest first; of those within {TOLD_APART:.0%} the least spread leads"
    table = bare_table(several if len(record.layouts) > 1 else "Layout", narrow=True)
    for name in ("tp", "pp", "chunks", "cp", "ep", "dp", "zero", "batch"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("again")
    for name in ("memory", "step, s", "tokens/s each", "MFU, %"):
        table.add_column(name, justify="right", no_wrap=True)
    for layout in record.layouts:
        table.add_row(
            *(str(getattr(layout, name)) for name in ("tp", "pp", "chunks", "cp", "ep", "dp", "zero")),
            f"{layout.micro_batch}x{layout.micro_batches}",
            _again(layout.recompute),
            format_bytes(layout.memory_bytes_per_device, 3),
            format_range(layout.step_seconds, letters=False),
            "-".join(format_count(value, 3) for value in layout.tokens_per_second_per_device),
            "-".join(f"{100 * share:.0f}" for share in layout.mfu),
        )
    return table


def _again(recompute: str) -> str:
    """What is computed again, in a narrow column: the words of the first stand below, in its --layout."""
    modules = recompute.split("+")
    return "none" if recompute == "attention_scores" else f"{len(modules)} parts" if modules[1:] else recompute


def held_table(record: LayoutPlanRecord | ServingPlanRecord, layout: LayoutRecord | ServingLayoutRecord) -> Table:
    """What the fullest device of a layout holds, by component."""
    table = number_table("Memory of the fullest device", "", "bytes", "of what may be used")
    for name, size in [*layout.memory, ("all", layout.memory_bytes_per_device)]:
        if size:
            table.add_row(name, format_bytes(size, 3), f"{size / record.usable_memory:.0%}")
    return table


def _times(layout: LayoutRecord) -> Table:
    table = number_table("Time of a step", "", "seconds", "share")
    for name, (low, high) in layout.components.items():
        if high > 0.001 * layout.step_seconds[1]:
            table.add_row(
                _NAMES[name], format_range((low, high), letters=False), f"{high / layout.step_seconds[1]:.0%}"
            )
    return table


def print_bill(console: Screen, what: str, cost: BillRecord) -> None:
    """A line with device-hours, and what they cost where that is known."""

    def pair(values: tuple[float, float] | None, said: str) -> str:
        return "" if values is None else f", {' to '.join(map(format_figure, values))} {said}"

    parts = (
        pair(cost.device_hours, "device-hours"),
        pair(cost.money, "at that price"),
        pair(cost.energy_kwh, "kWh"),
        pair(cost.energy_money, "for power"),
    )
    console.print(styled("[bold]{}[/bold]: {}", what, "".join(parts)[2:]))


def print_shares(console: Screen, what: str, parts: Iterable[tuple[str, float]]) -> None:
    """A line with the largest parts of a whole, in per cent."""
    sizes = sorted(parts, key=lambda part: -part[1])
    whole = sum(size for _, size in sizes)
    largest = ", ".join(f"{name} {size / whole:.0%}" for name, size in sizes[:_MOST_PARTS] if size)
    console.print(styled("[bold]{}[/bold] {}", f"{what:6}", largest))


def print_end(console: Screen, record: LayoutPlanRecord | ServingPlanRecord) -> None:
    """Why layouts are refused, what the ranges mean, and warnings."""
    if record.refused and console.explain:
        console.print()
        console.print(_refused(record))
    if console.explain:
        console.print()
    if record.refused and not console.explain:
        refused = sum(each.count for each in record.refused.values())
        console.print(f"Refused: {refused:,} of {record.considered:,} considered.")
    console.print(f"Ranges: {record.range}.")
    for warning in record.warnings:
        console.print(warning)


def _refused(record: LayoutPlanRecord | ServingPlanRecord) -> Table:
    table = bare_table(f"Refused, of {record.considered:,} considered")
    table.add_column("layouts", justify="right")
    table.add_column("why, and the nearest")
    for refused in record.refused.values():
        held = "" if refused.bytes is None else f" ({format_bytes(refused.bytes, 3)})"
        table.add_row(f"{refused.count:,}", f"{refused.reason}: {refused.nearest}{held}")
    return table
