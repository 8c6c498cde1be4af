"""`moewright design`: budgets in, ranked buildable models out."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moewright.designs.result import Designs
    from moewright.designs.space import Space
    from moewright.hf.sources import Source
    from moewright.laws import Law


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
    hardware: str | None = None,
    devices: int | None = None,
    context: int | None = None,
    batch: int | None = None,
    weights_dtype: str | None = None,
    kv_dtype: str | None = None,
    vocab_size: int | None = None,
    space: "str | Path | Space | None" = None,
    like: "Source | None" = None,
    law: "str | Path | Law | Iterable[str | Path | Law] | None" = None,
    top: int = 10,
) -> "Designs":
    """Rank the models that are within the budgets by their worst regret over the scaling laws that see the choice.

    Size: `memory` of each of `devices` ("80GB": weights and the cache of `batch` sequences of `context` tokens),
    `total_params` ("30B"), or the memory of `hardware`. Inference, optional: `active_params` ("3B", with the input
    embedding), `decode_tokens_per_second` of each sequence and `time_to_first_token` (seconds) on `hardware`. Training:
    one of `train_tokens` ("2T"), `train_flops` ("1e22") and `train_device_hours` on `hardware`. `like` takes the total
    and active parameters and the vocabulary of a published model instead. `space` is the space searched, or its file;
    `law` names published laws to restrict to, and files of fitted laws that join. Raises UserError for budgets that are
    missing, contradict each other or fit no model.
    """
    from moewright.designs.recommendation import recommend
    from moewright.laws import Law

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
    }
    laws = [law] if isinstance(law, str | Path | Law) else law
    return recommend(given, space=space, vocab_size=vocab_size, like=like, laws=laws, top=top)
