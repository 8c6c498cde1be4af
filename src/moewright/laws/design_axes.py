"""What two designs can differ in, and whether published laws have been shown to rank such differences.

Seven axes that can be moved one at a time. Each is read from the parameters and channels that a design really has, so
that a search cannot game it: experts count by their width, shared ones included, never by their number.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from moewright.architecture import counts, variables
from moewright.architecture.feed_forwards import AnyDense
from moewright.architecture.spec import Countable

AxisName = Literal["size", "tokens", "expansion", "active_width", "granularity", "shared_share", "depth"]


@dataclass(frozen=True)
class DesignAxis:
    """One thing in which designs differ."""

    name: AxisName
    meaning: str
    read: Callable[[Countable[Any]], Any] | None
    """From an architecture, or a column of it from one of columns; None for the training tokens."""
    open: str | None = None
    """Why a difference here is never decided by laws alone; None where back-tests found them right."""


def _of_mixture_or(read: Callable[[Countable[Any]], Any], dense: Callable[[Countable[Any]], Any]) -> Any:
    """The reader of an axis: `dense` answers for a model without routed experts."""
    return lambda architecture: read(architecture) if architecture.moe_layers() else dense(architecture)


def _dense_width(architecture: Countable[Any]) -> Any:
    """Mean width of a dense model's feed-forwards, in channels; d where there are none."""
    widths = [
        (times, layer.feed_forward.size)
        for times, layer in architecture.layer_runs()
        if isinstance(layer.feed_forward, AnyDense)
    ]
    if not widths:
        return architecture.hidden_size
    return sum(times * width for times, width in widths) / sum(times for times, _ in widths)


# By the scoreboard, expert size at fixed total and active size: zhao2025, krajewski2024 and ling2025.
_BLIND = "the laws that see it rank .78 of public pairs right at one learning rate, .93 at others"

AXES: dict[AxisName, DesignAxis] = {
    axis.name: axis
    for axis in (
        DesignAxis("size", "active parameters without the vocabulary's", counts.active_params_non_embedding),
        DesignAxis("tokens", "training tokens", None),
        DesignAxis(
            "expansion",
            "experts' channels stored over used, shared experts included",
            _of_mixture_or(variables.stored_over_used_width, lambda _: 1.0),
        ),
        DesignAxis(
            "active_width",
            "experts' channels that a token uses, over the model's width",
            _of_mixture_or(variables.active_width_ratio, lambda model: _dense_width(model) / model.hidden_size),
            open="no law's runs moved the experts' share of the active parameters by itself",
        ),
        DesignAxis(
            "granularity",
            "the model's width over an expert's",
            _of_mixture_or(variables.granularity_liew, lambda model: model.hidden_size / _dense_width(model)),
            open=_BLIND,
        ),
        DesignAxis(
            "shared_share",
            "shared experts' part of the active channels",
            _of_mixture_or(variables.shared_ratio_zhao, lambda _: 0.0),
            open="only one law's runs moved it",
        ),
        DesignAxis(
            "depth",
            "layers for each 1000 channels of width",
            lambda model: 1000 * model.num_layers / model.hidden_size,
            open="no law's runs moved depth against width",
        ),
    )
}
"""By name, those first that laws can decide."""
assert tuple(AXES) == get_args(AxisName)
DECIDED_AXES = frozenset(name for name, axis in AXES.items() if axis.open is None)
"""Size, tokens, expansion: what back-tests found the laws right about."""
