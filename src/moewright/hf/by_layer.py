"""Sizes that a config states layer by layer: as lists, or as `block_configs` of models that a search has pruned.

A family's reader knows one size for all layers, so the config is read once for each combination of sizes, and each
layer is taken from the reading with its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from moewright.architecture.feed_forwards import NoFeedForward
from moewright.architecture.mixers import NoMixer
from moewright.architecture.spec import LARGEST_LAYER_COUNT, Architecture, repeat_compactly
from moewright.errors import UserError
from moewright.hf.config_reader import Family
from moewright.quantities import brief

BLOCKS, PREDICTION_BLOCKS = "block_configs", "mtp_block_configs"
_SIZES = frozenset(
    """
    num_experts num_local_experts n_routed_experts moe_num_experts num_experts_per_tok num_experts_per_token moe_topk
    moe_top_k experts_per_token n_shared_experts num_shared_experts moe_intermediate_size intermediate_size
    shared_expert_intermediate_size moe_shared_expert_intermediate_size num_attention_heads num_key_value_heads
    """.split()  # noqa: SIM905
)
_LAYER_COUNTS = ("num_hidden_layers", "n_layers", "num_layers")
_EXPERTS = ("num_experts", "n_routed_experts", "moe_num_experts", "num_local_experts")
_MOST_LAYERS_READ = 20_000
"""Layers of all readings together: 140 layers of which no two are alike. Each reading makes all layers."""


class Layers(NamedTuple):
    """What a config says of each layer, and of all of them."""

    common: dict[str, Any]
    overrides: list[dict[str, Any]]
    without: list[tuple[bool, bool]]
    """Whether a layer has no mixer, and whether it has no feed-forward."""
    prediction: list[dict[str, Any]]
    """Overrides of the layers of a prediction block."""


def stated_by_layer(values: Mapping[str, Any], family: Family) -> Layers | None:
    """What differs between layers; None where a config has neither blocks nor lists of sizes. Raises UserError."""
    lists = {key: value for key, value in values.items() if key in _SIZES and _is_list_of_sizes(value)}
    blocks = values.get(BLOCKS)
    if blocks is None and not lists:
        return None
    common = {key: value for key, value in values.items() if key not in (BLOCKS, PREDICTION_BLOCKS, *lists)}
    halves = [] if blocks is None else _each_block(blocks, BLOCKS, common)
    stated = next((values[key] for key in _LAYER_COUNTS if isinstance(values.get(key), int)), len(halves))
    number = stated if blocks is None else len(halves)
    if not (stated or number):
        raise UserError(f"{_LAYER_COUNTS[0]}: missing, and {', '.join(lists) or BLOCKS} says it of each layer")
    if not 0 < number <= LARGEST_LAYER_COUNT or number != stated:
        raise UserError(f"{BLOCKS}: has {len(halves)} entries for {brief(stated)} layers")
    halves = halves or [({}, (False, False)) for _ in range(number)]
    for key, value in lists.items():
        if len(value) != number:
            raise UserError(f"{key}: has {len(value)} entries for {number} layers")
        for (override, _), size in zip(halves, value, strict=True):
            override[key] = size
    predicted = values.get(PREDICTION_BLOCKS) or []
    prediction = [override for override, _ in _each_block(predicted, PREDICTION_BLOCKS, common)]
    if blocks is not None:
        _kinds_from_blocks(blocks, common)
        _kinds_from_blocks(predicted, common, "mtp_")
    overrides = [_by_family(override, family) for override, _ in halves]
    prediction = [_by_family(override, family) for override in prediction]
    own = {key for override in (*overrides, *prediction) for key in override}
    common = {key: value for key, value in common.items() if family.aliases.get(key, key) not in own} | {
        # A layer that says nothing of a size that others state has the config's, else one that it has no use for.
        key: next((common[k] for k in common if family.aliases.get(k, k) == key and common[k] is not None), None)
        for key in own
    }
    for override in (*overrides, *prediction):
        for key, size in override.items():
            common[key] = size if common[key] is None else common[key]
    return Layers(common, overrides, [half for _, half in halves], prediction)


def read_by_layer(layers: Layers, read: Callable[[dict[str, Any]], Architecture]) -> Architecture:
    """The architecture of which each layer has its own sizes. Raises UserError."""
    both = layers.overrides, layers.prediction
    keys, ahead = ([json.dumps(override, sort_keys=True) for override in part] for part in both)
    different = dict(zip((*keys, *ahead), (*layers.overrides, *layers.prediction), strict=True))
    number = len(keys)
    if len(different) * number > _MOST_LAYERS_READ:
        raise UserError(f"{len(different)} of {number} layers have sizes of their own: more than can be read")
    whole = {key: read(layers.common | override) for key, override in different.items()}
    written = {key: list(architecture.iter_layers()) for key, architecture in whole.items()}
    if unlike := [len(each) for each in written.values() if len(each) != number]:
        raise UserError(f"sizes by layer: this family makes {unlike[0]} layers of {number}")
    last = whole[keys[-1]]
    if any(_without_layers(each) != _without_layers(last) for each in whole.values()):
        raise UserError(f"{BLOCKS}: models with the sizes of each layer differ in more than their layers")
    found = []
    for index, (key, without) in enumerate(zip(keys, layers.without, strict=True)):
        layer = written[key][index]
        if without == (True, True):
            continue  # without either half it has no weights
        if any(without):
            mixer = NoMixer() if without[0] else layer.mixer
            layer = layer.model_copy(
                update={"mixer": mixer, "feed_forward": NoFeedForward() if without[1] else layer.feed_forward}
            )
        found.append(layer)
    if not found or any(isinstance(x.mixer, NoMixer) and isinstance(x.feed_forward, NoFeedForward) for x in found):
        raise UserError(f"{BLOCKS}: no layer has a half, or one that has none already loses the other")
    changes: dict[str, Any] = {"layers": repeat_compactly(found)}
    if last.mtp_layers:
        block = last.mtp_block or (written[keys[-1]][-1],)
        for index, key in enumerate(ahead[: len(block)]):
            other = whole[key].mtp_block
            if other is not None:
                block = (*block[:index], other[index], *block[index + 1 :])
        changes["mtp_block"] = None if block == (found[-1],) else block
    return last.model_copy(update=changes)


def _without_layers(architecture: Architecture) -> dict[str, Any]:
    """What all layers have together."""
    return {name: value for name, value in architecture if name not in ("layers", "mtp_block")}


def _is_list_of_sizes(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(item) is int for item in value)


def _each_block(blocks: Any, key: str, common: Mapping[str, Any]) -> list[tuple[dict[str, Any], tuple[bool, bool]]]:
    if not isinstance(blocks, list) or len(blocks) > LARGEST_LAYER_COUNT:
        raise UserError(f"{key}: expected a list of mappings, one for each layer")
    return [_from_block(block, f"{key}[{i}]", common) for i, block in enumerate(blocks)]


def _from_block(block: Any, where: str, common: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[bool, bool]]:
    """The overrides of one block, and which halves it lacks. Nested sections are those of NVIDIA's puzzletron (vLLM's
    anymodel.py), flat ones of its published models (NemotronHPuzzleConfig)."""
    if not isinstance(block, dict):
        raise UserError(f"{where}: expected a mapping, found {brief(block)}")
    override = {k: v for k, v in block.items() if k not in ("attention", "ffn", "block_type") and v is not None}
    attention, ffn = (_section(block, name, where) for name in ("attention", "ffn"))
    for key, value in attention.items():
        if key == "n_heads_in_group":
            heads = common.get("num_attention_heads")
            if type(value) is not int or type(heads) is not int or value < 1 or heads % value:
                raise UserError(f"{where}.attention.{key}: does not divide the {brief(heads)} heads")
            override["num_key_value_heads"] = heads // value
        elif key in ("num_key_value_heads", "num_attention_heads", "sliding_window"):
            override[key] = value
        elif key != "no_op":
            raise UserError(f"{where}.attention.{key}: is not understood")
    for key, value in ffn.items():
        if key in ("intermediate_size", "hidden_act"):
            override[key] = value
        elif key == "moe":
            override |= dict(_experts(value, where, common))
        elif key != "no_op":
            raise UserError(f"{where}.ffn.{key}: is not understood")
    return override, (attention.get("no_op") is True, ffn.get("no_op") is True)


def _section(block: dict[str, Any], name: str, where: str) -> dict[str, Any]:
    section = block.get(name)
    if section is not None and not isinstance(section, dict):
        raise UserError(f"{where}.{name}: expected a mapping, found {brief(section)}")
    return {key: value for key, value in (section or {}).items() if value not in (None, False)}


def _experts(moe: Any, where: str, common: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    if not isinstance(moe, dict):
        raise UserError(f"{where}.ffn.moe: expected a mapping, found {brief(moe)}")
    for key, value in moe.items():
        if value is None:
            continue
        if key == "num_local_experts":
            yield next((name for name in _EXPERTS if name in common), key), value
        elif key == "expert_intermediate_dim":
            yield "moe_intermediate_size" if "moe_intermediate_size" in common else "intermediate_size", value
        elif key in ("num_experts_per_tok", "shared_expert_intermediate_size"):
            yield key, value
        else:
            raise UserError(f"{where}.ffn.moe.{key}: is not understood")


def _kinds_from_blocks(blocks: Sequence[Any], common: dict[str, Any], prefix: str = "") -> None:
    """Where blocks say what each layer is, and nothing else does."""
    names = (f"{prefix}layers_block_type", f"{prefix}hybrid_override_pattern", "layer_types")
    kinds = [block.get("block_type") for block in blocks]
    if kinds and None not in kinds and all(common.get(name) is None for name in names[: None if not prefix else 2]):
        common[names[0]] = kinds


def _by_family(override: Mapping[str, Any], family: Family) -> dict[str, Any]:
    return {family.aliases.get(key, key): value for key, value in override.items()}
