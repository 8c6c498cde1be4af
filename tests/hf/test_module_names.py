"""What lists of modules are asked for: the names of every matrix, against those in the modules of transformers."""

import random
import re

import pytest

import moewright
from moewright.architecture.inventory import Component, layer_weights
from moewright.hf.config import read_config
from moewright.hf.module_names import layer_modules, naming
from tests.hf import oracle
from tests.hf.samplers import SAMPLERS

OTHER_NAMES = {
    **dict.fromkeys(("dbrx", "jetmoe"), "names layers and parts in its own way, and no published file lists them"),
    **dict.fromkeys(("inkling2_text", "inkling2_loop_text", "zaya"), "has matrices that no list can be asked for"),
    "doge": "keeps its experts as embeddings, which no quantiser takes",
    "longcat_flash": "two layers of ours are one of its own, so that a layer's number is another",
}


@pytest.mark.parametrize("family", sorted(set(SAMPLERS) - OTHER_NAMES.keys()))
def test_every_matrix_has_a_name_that_transformers_knows(family: str) -> None:
    r = random.Random(f"names {family}")
    for _ in range(3):
        module = oracle.build(family, SAMPLERS[family](r))
        known = set()
        for name, _ in module.named_parameters():
            below = re.sub(r"^.*?(?=layers\.)", "", name).removesuffix(".weight")
            known.add(re.sub(r"experts\.\d+\.", "experts.", below))
        read = read_config(oracle.saved_config(module))
        for index, layer in enumerate(read.architecture.iter_layers()):
            for weight in layer_weights(read.architecture, layer):
                if weight.use not in ("matmul", "lookup"):
                    continue
                for each in layer_modules(weight, layer.mixer, f"layers.{index}", naming(read.family.model_type)):
                    assert each.kind in ("kept", "unnamed") or known & set(each.names), (weight.name, each.names)


def test_a_branch_beside_the_experts_is_not_the_experts() -> None:
    """Gemma 4's experts lie beside `mlp`, which is its dense branch: lists that keep one do not keep the other."""
    r = random.Random("gemma")
    drawn = (oracle.saved_config(oracle.build("gemma4_text", SAMPLERS["gemma4_text"](r))) for _ in range(20))
    values = next(each for each in drawn if each["enable_moe_block"]) | {"dtype": "bfloat16"}
    read = moewright.inspect(values)
    branches: tuple[Component, Component] = ("routed_experts", "dense_ffn")
    for kept, component, other in (("mlp*", *branches), ("experts*", *branches[::-1])):
        listed = [f"model.language_model.layers.{layer}.{kept}" for layer in range(read.architecture.num_layers)]
        listed += ["*self_attn*", "*per_layer*", "lm_head"]
        settings = {"quant_method": "fp8", "weight_block_size": [1, 128], "modules_to_not_convert": listed}
        found = moewright.inspect({**values, "quantization_config": settings}).published.model
        assert found is not None
        assert found.bytes[component] < 2 * found.params[component]
        assert found.bytes[other] == 2 * found.params[other]
