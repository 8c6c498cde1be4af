"""`moewright export`: files and notes, and one line with exit 2 for what is wrong."""

import json
from pathlib import Path

import pytest

from tests.test_cli import run

QWEN = "examples/configs/qwen3-30b-a3b.json"


def test_prints_what_was_converted(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    code, text, err = run(capsys, "export", QWEN, "--format", "megatron", "--out", str(out), "--balance-loss", "0.01")
    assert (code, err) == (0, "")
    assert "balance loss 0.01: --moe-aux-loss-coeff 0.000208333" in text  # 0.01 / 48
    assert "30,532,122,624" in text
    assert sorted(path.name for path in out.iterdir()) == ["megatron_config.json", "pretrain_gpt_args.sh"]


def test_json(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, text, err = run(capsys, "export", QWEN, "--format", "hf", "--out", str(tmp_path / "out"), "--json")
    found = json.loads(text)
    assert (code, err) == (0, "")
    assert found["files"] == ["config.json"]
    assert found["total_params"] == 30532122624


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("{qwen} --out {new}", "--format"),
        ("{qwen} --format megatron", "--out"),
        ("{qwen} --format megatorn --out {new}", "did you mean megatron"),
        ("{qwen} --format jax --out {new}", "known: hf, megatron, olmo-core, torchtitan"),
        ("{qwen} --format hf --out examples", "out: examples exists"),
        ("{qwen} --format hf --out README.md", "out: README.md exists"),
        ("{qwen} --format hf --out README.md/new", "out: README.md/new cannot be made"),
        ("nothing.json --format hf --out {new}", "nothing.json"),
        ("examples --format hf --out {new}", "config.json"),
        ("README.md --format hf --out {new}", "README.md"),
        ("examples/hybrid.yaml --format megatron --out {new}", "gated_delta_net"),
        ("examples/configs/gpt-oss-20b.json --format torchtitan --out {new}", "sinks"),
        ("{qwen} --format megatron --out {new} --balance-loss much", "balance-loss"),
        ("{qwen} --format megatron --out {new} --balance-loss -1", "balance-loss"),
        ("{qwen} --format megatron --out {new} --balance-loss nan", "balance-loss"),
        ("{qwen} --format torchtitan --out {new} --balance-loss 0.01", "balance-loss"),
        ("{qwen} --format megatron --out {new} --scope sequence", "--scope"),
    ],
)
def test_mistakes_get_one_line_exit_2_and_no_folder(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: str, named: str
) -> None:
    new = tmp_path / "new"
    code, out, err = run(capsys, "export", *arguments.format(qwen=QWEN, new=new).split())
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert named in err
    assert list(tmp_path.iterdir()) == []
