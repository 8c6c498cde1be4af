"""What the target tools make of an export: each parses its file and counts the parameters of the model that it builds.

Only for environments where the tool is installed; everything runs on a CPU, with the weights on the meta device.
"""

import importlib.util
import json
import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from moewright.exporters.exported import Export

PACKAGES = {"hf": "transformers", "megatron": "megatron.core", "olmo-core": "olmo_core", "torchtitan": "torchtitan"}


def count_hf(exported: Export) -> int:
    """transformers' module; its causal-LM classes have no prediction blocks."""
    from tests.hf import oracle

    config = json.loads(exported.files["config.json"])
    return oracle.count(oracle.build(config.pop("model_type"), config)) + exported.mtp_params


def count_olmo_core(exported: Export) -> int:
    """TransformerConfig.num_params, which must equal the built module's."""
    from olmo_core.nn.transformer import TransformerConfig

    config = TransformerConfig.from_dict(json.loads(exported.files["olmo_core_config.json"]))
    built = _count(config.build(init_device="meta"))
    return built if config.num_params == built else -1


def count_torchtitan(exported: Export) -> int:
    """The module of the exported Config."""
    config = load_torchtitan(exported).model_config()
    with torch.device("meta"):
        return _count(config.build())


def load_torchtitan(exported: Export) -> Any:
    """The exported module, imported from a folder."""
    with tempfile.TemporaryDirectory() as folder:
        for name, contents in exported.files.items():
            (Path(folder) / name).write_text(contents)
        spec = importlib.util.spec_from_file_location("exported", f"{folder}/moewright_torchtitan.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


def count_megatron(exported: Export) -> int:
    """GPTModel built from the settings with megatron-core's own layers, without Transformer Engine."""
    from megatron.core.models.gpt.gpt_layer_specs import get_gpt_decoder_block_spec, get_gpt_mtp_block_spec
    from megatron.core.models.gpt.gpt_model import GPTModel
    from megatron.core.transformer.identity_op import IdentityOp

    prepare_megatron()
    _stand_in_for_latent_projections()
    settings = json.loads(exported.files["megatron_config.json"])
    config = megatron_config(settings)
    block = get_gpt_decoder_block_spec(config, use_transformer_engine=False, normalization=config.normalization)
    if config.multi_latent_attention:
        # megatron-core's own attention product takes no head sizes of latent attention; it has no weights.
        for layer in block.layer_specs:
            layer.submodules.self_attention.submodules.core_attention = IdentityOp
    mtp = get_gpt_mtp_block_spec(config, block, use_transformer_engine=False) if config.mtp_num_layers else None
    with torch.device("meta"):
        return _count(GPTModel(config, block, mtp_block_spec=mtp, **settings["gpt_model"]))


def megatron_config(settings: dict[str, Any]) -> Any:
    """The TransformerConfig of the settings, the activation by its function."""
    from megatron.core.activations import squared_relu
    from megatron.core.transformer import MLATransformerConfig, TransformerConfig

    functions = {"silu": torch.nn.functional.silu, "gelu": torch.nn.functional.gelu, "relu2": squared_relu}
    values = dict(settings["transformer_config"])
    values["activation_func"] = functions[values["activation_func"]]
    kind = MLATransformerConfig if values.get("multi_latent_attention") else TransformerConfig
    return kind(**values, use_cpu_initialization=True, perform_initialization=False, transformer_impl="local")


def prepare_megatron() -> None:
    """One process, no GPU, no Transformer Engine: what megatron-core needs to build latent attention like that."""
    from megatron.core import parallel_state
    from megatron.core.transformer import multi_latent_attention

    if parallel_state.model_parallel_is_initialized():
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    torch.distributed.init_process_group("gloo", rank=0, world_size=1)
    parallel_state.initialize_model_parallel()
    torch.cuda.current_device = lambda: "cpu"  # type: ignore[assignment,return-value]  # YaRN's tables ask for it
    for name in ("TELinear", "TEColumnParallelLinear"):
        if not isinstance(getattr(multi_latent_attention, name), type):  # a stand-in that isinstance() refuses
            setattr(multi_latent_attention, name, type(name, (), {}))


def _stand_in_for_latent_projections() -> None:
    """megatron-core takes the projections around latent experts from Transformer Engine: plain ones of their sizes."""
    from megatron.core.transformer.moe import moe_layer

    class Duplicated(torch.nn.Linear):
        def __init__(self, inputs: int, outputs: int, *, bias: bool, **others: Any) -> None:
            super().__init__(inputs, outputs, bias=bias)

    moe_layer.HAVE_TE, moe_layer.TELinear = True, Duplicated


def _count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


COUNTERS: dict[str, Callable[[Export], int]] = {
    "hf": count_hf,
    "megatron": count_megatron,
    "olmo-core": count_olmo_core,
    "torchtitan": count_torchtitan,
}
