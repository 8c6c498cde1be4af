"""Fits the coefficients of a training step to public measurements, and judges them where models were left out.

    python -m tests.benchmarks.training_step THROUGHPUT CONFIGS [--cross-validate] [--out training_coefficients.yaml]

THROUGHPUT is a folder with measurements.csv (columns: model, device, num_devices, tp, pp, ep, cp, sequence_length,
global_batch_tokens_or_batch, precision, value, unit, source, note), CONFIGS one with config.json files of the models.
Without options it says how the packaged coefficients fit; with --cross-validate how the procedure fares on models,
sources and devices that are left out. `cross_validation` has the protocol.

A row can be priced where its model's config, its device, its expert degree, batch and sequence length are known. Rows
whose notes call them untuned, dropping or a regression are left out: what is predicted is tuned software.
"""

import argparse
import json
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from moewright.architecture import Architecture
from moewright.architecture.counts import active_params, total_params, training_flops_per_token
from moewright.errors import UserError
from moewright.hardware.activations import recompute_code
from moewright.hardware.devices import load_device
from moewright.hardware.training_coefficients import StepCoefficient, StepCoefficients, StepRange, training_coefficients
from moewright.hardware.training_step import PRODUCT_FORMATS, LayoutColumns, TrainingPrecision, step_seconds
from moewright.hf import load_architecture
from tests.benchmarks.cross_validation import (
    WIDEST_UNMEASURED,
    Priors,
    fit_logs,
    judge,
    left_out,
    packaged_range,
    range_of,
    ranges_by_fold,
)

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
PRIORS: Priors = {
    "products_bf16": (0.65, 0.2, "DeepGEMM's README, 2025; roofline's range"),
    "products_fp8": (0.5, 0.3, "DeepGEMM's README, 2025; roofline's range"),
    "products_fp4": (0.35, 0.4, "assumed"),
    "mixing": (0.45, 0.3, "FlashAttention-3, arXiv 2407.08608, backward passes included"),
    "memory": (0.8, 0.1, "BabelStream results, University of Bristol"),
    "rows_half": (80.0, 0.4, "forward timings of MoE layers, ai-dynamo/aiconfigurator at 095f58a"),
    "width_half": (600.0, 0.6, "forward timings of MoE layers, ai-dynamo/aiconfigurator at 095f58a"),
    "elementwise": (3.0, 0.4, "assumed: written, read by the next pass and by the backward pass"),
    "casts": (
        2.0,
        0.5,
        "assumed: what a product reads is read again and written twice in 8 bits, as are gradients",
    ),
    "gap_of_a_mixer": (2e-4, 0.7, "assumed: some thirty kernels, forward and backward"),
    "gap_of_a_scan": (3e-4, 0.7, "assumed: some thirty more kernels of a scan in chunks"),
    "gap_of_a_mixture": (4e-4, 0.7, "assumed: some sixty kernels and two synchronisations"),
    "gap_of_an_expert": (3e-5, 0.7, "assumed: six products of its own, some 5 us each to launch"),
    "casting_gaps": (1.3, 0.3, "assumed: casts, transposes and largest values are kernels beside each product"),
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

    @property
    def setting(self) -> tuple[Any, ...]:
        """What point releases of one recipe share."""
        return self.model, self.source, self.device, self.devices, self.precision, self.layout


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
    return "", Row(row.id, row.model, source, device.name, devices, precision, sequence, layout, seconds)


def _number(pattern: str, note: str, default: int) -> int:
    found = re.search(pattern, note)
    return int(found[1]) if found else default


def predicted(rows: list[Row], models: dict[str, Architecture], coefficients: StepCoefficients) -> Any:
    """Seconds of a step for each row (..., rows)."""
    many = np.shape(next(iter(coefficients.values().values())))[:-1]
    seconds = np.zeros((*many, len(rows)))
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
        seconds[..., places] = sum(parts.values())
    return seconds


def with_values(logs: Any) -> StepCoefficients:
    """StepCoefficients with these logarithms of values (..., coefficients), one set or many, and nothing else known."""
    values: Any = np.exp(logs)
    held: dict[Any, StepCoefficient] = {
        name: StepCoefficient.model_construct(value=values[..., place, None], spread=(0.0, 0.0), source="")
        for place, name in enumerate(PRIORS)
    }
    none = StepRange.model_construct(factors=(1.0, 1.0), source="")
    unknown: dict[str, Any] = {
        "measured_devices": (),
        "measured_formats": (),
        "measured": none,
        "unmeasured_width": 1.0,
    }
    return StepCoefficients.model_construct(coefficients=held, **unknown)


def weights(rows: list[Row]) -> Any:
    """Each setting counts once, however many releases were measured."""
    count: dict[Any, int] = defaultdict(int)
    for row in rows:
        count[row.setting] += 1
    return np.array([1 / count[row.setting] for row in rows])


def fit(rows: list[Row], models: dict[str, Architecture], start: Any = None, importance: Any = 1) -> Any:
    """Logarithms of the coefficients."""
    trust = np.sqrt(weights(rows) * importance) / NOISE
    measured = np.log([row.seconds for row in rows])

    def predict(logs: Any) -> Any:
        return np.log(predicted(rows, models, with_values(logs)))

    return fit_logs(predict, measured, trust, PRIORS, start=start)


def left_out_seconds(rows: list[Row], models: dict[str, Architecture], field: str, start: Any) -> Any:
    """Seconds of each row by coefficients that were fitted to rows with another `field`."""

    def some(chosen: Any) -> list[Row]:
        return [row for row, its in zip(rows, chosen, strict=True) if its]

    return left_out(
        [getattr(row, field) for row in rows],
        lambda others: fit(some(others), models, start),
        lambda logs, chosen: predicted(some(chosen), models, with_values(logs)),
    )


def main() -> None:
    """Fit where --out says where to, and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("throughput", type=Path)
    parser.add_argument("configs", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--cross-validate", action="store_true")
    parser.add_argument("--bootstrap", type=int, default=8)
    given = parser.parse_args()
    models = architectures(given.configs)
    rows, left = read_rows(given.throughput / "measurements.csv", models)
    print(f"{len(rows)} rows are priced; left out: {left}")
    measured = np.array([row.seconds for row in rows])
    if given.cross_validate or given.out is not None:
        logs = fit(rows, models)
        fields = ("model", "device", *(("source",) if given.cross_validate else ()))
        seconds = {field: left_out_seconds(rows, models, field, logs) for field in fields}
        apart = {field: np.log(measured / each) for field, each in seconds.items()}
        for field in fields:
            labels = [getattr(row, field) for row in rows]
            report(
                f"{field} left out", rows, seconds[field], ranges_by_fold(apart[field], ["step"] * len(rows), labels)
            )
            pairs(rows, seconds[field], f"{field} left out")
        if given.out is not None:
            _packaged(rows, models, logs, apart, given.bootstrap).write(given.out)
    coefficients = training_coefficients() if given.out is None else StepCoefficients.read(given.out)
    seconds_fitted = predicted(rows, models, coefficients)
    ends = np.array([coefficients.range_on(row.device, PRODUCT_FORMATS[row.precision]).factors for row in rows])
    report("fitted", rows, seconds_fitted, ends)
    pairs(rows, seconds_fitted, "fitted")


def _packaged(
    rows: list[Row], models: dict[str, Architecture], logs: Any, apart: dict[str, Any], samples: int
) -> StepCoefficients:
    sources = sorted({(row.model, row.source) for row in rows})
    random = np.random.default_rng(2026)
    drawn = [logs]
    for _ in range(samples):
        chosen = random.multinomial(len(sources), [1 / len(sources)] * len(sources))
        times = dict(zip(sources, chosen, strict=True))
        drawn.append(fit(rows, models, logs, np.array([times[row.model, row.source] for row in rows])))
    low, high = np.exp(np.quantile(np.array(drawn), [0.1, 0.9], axis=0))
    text = f"fitted to {len(rows)} public measurements of training (`python -m tests.benchmarks.training_step`)"
    held: dict[Any, StepCoefficient] = {}
    for place, (name, (_, _, prior)) in enumerate(PRIORS.items()):
        value = float(np.exp(logs[place]))
        ends = [float(f"{end:.3g}") for end in (min(low[place], value), max(high[place], value))]
        held[name] = StepCoefficient(
            value=float(f"{value:.3g}"), spread=(ends[0], ends[1]), source=f"{text}; prior: {prior}"
        )
    return StepCoefficients(
        coefficients=held,
        measured_devices=tuple(sorted({row.device for row in rows})),
        measured_formats=tuple(sorted({PRODUCT_FORMATS[row.precision] for row in rows})),
        measured=packaged_range(range_of(apart["model"]), "measurements"),
        unmeasured_width=range_of(apart["device"], WIDEST_UNMEASURED).width,
    )


def report(name: str, rows: list[Row], seconds: Any, ends: Any) -> None:
    """Share inside the range, its width, the median error of its middle."""
    apart = np.log([row.seconds for row in rows]) - np.log(seconds)
    each = weights(rows)
    inside, width, error = judge(apart, ends)
    print(
        f"{name}: {len(rows)} rows in {each.sum():.0f} settings; inside {inside:.0%}; width {width:.2f}; median error "
        f"of the middle {error:.2f} x; mean |log| of settings {np.average(np.abs(apart), weights=each):.4f}"
    )
    for kind in ("model", "device", "precision", "source"):
        for value in sorted({getattr(row, kind) for row in rows}):
            some = np.array([getattr(row, kind) == value for row in rows])
            inside, width, error = judge(apart[some], ends[some])
            reach = np.round(np.exp(np.quantile(apart[some], [0, 0.5, 1])), 2)
            print(
                f"    {value}: {some.sum()} rows, inside {inside:.0%}, width {width:.2f}, median error {error:.2f} x, "
                f"measured / predicted {reach}"
            )


def pairs(rows: list[Row], seconds: Any, name: str) -> None:
    """Direction in pairs of one model and source with one thing changed, tokens per second apart by over a tenth."""
    tokens = np.array([_tokens(row) for row in rows])
    speed, expected = tokens / np.array([row.seconds for row in rows]), tokens / seconds
    right: dict[str, list[bool]] = defaultdict(list)
    for one, first in enumerate(rows):
        for other in range(one):
            second = rows[other]
            if first.model != second.model or first.source != second.source or first.setting == second.setting:
                continue
            changed = [
                field for field in ("device", "precision", "layout") if getattr(first, field) != getattr(second, field)
            ]
            if len(changed) == 1 and abs(np.log(speed[one] / speed[other])) > np.log(1.1):
                right[changed[0]].append((speed[one] > speed[other]) == (expected[one] > expected[other]))
    every = [each for some in right.values() for each in some]
    by_kind = ", ".join(f"{field} {sum(some)} of {len(some)}" for field, some in right.items())
    print(f"{name}: direction right in {sum(every)} of {len(every)} pairs ({by_kind})")


def _tokens(row: Row) -> float:
    tensor, pipeline, _, data, context, _, micro, number, _, _ = row.layout
    return data * micro * number * row.tokens_per_sequence / (tensor * pipeline * context * data)


if __name__ == "__main__":
    main()
