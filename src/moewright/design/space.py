"""The models that a design is chosen from, and the rules that bound them, each with its reason.

A candidate is one row of integer columns. Columns are counted by the same functions as a single architecture
(`columns`), so a candidate's parameters cannot differ from those of the architecture that is built from it (`build`).
"""

from dataclasses import dataclass, fields
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from moewright.architecture.feed_forwards import ExpertGroup, MoE, Router, SharedExpert
from moewright.architecture.mixers import Attention, Rope
from moewright.architecture.spec import Architecture, Layer, Repeat

Column = npt.NDArray[np.int64]

EXPERT_SIZE_STEP = 64
EXPERT_SIZE_LEAST = 128
EXPERT_SIZE_MOST = 4  # times the width

RULES: dict[str, str] = {
    "hidden_size": "512 to 8192, in steps of 128, above 2048 of 256, above 4096 of 512: whole matmul tiles, and "
    "splits over 2 to 8 devices",
    "num_layers": "even, with width/depth from 32 to 128: published mixtures lie there (Qwen3-235B-A22B 44, "
    "gpt-oss-120b 80, DeepSeek-V3 118, Mixtral and OLMoE 128)",
    "heads": "the fewest that make attention as wide as the model, in eights so that they divide over devices, each "
    "of 128 (below a width of 1024 of 64)",
    "num_kv_heads": "8 from 32 heads on, 4 from 16 on, else 2: grouped-query attention (arXiv 2305.13245) as Qwen3 "
    "and gpt-oss have it",
    "num_experts": "powers of two from 8 to 512: they divide over any expert-parallel group",
    "top_k": "1 to 16, at most half of the experts: beyond, the model is hardly sparse",
    "shared_experts": "0 to 4 of the routed experts' size, at most top_k: the joint law's fitted shares",
    "expert_size": "multiples of 64 from 128 to 4 x width, the widest that the budgets allow",
    "layers": "all alike: attention with normed queries and keys, then a mixture of experts",
}
"""What the space holds, for people."""


@dataclass(frozen=True)
class Candidates:
    """Candidate models as columns of equal length."""

    hidden_size: Column
    num_layers: Column
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
        column = np.broadcast_to(np.asarray(size, dtype=np.int64), self.hidden_size.shape)
        return Candidates(self.hidden_size, self.num_layers, self.num_experts, self.top_k, self.shared_experts, column)


@cache
def all_candidates() -> Candidates:
    """Every combination that the rules allow, the expert size still 0."""
    widths = [*range(512, 2048, 128), *range(2048, 4096, 256), *range(4096, 8193, 512)]
    shapes = [(d, depth) for d in widths for depth in range(2, 257, 2) if 32 * depth <= d <= 128 * depth]
    experts = [
        (count, top_k, shared)
        for count in (8, 16, 32, 64, 128, 256, 512)
        for top_k in range(1, 17)
        for shared in range(5)
        if 2 * top_k <= count and shared <= top_k
    ]
    pairs = np.repeat(np.array(shapes, dtype=np.int64), len(experts), axis=0)
    triples = np.tile(np.array(experts, dtype=np.int64), (len(shapes), 1))
    hidden_size, num_layers = (np.ascontiguousarray(column) for column in pairs.T)
    num_experts, top_k, shared_experts = (np.ascontiguousarray(column) for column in triples.T)
    return Candidates(hidden_size, num_layers, num_experts, top_k, shared_experts, np.zeros_like(hidden_size))


def columns(candidates: Candidates, vocab_size: int) -> Architecture:
    """An architecture whose size fields are the candidates' columns.

    It is made without validation, which could not read columns; the counting functions can.
    """
    d = candidates.hidden_size
    mixer = _construct(Attention, **_heads(d), qk_norm="per_head")
    group = _construct(
        ExpertGroup, count=candidates.num_experts, expert_size=candidates.expert_size, top_k=candidates.top_k
    )
    shared = _construct(SharedExpert, count=candidates.shared_experts, expert_size=candidates.expert_size)
    layer = _construct(Layer, mixer=mixer, feed_forward=_construct(MoE, groups=(group,), shared=shared))
    repeat = _construct(Repeat, repeat=candidates.num_layers, layers=(layer,))
    architecture: Architecture = _construct(Architecture, vocab_size=vocab_size, hidden_size=d, layers=(repeat,))
    return architecture


def build(candidate: Candidates, vocab_size: int, context: int) -> Architecture:
    """The architecture of a single candidate (columns of length one), in a form that a Hugging Face family expresses.

    Without shared experts it is a qwen3_moe; with them a dots1, whose router scores by sigmoid and balances
    without loss.
    """
    sizes = {field.name: int(getattr(candidate, field.name)[0]) for field in fields(candidate)}
    d, size, shared = sizes["hidden_size"], sizes["expert_size"], sizes["shared_experts"]
    heads = {name: int(value) for name, value in _heads(np.array(d)).items()}
    mixer = Attention(
        num_heads=heads["num_heads"],
        num_kv_heads=heads["num_kv_heads"],
        head_dim=heads["head_dim"],
        qk_norm="per_head",
        rope=Rope(theta=1e6),  # Qwen3's base (arXiv 2505.09388), good for the contexts designed for here
    )
    router = Router(score="sigmoid", normalize=True, selection_bias="buffer") if shared else Router(normalize=True)
    moe = MoE(
        groups=(ExpertGroup(count=sizes["num_experts"], expert_size=size, top_k=sizes["top_k"]),),
        router=router,
        shared=SharedExpert(count=shared, expert_size=size) if shared else None,
    )
    layer = Layer(mixer=mixer, feed_forward=moe)
    return Architecture(
        vocab_size=vocab_size,
        hidden_size=d,
        layers=(Repeat(repeat=sizes["num_layers"], layers=(layer,)),),
        max_context=context,
    )


def _heads(hidden_size: Column) -> dict[str, Column]:
    head_dim = np.where(hidden_size < 1024, 64, 128)
    heads = -(-hidden_size // (8 * head_dim)) * 8
    return {"num_heads": heads, "num_kv_heads": np.select([heads >= 32, heads >= 16], [8, 4], 2), "head_dim": head_dim}


def _construct(part: Any, **values: Any) -> Any:
    return part.model_construct(**values)
