"""The table of `--hardware list`."""

from moewright.hardware.device_list import DeviceList
from moewright.hardware.devices import DeviceFigures
from moewright.quantities import format_bytes, format_count
from moewright.report.plain_tables import bare_table, print_catalogue, print_rows
from moewright.screen import Screen, styled

_TITLE = "Devices, FLOP/s in bf16; a YAML file of your own serves too"


def print_devices(console: Screen, found: DeviceList) -> None:
    """Print every device: on a terminal memory, bandwidth and bf16 rate, in a pipe or explained node and power too."""
    if console.is_terminal and not console.explain:
        console.print(styled("[bold]{}[/bold]", _TITLE))
        shown = [
            (name, format_bytes(each.memory, 3), format_bytes(each.memory_bandwidth, 3), _rate(each))
            for name, each in found.record.devices.items()
        ]
        print_catalogue(console, ("", "memory", "per s", "FLOP/s"), shown)
        console.point_to("nodes, links and power; a pipe has these too")
        return
    table = bare_table(_TITLE, narrow=True)
    table.add_column("name")
    for name in ("memory", "per s", "bf16 FLOP/s", "in a node", "link per s", "watts"):
        table.add_column(name, justify="right")
    for name, device in found.record.devices.items():
        table.add_row(
            name,
            format_bytes(device.memory, 3),
            format_bytes(device.memory_bandwidth, 3),
            _rate(device),
            f"{device.node.devices:,}",
            format_bytes(device.node.bandwidth, 3),
            "" if device.board_power is None else f"{device.board_power:,.0f}",
        )
    print_rows(console, table)


def _rate(device: DeviceFigures) -> str:
    return format_count(device.peak_flops["bf16"], 3)
