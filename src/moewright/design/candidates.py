"""Candidate models as columns. They are counted by the functions that count a single architecture (`columns`), so a
candidate's parameters cannot differ from those of the architecture that is built from it (`build`).
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from moewright.architecture.feed_forwards import Dense, ExpertGroup, MoE, Router, SharedExpert
from moewright.architecture.mixers import Attention, Rope
from moewright.architecture.spec import Architecture, Layer, Repeat
from moewright.design.space import Space, Target

Column = npt.NDArray[np.int64]

# Rows that are worked on at a time: their columns stay in a processor's cache, and memory does not grow with the space.
CHUNK_ROWS = 2**16


@dataclass(frozen=True)
class Candidates:
    """Candidate models as int64 columns of equal length."""

    hidden_size: Column
    num_layers: Column
    dense_first: Column
    num_heads: Column
    num_kv_heads: Column
    head_dim: Column
    num_experts: Column
    top_k: Column
    shared_experts: Column
    expert_size: Column

    def __len__(self) -> int:
        return len(self.hidden_size)

    def take(self, chosen: Any) -> "Candidates":
        """The rows that an index or mask chooses."""
        return Candidates(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def with_expert_size(self, size: Any) -> "Candidates":
        """The same rows with another expert size, a column or a number."""
        return replace(self, expert_size=np.broadcast_to(np.asarray(size, dtype=np.int64), self.hidden_size.shape))

    @property
    def kind(self) -> Column:
        """One number for each (experts, top_k, shared experts)."""
        return (self.num_experts * 2**20 + self.top_k) * 2**20 + self.shared_experts

    def sizes(self, row: int) -> dict[str, int]:
        """One row as plain integers."""
        return {field.name: int(getattr(self, field.name)[row]) for field in fields(self)}


def join(parts: list[Candidates]) -> Candidates:
    """One table of the rows of several."""
    return Candidates(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Candidates)))


def empty() -> Candidates:
    """A table without rows."""
    return Candidates(*(np.empty(0, dtype=np.int64) for _ in fields(Candidates)))


@dataclass(frozen=True)
class Groups:
    """Every combination of a space but for the expert size: shapes times mixtures."""

    shapes: Column
    """(S, 6): width, depth, dense_first, heads, kv heads, head_dim."""
    mixtures: Column
    """(T, 3): experts, top_k, shared experts."""
    space: Space

    def __len__(self) -> int:
        return len(self.shapes) * len(self.mixtures)

    @property
    def num_designs(self) -> int:
        """Designs in the space, every expert size counted."""
        space, widths = self.space, self.shapes[:, 0]
        steps = (space.widest_size(widths) - space.narrowest_size(widths)) // space.expert_size_step
        return int((steps + 1).sum()) * len(self.mixtures)

    def chunks(self, rows: int = CHUNK_ROWS) -> Iterator[Candidates]:
        """All groups in pieces of about so many rows, the expert size the narrowest."""
        for row in range(0, len(self), rows):
            shape, mixture = np.divmod(np.arange(row, min(row + rows, len(self))), len(self.mixtures))
            shapes = np.ascontiguousarray(self.shapes[shape].T)
            mixtures = np.ascontiguousarray(self.mixtures[mixture].T)
            yield Candidates(*shapes, *mixtures, self.space.narrowest_size(shapes[0]))


def groups_of(space: Space) -> Groups:
    """The groups of a space; UserError names the rule that leaves none."""
    return Groups(np.array(space.shapes(), dtype=np.int64), np.array(space.mixtures(), dtype=np.int64), space)


def columns(candidates: Candidates, vocab_size: int) -> Architecture:
    """An architecture whose size fields are the candidates' columns.

    It is made without validation, which could not read columns; the counting functions can.
    """
    c = candidates
    mixer = _construct(
        Attention, num_heads=c.num_heads, num_kv_heads=c.num_kv_heads, head_dim=c.head_dim, qk_norm="per_head"
    )
    group = _construct(ExpertGroup, count=c.num_experts, expert_size=c.expert_size, top_k=c.top_k)
    shared = _construct(SharedExpert, count=c.shared_experts, expert_size=c.expert_size)
    mixture = _construct(Layer, mixer=mixer, feed_forward=_construct(MoE, groups=(group,), shared=shared))
    layers = [_construct(Repeat, repeat=c.num_layers - c.dense_first, layers=(mixture,))]
    if c.dense_first.any():
        dense = _construct(Layer, mixer=mixer, feed_forward=_construct(Dense, size=_dense_size(c)))
        layers.insert(0, _construct(Repeat, repeat=c.dense_first, layers=(dense,)))
    architecture: Architecture = _construct(
        Architecture, vocab_size=vocab_size, hidden_size=c.hidden_size, layers=tuple(layers)
    )
    return architecture


def family_of(shared_experts: int, target: Target) -> str:
    """The Hugging Face family that a design is exported to."""
    if target == "any":
        return "dots1" if shared_experts else "qwen3_moe"
    return target


def build(candidate: Candidates, space: Space, context: int) -> Architecture:
    """The architecture of a single candidate (columns of length one), in a form that its family expresses.

    dots1's router scores by sigmoid and balances without loss; qwen3_moe's by softmax.
    """
    sizes = candidate.sizes(0)
    size, shared = sizes["expert_size"], sizes["shared_experts"]
    mixer = Attention(
        num_heads=sizes["num_heads"],
        num_kv_heads=sizes["num_kv_heads"],
        head_dim=sizes["head_dim"],
        qk_norm="per_head",
        rope=Rope(theta=1e6),  # Qwen3's base (arXiv 2505.09388), good for the contexts designed for here
    )
    by_sigmoid = family_of(shared, space.target) == "dots1"
    router = Router(score="sigmoid", normalize=True, selection_bias="buffer") if by_sigmoid else Router(normalize=True)
    moe = MoE(
        groups=(ExpertGroup(count=sizes["num_experts"], expert_size=size, top_k=sizes["top_k"]),),
        router=router,
        shared=SharedExpert(count=shared, expert_size=size) if shared else None,
    )
    first = sizes["dense_first"]
    dense = Dense(size=int(_dense_size(candidate)[0]))
    return Architecture(
        vocab_size=space.vocab_size,
        hidden_size=sizes["hidden_size"],
        layers=(
            *([Layer(mixer=mixer, feed_forward=dense)] * first),
            *([Layer(mixer=mixer, feed_forward=moe)] * (sizes["num_layers"] - first)),
        ),
        max_context=context,
    )


def _dense_size(candidates: Candidates) -> Column:
    return (candidates.top_k + candidates.shared_experts) * candidates.expert_size


def _construct(part: Any, **values: Any) -> Any:
    return part.model_construct(**values)
