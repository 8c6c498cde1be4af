"""Mixers: the half of a layer that moves information between tokens.

Each class states sizes only. The weights that follow from them are in `inventory.py`, the cache in `cache.py`.
All sizes are numbers of channels or heads.
"""

from typing import Annotated, Any, Generic, Literal

from pydantic import Field, model_validator

from moewright.architecture.sizes import N_co
from moewright.records import Count, Free, Positive, Record, Size


class Rope(Record):
    """Rotary position embedding (Su et al. 2021, arXiv 2104.09864). It has no parameters."""

    theta: Positive = 10_000.0
    fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the head's channels that rotate."""
    scaling: dict[str, Free] | None = None
    """Context extension (yarn, linear, llama3 ...) with its numbers, as the config states it."""


class Window(Record):
    """A limit on how far back a token looks."""

    size: Size
    kind: Literal["sliding", "chunked"] = "sliding"
    """sliding: the last `size` tokens. chunked: the tokens of the current block of `size`."""


class BlockIndexer(Record):
    """The small scorer that chooses which blocks of past tokens attention reads, the current block always among them.

    Source: MiniMax-M3's module in transformers 5.24. One choice for each of its heads, which stand for the layer's
    key-value heads.
    """

    num_heads: Size
    head_dim: Size
    block_size: Size
    """Tokens in a block."""
    top_blocks: Size
    """Blocks kept for each query."""
    pooled: bool = False
    """True: the keys of a whole block are averaged and scored once, for all heads together, and the unfinished block is
    read beside the chosen ones (Qwen4-Exp)."""


class AnyMixer(Record, Generic[N_co]):
    """A mixer whose sizes are whole numbers, or columns of them."""


class AnyAttention(AnyMixer[N_co], Generic[N_co]):
    """Softmax attention with grouped keys and values: MHA, GQA and MQA (Ainslie et al. 2023, arXiv 2305.13245)."""

    kind: Literal["attention"] = "attention"
    num_heads: N_co
    num_kv_heads: N_co
    head_dim: N_co
    q_rank: N_co | None = None
    """Queries go through so many channels, which are normed, before they are those of the heads (Step 3, multi-matrix
    factorisation attention, arXiv 2412.19255)."""
    value_head_dim: N_co | None = None
    """Channels of each head's values where they are not head_dim (MiMo-V2)."""
    key_values: Literal["own", "keys", "earlier_layer"] = "own"
    """own: keys and values each have a projection. keys: the projected keys, before norm and rotation, are the values
    too (Gemma 4). earlier_layer: an earlier layer's keys and values are read again, so the layer has neither
    projections nor a cache of its own (Gemma 3n and 4)."""
    reads_embedding: bool = False
    """Queries, keys and values are made of the layer's input and the token's embedding side by side, with a norm over
    both (Zamba2)."""
    value_norm: bool = False
    """A norm of the values without weights (Gemma 4)."""
    qkv_bias: bool = False
    output_bias: bool = False
    qk_norm: Literal["per_head", "full", "unweighted"] | None = None
    """per_head: one weight of head_dim shared by all heads. full: over all heads' channels together."""
    output_gate: Literal["per_channel", "per_head"] | None = None
    """A sigmoid of a projection of the layer's input that multiplies the heads' outputs."""
    output_gate_bias: bool | Literal["per_head"] = False
    """True: one entry for each of the gate's outputs. per_head: one for each head, of whatever gate (Beam)."""
    sinks: bool = False
    """One learned logit per head that joins the softmax."""
    indexer: BlockIndexer | None = None
    dynamic_mask: Size | None = None
    """So many tokens at most are read by a key-value head: those whose values score highest by a learned projection
    (Doge)."""
    window: Window | None = None
    rope: Rope | None = None

    @property
    def value_channels(self) -> N_co:
        """Channels of each head's values."""
        return self.head_dim if self.value_head_dim is None else self.value_head_dim


class Attention(AnyAttention):
    """Softmax attention with grouped keys and values, of one model."""

    @model_validator(mode="after")
    def _heads_divide(self) -> "Attention":
        if self.num_heads % self.num_kv_heads:
            raise ValueError(f"num_kv_heads ({self.num_kv_heads}) must divide num_heads ({self.num_heads})")
        if self.q_rank is not None and self.qkv_bias:
            raise ValueError("q_rank and qkv_bias exclude each other")
        if self.key_values == "keys" and self.value_channels != self.head_dim:
            raise ValueError("key_values: keys needs values as wide as keys")
        if self.indexer is not None and self.window is not None:
            raise ValueError("indexer and window exclude each other: the indexer chooses among all past tokens")
        return self


class DifferentialAttention(AnyMixer):
    """Differences of attention maps (arXiv 2410.05258): from each signal head's map a noise head's is subtracted, times
    a number that the layer learns as exp(q1 k1) - exp(q2 k2) of four vectors. Values are twice as wide as keys.

    With as many noise heads as signal heads it is the paper's; with fewer each stands for several signal heads (grouped
    differential attention, arXiv 2510.06949, as in Motif 2).
    """

    kind: Literal["differential_attention"] = "differential_attention"
    num_heads: Size
    """Maps of both kinds."""
    num_noise_heads: Size
    num_kv_heads: Size
    """Of keys, and of halves of values."""
    head_dim: Size
    bias: bool = False
    """On all four projections."""
    output_norm: bool = True
    """Weights of the norm of each head's output, which all heads share; False: it has none (DiffLlama)."""
    window: Window | None = None
    rope: Rope | None = None

    @property
    def value_channels(self) -> int:
        """Channels of each map's values."""
        return 2 * self.head_dim

    @model_validator(mode="after")
    def _heads_divide(self) -> "DifferentialAttention":
        if self.num_heads % self.num_noise_heads or self.num_noise_heads == self.num_heads:
            raise ValueError(f"num_noise_heads ({self.num_noise_heads}) must divide the rest of num_heads")
        if self.num_kv_heads % 2:
            raise ValueError(f"num_kv_heads ({self.num_kv_heads}) must be even: half of them go with noise heads")
        return self


class Indexer(Record):
    """The small scorer that chooses which past tokens sparse attention reads (DeepSeek-V3.2-Exp report, 2025)."""

    num_heads: Size
    head_dim: Size
    top_k: Size
    """Tokens kept for each query."""
    shared: bool = False
    """True where the layer reuses an earlier layer's choice: no weights and no cache of its own (GLM-5)."""
    query_input: Literal["latent", "layer_input"] = "latent"
    """What its queries are made of: the query latent, or the layer's input after a norm (Mistral Large 4)."""
    pool: Size | None = None
    """So many tokens' keys are merged into one by learned weights, and chosen together, the unfinished pool always
    (GLM-5.3-Flash). As in transformers 5.24 the cache keeps each token's key, its merging logits and a mark."""

    @model_validator(mode="after")
    def _whole_pools(self) -> "Indexer":
        if self.pool is not None and self.top_k % self.pool:
            raise ValueError(f"pool ({self.pool}) must divide top_k ({self.top_k})")
        return self


class AnyLatentAttention(AnyMixer[N_co], Generic[N_co]):
    """Multi-head latent attention, MLA (DeepSeek-V2, arXiv 2405.04434, section 2.1)."""

    kind: Literal["latent_attention"] = "latent_attention"
    num_heads: N_co
    num_kv_heads: Size | None = None
    """Heads of keys and values that the latent becomes, where several query heads share one (Motif 3); None: as many
    as there are query heads."""
    num_noise_heads: Count = 0
    """Heads whose output is subtracted from the others' of their group (Motif 3's differential attention)."""
    q_lora_rank: Size | None
    """None: one full query projection."""
    kv_lora_rank: Size
    qk_nope_head_dim: N_co
    qk_rope_head_dim: N_co
    """0: no channel rotates, and no rotary key is kept."""
    v_head_dim: N_co
    bias: bool = False
    """On the two down-projections and the output projection."""
    key_values: Literal["own", "earlier_layer"] = "own"
    """earlier_layer: an earlier layer's latent and rotary key are read again, so the layer has neither their projection
    nor a cache of its own (Mistral Large 4)."""
    position_scaling: bool = False
    """Each head's queries, and the indexer's, times a learned line in the position's logarithm (Mistral Large 4)."""
    output_gate: Literal["per_channel", "per_head"] | None = None
    gate_from_query: bool = False
    """The query up-projection makes the gate per channel too, from the latent before and after its norm (A.X K2)."""
    rope_key_norm: bool = False
    """A norm of the shared rotary key (dots3)."""
    sinks: bool = False
    """One learned logit per head that joins the softmax (Hy4)."""
    indexer: Indexer | None = None
    window: Window | None = None
    rope: Rope | None = None

    @property
    def kv_heads(self) -> Any:
        """Heads of keys and values that the latent becomes."""
        return self.num_heads if self.num_kv_heads is None else self.num_kv_heads


class LatentAttention(AnyLatentAttention):
    """Multi-head latent attention, MLA (DeepSeek-V2, arXiv 2405.04434, section 2.1), of one model."""

    qk_rope_head_dim: Count
    """0: no channel rotates, and no rotary key is kept."""

    @model_validator(mode="after")
    def _indexer_reads_the_query_latent(self) -> "LatentAttention":
        if self.indexer is not None and self.q_lora_rank is None and self.indexer.query_input == "latent":
            raise ValueError("indexer needs q_lora_rank: it scores the query latent")
        if self.gate_from_query and (self.q_lora_rank is None or self.output_gate is not None):
            raise ValueError("gate_from_query needs q_lora_rank, and no output_gate beside it")
        if self.num_heads % self.kv_heads:
            raise ValueError(f"num_kv_heads ({self.num_kv_heads}) must divide num_heads ({self.num_heads})")
        if self.num_noise_heads >= self.num_heads:
            raise ValueError(f"num_noise_heads ({self.num_noise_heads}) must be fewer than num_heads")
        return self


class CompressedAttention(AnyMixer):
    """DeepSeek-V4's attention: one shared key-value head read through a window, and beyond it in compressed entries.

    Source: the deepseek_v4 module of transformers 5.23. One entry stands for `compress_rate` tokens; `overlap` marks
    the variant whose entries are built from two overlapping halves and chosen by an indexer.
    """

    kind: Literal["compressed_attention"] = "compressed_attention"
    num_heads: Size
    head_dim: Size
    q_lora_rank: Size
    output_groups: Size
    output_lora_rank: Size
    compress_rate: Size | None
    """None: a plain sliding window without compressed entries."""
    overlap: bool = False
    indexer: Indexer | None = None
    window: Window
    rope: Rope | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "CompressedAttention":
        if (self.num_heads * self.head_dim) % self.output_groups:
            raise ValueError(f"output_groups ({self.output_groups}) must divide num_heads x head_dim")
        if self.compress_rate is None and (self.overlap or self.indexer is not None):
            raise ValueError("overlap and indexer need compress_rate")
        return self


class MixtureOfAttention(AnyMixer):
    """Attention whose query and output projections are routed experts over shared keys and values.

    Source: JetMoE (arXiv 2404.07413) after MoA (arXiv 2210.05144).
    """

    kind: Literal["mixture_of_attention"] = "mixture_of_attention"
    num_experts: Size
    top_k: Size
    num_kv_heads: Size
    head_dim: Size
    rope: Rope | None = None

    @model_validator(mode="after")
    def _top_k_exists(self) -> "MixtureOfAttention":
        if self.top_k > self.num_experts:
            raise ValueError(f"top_k ({self.top_k}) must not exceed num_experts ({self.num_experts})")
        return self


class AnyGatedDeltaNet(AnyMixer[N_co], Generic[N_co]):
    """Linear attention by the gated delta rule (Yang et al. 2024, arXiv 2412.06464), as in Qwen3-Next."""

    kind: Literal["gated_delta_net"] = "gated_delta_net"
    num_key_heads: N_co
    key_head_dim: Size
    num_value_heads: N_co
    value_head_dim: Size
    conv_kernel: Size


class GatedDeltaNet(AnyGatedDeltaNet):
    """Linear attention by the gated delta rule, of one model."""

    @model_validator(mode="after")
    def _heads_divide(self) -> "GatedDeltaNet":
        if self.num_value_heads % self.num_key_heads:
            raise ValueError(f"num_key_heads ({self.num_key_heads}) must divide num_value_heads")
        return self


class KimiDeltaAttention(AnyMixer):
    """Kimi delta attention, KDA: the delta rule with one decay per channel (arXiv 2510.26692)."""

    kind: Literal["kimi_delta_attention"] = "kimi_delta_attention"
    num_heads: Size
    head_dim: Size
    conv_kernel: Size
    gate_rank: Size | None
    """Rank of the decay and output gates; None: full projections (Ling 3)."""
    full_output_gate: bool = False
    """True: the output gate is a full projection whatever gate_rank says of the decay (Kimi K3)."""
    decay_entries: Literal["heads", "head_channels"] = "heads"
    """The entries of the vector of decays: one for each head, or one for each channel of a head (Kimi K3's files)."""


class LightningAttention(AnyMixer):
    """Linear attention with a fixed decay per head (MiniMax-01, arXiv 2501.08313)."""

    kind: Literal["lightning_attention"] = "lightning_attention"
    num_heads: Size
    head_dim: Size


class Mamba(AnyMixer):
    """Selective state space, first version (Gu and Dao 2023, arXiv 2312.00752), with Jamba's inner norms."""

    kind: Literal["mamba"] = "mamba"
    inner_size: Size
    state_size: Size
    time_step_rank: Size
    conv_kernel: Size
    conv_bias: bool = True
    projection_bias: bool = False
    inner_norms: bool = False


class Mamba2(AnyMixer):
    """State space duality (Dao and Gu 2024, arXiv 2405.21060)."""

    kind: Literal["mamba2"] = "mamba2"
    num_heads: Size
    head_dim: Size
    state_size: Size
    num_groups: Size
    conv_kernel: Size
    conv_bias: bool = True
    projection_bias: bool | Literal["input", "output"] = False
    """Of both projections, or of one."""
    norm: bool = True
    """Of the gated output."""

    @model_validator(mode="after")
    def _groups_divide(self) -> "Mamba2":
        if self.num_heads % self.num_groups:
            raise ValueError(f"num_groups ({self.num_groups}) must divide num_heads ({self.num_heads})")
        return self


class GroupedMamba(AnyMixer):
    """Mamba's scan made of an attention layer's matrices: values and keys of fewer heads than queries, which become the
    scan's input, B and C (Mamba in the Llama, arXiv 2408.15237, as in Apriel-H1, arXiv 2511.02651)."""

    kind: Literal["grouped_mamba"] = "grouped_mamba"
    inner_size: Size
    grouped_size: Size
    """Channels of inputs, and of B, before they are repeated to inner_size."""
    state_size: Size
    time_step_rank: Size
    conv_kernel: Size
    repeats_before_convolution: bool = True
    conv_bias: bool = True
    time_step_bias: bool = True
    projection_bias: bool = False

    @property
    def convolved_size(self) -> int:
        """Channels that the convolution sees."""
        return self.inner_size if self.repeats_before_convolution else self.grouped_size

    @model_validator(mode="after")
    def _heads_divide(self) -> "GroupedMamba":
        if self.grouped_size % self.state_size or self.inner_size % self.grouped_size:
            raise ValueError(f"grouped_size ({self.grouped_size}) must divide inner_size, and state_size it")
        return self


class ParallelMixers(AnyMixer):
    """Attention and a state space on the same input, their outputs added together (Falcon-H1, arXiv 2507.22448)."""

    kind: Literal["parallel_mixers"] = "parallel_mixers"
    attention: Attention
    state_space: Mamba2


class ShortConvolution(AnyMixer):
    """A gated short convolution (LFM2, Liquid AI 2025)."""

    kind: Literal["short_convolution"] = "short_convolution"
    kernel: Size
    bias: bool = False


class NoMixer(AnyMixer):
    """The layer is a feed-forward alone (Nemotron-H, arXiv 2504.03624)."""

    kind: Literal["none"] = "none"


LINEAR_MIXERS = (AnyGatedDeltaNet, KimiDeltaAttention, LightningAttention, Mamba, Mamba2, GroupedMamba, ParallelMixers)
"""They, or a part of them, keep a state and pass over a sequence in a scan."""

Mixer = Annotated[
    Attention
    | LatentAttention
    | CompressedAttention
    | DifferentialAttention
    | MixtureOfAttention
    | GatedDeltaNet
    | KimiDeltaAttention
    | LightningAttention
    | Mamba
    | Mamba2
    | GroupedMamba
    | ParallelMixers
    | ShortConvolution
    | NoMixer,
    Field(discriminator="kind"),
]
