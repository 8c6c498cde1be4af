"""Specs and configs of many designs as texts with places for the sizes, so that a page can hand any of them out."""

import json
import re
from typing import Any

import numpy as np

from moewright.designs.candidates import Candidates, build_design, family_of
from moewright.designs.space import LayerPlan, Space
from moewright.hf import to_config
from moewright.plain_values import dump_yaml
from moewright.report.page.layer_picture import DrawnLayers

# Numbers that stand for sizes, and occur as nothing else in a spec or a config.
_STANDS_FOR = {
    "hidden_size": 100_003,
    "num_layers": 971,
    "num_heads": 2038,
    "num_kv_heads": 1019,
    "head_dim": 1013,
    "num_experts": 10_007,
    "top_k": 5003,
    "expert_size": 7001,
}
_EACH_LAYER = "{each of num_layers}"


def design_templates(designs: Candidates, space: Space, context: int) -> dict[str, dict[str, str]]:
    """By `DENSE_FIRST+SHARED_EXPERTS`: `spec` and `config`, where {size} stands for a size.

    `picture` is what `assets/layers.js` draws, as JSON. Besides the sizes there are {moe_layers}, {dense_size} and
    {latent_size}. An entry of a list that a config has for each layer is written once, with `{each of num_layers}`
    before it. A family that has no such config has none. Where layers see windows in a pattern the number of layers
    stands in the key too, as `DENSE_FIRST+SHARED_EXPERTS+LAYERS`.
    """
    (plan,) = designs.plans
    kinds = [designs.dense_first, designs.shared_experts, *([designs.num_layers] if plan.window else [])]
    return {
        "+".join(map(str, kind)): _template(*kind, space=space, plan=plan, context=context)
        for kind in np.unique(np.stack(kinds, axis=1), axis=0).tolist()
    }


def _template(
    first: int, shared: int, layers: int | None = None, *, space: Space, plan: LayerPlan, context: int
) -> dict[str, str]:
    sizes = {**_STANDS_FOR, "dense_first": first, "shared_experts": shared, "layer_plan": 0}
    if layers is not None:
        sizes["num_layers"] = layers
    columns: dict[str, Any] = {name: np.array([size]) for name, size in sizes.items()}
    design = build_design(Candidates(**columns, plans=(plan,)), space, context)
    sizes["dense_size"] = (sizes["top_k"] + shared) * sizes["expert_size"]
    if layers is None:
        sizes["moe_layers"] = sizes["num_layers"] - first
    else:
        del sizes["num_layers"]
    if plan.latent_experts:
        sizes["latent_size"] = int(plan.latent_size(sizes["hidden_size"]))
    picture = json.dumps(DrawnLayers.of(design).to_dict())
    found = {
        "picture": _with_places(picture, sizes),
        "spec": _with_places(dump_yaml(design.to_dict(defaults=False)), sizes),
    }
    family = family_of(shared, space.target, plan)
    if family is None:
        return found
    config = to_config(design, family)
    if layers is not None:
        return {**found, "config": _with_places(json.dumps(config, indent=2), sizes)}
    once = {name: _once(value, sizes["num_layers"]) for name, value in config.items()}
    return {**found, "config": _with_places(json.dumps(once, indent=2), sizes)}


def _once(value: Any, num_layers: int) -> Any:
    is_of_layers = isinstance(value, list) and len(value) == num_layers and len(set(value)) == 1
    return [f"{_EACH_LAYER}{value[0]}"] if is_of_layers else value


def _with_places(text: str, sizes: dict[str, int]) -> str:
    names = {size: name for name, size in sizes.items() if name not in ("dense_first", "shared_experts", "layer_plan")}

    def place(number: re.Match[str]) -> str:
        name = names.get(int(number[0]))
        return number[0] if name is None else f"{{{name}}}"

    return re.sub(r"(?<!\d)\d+(?!\d)", place, text)
