"""The packaged devices, users' own, and what is said about wrong ones."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

import moewright
from moewright.errors import UserError
from moewright.hardware import known_devices, load_device, memory_per_device
from moewright.hardware.device_list import DeviceListRecord
from moewright.hardware.placement import place
from moewright.hf.loading import load_architecture
from tests.test_cli import run

QWEN = "examples/configs/qwen3-30b-a3b.json"
OWN: dict[str, Any] = {
    "memory": "10GB",
    "memory_bandwidth": "100GB",
    "peak_flops": {"bf16": "1T"},
    "node": {"devices": 2, "bandwidth": "10GB", "link": "a wire"},
}


@pytest.mark.parametrize("name", known_devices())
def test_every_figure_is_positive_ordered_and_sourced(name: str) -> None:
    device = load_device(name)
    assert min(device.memory, device.memory_bandwidth, device.node.bandwidth, *device.peak_flops.values()) > 0
    figures = {"memory", "memory_bandwidth", "peak_flops", "node"} | ({"network"} if device.network else set())
    figures |= {"board_power"} if device.board_power else set()
    assert device.sources.keys() == figures
    for source in device.sources.values():
        assert any(
            year in source for year in ("2020", "2021", "2022", "2023", "2024", "2025", "2026")
        ) or source.startswith(("assumed", "one device"))
    peaks = device.peak_flops
    narrower = [peaks[dtype] for dtype in ("fp32", "bf16", "fp8", "fp4") if dtype in peaks]
    assert narrower == sorted(narrower)
    # Every published accelerator does between 50 and 700 bf16 FLOPs in the time it reads a byte; a server some tens.
    assert 20 < peaks["bf16"] / device.memory_bandwidth < 700
    assert all(load_device(also) is device for also in device.also)


def test_the_devices_that_were_promised() -> None:
    for name in (
        "A100-80GB",
        "H100 SXM",
        "h200",
        "B200",
        "GB200",
        "MI300X",
        "mi355x",
        "L40S",
        "RTX 4090",
        "cpu-server",
    ):
        assert load_device(name).name in known_devices()


def write(path: Path, values: Any) -> Path:
    path.write_text(yaml.safe_dump(values))
    return path


def test_own_devices(tmp_path: Path) -> None:
    path = write(tmp_path / "own.yaml", {"devices": {"mine": OWN, "other": OWN | {"memory": "20GB"}}})
    assert load_device(f"{path}:other").memory == 20e9
    with pytest.raises(UserError, match=r"several devices.*mine, other"):
        load_device(path)
    alone = write(tmp_path / "alone.yaml", {"devices": {"mine": OWN}})
    found = moewright.inspect(QWEN, hardware=alone, devices=2)
    assert found.hardware is not None
    assert found.hardware.device.name == "mine"
    assert not found.hardware.memory.fits


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"memory": "10"}, "devices.mine.memory: "),
        ({"memory": "-3GB"}, "devices.mine.memory: "),
        ({"memory_bandwith": "1GB"}, "devices.mine.memory_bandwith: "),
        ({"peak_flops": {"fp32": "1T"}}, "devices.mine.peak_flops: bf16 is missing"),
        ({"peak_flops": {"bf16": "1T", "fp7": "1T"}}, "devices.mine.peak_flops.fp7: "),
        ({"peak_flops": {"bf16": "fast"}}, "devices.mine.peak_flops.bf16: "),
        ({"node": {"devices": 0, "bandwidth": "1GB", "link": "x"}}, "devices.mine.node.devices: "),
        ({"efficiency": {"memory": [0.9, 0.5]}}, "devices.mine.efficiency.memory: "),
        ({"efficiency": {"memory": [0.5, 1.5]}}, "devices.mine.efficiency.memory"),
        ({"sources": {"speed": "me"}}, "devices.mine.sources: no figure is called 'speed'"),
        ({"name": "yours"}, "devices.mine.name: "),
        ({"memory": True}, "devices.mine.memory: "),
        ({"memory": "1e30"}, "devices.mine.memory: "),
        ({"memory_bandwidth": "1e20"}, "devices.mine.memory_bandwidth: "),
        ({"peak_flops": {"bf16": "1e21"}}, "devices.mine.peak_flops.bf16: "),
        ({"node": {"devices": 8, "bandwidth": "1e30", "link": "x"}}, "devices.mine.node.bandwidth: "),
        ({"network": {"bandwidth": "1e30", "link": "x"}}, "devices.mine.network.bandwidth: "),
    ],
)
def test_a_wrong_key_is_named(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    path = write(tmp_path / "own.yaml", {"devices": {"mine": OWN | change}})
    with pytest.raises(UserError) as caught:
        load_device(path)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "values", [{"device": {}}, {"devices": {}}, {"devices": [1]}, {"devices": {"mine": 3}}, [1], 7]
)
def test_a_wrong_file(tmp_path: Path, values: Any) -> None:
    with pytest.raises(UserError, match=r"own\.yaml"):
        load_device(write(tmp_path / "own.yaml", values))


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean H100"):
        load_device("H10O")
    with pytest.raises(UserError, match="no/such"):
        load_device("no/such.yaml")


@pytest.mark.parametrize(
    ("device", "count", "says"),
    [
        ("H100", 0, "from 1"),
        ("H100", 12, "multiple of the 8"),
        ("RTX-4090", 8, "no network"),
        ("EPYC-9654-2S", 2, "no network"),
    ],
)
def test_impossible_numbers_of_devices(device: str, count: int, says: str) -> None:
    with pytest.raises(UserError, match=says):
        moewright.inspect(QWEN, hardware=device, devices=count)


def test_devices_without_hardware() -> None:
    with pytest.raises(UserError, match="devices: needs hardware"):
        moewright.inspect(QWEN, devices=2)


@pytest.mark.parametrize(("wrong"), [{"batch": 0}, {"context": 0}, {"weights_dtype": "fp6"}, {"kv_dtype": "fp6"}])
def test_impossible_loads(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(wrong)).replace("_", "-")):
        memory_per_device(load_architecture(QWEN).architecture, "H100", **({"context": 10} | wrong))


def test_placement() -> None:
    h100, gb200 = load_device("H100"), load_device("GB200")
    assert [(place(h100, n).tensor, place(h100, n).groups) for n in (1, 3, 8, 16)] == [(1, 1), (3, 1), (8, 1), (8, 2)]
    assert (place(gb200, 72).tensor, place(gb200, 12).tensor) == (8, 6)
    assert place(gb200, 72).bandwidth_between_groups == gb200.node.bandwidth
    assert place(h100, 16).bandwidth_between_groups == h100.network.bandwidth  # type: ignore[union-attr]


@pytest.mark.parametrize("line", [["inspect"], ["plan"], ["design"], ["plan", QWEN, "--devices", "8"]])
def test_list_prints_every_device(line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    not_used = f"list prints the devices; not used: {' '.join(line[1:])}" if line[1:] else ""
    code, out, err = run(capsys, *line, "--hardware", "list")
    assert (code, not_used in err, bool(err)) == (0, True, bool(not_used))
    assert all(name in out for name in known_devices())
    code, out, err = run(capsys, *line, "--hardware", "list", "--json")
    assert (code, not_used in err, bool(err)) == (0, True, bool(not_used))
    devices = DeviceListRecord.from_dict(json.loads(out)).devices
    assert {name: figures.memory for name, figures in devices.items()} == {
        name: device.memory for name, device in known_devices().items()
    }
