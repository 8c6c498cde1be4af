"""The decoder of an Architecture: embedding, layers, final norm, head."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding
from torch.utils.checkpoint import checkpoint

from moewright.architecture.feed_forwards import MoE
from moewright.architecture.mixers import Attention
from moewright.architecture.spec import Architecture, Layer
from moewright.experiment.support import check_trainable
from moewright.lab.model.attention import AttentionLayer, LatentAttentionLayer, View, weight
from moewright.lab.model.linear import linear
from moewright.lab.model.loss import head_loss
from moewright.lab.model.moe import DROPLESS, FeedForwardLayer, MoELayer, Routing, Way
from moewright.lab.model.norm import NormLayer


class Output(NamedTuple):
    """What a forward pass gives."""

    hidden: Tensor
    """(B, T, d), after the final norm."""
    routings: list[Routing]
    """One for each layer with experts, in order."""


class DecoderLayer(nn.Module):
    """A mixer and a feed-forward with the norms around them."""

    def __init__(self, spec: Layer, architecture: Architecture):
        super().__init__()
        d, norm = architecture.hidden_size, architecture.norm
        self.placement = spec.norms
        self.mixer = (
            AttentionLayer(spec.mixer, d, norm.eps)
            if isinstance(spec.mixer, Attention)
            else LatentAttentionLayer(spec.mixer, d)  # type: ignore[arg-type]  # one of the two, by check_trainable
        )
        is_moe = isinstance(spec.feed_forward, MoE)
        self.feed_forward: nn.Module = (
            MoELayer(spec.feed_forward, d) if is_moe else FeedForwardLayer.of(spec.feed_forward, d)  # type: ignore[arg-type]
        )
        before, after = spec.norms != "post", spec.norms in ("post", "sandwich")
        self.mixer_norm = NormLayer(norm, d) if before else None
        self.feed_forward_norm = NormLayer(norm, d) if before and spec.norms != "parallel" else None
        self.mixer_output_norm = NormLayer(norm, d) if after else None
        self.feed_forward_output_norm = NormLayer(norm, d) if after else None

    def forward(self, x: Tensor, view: View, valid: Tensor | None, way: Way) -> tuple[Tensor, Routing | None]:
        """x (B, T, d) -> (B, T, d), and what the routers did if there are any."""
        inputs = _normed(self.mixer_norm, x)
        mixed = _normed(self.mixer_output_norm, self.mixer(inputs, view))
        if self.placement == "parallel":
            y, routing = self._feed_forward(inputs, valid, way)
            return x + mixed + y, routing
        x = x + mixed
        y, routing = self._feed_forward(_normed(self.feed_forward_norm, x), valid, way)
        return x + _normed(self.feed_forward_output_norm, y), routing

    def _feed_forward(self, x: Tensor, valid: Tensor | None, way: Way) -> tuple[Tensor, Routing | None]:
        if isinstance(self.feed_forward, MoELayer):
            y, routing = self.feed_forward(x, valid, way)
            return y, routing
        return self.feed_forward(x), None


def _normed(norm: NormLayer | None, x: Tensor) -> Tensor:
    normed: Tensor = x if norm is None else norm(x)
    return normed


class Transformer(nn.Module):
    """The model of an architecture, its weights not yet initialised (`lab.initialization`, or a checkpoint).

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
        self.embed_tokens = weight(architecture.vocab_size, architecture.hidden_size)
        self.layers = nn.ModuleList(DecoderLayer(layer, architecture) for layer in architecture.iter_layers())
        self.final_norm = NormLayer(architecture.norm, architecture.hidden_size)
        self.lm_head = None if architecture.tie_embeddings else weight(*self.embed_tokens.shape)
        self.lm_head_bias = weight(architecture.vocab_size) if architecture.lm_head_bias else None

    def forward(
        self,
        tokens: Tensor,
        *,
        targets: Tensor | None = None,
        loss_scale: float = 1.0,
        valid: Tensor | None = None,
        document_ids: Tensor | None = None,
        way: Way = DROPLESS,
        head: bool = True,
    ) -> tuple[Tensor, list[Routing]]:
        """tokens (B, T) -> the loss if there are targets, else logits (B, T, V); and one Routing for each MoE layer.

        Without `head`, what it would get (B, T, d): `hidden`, but with all that a sharded model does around a call.

        The loss is `loss_scale` times the summed cross-entropy of `targets` (B, T); -100 is not predicted. `valid`
        (B, T) is False for padding, which no expert sees; it must stand at the sequences' ends. `document_ids` (B, T)
        keeps tokens to their own document.
        """
        output = self.hidden(tokens, valid=valid, document_ids=document_ids, way=way)
        if not head:
            return output
        weights = self.embed_tokens if self.lm_head is None else self.lm_head
        if targets is None:
            return linear(output.hidden, weights, self.lm_head_bias), output.routings
        rows = output.hidden.view(-1, output.hidden.shape[-1])
        return head_loss(rows, weights, targets.reshape(-1), loss_scale, self.lm_head_bias), output.routings

    def hidden(
        self, tokens: Tensor, *, valid: Tensor | None = None, document_ids: Tensor | None = None, way: Way = DROPLESS
    ) -> Output:
        """Everything before the head."""
        dtype = self.compute_dtype or self.embed_tokens.dtype
        x = embedding(tokens, self.embed_tokens).to(dtype)
        view = View(tokens.shape[1], document_ids)
        routings = []
        for layer in self.layers:
            if self.recompute and torch.is_grad_enabled():
                x, routing = checkpoint(layer, x, view, valid, way, use_reentrant=False)
            else:
                x, routing = layer(x, view, valid, way)
            if routing is not None:
                routings.append(routing)
        return Output(self.final_norm(x), routings)

    def moe_layers(self) -> list[MoELayer]:
        """The layers with experts, in the order of `routings`."""
        return [layer.feed_forward for layer in self.layers if isinstance(layer.feed_forward, MoELayer)]
