"""The whole of an inspection is the sum of its parts, on every family."""

import random

import pytest

import moewright
from tests.hf import oracle
from tests.hf.samplers import SAMPLERS


@pytest.mark.parametrize("family", sorted(SAMPLERS))
def test_layers_and_components_add_up(family: str) -> None:
    r = random.Random(f"inspection {family}")
    for _ in range(5):
        config = oracle.saved_config(oracle.build(family, SAMPLERS[family](r)))
        found = moewright.inspect(config, tokens_per_sequence=9, kv_dtype="fp8", weights_dtype="fp8")
        a = found.architecture
        # Outside the layers: embedding, head with its bias, final norm, what merges residual streams and what gives
        # each layer an input of its own.
        outside = {"embedding", "lm_head"}
        for component in set(found.params) - outside - {"norm", "other"}:
            assert found.params[component] == sum(run.count * run.params[component] for run in found.layers)
            assert found.active[component] == sum(run.count * run.active[component] for run in found.layers)
        final_norm = a.hidden_size * (2 if a.norm.bias else 1)
        beside = a.per_layer_input.size if a.per_layer_input else 0
        own = sum(weight.outputs * weight.copies for weight in a.own_weights if weight.component == "norm")
        in_norms = sum(run.count * run.params["norm"] for run in found.layers)
        assert found.params["norm"] == final_norm + beside + own + in_norms
        by_component = found.forward_flops_by_component
        in_layers = sum(run.count * run.forward_flops for run in found.layers)
        streams = a.hyper_connections if a.merges_streams else 0
        merging = 2 * streams**2 * a.hidden_size + 2 * a.num_layers * beside * a.hidden_size
        merging += sum(
            2 * weight.outputs * weight.inputs * weight.copies * weight.times
            for weight in a.own_weights
            if weight.use in ("matmul", "convolution")
        )
        assert sum(by_component.values()) == pytest.approx(in_layers + by_component["lm_head"] + merging)
        assert by_component["lm_head"] == 2 * (a.lm_head_rows or a.vocab_size) * a.hidden_size
        per_token = sum(run.count * run.kv_bytes_per_token for run in found.layers)
        assert found.kv_bytes_per_token["latent"] == pytest.approx(per_token)
        outer_bytes = found.weights_bytes["fp8"] - sum(run.count * run.weights_bytes for run in found.layers)
        outer_params = found.total_params - sum(run.count * sum(run.params.values()) for run in found.layers)
        assert outer_bytes == 2 * outer_params  # nothing outside the layers is stored in fp8
