"""Fits the coefficients of a training step to public measurements and judges them on others.

    python -m tests.benchmarks.training_step THROUGHPUT CONFIGS [--out training_coefficients.yaml]

THROUGHPUT is a folder with measurements.csv (columns: model, device, num_devices, tp, pp, ep, cp, sequence_length,
global_batch_tokens_or_batch, precision, value, unit, source, note), CONFIGS one with config.json files of the models.
Without --out it only judges the packaged coefficients.

A row can be priced where its model's config, its device, its expert degree, batch and sequence length are known. Rows
whose notes call them untuned, dropping or a regression are left out: what is predicted is tuned software. A seeded hash
of model and source says, before anything is fitted, which rows are fitted and which only judged.
"""

import argparse
import hashlib
import json
import math
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import least_squares

from moewright.architecture import Architecture
from moewright.architecture.counts import active_params, total_params, training_flops_per_token
from moewright.errors import UserError
from moewright.hardware.activations import recompute_code
from moewright.hardware.devices import load_device
from moewright.hardware.training_coefficients import StepCoefficient, StepCoefficients, StepRange, training_coefficients
from moewright.hardware.training_step import PRODUCT_FORMATS, LayoutColumns, TrainingPrecision, step_seconds
from moewright.hf import load_architecture

SPLIT = "moewright training step 2026"
FIT_SHARE = 3  # of five
CONFIGS = {
    "DeepSeek-V3": "deepseek-ai--DeepSeek-V3.json",
    "DeepSeek-V4-Flash": "deepseek-ai--DeepSeek-V4-Flash.json",
    "GPT-OSS-120B": "openai--gpt-oss-120b.json",
    "Kimi-K2": "moonshotai--Kimi-K2-Instruct.json",
    "Nemotron-3-Nano-30B-A3B": "nvidia--NVIDIA-Nemotron-3-Nano-30B-A3B-BF16.json",
    "Nemotron-3-Ultra-550B-A55B": "nvidia--NVIDIA-Nemotron-3-Ultra-550B-A55B-BF16.json",
    "Qwen3-235B-A22B": "Qwen--Qwen3-235B-A22B.json",
    "Qwen3-30B-A3B": "Qwen--Qwen3-30B-A3B.json",
    "Qwen3-Next-80B-A3B": "Qwen--Qwen3-Next-80B-A3B-Instruct.json",
    "Mixtral-8x7B": "mistralai--Mixtral-8x7B-v0.1.json",
    "Mixtral-8x22B": "mistralai--Mixtral-8x22B-v0.1.json",
}
UNTUNED = (
    "overlap off",
    "baseline",
    "regression",
    "not well tuned",
    "tokendrop",
    "capacity",
    "before",
    "partial CUDA graph",
    "learned",
    "not final",
    "user report",
)
PRIORS: dict[str, tuple[float, float, str]] = {
    # value, standard deviation of its logarithm, where it is from
    "products_bf16": (0.65, 0.2, "DeepGEMM's README, 2025; roofline's range"),
    "products_fp8": (0.5, 0.3, "DeepGEMM's README, 2025; roofline's range"),
    "products_fp4": (0.35, 0.4, "assumed"),
    "mixing": (0.45, 0.3, "FlashAttention-3, arXiv 2407.08608, backward passes included"),
    "memory": (0.8, 0.1, "BabelStream results, University of Bristol"),
    "rows_half": (80.0, 0.4, "forward timings of MoE layers, ai-dynamo/aiconfigurator at 095f58a"),
    "width_half": (600.0, 0.6, "forward timings of MoE layers, ai-dynamo/aiconfigurator at 095f58a"),
    "elementwise": (3.0, 0.4, "assumed: written, read by the next pass and by the backward pass"),
    "gap_of_a_mixer": (2e-4, 0.7, "assumed: some thirty kernels, forward and backward"),
    "gap_of_a_mixture": (4e-4, 0.7, "assumed: some sixty kernels and two synchronisations"),
    "links": (0.6, 0.3, "DeepEP's README, 2025; nccl-tests"),
    "network": (0.6, 0.4, "DeepEP's README, 2025"),
    "exposed_dispatch": (0.6, 0.4, "assumed"),
    "exposed_tensor": (0.7, 0.3, "assumed"),
    "exposed_data": (0.3, 0.5, "assumed"),
}
NOISE = 0.25


@dataclass(frozen=True)
class Row:
    """A measurement that can be priced."""

    id: str
    model: str
    source: str
    device: str
    devices: int
    precision: TrainingPrecision
    tokens_per_sequence: int
    layout: tuple[int, ...]
    """In the order of LayoutColumns."""
    seconds: float
    fitted: bool

    @property
    def setting(self) -> tuple[Any, ...]:
        """What point releases of one recipe share."""
        return self.model, self.source, self.device, self.devices, self.precision, self.layout


def is_fitted(model: str, source: str) -> bool:
    """Whether rows of a model from a source are fitted; the others are only judged."""
    text = f"{SPLIT}|{model}|{source}"
    return int(hashlib.sha256(text.encode()).hexdigest(), 16) % 5 < FIT_SHARE


def architectures(folder: Path) -> dict[str, Architecture]:
    """The models by the names of the table."""
    found: dict[str, Architecture] = {}
    for name, file in CONFIGS.items():
        example = Path("examples/configs") / f"{name.lower()}.json"
        path = folder / file if (folder / file).is_file() else example
        if path.is_file():
            found[name] = load_architecture(path).architecture
    ultra = folder / CONFIGS["Nemotron-3-Ultra-550B-A55B"]
    if ultra.is_file():
        found["Nemotron-3-Super-120B-A12B"] = _nemotron_super(json.loads(ultra.read_text(encoding="utf-8")))
    return found


def _nemotron_super(ultra: dict[str, Any]) -> Architecture:
    """Nemotron 3 Super with the sizes that the table has and its sister's build; held against its 120B and 12B."""
    sizes = {
        "hidden_size": 4096,
        "moe_intermediate_size": 2688,
        "moe_latent_size": 1024,
        "moe_shared_expert_intermediate_size": 5376,
        "intermediate_size": 2688,
        "mamba_num_heads": 128,
        "num_attention_heads": 32,
        "layers_block_type": (["mamba", "moe"] * 5 + ["attention"]) * 8,
    }
    model = load_architecture({**ultra, **sizes}).architecture
    found = total_params(model), active_params(model)
    if not (114e9 < found[0] < 126e9 and 11e9 < found[1] < 13.5e9):
        raise SystemExit(f"Nemotron 3 Super: {found[0]:.4g} and {found[1]:.4g} parameters are not 120B and 12B")
    return model


def read_rows(table: Path, models: dict[str, Architecture]) -> tuple[list[Row], dict[str, int]]:
    """Rows that can be priced, and how many cannot by reason."""
    frame = pd.read_csv(table)
    rows: list[Row] = []
    left: dict[str, int] = defaultdict(int)
    for row in frame[frame.kind == "train"].itertuples():
        reason, priced = _priced(row, models)
        if priced is None:
            left[reason] += 1
        else:
            rows.append(priced)
    return rows, dict(left)


def _priced(row: Any, models: dict[str, Architecture]) -> tuple[str, Row | None]:
    note = "" if row.note != row.note else str(row.note)
    if row.model not in models:
        return "model's config not known", None
    if any(word in note for word in UNTUNED):
        return "untuned by its own note", None
    if any(value != value for value in (row.num_devices, row.ep, row.sequence_length, row.device)):
        return "layout not given", None
    try:
        device = load_device(row.device)
    except UserError:
        return "device not known", None
    degree = {name: 1 if pd.isna(getattr(row, name)) else int(getattr(row, name)) for name in ("tp", "pp", "cp")}
    devices, sequence = int(row.num_devices), int(row.sequence_length)
    data, rest = divmod(devices, degree["tp"] * degree["pp"] * degree["cp"])
    batch = str(row.global_batch_tokens_or_batch)
    if rest or not batch.isdigit() or int(batch) < sequence:
        return "batch or degrees do not divide", None
    micro = _number(r"MBS (\d+)", note, 1)
    count, rest = divmod(int(batch) // sequence, data * micro)
    if rest or not count or (devices // degree["pp"]) % int(row.ep):
        return "batch or degrees do not divide", None
    precision: TrainingPrecision = "bf16"
    if str(row.precision).upper() in ("MXFP8", "FP8-MX", "FP8", "FP8-CS", "FP8-BLOCKWISE"):
        precision = "fp8"
    elif str(row.precision).upper() == "NVFP4":
        precision = "nvfp4"
    chunks = _number(r"VP (\d+)", note, 1) if degree["pp"] > 1 else 1
    zero = 3 if "FSDP" in note and degree["pp"] == 1 else 1
    again = recompute_code("layers") if "full recompute" in note else 0
    layout = (degree["tp"], degree["pp"], int(row.ep), data, degree["cp"], chunks, micro, count, zero, again)
    step = re.search(r"step ([\d.]+) ?(ms|s)\b|([\d.]+) s/iter", note)
    if row.unit == "tokens_per_second_per_device":
        seconds = int(batch) / devices / row.value
    elif step:
        seconds = float(step[3] or step[1]) / (1000 if step[2] == "ms" else 1)
    elif row.unit == "TFLOPs_per_device":
        flops = float(training_flops_per_token(models[row.model], sequence))
        seconds = int(batch) / devices * flops / (row.value * 1e12)
    else:
        return "unit is not a rate", None
    source = str(row.source).split(":")[0]
    fitted = is_fitted(row.model, source)
    return "", Row(row.id, row.model, source, device.name, devices, precision, sequence, layout, seconds, fitted)


def _number(pattern: str, note: str, default: int) -> int:
    found = re.search(pattern, note)
    return int(found[1]) if found else default


def predicted(rows: list[Row], models: dict[str, Architecture], coefficients: StepCoefficients) -> Any:
    """Seconds of a step for each row."""
    seconds = np.zeros(len(rows))
    groups: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        groups[row.model, row.device, row.devices, row.precision, row.tokens_per_sequence].append(place)
    for (model, device, devices, precision, tokens), places in groups.items():
        columns = LayoutColumns(*np.array([rows[place].layout for place in places]).T)
        parts = step_seconds(
            models[model],
            load_device(device),
            devices,
            columns,
            tokens_per_sequence=tokens,
            precision=precision,
            coefficients=coefficients,
        )
        seconds[places] = sum(parts.values())
    return seconds


def with_values(values: Any) -> StepCoefficients:
    """StepCoefficients with these values and nothing else known."""
    held: dict[Any, StepCoefficient] = {
        name: StepCoefficient.model_construct(
            value=float(value), spread=(float(value), float(value)), source=PRIORS[name][2]
        )
        for name, value in zip(PRIORS, values, strict=True)
    }
    none = StepRange.model_construct(factors=(1.0, 1.0), source="")
    unknown: dict[str, Any] = {"measured_devices": (), "measured_formats": (), "measured": none, "unmeasured": none}
    return StepCoefficients.model_construct(coefficients=held, **unknown)


def weights(rows: list[Row]) -> Any:
    """Each setting counts once, however many releases were measured."""
    count: dict[Any, int] = defaultdict(int)
    for row in rows:
        count[row.setting] += 1
    return np.array([1 / count[row.setting] for row in rows])


def fit(rows: list[Row], models: dict[str, Architecture], start: Any = None, importance: Any = None) -> Any:
    """Values of the coefficients: least squares of logarithms with the priors."""
    centre = np.log([value for value, _, _ in PRIORS.values()])
    widths = np.array([width for _, width, _ in PRIORS.values()])
    measured = np.log([row.seconds for row in rows])
    each = np.sqrt(weights(rows) * (1 if importance is None else importance)) / NOISE

    def residuals(logs: Any) -> Any:
        apart = np.log(predicted(rows, models, with_values(np.exp(logs)))) - measured
        robust = np.sign(apart) * np.sqrt(2 * 0.3**2 * (np.sqrt(1 + (apart / 0.3) ** 2) - 1))
        return np.concatenate([each * robust, (logs - centre) / widths])

    return np.exp(least_squares(residuals, centre if start is None else np.log(start), diff_step=1e-3, max_nfev=12).x)


def main() -> None:
    """Fit where --out says where to, and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("throughput", type=Path)
    parser.add_argument("configs", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--bootstrap", type=int, default=8)
    given = parser.parse_args()
    models = architectures(given.configs)
    rows, left = read_rows(given.throughput / "measurements.csv", models)
    print(f"{len(rows)} rows are priced; left out: {left}")
    fitted, judged = [row for row in rows if row.fitted], [row for row in rows if not row.fitted]
    coefficients = training_coefficients() if given.out is None else _fitted(fitted, models, given.bootstrap)
    if given.out is not None:
        coefficients.write(given.out)
    for name, some in (("fitted", fitted), ("judged", judged)):
        report(name, some, models, coefficients)
    pairs(judged, models, coefficients, "judged")
    pairs(fitted, models, coefficients, "fitted")


def _fitted(rows: list[Row], models: dict[str, Architecture], samples: int) -> StepCoefficients:
    values = fit(rows, models)
    sources = sorted({(row.model, row.source) for row in rows})
    random = np.random.default_rng(2026)
    drawn = []
    for _ in range(samples):
        chosen = random.multinomial(len(sources), [1 / len(sources)] * len(sources))
        times = dict(zip(sources, chosen, strict=True))
        drawn.append(fit(rows, models, values, np.array([times[row.model, row.source] for row in rows])))
    low, high = np.quantile(np.array(drawn), [0.1, 0.9], axis=0)
    sources_text = f"fitted to {len(rows)} public measurements of training (`python -m tests.benchmarks.training_step`)"
    held: dict[Any, StepCoefficient] = {}
    for place, (name, (_, _, prior)) in enumerate(PRIORS.items()):
        inside = (low[place], values[place], high[place])
        ends = [float(f"{end:.3g}") for end in (min(inside), max(inside))]
        held[name] = StepCoefficient(
            value=float(f"{values[place]:.3g}"), spread=(ends[0], ends[1]), source=f"{sources_text}; prior: {prior}"
        )
    apart = np.log([row.seconds for row in rows]) - np.log(predicted(rows, models, with_values(values)))
    low_end, high_end = (math.exp(_quantile(apart, weights(rows), share)) for share in (0.1, 0.9))
    reach = (float(f"{low_end:.3g}"), float(f"{high_end:.3g}"))
    return StepCoefficients(
        coefficients=held,
        measured_devices=tuple(sorted({row.device for row in rows})),
        measured_formats=tuple(sorted({PRODUCT_FORMATS[row.precision] for row in rows})),
        measured=StepRange(
            factors=reach,
            source=f"10th to 90th percentile of measured over predicted, {len(rows)} fitted measurements",
        ),
        unmeasured=StepRange(
            factors=(float(f"{reach[0] / 1.25:.3g}"), float(f"{reach[1] * 1.25:.3g}")),
            source="assumed: the range of measured devices, a quarter wider on each side",
        ),
    )


def _quantile(values: Any, importance: Any, share: float) -> float:
    order = np.argsort(values)
    reached = np.cumsum(importance[order]) / importance.sum()
    return float(values[order][np.searchsorted(reached, share)])


def report(name: str, rows: list[Row], models: dict[str, Architecture], coefficients: StepCoefficients) -> None:
    """Share inside the range, its width, the median error of the middle."""
    seconds = predicted(rows, models, coefficients)
    factor = np.array([row.seconds for row in rows]) / seconds
    ranges = np.array([coefficients.range_on(row.device, PRODUCT_FORMATS[row.precision]).factors for row in rows])
    inside = (factor >= ranges[:, 0]) & (factor <= ranges[:, 1])
    each = weights(rows)
    print(
        f"{name}: {len(rows)} rows in {each.sum():.0f} settings; inside {np.mean(inside):.0%} of rows, "
        f"{np.average(inside, weights=each):.0%} of settings; width {np.median(ranges[:, 1] / ranges[:, 0]):.2f}; "
        f"median error {math.exp(np.median(np.abs(np.log(factor)))):.2f} x"
    )
    for kind in ("model", "device", "precision", "source"):
        for value in sorted({getattr(row, kind) for row in rows}):
            some = np.array([getattr(row, kind) == value for row in rows])
            ends = np.round(np.quantile(factor[some], [0, 0.5, 1]), 2)
            print(f"    {value}: {some.sum()} rows, measured / predicted {ends}")


def pairs(rows: list[Row], models: dict[str, Architecture], coefficients: StepCoefficients, name: str) -> None:
    """Direction in pairs of one model and source with one thing changed, tokens per second apart by over a tenth."""
    speed = np.array([_tokens(row) / row.seconds for row in rows])
    expected = np.array([_tokens(row) for row in rows]) / predicted(rows, models, coefficients)
    right = count = 0
    for one, first in enumerate(rows):
        for other in range(one):
            second = rows[other]
            if first.model != second.model or first.source != second.source or first.setting == second.setting:
                continue
            changed = sum(
                getattr(first, field) != getattr(second, field) for field in ("device", "precision", "layout")
            )
            ratio = math.log(speed[one] / speed[other])
            if changed == 1 and abs(ratio) > math.log(1.1):
                count += 1
                right += (ratio > 0) == (expected[one] > expected[other])
    print(f"{name}: direction right in {right} of {count} pairs")


def _tokens(row: Row) -> float:
    tensor, pipeline, _, data, context, _, micro, number, _, _ = row.layout
    return data * micro * number * row.tokens_per_sequence / (tensor * pipeline * context * data)


if __name__ == "__main__":
    main()
