"""How to serve a model on some devices: the data behind `moewright plan --serve`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from moewright.architecture.cache import CACHE_BYTES, CacheDtype
from moewright.architecture.counts import forward_flops_per_token, prediction_block, usual_sequence
from moewright.architecture.spec import Architecture, WeightFormatName
from moewright.architecture.weight_formats import WEIGHT_FORMATS
from moewright.complaints import check_integer, check_number, integer_in_text, named_texts, one_of
from moewright.display import ShownTable
from moewright.errors import UserError
from moewright.hardware.bills import Tariff, together
from moewright.hardware.devices import Device, Hardware, load_device
from moewright.hardware.launch_flags import llama_flags, sglang_flags, vllm_flags, what_flags_leave_out
from moewright.hardware.layout_plan import LayoutPlan, check_devices
from moewright.hardware.layout_record import LayoutPlanRecord, LifetimeRecord, RefusedRecord
from moewright.hardware.layout_search import LARGEST_DEGREE, first_broken
from moewright.hardware.serving_coefficients import RangeName, serving_coefficients
from moewright.hardware.serving_layouts import (
    SERVING_REASONS,
    ServingJob,
    ServingMemory,
    broken_serving_rules,
    largest_batches,
    serving_grid,
    serving_memory,
)
from moewright.hardware.serving_pass import (
    PASS_COMPONENTS,
    Pass,
    PassComponent,
    ServingColumns,
    pass_seconds,
    served_work,
    software_of,
)
from moewright.hardware.serving_record import ServingLayoutRecord, ServingMemoryRecord, ServingPlanRecord
from moewright.hardware.speculation import Speculation
from moewright.hardware.training_coefficients import StepRange

if TYPE_CHECKING:
    from moewright.architecture.sizes import Column

MOST_SEQUENCES = 1024
"""Of a device: what servers are set to at most."""
MANY_SEQUENCES = 64
"""Of an instance: up to so many users were measured one by one; beyond, rows are of full load."""
SERVED_NAMES = ("tp", "dp", "ep", "pp")
_FIELDS = {"tp": "tensor", "dp": "data", "ep": "expert", "pp": "pipeline"}
SERVING_RANGE_MEANS = "3 of 4 public readings of models left out of the fit lie inside, 84 % of decoding"
NOT_COUNTED = "Queues, prefixes that are found again, and sampling of long answers are not modelled."


@dataclass(frozen=True, repr=False)
class ServingPlan(ShownTable):
    """Ways to serve a model that no other beats in both speed for each user and speed for each device."""

    record: ServingPlanRecord

    def to_dict(self) -> dict[str, Any]:
        """The fields of `moewright plan --serve --json`."""
        return self.record.to_dict()

    @property
    def layouts(self) -> tuple[ServingLayoutRecord, ...]:
        """The fastest for each user first."""
        return self.record.layouts

    def _facts(self) -> Mapping[str, Any]:
        best = self.record.layouts[0]
        return {
            "model": self.record.model,
            "layout": serving_layout_text(best),
            "tokens_per_second_per_user": best.tokens_per_second_per_user,
        }

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        return [
            {
                **{name: getattr(layout, name) for name in (*SERVED_NAMES, "instances", "batch")},
                "memory_bytes_per_device": layout.memory_bytes_per_device,
                "prefill_seconds_low": layout.prefill_seconds[0],
                "prefill_seconds_high": layout.prefill_seconds[1],
                "tokens_per_second_per_user_low": layout.tokens_per_second_per_user[0],
                "tokens_per_second_per_user_high": layout.tokens_per_second_per_user[1],
                "tokens_per_second_per_device_low": layout.tokens_per_second_per_device[0],
                "tokens_per_second_per_device_high": layout.tokens_per_second_per_device[1],
            }
            for layout in self.record.layouts
        ]


def serving_layout_text(layout: ServingLayoutRecord) -> str:
    """A layout as `--layout` takes it."""
    return ",".join(f"{name}={getattr(layout, name)}" for name in SERVED_NAMES)


def plan_serving(
    architecture: Architecture,
    hardware: Hardware,
    devices: int,
    *,
    name: str = "",
    batch: int | None = None,
    context: int | None = None,
    generate: int | None = None,
    weights_dtype: WeightFormatName = "bf16",
    kv_dtype: CacheDtype = "bf16",
    draft_tokens: int = 0,
    acceptance: float | None = None,
    experts_on: Hardware | None = None,
    layout: str | None = None,
    serve_tokens: float | None = None,
    price: Mapping[str, float] | None = None,
    power_price: float | None = None,
    top: int = 5,
    warnings: Sequence[str] = (),
) -> ServingPlan:
    """The best ways to serve, or one that is given. Raises UserError for what cannot be.

    `batch`: sequences at a time on all devices; None: those where no layout and batch is faster both for each user and
    for each device.
    """
    device = load_device(hardware)
    check_devices(device, devices)
    check_integer(top, "top", 1, 100)
    one_of(weights_dtype, "weights-dtype", WEIGHT_FORMATS)
    one_of(kv_dtype, "kv-dtype", CACHE_BYTES)
    if batch is not None:
        check_integer(batch, "batch", 1)
    length, total = _lengths(architecture, context, generate)
    guess = _speculation(architecture, draft_tokens, acceptance)
    tariff = Tariff(device, price, power_price)
    job = ServingJob(architecture, device, devices, total, weights_dtype, kv_dtype)
    host = None if experts_on is None else load_device(experts_on)
    notes = [*warnings, NOT_COUNTED]
    if host is not None:
        job, moved = _with_host(job, host)
    else:
        moved = 0
    places, refused = _candidates(job) if layout is None else (_given(job, layout), {})
    held = serving_memory(job, places)
    most = largest_batches(job, places, held, MOST_SEQUENCES)
    if layout is None:
        fits = most >= 1
        if not fits.all():
            over = np.flatnonzero(~fits)
            total_held = held.with_sequences(places)
            least = over[np.argmin(total_held[over])]
            refused["memory"] = _refused("memory", places.take([least]), len(over), float(total_held[least]))
        if not fits.any():
            raise UserError(_nothing_fits(job, refused))
        places, held, most = places.take(fits), held.take(fits), most[fits]
    which, batches = _with_batches(places, most, batch, devices, is_given=layout is not None)
    if not len(which):
        raise UserError(f"batch: {batch} sequences of {total} tokens do not fit on {devices} {device.name}")
    places = ServingColumns(**{**vars(places.take(which)), "batch": batches})
    held, most = held.take(which), most[which]
    answers = _Answers(job, places, length, generate, guess, host)
    notes += what_flags_leave_out(weights_dtype, kv_dtype, answers.software)
    chosen = answers.fastest(top) if batch is not None or layout is not None else answers.frontier(top)
    records = tuple(_record(answers, held, most, place, moved) for place in chosen)
    if serve_tokens is not None:
        records = tuple(
            record.model_copy(update={"cost": tariff.bill("serve", serve_tokens, record.tokens_per_second_per_device)})
            for record in records
        )
    if layout is not None and not records[0].fits:
        notes.insert(0, f"This layout does not fit: it holds {records[0].memory_bytes_per_device / 1e9:.0f} GB.")
    return ServingPlan(
        ServingPlanRecord(
            model=name,
            hardware=device.name,
            devices=devices,
            domain_devices=job.domain,
            software=answers.software,
            context=length,
            generate=generate,
            weights_dtype=weights_dtype,
            kv_dtype=kv_dtype,
            draft_tokens=guess.draft,
            acceptance=acceptance,
            experts_on=None if host is None else host.name,
            usable_memory=job.usable_memory,
            range=SERVING_RANGE_MEANS,
            range_sources={kind: answers.range_of(kind, records[0].batch).source for kind in ("decode", "prefill")},
            layouts=records,
            considered=len(places) + sum(some.count for some in refused.values()),
            refused=refused,
            warnings=tuple(notes),
        )
    )


def with_lifetime(
    plan: LayoutPlan, architecture: Architecture, hardware: Hardware, serve_tokens: float, **prices: Any
) -> LayoutPlan:
    """A training plan with the bill of serving so many tokens on the same devices, in bf16.

    Prompts and answers are half a sequence of the training each. Raises UserError where no way of serving fits.
    """
    record = plan.record
    half = max(record.sequence_length // 2, 1)
    served = plan_serving(
        architecture,
        hardware,
        record.devices,
        context=half,
        generate=half,
        serve_tokens=serve_tokens,
        top=100,
        **prices,
    )
    best = max(served.layouts, key=lambda layout: layout.tokens_per_second_per_device[0])
    assert best.cost is not None
    trained = record.layouts[0].cost
    lifetime = LifetimeRecord(
        tokens=serve_tokens,
        context=half,
        generate=half,
        layout=serving_layout_text(best),
        batch=best.batch,
        serving=best.cost,
        together=None if trained is None else together(trained, best.cost),
    )
    changed: LayoutPlanRecord = record.model_copy(update={"lifetime": lifetime})
    return LayoutPlan(changed)


def _lengths(architecture: Architecture, context: int | None, generate: int | None) -> tuple[int, int]:
    """Tokens of a prompt, and of prompt and answer; a prompt that is not given leaves room for the answer."""
    longest = architecture.max_context
    answer = 0 if generate is None else check_integer(generate, "generate", 1)
    if context is None:
        if longest is not None and answer >= longest:
            raise UserError(f"generate: {answer} tokens leave no room in the model's context of {longest}")
        context = usual_sequence(architecture)
        context = context if longest is None else min(context, longest - answer)
    check_integer(context, "context", 1)
    if longest is not None and context + answer > longest:
        parts = f"{context} tokens and {answer} that follow" if answer else f"{context} tokens"
        raise UserError(f"context: {parts} are longer than the model's context of {longest}")
    return context, context + answer


def _speculation(architecture: Architecture, draft: int, acceptance: float | None) -> Speculation:
    check_integer(draft, "draft-tokens", 0, 16)
    if not draft:
        if acceptance is not None:
            raise UserError("acceptance: needs draft-tokens, how many tokens are proposed at a time")
        return Speculation()
    if not architecture.mtp_layers:
        raise UserError("draft-tokens: this model has no prediction blocks")
    if acceptance is None:
        raise UserError("draft-tokens: needs acceptance, the probability that a proposed token is right, such as 0.8")
    check_number(acceptance, "acceptance", at_least=0, at_most=1)
    return Speculation(draft, acceptance)


def _with_host(job: ServingJob, host: Device) -> tuple[ServingJob, int]:
    """As few layers' experts in the host's memory as make room, as llama.cpp's --n-cpu-moe does."""
    layers = sum(times for times, _ in job.architecture.moe_layers())
    if job.devices != 1:
        raise UserError("experts-on: is for one device, whose host's memory holds experts")
    if not layers:
        raise UserError("experts-on: this model has no experts")
    one = ServingColumns(*(np.array([1]) for _ in range(5)))
    for moved in range(layers + 1):
        some = replace(job, host_share=moved / layers)
        if float(serving_memory(some, one).with_sequences(one)[0]) <= job.usable_memory:
            break
    else:
        raise UserError(f"experts-on: what is left of the model does not fit on {job.device.name}")
    whole = float(serving_memory(job, one).weights[0])
    beside = whole - float(serving_memory(some, one).weights[0])
    if beside > host.memory:
        raise UserError(f"experts-on: {beside / 1e9:.0f} GB of experts do not fit in {host.name}'s memory")
    return some, moved


def _candidates(job: ServingJob) -> tuple[ServingColumns, dict[str, RefusedRecord]]:
    grid = serving_grid(job)
    refused: dict[str, RefusedRecord] = {}
    first, kept = first_broken(broken_serving_rules(job, grid))
    for reason, broken in first.items():
        some = grid.take(broken)
        smallest = int(np.argmin(some.sharing * some.pipeline))
        refused[reason] = _refused(reason, some.take([smallest]), len(some), None)
    return grid.take(kept), refused


def _refused(reason: str, nearest: ServingColumns, count: int, size: float | None) -> RefusedRecord:
    text = ",".join(f"{name}={int(getattr(nearest, field)[0])}" for name, field in _FIELDS.items())
    return RefusedRecord(reason=SERVING_REASONS[reason], count=count, nearest=text, bytes=size)  # type: ignore[index]


def _nothing_fits(job: ServingJob, refused: Mapping[str, RefusedRecord]) -> str:
    if "memory" in refused:
        least = refused["memory"].bytes or 0.0
        return (
            f"devices: no layout on {job.devices} {job.device.name} fits; the leanest holds {least / 1e9:.0f} GB of "
            f"{job.usable_memory / 1e9:.0f}; take more devices, more memory or narrower weights"
        )
    return f"devices: no layout on {job.devices} {job.device.name} divides the model"


def _given(job: ServingJob, text: str) -> ServingColumns:
    """The layout of a text such as tp=2,dp=4,ep=8; what is not named is 1."""
    values = dict.fromkeys(SERVED_NAMES, 1)
    for name, value in named_texts(text.replace(" ", "").split(","), "layout").items():
        values[one_of(name, "layout", SERVED_NAMES)] = integer_in_text(value, f"layout: {name}", 1, LARGEST_DEGREE)
    if values["ep"] not in (1, values["tp"] * values["dp"]):
        raise UserError("layout: ep is 1, or all devices that share a layer: tp x dp")
    columns = ServingColumns(**{_FIELDS[name]: np.array([size]) for name, size in values.items()}, batch=np.array([1]))
    for reason, broken in broken_serving_rules(job, columns).items():
        if broken[0]:
            raise UserError(f"layout: {SERVING_REASONS[reason]} ({text})")
    return columns


def _with_batches(
    places: ServingColumns, most: Column, batch: int | None, devices: int, is_given: bool
) -> tuple[Column, Column]:
    """Which layouts, as often as there are batches to try with each, and these batches."""
    instances = devices // (places.sharing * places.pipeline)
    if batch is not None:
        each = -(-batch // instances)
        chosen = np.arange(len(places)) if is_given else np.flatnonzero(each <= most)
        return chosen, each[chosen]
    powers = 2 ** np.arange(0, 21)
    every = np.minimum(powers[None, :], np.maximum(most[:, None], 1))
    new = np.concatenate([np.ones((len(most), 1), dtype=bool), np.diff(every, axis=1) > 0], axis=1)
    which, power = np.nonzero(new)
    return which, every[which, power].astype(int)


class _Answers:
    """Seconds of every candidate, and ranges around them."""

    def __init__(
        self,
        job: ServingJob,
        places: ServingColumns,
        context: int,
        generate: int | None,
        guess: Speculation,
        host: Device | None,
    ) -> None:
        self.job, self.places, self.guess, self.host = job, places, guess, host
        self.software = software_of(job.device)
        self.coefficients = serving_coefficients()
        at = self.coefficients.values()
        position = context + (generate or 0) // 2
        self.parts = self._pass(places, Pass(1 + guess.draft, position + guess.draft, generates=True))
        if guess.draft:
            self._add_drafts(position)
        self.step: Any = sum(self.parts.values())
        alone = ServingColumns(**{**vars(places), "batch": np.ones_like(places.batch)})
        prompt: Any = sum(self._pass(alone, Pass(context, context, generates=False)).values())
        self.prefill = prompt + at["gap_of_a_request"] * (self.software == "server")
        token: Any = self.step / guess.tokens_per_step
        if generate is not None:
            # While one sequence generates its tokens, as many prompts are read as there are sequences; each group reads
            # its own, so that as many as there are groups go at once.
            together = places.data * places.pipeline
            waiting = at["interference"] * places.batch / together * prompt / generate
            token = token + waiting * (places.batch > 1)
        self.per_user: Column = 1 / token
        instances = job.devices // (places.sharing * places.pipeline)
        self.per_device = instances * places.batch * self.per_user / job.devices
        self.instances = instances

    def _pass(
        self, places: ServingColumns, one: Pass, architecture: Architecture | None = None
    ) -> dict[PassComponent, Column]:
        job = self.job
        work = served_work(
            architecture or job.architecture,
            places,
            one,
            WEIGHT_FORMATS[job.weights_dtype],
            domain=job.domain,
            kv_dtype=job.kv_dtype,
            layout=job.layout,
            host_share=0.0 if architecture else job.host_share,
        )
        return pass_seconds(work, job.device, self.software, self.coefficients.values(), self.host)

    def _add_drafts(self, position: int) -> None:
        """A pass through a prediction block for each proposed token, on one stage of a pipeline."""
        block = prediction_block(self.job.architecture)
        places = ServingColumns(**{**vars(self.places), "pipeline": np.ones_like(self.places.pipeline)})
        gap = self.coefficients.values()["local_gap_of_a_pass" if self.software == "local" else "gap_of_a_pass"]
        for name, seconds in self._pass(places, Pass(1, position, generates=True), block).items():
            self.parts[name] = self.parts[name] + self.guess.draft * seconds
        # The proposals of a step are made in one go.
        self.parts["gaps"] = self.parts["gaps"] - self.guess.draft * gap

    def range_of(self, kind: Literal["decode", "prefill"], batch: int) -> StepRange:
        """Measured over predicted."""
        name: RangeName
        if self.software == "local":
            name = "local_decode" if kind == "decode" else "local_prefill"
        elif kind == "prefill":
            name = "server_prefill"
        else:
            name = "server_load" if batch > MANY_SEQUENCES else "server_decode"
        return self.coefficients.range_on(self.job.device.name, name)

    def fastest(self, top: int) -> list[int]:
        """For each user; of equals those which take fewer devices for a sequence."""
        order = np.lexsort((self.places.sharing * self.places.pipeline, -np.round(self.per_user, 9)))
        return [int(place) for place in order[:top]]

    def frontier(self, top: int) -> list[int]:
        """Those that no other beats in both speeds, thinned evenly to `top`, the fastest for each user first."""
        order = np.lexsort((-self.per_device, -self.per_user))
        best, kept = 0.0, []
        for place in order:
            if self.per_device[place] > best * 1.02:  # a gain of less is no choice
                best = float(self.per_device[place])
                kept.append(int(place))
        if len(kept) <= top:
            return kept
        chosen = np.unique(np.round(np.linspace(0, len(kept) - 1, top)).astype(int))
        return [kept[place] for place in chosen]


def _record(answers: _Answers, held: ServingMemory, most: Column, place: int, moved: int) -> ServingLayoutRecord:
    places, job = answers.places, answers.job
    batch = int(places.batch[place])
    low, high = answers.range_of("decode", batch).factors
    first = answers.range_of("prefill", batch).factors
    user, each = float(answers.per_user[place]), float(answers.per_device[place])
    flops = float(forward_flops_per_token(job.architecture, job.context)) / job.device.peak_flops["bf16"]
    degrees = {name: int(getattr(places, field)[place]) for name, field in _FIELDS.items()}
    weights = float(held.weights[place])
    cache = float(held.with_sequences(places)[place]) - weights
    step = float(answers.step[place])
    record = ServingLayoutRecord(
        **degrees,
        instances=int(answers.instances[place]),
        batch=batch,
        largest_batch=int(most[place]),
        experts_on_host=moved,
        memory_bytes_per_device=weights + cache,
        memory=ServingMemoryRecord(weights=weights, cache=cache),
        fits=weights + cache <= job.usable_memory,
        prefill_seconds=(float(answers.prefill[place]) * first[0], float(answers.prefill[place]) * first[1]),
        step_seconds=(step * low, step * high),
        tokens_per_step=answers.guess.tokens_per_step,
        components={
            name: (float(answers.parts[name][place]) * low, float(answers.parts[name][place]) * high)
            for name in PASS_COMPONENTS
            if float(answers.parts[name][place])
        },
        tokens_per_second_per_user=(user / high, user / low),
        tokens_per_second_per_device=(each / high, each / low),
        mfu=(each / high * flops, each / low * flops),
        cost=None,
        vllm=(),
        sglang=(),
        llama_cpp=None,
    )
    settings = (job.context, job.weights_dtype, job.kv_dtype, answers.guess.draft)
    flags: dict[str, Any] = {
        "vllm": tuple(vllm_flags(record, *settings)),
        "sglang": tuple(sglang_flags(record, *settings)),
    }
    if job.devices == 1:
        flags["llama_cpp"] = tuple(llama_flags(record, job.context, job.kv_dtype))
    return record.model_copy(update=flags)
