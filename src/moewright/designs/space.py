"""The space that designs are chosen from: plain numbers, each with its rule's reason, changed from a YAML file."""

from dataclasses import dataclass, replace
from itertools import product
from math import prod
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from moewright.architecture.cache import CACHE_BYTES, CacheDtype
from moewright.architecture.spec import WeightFormatName
from moewright.architecture.weight_formats import WEIGHT_FORMATS
from moewright.complaints import one_of
from moewright.designs.served_as import ServedAs
from moewright.display import Shown
from moewright.errors import UserError
from moewright.hardware.speculation import Speculation
from moewright.records import FileRecord

# Llama 3's tokenizer (arXiv 2407.21783, section 3.2): the middle of today's 100 to 200 thousand.
DEFAULT_VOCAB_SIZE = 128_256
# More values on one axis are a mistake in a file: the widths and experts of all published models are fewer.
LARGEST_AXIS = 1000
LARGEST_RATIO = 1e6

# Of shapes, and of mixtures: a list that takes half a second.
MOST_COMBINATIONS = 500_000

SWITCHED_OFF: dict[str, float] = {
    "least_experts_share": 0.0,
    "most_experts_share": 1.0,
    "least_active_over_total": 0.0,
    "least_layers_at_1b_active": 0.0,
}
"""The rules that count parameters, each with the value at which it excludes nothing."""

WIDE = "wide"
"""The word that `--space` takes instead of a file."""

Target = Literal["any", "qwen3_moe", "dots1"]
_Size = Annotated[int, Field(gt=0, le=10**6)]
_Axis = Annotated[tuple[_Size, ...], Field(min_length=1, max_length=LARGEST_AXIS, strict=False)]
_CountAxis = Annotated[
    tuple[Annotated[int, Field(ge=0, le=10**6)], ...], Field(min_length=1, max_length=LARGEST_AXIS, strict=False)
]
MOST_PLANS = 64
"""Of layers; each is searched as a space of its own."""


def _listed(value: Any) -> Any:
    """A single value of an axis that files of earlier versions give as such."""
    return value if isinstance(value, list | tuple) else (value,)


_PlanAxis = Annotated[
    tuple[Annotated[int, Field(ge=0, le=10**6)], ...],
    Field(min_length=1, max_length=MOST_PLANS, strict=False),
    BeforeValidator(_listed),
]
_ShareAxis = Annotated[
    tuple[Annotated[float, Field(ge=0, le=1)], ...],
    Field(min_length=1, max_length=MOST_PLANS, strict=False),
    BeforeValidator(_listed),
]


AttentionKind = Literal["grouped", "latent"]


@dataclass(frozen=True)
class LayerPlan:
    """What the layers of a design have beyond their sizes: one choice of the axes that no law sees."""

    window: int = 0
    """Tokens that windowed layers see; 0: there are none."""
    full_every: int = 1
    latent_experts: float = 0.0
    """Channels on which routed experts work over the width; 0: the width itself."""
    attention: AttentionKind = "grouped"
    latent_rank: int = 0
    """Channels of the latent that keys and values are made of."""
    query_rank: int = 0
    """The same of queries; 0: a full projection."""
    linear: bool = False
    """Whether the layers that do not see all tokens have a gated delta net; else they have the window."""
    tied: bool = False
    """Whether the head multiplies with the embedding."""
    weights: WeightFormatName | None = None
    """Format in which weights are served; None: the one that is asked for."""
    cache: CacheDtype | None = None
    """The same of the cache."""
    blocks: int = 0
    """Prediction blocks, each of which proposes a token."""
    acceptance: float = 0.0
    """Probability that a proposed token is right."""

    def served(self, asked: ServedAs) -> ServedAs:
        """How designs of the plan are served where so much was asked for."""
        guess = Speculation(self.blocks, self.acceptance) if self.blocks else asked.speculation
        return ServedAs(self.weights or asked.weights_dtype, self.cache or asked.kv_dtype, guess)

    @property
    def is_served_as_asked(self) -> bool:
        """Whether it has neither formats nor prediction blocks of its own."""
        return self.weights is None and self.cache is None and not self.blocks

    @property
    def as_trained(self) -> "LayerPlan":
        """Without formats, which are chosen after training."""
        return replace(self, weights=None, cache=None)

    @property
    def has_pattern(self) -> bool:
        """Whether layers are of two kinds."""
        return bool(self.window) or self.linear

    def is_full(self, layer: int, num_layers: int) -> bool:
        """Whether a layer, counted from 0, sees all tokens: every so many do, and the last one."""
        return not self.has_pattern or (layer + 1) % self.full_every == 0 or layer == num_layers - 1

    def latent_size(self, width: Any) -> Any:
        """Channels on which the routed experts work, a number or a column; None: the width's."""
        if not self.latent_experts:
            return None
        return np.maximum(np.rint(self.latent_experts * width / 64).astype(np.int64), 1) * 64

    def unseen(self) -> tuple[str, ...]:
        """The axes of `UNSEEN` on which it is not plain."""
        weight_bits = 0 if self.weights is None else WEIGHT_FORMATS[self.weights].bits
        has = {
            "latent attention": self.attention == "latent",
            "windows": bool(self.window),
            "linear attention": self.linear,
            "latent experts": bool(self.latent_experts),
            "tied embeddings": self.tied,
            "8-bit weights": weight_bits == 8,
            "4-bit weights": weight_bits == 4,
            "8-bit cache": self.cache is not None and CACHE_BYTES[self.cache] < CACHE_BYTES["bf16"],
            "prediction blocks": self.blocks > 0,
        }
        return tuple(axis for axis, there in has.items() if there)

    def words(self) -> tuple[str, ...]:
        """What it has beyond plain layers, in words."""
        found = []
        if self.attention == "latent":
            queries = f", queries of {self.query_rank}" if self.query_rank else ""
            found.append(f"latent attention of rank {self.latent_rank}{queries}")
        if self.has_pattern:
            others = "linear attention" if self.linear else f"windows of {self.window}"
            found.append(f"{others}, full attention every {self.full_every}")
        if self.latent_experts:
            found.append(f"latent experts on {self.latent_experts:g} of the width")
        if self.tied:
            found.append("tied embeddings")
        if self.weights is not None:
            found.append(f"weights in {self.weights}")
        if self.cache is not None:
            found.append(f"cache in {self.cache}")
        if self.blocks:
            number = "1 prediction block" if self.blocks == 1 else f"{self.blocks} prediction blocks"
            found.append(f"{number}, {self.acceptance:.0%} accepted")
        return tuple(found)


PLAIN_LAYERS = LayerPlan()
"""Grouped attention to all tokens in every layer, routed experts on the width, a head with a matrix of its own."""

UNSEEN = {
    "latent attention": "public, by its authors: better than every head's own keys and values in dense models of 7B "
    "with as many parameters (deepseek-ai/DeepSeek-V2#26); beside grouped ones no pair of equal size was found",
    "windows": "no public pair with figures was found",
    "linear attention": "public, by its authors: with a finer delta rule in three of four layers a mixture of 48B did "
    "better than with full attention after 1.4T tokens (abstract of Kimi Linear, arXiv 2510.26692)",
    "latent experts": "public, by its authors: more accurate for each FLOP and parameter, up to 95B parameters and 1T "
    "tokens (abstract of LatentMoE, arXiv 2601.18089)",
    "tied embeddings": "no public pair of mixtures was found",
    "8-bit weights": "public: Llama 3 8B's perplexity .04 % above fp16's (ggml-org/llama.cpp#6936); no public pair of "
    "mixtures was found",
    "4-bit weights": "public: Mixtral-8x7B's perplexity 1.5 to 3.6 % above that in 8 bits, .015 to .035 nats (card of "
    "ikawrakow/mixtral-8x7b-quantized-gguf)",
    "8-bit cache": "servers' documents call the loss of accuracy minimal (SGLang, quantized KV cache); no public pair "
    "of mixtures with figures was found",
    "prediction blocks": "public, by its authors: trained beside the model for stronger performance, without a figure "
    "of loss (abstract of DeepSeek-V3, arXiv 2412.19437)",
}
"""What public single experiments say of the loss, by the axis: no law has any of it.

Each as it stands in the place that it names; papers of which only the abstract was read say so.
"""


BELIEVED_NATS = {"4-bit weights": 0.025}
"""What an axis is taken to add to the loss unless a space says otherwise: the middle of the public figures, where there
are any of mixtures; else nothing, which is said too."""

PLAN_AXES = (
    "window",
    "full_every",
    "linear_attention",
    "attention",
    "latent_rank",
    "query_rank",
    "latent_experts",
    "tie_embeddings",
    "weights_dtype",
    "kv_dtype",
    "prediction_blocks",
)


class Space(Shown, FileRecord):  # the fields' descriptions are the rules' reasons, printed by `describe_space`
    """Every combination of these sizes that keeps every rule; the default holds what could be built today."""

    format: Literal["moewright-space/1"] = "moewright-space/1"
    version_without_format: ClassVar[int | None] = 1
    widths: _Axis = Field(
        (*range(512, 2048, 128), *range(2048, 4096, 256), *range(4096, 8193, 512)),
        description="whole matmul tiles, and splits over 2 to 8 devices; published mixtures are 1024 to 8192 wide",
    )
    depths: _Axis = Field(
        tuple(range(4, 97, 4)),
        description="multiples of four: layers split evenly over pipeline stages; published mixtures end at 94 layers "
        "with both attention and experts (Qwen3-235B-A22B), and no law sees depth",
    )
    least_width_over_depth: float = Field(
        42.0,
        gt=0,
        le=LARGEST_RATIO,
        description="deeper ones than the deepest published (Qwen3-30B-A3B 43) decode slower, and no law says that "
        "they are better",
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
    experts: _Axis = Field(
        (16, 32, 48, 64, 96, 128, 192, 256, 384, 512),
        description="powers of two, and half-way between, divide over any group of devices; fewer than 16 leave top-4 "
        "dense, and more than 512 have been trained once (Kimi-K3, with latent experts)",
    )
    expert_parallel: _Size = Field(1, description="devices over which a layer's experts are dealt; must divide them")
    top_k: _Axis = Field(
        (4, 6, 8, 10),
        description="what has been built since 2025, but for Llama 4 (1) and two with latent experts (Kimi-K3 16, "
        "Nemotron-3-Ultra 22); more cost routing and messages; in steps of two, finer than laws tell apart",
    )
    least_active_share: float = Field(
        1 / 64,
        ge=0,
        le=1,
        description="top_k over experts; DeepSeek-V4-Pro has 1/64, Llama-4-Maverick alone less (1/128); of the laws' "
        "runs only clark2022's and ling2025's were sparser, and small ones",
    )
    most_active_share: float = Field(
        0.25,
        gt=0,
        le=1,
        description="top_k over experts; all laws say that sparser is better at equal active parameters; Mixtral and "
        "DBRX have 1/4, those after them at most 1/8",
    )
    shared_experts: _CountAxis = Field(
        (0, 1, 2),
        description="of the routed experts' size, at most top_k; 1, 2 and 4 of 64 differ by .005 nats (arXiv "
        "2401.06066), and since 2025 none published has more than two",
    )
    expert_size_step: _Size = Field(64, description="whole matmul tiles")
    least_expert_size: _Size = Field(
        256,
        description="narrower experts leave matrix units idle (at equal parameters 14336 against 2048 channels took 50 "
        "against 28 % of a TPU's peak, AI-Hypercomputer/maxtext#1256); the narrowest published has 512",
    )
    least_expert_size_over_width: float = Field(
        0.25,
        ge=0,
        le=LARGEST_RATIO,
        description="narrower ones move more bytes of tokens for each multiplication; 1/4 is the least published "
        "(Qwen3.5, Laguna-XS.2)",
    )
    most_expert_size_over_width: float = Field(
        2.0,
        gt=0,
        le=LARGEST_RATIO,
        description="runs find whole dense widths (4 d) worse and 1/8 to 1/2 of them alike (arXiv 2605.11689); Mixtral "
        "and Jamba are wider",
    )
    least_experts_share: float = Field(
        0.45,
        ge=0,
        le=1,
        description="of the active parameters of the layers, in routed and shared experts; laws of E/K see none of it, "
        "so a search would move the active parameters into attention and depth",
    )
    most_experts_share: float = Field(
        0.85,
        gt=0,
        le=1,
        description="the same; since DBRX and the Mixtrals of 2024 only Hunyuan-A13B has left less to attention",
    )
    least_active_over_total: float = Field(
        0.03,
        ge=0,
        le=1,
        description="active over total parameters; nothing published activates less (DeepSeek-V4-Pro and Kimi-K2 .032)",
    )
    least_layers_at_1b_active: float = Field(
        15.0,
        ge=0,
        le=LARGEST_RATIO,
        description="layers, times the fourth root of the active parameters in billions; no law sees depth and fewer "
        "layers are faster, so cost would stop at no depth; of the published OLMoE has fewest (15.04), then "
        "gpt-oss-20b (16.8) and the Mixtrals (16.9)",
    )
    dense_first: _CountAxis = Field(
        (0, 1),
        description="dense layers before the mixtures, as wide as the experts that a token uses together: DeepSeek-V3 "
        "has 3 of 18432 = 9 x 2048 (arXiv 2412.19437), Kimi-K2 and GLM-4.5-Air 1, Qwen3 none",
    )
    window: _PlanAxis = Field(
        (0,),
        description="tokens that windowed layers see; 0: every layer sees all. Costs count it and no law sees it; "
        "gpt-oss and MiMo-V2-Flash have 128, Gemma 3 1024",
    )
    full_every: Annotated[_Axis, BeforeValidator(_listed)] = Field(
        (4,),
        description="beside windows or linear attention, every so many layers one that sees all tokens, and the last "
        "one; gpt-oss 2, Gemma 3 and MiMo-V2-Flash 6, Qwen3-Next and Kimi-Linear 4",
    )
    linear_attention: Annotated[
        tuple[bool, ...], Field(min_length=1, max_length=2, strict=False), BeforeValidator(_listed)
    ] = Field(
        (False,),
        description="whether the other layers have a gated delta net, keys as wide as the model and values twice that, "
        "as Qwen3-Next has; costs count its state and no law sees it",
    )
    attention: Annotated[
        tuple[AttentionKind, ...], Field(min_length=1, max_length=2, strict=False), BeforeValidator(_listed)
    ] = Field(
        ("grouped",),
        description="grouped or latent (MLA, arXiv 2405.04434: head_dim channels of keys and of values, half as many "
        "that rotate); costs count it and no law sees it",
    )
    latent_rank: _PlanAxis = Field((512,), description="of latent attention's keys and values; DeepSeek-V3 512")
    query_rank: _PlanAxis = Field(
        (0,), description="of its queries; 0: a full projection, as DeepSeek-V2-Lite has; DeepSeek-V3 1536"
    )
    latent_experts: _ShareAxis = Field(
        (0.0,),
        description="channels on which routed experts work over the width, in steps of 64; 0: the width itself. Costs "
        "count it and no law sees it (LatentMoE, arXiv 2601.18089); Nemotron 3 and Kimi-K3 have them",
    )
    tie_embeddings: Annotated[
        tuple[bool, ...], Field(min_length=1, max_length=2, strict=False), BeforeValidator(_listed)
    ] = Field(
        (False,),
        description="whether the head multiplies with the embedding: fewer parameters, the same FLOPs; no law sees it",
    )
    weights_dtype: Annotated[
        tuple[WeightFormatName | Literal["asked"], ...],
        Field(min_length=1, max_length=MOST_PLANS, strict=False),
        BeforeValidator(_listed),
    ] = Field(
        ("asked",),
        description="format in which weights are served; asked: what --weights-dtype says. Memory and speed count it, "
        "and no law sees it: losses are those of the model as it was trained",
    )
    kv_dtype: Annotated[
        tuple[CacheDtype | Literal["asked"], ...],
        Field(min_length=1, max_length=MOST_PLANS, strict=False),
        BeforeValidator(_listed),
    ] = Field(("asked",), description="the same of the cache; asked: what --kv-dtype says")
    prediction_blocks: Annotated[
        tuple[Annotated[int, Field(ge=0, le=16)], ...],
        Field(min_length=1, max_length=MOST_PLANS, strict=False),
        BeforeValidator(_listed),
    ] = Field(
        (0,),
        description="blocks behind the last layer, each with a mixture, trained beside the model and each proposing a "
        "token of a step of decoding (arXiv 2412.19437, section 2.2); memory, training and decoding count them, totals "
        "do not; DeepSeek-V3 and GLM-4.5 have 1",
    )
    acceptance: float = Field(
        0.85,
        ge=0,
        le=1,
        description="probability that a token of prediction blocks is right, an input; DeepSeek-V3 reports .85 to .9 "
        "for its one (arXiv 2412.19437, section 5.4.3)",
    )
    unseen_nats: dict[str, Annotated[float, Field(ge=-1, le=1)]] = Field(
        BELIEVED_NATS,
        description="nats that what no law sees is believed to add to every law's loss, such as {latent attention: "
        "-0.01}; what is not named adds nothing. 4-bit weights: the middle of what Mixtral-8x7B's perplexity rises by "
        "(card of ikawrakow/mixtral-8x7b-quantized-gguf)",
    )
    vocab_size: _Size = Field(DEFAULT_VOCAB_SIZE, description="Llama 3's; today's tokenizers have 100 to 200 thousand")
    target: Target = Field(
        "any",
        description="Hugging Face family: qwen3_moe expresses designs without shared experts, dots1 those with "
        "them (and routes by sigmoid), any means either",
    )

    @classmethod
    def wide(cls) -> "Space":
        """`--space wide`: all that the laws can be asked, built by nobody or not."""
        return cls(
            depths=tuple(range(4, 257, 4)),
            least_width_over_depth=32.0,
            experts=(8, 16, 32, 64, 128, 256, 512),
            top_k=tuple(range(1, 17)),
            least_active_share=0.0,
            most_active_share=0.5,
            shared_experts=(0, 1, 2, 3, 4),
            least_expert_size=128,
            least_expert_size_over_width=0.0,
            most_expert_size_over_width=4.0,
            **SWITCHED_OFF,  # type: ignore[arg-type]
        )

    @property
    def layer_plans(self) -> tuple[LayerPlan, ...]:
        """Every choice of the axes that no law sees, each once; windows and linear attention exclude each other."""
        return tuple(
            LayerPlan(
                window=window,
                full_every=every,
                latent_experts=latent,
                attention=kind,
                latent_rank=rank,
                query_rank=queries,
                linear=linear,
                tied=tied,
                weights=None if weights == "asked" else weights,
                cache=None if held == "asked" else held,
                blocks=blocks,
                acceptance=self.acceptance if blocks else 0.0,
            )
            for (window, linear, every), (kind, rank, queries), latent, tied, weights, held, blocks in product(
                *self._plan_parts()
            )
        )

    @property
    def plan_nats(self) -> tuple[float, ...]:
        """What each plan of layers is believed to add to every law's loss."""
        return tuple(sum(self.unseen_nats.get(axis, 0.0) for axis in plan.unseen()) for plan in self.layer_plans)

    def _plan_parts(self) -> tuple[tuple[Any, ...], ...]:
        """Choices that go together freely: (window, linear, full_every), (attention and its ranks), and single axes."""
        patterns = dict.fromkeys(
            (window, linear, every if window or linear else 1)
            for window, linear, every in product(self.window, self.linear_attention, self.full_every)
            if not (window and linear)
        )
        attentions = dict.fromkeys(
            (kind, rank, queries) if kind == "latent" else (kind, 0, 0)
            for kind, rank, queries in product(self.attention, self.latent_rank, self.query_rank)
        )
        single = self.weights_dtype, self.kv_dtype, self.prediction_blocks
        return tuple(patterns), tuple(attentions), self.latent_experts, self.tie_embeddings, *single

    @model_validator(mode="after")
    def _ordered(self) -> "Space":
        if self.least_width_over_depth > self.most_width_over_depth:
            raise ValueError("least_width_over_depth exceeds most_width_over_depth: no depth is left")
        if self.least_expert_size % self.expert_size_step:
            raise ValueError("least_expert_size must be a multiple of expert_size_step")
        if self.least_expert_size_over_width > self.most_expert_size_over_width:
            raise ValueError("least_expert_size_over_width exceeds most_expert_size_over_width: no size is left")
        if self.least_active_share > self.most_active_share:
            raise ValueError("least_active_share exceeds most_active_share: no mixture is left")
        if self.least_experts_share > self.most_experts_share:
            raise ValueError("least_experts_share exceeds most_experts_share: no design is left")
        number = prod(map(len, self._plan_parts()))
        if number > MOST_PLANS:
            raise ValueError(
                f"window: {number:,} plans of layers are more than the {MOST_PLANS} that are searched; name fewer"
            )
        for axis in self.unseen_nats:
            one_of(axis, "unseen_nats", UNSEEN)
        plans = self.layer_plans
        if any(plan.window for plan in plans) and self.target == "qwen3_moe":
            raise ValueError("window: qwen3_moe has no windows in a pattern; target any or dots1 has")
        if any(plan.linear or plan.attention == "latent" for plan in plans) and self.target != "any":
            raise ValueError(f"attention: {self.target} has neither latent nor linear attention; take target any")
        if 0 in self.latent_rank:
            raise ValueError("latent_rank: a latent has channels; take 512")
        if not plans:
            raise ValueError("window: windows and linear_attention exclude each other, and every choice has both")
        for name in ("widths", "depths", "kv_heads", "experts", "top_k", "shared_experts", "dense_first", *PLAN_AXES):
            if len(set(getattr(self, name))) != len(getattr(self, name)):
                raise ValueError(f"{name} has a value twice")
        return self

    def bounds_by(self, *rules: str) -> bool:
        """Whether any of these rules that count parameters can exclude something."""
        return any(getattr(self, name) != SWITCHED_OFF[name] for name in rules)

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
        headed = [(d, depth, *heads) for d, depth in roomy for heads in self.heads_of(d)]
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
        low, high = self.least_active_share, self.most_active_share
        sparse = [(e, k) for e in dealt for k in self.top_k if low * e <= k <= high * e]
        if not sparse:
            raise UserError(
                f"space: top_k over experts from {low:g} (least_active_share) to {high:g} (most_active_share) excludes "
                f"every top_k from {min(self.top_k)} to {max(self.top_k)} of {min(dealt)} to {max(dealt)} experts"
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

    def heads_of(self, width: int) -> list[tuple[int, int, int]]:
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
    """The space in a YAML or JSON file, whose other fields keep their defaults, or `wide`.

    Raises UserError naming the wrong key.
    """
    return Space.wide() if path == WIDE else Space.read(path)


def describe_space(space: Space) -> str:
    """The space as the YAML that `load_space` reads, with each rule's reason as a comment.

    >>> describe_space(Space(depths=(4, 8, 12))).splitlines()[4]
    'depths: [4, 8, 12]'
    """
    lines = [f"format: {space.format}"]
    for name, field in Space.model_fields.items():
        if name != "format":
            value = getattr(space, name)
            shown = f"[{', '.join(map(_in_yaml, value))}]" if isinstance(value, tuple) else value
            shown = _mapping_in_yaml(value) if isinstance(value, dict) else shown
            lines += [f"# {field.description}", f"{name}: {shown}"]
    return "\n".join(lines) + "\n"


def _in_yaml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _mapping_in_yaml(value: dict[str, float]) -> str:
    return "{" + ", ".join(f"{name}: {number:g}" for name, number in value.items()) + "}"
