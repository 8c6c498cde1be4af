"""`moewright design`: budgets in, ranked buildable models out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from moewright.commands.checking import as_list, command, writes, written
from moewright.commands.collect_runs import run_table_of
from moewright.errors import UserError
from moewright.outputs import NEW_FOLDER, Destination, deliver

if TYPE_CHECKING:
    import pandas as pd

    from moewright.architecture import Architecture
    from moewright.architecture.cache import CacheDtype
    from moewright.architecture.spec import WeightFormatName
    from moewright.designs.result import Designs
    from moewright.designs.space import Space
    from moewright.hardware import Device
    from moewright.laws import Law


@overload
def design(
    *,
    memory: str | float | None = None,
    total_params: str | float | None = None,
    active_params: str | float | None = None,
    decode_tokens_per_second: str | float | None = None,
    time_to_first_token: str | float | None = None,
    train_tokens: str | float | None = None,
    train_flops: str | float | None = None,
    train_device_hours: str | float | None = None,
    hardware: str | Path | Device | None = None,
    devices: int | None = None,
    context: str | float | None = None,
    batch: int | None = None,
    weights_dtype: WeightFormatName | None = None,
    kv_dtype: CacheDtype | None = None,
    vocab_size: int | None = None,
    space: str | Path | Space | None = None,
    like: str | Path | dict[str, Any] | Architecture | None = None,
    baseline: str | Path | dict[str, Any] | Architecture | None = None,
    prefer: str = "balanced",
    train_hardware: str | Path | Device | None = None,
    train_devices: int | None = None,
    price: Mapping[str, float] | str | Iterable[str] | None = None,
    serve_tokens: str | float | None = None,
    power_price: float | None = None,
    law: str | Path | Law | Iterable[str | Path | Law] | None = None,
    own: str | Path | pd.DataFrame | None = None,
    top: int = 10,
    explain: bool = False,
    out: str | Path | None = None,
    print_space: Literal[False] = False,
) -> Designs: ...


@overload
def design(*, space: str | Path | Space | None = None, print_space: Literal[True]) -> Space: ...


@command
@writes(out=NEW_FOLDER)
def design(
    *,
    memory: str | float | None = None,
    total_params: str | float | None = None,
    active_params: str | float | None = None,
    decode_tokens_per_second: str | float | None = None,
    time_to_first_token: str | float | None = None,
    train_tokens: str | float | None = None,
    train_flops: str | float | None = None,
    train_device_hours: str | float | None = None,
    hardware: str | Path | Device | None = None,
    devices: int | None = None,
    context: str | float | None = None,
    batch: int | None = None,
    weights_dtype: WeightFormatName | None = None,
    kv_dtype: CacheDtype | None = None,
    vocab_size: int | None = None,
    space: str | Path | Space | None = None,
    like: str | Path | dict[str, Any] | Architecture | None = None,
    baseline: str | Path | dict[str, Any] | Architecture | None = None,
    prefer: str = "balanced",
    train_hardware: str | Path | Device | None = None,
    train_devices: int | None = None,
    price: Mapping[str, float] | str | Iterable[str] | None = None,
    serve_tokens: str | float | None = None,
    power_price: float | None = None,
    law: str | Path | Law | Iterable[str | Path | Law] | None = None,
    own: str | Path | pd.DataFrame | None = None,
    top: int = 10,
    explain: bool = False,
    out: str | Path | None = None,
    print_space: bool = False,
) -> Designs | Space:
    """Which model should I build? Budgets in, the few mixtures worth building out.

    The scaling laws that may judge decide what they agree on; cost chooses among what they leave open. Needed are a
    size (`memory`, `total_params` or `hardware`, or `like` instead) and a training (`train_tokens`, `train_flops` or
    `train_device_hours`; or `like` with `serve_tokens`, which leaves it open).

    Args:
        memory: Memory of each device for weights and cache, such as 80GB or 80GiB.
        total_params: Instead of memory: total parameters, such as 30B.
        active_params: Parameters that a token may use, with the input embedding, such as 3B.
        decode_tokens_per_second: Tokens a second for each sequence of the batch; needs --hardware.
        time_to_first_token: Seconds for the batch's prompts; needs --hardware.
        train_tokens: Training tokens, such as 2T.
        train_flops: Instead of tokens: training FLOPs, such as 1e23.
        train_device_hours: Instead of tokens: device-hours of training, on --train-hardware or --hardware.
        hardware: Device that serves, such as H100, or a file.
        devices: How many of them. [default: 1]
        context: Tokens of each sequence in the cache, such as 32768 or 128k (128,000). [default: 32768]
        batch: Sequences in the cache. [default: 1]
        weights_dtype: Weight format that memory counts. [default: bf16]
        kv_dtype: Cache format. [default: bf16]
        vocab_size: Entries of the vocabulary. [default: 128256]
        space: YAML file with the rules of the space to search, or `wide`: all that laws can be asked, built or not.
        like: A published model's config: its own size and active parameters as budgets.
        baseline: Model to put beside the answer. [default: that of `like`, or the nearest published one]
        prefer: What decides where evidence does not: balanced, train, serve or loss. With --serve-tokens bill: size and
            tokens of the least bill that is as good, whatever training was asked for.
        train_hardware: Device that trains. [default: the one that serves, or H100]
        train_devices: How many of it: hours are then those of the fastest layout, with days.
        price: Of a device-hour, such as H100=2.5; repeatable.
        serve_tokens: Tokens generated in the model's life, such as 5T: training and serving together then choose.
        power_price: Of a kilowatt-hour, in the currency of price; money then has the devices' energy in it.
        law: Names restrict the published laws, files of fitted ones join; repeatable.
        own: Run table of your own small runs (or a folder of runs), of one recipe: it decides what the laws leave open
            where it is sure.
        top: How many designs to show.
        explain: Print all that is behind the answer: laws, rules, principles, prices.
        out: New folder for specs, HF configs, reasons and plots of the designs.
        print_space: Give the space's rules and reasons, and do nothing else.

    Raises:
        UserError: For budgets that are missing, contradict each other or fit no model, or a place that is taken.
        RunStopped: When the place of `out` was lost meanwhile; says where the result is instead.
    """
    given: dict[str, Any] = {
        "memory": memory,
        "total_params": total_params,
        "active_params": active_params,
        "decode_tokens_per_second": decode_tokens_per_second,
        "time_to_first_token": time_to_first_token,
        "train_tokens": train_tokens,
        "train_flops": train_flops,
        "train_device_hours": train_device_hours,
        "hardware": hardware,
        "devices": devices,
        "context": context,
        "batch": batch,
        "weights_dtype": weights_dtype,
        "kv_dtype": kv_dtype,
        "train_hardware": train_hardware,
        "train_devices": train_devices,
        "serve_tokens": serve_tokens,
        "power_price": power_price,
    }
    if price is not None:
        from moewright.hardware.bills import read_prices

        given["price"] = read_prices(price if isinstance(price, Mapping) else as_list(price))
    if print_space:
        unused = {**given, "vocab_size": vocab_size, "like": like, "baseline": baseline, "law": law, "own": own}
        unused["prefer"] = None if prefer == "balanced" else prefer
        unused |= {"explain": explain or None, "out": out}
        return _rules(space, [name for name, value in unused.items() if value is not None])

    from moewright.designs.recommendation import recommend

    laws = as_list(law) or None
    asked: dict[str, Any] = {"like": like, "baseline": baseline, "prefer": prefer, "laws": laws, "top": top}
    asked["own"] = None if own is None else run_table_of(own)
    designs = recommend(given, space=space, vocab_size=vocab_size, explain=explain, **asked)
    if out is not None:
        from moewright.report.design_folder import write_designs

        deliver((Destination("out", out, NEW_FOLDER), lambda folder: write_designs(designs, folder)))
    return designs


def _rules(space: str | Path | Space | None, unused: list[str]) -> Space:
    from moewright.designs.space import Space, load_space

    if unused:
        raise UserError(f"{written(unused[0])}: --print-space prints the rules and takes --space only")
    if isinstance(space, Space):
        return space
    return Space() if space is None else load_space(space)
