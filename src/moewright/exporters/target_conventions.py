"""Same name, different maths: what every target needs to say the spec's routing and balancing in its own terms."""

from collections.abc import Mapping
from typing import NamedTuple, NoReturn

from moewright.architecture.differences import differences
from moewright.architecture.spec import Architecture
from moewright.errors import UserError
from moewright.quantities import brief
from moewright.records import Record

# DeepSeek-V3 report (arXiv 2412.19437), section 4.2; also the default of megatron-core 0.16.1 and torchtitan 0.3.0.
BIAS_UPDATE_RATE = 0.001
# Where the spec gives no longest context: Megatron-LM's pretrain_gpt.py must be told a longest sequence, which with
# rotary embeddings changes no weight; torchtitan makes its rotary tables this long, and training beyond is an error.
ASSUMED_CONTEXT = 4096
# Differences that one line of refusal can hold.
LONGEST_REFUSAL = 6


class Written(NamedTuple):
    """What a target gets."""

    files: dict[str, str]
    """Name -> contents."""
    notes: tuple[str, ...]
    """Conventions that were converted, and what the target must be told that the spec does not say."""


def refuse_differences(target: str, wanted: Architecture, got: Architecture, reasons: Mapping[str, str]) -> None:
    """Raise UserError naming the fields that the target would read as something else.

    `reasons` says why, by the last names of a field. The longest context and the storage of published weights are not
    part of what a training framework is told of a model, so they are not compared.
    """
    got = got.model_copy(update={"max_context": wanted.max_context, "weights_format": wanted.weights_format})
    found = differences(wanted, got)
    if found:
        named = [_with_reason(text, reasons) for text in found[:LONGEST_REFUSAL]]
        more = f"; and {len(found) - LONGEST_REFUSAL} more" if len(found) > LONGEST_REFUSAL else ""
        raise UserError(f"{target} cannot express {'; '.join(named)}{more}")


def _with_reason(difference: str, reasons: Mapping[str, str]) -> str:
    field = difference.split(" = ", 1)[0]
    reason = next((reason for name, reason in reasons.items() if f".{field}".endswith(f".{name}")), None)
    return f"{difference} ({reason})" if reason else difference


def refuse(target: str, architecture: Architecture, part: Record, field: str, value: object, reason: str) -> NoReturn:
    """Raise UserError for a field whose meaning the target changes although it has a name for it."""
    where = next(
        f"layers[{index}].{'mixer' if layer.mixer is part else 'feed_forward'}"
        for index, layer in enumerate(architecture.iter_layers())
        if part in (layer.mixer, layer.feed_forward)
    )
    raise UserError(f"{target} cannot express {where}.{field} = {brief(value)} ({reason})")


# The auxiliary balance loss. moewright's convention: E sum_i f_i P_i per MoE layer with f_i the share of the choices
# that fall on expert i (so that it is 1 when balanced), averaged over the MoE layers, times the coefficient.


def num_moe_layers(architecture: Architecture) -> int:
    """Layers with a mixture of experts."""
    return sum(times for times, _ in architecture.moe_layers())


def summed_over_layers(architecture: Architecture, balance_loss: float) -> float:
    """The coefficient for a target that adds up its layers' losses, each 1 when balanced."""
    return balance_loss / num_moe_layers(architecture)


def divided_by_all_layers(architecture: Architecture, balance_loss: float) -> float:
    """The coefficient for a target that adds up its layers' losses and divides by the dense layers too."""
    return balance_loss * architecture.num_layers / num_moe_layers(architecture)
