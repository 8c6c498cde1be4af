"""Settings of a run that say where tokens may go and what keeps the experts even. No torch."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from moewright.architecture.feed_forwards import MoE
from moewright.errors import UserError
from moewright.records import Positive, Record, Size

NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Capacity(Record):
    """A limit on the choices that one expert takes of one forward pass on one process; the rest are dropped.

    capacity = factor x tokens x top_k / experts of the group, rounded, then up to a multiple. Tokens are those that are
    not padding. A dropped choice adds nothing to the output; the other gates of its token stay as they are.
    """

    factor: Annotated[float, Field(gt=0, allow_inf_nan=True)]
    """1: the even load. Infinite (.inf): nothing is dropped."""
    rounding: Literal["ceil", "floor"] = "ceil"
    multiple: Size = 1
    drop: Literal["position", "score"] = "position"
    """Who is dropped: position: the last tokens of the batch. score: the choices with the lowest gates."""


class BalanceLoss(Record):
    """The auxiliary load-balancing loss (Switch, arXiv 2101.03961, equations 4 to 6), weight x sum_i r_i P_i.

    r_i is expert i's load over its group's even load, P_i its mean score (normalised over the router's experts), both
    over the tokens of the scope. The sum is 1 when balanced, whatever E and K are.
    """

    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    scope: Literal["micro_batch", "sequence", "global_batch"] = "micro_batch"
    """Whose loads are balanced. micro_batch: those of one forward pass on one process. sequence: of each sequence.
    global_batch: of the whole optimizer step, over all processes and accumulated micro-batches (arXiv 2501.11873)."""
    balanced_value: Literal["one", "top_k"] = "one"
    """What the sum is when balanced: 1 (Megatron-LM, OLMo-core) or K (transformers), the top_k of all groups."""
    layers: Literal["mean", "sum", "pooled"] = "mean"
    """Over layers with experts: mean or sum of their losses; pooled: r and P are averaged over the layers first
    (transformers), which needs layers that are alike."""
    size_penalty: bool = False
    """Loads are weighted with each expert's size over the mean size (HMoE, arXiv 2408.10681)."""


class SelectionBias(Record):
    """Loss-free balancing: after each step, overloaded experts get a lower bias and the others a higher one.

    The bias (arXiv 2408.15664) enters the choice and never the gates, and rests in evaluation. It needs
    `selection_bias: buffer` in the architecture's router.
    """

    step: Positive = 0.001
    update: Literal["sign", "proportional"] = "sign"
    """sign: plus or minus the step. proportional: the step times (1 - load over even load)."""
    step_over_experts: bool = False
    """The step is divided by the number of experts: softmax scores shrink as 1/E, so an absolute step grows with E."""
    zero_mean: bool = False
    """The mean over the router's experts is taken off after each update (torchtitan)."""


class Balancing(Record):
    """All that keeps experts even; nothing by default."""

    losses: Annotated[tuple[BalanceLoss, ...], Field(strict=False)] = ()
    z_loss: NonNegative = 0.0
    """Weight of the router z-loss (ST-MoE, arXiv 2202.08906, equation 5), averaged over layers with experts."""
    selection_bias: SelectionBias | None = None


class Dispatch(Record):
    """Where the chosen tokens go; dropless by default."""

    capacity: Capacity | None = None
    """In training; None: dropless."""
    evaluation_capacity: Capacity | None = None
    """In evaluation, beside the dropless loss, which is always reported. None: the training capacity."""
    forced: Literal["uniform"] | None = None
    """uniform: choices go round the experts in turn, for speed tests; the scores only weigh."""


def check_pooling(mixtures: Sequence[MoE]) -> None:
    """UserError unless all mixtures have the same groups and routers, which pooling over layers needs."""
    first = mixtures[0]
    if any(moe.groups != first.groups or moe.router_per_group != first.router_per_group for moe in mixtures):
        raise UserError("balancing.losses.layers: pooled needs layers with equal groups of experts; use mean or sum")
