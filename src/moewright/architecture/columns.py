"""Many models at once: an architecture whose sizes are columns, one entry for each model.

The functions that count an `Architecture` count these by the same code, all entries at a time. Columns need not be
equally long as long as they broadcast: rows of shapes against columns of mixtures count every combination.

    models = ArchitectureColumns(
        vocab_size=50_000,
        hidden_size=np.array([512, 1024]),
        runs=((np.array([12, 24]), LayerColumns(AttentionColumns(...), MoEColumns(...))),),
    )
    total_params(models)  ->  array of two

Only parts that a design space varies have a form with columns. That columns are arrays is checked; their values, unlike
those of an `Architecture`, are not.
"""

from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import InstanceOf

from moewright.architecture.feed_forwards import AnyDense, AnyExpertGroup, AnyMoE, AnySharedExpert
from moewright.architecture.mixers import AnyAttention, AnyGatedDeltaNet, AnyLatentAttention
from moewright.architecture.own_weights import OwnWeight
from moewright.architecture.spec import Norm, NormPlaces, PerLayerInput

# Spelt out: from numpy 2.5 on `npt.NDArray` is an alias that no value is an instance of.
_Held = Annotated[np.ndarray[tuple[Any, ...], np.dtype[Any]], InstanceOf()]


class AttentionColumns(AnyAttention[_Held]):
    """Softmax attention of many models."""


class LatentAttentionColumns(AnyLatentAttention[_Held]):
    """Latent attention of many models, of the same ranks and channels."""


class GatedDeltaNetColumns(AnyGatedDeltaNet[_Held]):
    """Linear attention of many models."""


class DenseColumns(AnyDense[_Held]):
    """A dense feed-forward of many models; an entry of size 0 has none."""


class ExpertGroupColumns(AnyExpertGroup[_Held]):
    """Routed experts of many models."""


class SharedExpertColumns(AnySharedExpert[_Held]):
    """Shared experts of many models; an entry of count 0 has none."""


class MoEColumns(AnyMoE[_Held]):
    """Mixtures of experts of many models, alike in all but their sizes."""


@dataclass(frozen=True)
class LayerColumns:
    """The same layer of many models."""

    mixer: AttentionColumns | LatentAttentionColumns | GatedDeltaNetColumns
    feed_forward: DenseColumns | MoEColumns
    norms: NormPlaces = "pre"
    mixer_norm_gate: int | None = None
    feed_forward_norm_gate: int | None = None
    own_weights: tuple[OwnWeight, ...] = ()
    own_state: int = 0
    shares_weights: bool = False
    one_residual: bool = False
    passes: int = 1


@dataclass(frozen=True)
class ArchitectureColumns:
    """Many models, alike in all but their sizes. The fields mean what they mean in `Architecture`."""

    vocab_size: int
    hidden_size: npt.NDArray[Any]
    runs: tuple[tuple[npt.NDArray[Any], LayerColumns], ...]
    """How often each layer occurs, and the layer; an entry of 0 does not have it."""
    tie_embeddings: bool | npt.NDArray[Any] = False
    """Of all of them, or 0 and 1 for each."""
    norm: Norm = field(default_factory=Norm)
    lm_head_bias: bool = False
    lm_head_rows: int | None = None
    own_weights: tuple[OwnWeight, ...] = ()
    hyper_connections: int = 0
    mixes_streams: bool = True
    merges_streams: bool = True
    residual_vectors: int = 0
    rope_frequencies: int = 0
    per_layer_input: PerLayerInput | None = None
    attention_residuals: int = 0
    mtp_layers: int = 0
    mtp_block: tuple[LayerColumns, ...] | None = None
    mtp_norms: int = 3

    def layer_runs(self) -> tuple[tuple[npt.NDArray[Any], LayerColumns], ...]:
        """How often each layer occurs, and the layer."""
        return self.runs

    @property
    def num_layers(self) -> npt.NDArray[Any]:
        """Number of layers."""
        first, *rest = (times for times, _ in self.runs)
        return sum(rest, first)

    def moe_layers(self) -> list[tuple[npt.NDArray[Any], MoEColumns]]:
        """The mixtures of experts with how often each occurs."""
        return [(times, layer.feed_forward) for times, layer in self.runs if isinstance(layer.feed_forward, MoEColumns)]
