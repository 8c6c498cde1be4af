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

from moewright.architecture.counts import prediction_layers
from moewright.architecture.feed_forwards import MoE
from moewright.architecture.mixers import Attention
from moewright.architecture.spec import Architecture, Layer, Norm
from moewright.experiment.support import check_trainable
from moewright.lab.fast.chunked_loss import IGNORED
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


class PredictionBlockLayers(nn.Module):
    """A block that predicts one token further than what it reads from (DeepSeek-V3, arXiv 2412.19437, section 2.2).

    y = layers(projection [norm(embedding of the next token); norm(x)]), normed once more. As in Megatron-Core the first
    block reads the model's output after its final norm, and each other the one before it.
    """

    def __init__(self, architecture: Architecture):
        super().__init__()
        width, norm = architecture.hidden_size, architecture.norm
        self.embedding_norm, self.hidden_norm = NormLayer(norm, width), NormLayer(norm, width)
        self.eh_proj = parameter(width, 2 * width)
        self.layers = nn.ModuleList(DecoderLayer(layer, architecture) for layer in prediction_layers(architecture))
        self.output_norm = NormLayer(norm, width)

    def inputs(self, x_BTD: Tensor, next_BTD: Tensor) -> Tensor:
        """What the layers get of the states x and the embeddings of the tokens that they predict: (B, T, D)."""
        both = torch.cat((self.embedding_norm(next_BTD), self.hidden_norm(x_BTD)), dim=-1)
        return linear(both, self.eh_proj)


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
        self.prediction = nn.ModuleList(PredictionBlockLayers(architecture) for _ in range(architecture.mtp_layers))
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
        prediction_weight: float = 0.0,
    ) -> tuple[Tensor, list[Routing]]:
        """tokens (B, T) -> the loss if there are targets, else logits (B, T, V); and one Routing for each MoE layer.

        The loss is `loss_scale` times the summed cross-entropy of `targets` (B, T); -100 is not predicted. `valid`
        (B, T) is False for padding, which no expert sees; it must stand at the sequences' ends. `document_ids` (B, T)
        keeps tokens to their own document. Without `head`, what it would get (B, T, D): `hidden`, but with all that a
        sharded model does around a call.

        With a `prediction_weight`, targets and prediction blocks, the losses (1 + blocks,): the loss, and each block's
        with its share of the weight, over the T - k positions of a sequence whose token k further on is in it. Their
        Routings stand behind the layers'.
        """
        hidden_BTD, routings = self.hidden(tokens, valid=valid, document_ids=document_ids, mode=mode)
        predicted: list[Tensor] = []
        if prediction_weight and targets is not None:
            context = AttentionContext(tokens.shape[1], document_ids)
            predicted, more = self._predict(hidden_BTD, targets, context, valid, mode)
            routings += more
        if not head:
            return hidden_BTD, routings
        weight_VD = self.embed_tokens if self.lm_head is None else self.lm_head
        if targets is None:
            return linear(hidden_BTD, weight_VD, self.lm_head_bias), routings
        loss = head_loss(hidden_BTD.flatten(0, 1), weight_VD, targets.reshape(-1), loss_scale, self.lm_head_bias)
        losses = [loss]
        for further, states_BTD in enumerate(predicted, start=1):
            length = tokens.shape[1]
            scale = loss_scale * prediction_weight / len(predicted) * length / (length - further)
            wanted = _further(targets, further, IGNORED).reshape(-1)
            losses.append(head_loss(states_BTD.flatten(0, 1), weight_VD, wanted, scale, self.lm_head_bias))
        return torch.stack(losses) if predicted else loss, routings

    def _predict(
        self,
        hidden_BTD: Tensor,
        targets_BT: Tensor,
        context: AttentionContext,
        valid_BT: Tensor | None,
        mode: RoutingMode,
    ) -> tuple[list[Tensor], list[Routing]]:
        """The states of every prediction block that the head gets, and what the routers in them did."""
        states, routings, x_BTD = [], [], hidden_BTD
        for turn, block in enumerate(self.prediction_blocks()):
            known = _further(targets_BT, turn, IGNORED)
            there = None if turn == 0 and valid_BT is None else known != IGNORED
            if there is not None and valid_BT is not None:
                there = there & valid_BT
            next_BTD = F.embedding(known.clamp(min=0), self.embed_tokens).to(x_BTD.dtype)
            x_BTD = block.inputs(x_BTD, next_BTD)
            for layer in block.layers:
                x_BTD, routing = self._layer(layer, x_BTD, context, there, mode)
                if routing is not None:
                    routings.append(routing)
            x_BTD = block.output_norm(x_BTD)
            states.append(x_BTD)
        return states, routings

    def _layer(
        self, layer: nn.Module, x_BTD: Tensor, context: AttentionContext, valid: Tensor | None, mode: RoutingMode
    ) -> tuple[Tensor, Routing | None]:
        if self.recompute and torch.is_grad_enabled():
            answer: tuple[Tensor, Routing | None] = checkpoint(layer, x_BTD, context, valid, mode, use_reentrant=False)
            return answer
        y_BTD, routing = layer(x_BTD, context, valid, mode)
        return y_BTD, routing

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
            x_BTD, routing = self._layer(layer, x_BTD, context, valid, mode)
            if routing is not None:
                routings.append(routing)
        return self.final_norm(x_BTD), routings

    def prediction_blocks(self) -> list[PredictionBlockLayers]:
        """In the order of what they predict."""
        return [block for block in self.prediction if isinstance(block, PredictionBlockLayers)]

    def moe_layers(self, prediction: bool = True) -> list[MoELayer]:
        """The layers with experts, in the order of the Routings; those of prediction blocks last."""
        layers = [*self.layers, *(layer for block in self.prediction_blocks() for layer in block.layers if prediction)]
        return [layer.feed_forward for layer in layers if isinstance(layer.feed_forward, MoELayer)]


def _further(targets_BT: Tensor, steps: int, empty: int) -> Tensor:
    """What stands so many places further on in the sequence; `empty` beyond its end."""
    return F.pad(targets_BT[:, steps:], (0, steps), value=empty)
