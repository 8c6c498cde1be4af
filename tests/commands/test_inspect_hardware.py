"""`moewright inspect --hardware`: what it prints, as JSON and as tables."""

import io
import json
import math

import pytest

import moewright
from moewright.hardware import decode_tokens_per_second
from moewright.hf.loading import load_architecture
from moewright.report.inspection_tables import print_inspection
from moewright.screen import Screen
from tests.test_cli import run

CONFIG = "examples/configs/deepseek-v3.json"


def test_json_agrees_with_itself_and_with_the_functions(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "inspect", CONFIG, "--hardware", "h200", "--devices", "16", "--batch", "64", "--json")
    assert code == 0
    found = json.loads(out)["hardware"]
    memory = found["memory_per_device"]
    assert memory["weights"] + memory["cache"] + memory["reserve"] == pytest.approx(memory["needed"])
    assert memory["fits"] == (memory["needed"] <= memory["capacity"])
    rates = decode_tokens_per_second(load_architecture(CONFIG).architecture, "H200", devices=16, batch=64, context=4096)
    assert found["decode"]["tokens_per_second_per_sequence"] == pytest.approx(rates)
    assert found["decode"]["tokens_per_second"] == pytest.approx([64 * rate for rate in rates])
    for stage in ("decode", "prefill"):
        parts = {name: part["seconds"] for name, part in found[stage]["components"].items()}
        low, high = found[stage]["seconds"]
        assert sum(part[1] for part in parts.values()) == pytest.approx(high)
        busy = sum(part[0] for name, part in parts.items() if name not in ("communication", "overhead"))
        assert max(busy, parts["communication"][0]) + parts["overhead"][0] == pytest.approx(low)
    assert found["decode"]["experts_touched_per_layer"] == pytest.approx(256 * (1 - (1 - 8 / 256) ** 64))
    totals = [stage["total"] for stage in found["training"]["memory_per_device_by_zero_stage"].values()]
    assert totals == sorted(totals, reverse=True)


@pytest.mark.parametrize("config", ["deepseek-v3", "qwen3-30b-a3b", "jamba-v0.1", "gpt-oss-20b"])
@pytest.mark.parametrize("devices", [1, 16])
def test_tables_fit_80_columns(config: str, devices: int) -> None:
    inspection = moewright.inspect(
        f"examples/configs/{config}.json", hardware="H100", devices=devices, batch=128, tokens_per_sequence=10**6
    )
    console = Screen(explain=True, width=80, record=True, file=io.StringIO())
    print_inspection(console, inspection)
    text = console.export_text()
    assert all(len(line.rstrip()) <= 80 for line in text.splitlines())
    after = text[text.index(f"On {devices} x H100") :]
    assert "tokens/s each" in after
    assert "…" not in after
    assert not math.isnan(inspection.hardware.tokens_per_second[0])  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--devices", "2"], "devices: needs hardware"),
        (["--hardware", "H1000"], "did you mean"),
        (["--hardware", "H100", "--devices", "0"], "devices: expected"),
        (["--hardware", "missing.yaml"], "missing.yaml: cannot be read"),
    ],
)
def test_mistakes_end_in_one_line(capsys: pytest.CaptureFixture[str], options: list[str], says: str) -> None:
    code, out, err = run(capsys, "inspect", CONFIG, *options)
    assert (code, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1
