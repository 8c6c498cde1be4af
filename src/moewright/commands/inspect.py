"""inspect: what a model is. Exact counts, memory and FLOPs of any architecture, as data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack, overload

from moewright.commands.checking import as_list, command
from moewright.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moewright.architecture import Architecture
    from moewright.architecture.cache import CacheDtype, LatentCache, WindowCache
    from moewright.architecture.spec import WeightFormatName
    from moewright.hardware.devices import Device
    from moewright.hardware.inspection import Inspection
    from moewright.hardware.inspection_comparison import InspectionComparison
    from moewright.hf.built_elsewhere import ModuleCount

    class _Settings(TypedDict, total=False):
        """The arguments of `inspect` beside the models."""

        tokens_per_sequence: int | None
        batch: int
        weights_dtype: WeightFormatName
        kv_dtype: CacheDtype
        latent_cache: LatentCache
        window_cache: WindowCache
        tensor_parallel: int | None
        hardware: str | Path | Device | None
        devices: int | None
        price: Mapping[str, float] | str | Iterable[str] | None
        power_price: float | None


@overload
def inspect(config: str | Path | dict[str, Any] | Architecture, **settings: Unpack[_Settings]) -> Inspection | Any: ...


@overload
def inspect(
    config: Sequence[str | Path | dict[str, Any] | Architecture], **settings: Unpack[_Settings]
) -> Inspection | InspectionComparison: ...


@command
def inspect(
    config: str | Path | dict[str, Any] | Architecture | Sequence[str | Path | dict[str, Any] | Architecture],
    *,
    tokens_per_sequence: int | None = None,
    batch: int = 1,
    weights_dtype: WeightFormatName = "bf16",
    kv_dtype: CacheDtype = "bf16",
    latent_cache: LatentCache = "latent",
    window_cache: WindowCache = "window",
    tensor_parallel: int | None = None,
    hardware: str | Path | Device | None = None,
    devices: int | None = None,
    price: Mapping[str, float] | str | Iterable[str] | None = None,
    power_price: float | None = None,
) -> Inspection | InspectionComparison | ModuleCount:
    """What is this model? Exact counts, memory and FLOPs of any MoE config; speed and fit on a device.

    Several configs are put side by side: every quantity in which they differ. One config, or a list of one, gives an
    `Inspection`; a list of several gives an `InspectionComparison`, all at one length of sequences. Of a family that no
    reader here knows, and transformers where it is installed does, there is a `ModuleCount`: its parameters, no more.

    >>> import moewright
    >>> moewright.inspect("examples/configs/mixtral-8x7b.json").total_params
    46702792704
    >>> len(moewright.inspect(["mixtral-8x7b", "olmoe-1b-7b"]).inspections)
    2

    Args:
        config: HF config.json, its folder, a moewright file, a published model's name, or a name on the hub.
        tokens_per_sequence: Sequence length for FLOPs and cache. [default: 4096 or the model's longest]
        batch: Sequences in the cache.
        weights_dtype: Weight format to highlight: bf16, fp8, mxfp4 ...
        kv_dtype: Cache format: bf16, fp8 ...
        latent_cache: What the runtime keeps of latent attention: latent, or decompressed.
        window_cache: What it keeps of layers with a window: window, or full (all tokens).
        tensor_parallel: Also the bytes on each of so many devices that share every layer.
        hardware: Device, such as H100, or a YAML file of devices: FILE or FILE:NAME.
        devices: How many of that device. [default: 1]
        price: Of a device-hour, such as H100=2.5: what 1T tokens of training and 1M of serving then cost.
        power_price: Of a kilowatt-hour, in the currency of price.

    Raises:
        UserError: For whatever cannot be read or makes no sense.
    """
    from moewright.hf.config import UnknownFamilyError
    from moewright.hf.loading import load_architecture

    sources = as_list(config)
    settings: _Settings = {
        "tokens_per_sequence": tokens_per_sequence,
        "batch": batch,
        "weights_dtype": weights_dtype,
        "kv_dtype": kv_dtype,
        "latent_cache": latent_cache,
        "window_cache": window_cache,
        "tensor_parallel": tensor_parallel,
        "hardware": hardware,
        "devices": devices,
        "price": price if price is None or isinstance(price, Mapping) else as_list(price),
        "power_price": power_price,
    }
    try:
        models = [load_architecture(each) for each in sources]
    except UnknownFamilyError as error:
        if error.counted is None or len(sources) > 1:
            raise
        _check_unset(settings)
        return error.counted
    if len(models) == 1:
        from moewright.hardware.inspection import inspect_loaded

        return inspect_loaded(models[0], **settings)
    from moewright.hardware.inspection_comparison import compare_loaded

    return compare_loaded(models, **settings)


def _check_unset(settings: _Settings) -> None:
    """UserError if anything is asked that parameters alone do not answer."""
    parameters = signature(inspect).parameters
    asked = [name for name, value in settings.items() if value != parameters[name].default]
    if asked:
        raise UserError(
            f"{asked[0].replace('_', '-')}: no reader here knows the family, and transformers' module tells its "
            "parameters only; leave it out"
        )
