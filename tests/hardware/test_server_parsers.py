"""What `plan --serve` prints, through the servers' own parsers.

SGLang's wheel brings its parser: unpack it (`pip download --no-deps sglang`) and the light packages that it imports
into a folder on PYTHONPATH, beside any torch (tried with 0.5.23). vLLM's wheel is read, not run: the options of
vllm/engine/arg_utils.py and the formats of its configuration (tried with 0.33.0).
"""

import argparse
import ast
import importlib.util
import shlex
from collections.abc import Iterator
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any

import pytest

import moewright
from moewright.architecture.cache import CACHE_BYTES
from moewright.architecture.weight_formats import WEIGHT_FORMATS
from moewright.hardware.serving_record import ServingLayoutRecord, ServingPlanRecord

CASES: list[tuple[str, dict[str, Any]]] = [
    ("qwen3-30b-a3b", {"hardware": "H100", "devices": 4, "batch": 16}),
    ("deepseek-v3", {"hardware": "H200", "devices": 16, "weights_dtype": "fp8", "draft_tokens": 1, "acceptance": 0.8}),
    ("olmoe-1b-7b", {"hardware": "H100", "devices": 8, "layout": "tp=2,dp=2,ep=4"}),
    ("olmoe-1b-7b", {"hardware": "H100", "devices": 8, "layout": "tp=2,pp=4"}),
    *(("olmoe-1b-7b", {"hardware": "H100", "devices": 2, "weights_dtype": name}) for name in WEIGHT_FORMATS),
    *(("olmoe-1b-7b", {"hardware": "H100", "devices": 2, "kv_dtype": name}) for name in CACHE_BYTES),
]


def served() -> Iterator[tuple[ServingPlanRecord, ServingLayoutRecord]]:
    for model, settings in CASES:
        record = moewright.plan(model, serve=True, **settings).record
        for layout in record.layouts:
            yield record, layout


def test_sglang_takes_its_flags() -> None:
    try:
        arguments = import_module("sglang.srt.server_args")
    except ImportError as error:
        pytest.skip(f"SGLang's sources are not on the path: {error}")
    for record, layout in served():
        parser = argparse.ArgumentParser(allow_abbrev=False)
        arguments.ServerArgs.add_cli_args(parser)
        found = parser.parse_args(["--model-path", "x", *shlex.split(" ".join(layout.sglang))])
        assert found.tp_size == layout.tp * layout.dp
        assert found.dp_size == layout.dp
        assert found.pp_size == layout.pp
        assert found.ep_size == layout.ep
        assert found.context_length == record.context + (record.generate or 0)
        assert found.kv_cache_dtype == {"bf16": "bf16", "fp8": "fp8_e4m3"}.get(record.kv_dtype, "auto")
        assert found.quantization == ("fp8" if record.weights_dtype == "fp8" else None)


def test_vllm_has_its_flags() -> None:
    spec = importlib.util.find_spec("vllm")
    if spec is None or spec.origin is None:
        pytest.skip("vLLM is not on the path")
    home = Path(spec.origin).parent
    options = {
        argument.value
        for call in ast.walk(ast.parse((home / "engine/arg_utils.py").read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and getattr(call.func, "attr", "") == "add_argument"
        for argument in call.args
        if isinstance(argument, ast.Constant)
    }
    formats = {
        "--kv-cache-dtype": literal(home / "config/cache.py", "CacheDType"),
        "--quantization": literal(home / "model_executor/layers/quantization/__init__.py", "QuantizationMethods"),
        "--dtype": literal(home / "config/model.py", "ModelDType"),
    }
    assert all(formats.values())
    for _, layout in served():
        words = shlex.split(" ".join(layout.vllm))
        for word, following in zip(words, [*words[1:], ""], strict=True):
            if word.startswith("--"):
                assert word in options
                assert following in formats.get(word, {following})


def literal(file: Path, name: str) -> set[str]:
    """The choices of a Literal in a file that is not run."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == name:
            return {str(value.value) for value in ast.walk(node.value) if isinstance(value, ast.Constant)}
    return set()


def test_formats_that_no_flag_asks_for_are_named() -> None:
    formats: list[tuple[Any, Any]] = list(product(WEIGHT_FORMATS, CACHE_BYTES))
    for weights, cache in formats:
        plan = moewright.plan(
            "olmoe-1b-7b", hardware="H100", devices=2, serve=True, batch=2, weights_dtype=weights, kv_dtype=cache
        )
        said = " ".join(plan.record.warnings)
        vllm, sglang = (" ".join(flags) for flags in (plan.layouts[0].vllm, plan.layouts[0].sglang))
        for flags in (vllm, sglang):
            assert ("--dtype" in flags or "--quantization" in flags) != (f"Weights in {weights}:" in said)
        assert ("--kv-cache-dtype" in vllm) != ("vLLM" in said.partition(f"A cache in {cache}:")[2])
        assert ("--kv-cache-dtype" in sglang) != ("SGLang" in said.partition(f"A cache in {cache}:")[2])
    local = moewright.plan(
        "olmoe-1b-7b", hardware="M4-MAX", devices=1, serve=True, weights_dtype="int4", kv_dtype="fp8"
    )
    assert "Weights in int4 are the GGUF file's; no flag of llama.cpp asks for them." in local.record.warnings
    assert "A cache in fp8: no flag asks for it; there is none of llama.cpp." in local.record.warnings
