"""The decoder of an Architecture: embedding, layers, final norm, head.

Read it top down: here, then `attention`, `moe` and its `router`, then `operations`, which are plain torch and below
which nothing needs to be known (`lab.fast` computes the same, faster). A suffix names a tensor's axes, as in x_BTD:

    B  sequences                     E  routed experts of all groups
    T  tokens of a sequence          K  experts of a token
    N  tokens of all, B x T          R  kept choices, N x K of a dropless layer
    D  width (L of latent experts)   F  channels of an expert or a feed-forward
    H  query heads                   G  key-value heads, of which H is a multiple
    C  channels of a head            V  vocabulary
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from moewright.architecture.feed_forwards import MoE
from moewright.architecture.mixers import Attention
from moewright.architecture.spec import Architecture, Layer, Norm
from moewright.experiment.support import check_trainable
from moewright.lab.model.attention import AttentionContext, AttentionLayer, LatentAttentionLayer
from moewright.lab.model.moe import DROPLESS, FeedForwardLayer, MoELayer, Routing, RoutingMode
from moewright.lab.model.operations import head_loss, linear, parameter, rms_norm


class NormLayer(nn.Module):
    """The norm of a spec over D channels: RMSNorm (arXiv 1910.07467) or layer norm (arXiv 1607.06450)."""

    def __init__(self, norm: Norm, width: int):
        super().__init__()
        self.kind, self.eps = norm.kind, norm.eps
        self.weight = parameter(width)
        self.bias = parameter(width) if norm.bias else None

    def forward(self, x: Tensor) -> Tensor:
        """x (..., D) -> (..., D), in x's dtype."""
        bias = None if self.bias is None else self.bias.to(x.dtype)
        if self.kind == "layer":
            return F.layer_norm(x, self.weight.shape, self.weight.to(x.dtype), bias, self.eps)
        y = rms_norm(x, self.weight, self.eps)
        return y if bias is None else y + bias


class DecoderLayer(nn.Module):
    """A mixer and a feed-forward with the norms around them."""

    def __init__(self, spec: Layer, architecture: Architecture):
        super().__init__()
        width, norm = architecture.hidden_size, architecture.norm
        self.placement = spec.norms
        self.mixer = (
            AttentionLayer(spec.mixer, width, norm.eps)
            if isinstance(spec.mixer, Attention)
            else LatentAttentionLayer(spec.mixer, width)  # type: ignore[arg-type]  # one of the two, by check_trainable
        )
        self.feed_forward: MoELayer | FeedForwardLayer = (
            MoELayer(spec.feed_forward, width, norm.eps)
            if isinstance(spec.feed_forward, MoE)
            else FeedForwardLayer.of(spec.feed_forward, width)  # type: ignore[arg-type]  # likewise
        )
        before, after = spec.norms != "post", spec.norms in ("post", "sandwich")
        self.mixer_norm = NormLayer(norm, width) if before else None
        self.feed_forward_norm = NormLayer(norm, width) if before and spec.norms != "parallel" else None
        self.mixer_output_norm = NormLayer(norm, width) if after else None
        self.feed_forward_output_norm = NormLayer(norm, width) if after else None

    def forward(
        self, x_BTD: Tensor, context: AttentionContext, valid_BT: Tensor | None, mode: RoutingMode
    ) -> tuple[Tensor, Routing | None]:
        """-> (B, T, D), and what the routers did if there are any."""
        inputs_BTD = _normed(self.mixer_norm, x_BTD)
        mixed_BTD = _normed(self.mixer_output_norm, self.mixer(inputs_BTD, context))
        if self.placement == "parallel":
            y_BTD, routing = self._fed_forward(inputs_BTD, valid_BT, mode)
            return x_BTD + mixed_BTD + y_BTD, routing
        x_BTD = x_BTD + mixed_BTD
        y_BTD, routing = self._fed_forward(_normed(self.feed_forward_norm, x_BTD), valid_BT, mode)
        return x_BTD + _normed(self.feed_forward_output_norm, y_BTD), routing

    def _fed_forward(self, x_BTD: Tensor, valid_BT: Tensor | None, mode: RoutingMode) -> tuple[Tensor, Routing | None]:
        if isinstance(self.feed_forward, MoELayer):
            y_BTD, routing = self.feed_forward(x_BTD, valid_BT, mode)
            return y_BTD, routing
        return self.feed_forward(x_BTD), None


def _normed(norm: NormLayer | None, x: Tensor) -> Tensor:
    normed: Tensor = x if norm is None else norm(x)
    return normed


class Transformer(nn.Module):
    """The model of an architecture, its weights not yet initialised (`lab.optimization`, or a checkpoint).

    Weights are held in the module's dtype (`.to(torch.float64)` for tests) and products run in `compute_dtype`. Build
    it under `torch.device("meta")` to count it for free. Raises UserError for parts that the lab does not train.
    """

    def __init__(self, architecture: Architecture, compute_dtype: torch.dtype | None = None):
        super().__init__()
        check_trainable(architecture)
        self.architecture = architecture
        self.compute_dtype = compute_dtype
        self.recompute = False
        """True: a layer keeps only its input for the backward pass and is computed again there."""
        self.embed_tokens = parameter(architecture.vocab_size, architecture.hidden_size)
        self.layers = nn.ModuleList(DecoderLayer(layer, architecture) for layer in architecture.iter_layers())
        self.final_norm = NormLayer(architecture.norm, architecture.hidden_size)
        self.lm_head = None if architecture.tie_embeddings else parameter(*self.embed_tokens.shape)
        self.lm_head_bias = parameter(architecture.vocab_size) if architecture.lm_head_bias else None

    def forward(
        self,
        tokens: Tensor,
        *,
        targets: Tensor | None = None,
        loss_scale: float = 1.0,
        valid: Tensor | None = None,
        document_ids: Tensor | None = None,
        mode: RoutingMode = DROPLESS,
        head: bool = True,
    ) -> tuple[Tensor, list[Routing]]:
        """tokens (B, T) -> the loss if there are targets, else logits (B, T, V); and one Routing for each MoE layer.

        The loss is `loss_scale` times the summed cross-entropy of `targets` (B, T); -100 is not predicted. `valid`
        (B, T) is False for padding, which no expert sees; it must stand at the sequences' ends. `document_ids` (B, T)
        keeps tokens to their own document. Without `head`, what it would get (B, T, D): `hidden`, but with all that a
        sharded model does around a call.
        """
        hidden_BTD, routings = self.hidden(tokens, valid=valid, document_ids=document_ids, mode=mode)
        if not head:
            return hidden_BTD, routings
        weight_VD = self.embed_tokens if self.lm_head is None else self.lm_head
        if targets is None:
            return linear(hidden_BTD, weight_VD, self.lm_head_bias), routings
        loss = head_loss(hidden_BTD.flatten(0, 1), weight_VD, targets.reshape(-1), loss_scale, self.lm_head_bias)
        return loss, routings

    def hidden(
        self,
        tokens: Tensor,
        *,
        valid: Tensor | None = None,
        document_ids: Tensor | None = None,
        mode: RoutingMode = DROPLESS,
    ) -> tuple[Tensor, list[Routing]]:
        """Everything before the head: (B, T, D) after the final norm, and one Routing for each MoE layer."""
        x_BTD = F.embedding(tokens, self.embed_tokens).to(self.compute_dtype or self.embed_tokens.dtype)
        context = AttentionContext(tokens.shape[1], document_ids)
        routings = []
        for layer in self.layers:
            if self.recompute and torch.is_grad_enabled():
                x_BTD, routing = checkpoint(layer, x_BTD, context, valid, mode, use_reentrant=False)
            else:
                x_BTD, routing = layer(x_BTD, context, valid, mode)
            if routing is not None:
                routings.append(routing)
        return self.final_norm(x_BTD), routings

    def moe_layers(self) -> list[MoELayer]:
        """The layers with experts, in the order of the Routings."""
        return [layer.feed_forward for layer in self.layers if isinstance(layer.feed_forward, MoELayer)]
