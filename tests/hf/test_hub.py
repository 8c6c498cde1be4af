"""Models by their names on the hub: the real client against a server of our own, and without any."""

import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from moewright.hf.hub import hub_id
from tests.docs.pages import ROOT
from tests.hf.hub_server import COMMIT, GATED, HubStandIn, hub

pytest.importorskip("huggingface_hub", minversion="1.0", reason="needs the extra hub")

CONFIG = {
    "model_type": "mixtral",
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "max_position_embeddings": 128,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "dtype": "bfloat16",
}
SHAPES = {
    "model.embed_tokens.weight": [64, 32],
    "lm_head.weight": [64, 32],
    "model.norm.weight": [32],
    **{f"model.layers.0.{name}.weight": [32] for name in ("input_layernorm", "post_attention_layernorm")},
    **{f"model.layers.0.self_attn.{name}_proj.weight": [32, 32] for name in "qo"},
    **{f"model.layers.0.self_attn.{name}_proj.weight": [16, 32] for name in "kv"},
    "model.layers.0.block_sparse_moe.gate.weight": [4, 32],
    **{
        f"model.layers.0.block_sparse_moe.experts.{expert}.{name}.weight": [32, 48] if name == "w2" else [48, 32]
        for expert in range(4)
        for name in ("w1", "w2", "w3")
    },
}


def safetensors(dtype: str, size: int, filling: int = 0) -> bytes:
    header: dict[str, Any] = {}
    at = 0
    for name, shape in SHAPES.items():
        length = size * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + length]}
        at += length
    text = json.dumps({"__metadata__": {"filling": "x" * filling}, **header}).encode()
    return struct.pack("<Q", len(text)) + text + bytes(at)


PARAMS = sum(shape[0] * (shape[1] if len(shape) > 1 else 1) for shape in SHAPES.values())
BIG = safetensors("F32", 4, 200_000)
"""Of which the header alone is longer than what is asked for at first."""
CONFIG_TEXT = json.dumps(CONFIG).encode()
REPOSITORIES = {
    "maker/Small": {"config.json": CONFIG_TEXT, "README.md": b"", "model.safetensors": safetensors("BF16", 2)},
    "maker/Big": {"config.json": CONFIG_TEXT, "model.safetensors": BIG},
    "maker/Configless": {"README.md": b""},
    GATED: {"config.json": CONFIG_TEXT},
}


@pytest.fixture(scope="module")
def server() -> Iterator[HubStandIn]:
    with hub(REPOSITORIES) as stand_in:
        yield stand_in


def asked(home: Path, endpoint: str, *models: str, **environment: str) -> list[Any]:
    """What `inspect` answers for each: the record, or the one line of its refusal."""
    script = (
        "import json, sys, moewright\n"
        "if 'BARE' in sys.argv: sys.modules['huggingface_hub'] = None\n"
        "if 'OLD' in sys.argv: __import__('huggingface_hub').__version__ = '0.36.2'\n"
        "for model in sys.argv[1:]:\n"
        "    if model in ('BARE', 'OLD'): continue\n"
        "    try: print(json.dumps(moewright.inspect(model).to_dict()))\n"
        "    except moewright.UserError as error: print(json.dumps(str(error)))\n"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGINGFACE", "http"))}
    path = str(ROOT / "src")
    own = {"HF_HOME": str(home), "HF_ENDPOINT": endpoint, "PYTHONPATH": path, "NO_PROXY": "127.0.0.1", **environment}
    done = subprocess.run(
        [sys.executable, "-c", script, *models],
        capture_output=True,
        text=True,
        check=True,
        env={**kept, **own},
        cwd=home,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_model_is_read_and_its_weights_are_not(server: HubStandIn, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "maker2").mkdir()
    (tmp_path / "maker2" / "Small").write_bytes(CONFIG_TEXT)
    small, at_v1, big, gated, no_model, no_revision, no_config, mistyped, local = asked(
        tmp_path,
        server.endpoint,
        *("maker/Small", "maker/Small@v1", "maker/Big", GATED, "maker/None", "maker/Small@v9", "maker/Configless"),
        *("here/nothing", "maker2/Small"),
    )
    assert small["name"] == "Small"
    assert small["total_params"] == at_v1["total_params"] == local["total_params"] == PARAMS
    assert (small["published_source"], small["published_weights_bytes"]) == ("headers of 1 file", 2 * PARAMS)
    assert big["published_weights_bytes"] == 4 * PARAMS
    assert "the files are in fp32, the config says bf16" in big["warnings"]
    assert (small["warnings"], local["published_source"]) == ([], "config.json")
    assert gated.startswith(f"{GATED}: the repository is gated; ")
    assert no_model.startswith("maker/None: no such file, and no such repository on the hub")
    assert no_revision == "maker/Small@v9: the repository has no revision 'v9'"
    assert no_config == "maker/Configless: the repository on the hub has no config.json"
    assert mistyped == "here/nothing: cannot be read: No such file or directory"
    weights = [(path, span) for _, path, span in server.asked if path.endswith(".safetensors")]
    assert all(span for _, span in weights)
    last = max(int(span.rpartition("-")[2]) for path, span in weights if "Big" in path)
    assert last < len(BIG) - 4 * PARAMS  # where the weights begin

    snapshot = tmp_path / "hub" / "models--maker--Small" / "snapshots" / COMMIT
    assert [path.name for path in snapshot.iterdir()] == ["config.json"]
    (offline, unknown), (unreached, nothing) = (
        asked(tmp_path, server.endpoint, "maker/Small@v1", "maker/Other", HF_HUB_OFFLINE="1"),
        asked(tmp_path, "http://127.0.0.1:9", "maker/Small", "maker/Other"),
    )
    for answer, why in (
        (offline, "HF_HUB_OFFLINE is set"),
        (unreached, "the hub at http://127.0.0.1:9 could not be asked"),
    ):
        assert answer["total_params"] == PARAMS
        assert answer["warnings"] == [f"{why}: config from its cache, weight files not looked at"]
    assert unknown.startswith("maker/Other: no such file; HF_HUB_OFFLINE is set, and the cache in ")
    assert nothing.startswith(
        "maker/Other: no such file; the hub at http://127.0.0.1:9 could not be asked, and the cache"
    )


def test_without_the_extra(tmp_path: Path) -> None:
    (line,) = asked(tmp_path, "", "BARE", "maker/Small")
    assert line == (
        "maker/Small: no such file; to look for it on Hugging Face's hub install huggingface_hub: "
        'pip install "moewright[hub]"'
    )


def test_with_an_older_client(tmp_path: Path) -> None:
    """As other packages bring it, such as old tokenizers."""
    (line,) = asked(tmp_path, "", "OLD", "maker/Small")
    assert line == (
        "maker/Small: no such file; to look for it on Hugging Face's hub, huggingface_hub must be 1.0 or newer, and is "
        '0.36.2: pip install "moewright[hub]"'
    )


def test_what_is_a_name_on_the_hub() -> None:
    assert hub_id("Qwen/Qwen3-30B-A3B") == ("Qwen/Qwen3-30B-A3B", None)
    assert hub_id("maker/Model.v2@refs/pr/1") == ("maker/Model.v2", "refs/pr/1")
    for other in ("dbrx", "a/b/c", "/a/b", "a/", "../a", "a/b@", "a b/c", "a/b@x y", "ä/b", f"a/{'b' * 200}"):
        assert hub_id(other) is None
