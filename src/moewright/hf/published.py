"""What the published weights of a model take as they are stored: from its config alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from moewright.architecture import weight_formats
from moewright.architecture.counts import mtp_weights
from moewright.architecture.inventory import UNUSED, Weight, layer_weights, outer_weights
from moewright.architecture.spec import Architecture
from moewright.architecture.tensor_formats import PLAIN_FORMATS, StoredModel, StoredTensors, TensorFormat
from moewright.hf.module_names import Module, Naming, layer_modules, naming, outer_modules, under_all_names
from moewright.hf.module_patterns import unknown_entries
from moewright.hf.parts import DTYPES
from moewright.hf.quantization import Scheme, UnknownStorageError, scheme
from moewright.quantities import brief

# Words of repositories' names that say that the weights are quantised.
_QUANTIZED_NAME = re.compile(
    r"(?:^|[-_.])(?:fp8|fp4|nvfp4|mxfp[48]|int[48]|w[48]a(?:8|16)|awq|gptq|bnb|gguf|[2-8]-?bits?|q[2-8])(?:$|[-_.])",
    re.I,
)


@dataclass(frozen=True)
class Published:
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
        stated = scheme(values, side_file, model_type)
        source = (
            "hf_quant_config.json" if side_file is not None and "quantization_config" not in values else "config.json"
        )
        if stated is None and (word := _QUANTIZED_NAME.search(name)):
            written = word[0].strip("-_.")
            raise UnknownStorageError(f"the name says {written}, the config names no quantisation")
        rest = _rest_format(values, stated)
        return _count(architecture, model_type, values, stated or Scheme({}), rest, source)
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
    named = values.get("dtype") or values.get("torch_dtype")
    if isinstance(named, str) and named.removeprefix("torch.") in DTYPES:
        return PLAIN_FORMATS[DTYPES[named.removeprefix("torch.")]]
    if stated is not None and stated.rest_dtype is not None:
        return PLAIN_FORMATS[stated.rest_dtype]
    if named is None or named == "auto":
        what = "what is not quantised" if stated is not None else "its weights"
        raise UnknownStorageError(f"the config names no dtype for {what}")
    raise UnknownStorageError(f"dtype {brief(named)} is not understood")


def _transformers_major(values: Mapping[str, Any]) -> int:
    """Of the version that wrote a config; 0 where it does not say."""
    major = str(values.get("transformers_version")).split(".")[0]
    return int(major) if major.isdecimal() and len(major) < 4 else 0


def _count(
    architecture: Architecture,
    model_type: str,
    values: Mapping[str, Any],
    stated: Scheme,
    rest: TensorFormat,
    source: str,
) -> Published:
    names = naming(model_type)
    blocks = 0 if model_type in _WITHOUT_PREDICTION else architecture.mtp_layers
    if blocks and stated.without_prediction and not _names_prediction(stated, architecture.num_layers):
        raise UnknownStorageError("the config does not say whether the files hold the prediction blocks")
    model, prediction = StoredModel(), StoredModel()
    for weight in outer_weights(architecture):
        model.add(_stored(weight, outer_modules(weight), stated, rest, 1))
    one_by_one = ((1, layer) for layer in architecture.iter_layers())
    for index, (times, layer) in enumerate(one_by_one if stated.by_name else architecture.layer_runs()):
        for weight in layer_weights(architecture, layer):
            if weight.name == UNUSED:
                if _transformers_major(values) >= 5:
                    raise UnknownStorageError("the config does not say whether files hold weights that nothing uses")
                continue  # transformers makes them; the publisher's files do not have them
            model.add(
                _stored(weight, layer_modules(weight, layer.mixer, f"layers.{index}", names), stated, rest, times)
            )
    for block in range(blocks):
        prediction.add(_prediction_block(architecture, block, names, stated, rest))
        if model_type in _COPIED_FOR_PREDICTION:
            for weight in outer_weights(architecture):
                if weight.use in ("lookup", "matmul") and weight.component in ("embedding", "lm_head"):
                    prediction.add([StoredTensors(weight.component, rest.name, 0, weight.params * rest.bits // 8)])
    lists = [stated.kept, *(patterns for patterns, _ in stated.special)]
    strange = [entry for patterns in lists for entry in unknown_entries(patterns, architecture.num_layers)]
    if strange:
        raise UnknownStorageError(
            f"its list of modules names {brief(strange[0])}"
            + (f" and {len(strange) - 1} more" if len(strange) > 1 else "")
            + ", which fits no matrix that moewright counts"
        )
    return Published(model, prediction, source)


def _names_prediction(stated: Scheme, num_layers: int) -> bool:
    """Whether a list of modules names a prediction block, as lists made from the files do."""
    entries = [entry for patterns in (stated.kept, *(each for each, _ in stated.special)) for entry in patterns.entries]
    layers = (re.search(r"\blayers\\?\.(\d+)", entry) for entry in entries)
    return any("mtp" in entry for entry in entries) or any(
        layer is not None and int(layer[1]) >= num_layers for layer in layers
    )


# Files that repeat embedding and head beside the prediction block: DeepSeek-V3's README_WEIGHTS.md lists
# model.layers.61.embed_tokens and .shared_head.head; GLM-4.5's have them too. GLM-5's lists of what is not fp8 do not.
_COPIED_FOR_PREDICTION = frozenset({"deepseek_v3", "deepseek_v32", "glm4_moe"})

# Families whose configs speak of prediction blocks that the published files do not hold: MiniMax-M2's card counts 230B,
# which is the model without.
_WITHOUT_PREDICTION = frozenset({"minimax_m2"})


def _prediction_block(
    architecture: Architecture, block: int, names: Naming, stated: Scheme, rest: TensorFormat
) -> Iterator[StoredTensors]:
    _, last = architecture.layer_runs()[-1]
    for weight in mtp_weights(architecture):
        prefixes = (f"layers.{architecture.num_layers + block}", f"mtp.layers.{block}", f"mtp.{block}")
        modules = under_all_names(list(layer_modules(weight, last.mixer, prefix, names)) for prefix in prefixes)
        yield from _stored(weight, modules, stated, rest, 1)


def _stored(
    weight: Weight[int], modules: Iterable[Module], stated: Scheme, rest: TensorFormat, times: int
) -> Iterator[StoredTensors]:
    """The tensors that hold a weight; what is no matrix stays in the model's dtype."""
    if weight.use not in ("matmul", "lookup"):
        yield StoredTensors(weight.component, rest.name, times * weight.params, times * weight.params * rest.bits // 8)
        return
    for module in modules:
        for copies, own in stated.split(module):
            stored = own or rest
            number = times * copies
            size = stored.matrix_bytes(module.outputs, module.inputs)
            yield StoredTensors(weight.component, stored.name, number * module.outputs * module.inputs, number * size)
