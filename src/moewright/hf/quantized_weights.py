"""What weights take where a config says how they are quantised: each matrix by its name in the files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from moewright.architecture.counts import mtp_weights
from moewright.architecture.inventory import UNUSED, Weight, layer_weights, outer_weights
from moewright.architecture.spec import Architecture
from moewright.architecture.tensor_formats import (
    StoredModel,
    StoredTensors,
    TensorFormat,
    UnknownStorageError,
    plainly_stored,
)
from moewright.hf.module_names import Module, Naming, layer_modules, naming, outer_modules, under_all_names
from moewright.hf.module_patterns import unknown_entries
from moewright.hf.quantization import Scheme
from moewright.quantities import brief


def count_quantized(
    architecture: Architecture, model_type: str, stated: Scheme, rest: TensorFormat, blocks: int
) -> tuple[StoredModel, StoredModel]:
    """A model as a quantiser stores it, and so many prediction blocks; `rest` is the format of what it leaves alone.

    Raises UnknownStorageError where the scheme does not say enough.
    """
    names = naming(model_type)
    if blocks and stated.without_prediction and not _names_prediction(stated, architecture.num_layers):
        raise UnknownStorageError("the config does not say whether the files hold the prediction blocks")
    model, prediction = StoredModel(), StoredModel()
    for weight in outer_weights(architecture):
        model.add(_stored(weight, outer_modules(weight), stated, rest, 1))
    one_by_one = ((1, layer) for layer in architecture.iter_layers())
    for index, (times, layer) in enumerate(one_by_one if stated.by_name else architecture.layer_runs()):
        for weight in layer_weights(architecture, layer):
            if weight.name != UNUSED and weight.held:
                modules = layer_modules(weight, layer.mixer, f"layers.{index}", names)
                model.add(_stored(weight, modules, stated, rest, times))
    for block in range(blocks):
        prediction.add(_prediction_block(architecture, block, names, stated, rest))
    lists = [stated.kept, *(patterns for patterns, _ in stated.special)]
    strange = [entry for patterns in lists for entry in unknown_entries(patterns, architecture.num_layers)]
    if strange:
        raise UnknownStorageError(
            f"its list of modules names {brief(strange[0])}"
            + (f" and {len(strange) - 1} more" if len(strange) > 1 else "")
            + ", which fits no matrix that moewright counts"
        )
    return model, prediction


def _names_prediction(stated: Scheme, num_layers: int) -> bool:
    """Whether a list of modules names a prediction block, as lists made from the files do."""
    entries = [entry for patterns in (stated.kept, *(each for each, _ in stated.special)) for entry in patterns.entries]
    layers = (re.search(r"\blayers\\?\.(\d+)", entry) for entry in entries)
    return any("mtp" in entry for entry in entries) or any(
        layer is not None and int(layer[1]) >= num_layers for layer in layers
    )


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
        yield plainly_stored(weight, rest, times)
        return
    for module in modules:
        for copies, own in stated.split(module):
            stored = own or rest
            number = times * copies
            size = stored.matrix_bytes(module.outputs, module.inputs)
            yield StoredTensors(weight.component, stored.name, number * module.outputs * module.inputs, number * size)
