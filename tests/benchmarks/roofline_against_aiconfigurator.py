"""Decoding at the speed of light, beside NVIDIA's aiconfigurator in its speed-of-light mode.

    python -m venv aic && aic/bin/pip install aiconfigurator==0.12.0
    python tests/benchmarks/roofline_against_aiconfigurator.py aic/bin/aiconfigurator

One device of each kind, all efficiency factors 1. Its device figures are put in, so that only the two accountings
differ (it gives the H200 989 TFLOP/s in bf16, as here). It counts min(E, K x batch) experts; here it is the expected
number of distinct ones. The last column is what remains when its number of experts is put in here as well.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from moewright.architecture import Architecture
from moewright.architecture.spec import WeightFormatName
from moewright.hardware import SPEED_OF_LIGHT, decode_tokens_per_second, load_device
from moewright.hardware.placement import distinct_experts
from moewright.hf.loading import load_architecture

CONFIGS = Path(__file__).parents[2] / "examples" / "configs"
# Its name for the weights, ours.
MODELS: dict[str, tuple[str, WeightFormatName]] = {
    "qwen3-30b-a3b": ("bfloat16", "bf16"),
    "mixtral-8x7b": ("bfloat16", "bf16"),
    "deepseek-v3": ("fp8_block", "fp8"),
}
CONTEXT = 4096
DEVICE = load_device("H200").model_copy(update={"efficiency": SPEED_OF_LIGHT})


def theirs(program: str, config: Path, batch: int, dtype: str) -> float:
    """Milliseconds of one decoding step by aiconfigurator."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(config.read_text())
        told = subprocess.run(
            [
                *(program, "cli", "estimate", "--model-path", folder, "--system", "h200_sxm", "--backend", "trtllm"),
                *("--database-mode", "SOL", "--estimate-mode", "static_gen", "--osl", "2", "--no-color"),
                *("--isl", str(CONTEXT), "--batch-size", str(batch)),
                *("--tp-size", "1", "--moe-tp-size", "1", "--moe-ep-size", "1"),
                *("--gemm-quant-mode", dtype, "--moe-quant-mode", dtype),
                *("--kvcache-quant-mode", "bfloat16", "--fmha-quant-mode", "bfloat16"),
            ],
            capture_output=True,
            text=True,
        )
    found = re.search(r"TPOT:\s+([\d.]+) ms", told.stdout)
    if found is None:
        sys.exit(told.stdout[-2000:] + told.stderr[-2000:])
    return float(found[1])


def experts_of(architecture: Architecture, batch: int) -> tuple[float, float]:
    """Milliseconds to read the experts of one step: the expected number of distinct ones, and min(E, K x batch)."""
    expected = most = 0.0
    for times, moe in architecture.moe_layers():
        (group,) = moe.groups
        one = times * 3 * group.expert_size * architecture.hidden_size / DEVICE.memory_bandwidth * 1e3
        expected += one * distinct_experts(group.count, group.top_k, batch)
        most += one * min(group.count, group.top_k * batch)
    return expected, most


def main(program: str) -> None:
    """Print both, and ours with their number of experts."""
    print(f"{'ms for one token':16s} {'batch':>6s} {'theirs':>9s} {'ours':>9s} {'ratio':>7s} {'their experts':>15s}")
    for name, (dtype, ours_dtype) in MODELS.items():
        config = CONFIGS / f"{name}.json"
        architecture = load_architecture(config).architecture
        for batch in (1, 16, 128):
            they = theirs(program, config, batch, dtype)
            rate, _ = decode_tokens_per_second(
                architecture, DEVICE, batch=batch, context=CONTEXT, weights_dtype=ours_dtype
            )
            we = 1e3 / rate
            expected, most = experts_of(architecture, batch)
            adjusted = we + (most - expected) * (2 if ours_dtype == "bf16" else 1)
            print(f"{name:16s} {batch:6d} {they:9.3f} {we:9.3f} {we / they:7.3f} {adjusted / they:15.3f}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
