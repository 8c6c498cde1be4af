"""Fits the coefficients of a served pass to public measurements and judges them on others.

    python -m tests.benchmarks.serving_pass THROUGHPUT [--out serving_coefficients.yaml]

THROUGHPUT is a folder with measurements.csv (columns: kind, model, device, num_devices, tp, pp, ep, context, precision,
framework, value, unit, source, note). Without --out it only judges the packaged coefficients.

Priced are rows whose model is in the catalogue, with device, degrees, context and format. What is compared:

- decode: seconds for each token of one of `concurrency` users. While one generates its tokens, prompts of the others
  are computed in between: a step, and concurrency x prefill / generated tokens.
- load: seconds for each token and device with as many sequences as fit.
- prefill: seconds of one prompt (or chunk), where rates are printed, and time to first token of at most 4 users.
- dispatch: of DeepEP's kernels.

A seeded hash of model and source says which rows are fitted and which only judged; it was written before any value was
looked at. The times to first token stand in the notes of the table, and those of judging rows were seen then.
"""

import argparse
import hashlib
import math
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.optimize import least_squares

from moewright.architecture import Architecture
from moewright.architecture.cache import CacheDtype
from moewright.architecture.weight_formats import WEIGHT_FORMATS, WeightFormat
from moewright.errors import UserError
from moewright.hardware.devices import load_device
from moewright.hardware.serving_coefficients import RangeName, ServingCoefficients, serving_coefficients
from moewright.hardware.serving_layouts import ServingJob, largest_batches, serving_memory
from moewright.hardware.serving_pass import (
    Pass,
    ServedOperation,
    ServedWork,
    ServingColumns,
    pass_seconds,
    served_work,
    software_of,
)
from moewright.hardware.training_coefficients import StepCoefficient, StepRange
from moewright.hardware.training_step import domain_devices
from moewright.hf import load_architecture

SPLIT = "moewright serving 2026"
FIT_SHARE = 3  # of five
MODELS = {"Kimi-K2.5": "kimi-k2.5", "DeepSeek-R1": "deepseek-v3"}
"""Names of the table that the catalogue has under another name; others are the same in small letters."""
FORMATS = {"fp4": "nvfp4", "nvfp4": "nvfp4", "fp8": "fp8", "bf16": "bf16", "mxfp4": "mxfp4", "int4": "int4"}
BITS = {"q3": 4, "q4": 5, "4-": 4, "q6": 7}
"""Bits of the routed and the other matrices of llama.cpp's mixtures of formats, rounded up."""
LARGEST_LOAD = 1024  # sequences of a device at full load: what TensorRT-LLM's benchmarks set at most
Kind = Literal["decode", "load", "prefill", "dispatch"]
PRIORS: dict[str, tuple[float, float, str]] = {
    # value, standard deviation of its logarithm, where it is from
    "memory": (0.75, 0.15, "BabelStream results, University of Bristol; small products reach less"),
    "experts": (0.65, 0.25, "as memory; grouped products of few rows"),
    "cache": (0.6, 0.3, "assumed"),
    "products_bf16": (0.5, 0.3, "DeepGEMM's README, 2025; what a prompt's narrow products lose is assumed"),
    "products_fp8": (0.4, 0.3, "DeepGEMM's README, 2025; as above"),
    "products_fp4": (0.3, 0.4, "assumed"),
    "mixing": (0.45, 0.3, "FlashAttention-3, arXiv 2407.08608"),
    "gap_of_a_mixer": (2e-5, 0.6, "assumed: some ten kernels in a captured graph"),
    "gap_of_a_mixture": (2e-5, 0.6, "assumed: some ten kernels in a captured graph"),
    "gap_of_a_prompt_layer": (3e-4, 0.6, "assumed: some fifty kernels outside a captured graph"),
    "gap_of_a_request": (2e-2, 0.7, "assumed: text to tokens, queue, first answer"),
    "interference": (0.7, 0.2, "assumed: chunks of prompts share a pass with tokens that are generated"),
    "rows_half": (50.0, 0.5, "forward timings of MoE layers, ai-dynamo/aiconfigurator at 095f58a"),
    "gap_of_a_pass": (1e-3, 0.7, "assumed: scheduler, sampling, one synchronisation"),
    "links": (0.5, 0.3, "nccl-tests"),
    "network": (0.8, 0.2, "DeepEP's README, 2025"),
    "latency_of_a_reduction": (1e-5, 0.5, "assumed: one-shot kernels inside a node"),
    "latency_of_a_dispatch": (3e-5, 0.5, "DeepEP's README, 2025"),
    "latency_of_a_handover": (3e-5, 0.5, "assumed: a copy over PCIe and a synchronisation"),
    "local_memory": (0.65, 0.25, "assumed"),
    "local_products": (0.3, 0.5, "assumed"),
    "local_mixing": (0.2, 0.5, "assumed"),
    "local_gap": (3e-5, 0.7, "assumed"),
    "local_gap_of_a_pass": (1e-3, 0.7, "assumed"),
}
NOISE = 0.2
NARROWEST = 2.5  # high over low: set before the judging rows were looked at


@dataclass(frozen=True)
class Row:
    """A measurement that can be priced; `seconds` as its kind has them."""

    id: str
    kind: Kind
    model: str
    source: str
    framework: str
    device: str
    layout: tuple[int, int, int, int]
    """tensor, data, expert, pipeline."""
    stored: WeightFormat
    kv_dtype: CacheDtype
    batch: int
    prompt: int
    generated: int
    seconds: float
    fitted: bool

    @property
    def devices(self) -> int:
        """Of the instance."""
        return self.layout[0] * self.layout[1] * self.layout[3]

    @property
    def range(self) -> RangeName:
        """Which range should hold it."""
        software = software_of(load_device(self.device))
        if software == "server" and self.kind == "load":
            return "server_load"
        if self.kind == "decode":
            return "server_decode" if software == "server" else "local_decode"
        return "server_prefill" if software == "server" else "local_prefill"


def is_fitted(model: str, source: str) -> bool:
    """Whether rows of a model from a source are fitted; the others are only judged."""
    text = f"{SPLIT}|{model}|{source}"
    return int(hashlib.sha256(text.encode()).hexdigest(), 16) % 5 < FIT_SHARE


def read_rows(table: Path) -> tuple[list[Row], dict[str, int], dict[str, Architecture]]:
    """Rows that can be priced, how many cannot by reason, and the models."""
    frame = pd.read_csv(table)
    models: dict[str, Architecture] = {}
    rows: list[Row] = []
    left: dict[str, int] = defaultdict(int)
    for row in frame[frame.kind.isin(["decode", "prefill"])].itertuples():
        try:
            rows += _priced(row, models)
        except _UnpricedError as reason:
            left[str(reason)] += 1
    return rows, dict(left), models


class _UnpricedError(Exception):
    pass


def _priced(row: Any, models: dict[str, Architecture]) -> list[Row]:
    note = "" if row.note != row.note else str(row.note)
    source = str(row.source).split(":")[0]
    fitted = is_fitted(row.model, source)
    if "COMMUNICATION ONLY" in note:
        places = int(row.num_devices)
        width = 1 if "FP8" in note else 2
        stored = WEIGHT_FORMATS["bf16"]
        layout = (1, places, places, 1)
        return [
            Row(
                row.id,
                "dispatch",
                "deepseek-v3",
                source,
                "DeepEP",
                "H800",
                layout,
                stored,
                "bf16",
                128,
                width,
                0,
                row.value / 1000,
                fitted,
            )
        ]
    name = MODELS.get(row.model, str(row.model).lower())
    if name not in models:
        try:
            models[name] = load_architecture(name).architecture
        except UserError:
            raise _UnpricedError("model not in the catalogue") from None
    device = _device(row.device)
    stored, kv_dtype = _format(row, name)
    framework = str(row.framework)
    prompt, generated = _tokens(row, note)
    local = software_of(load_device(device)) == "local"
    if local:
        layout = (1, 1, 1, 1)
        if row.num_devices != 1:
            raise _UnpricedError("several local devices")
    else:
        if row.num_devices != row.num_devices:
            raise _UnpricedError("devices not given")
        count = int(row.num_devices)
        expert = 1 if row.ep != row.ep else int(row.ep)
        pipeline = 1 if row.pp != row.pp else int(row.pp)
        spread = "DEP" in note or (row.dp == row.dp and row.dp > 1)
        data = count // pipeline if spread else 1
        layout = (count // pipeline // data, data, expert, pipeline)
    batch = _batch(row)
    common = (name, source, framework, device, layout, stored, kv_dtype)
    if row.kind == "prefill":
        computed = _chunk(note, prompt)
        sequences = 1 if batch is None else min(batch, max(16384 // computed, 1))
        seconds = sequences * computed / (row.value * 1 if local else row.value * layout[0] * layout[1] * layout[3])
        context = prompt + computed if "at depth" in note else max(prompt, computed)
        return [Row(row.id, "prefill", *common, sequences, context, computed, seconds, fitted)]
    if "maximum load" in note:
        return [Row(row.id, "load", *common, 0, prompt, generated, 1 / row.value, fitted)]
    if row.unit == "tokens_per_second_per_device" and batch is None:
        raise _UnpricedError("sequences not given")
    users = 1 if batch is None else batch
    per_user = row.value if row.unit == "tokens_per_second_per_user" else row.value * layout[0] * layout[1] / users
    found = [Row(row.id, "decode", *common, users, prompt, generated, 1 / per_user, fitted)]
    first = re.search(r"TTFT ([\d.]+) ms", note)
    if first and users <= 4:
        found.append(Row(f"{row.id}-ttft", "prefill", *common, 1, prompt, prompt, float(first[1]) / 1000, fitted))
    return found


def _device(text: Any) -> str:
    if text != text:
        raise _UnpricedError("device not given")
    plain = "Strix-Halo" if "Strix Halo" in text else re.sub(r" \(.*\)$", "", str(text))
    try:
        return load_device(plain).name
    except UserError:
        raise _UnpricedError("device not known") from None


def _format(row: Any, name: str) -> tuple[WeightFormat, CacheDtype]:
    text = "" if row.precision != row.precision else str(row.precision).lower()
    if name.startswith("gpt-oss") and "llama.cpp" in str(row.framework):
        return WEIGHT_FORMATS["mxfp4"]._replace(rest_bytes=1), "bf16"  # its files have the rest in 8 bits
    if name.startswith("gpt-oss") and (not text or text in ("fp4", "fp8", "mxfp4")):
        return WEIGHT_FORMATS["mxfp4"], "fp8" if "trt" in str(row.framework).lower() or "tensor" in str(
            row.framework
        ).lower() else "bf16"
    if text in FORMATS:
        stored = WEIGHT_FORMATS[FORMATS[text]]  # type: ignore[index]
        return stored, "fp8" if stored.name in ("fp8", "nvfp4") else "bf16"
    if text.startswith("2-bit"):
        return WeightFormat("int4", "2-bit experts", "routed_experts", 1, 2, (1, 16), 1), "bf16"
    for begin, bits in BITS.items():
        if text.startswith(begin):
            return WeightFormat("int4", text, "layer_matrices", 1, bits, (1, 0), 0), "bf16"
    raise _UnpricedError("format not given")


def _tokens(row: Any, note: str) -> tuple[int, int]:
    text = "" if row.context != row.context else str(row.context)
    found = re.match(r"(\d+)(?:\+(\d+))?", text)
    if not found:
        if "short prompt" in note:
            return 128, 128
        raise _UnpricedError("context not given")
    return int(found[1]), int(found[2] or 0)


def _chunk(note: str, prompt: int) -> int:
    found = re.search(r"pp(\d+)|chunk of ([\d,]+)", note)
    if found:
        return int((found[1] or found[2]).replace(",", ""))
    return min(prompt, 2048) if "2-bit" in note else prompt


def _batch(row: Any) -> int | None:
    text = str(row.global_batch_tokens_or_batch)
    return int(float(text)) if re.fullmatch(r"\d+(\.0)?", text) else None


@dataclass(frozen=True)
class Work:
    """What is to be done for a row: passes with how often each is paid for a row's seconds."""

    row: Row
    passes: tuple[tuple[float, ServedWork], ...]


def works(rows: Iterable[Row], models: dict[str, Architecture]) -> list[Work]:
    """Coefficient-free work of each row."""
    found = []
    for row in rows:
        if row.kind == "dispatch":
            found.append(Work(row, ((1.0, _dispatch(row)),)))
            continue
        model = models[row.model]
        device = load_device(row.device)
        domain = domain_devices(device, row.devices)
        batch = row.batch
        if row.kind == "load":
            job = ServingJob(model, device, row.devices, row.prompt + row.generated, row.stored.name, row.kv_dtype)
            one = ServingColumns(*(np.array([size]) for size in (*row.layout, 1)))
            batch = int(largest_batches(job, one, serving_memory(job, one), LARGEST_LOAD)[0])
            if not batch:
                print(f"{row.id}: {row.model} does not fit on {row.device}; left out")
                continue

        def of(batch: int, one: Pass, row: Row = row, model: Architecture = model, domain: int = domain) -> ServedWork:
            columns = ServingColumns(*(np.array([size]) for size in (*row.layout, batch)))
            return served_work(model, columns, one, row.stored, domain=domain, kv_dtype=row.kv_dtype)

        if row.kind == "prefill":
            computed = row.generated  # of the chunk
            found.append(Work(row, ((1.0, of(row.batch, Pass(computed, row.prompt, generates=False))),)))
            continue
        position = max(row.prompt + row.generated // 2, 1)
        step = of(batch, Pass(1, position, generates=True))
        passes = [(1.0, step)]
        if row.generated and row.prompt and (batch > 1 or row.kind == "load"):
            together = max(row.layout[1] * row.layout[3], 1)  # a prompt in each group
            prompt = of(together, Pass(row.prompt, row.prompt, generates=False))
            passes.append((batch / together / row.generated, prompt))
        if row.kind == "load":
            passes = [(times * row.devices / batch, some) for times, some in passes]
        found.append(Work(row, tuple(passes)))
    return found


def _dispatch(row: Row) -> ServedWork:
    """One way of DeepEP's low-latency kernels, in the width of the row's format."""
    places, width = row.layout[1], row.prompt
    sent = 128 * 8 * 7168 * width
    near, far = min(places, 8) - 1, max(places - 8, 0)
    none = np.array([0.0])
    work = ServedWork(operations=[ServedOperation("dense", "bf16", none, none)], dispatches=none + 1)
    work.near_bytes, work.far_bytes = none + sent * near / places, none + sent * far / places
    return work


def predicted(some: list[Work], at: dict[str, float]) -> Any:
    """Seconds of each row."""
    seconds = []
    for work in some:
        device = load_device(work.row.device)
        software = software_of(device)
        if work.row.kind == "dispatch":
            seconds.append(float(pass_seconds(work.passes[0][1], device, software, at)["dispatch"][0]))
            continue
        first, *others = (
            times * float(sum(pass_seconds(one, device, software, at).values())[0])  # type: ignore[index]
            for times, one in work.passes
        )
        waiting = at["gap_of_a_request"] if work.row.id.endswith("-ttft") else 0.0
        seconds.append(first + at["interference"] * sum(others) + waiting)
    return np.array(seconds)


def fit(some: list[Work], start: Any = None, importance: Any = None) -> Any:
    """Values of the coefficients: least squares of logarithms with the priors."""
    centre = np.log([value for value, _, _ in PRIORS.values()])
    widths = np.array([width for _, width, _ in PRIORS.values()])
    measured = np.log([work.row.seconds for work in some])
    each = np.sqrt(weights(some) * (1 if importance is None else importance)) / NOISE

    def residuals(logs: Any) -> Any:
        apart = np.log(predicted(some, dict(zip(PRIORS, np.exp(logs), strict=True)))) - measured
        robust = np.sign(apart) * np.sqrt(2 * 0.3**2 * (np.sqrt(1 + (apart / 0.3) ** 2) - 1))
        return np.concatenate([each * robust, (logs - centre) / widths])

    most = np.log([1.0 if value < 1 and not _is_time(name) else np.inf for name, (value, _, _) in PRIORS.items()])
    begin = centre if start is None else np.minimum(np.log(start), most - 1e-9)
    return np.exp(
        least_squares(residuals, begin, bounds=(-np.inf, most), diff_step=1e-3, max_nfev=15 if start is None else 5).x
    )


def _is_time(name: str) -> bool:
    return "gap" in name or "latency" in name


def weights(some: list[Work]) -> Any:
    """Rows of one model, source and kind share the weight of the square root of their number."""
    count: dict[Any, int] = defaultdict(int)
    for work in some:
        count[work.row.model, work.row.source, work.row.kind] += 1
    return np.array([1 / math.sqrt(count[work.row.model, work.row.source, work.row.kind]) for work in some])


def main() -> None:
    """Fit where --out says where to, and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("throughput", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--bootstrap", type=int, default=5)
    parser.add_argument("--only-fitted", action="store_true", help="do not look at the judging rows")
    given = parser.parse_args()
    rows, left, models = read_rows(given.throughput / "measurements.csv")
    print(f"{len(rows)} readings are priced; rows left out: {left}")
    some = works([row for row in rows if row.fitted or not given.only_fitted], models)
    fitted = [work for work in some if work.row.fitted]
    coefficients = serving_coefficients() if given.out is None else fitted_coefficients(fitted, given.bootstrap)
    if given.out is not None:
        coefficients.write(given.out)
    for name, part in (("fitted", fitted), ("judged", [work for work in some if not work.row.fitted])):
        if part:
            report(name, part, coefficients)
            pairs(name, part, coefficients)


def fitted_coefficients(some: list[Work], samples: int) -> ServingCoefficients:
    """Values, their spread over bootstrap samples of the sources, and ranges."""
    values = fit(some)
    sources = sorted({(work.row.model, work.row.source) for work in some})
    random = np.random.default_rng(2026)
    drawn = [values]
    for _ in range(samples):
        chosen = random.multinomial(len(sources), [1 / len(sources)] * len(sources))
        times = dict(zip(sources, chosen, strict=True))
        drawn.append(fit(some, values, np.array([times[work.row.model, work.row.source] for work in some])))
    low, high = np.quantile(np.array(drawn), [0.1, 0.9], axis=0)
    said = f"fitted to {len(some)} public readings (`python -m tests.benchmarks.serving_pass`)"
    held: dict[Any, StepCoefficient] = {}
    for place, (name, (_, _, prior)) in enumerate(PRIORS.items()):
        inside = (low[place], values[place], high[place])
        ends = [float(f"{end:.3g}") for end in (min(inside), max(inside))]
        held[name] = StepCoefficient(
            value=float(f"{values[place]:.3g}"), spread=(ends[0], ends[1]), source=f"{said}; prior: {prior}"
        )
    apart = np.log([work.row.seconds for work in some]) - np.log(
        predicted(some, dict(zip(PRIORS, values, strict=True)))
    )
    ranges: dict[Any, StepRange] = {}
    for name in ("server_decode", "server_prefill", "server_load", "local_decode", "local_prefill"):
        inside_kind = np.array([work.row.range == name and work.row.kind != "dispatch" for work in some])
        if inside_kind.any():
            ends = np.exp(np.quantile(apart[inside_kind], [0.1, 0.9]))
            source = f"10th to 90th percentile of measured over predicted, {inside_kind.sum()} fitted readings"
            # A narrower range says that few models were fitted, not that others are as near.
            reach = max(math.sqrt(NARROWEST / (ends[1] / ends[0])), 1.0)
            ranges[name] = StepRange(
                factors=(float(f"{ends[0] / reach:.3g}"), float(f"{ends[1] * reach:.3g}")), source=source
            )
    return ServingCoefficients(
        coefficients=held,
        measured_devices=tuple(sorted({work.row.device for work in some if work.row.kind != "dispatch"})),
        ranges=ranges,
        wider=1.25,
    )


def report(name: str, some: list[Work], coefficients: ServingCoefficients) -> None:
    """Share inside the range, its width, the median error of the middle."""
    seconds = predicted(some, coefficients.values())
    factor = np.array([work.row.seconds for work in some]) / seconds
    every = np.array([work.row.kind != "dispatch" for work in some])
    ends = np.array([coefficients.range_on(work.row.device, work.row.range).factors for work in some])
    inside = (factor >= ends[:, 0]) & (factor <= ends[:, 1])
    kinds = [("all but dispatch", every)]
    kinds += [
        (f"{kind}: {value}", np.array([str(getattr(work.row, kind)) == value for work in some]))
        for kind in ("range", "kind", "model", "device", "framework")
        for value in sorted({str(getattr(work.row, kind)) for work in some})
    ]
    for label, chosen in kinds:
        quarter = np.round(np.quantile(factor[chosen], [0, 0.5, 1]), 2)
        print(
            f"{name}, {label}: {chosen.sum()} readings; inside {np.mean(inside[chosen]):.0%}; width "
            f"{np.median(ends[chosen, 1] / ends[chosen, 0]):.2f}; median error "
            f"{math.exp(np.median(np.abs(np.log(factor[chosen])))):.2f} x; measured / predicted {quarter}"
        )


def pairs(name: str, some: list[Work], coefficients: ServingCoefficients) -> None:
    """Direction in pairs of one model, source and kind with one thing changed and seconds apart by over a tenth."""
    expected = np.log(predicted(some, coefficients.values()))
    fields = ("device", "stored", "layout", "batch", "prompt", "generated", "framework")
    right = count = 0
    for one, first in enumerate(some):
        for other in range(one):
            second = some[other]
            if any(getattr(first.row, field) != getattr(second.row, field) for field in ("model", "source", "kind")):
                continue
            changed = sum(getattr(first.row, field) != getattr(second.row, field) for field in fields)
            ratio = math.log(first.row.seconds / second.row.seconds)
            if changed == 1 and abs(ratio) > math.log(1.1):
                count += 1
                right += (ratio > 0) == (expected[one] > expected[other])
    if count:
        print(f"{name}: direction right in {right} of {count} pairs")


if __name__ == "__main__":
    main()
