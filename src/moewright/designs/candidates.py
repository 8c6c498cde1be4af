"""Candidate models as columns. They are counted by the functions that count a single architecture (`columns`), so a
candidate's parameters cannot differ from those of the architecture that is built from it (`build_design`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from moewright.architecture.columns import (
    ArchitectureColumns,
    AttentionColumns,
    DenseColumns,
    ExpertGroupColumns,
    LayerColumns,
    MoEColumns,
    SharedExpertColumns,
)
from moewright.architecture.feed_forwards import Dense, ExpertGroup, MoE, Router, SharedExpert
from moewright.architecture.mixers import Attention, Rope, Window
from moewright.architecture.spec import Architecture, Layer
from moewright.designs.space import PLAIN_LAYERS, LayerPlan, Space, Target

IntColumn = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Candidates:
    """Candidate models as int64 columns of equal length."""

    hidden_size: IntColumn
    num_layers: IntColumn
    dense_first: IntColumn
    num_heads: IntColumn
    num_kv_heads: IntColumn
    head_dim: IntColumn
    num_experts: IntColumn
    top_k: IntColumn
    shared_experts: IntColumn
    expert_size: IntColumn
    lines: Mapping[str, tuple[npt.NDArray[Any], npt.NDArray[Any]]] = field(default_factory=dict)
    """Counts known as straight lines in the expert size: (at size 0, per channel) by the name of the count."""
    plan: LayerPlan = PLAIN_LAYERS
    """Of all rows."""

    def __len__(self) -> int:
        return len(self.hidden_size)

    def take(self, chosen: Any) -> "Candidates":
        """The rows that an index or mask chooses."""
        columns: dict[str, Any] = {name: getattr(self, name)[chosen] for name in CANDIDATE_SIZES}
        lines = {name: (at[chosen], per[chosen]) for name, (at, per) in self.lines.items()}
        return Candidates(**columns, lines=lines, plan=self.plan)

    def with_expert_size(self, size: Any) -> "Candidates":
        """The same rows with another expert size, a column or a number."""
        return replace(self, expert_size=np.broadcast_to(np.asarray(size, dtype=np.int64), self.hidden_size.shape))

    def count(self, name: str) -> npt.NDArray[Any] | None:
        """A count from its line, or None where that is not known."""
        if name not in self.lines:
            return None
        at_zero, per_channel = self.lines[name]
        return np.asarray(at_zero + per_channel * self.expert_size)

    @property
    def kind(self) -> IntColumn:
        """One number for each (experts, top_k, shared experts)."""
        return (self.num_experts * 2**20 + self.top_k) * 2**20 + self.shared_experts

    def sizes(self, row: int) -> dict[str, int]:
        """One row as plain integers."""
        return {name: int(getattr(self, name)[row]) for name in CANDIDATE_SIZES}


CANDIDATE_SIZES = tuple(item.name for item in fields(Candidates) if item.name not in ("lines", "plan"))
"""The columns of sizes."""


def join(parts: list[Candidates]) -> Candidates:
    """One table of the rows of several; lines that not all of them know are left out."""
    parts = [part for part in parts if len(part)] or parts[:1]
    known = set.intersection(*(set(part.lines) for part in parts))
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in CANDIDATE_SIZES
    }
    return Candidates(
        **columns,
        lines={
            name: (
                np.concatenate([part.lines[name][0] for part in parts]),
                np.concatenate([part.lines[name][1] for part in parts]),
            )
            for name in known
        },
        plan=parts[0].plan,
    )


def distinct(candidates: Candidates) -> Candidates:
    """Every design once, where it comes first."""
    rows = np.stack([getattr(candidates, name) for name in CANDIDATE_SIZES])
    return candidates.take(np.sort(np.unique(rows, axis=1, return_index=True)[1]))


def empty() -> Candidates:
    """A table without rows."""
    nothing: dict[str, Any] = {name: np.empty(0, dtype=np.int64) for name in CANDIDATE_SIZES}
    return Candidates(**nothing)


def columns(candidates: Candidates, vocab_size: int) -> ArchitectureColumns:
    """The candidates as one architecture of columns, which the counting functions take."""
    c = candidates
    full = AttentionColumns(num_heads=c.num_heads, num_kv_heads=c.num_kv_heads, head_dim=c.head_dim, qk_norm="per_head")
    group = ExpertGroupColumns(count=c.num_experts, expert_size=c.expert_size, top_k=c.top_k)
    shared = SharedExpertColumns(count=c.shared_experts, expert_size=c.expert_size)
    mixture = MoEColumns(groups=(group,), shared=shared, latent_size=c.plan.latent_size(c.hidden_size))
    moe_layers = c.num_layers - c.dense_first
    runs = [(moe_layers, LayerColumns(full, mixture))]
    if c.dense_first.any():
        dense = DenseColumns(size=_dense_size(c))
        runs.insert(0, (c.dense_first, LayerColumns(full, dense)))
    if c.plan.window:
        windowed = full.model_copy(update={"window": Window(size=c.plan.window)})
        # Every so many layers and the last one see all; of the dense ones before, none is the last.
        full_dense = c.dense_first // c.plan.full_every
        full_moe = -(-c.num_layers // c.plan.full_every) - full_dense
        runs = [(full_moe, LayerColumns(full, mixture)), (moe_layers - full_moe, LayerColumns(windowed, mixture))]
        if c.dense_first.any():
            runs += [
                (full_dense, LayerColumns(full, dense)),
                (c.dense_first - full_dense, LayerColumns(windowed, dense)),
            ]
    return ArchitectureColumns(vocab_size=vocab_size, hidden_size=c.hidden_size, runs=tuple(runs))


def family_of(shared_experts: int, target: Target, window: int = 0) -> str:
    """The Hugging Face family that a design is exported to; of windows in a pattern only dots1."""
    if target == "any":
        return "dots1" if shared_experts or window else "qwen3_moe"
    return target


def build_design(candidate: Candidates, space: Space, context: int) -> Architecture:
    """The architecture of a single candidate (columns of length one), in a form that its family expresses.

    dots1's router scores by sigmoid and balances without loss; qwen3_moe's by softmax.
    """
    sizes = candidate.sizes(0)
    size, shared = sizes["expert_size"], sizes["shared_experts"]
    plan = candidate.plan
    full = Attention(
        num_heads=sizes["num_heads"],
        num_kv_heads=sizes["num_kv_heads"],
        head_dim=sizes["head_dim"],
        qk_norm="per_head",
        rope=Rope(theta=1e6),  # Qwen3's base (arXiv 2505.09388), good for the contexts designed for here
    )
    windowed = full.model_copy(update={"window": Window(size=plan.window)}) if plan.window else full
    by_sigmoid = family_of(shared, space.target, plan.window) == "dots1"
    router = Router(score="sigmoid", normalize=True, selection_bias="buffer") if by_sigmoid else Router(normalize=True)
    moe = MoE(
        groups=(ExpertGroup(count=sizes["num_experts"], expert_size=size, top_k=sizes["top_k"]),),
        router=router,
        shared=SharedExpert(count=shared, expert_size=size) if shared else None,
        latent_size=None if not plan.latent_experts else int(plan.latent_size(sizes["hidden_size"])),
    )
    first = sizes["dense_first"]
    dense = Dense(size=int(_dense_size(candidate)[0]))
    return Architecture(
        vocab_size=space.vocab_size,
        hidden_size=sizes["hidden_size"],
        layers=tuple(
            Layer(
                mixer=full if plan.is_full(layer, sizes["num_layers"]) else windowed,
                feed_forward=dense if layer < first else moe,
            )
            for layer in range(sizes["num_layers"])
        ),
        max_context=context,
    )


def _dense_size(candidates: Candidates) -> IntColumn:
    return (candidates.top_k + candidates.shared_experts) * candidates.expert_size
