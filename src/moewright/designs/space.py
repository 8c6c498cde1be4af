"""The space that designs are chosen from: plain numbers, each with its rule's reason, changed from a YAML file."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from moewright.display import Shown
from moewright.errors import UserError
from moewright.records import FileRecord

# Llama 3's tokenizer (arXiv 2407.21783, section 3.2): the middle of today's 100 to 200 thousand.
DEFAULT_VOCAB_SIZE = 128_256
# More values on one axis are a mistake in a file: the widths and experts of all published models are fewer.
LARGEST_AXIS = 1000
LARGEST_RATIO = 1e6

# Of shapes, and of mixtures: a list that takes half a second.
MOST_COMBINATIONS = 500_000

Target = Literal["any", "qwen3_moe", "dots1"]
_Size = Annotated[int, Field(gt=0, le=10**6)]
_Axis = Annotated[tuple[_Size, ...], Field(min_length=1, max_length=LARGEST_AXIS, strict=False)]
_CountAxis = Annotated[
    tuple[Annotated[int, Field(ge=0, le=10**6)], ...], Field(min_length=1, max_length=LARGEST_AXIS, strict=False)
]


class Space(Shown, FileRecord):  # the fields' descriptions are the rules' reasons, printed by `describe_space`
    """Every combination of these sizes that keeps every rule; the default holds over 10^8 of them."""

    format: Literal["moewright-space/1"] = "moewright-space/1"
    version_without_format: ClassVar[int | None] = 1
    widths: _Axis = Field(
        (*range(512, 2048, 128), *range(2048, 4096, 256), *range(4096, 8193, 512)),
        description="whole matmul tiles, and splits over 2 to 8 devices",
    )
    depths: _Axis = Field(
        tuple(range(4, 257, 4)), description="multiples of four: layers split evenly over pipeline stages"
    )
    least_width_over_depth: float = Field(
        32.0, gt=0, le=LARGEST_RATIO, description="published mixtures lie above: Qwen3-235B-A22B 44, gpt-oss-120b 80"
    )
    most_width_over_depth: float = Field(
        128.0,
        gt=0,
        le=LARGEST_RATIO,
        description="published mixtures lie at or below: DeepSeek-V3 118, Mixtral and OLMoE 128",
    )
    head_dim: _Size = Field(128, description="what attention kernels are tuned for")
    narrow_head_dim: _Size = Field(64, description="head_dim below a width of 1024, so that small models have heads")
    heads_multiple: _Size = Field(
        8, description="heads come in multiples, the fewest that make attention as wide as the model: they divide over "
        "devices"
    )  # fmt: skip
    kv_heads: _CountAxis = Field(
        (0,),
        description="0: 8 from 32 heads on, 4 from 16 on, else 2, grouped queries (arXiv 2305.13245) as Qwen3 and "
        "gpt-oss have; another number is tried where it divides the heads",
    )
    experts: _Axis = Field((8, 16, 32, 64, 128, 256, 512), description="powers of two divide over any group of devices")
    expert_parallel: _Size = Field(1, description="devices over which a layer's experts are dealt; must divide them")
    top_k: _Axis = Field(tuple(range(1, 17)), description="published mixtures use 1 to 10; above, routing costs more")
    most_active_share: float = Field(
        0.5, gt=0, le=1, description="top_k over experts; beyond a half the model is hardly sparse"
    )
    shared_experts: _CountAxis = Field(
        (0, 1, 2, 3, 4), description="of the routed experts' size, at most top_k: the joint law's fitted shares"
    )
    expert_size_step: _Size = Field(64, description="whole matmul tiles")
    least_expert_size: _Size = Field(128, description="narrower experts leave matrix units idle")
    least_expert_size_over_width: float = Field(
        0.0,
        ge=0,
        le=LARGEST_RATIO,
        description="another lower bound of the expert size; 0: none, least_expert_size alone bounds it",
    )
    most_expert_size_over_width: float = Field(
        4.0, gt=0, le=LARGEST_RATIO, description="the dense feed-forward's 4 d; Mixtral has 3.5, the widest published"
    )
    dense_first: _CountAxis = Field(
        (0, 1),
        description="dense layers before the mixtures, as wide as the experts that a token uses together: DeepSeek-V3 "
        "has 3 of 18432 = 9 x 2048 (arXiv 2412.19437), Kimi-K2 and GLM-4.5-Air 1, Qwen3 none",
    )
    vocab_size: _Size = Field(DEFAULT_VOCAB_SIZE, description="Llama 3's; today's tokenizers have 100 to 200 thousand")
    target: Target = Field(
        "any",
        description="Hugging Face family: qwen3_moe expresses designs without shared experts, dots1 those with "
        "them (and routes by sigmoid), any means either",
    )

    @model_validator(mode="after")
    def _ordered(self) -> "Space":
        if self.least_width_over_depth > self.most_width_over_depth:
            raise ValueError("least_width_over_depth exceeds most_width_over_depth: no depth is left")
        if self.least_expert_size % self.expert_size_step:
            raise ValueError("least_expert_size must be a multiple of expert_size_step")
        if self.least_expert_size_over_width > self.most_expert_size_over_width:
            raise ValueError("least_expert_size_over_width exceeds most_expert_size_over_width: no size is left")
        for name in ("widths", "depths", "kv_heads", "experts", "top_k", "shared_experts", "dense_first"):
            if len(set(getattr(self, name))) != len(getattr(self, name)):
                raise ValueError(f"{name} has a value twice")
        return self

    def _facts(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("widths", "depths", "experts", "top_k", "vocab_size", "target")}

    def shapes(self) -> list[tuple[int, ...]]:
        """(width, depth, dense_first, heads, kv_heads, head_dim) of every shape that keeps the rules.

        Raises UserError naming the rule that leaves none.
        """
        low, high = self.least_width_over_depth, self.most_width_over_depth
        pairs = [(d, depth) for d in self.widths for depth in self.depths if low * depth <= d <= high * depth]
        if not pairs:
            raise UserError(
                f"space: width/depth from {low:g} to {high:g} leaves no shape: the widths go from {min(self.widths)} "
                f"to {max(self.widths)}, the depths from {min(self.depths)} to {max(self.depths)}"
            )
        wide_enough = {d for d in self.widths if self.narrowest_size(d) <= self.widest_size(d)}
        roomy = [(d, depth) for d, depth in pairs if d in wide_enough]
        if not roomy:
            raise UserError(
                f"space: expert sizes from {self.least_expert_size} (least_expert_size) or "
                f"{self.least_expert_size_over_width:g} widths to {self.most_expert_size_over_width:g} widths in steps "
                f"of {self.expert_size_step} leave none at any width"
            )
        _check_number(len(roomy) * len(self.kv_heads) * len(self.dense_first), "shapes", "widths, depths or kv_heads")
        headed = [(d, depth, *heads) for d, depth in roomy for heads in self._heads(d)]
        if not headed:
            raise UserError(f"space: kv_heads {list(self.kv_heads)} divide the heads of no width; 0 follows the heads")
        found = [
            (d, depth, first, *heads) for d, depth, *heads in headed for first in self.dense_first if first < depth
        ]
        if not found:
            raise UserError(f"space: dense_first {list(self.dense_first)} leaves no mixture in any depth")
        return found

    def mixtures(self) -> list[tuple[int, ...]]:
        """(experts, top_k, shared_experts) of every mixture that keeps the rules; UserError names the excluding one."""
        dealt = [e for e in self.experts if e % self.expert_parallel == 0]
        if not dealt:
            raise UserError(
                f"space: expert_parallel {self.expert_parallel} divides none of experts {list(self.experts)}"
            )
        sparse = [(e, k) for e in dealt for k in self.top_k if k <= self.most_active_share * e]
        if not sparse:
            raise UserError(
                f"space: most_active_share {self.most_active_share:g} excludes every top_k from {min(self.top_k)} of "
                f"at most {max(dealt)} experts"
            )
        _check_number(len(sparse) * len(self.shared_experts), "mixtures", "experts, top_k or shared_experts")
        shared = [s for s in self.shared_experts if self.target == "any" or (self.target == "dots1") == (s > 0)]
        found: list[tuple[int, ...]] = [(e, k, s) for e, k in sparse for s in shared if s <= k]
        if not found:
            rule = f"target {self.target}" if not shared else "at most top_k may be shared, which"
            raise UserError(f"space: {rule} excludes every one of shared_experts {list(self.shared_experts)}")
        return found

    def narrowest_size(self, width: Any) -> Any:
        """The narrowest expert that is allowed at a width, a number or a column."""
        least = np.ceil(self.least_expert_size_over_width * width / self.expert_size_step).astype(np.int64)
        return np.maximum(least * self.expert_size_step, self.least_expert_size)

    def widest_size(self, width: Any) -> Any:
        """The widest expert that is allowed at a width, a number or a column."""
        most = np.floor(self.most_expert_size_over_width * width / self.expert_size_step).astype(np.int64)
        return most * self.expert_size_step

    def _heads(self, width: int) -> list[tuple[int, int, int]]:
        """(heads, kv heads, head_dim) that a width may have."""
        head_dim = self.narrow_head_dim if width < 1024 else self.head_dim
        heads = -(-width // (self.heads_multiple * head_dim)) * self.heads_multiple
        usual = 8 if heads >= 32 else 4 if heads >= 16 else 2
        wanted = dict.fromkeys(kv or usual for kv in self.kv_heads)
        return [(heads, kv, head_dim) for kv in wanted if heads % kv == 0]


def _check_number(number: int, what: str, axes: str) -> None:
    if number > MOST_COMBINATIONS:
        raise UserError(
            f"space: {number:,} {what} are more than the {MOST_COMBINATIONS:,} that are listed; fewer {axes}"
        )


def load_space(path: str | Path) -> Space:
    """The space in a YAML or JSON file; what it does not name keeps its default. UserError names the wrong key."""
    return Space.read(path)


def describe_space(space: Space) -> str:
    """The space as the YAML that `load_space` reads, with each rule's reason as a comment.

    >>> print(*describe_space(Space(depths=(4, 8, 12))).splitlines()[3:5], sep="\\n")
    # multiples of four: layers split evenly over pipeline stages
    depths: [4, 8, 12]
    """
    lines = [f"format: {space.format}"]
    for name, field in Space.model_fields.items():
        if name != "format":
            value = getattr(space, name)
            shown = f"[{', '.join(map(str, value))}]" if isinstance(value, tuple) else value
            lines += [f"# {field.description}", f"{name}: {shown}"]
    return "\n".join(lines) + "\n"
