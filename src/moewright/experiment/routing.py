"""Settings of a run that say where tokens may go and what keeps the experts even. No torch."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from moewright.experiment.balance_losses import AnyBalanceLoss
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


class SelectionBias(Record):
    """Loss-free balancing: after each step, overloaded experts get a lower bias and the others a higher one.

    The bias (arXiv 2408.15664) enters the choice and never the gates, and rests in evaluation. It needs
    `selection_bias: buffer` in the architecture's router.
    """

    step: Positive = 0.001
    update: Literal["sign", "proportional", "quantile"] = "sign"
    """sign: plus or minus the step. proportional: the step times (1 - load over even load). quantile: no step, but the
    bias that would have given every expert its even load of the last step's tokens (quantile balancing, J. Su 2026,
    kexue.fm/archives/11619), averaged over forward passes as in Megatron-Core, less its mean over the router."""
    step_over_experts: bool = False
    """The step is divided by the number of experts: softmax scores shrink as 1/E, so an absolute step grows with E."""
    zero_mean: bool = False
    """The mean over the router's experts is taken off after each update (torchtitan)."""
    memory: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """quantile: share of the bias that an update keeps (Megatron-Core's moe_router_quantile_balancing_ema)."""

    @property
    def unused(self) -> tuple[str, ...]:
        """Settings that this update has no use for."""
        return ("step", "step_over_experts", "zero_mean") if self.update == "quantile" else ("memory",)

    @model_validator(mode="after")
    def _no_unused(self) -> "SelectionBias":
        for name in self.unused:
            if name in self.model_fields_set:
                raise ValueError(f"{name} has no use where update is {self.update}")
        return self


class Balancing(Record):
    """All that keeps experts even; nothing by default."""

    losses: Annotated[tuple[AnyBalanceLoss, ...], Field(strict=False)] = ()
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
