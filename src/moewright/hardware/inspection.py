"""What a model is: exact counts, memory and FLOPs of any architecture, as data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from moewright.architecture import cache, counts, weight_formats
from moewright.architecture.cache import AS_SMALL, CACHE_BYTES, CacheDtype, CacheLayout, LatentCache, WindowCache
from moewright.architecture.counts import usual_sequence
from moewright.architecture.inventory import Component
from moewright.architecture.mixers import LatentAttention
from moewright.architecture.spec import Architecture, Layer, WeightFormatName
from moewright.complaints import check_integer, one_of
from moewright.display import ShownTable
from moewright.errors import UserError
from moewright.hardware.mixture_anatomy import MoERecord, int_where_whole, moe_anatomy
from moewright.hf.loading import Loaded, published_weights
from moewright.hf.published import Published

if TYPE_CHECKING:
    from moewright.hardware.assessment import Assessment
    from moewright.hardware.devices import Hardware
    from moewright.hardware.inspection_record import InspectionRecord, TensorParallelRecord
    from moewright.hardware.serving import TensorParallelShare


WINDOWS_IN_FULL = "layers with a window keep all tokens"
"""What `--window-cache full` means for the cache."""


@dataclass(frozen=True)
class LayerRun:
    """Equal layers: how many there are in the model, and one of them."""

    count: int
    layer: Layer
    params: dict[Component, int]
    active: dict[Component, int]
    """Parameters of one such layer by component, in total and active."""
    forward_flops: float
    """For one token, at the inspection's sequence length."""
    kv_bytes_per_token: float
    weights_bytes: int
    """Of one such layer, in the inspection's formats."""


@dataclass(frozen=True, repr=False)
class Inspection(ShownTable):
    """Everything that `moewright inspect` shows. Parameters are exact; bytes and FLOPs follow the stated settings."""

    name: str
    family: str | None
    architecture: Architecture
    warnings: tuple[str, ...]
    params: dict[Component, int]
    active: dict[Component, int]
    active_counts_embedding: bool
    """Whether `active` includes the input embedding; by the convention of the family's publisher."""
    active_with_embedding: int
    active_without_embedding: int
    mtp_params: int
    layers: tuple[LayerRun, ...]
    moe: MoERecord | None
    tokens_per_sequence: int
    forward_flops_by_component: dict[Component, float]
    mixing_flops: float
    six_n_flops: int
    weights_dtype: WeightFormatName
    weights_bytes: dict[WeightFormatName, int]
    published: Published
    batch: int
    kv_dtype: CacheDtype
    kv_bytes_per_token: dict[LatentCache, float]
    kv_bytes_per_token_beyond_windows: float
    state_bytes_per_sequence: int
    cache_bytes_per_sequence: int
    cache_layout: CacheLayout = AS_SMALL
    """What the runtime stores where runtimes differ, as it was asked."""
    tensor_parallel: TensorParallelShare | None = None
    """On one of several devices, where that was asked about."""
    hardware: Assessment | None = None
    """On a device, where one was asked about; its context is `tokens_per_sequence`."""

    @property
    def total_params(self) -> int:
        """Every parameter."""
        return sum(self.params.values())

    @property
    def active_params(self) -> int:
        """Parameters that one token multiplies with, by the publisher's convention for the embedding."""
        return sum(self.active.values())

    @property
    def forward_flops(self) -> float:
        """FLOPs of a forward pass over one token."""
        return sum(self.forward_flops_by_component.values())

    @property
    def training_flops(self) -> float:
        """FLOPs of forward and backward over one token."""
        return (1 + counts.BACKWARD_FACTOR) * self.forward_flops

    def _facts(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "total_params": self.total_params,
            "active_params": self.active_params,
            "layers": self.architecture.num_layers,
            "experts": None if self.moe is None else f"{self.moe.num_experts}, {self.moe.top_k} active",
            "forward_flops_per_token": self.forward_flops,
            "kv_bytes_per_token": self.kv_bytes_per_token[self.cache_layout.latent],
        }

    def _rows(self) -> list[dict[str, Any]]:
        parts = self.forward_flops_by_component
        return [
            {"component": name, "params": count, "active": self.active[name], "forward_flops_per_token": parts[name]}
            for name, count in self.params.items()
        ]

    def answer(self) -> InspectionRecord:
        """What `moewright inspect --json` prints."""
        from moewright.hardware.inspection_record import (
            FlopsRecord,
            InspectionRecord,
            LayerRecord,
            StoredRecord,
        )  # slow to build

        embedding = "counted" if self.active_counts_embedding else "not counted"
        return InspectionRecord(
            name=self.name,
            family=self.family,
            total_params=self.total_params,
            active_params=self.active_params,
            active_convention=f"input embedding {embedding}, as in the publisher's figure; head counted",
            active_params_with_embedding=self.active_with_embedding,
            active_params_without_embedding=self.active_without_embedding,
            total_params_non_embedding=counts.total_params_non_embedding(self.architecture),
            active_params_non_embedding=counts.active_params_non_embedding(self.architecture),
            params=self.params,
            active=self.active,
            mtp_params=self.mtp_params,
            num_layers=self.architecture.num_layers,
            layers=tuple(
                LayerRecord(
                    count=run.count,
                    mixer=run.layer.mixer,
                    feed_forward=run.layer.feed_forward,
                    norms=run.layer.norms,
                    params=run.params,
                    active=run.active,
                    forward_flops_per_token=run.forward_flops,
                    kv_bytes_per_token=int_where_whole(run.kv_bytes_per_token),
                    weights_bytes=run.weights_bytes,
                )
                for run in self.layers
            ),
            moe=self.moe,
            flops_per_token=FlopsRecord(
                forward=self.forward_flops,
                forward_by_component=self.forward_flops_by_component,
                training=self.training_flops,
                mixing=self.mixing_flops,
                six_n=self.six_n_flops,
                tokens_per_sequence=self.tokens_per_sequence,
                convention=counts.FLOPS_CONVENTION,
            ),
            weights_dtype=self.weights_dtype,
            weights_bytes=self.weights_bytes[self.weights_dtype],
            weights_bytes_by_dtype=self.weights_bytes,
            published_dtype=self.published.dtype,
            published_weights_bytes=self.published.total_bytes,
            published_bytes=None if self.published.model is None else self.published.model.bytes,
            published_mtp_bytes=None if self.published.model is None else self.published.prediction.total_bytes,
            published_formats={
                name: StoredRecord(params=params, bytes=size)
                for name, (params, size) in self.published.by_format().items()
            },
            published_source=self.published.source,
            kv_dtype=self.kv_dtype,
            kv_bytes_per_token=int_where_whole(self.kv_bytes_per_token[self.cache_layout.latent]),
            kv_bytes_per_token_decompressed=int_where_whole(self.kv_bytes_per_token["decompressed"]),
            kv_bytes_per_token_beyond_windows=int_where_whole(self.kv_bytes_per_token_beyond_windows),
            latent_cache=self.cache_layout.latent,
            window_cache=self.cache_layout.windows,
            kv_convention=_convention(self.cache_layout),
            state_bytes_per_sequence=self.state_bytes_per_sequence,
            cache_bytes_per_sequence=self.cache_bytes_per_sequence,
            batch=self.batch,
            cache_bytes=self.batch * self.cache_bytes_per_sequence,
            tensor_parallel=None if self.tensor_parallel is None else _share_record(self.tensor_parallel),
            hardware=self.hardware.answer() if self.hardware else None,
            warnings=self.warnings,
        )

    def to_dict(self) -> dict[str, Any]:
        """The fields of `moewright inspect --json`."""
        return self.answer().to_dict()


def inspect_loaded(
    loaded: Loaded,
    *,
    tokens_per_sequence: int | None = None,
    batch: int = 1,
    weights_dtype: WeightFormatName = "bf16",
    kv_dtype: CacheDtype = "bf16",
    latent_cache: LatentCache = "latent",
    window_cache: WindowCache = "window",
    tensor_parallel: int | None = None,
    hardware: Hardware | None = None,
    devices: int | None = None,
    price: Mapping[str, float] | Iterable[str] | None = None,
    power_price: float | None = None,
) -> Inspection:
    """Count a model that is read; the arguments are those of `moewright.inspect`.

    Raises UserError for numbers and names that make no sense.
    """
    a = loaded.architecture
    published = published_weights(loaded)
    notes = [*loaded.warnings, *published.notes]
    check_integer(batch, "batch")
    one_of(weights_dtype, "weights-dtype", weight_formats.WEIGHT_FORMATS)
    one_of(kv_dtype, "kv-dtype", CACHE_BYTES)
    one_of(latent_cache, "latent-cache", get_args(LatentCache))
    one_of(window_cache, "window-cache", get_args(WindowCache))
    layout = CacheLayout(latent_cache, window_cache)
    notes += _without_effect(a, layout)
    if tokens_per_sequence is None:
        tokens_per_sequence = usual_sequence(a)
    elif check_integer(tokens_per_sequence, "tokens-per-sequence") > (a.max_context or tokens_per_sequence):
        notes.append(f"{tokens_per_sequence} tokens are more than the {a.max_context} that the model was made for")
    if hardware is None and devices is not None:
        raise UserError("devices: needs hardware; say which device with --hardware NAME")
    for option, value in (("price", price), ("power-price", power_price)):
        if value is not None and hardware is None:
            raise UserError(f"{option}: needs hardware; say which device with --hardware NAME")
    if tensor_parallel is not None and hardware is not None:
        raise UserError("tensor-parallel: with hardware the placement says what is on which device; give devices")
    share = None
    if tensor_parallel is not None:
        from moewright.hardware.serving import tensor_parallel_share  # brings numpy, which counting does not need

        share = tensor_parallel_share(
            a,
            tensor_parallel,
            batch=batch,
            context=tokens_per_sequence,
            weights_dtype=weights_dtype,
            kv_dtype=kv_dtype,
            layout=layout,
        )
    assessed = None
    if hardware is not None:
        from moewright.hardware.assessment import assess  # brings numpy, which counting does not need

        assessed = assess(
            a,
            hardware,
            devices=1 if devices is None else devices,
            batch=batch,
            context=tokens_per_sequence,
            weights_dtype=weights_dtype,
            kv_dtype=kv_dtype,
            layout=layout,
            price=price,
            power_price=power_price,
        )
    return Inspection(
        name=loaded.name,
        family=loaded.family,
        architecture=a,
        warnings=tuple(notes),
        params=counts.params(a),
        active=counts.active(a, loaded.active_counts_embedding),
        active_counts_embedding=loaded.active_counts_embedding,
        active_with_embedding=counts.active_params(a),
        active_without_embedding=counts.active_params(a, count_embedding=False),
        mtp_params=counts.mtp_params(a),
        layers=tuple(
            LayerRun(
                count=count,
                layer=layer,
                params=counts.layer_params(a, layer),
                active=counts.layer_active(a, layer),
                forward_flops=counts.layer_forward_flops(a, layer, tokens_per_sequence),
                kv_bytes_per_token=cache.layer_kv_bytes_per_token(a, layer, kv_dtype, layout),
                weights_bytes=weight_formats.layer_weights_bytes(a, layer, weights_dtype),
            )
            for count, layer in a.layer_runs()
        ),
        moe=moe_anatomy(a, loaded.active_counts_embedding),
        tokens_per_sequence=tokens_per_sequence,
        forward_flops_by_component=counts.forward_flops(a, tokens_per_sequence),
        mixing_flops=counts.mixing_flops_per_token(a, tokens_per_sequence),
        six_n_flops=counts.six_n_flops_per_token(a, loaded.active_counts_embedding),
        weights_dtype=weights_dtype,
        weights_bytes={name: weight_formats.weights_bytes(a, name) for name in weight_formats.WEIGHT_FORMATS},
        published=published,
        batch=batch,
        kv_dtype=kv_dtype,
        kv_bytes_per_token={
            "latent": cache.kv_bytes_per_token(a, kv_dtype),
            "decompressed": cache.kv_bytes_per_token(a, kv_dtype, CacheLayout("decompressed")),
        },
        kv_bytes_per_token_beyond_windows=cache.kv_bytes_per_token_beyond_windows(a, kv_dtype, layout),
        state_bytes_per_sequence=cache.state_bytes_per_sequence(a, kv_dtype),
        cache_bytes_per_sequence=cache.cache_bytes_per_sequence(a, tokens_per_sequence, kv_dtype, layout),
        cache_layout=layout,
        tensor_parallel=share,
        hardware=assessed,
    )


def _without_effect(architecture: Architecture, layout: CacheLayout) -> list[str]:
    """One line for each choice about the cache that this model does not have."""
    notes = []
    if layout.latent != "latent" and not has_latent_attention(architecture):
        notes.append("latent-cache: the model has no latent attention; nothing is decompressed")
    if layout.windows != "window" and not any(
        growing.limit is not None
        for _, layer in architecture.layer_runs()
        for growing in cache.layer_cache(layer, architecture.hidden_size).growing
    ):
        notes.append("window-cache: no layer has a window; nothing more is kept")
    return notes


def _convention(layout: CacheLayout) -> str:
    latent = {
        "latent": "latent attention stored as its latent; kv_bytes_per_token_decompressed otherwise",
        "decompressed": "of latent attention every head's keys and values are stored",
    }[layout.latent]
    return latent if layout.windows == "window" else f"{latent}; {WINDOWS_IN_FULL}"


def _share_record(share: TensorParallelShare) -> TensorParallelRecord:
    from moewright.hardware.inspection_record import TensorParallelRecord  # slow to build

    return TensorParallelRecord(
        devices=share.devices,
        weights=share.weights,
        cache_per_token=share.cache_per_token,
        cache=share.cache,
        total=share.total,
        head_copies=share.head_copies,
    )


def has_latent_attention(architecture: Architecture) -> bool:
    """Whether the cache's size depends on how the runtime stores latent attention."""
    return any(isinstance(layer.mixer, LatentAttention) for _, layer in architecture.layer_runs())
