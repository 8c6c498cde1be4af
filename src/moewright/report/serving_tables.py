"""The tables of `moewright plan --serve`, made to read well at 80 columns."""

from rich.table import Table

from moewright.hardware.serving_plan import ServingPlan, serving_layout_text
from moewright.hardware.serving_record import ServingLayoutRecord, ServingPlanRecord
from moewright.quantities import format_bytes, format_range
from moewright.report.layout_tables import held_table, print_bill, print_end, print_shares
from moewright.report.plain_tables import bare_table, number_table
from moewright.screen import Screen, styled

_NAMES = {
    "attention": "attention matrices",
    "dense": "dense and shared parts, norms",
    "experts": "routed experts and routers",
    "vocabulary": "vocabulary",
    "cache": "cache, or scores",
    "gaps": "gaps between kernels and passes",
    "tensor": "tensor parallel",
    "dispatch": "experts' dispatch and combine",
    "pipeline": "between stages",
    "host": "experts in the host's memory",
}


def print_serving(console: Screen, plan: ServingPlan) -> None:
    """Print the best ways to serve, the first in full, and why others are refused."""
    record = plan.record
    best = record.layouts[0]
    after = "" if record.generate is None else f" and {record.generate:,} more"
    console.print(
        styled(
            "[bold]{}[/bold] on {} x {}, prompts of {} tokens{}, weights {}, cache {}",
            record.model,
            f"{record.devices:,}",
            record.hardware,
            f"{record.context:,}",
            after,
            record.weights_dtype,
            record.kv_dtype,
        )
    )
    console.print()
    console.print(_layouts(record))
    console.print()
    console.print(styled("[bold]The first[/bold]: --layout {}", serving_layout_text(best)))
    if console.explain:
        console.print(held_table(record, best))
    else:
        print_shares(console, "Memory", best.memory)
    if best.experts_on_host:
        console.print(
            styled("Experts of {} layers are in the memory of {}.", str(best.experts_on_host), record.experts_on or "")
        )
    if console.explain:
        console.print()
        console.print(_times(best))
    else:
        print_shares(console, "Time", [(_NAMES[name], ends[1]) for name, ends in best.components.items()])
    if console.explain:
        console.print()
    if best.cost is not None:
        print_bill(console, "Serving, the first", best.cost)
        cheapest = max(record.layouts, key=lambda layout: layout.tokens_per_second_per_device[0])
        if cheapest is not best and cheapest.cost is not None:
            named = f"Serving, {serving_layout_text(cheapest)} with batch {cheapest.batch:,}"
            print_bill(console, named, cheapest.cost)
        console.print()
    if console.explain:
        _print_flags(console, record)
    print_end(console, record)
    if not console.explain:
        console.point_to("memory and time by component, flags for servers, the nearest refused")


def _print_flags(console: Screen, record: ServingPlanRecord) -> None:
    best = record.layouts[0]
    if best.llama_cpp is not None and record.software == "local":
        console.print(styled("[bold]llama.cpp[/bold]: llama-server -m FILE {}", " ".join(best.llama_cpp)))
        return
    console.print(styled("[bold]vLLM[/bold]: vllm serve MODEL {}", " ".join(best.vllm)))
    served = " ".join(best.sglang)
    console.print(styled("[bold]SGLang[/bold]: python -m sglang.launch_server --model-path MODEL {}", served))


def _layouts(record: ServingPlanRecord) -> Table:
    table = bare_table("Layouts, fastest for each user first", narrow=True)
    for name in ("tp", "dp", "ep", "pp", "copies", "batch", "most", "memory", "first token", "tokens/s user", "device"):
        table.add_column(name, justify="right")
    for layout in record.layouts:
        table.add_row(
            *(str(getattr(layout, name)) for name in ("tp", "dp", "ep", "pp", "instances")),
            f"{layout.batch:,}",
            f"{layout.largest_batch:,}",
            format_bytes(layout.memory_bytes_per_device, 3),
            f"{format_range(layout.prefill_seconds, 2, letters=False)} s",
            format_range(layout.tokens_per_second_per_user),
            format_range(layout.tokens_per_second_per_device),
        )
    return table


def _times(layout: ServingLayoutRecord) -> Table:
    table = number_table("Time of a pass that generates", "", "ms", "share")
    for name, (low, high) in layout.components.items():
        if high > 0.001 * layout.step_seconds[1]:
            table.add_row(
                _NAMES[name],
                format_range((1e3 * low, 1e3 * high), letters=False),
                f"{high / layout.step_seconds[1]:.0%}",
            )
    return table
