"""What the published weights of a model take as they are stored: from its config alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from moewright.architecture import weight_formats
from moewright.architecture.counts import mtp_weights
from moewright.architecture.inventory import UNUSED, Weight, layer_weights, outer_weights
from moewright.architecture.spec import Architecture
from moewright.architecture.tensor_formats import (
    PLAIN_FORMATS,
    StoredModel,
    StoredTensors,
    TensorFormat,
    UnknownStorageError,
    plainly_stored,
)
from moewright.hf.parts import DTYPES, QUANTIZATION_KEYS, SIDE_FILE, speaks_of_storage, transformers_major
from moewright.quantities import brief

if TYPE_CHECKING:
    from moewright.hf.quantization import Scheme

# Words of repositories' names that say that the weights are quantised.
_QUANTIZED_NAME = (
    r"(?i)(?:^|[-_.])(?:fp8|fp4|nvfp4|mxfp[48]|int[48]|w[48]a(?:8|16)|awq|gptq|bnb|gguf|[2-8]-?bits?|q[2-8])(?:$|[-_.])"
)


class Published(NamedTuple):
    """The published weights: parameters and bytes by component and format, or why nothing is known."""

    model: StoredModel | None
    """Without the prediction blocks; None: unknown."""
    prediction: StoredModel
    """The multi-token-prediction blocks, with what the files hold for them alone."""
    source: str
    """What says so."""
    notes: tuple[str, ...] = ()

    @property
    def dtype(self) -> str | None:
        """The formats, those of most parameters first: `nvfp4`, `mxfp4+fp8`, `bf16`."""
        return None if self.model is None else self.model.dtype()

    def by_format(self) -> dict[str, tuple[int, int]]:
        """Parameters and bytes by format, the prediction blocks included; most bytes first."""
        if self.model is None:
            return {}
        parts = (self.model, self.prediction)
        sums = {
            name: (
                sum(part.params_by_format.get(name, 0) for part in parts),
                sum(part.bytes_by_format.get(name, 0) for part in parts),
            )
            for name in {**self.model.params_by_format, **self.prediction.params_by_format}
        }
        return dict(sorted(sums.items(), key=lambda item: -item[1][1]))

    @property
    def total_bytes(self) -> int | None:
        """Of all weights, the prediction blocks included."""
        return None if self.model is None else self.model.total_bytes + self.prediction.total_bytes


def unknown(reason: str, source: str = "config.json") -> Published:
    """Weights of which the bytes cannot be told."""
    return Published(None, StoredModel(), source, (f"bytes of the published weights are not known: {reason}",))


def published_as_config_says(
    architecture: Architecture,
    model_type: str,
    values: Mapping[str, Any],
    side_file: Mapping[str, Any] | None = None,
    name: str = "",
) -> Published:
    """The weights as a config (of the language model) describes them; `side_file`: the content of hf_quant_config.json.

    `name` is what the model or its folder is called: where it names a quantisation that the config does not, the bytes
    are unknown. Raises UserError for values of the wrong kind.
    """
    try:
        stated = None
        may_say = (*QUANTIZATION_KEYS, "expert_dtype")
        if side_file is not None or any(
            value is not None and (key in may_say or speaks_of_storage(key)) for key, value in values.items()
        ):
            from moewright.hf.quantization import scheme  # only where there is something to read

            stated = scheme(values, side_file, model_type)
        source = SIDE_FILE if side_file is not None and "quantization_config" not in values else "config.json"
        if stated is None and (word := re.search(_QUANTIZED_NAME, name)):
            written = word[0].strip("-_.")
            raise UnknownStorageError(f"the name says {written}, the config names no quantisation")
        rest = _rest_format(values, stated)
        blocks = 0 if model_type in _WITHOUT_PREDICTION else architecture.mtp_layers
        if _has_unused(architecture) and transformers_major(values) >= 5:
            raise UnknownStorageError("the config does not say whether files hold weights that nothing uses")
        if stated is None:
            model, prediction = _all_in(rest, architecture, blocks)
        else:
            from moewright.hf.quantized_weights import count_quantized

            model, prediction = count_quantized(architecture, model_type, stated, rest, blocks)
        if model_type in _COPIED_FOR_PREDICTION:
            prediction.add(_copies_for_prediction(architecture, rest, blocks))
        return Published(model, prediction, source, () if stated is None else stated.notes)
    except UnknownStorageError as error:
        return unknown(str(error))


def published_as_spec_says(architecture: Architecture) -> Published:
    """The weights of a moewright file, which names one format or none."""
    stated = architecture.weights_format
    if stated is None:
        return Published(None, StoredModel(), "the architecture file")
    stored = weight_formats.WEIGHT_FORMATS[stated]
    model, prediction = StoredModel(), StoredModel()
    for times, weight in [
        *((1, weight) for weight in outer_weights(architecture)),
        *(
            (times, weight)
            for times, layer in architecture.layer_runs()
            for weight in layer_weights(architecture, layer)
        ),
    ]:
        model.add([_in_named_format(weight, stored, times)])
    prediction.add(_in_named_format(weight, stored, architecture.mtp_layers) for weight in mtp_weights(architecture))
    return Published(model, prediction, "the architecture file")


def _in_named_format(weight: Weight[int], stored: weight_formats.WeightFormat, times: int) -> StoredTensors:
    name = stored.name if stored.quantizes(weight) or stored.quantized == "nothing" else "bf16"
    return StoredTensors(weight.component, name, times * weight.params, times * stored.weight_bytes(weight))


def _rest_format(values: Mapping[str, Any], stated: Scheme | None) -> TensorFormat:
    named, older = values.get("dtype"), values.get("torch_dtype")
    if named is not None and older is not None and _bare(named) != _bare(older):
        raise UnknownStorageError(f"dtype {brief(named)} contradicts torch_dtype {brief(older)}")
    named = named or older
    if isinstance(named, str) and _bare(named) in DTYPES:
        return PLAIN_FORMATS[DTYPES[_bare(named)]]
    if stated is not None and stated.rest_dtype is not None:
        return PLAIN_FORMATS[stated.rest_dtype]
    if named is None or named == "auto":
        what = "what is not quantised" if stated is not None else "its weights"
        raise UnknownStorageError(f"the config names no dtype for {what}")
    raise UnknownStorageError(f"dtype {brief(named)} is not understood")


def _bare(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")


def _has_unused(architecture: Architecture) -> bool:
    """Whether transformers makes weights that nothing uses; the publisher's own files do not have them."""
    layers = (layer for _, layer in architecture.layer_runs())
    return any(weight.name == UNUSED for layer in layers for weight in layer_weights(architecture, layer))


def _all_in(stored: TensorFormat, architecture: Architecture, blocks: int) -> tuple[StoredModel, StoredModel]:
    """A model in one format without scales, and its prediction blocks."""
    model, prediction = StoredModel(), StoredModel()
    model.add(plainly_stored(weight, stored, 1) for weight in outer_weights(architecture))
    for times, layer in architecture.layer_runs():
        held = (weight for weight in layer_weights(architecture, layer) if weight.name != UNUSED)
        model.add(plainly_stored(weight, stored, times) for weight in held)
    prediction.add(plainly_stored(weight, stored, blocks) for weight in mtp_weights(architecture))
    return model, prediction


def _copies_for_prediction(architecture: Architecture, stored: TensorFormat, blocks: int) -> Iterator[StoredTensors]:
    """Embedding and head, which some files hold once more for each prediction block: bytes without parameters."""
    for weight in outer_weights(architecture):
        if weight.use in ("lookup", "matmul") and weight.component in ("embedding", "lm_head"):
            yield plainly_stored(weight, stored, blocks)._replace(params=0)


# Files that repeat embedding and head beside the prediction block: DeepSeek-V3's README_WEIGHTS.md lists
# model.layers.61.embed_tokens and .shared_head.head; GLM-4.5's have them too. GLM-5's lists of what is not fp8 do not.
_COPIED_FOR_PREDICTION = frozenset({"deepseek_v3", "deepseek_v32", "glm4_moe"})

# Families whose configs speak of prediction blocks that the published files do not hold: MiniMax-M2's card counts 230B,
# which is the model without.
_WITHOUT_PREDICTION = frozenset({"minimax_m2"})
