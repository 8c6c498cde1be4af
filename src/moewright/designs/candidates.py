"""Candidate models as columns. They are counted by the functions that count a single architecture (`columns`), so a
candidate's parameters cannot differ from those of the architecture that is built from it (`build_design`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from moewright.architecture.columns import (
    ArchitectureColumns,
    AttentionColumns,
    DenseColumns,
    ExpertGroupColumns,
    GatedDeltaNetColumns,
    LatentAttentionColumns,
    LayerColumns,
    MoEColumns,
    SharedExpertColumns,
)
from moewright.architecture.feed_forwards import Dense, ExpertGroup, MoE, Router, SharedExpert
from moewright.architecture.mixers import Attention, GatedDeltaNet, LatentAttention, Rope, Window
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
    layer_plan: IntColumn
    """Place of its plan among `plans`."""
    lines: Mapping[str, tuple[npt.NDArray[Any], npt.NDArray[Any]]] = field(default_factory=dict)
    """Counts known as straight lines in the expert size: (at size 0, per channel) by the name of the count."""
    plans: tuple[LayerPlan, ...] = (PLAIN_LAYERS,)
    """What layers may have beyond their sizes: those of the space."""

    def __len__(self) -> int:
        return len(self.hidden_size)

    def take(self, chosen: Any) -> "Candidates":
        """The rows that an index or mask chooses."""
        columns: dict[str, Any] = {name: getattr(self, name)[chosen] for name in CANDIDATE_SIZES}
        lines = {name: (at[chosen], per[chosen]) for name, (at, per) in self.lines.items()}
        return Candidates(**columns, lines=lines, plans=self.plans)

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
        """One number for each (experts, top_k, shared experts, plan of layers)."""
        mixture: IntColumn = (self.num_experts * 2**20 + self.top_k) * 2**20 + self.shared_experts
        if len(self.plans) == 1:
            return mixture
        # A mixture's own number leaves no room for a plan in 64 bits.
        number: IntColumn = np.unique(mixture, return_inverse=True)[1]
        return number * len(self.plans) + self.layer_plan

    def plan_of(self, row: int) -> LayerPlan:
        """What the layers of a row have."""
        return self.plans[int(self.layer_plan[row])]

    def vocabulary_params(self, vocab_size: int) -> Any:
        """Of embedding and head; one matrix where they are tied."""
        tied = np.array([plan.tied for plan in self.plans], dtype=np.int64)
        matrices = 2 - tied[self.layer_plan] if tied.any() else 2
        return matrices * vocab_size * self.hidden_size

    def sizes(self, row: int) -> dict[str, int]:
        """One row as plain integers."""
        return {name: int(getattr(self, name)[row]) for name in CANDIDATE_SIZES}


CANDIDATE_SIZES = tuple(item.name for item in fields(Candidates) if item.name not in ("lines", "plans"))
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
        plans=parts[0].plans,
    )


def distinct(candidates: Candidates) -> Candidates:
    """Every design once, where it comes first."""
    return candidates.take(first_rows(candidates))


def first_rows(candidates: Candidates) -> npt.NDArray[np.intp]:
    """The rows in which each design comes first."""
    rows = np.stack([getattr(candidates, name) for name in CANDIDATE_SIZES])
    return np.sort(np.unique(rows, axis=1, return_index=True)[1])


def empty() -> Candidates:
    """A table without rows."""
    nothing: dict[str, Any] = {name: np.empty(0, dtype=np.int64) for name in CANDIDATE_SIZES}
    return Candidates(**nothing)


def columns(candidates: Candidates, vocab_size: int) -> ArchitectureColumns:
    """The candidates as one architecture of columns, which the counting functions take.

    A layer of a plan occurs in the rows of that plan, and in the others 0 times. Prediction blocks are there where all
    rows are of one plan: whoever counts them asks `by_plan`.
    """
    c = candidates
    present = [0] if len(c.plans) == 1 else np.unique(c.layer_plan).tolist()
    runs = [
        (times if len(present) == 1 else times * (c.layer_plan == number), layer)
        for number in present
        for times, layer in _layers_of(c, c.plans[number])
    ]
    tied: Any = c.plans[present[0]].tied if present else False
    if any(c.plans[number].tied != tied for number in present):
        tied = np.array([plan.tied for plan in c.plans], dtype=np.int64)[c.layer_plan]
    ahead: dict[str, Any] = {}
    if len(present) == 1 and c.plans[present[0]].blocks:
        plan = c.plans[present[0]]
        ahead = {"mtp_layers": plan.blocks, "mtp_block": (_last_layer(c, plan),)}
    return ArchitectureColumns(
        vocab_size=vocab_size, hidden_size=c.hidden_size, runs=tuple(runs), tie_embeddings=tied, **ahead
    )


def rows_by_plan(candidates: Candidates) -> list[tuple[Any, LayerPlan]]:
    """(rows, plan) of candidates, plan by plan; all rows where they are of one."""
    plans = candidates.plans
    if len(plans) == 1:
        return [(slice(None), plans[0])]
    present = np.unique(candidates.layer_plan).tolist() or [0]
    if len(present) == 1:
        return [(slice(None), plans[present[0]])]
    return [(np.flatnonzero(candidates.layer_plan == number), plans[number]) for number in present]


def by_plan(candidates: Candidates, count: Callable[[Candidates, LayerPlan], Any]) -> Any:
    """A column over candidates, counted plan by plan, for plans may be served unlike each other or have blocks, and
    columns of several plans have the layers of all; `count` gives a column or a number."""
    parts = rows_by_plan(candidates)
    if len(parts) == 1:
        return count(candidates, parts[0][1])
    return placed([rows for rows, _ in parts], [count(candidates.take(rows), plan) for rows, plan in parts])


def placed(rows: Sequence[Any], values: Sequence[Any]) -> Any:
    """One column of several, each (or a number) at its rows, which together are all."""
    column = np.empty(sum(map(len, rows)), dtype=np.result_type(*(np.asarray(each) for each in values)))
    for some, each in zip(rows, values, strict=True):
        column[some] = each
    return column


_Mixer = AttentionColumns | LatentAttentionColumns | GatedDeltaNetColumns
ROPE_BASE = 1e6
"""Qwen3's (arXiv 2505.09388), good for the contexts designed for here."""
_DELTA_HEAD, _DELTA_KERNEL = 128, 4  # Qwen3-Next's


def _layers_of(c: Candidates, plan: LayerPlan) -> list[tuple[Any, LayerColumns]]:
    """How often each layer occurs by a plan, and the layer."""
    last = _last_layer(c, plan)
    full, mixture = last.mixer, last.feed_forward
    moe_layers = c.num_layers - c.dense_first
    runs = [(moe_layers, LayerColumns(full, mixture))]
    has_dense = c.dense_first.any()
    dense = DenseColumns(size=_dense_size(c)) if has_dense else None
    if dense is not None:
        runs.insert(0, (c.dense_first, LayerColumns(full, dense)))
    if not plan.has_pattern:
        return runs
    other: _Mixer
    if plan.linear:
        other = GatedDeltaNetColumns(**_delta_sizes(c.hidden_size))
    else:
        other = full.model_copy(update={"window": Window(size=plan.window)})
    # Every so many layers and the last one see all; of the dense ones before, none is the last.
    full_dense = c.dense_first // plan.full_every
    full_moe = -(-c.num_layers // plan.full_every) - full_dense
    runs = [(full_moe, LayerColumns(full, mixture)), (moe_layers - full_moe, LayerColumns(other, mixture))]
    if dense is not None:
        runs += [(full_dense, LayerColumns(full, dense)), (c.dense_first - full_dense, LayerColumns(other, dense))]
    return runs


def _last_layer(c: Candidates, plan: LayerPlan) -> LayerColumns:
    """A mixture behind attention to all tokens."""
    group = ExpertGroupColumns(count=c.num_experts, expert_size=c.expert_size, top_k=c.top_k)
    shared = SharedExpertColumns(count=c.shared_experts, expert_size=c.expert_size)
    mixture = MoEColumns(groups=(group,), shared=shared, latent_size=plan.latent_size(c.hidden_size))
    if plan.attention == "latent":
        latent = LatentAttentionColumns(num_heads=c.num_heads, **_latent_sizes(plan, c.head_dim))
        return LayerColumns(latent, mixture)
    full = AttentionColumns(num_heads=c.num_heads, num_kv_heads=c.num_kv_heads, head_dim=c.head_dim, qk_norm="per_head")
    return LayerColumns(full, mixture)


def _latent_sizes(plan: LayerPlan, head_dim: Any) -> dict[str, Any]:
    return {
        "q_lora_rank": plan.query_rank or None,
        "kv_lora_rank": plan.latent_rank,
        "qk_nope_head_dim": head_dim,
        "qk_rope_head_dim": head_dim // 2,
        "v_head_dim": head_dim,
    }


def _delta_sizes(width: Any) -> dict[str, Any]:
    """Keys as wide as the model and values twice that, in Qwen3-Next's heads."""
    heads = np.maximum(width // _DELTA_HEAD, 1)
    return {
        "num_key_heads": heads,
        "key_head_dim": _DELTA_HEAD,
        "num_value_heads": 2 * heads,
        "value_head_dim": _DELTA_HEAD,
        "conv_kernel": _DELTA_KERNEL,
    }


def family_of(shared_experts: int, target: Target, plan: LayerPlan = PLAIN_LAYERS) -> str | None:
    """The Hugging Face family that a design is exported to; None where none that is written expresses its layers.

    Of windows in a pattern only dots1, of latent attention deepseek_v3, which alone has prediction blocks.
    """
    if plan.latent_experts or plan.linear:
        return None
    if plan.attention == "latent":
        return None if plan.window else "deepseek_v3"
    if plan.blocks:
        return None
    if target == "any":
        return "dots1" if shared_experts or plan.window else "qwen3_moe"
    return target


def build_design(candidate: Candidates, space: Space, context: int) -> Architecture:
    """The architecture of a single candidate (columns of length one), in a form that its family expresses.

    dots1's and deepseek_v3's routers score by sigmoid and balance without loss; qwen3_moe's by softmax.
    """
    sizes = candidate.sizes(0)
    size, shared = sizes["expert_size"], sizes["shared_experts"]
    plan = candidate.plan_of(0)
    rope = Rope(theta=ROPE_BASE)
    full: Attention | LatentAttention = Attention(
        num_heads=sizes["num_heads"],
        num_kv_heads=sizes["num_kv_heads"],
        head_dim=sizes["head_dim"],
        qk_norm="per_head",
        rope=rope,
    )
    if plan.attention == "latent":
        full = LatentAttention(num_heads=sizes["num_heads"], **_latent_sizes(plan, sizes["head_dim"]), rope=rope)
    other: Attention | LatentAttention | GatedDeltaNet = full
    if plan.linear:
        delta: dict[str, Any] = {name: int(value) for name, value in _delta_sizes(sizes["hidden_size"]).items()}
        other = GatedDeltaNet(**delta)
    elif plan.window:
        other = full.model_copy(update={"window": Window(size=plan.window)})
    by_softmax = family_of(shared, space.target, plan) == "qwen3_moe"
    router = Router(normalize=True) if by_softmax else Router(score="sigmoid", normalize=True, selection_bias="buffer")
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
                mixer=full if plan.is_full(layer, sizes["num_layers"]) else other,
                feed_forward=dense if layer < first else moe,
            )
            for layer in range(sizes["num_layers"])
        ),
        max_context=context,
        tie_embeddings=plan.tied,
        mtp_layers=plan.blocks,
        mtp_block=(Layer(mixer=full, feed_forward=moe),) if plan.blocks else None,
    )


def _dense_size(candidates: Candidates) -> IntColumn:
    return (candidates.top_k + candidates.shared_experts) * candidates.expert_size
