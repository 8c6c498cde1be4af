"""Feed-forwards: the half of a layer that works on each token by itself, dense or routed."""

from typing import Annotated, Generic, Literal

from pydantic import Field, model_validator

from moewright.architecture.sizes import N, N_co, total
from moewright.records import Count, Positive, Record, Size

Activation = Literal["silu", "gelu", "gelu_tanh", "relu", "relu2", "situ", "xielu", "poly_norm"]
"""situ: Kimi K3's sigmoid tanh unit. xielu: Apertus' (arXiv 2411.13010), with two learned numbers in each layer.
poly_norm: Motif's (arXiv 2411.03884), with four."""


class NoFeedForward(Record):
    """The layer is a mixer alone (Nemotron-H, arXiv 2504.03624)."""

    kind: Literal["none"] = "none"


class AnyDense(Record, Generic[N_co]):
    """One feed-forward for every token; gated means three matrices (SwiGLU, arXiv 2002.05202), else two."""

    kind: Literal["dense"] = "dense"
    size: N_co
    gated: bool = True
    bias: bool = False
    activation: Activation = "silu"


class Dense(AnyDense):
    """One feed-forward for every token, of one model."""


# Twice the experts of the widest published layers, were each of another size.
LARGEST_GROUP_COUNT = 1000


class Router(Record):
    """How tokens choose experts and how the chosen outputs are weighted."""

    kind: Literal["learned", "hash", "product_keys"] = "learned"
    """learned: the scores choose. hash: the token's identity chooses, the scores only weigh (DeepSeek-V4).
    product_keys: an expert's score is the sum of one of floor(sqrt(E)) row scores and one of as many column scores
    (Doge, after arXiv 2407.04153)."""
    score: Literal["softmax", "sigmoid", "sqrt_softplus"] = "softmax"
    score_after_top_k: bool = False
    """True: scores are taken over the chosen logits only (gpt-oss, Granite)."""
    normalize: bool = False
    """True: the chosen scores are divided by their sum."""
    scale: Positive = 1.0
    """Factor on the chosen scores (routed_scaling_factor)."""
    bias: bool = False
    """A learned bias on the logits."""
    input_scale: bool = False
    """A learned factor on each channel of what the router sees (Gemma 4)."""
    expert_scale: bool = False
    """A learned factor on each expert's weight (Gemma 4)."""
    selection_bias: Literal["buffer", "parameter"] | None = None
    """The bias of loss-free balancing (arXiv 2408.15664), used for the choice only. A buffer is not a parameter;
    some modules register it as one, and then it is counted."""
    num_groups: Size = 1
    top_groups: Size = 1
    """Group-limited routing (DeepSeek-V2, section 2.2.2): only the experts of the best `top_groups` groups compete."""
    input_size: Size | None = None
    """Channels that the scores are made of, where the router has layers of its own before it (ZAYA)."""
    skip_choices: Count = 0
    """Choices that stand for no expert: what is chosen adds nothing (ZAYA)."""
    weigh: Literal["output", "input"] = "output"
    """Where the score multiplies: the expert's output, or its input (Llama 4)."""

    @model_validator(mode="after")
    def _groups_exist(self) -> "Router":
        if self.top_groups > self.num_groups:
            raise ValueError(f"top_groups ({self.top_groups}) must not exceed num_groups ({self.num_groups})")
        return self


def group_score_experts(router: Router) -> int:
    """How many of a group's best scores are summed to rank the group, in group-limited routing.

    DeepSeek-V2 (softmax scores) ranks a group by its best expert (arXiv 2405.04434, section 2.2.2), DeepSeek-V3
    (sigmoid scores) by the sum of its best two (arXiv 2412.19437, section 2.1.2); transformers' modules do the same.
    """
    return 1 if router.score == "softmax" else 2


class AnyExpertGroup(Record, Generic[N_co]):
    """Routed experts of one size; of `count` experts each token uses `top_k`."""

    count: N_co
    expert_size: N_co
    top_k: N_co


class ExpertGroup(AnyExpertGroup):
    """Routed experts of one size, of one model."""

    @model_validator(mode="after")
    def _top_k_exists(self) -> "ExpertGroup":
        if self.top_k > self.count:
            raise ValueError(f"top_k ({self.top_k}) must not exceed count ({self.count})")
        return self


class AnySharedExpert(Record, Generic[N_co]):
    """Experts that every token uses: `count` of width `expert_size`, run as one of width count x expert_size."""

    count: N_co
    expert_size: N_co
    combine: Literal["sum", "average", "gated", "scored"] = "sum"
    """sum: added to the routed output. average: shared/(K+1) + routed K/(K+1). gated: times a learned sigmoid. scored:
    weighed by the router, which scores them beside the chosen experts (Inkling)."""
    bias: bool = False


class SharedExpert(AnySharedExpert):
    """Experts that every token uses, of one model."""

    count: Size = 1


class AnyMoE(Record, Generic[N_co]):
    """A mixture of experts: router, one or more groups of routed experts, and what runs beside them.

    With several groups, `router_per_group` says whether each group has a router of its own (which then chooses that
    group's top_k), or one router scores all experts together and still takes each group's top_k.
    """

    kind: Literal["moe"] = "moe"
    groups: tuple[AnyExpertGroup[N_co], ...]
    experts: Literal["own", "earlier_layer"] = "own"
    """earlier_layer: the routed experts are an earlier layer's, chosen among by this layer's router (Megrez2). They are
    counted there as parameters, and in every such layer as active, since each chooses for itself."""
    latent_size: N_co | None = None
    """Latent experts (LatentMoE, arXiv 2601.18089): a projection that all routed experts share takes the layer's input
    to so many channels, the experts work on those, and another takes the weighted sum of their outputs back. Router and
    shared experts see the layer's input. None: the routed experts see it too; a column's entry of 0 says the same."""
    latent_norm: bool = False
    """An RMSNorm of the weighted sum, before it is projected back (Kimi K3)."""
    latent_bias: bool = False
    """Biases of the two projections (Nemotron's mlp_bias)."""
    router: Router = Router.default()
    router_per_group: bool = False
    combine_groups: Literal["sum", "average"] = "sum"
    """sum: the groups' outputs are added. average: each counts by its share of the top_k (arXiv 2605.11689)."""
    shared: AnySharedExpert[N_co] | None = None
    gated: bool = True
    expert_bias: bool = False
    """Biases in every routed expert (gpt-oss)."""
    output_bias: bool = False
    """One bias on the layer's output (JetMoE)."""
    activation: Activation = "silu"
    identity_experts: Count = 0
    """Choices of the router that return the token unchanged (LongCat-Flash's zero-computation experts). They compete
    for the same top_k, so top_k counts at most that many real experts."""
    identity_input_weights: bool = False
    """True where the module keeps never-used input projections for the identity experts (transformers' longcat_flash);
    they are counted as parameters, and never as active."""
    parallel_dense: AnyDense[N_co] | None = None
    """A dense feed-forward on the same input (LongCat-Flash's shortcut, Arctic's dense residual)."""
    image_group: AnyExpertGroup[N_co] | None = None
    """Experts with a router of their own that tokens of images use in place of the others (ERNIE 4.5 VL): counted as
    parameters, and never as active, which is counted for text."""
    branch_norms: bool = False
    """Norms of parallel_dense's output, of the routed experts' input and of their output (Gemma 4)."""
    output_norm: bool = False
    """A norm of the sum of all experts' outputs (A.X K1)."""
    expert_output_norm: bool = False
    """A norm of each routed expert's output, its weights shared by all of them (Muse Spark)."""

    @property
    def num_experts(self) -> N_co:
        """Routed experts that have weights, over all groups."""
        return total((group.count for group in self.groups[1:]), self.groups[0].count)

    @property
    def top_k(self) -> N_co:
        """Routed experts that one token uses, over all groups."""
        return total((group.top_k for group in self.groups[1:]), self.groups[0].top_k)


def routed_width(moe: "AnyMoE[N]", hidden_size: N) -> N:  # in quotes: pydantic would make four classes of it
    """Channels that a routed expert reads and writes in a model of this width."""
    latent = moe.latent_size
    return hidden_size if latent is None else latent + (latent == 0) * hidden_size


class MoE(AnyMoE):
    """A mixture of experts, of one model."""

    groups: Annotated[tuple[ExpertGroup, ...], Field(min_length=1, max_length=LARGEST_GROUP_COUNT, strict=False)]
    shared: SharedExpert | None = None
    parallel_dense: Dense | None = None
    image_group: ExpertGroup | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "MoE":
        if len(self.groups) > 1 and self.identity_experts:
            raise ValueError("identity_experts needs a single group")
        if self.router.num_groups > 1 and len(self.groups) > 1:
            raise ValueError("router.num_groups above 1 needs a single group of experts")
        if self.groups[0].count % self.router.num_groups:
            raise ValueError(f"router.num_groups ({self.router.num_groups}) must divide groups[0].count")
        if self.identity_input_weights and not self.identity_experts:
            raise ValueError("identity_input_weights needs identity_experts")
        if self.branch_norms and self.parallel_dense is None:
            raise ValueError("branch_norms needs parallel_dense")
        if self.latent_size is None and (self.latent_norm or self.latent_bias):
            raise ValueError("latent_norm and latent_bias need latent_size")
        if self.latent_size is not None and self.identity_experts:
            raise ValueError("identity_experts return the layer's input, which latent_size takes from them")
        if self.latent_size is not None and self.output_bias:
            raise ValueError("output_bias belongs to experts of the full width; latent_bias is the projection's")
        if self.router_per_group and len(self.groups) == 1:
            raise ValueError("router_per_group needs at least two groups")
        if self.combine_groups == "average" and len(self.groups) == 1:
            raise ValueError("combine_groups: average needs at least two groups")
        return self


FeedForward = Annotated[Dense | MoE | NoFeedForward, Field(discriminator="kind")]
