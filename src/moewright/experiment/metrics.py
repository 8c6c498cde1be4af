"""The lines of metrics.jsonl: what a run notes while it trains. No torch.

The file is append-only and never rewritten. Steps that were trained again after an interruption occur again, with the
same values; the last one counts. `kind` stands first in a line and `time` last, which readers of long files rely on.
"""

import os
import re
import statistics
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Literal, Self

from pydantic import ConfigDict, Field

from moewright.experiment.product_backends import ProductChoice
from moewright.experiment.run_folder import METRICS, UTILIZATION, RunOutcome
from moewright.experiment.threads import ThreadChoice
from moewright.files import open_regular
from moewright.line_records import LineRecord, read_lines
from moewright.records import Count, Items, Reading, Record, Total


class MetricsLine(LineRecord):
    """Any line."""

    model_config = ConfigDict(extra="ignore")  # what a newer version adds is passed over


class RoutingMetrics(Record):
    """What the routers of a step did, by layer with experts; in training those of prediction blocks last."""

    model_config = ConfigDict(extra="ignore")
    max_violation: Items[Reading] = ()
    """Largest load over the even load, minus 1 (arXiv 2408.15664, equation 4)."""
    load_entropy: Items[Reading] = ()
    """Entropy of the loads' shares over its largest value: 1 when even."""
    dead_experts: Items[Count] = ()
    """Experts without any choice."""
    drop_fraction: Items[Reading] = ()
    """Share of the choices that capacity dropped."""
    router_logit_norm: Items[Reading] = ()
    """Root mean over tokens of the squared norm of the logits."""
    balance: Items[Reading] = ()
    """Sum of relative load x mean share, averaged over routers: 1 when even."""
    z: Items[Reading] = ()
    """Mean squared log-partition."""


class AuxiliaryLoss(Record):
    """A loss beside the cross-entropy."""

    raw: Reading
    scaled: Reading
    """Times its weight."""


class GradientNorms(Record):
    """Norms of a step's gradients before clipping, by layer, and by expert in the layers that have some."""

    model_config = ConfigDict(extra="ignore")
    layers: Items[Reading] = ()
    """Of all that one layer learns; each prediction block is one more."""
    least_expert: Items[Reading] = ()
    """By layer with experts, the smallest of its routed experts': 0 for one that no token chose."""
    median_expert: Items[Reading] = ()
    """The lower one of two in the middle."""
    largest_expert: Items[Reading] = ()


class AttemptLine(MetricsLine):
    """Training begins, from nothing or from a checkpoint."""

    kind: Literal["start", "resume"]
    matmul_peak_flops: Reading = None
    """FLOP/s of all processes in matrix products, measured now."""
    threads: ThreadChoice | None = None
    """Of the first process in this attempt, and why. None: not recorded."""
    products: ProductChoice | None = None
    """What computes its matrix products, and why. None: not recorded, or an accelerator's own."""
    time: float
    """Unix time by the clock of the machine that writes; so in all lines."""


class TrainLine(MetricsLine):
    """An optimizer step."""

    kind: Literal["train"] = "train"
    step: Count
    tokens: Total | None = None
    loss: Reading = None
    """Cross-entropy of the step's batch, before the step, in nats per token."""
    learning_rate: Reading = None
    gradient_norm: Reading = None
    """Before clipping."""
    gradient_norms: GradientNorms | None = None
    tokens_per_second: Reading = None
    matmul_utilization: Reading = Field(None, validation_alias=UTILIZATION)
    balance_loss: Items[AuxiliaryLoss] = ()
    """For each of the recipe's balance losses."""
    z_loss: AuxiliaryLoss | None = None
    prediction_loss: Items[AuxiliaryLoss] = ()
    """Cross-entropy of each prediction block, in nats for each token that it predicts."""
    routing: RoutingMetrics | None = None
    time: float


class EvaluationLine(MetricsLine):
    """Validation losses in nats per token."""

    kind: Literal["evaluation"] = "evaluation"
    step: Count
    tokens: Total | None = None
    loss: Reading = None
    """Over the tokens of all sets, dropless."""
    by_set: dict[str, Reading] = Field({})
    bits_per_byte: dict[str, Reading] = Field({})
    """Of the sets whose bytes are known; dropless."""
    capacity_loss: Reading = None
    """With the recipe's evaluation capacity; None where there is none."""
    capacity_by_set: dict[str, Reading] = Field({})
    tokens_by_set: dict[str, Total] = Field({})
    routing: RoutingMetrics | None = None
    time: float


class CheckpointLine(MetricsLine):
    """A checkpoint was written."""

    kind: Literal["checkpoint"] = "checkpoint"
    step: Count
    tokens: Total
    time: float


class EndLine(MetricsLine, RunOutcome):
    """An attempt ended."""

    kind: Literal["end"] = "end"
    time: float

    @classmethod
    def of(cls, outcome: RunOutcome, time: float) -> Self:
        """The line that says how an attempt ended."""
        return cls.model_validate({name: getattr(outcome, name) for name in RunOutcome.model_fields} | {"time": time})


AnyLine = AttemptLine | TrainLine | EvaluationLine | CheckpointLine | EndLine


_LAST_BYTES = 65536
_TIME = re.compile(rb'"time": (\d+(?:\.\d+)?)\}$', re.MULTILINE)


def times_written(lines: bytes) -> list[float]:
    """When lines of metrics were written, by the clock of the machine that wrote them."""
    return [float(text) for text in _TIME.findall(lines)]


def usual_seconds(folder: Path) -> float | None:
    """The median time between a run's last lines; None before there are two.

    By the clock of the machine that writes: where that jumps, it is one difference of many.
    """
    try:
        with open_regular(folder / METRICS) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _LAST_BYTES))
            times = times_written(file.read())
    except OSError:
        return None
    return statistics.median(after - before for before, after in pairwise(times)) if len(times) > 1 else None


def read_metrics(folder: Path) -> Iterator[MetricsLine]:
    """The lines of a run in the order of writing, without those that were cut short. Raises OSError."""
    return read_lines(folder / METRICS, AttemptLine, TrainLine, EvaluationLine, CheckpointLine, EndLine)
