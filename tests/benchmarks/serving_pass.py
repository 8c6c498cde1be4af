"""Fits the coefficients of a served pass to public measurements, and judges them where models were left out.

    python -m tests.benchmarks.serving_pass THROUGHPUT [--cross-validate] [--out serving_coefficients.yaml]

THROUGHPUT is a folder with measurements.csv (columns: kind, model, device, num_devices, tp, pp, ep, context, precision,
framework, value, unit, source, note).

Priced are rows whose model is in the catalogue, with device, degrees, context and format. What is compared:

- decode: seconds for each token of one of `concurrency` users. While one generates its tokens, prompts of the others
  are computed in between: a step, and concurrency x prefill / generated tokens.
- load: seconds for each token and device with as many sequences as fit.
- prefill: seconds of one prompt (or chunk), where rates are printed, and time to first token of at most 4 users.
- dispatch: of DeepEP's kernels.
- layer: of the experts of a mixture alone, forward, on one of the devices that share them, without communication.

All are fitted; passes are judged, and layers beside them.

Without options it says how the packaged coefficients fit; with --cross-validate how the procedure fares on models,
sources and devices that are left out (some minutes). `cross_validation` has the protocol.
"""

import argparse
import math
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from moewright.architecture import Architecture
from moewright.architecture.cache import CacheDtype
from moewright.architecture.feed_forwards import MoE
from moewright.architecture.weight_formats import WEIGHT_FORMATS, WeightFormat
from moewright.errors import UserError
from moewright.hardware.devices import Device, load_device
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
from tests.benchmarks.cross_validation import (
    WIDEST_UNMEASURED,
    Priors,
    fit_logs,
    judge,
    left_out,
    packaged_range,
    range_of,
    ranges_by_fold,
    ranges_of,
)

MODELS = {"Kimi-K2.5": "kimi-k2.5", "DeepSeek-R1": "deepseek-v3"}
"""Names of the table that the catalogue has under another name; others are the same in small letters."""
FORMATS = {
    "fp4": "nvfp4",
    "nvfp4": "nvfp4",
    "fp8": "fp8",
    "bf16": "bf16",
    "mxfp4": "mxfp4",
    "int4": "int4",
    "fp8_block": "fp8",
}
BITS = {"q3": 4, "q4": 5, "4-": 4, "q6": 7}
"""Bits of the routed and the other matrices of llama.cpp's mixtures of formats, rounded up."""
LARGEST_LOAD = 1024  # sequences of a device at full load: what TensorRT-LLM's benchmarks set at most
Kind = Literal["decode", "load", "prefill", "dispatch", "layer"]
ALONE = ("dispatch", "layer")  # parts of a pass
FEW_TOKENS = 256  # of a layer alone: as many as decoding has, bound by the weights
PRIORS: Priors = {
    "memory": (0.75, 0.15, "BabelStream results, University of Bristol; small products reach less"),
    "experts": (0.65, 0.25, "as memory; grouped products of few rows"),
    "cache": (0.6, 0.3, "assumed"),
    "products_bf16": (0.5, 0.3, "DeepGEMM's README, 2025; what a prompt's narrow products lose is assumed"),
    "products_fp8": (0.4, 0.3, "DeepGEMM's README, 2025; as above"),
    "products_fp4": (0.3, 0.4, "assumed"),
    "widened": (0.7, 0.3, "assumed: weights of 4 bits are widened inside the kernel"),
    "mixing": (0.45, 0.3, "FlashAttention-3, arXiv 2407.08608"),
    "gap_of_a_mixer": (2e-5, 0.6, "assumed: some ten kernels in a captured graph"),
    "gap_of_a_mixture": (2e-5, 0.6, "assumed: some ten kernels in a captured graph"),
    "gap_of_an_indexer": (2e-5, 0.6, "assumed: as many kernels as the rest of a mixer"),
    "gap_of_a_prompt_layer": (3e-4, 0.6, "assumed: some fifty kernels outside a captured graph"),
    "gap_of_a_prompt_scan": (3e-4, 0.6, "assumed: as many kernels as the rest of a mixer"),
    "gap_of_a_prompt_indexer": (3e-4, 0.6, "assumed: as many kernels as the rest of a mixer"),
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
WIDEST = 6.0  # of a range


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
    built: str = ""
    """What stands for the model among the architectures, where that is a layer alone."""

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
    layers = (frame.kind == "train_layer") & frame.note.str.startswith("FORWARD ONLY", na=False)
    rows += [_layer(row, models) for row in frame[layers].itertuples()]
    return rows, dict(left), models


class _UnpricedError(Exception):
    pass


def _priced(row: Any, models: dict[str, Architecture]) -> list[Row]:
    note = "" if row.note != row.note else str(row.note)
    source = str(row.source).split(":")[0]
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
        return [Row(row.id, "prefill", *common, sequences, context, computed, seconds)]
    if "maximum load" in note:
        return [Row(row.id, "load", *common, 0, prompt, generated, 1 / row.value)]
    if row.unit == "tokens_per_second_per_device" and batch is None:
        raise _UnpricedError("sequences not given")
    users = 1 if batch is None else batch
    per_user = row.value if row.unit == "tokens_per_second_per_user" else row.value * layout[0] * layout[1] / users
    found = [Row(row.id, "decode", *common, users, prompt, generated, 1 / per_user)]
    first = re.search(r"TTFT ([\d.]+) ms", note)
    if first and users <= 4:
        found.append(Row(f"{row.id}-ttft", "prefill", *common, 1, prompt, prompt, float(first[1]) / 1000))
    return found


def _layer(row: Any, models: dict[str, Architecture]) -> Row:
    """A mixture alone, under the name of a model that has such a one: both are left out together."""
    sizes = tuple(int(size) for size in (row.hidden_size, row.num_experts, row.top_k, row.expert_size))
    gated = "relu2" not in str(row.note)
    name = next((name for name, model in models.items() if sizes in _mixtures(model)), "other mixtures")
    built = f"layer of {name}, {row.model}{'' if gated else ', relu2'}"
    if built not in models:
        base = load_architecture("qwen3-30b-a3b").architecture
        ((_, layer),) = base.layer_runs()
        assert isinstance(layer.feed_forward, MoE)
        group = layer.feed_forward.groups[0].model_copy(
            update={"count": sizes[1], "top_k": sizes[2], "expert_size": sizes[3]}
        )
        mixture = layer.feed_forward.model_copy(update={"groups": (group,), "gated": gated})
        alone = layer.model_copy(update={"feed_forward": mixture})
        models[built] = base.model_copy(update={"hidden_size": sizes[0], "layers": (alone,)})
    stored, kv_dtype = _format(row, name)
    source = str(row.source).split(":")[0]
    device = _device(str(row.device).replace(" Server", ""))
    layout = (int(row.tp), int(row.ep), int(row.ep), 1)
    framework = str(row.framework)
    tokens = int(float(row.global_batch_tokens_or_batch))
    seconds = row.value / 1000
    return Row(row.id, "layer", name, source, framework, device, layout, stored, kv_dtype, tokens, 1, 0, seconds, built)


def _mixtures(model: Architecture) -> set[tuple[int, int, int, int]]:
    found = (layer.feed_forward for _, layer in model.layer_runs())
    return {
        (model.hidden_size, group.count, group.top_k, group.expert_size)
        for mixture in found
        if isinstance(mixture, MoE)
        for group in mixture.groups
    }


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
        if row.kind == "layer":
            tokens = ServingColumns(*(np.array([size]) for size in (*row.layout, row.batch)))
            alone = Pass(1, 1, generates=row.batch <= FEW_TOKENS)
            found.append(Work(row, ((1.0, served_work(models[row.built], tokens, alone, row.stored, domain=1)),)))
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


@dataclass(frozen=True)
class _Alike:
    """Passes of one structure on one device, as columns."""

    device: Device
    kind: Kind
    places: Any
    """Of each pass among all of them."""
    work: ServedWork


class Stack:
    """The passes of many rows, ready to be priced at once with any coefficients."""

    def __init__(self, some: list[Work]) -> None:
        passes = [(row, times, one) for row, work in enumerate(some) for times, one in work.passes]
        self._row = np.array([row for row, _, _ in passes])
        self._times = np.array([times for _, times, _ in passes])
        first = np.diff(self._row, prepend=-1) > 0
        self._starts, self._is_other = np.flatnonzero(first), ~first
        self._waits = np.array([work.row.id.endswith("-ttft") for work in some])
        places: dict[Any, list[int]] = defaultdict(list)
        for place, (row, _, one) in enumerate(passes):
            shape = tuple((operation.component, operation.dtype) for operation in one.operations)
            of_row = some[row].row
            counts = one.mixers, one.indexers, one.scans, one.mixtures
            places[of_row.device, of_row.kind, one.generates, counts, shape].append(place)
        self._alike = [
            _Alike(load_device(device), kind, np.array(its), _as_columns([passes[place][2] for place in its]))
            for (device, kind, *_), its in places.items()
        ]

    def seconds(self, at: dict[str, Any]) -> Any:
        """Of each row (..., rows), by coefficients that are numbers or (..., 1)."""
        each = np.zeros((*np.shape(at["interference"])[:-1], len(self._row)))
        for alike in self._alike:
            parts = pass_seconds(alike.work, alike.device, software_of(alike.device), at)
            if alike.kind == "dispatch":
                each[..., alike.places] = parts["dispatch"]
            elif alike.kind == "layer":
                each[..., alike.places] = parts["experts"] + at["gap_of_a_mixture"]
            else:
                each[..., alike.places] = sum(parts.values())
        paid = self._times * each * np.where(self._is_other, at["interference"], 1.0)
        summed = np.add.reduceat(paid, self._starts, axis=-1)
        return summed + np.where(self._waits, at["gap_of_a_request"], 0.0)


def _as_columns(passes: list[ServedWork]) -> ServedWork:
    """Passes that differ in numbers only, as the columns of one."""

    def columns(values: Iterable[Any]) -> Any:
        return np.array([float(np.ravel(value)[0]) for value in values])

    operations = [
        ServedOperation(
            same[0].component,
            same[0].dtype,
            *(columns(getattr(one, name) for one in same) for name in ("flops", "bytes", "rows")),
        )
        for same in zip(*(one.operations for one in passes), strict=True)
    ]
    work = replace(passes[0], operations=operations)
    for name in ("reductions", "reduced_bytes", "dispatches", "near_bytes", "far_bytes", "handed_bytes", "handovers"):
        setattr(work, name, columns(getattr(one, name) for one in passes))
    return work


def predicted(some: list[Work], at: dict[str, float]) -> Any:
    """Seconds of each row."""
    return Stack(some).seconds(at)


def fit(some: list[Work], start: Any = None, importance: Any = 1) -> Any:
    """Logarithms of the coefficients; fractions stay below 1."""
    trust = np.sqrt(weights(some) * importance) / NOISE
    stack = Stack(some)
    most = np.log([1.0 if value < 1 and not _is_time(name) else np.inf for name, (value, _, _) in PRIORS.items()])
    measured = np.log([work.row.seconds for work in some])
    return fit_logs(lambda logs: np.log(stack.seconds(_values(logs))), measured, trust, PRIORS, most, start)


def _values(logs: Any) -> dict[str, Any]:
    return {name: np.exp(logs)[..., place, None] for place, name in enumerate(PRIORS)}


def _is_time(name: str) -> bool:
    return "gap" in name or "latency" in name


def weights(some: list[Work]) -> Any:
    """Rows of one model, source and kind share the weight of the square root of their number."""
    count: dict[Any, int] = defaultdict(int)
    for work in some:
        count[work.row.model, work.row.source, work.row.kind] += 1
    return np.array([1 / math.sqrt(count[work.row.model, work.row.source, work.row.kind]) for work in some])


def left_out_seconds(works_of_rows: list[Work], field: str, start: Any) -> Any:
    """Seconds of each row by coefficients that were fitted to rows with another `field`."""

    def some(chosen: Any) -> list[Work]:
        return [work for work, its in zip(works_of_rows, chosen, strict=True) if its]

    return left_out(
        [getattr(work.row, field) for work in works_of_rows],
        lambda others: fit(some(others), start),
        lambda logs, chosen: predicted(some(chosen), _values(logs)),
    )


def main() -> None:
    """Fit where --out says where to, and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("throughput", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--cross-validate", action="store_true")
    parser.add_argument("--bootstrap", type=int, default=5)
    given = parser.parse_args()
    rows, left, models = read_rows(given.throughput / "measurements.csv")
    print(f"{len(rows)} readings are priced; rows left out: {left}")
    some = works(rows, models)
    kinds = {"passes": passes_of(some), "layers alone": np.array([work.row.kind == "layer" for work in some])}
    if given.cross_validate or given.out is not None:
        logs = fit(some)
        apart = {}
        for field in ("model", "device", *(("source",) if given.cross_validate else ())):
            seconds = left_out_seconds(some, field, logs)
            apart[field] = _apart(some, seconds)[kinds["passes"]]
            for name, kind in kinds.items():
                its = _chosen(some, kind)
                if len({getattr(work.row, field) for work in its}) == 1:  # nothing is left to make a range of
                    continue
                report(f"{field} left out, {name}", its, seconds[kind], ends_by_fold(its, seconds[kind], field))
                pairs(f"{field} left out, {name}", its, seconds[kind])
        if given.out is not None:
            _packaged(some, logs, apart, given.bootstrap).write(given.out)
    coefficients = serving_coefficients() if given.out is None else ServingCoefficients.read(given.out)
    its = _chosen(some, kinds["passes"])
    ends = np.array([coefficients.range_on(work.row.device, work.row.range).factors for work in its])
    seconds = predicted(its, coefficients.values())
    report("fitted", its, seconds, ends)
    pairs("fitted", its, seconds)


def _chosen(some: list[Work], which: Any) -> list[Work]:
    return [work for work, chosen in zip(some, which, strict=True) if chosen]


def passes_of(some: list[Work]) -> Any:
    """Which of them are whole passes."""
    return np.array([work.row.kind not in ALONE for work in some])


def _apart(some: list[Work], seconds: Any) -> Any:
    return np.log([work.row.seconds for work in some]) - np.log(seconds)


def ends_by_fold(some: list[Work], seconds: Any, field: str) -> Any:
    """Low and high (rows, 2) over what is predicted, from ranges that no row of the same `field` had a part in."""
    classes = [work.row.kind if work.row.kind in ALONE else work.row.range for work in some]
    labels = [getattr(work.row, field) for work in some]
    return ranges_by_fold(_apart(some, seconds), classes, labels, WIDEST)


def _packaged(some: list[Work], logs: Any, apart: dict[str, Any], samples: int) -> ServingCoefficients:
    """Values, their spread over bootstrap samples of the sources, and ranges."""
    sources = sorted({(work.row.model, work.row.source) for work in some})
    random = np.random.default_rng(2026)
    drawn = [logs]
    for _ in range(samples):
        chosen = random.multinomial(len(sources), [1 / len(sources)] * len(sources))
        times = dict(zip(sources, chosen, strict=True))
        drawn.append(fit(some, logs, np.array([times[work.row.model, work.row.source] for work in some])))
    low, high = np.exp(np.quantile(np.array(drawn), [0.1, 0.9], axis=0))
    said = f"fitted to {len(some)} public readings (`python -m tests.benchmarks.serving_pass`)"
    held: dict[Any, StepCoefficient] = {}
    for place, (name, (_, _, prior)) in enumerate(PRIORS.items()):
        value = float(np.exp(logs[place]))
        ends = [float(f"{end:.3g}") for end in (min(low[place], value), max(high[place], value))]
        held[name] = StepCoefficient(
            value=float(f"{value:.3g}"), spread=(ends[0], ends[1]), source=f"{said}; prior: {prior}"
        )
    passes = _chosen(some, passes_of(some))
    classes = [work.row.range for work in passes]
    found = ranges_of(apart["model"], classes, [work.row.model for work in passes], WIDEST)
    ranges: dict[Any, StepRange] = {kind: packaged_range(found[kind], "readings") for kind in sorted({*classes})}
    return ServingCoefficients(
        coefficients=held,
        measured_devices=tuple(sorted({work.row.device for work in passes})),
        ranges=ranges,
        unmeasured_width=range_of(apart["device"], WIDEST_UNMEASURED).width,
    )


def report(name: str, some: list[Work], seconds: Any, ends: Any) -> None:
    """Share inside the range, its width, the median error of its middle."""
    apart = _apart(some, seconds)
    print(f"{name}: weighted mean |log| {np.average(np.abs(apart), weights=weights(some)):.4f}")
    kinds = [("all", np.ones(len(some), bool))]
    kinds += [
        (f"{kind} {value}", np.array([str(getattr(work.row, kind)) == value for work in some]))
        for kind in ("range", "kind", "model", "device", "framework")
        for value in sorted({str(getattr(work.row, kind)) for work in some})
    ]
    for label, chosen in kinds:
        inside, width, error = judge(apart[chosen], ends[chosen])
        reach = np.round(np.exp(np.quantile(apart[chosen], [0, 0.5, 1])), 2)
        print(
            f"    {label}: {chosen.sum()} readings, inside {inside:.0%}, width {width:.2f}, median error {error:.2f} x,"
            f" measured / predicted {reach}"
        )


def pairs(name: str, some: list[Work], seconds: Any) -> None:
    """Direction in pairs of one model, source and kind with one thing changed and seconds apart by over a tenth."""
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
                right += (ratio > 0) == (seconds[one] > seconds[other])
    print(f"{name}: direction right in {right} of {count} pairs")


if __name__ == "__main__":
    main()
