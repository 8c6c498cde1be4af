"""The budgets that a design must stay within, checked against each other."""

from dataclasses import dataclass
from typing import Any

from moewright.architecture.cache import CACHE_BYTES, CacheDtype
from moewright.architecture.spec import WeightFormatName
from moewright.architecture.storage import WEIGHT_FORMATS
from moewright.errors import UserError
from moewright.quantities import format_count, parse_bytes, parse_count

DEFAULT_CONTEXT = 32_768
# Of pretraining; long enough that attention shows in the FLOPs, and what most pretraining runs use.
DEFAULT_TOKENS_PER_SEQUENCE = 4096


@dataclass(frozen=True)
class Budgets:
    """Upper bounds (None: no bound) and the conditions under which memory is counted."""

    memory_bytes: float | None
    """Weights, all experts resident, and the cache of `batch` sequences of `context` tokens."""
    total_params: float | None
    active_params: float | None
    """With the input embedding, as most published figures count."""
    train_tokens: float | None
    """Either these, or FLOPs that pay for as many tokens as a design's FLOPs per token allow."""
    train_flops: float | None
    context: int
    batch: int
    weights_dtype: WeightFormatName
    kv_dtype: CacheDtype = "bf16"
    tokens_per_sequence: int = DEFAULT_TOKENS_PER_SEQUENCE
    """Of training, for its FLOPs."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dict(vars(self))


def make_budgets(
    *,
    memory: str | float | None,
    total_params: str | float | None,
    active_params: str | float | None,
    train_tokens: str | float | None,
    train_flops: str | float | None,
    context: int,
    batch: int,
    weights_dtype: str,
    kv_dtype: str,
) -> Budgets:
    """Budgets from what a user wrote; UserError for what is missing, wrong or contradictory."""
    if (memory is None) == (total_params is None):
        found = "both were given" if memory is not None else "neither was given"
        raise UserError(f"memory, total-params: exactly one of them sets the size, {found}; write --memory 80GB")
    if (train_tokens is None) == (train_flops is None):
        found = "both were given" if train_tokens is not None else "neither was given"
        raise UserError(
            f"train-tokens, train-flops: exactly one of them sets the training, {found}; write --train-tokens 2T"
        )
    for name, value in (("context", context), ("batch", batch)):
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 10**8:
            raise UserError(f"{name}: expected an integer from 1 to 10^8, found {value}")
    dtype = next((name for name in WEIGHT_FORMATS if name == weights_dtype), None)
    if dtype is None:
        raise UserError(f"weights-dtype: {weights_dtype!r} is unknown; use one of {', '.join(WEIGHT_FORMATS)}")
    if kv_dtype not in CACHE_BYTES:
        raise UserError(f"kv-dtype: {kv_dtype!r} is unknown; use one of {', '.join(CACHE_BYTES)}")
    total = None if total_params is None else parse_count(total_params, "total-params")
    active = None if active_params is None else parse_count(active_params, "active-params")
    if total is not None and active is not None and active > total:
        raise UserError(
            f"active-params: {format_count(active)} exceed the total of {format_count(total)}; "
            "active parameters are a part of the total"
        )
    return Budgets(
        memory_bytes=None if memory is None else parse_bytes(memory, "memory"),
        total_params=total,
        active_params=active,
        train_tokens=None if train_tokens is None else parse_count(train_tokens, "train-tokens"),
        train_flops=None if train_flops is None else parse_count(train_flops, "train-flops"),
        context=context,
        batch=batch,
        weights_dtype=dtype,
        kv_dtype=kv_dtype,  # type: ignore[arg-type]  # checked above
    )
