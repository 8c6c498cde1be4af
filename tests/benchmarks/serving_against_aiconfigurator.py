"""Decoding steps that aiconfigurator has measured: its estimate, and ours without the model, beside the measurement.

    python -m venv aic && aic/bin/pip install aiconfigurator==0.12.0
    python -m tests.benchmarks.serving_against_aiconfigurator aic/bin/aiconfigurator THROUGHPUT CONFIGS

THROUGHPUT has measurements.csv; its rows from aiconfigurator's silicon_sample.csv of the models below are asked, at the
layout, formats and batch of the row. CONFIGS has config.json files of the models. aiconfigurator takes
its measured tables and, where they lack a key, empirical factors (`--database-mode HYBRID`); what it cannot price at
all is named. Ours is the middle of a range, from coefficients that no row of the model was fitted to.
"""

import argparse
import math
import re
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from tests.benchmarks.serving_pass import Row, ends_by_fold, fit, left_out_seconds, read_rows, works

SYSTEMS = {"B200": "b200_sxm", "B300": "b300_sxm", "H100": "h100_sxm", "H200": "h200_sxm", "GB200": "gb200"}
CONFIGS = {
    ("deepseek-v3", "nvfp4"): "nvidia--DeepSeek-V3.1-NVFP4.json",
    ("deepseek-v3", "fp8"): "deepseek-ai--DeepSeek-V3.json",
    ("gpt-oss-120b", "mxfp4"): "openai--gpt-oss-120b.json",
    ("glm-5", "nvfp4"): "nvidia--GLM-5-NVFP4.json",
    ("glm-5", "fp8"): "zai-org--GLM-5-FP8.json",
}
# Its products for experts in mxfp4 on Blackwell, by server: its default has no row there.
EXPERTS = {"mxfp4": ("w4a8_mxfp4_mxfp8", "w4a16_mxfp4")}
CACHES = {"bf16": "bfloat16", "fp8": "fp8"}


def theirs(program: str, config: Path, row: Row) -> float | None:
    """Seconds of a token of each user, or None where it prices nothing."""
    tensor, data, expert, pipeline = row.layout
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(config.read_text(encoding="utf-8"), encoding="utf-8")
        asked = [
            *(program, "cli", "estimate", "--model-path", folder, "--system", SYSTEMS[row.device]),
            *("--backend", row.framework.lower(), "--estimate-mode", "static_gen", "--database-mode", "HYBRID"),
            *("--isl", str(row.prompt), "--osl", str(row.generated), "--batch-size", str(row.batch // data)),
            *("--tp-size", str(tensor), "--pp-size", str(pipeline), "--attention-dp-size", str(data)),
            *("--moe-tp-size", str(tensor * data // expert), "--moe-ep-size", str(expert)),
            *("--kvcache-quant-mode", CACHES[row.kv_dtype], "--no-color"),
        ]
        for mode in EXPERTS.get(row.stored.name, ("",)):
            told = subprocess.run(
                [*asked, *(("--moe-quant-mode", mode) if mode else ())], capture_output=True, text=True, check=False
            )
            found = re.search(r"TPOT:\s+([\d.]+) ms", told.stdout)
            if found is not None:
                return float(found[1]) / 1e3
    print(f"{row.id}: {(told.stdout + told.stderr).strip().splitlines()[-1][:150]}")
    return None


def main() -> None:
    """Ask, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("throughput", type=Path)
    parser.add_argument("configs", type=Path)
    given = parser.parse_args()
    rows, _, models = read_rows(given.throughput / "measurements.csv")
    every = works(rows, models)
    apart = left_out_seconds(every, "model", fit(every))
    middles = np.exp(np.log(ends_by_fold(every, apart, "model")).mean(axis=1))
    asked = {model for model, _ in CONFIGS}
    chosen = [
        place
        for place, work in enumerate(every)
        if work.row.model in asked
        and work.row.kind == "decode"
        and "ai-dynamo/aiconfigurator" in work.row.source
        and work.row.device in SYSTEMS
    ]
    some, ours = [every[place] for place in chosen], (apart * middles)[chosen]
    print(f"{'row':6} {'model':14} {'server':7} {'batch':>5} {'prompt':>6} {'ms':>7} {'theirs':>7} {'ours':>7}")
    errors = []
    for work, seconds in zip(some, ours, strict=True):
        row = work.row
        name = CONFIGS.get((row.model, row.stored.name))
        found = None if name is None else theirs(given.program, given.configs / name, row)
        if found is None:
            continue
        errors.append([abs(math.log(each / row.seconds)) for each in (found, seconds)])
        times = (row.seconds, found, float(seconds))
        print(
            f"{row.id:6} {row.model:14} {row.framework:7} {row.batch:5} {row.prompt:6} "
            + " ".join(f"{1e3 * each:7.2f}" for each in times),
            flush=True,
        )
    their_errors, our_errors = np.exp(np.median(np.array(errors), axis=0))
    print(f"{len(errors)} of {len(some)} rows: median error theirs {their_errors:.2f} x, ours {our_errors:.2f} x")


if __name__ == "__main__":
    main()
