"""What a training step keeps of its activations, tensor by tensor, and which recomputed module spares each.

Counted as in Korthikanti et al. 2022 (arXiv 2205.05198, section 4.1): every tensor that a backward pass needs, in
2-byte formats. Theirs is a dense GPT layer with dropout, 34 d bytes for each token besides the scores. Extended here:

- A projection's output is kept where something nonlinear consumes it (queries, keys, values, gates); a projection back
  into the residual, or out of a low rank, keeps its input. The layer's normed input is kept once for each sublayer, and
  so is what each norm reads. Dropout is gone, and scores are not kept: fused attention recomputes them (FlashAttention,
  arXiv 2205.14135). For d_ff = 4 d without gates and full heads that gives 2d + 2d (norms' inputs), 2d + 8d (attention:
  input, queries, keys, values, output) and 2d + 16d (feed-forward): 32 d, which is theirs less the two dropout masks.
- Norms of queries and keys keep what they read, beside the normed queries and keys that attention keeps.
- A routed expert works on copies of its tokens. Each token keeps, for each of its K experts, the copy (d, or of latent
  experts the latent width), what the expert keeps (as a feed-forward of expert_size), and its output before it is
  weighed (as wide as the copy); and for the router the scores and their softmax in fp32. Latent experts' projections
  keep the latent that is copied, their sum, and what a norm of it reads. Routing is balanced, so a device gets as many
  copies as it sends, whatever the expert-parallel degree; `imbalance` multiplies the copies where it is not.
- A layer that a token passes several times keeps all of it for each pass; its weights and their states stand once.

`Keeping` has where a trainer's kernels keep more or less than that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, Literal, NamedTuple, get_args

from moewright.architecture.feed_forwards import AnyDense, AnyMoE, routed_width
from moewright.architecture.inventory import Component, Weight, layer_weights
from moewright.architecture.mixers import AnyAttention, AnyLatentAttention
from moewright.architecture.sizes import F, total
from moewright.architecture.spec import AnyLayer, Countable, sublayers
from moewright.complaints import one_of
from moewright.errors import UserError
from moewright.quantities import brief

FP32_BYTES = 4
# Projections back into the residual: their inputs are kept, their outputs are not.
_TO_RESIDUAL = ("o_proj", "o_b_proj", "out_proj", "output_experts", "down_proj", "latent_up")
# Of latent attention, what makes queries, keys and values of the latents.
FROM_LATENTS = ("q_b_proj", "kv_b_proj")

RecomputedModule = Literal[
    "core_attn", "layernorm", "mla_up_proj", "moe_act", "mlp", "shared_experts", "moe", "experts", "layers"
]
"""What a backward pass computes again instead of keeping it: modules as Megatron-Core names them in
`--recompute-modules` (transformer_config.py and moe/README.md at d98e8a6), layers as its granularity "full", and
experts as the lab does it, which keeps of an expert its first products alone. Scores of attention always are."""
RECOMPUTED_MODULES: tuple[RecomputedModule, ...] = get_args(RecomputedModule)
_MODULES_OF: dict[Component, tuple[RecomputedModule, ...]] = {
    "routed_experts": ("moe",),
    "shared_experts": ("shared_experts", "moe"),
    "latent_projections": ("moe",),
    "dense_ffn": ("mlp",),
}
NOTHING = "attention_scores"
"""The name of recomputing nothing but what fused attention does."""


def modules_of(recompute: str) -> frozenset[RecomputedModule]:
    """The modules of a text such as layernorm+moe_act. Raises UserError for what is no module, or stands twice.

    >>> sorted(modules_of("moe_act+layernorm")), modules_of("attention_scores")
    (['layernorm', 'moe_act'], frozenset())
    """
    if recompute == NOTHING:
        return frozenset()
    named = [one_of(name, "recompute", (*RECOMPUTED_MODULES, NOTHING)) for name in recompute.split("+")]
    if NOTHING in named or ("layers" in named and len(named) > 1):
        raise UserError(f"recompute: {NOTHING} and layers stand alone, found {brief(recompute)}")
    if len(set(named)) < len(named):
        raise UserError(f"recompute: {brief(recompute)} names a module twice")
    return frozenset(name for name in RECOMPUTED_MODULES if name in named)


def recompute_text(modules: Iterable[RecomputedModule]) -> str:
    """The text that `modules_of` takes, modules in the order of RECOMPUTED_MODULES.

    >>> recompute_text({"moe_act", "layernorm"}), recompute_text(())
    ('layernorm+moe_act', 'attention_scores')
    """
    found = set(modules)
    return "+".join(name for name in RECOMPUTED_MODULES if name in found) or NOTHING


def recompute_code(recompute: str) -> int:
    """The text as a number for columns: a bit for each module."""
    return sum(1 << RECOMPUTED_MODULES.index(module) for module in modules_of(recompute))


def recompute_of(code: int) -> str:
    """The text of such a number.

    >>> recompute_of(recompute_code("layernorm+moe_act"))
    'layernorm+moe_act'
    """
    return recompute_text(module for place, module in enumerate(RECOMPUTED_MODULES) if code >> place & 1)


def check_modules(architecture: Countable[F], recompute: str) -> str:
    """The text as `recompute_text` writes it. Raises UserError for modules that the model does not have."""
    modules = modules_of(recompute)
    layers = [layer for _, layer in architecture.layer_runs()]
    mixtures = [layer.feed_forward for layer in layers if isinstance(layer.feed_forward, AnyMoE)]
    there: dict[str, bool] = {
        "mla_up_proj": any(isinstance(layer.mixer, AnyLatentAttention) for layer in layers),
        "moe_act": bool(mixtures),
        "moe": bool(mixtures),
        "experts": bool(mixtures),
        "shared_experts": any(mixture.shared is not None for mixture in mixtures),
        "mlp": any(isinstance(layer.feed_forward, AnyDense) for layer in layers),
    }
    for module in RECOMPUTED_MODULES:
        if module in modules and not there.get(module, True):
            raise UserError(f"recompute: this model has nothing that {module} would compute again")
    return recompute_text(modules)


@dataclass(frozen=True)
class Keeping:
    """What a trainer's kernels keep, in bytes of a number."""

    number: float = 2
    """An activation."""
    product_input: float | None = None
    """What a product keeps of its input where that has a format of its own (8-bit products); None: the activation."""
    keeps_outputs_of_experts: bool = True
    """False where scores weigh inside the expert, before its second product, so that its output need not be kept
    (Megatron-Core, moe/README.md: probabilities moved from unpermutation to the activation)."""
    keeps_rotated: bool = False
    """True where queries and keys are kept before and after the rotary embedding: values are a view of the product's
    output, so that all of it stays (Megatron-Core, attention.py, and TransformerEngine's fused attention)."""
    logit: float = FP32_BYTES
    """A logit at its peak."""

    @property
    def input_bytes(self) -> float:
        """`product_input`, or what stands for it."""
        return self.number if self.product_input is None else self.product_input


PLAIN = Keeping()
"""bf16, modules of PyTorch."""


def megatron_keeping(product_bytes: float | None = None, logit: float = 2 + FP32_BYTES) -> Keeping:
    """What Megatron-Core with TransformerEngine keeps, in bf16 with products in a format of so many bytes.

    Logits are bf16, and beside them a softmax in fp32 (core/tensor_parallel/cross_entropy.py).
    """
    return Keeping(product_input=product_bytes, keeps_outputs_of_experts=False, keeps_rotated=True, logit=logit)


class KeptTensor(NamedTuple, Generic[F]):
    """Bytes that one token keeps in one pass through one layer, and the modules whose recomputation spares them."""

    bytes: F | float
    spared_by: frozenset[RecomputedModule]


def kept_tensors(
    architecture: Countable[F], layer: AnyLayer[F], keeping: Keeping = PLAIN, imbalance: float = 1.0
) -> Iterator[KeptTensor[F]]:
    """What one token keeps in one pass through a layer. Recomputing "layers" spares all but the layer's input."""
    d = architecture.hidden_size
    number, product = keeping.number, keeping.input_bytes

    def kept(size: F | float, *spared_by: RecomputedModule) -> KeptTensor[F]:
        return KeptTensor(size, frozenset(spared_by))

    weights = layer_weights(architecture, layer)
    for weight in weights:
        if weight.use in ("matmul", "convolution"):
            yield from _of_product(weight, d, keeping, imbalance)
    norms = (weight._replace(held=True) for weight in weights if weight.component == "norm")
    norm_params = total((weight.params for weight in norms), 0.0 * d)
    yield kept(number * norm_params / (2 if architecture.norm.bias else 1))
    yield kept(number * total((weight.outputs for weight in weights if weight.name == "latent_norm"), 0.0 * d), "moe")
    normed = any(weight.name == "qk_norm" for weight in weights)
    if normed or (keeping.keeps_rotated and isinstance(layer.mixer, AnyAttention)):
        through_rank = isinstance(layer.mixer, AnyAttention) and layer.mixer.q_rank is not None
        turned = ("q_b_proj" if through_rank else "q_proj", "k_proj")
        yield kept(number * total((w.outputs for w in weights if w.name in turned), 0.0 * d))
    if keeping.keeps_rotated and isinstance(layer.mixer, AnyLatentAttention):  # the rotary key, once for every head
        yield kept(number * layer.mixer.num_heads * layer.mixer.qk_rope_head_dim, "mla_up_proj")
    feed_forward = layer.feed_forward
    # Norms that are modules of their own, and not fused with one product: before a mixture and latent attention.
    inputs = sublayers(layer)
    if isinstance(feed_forward, AnyMoE):
        yield kept(number * d + (product * d if keeping.product_input and feed_forward.shared else 0), "layernorm")
        width = routed_width(feed_forward, d)
        copies = imbalance * feed_forward.top_k * width
        yield kept(product * copies, "moe", "experts")
        if keeping.keeps_outputs_of_experts:
            yield kept(number * copies, "moe", "experts")
        yield kept(FP32_BYTES * 2.0 * (feed_forward.num_experts + feed_forward.identity_experts), "moe")
        inputs -= 1
    elif isinstance(feed_forward, AnyDense):
        yield kept(product * d, "mlp")
        inputs -= 1
    yield kept(product * inputs * d, *(("layernorm",) if isinstance(layer.mixer, AnyLatentAttention) else ()))


def _of_product(weight: Weight[F], d: F, keeping: Keeping, imbalance: float) -> Iterator[KeptTensor[F]]:
    number, product = keeping.number, keeping.input_bytes
    if weight.component == "router":  # its scores are counted with the mixture
        return
    inside: tuple[RecomputedModule, ...] = _MODULES_OF.get(weight.component, ())
    if weight.name in FROM_LATENTS:
        inside = ("mla_up_proj",)
    copies = weight.active * (imbalance if weight.component == "routed_experts" else 1)
    if weight.name.endswith(_TO_RESIDUAL):
        each = product
        if weight.component == "attention":  # keeps its output, beside it the product a copy in a format of its own
            each = number + (keeping.product_input or 0)
        act: tuple[RecomputedModule, ...] = ("moe_act", "experts") if weight.component == "routed_experts" else ()
        yield KeptTensor(each * copies * weight.inputs, frozenset((*inside, *act)))
        return
    yield KeptTensor(number * copies * weight.outputs, frozenset(inside))
    # Copies that experts read are counted with the mixture, and what a convolution reads with what made it.
    if weight.component != "routed_experts" and weight.use != "convolution":
        yield KeptTensor(product * copies * weight.inputs * (weight.inputs != d), frozenset())


def kept_bytes(
    architecture: Countable[F],
    layer: AnyLayer[F],
    recompute: str = NOTHING,
    keeping: Keeping = PLAIN,
    imbalance: float = 1.0,
) -> tuple[F, F]:
    """Bytes that one token keeps in one pass through a layer, and bytes that are computed again when it is their turn.

    >>> from moewright.hf import load_architecture
    >>> mixtral = load_architecture("examples/configs/mixtral-8x7b.json").architecture
    >>> kept_bytes(mixtral, mixtral.layer_runs()[0][1], "moe_act")
    (200768.0, 57344.0)
    """
    modules = modules_of(recompute)
    none = 0.0 * architecture.hidden_size
    tensors = list(kept_tensors(architecture, layer, keeping, imbalance))
    every = total((tensor.bytes for tensor in tensors), none)
    if "layers" in modules:
        return keeping.number * architecture.hidden_size + none, every
    again = total((tensor.bytes for tensor in tensors if tensor.spared_by & modules), none)
    return every - again, again
