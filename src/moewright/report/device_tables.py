"""The table of `--hardware list`."""

from moewright.hardware.device_list import DeviceList
from moewright.quantities import format_bytes, format_count
from moewright.report.plain_tables import bare_table
from moewright.screen import Screen


def print_devices(console: Screen, found: DeviceList) -> None:
    """Print name, memory, bandwidth, bf16 rate, node and power of every device."""
    table = bare_table("Devices; a YAML file of your own serves too", narrow=True)
    table.add_column("name")
    for name in ("memory", "per s", "bf16 FLOP/s", "in a node", "link per s", "watts"):
        table.add_column(name, justify="right")
    for name, device in found.record.devices.items():
        table.add_row(
            name,
            format_bytes(device.memory, 3),
            format_bytes(device.memory_bandwidth, 3),
            format_count(device.peak_flops["bf16"], 3),
            f"{device.node.devices:,}",
            format_bytes(device.node.bandwidth, 3),
            "" if device.board_power is None else f"{device.board_power:,.0f}",
        )
    console.print(table)
