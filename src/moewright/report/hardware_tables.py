"""The tables of `moewright inspect --hardware`, made to read well at 80 columns."""

from operator import itemgetter

from rich.table import Table

from moewright.architecture.inventory import COMPONENT_WORDS
from moewright.hardware.assessment import Assessment, LowHigh, StageTime
from moewright.hardware.inspection_record import BILLED_WORDS
from moewright.hardware.layout_record import BillRecord
from moewright.hardware.pretraining import MODEL_FLOPS_UTILISATION
from moewright.quantities import format_bytes, format_count, format_range
from moewright.report.layout_tables import print_bill
from moewright.report.plain_tables import number_table, print_labelled
from moewright.screen import Screen, lines, styled

_NAMES = dict[str, str](COMPONENT_WORDS.items()) | {
    "attention": "attention matrices",
    "cache": "attention over cache",
    "communication": "communication",
    "overhead": "gaps, latencies",
}
_BOUNDS = {"memory": "memory", "compute": "compute", "communication": "links", "overhead": "gaps"}


def print_hardware(console: Screen, found: Assessment) -> None:
    """Print what fits, how fast it is, and what training takes."""
    one = found.devices == 1
    if not console.explain:
        _print_in_short(console, found)
        return
    console.print()
    console.print(styled("[bold]On {} x {}[/bold]: {}", found.devices, found.device.name, found.device.description))
    if not one:
        console.print(_placed(found))
    for table in (_memory(found), _stages(found)):
        console.print()
        console.print(table)
    console.print()
    _print_training(console, found)
    for what, cost in _bills(found):
        print_bill(console, what, cost)
    console.print(
        "Ranges: all efficiency factors at their good, and all at their bad end.",
    )


def _print_in_short(console: Screen, found: Assessment) -> None:
    memory = found.memory
    needed, holds = format_bytes(memory.capacity - memory.spare), format_bytes(memory.capacity)
    verdict = "fits: " if memory.fits else "does not fit: "
    speeds, (first, last) = found.tokens_per_second_per_sequence, found.training_tokens_per_day
    lines_ = (
        (
            f"{found.devices} x {found.device.name}",
            f"{verdict}{needed} of {holds} on the fullest, {format_bytes(memory.reserve, 2)} kept free",
        ),
        (
            "",
            f"{_number(speeds[0])}-{_number(speeds[1])} tokens/s for each of {found.batch:,}, "
            f"first token {_seconds(found.prefill.seconds)}",
        ),
        ("", f"training {format_count(first, 3)}-{format_count(last, 3)} tokens a day; all of this is modelled"),
    )
    print_labelled(console, (*lines_, *_bills_in_short(found)))


def _bills_in_short(found: Assessment) -> list[tuple[str, str]]:
    """A line for the devices at their price, and one for their power."""
    kept = []
    for field, label in (("money", "price"), ("energy_money", "power")):
        amounts = [(words, getattr(cost, field)) for words, cost in _bills(found)]
        said = [f"{words} {format_range((low, high), 2)}" for words, (low, high) in filter(itemgetter(1), amounts)]
        if said:
            kept.append((label, ", ".join(said)))
    return kept


def _bills(found: Assessment) -> list[tuple[str, BillRecord]]:
    return [(BILLED_WORDS[work], cost) for work, cost in (found.bills or {}).items()]


def _placed(found: Assessment) -> str:
    placement = found.placement
    if placement.groups == 1:
        return f"tensor parallel {placement.tensor} over {found.device.node.link}, experts over all devices"
    return (
        f"{placement.groups} groups of {placement.tensor} (tensor parallel, {found.device.node.link}), experts over "
        f"all {placement.devices} ({placement.link_between_groups} between groups)"
    )


def _memory(found: Assessment) -> Table:
    memory = found.memory
    table = number_table("Memory of the fullest device", "", "bytes", "share")
    rows = [
        (f"weights in {found.weights_dtype}", memory.weights),
        (f"cache: {found.batch:,} x {found.context:,} tokens in {found.kv_dtype}", memory.cache),
        ("kept free for activations and buffers", memory.reserve),
    ]
    for name, size in rows:
        table.add_row(name, format_bytes(size), f"{size / memory.capacity:.1%}")
    verdict = styled("[bold green]fits[/], left" if memory.fits else "[bold red]does not fit[/], missing")
    table.add_row(verdict, format_bytes(abs(memory.spare)), f"{abs(memory.spare) / memory.capacity:.1%}")
    return table


def _stages(found: Assessment) -> Table:
    load = f"batch {found.batch:,}, context {found.context:,} tokens, products in {found.compute_dtype}"
    title = lines("Time of one token (decode) and of all prompts (prefill):", load)
    table = number_table(title, "", "decode", "bound", "prefill", "bound")
    for name, words in _NAMES.items():
        decode, prefill = found.decode.components.get(name), found.prefill.components.get(name)
        # What rounds to nothing in both is not worth a row.
        if decode is None or prefill is None or not (_counts(found.decode, name) or _counts(found.prefill, name)):
            continue
        table.add_row(
            words, _seconds(decode.seconds), _BOUNDS[decode.bound], _seconds(prefill.seconds), _BOUNDS[prefill.bound]
        )
    table.add_section()
    table.add_row(
        styled("[bold]all[/bold]"),
        styled("[bold]{}[/bold]", _seconds(found.decode.seconds)),
        _bound(found.decode),
        styled("[bold]{}[/bold]", _seconds(found.prefill.seconds)),
        _bound(found.prefill),
    )
    low, high = found.tokens_per_second_per_sequence
    table.add_row("tokens/s each", f"{_number(low)} to {_number(high)}", "", "", "")
    if found.batch > 1:
        low, high = found.tokens_per_second
        table.add_row("tokens/s in total", f"{_number(low)} to {_number(high)}", "", "", "")
    if found.decode.experts_touched is not None and found.prefill.experts_touched is not None:
        touched = (f"{stage.experts_touched:.1f}" for stage in (found.decode, found.prefill))
        decode_touched, prefill_touched = touched
        table.add_row("experts of a layer used", decode_touched, "", prefill_touched, "")
    return table


def _counts(stage: StageTime, name: str) -> bool:
    return stage.components[name].seconds[1] > 0.001 * stage.seconds[1]


def _bound(stage: StageTime) -> str:
    fast, slow = stage.bound
    return _BOUNDS[fast] if fast == slow else f"{_BOUNDS[fast]}, {_BOUNDS[slow]}"


def _print_training(console: Screen, found: Assessment) -> None:
    low, high = found.training_tokens_per_day
    hours = found.device_hours_per_trillion_tokens
    share = " to ".join(f"{value:.0%}" for value in MODEL_FLOPS_UTILISATION)
    experts = f", experts over {found.training_expert_parallel}" if found.training_expert_parallel > 1 else ""
    console.print(
        styled(
            "[bold]Training[/bold] at {} of the bf16 peak: {} to {} tokens a day,\n{} to {} device-hours for 1T "
            "tokens. Memory of the fullest device:\nAdamW, {}",
            share,
            *(format_count(amount, 3) for amount in (low, high, *hours)),
            f"{found.devices} data parallel{experts}, 1 x {found.context:,} tokens",
        )
    )
    table = number_table(None, "", *(f"ZeRO {stage}" for stage in found.training_memory))
    for name in ("weights", "gradients", "optimizer", "activations", "logits", "total"):
        sizes = [float(getattr(kept, name)) for kept in found.training_memory.values()]
        if any(sizes):
            table.add_row(name, *(format_bytes(size, 3) for size in sizes))
    console.print(table)


def _seconds(ends: LowHigh) -> str:
    low, high = ends
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if high >= size:
            return f"{_number(low / size)}-{_number(high / size)} {unit}"
    return f"{_number(low / 1e-6)}-{_number(high / 1e-6)} us"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
