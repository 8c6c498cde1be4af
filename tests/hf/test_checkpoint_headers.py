"""Weights by the headers of their files: against files that other tools write, and against files made to mislead."""

import json
import random
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import moewright
from moewright import UserError
from moewright.architecture.gguf_types import GGUF_TYPES
from moewright.hf.checkpoint_headers import read_content
from moewright.hf.tensor_headers import file_ranges, http_ranges, read_header, whole_length
from tests.hf import oracle
from tests.hf.samplers import SAMPLERS


def save(family: str, folder: Path, shard: str = "20kB") -> dict[str, Any]:
    """A small random model of a family in bf16, as transformers saves it."""
    module = oracle.build(family, SAMPLERS[family](random.Random(f"headers {family}")), device="cpu")
    module.to(torch.bfloat16).save_pretrained(folder, max_shard_size=shard)
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return config


def data_bytes(folder: Path) -> int:
    """Bytes of all tensors, as safetensors' own reader finds them."""
    total = 0
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            for key in file.keys():  # noqa: SIM118
                tensor = file.get_tensor(key)
                total += tensor.numel() * tensor.element_size()
    return total


@pytest.mark.parametrize(
    "family",
    [
        *("qwen3_moe", "mixtral", "deepseek_v3", "glm4_moe", "minimax_m2", "olmoe", "qwen3"),
        # With words of their own for parts, or buffers in their files.
        *("afmoe", "deepseek_v4", "ernie4_5_moe", "gemma4_text", "hy_v4", "jetmoe", "kimi_linear", "laguna", "minimax"),
        *("aria_text", "axk2", "bamba", "beam", "doge", "flint", "nemotron_h"),
    ],
)
def test_saved_by_transformers(family: str, tmp_path: Path) -> None:
    save(family, tmp_path)
    found = moewright.inspect(tmp_path)
    record = found.to_dict()
    assert record["published_weights_bytes"] == data_bytes(tmp_path)
    assert record["published_dtype"] == "bf16"
    assert record["published_source"].startswith("headers of")
    missing = "the config has token prediction blocks, the files hold none"  # transformers builds none
    assert found.published.notes == ((missing,) if found.mtp_params else ())
    assert found.published.model is not None
    for component in ("routed_experts", "shared_experts", "dense_ffn", "embedding", "lm_head"):
        assert found.published.model.params[component] == found.params[component]
    assert sum(found.published.model.params.values()) == found.total_params


def quantize_fp8(folder: Path, block: int) -> None:
    """The layers' matrices of a folder in torch's fp8, with fp32 scales, in one file."""
    tensors: dict[str, Any] = {}
    for path in sorted(folder.glob("*.safetensors")):
        tensors |= load_file(path)
        path.unlink()
    (folder / "model.safetensors.index.json").unlink(missing_ok=True)
    for name, value in list(tensors.items()):
        if name.endswith(("_proj.weight", "_proj_with_mqa.weight")):
            tensors[name] = value.to(torch.float8_e4m3fn)
            shape = [-(-side // block) for side in value.shape]
            tensors[name.removesuffix("weight") + "weight_scale_inv"] = torch.ones(shape, dtype=torch.float32)
    save_file(tensors, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "fp8", "weight_block_size": [block, block]}
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("family", ["qwen3_moe", "deepseek_v3"])
def test_torch_fp8(family: str, tmp_path: Path) -> None:
    save(family, tmp_path)
    quantize_fp8(tmp_path, 16)
    by_headers = moewright.inspect(tmp_path).published
    (tmp_path / "weights").mkdir()
    (tmp_path / "model.safetensors").rename(tmp_path / "weights" / "model.safetensors")
    by_config = moewright.inspect(tmp_path).published
    assert by_headers.total_bytes == data_bytes(tmp_path / "weights")
    assert by_headers.dtype == by_config.dtype == "fp8"
    # buffers of the router are in the files and not among the parameters
    assert by_config.model is not None
    assert by_headers.total_bytes is not None
    assert 0 <= by_headers.total_bytes - by_config.model.total_bytes < 500


def test_differences_are_named(tmp_path: Path) -> None:
    config = save("qwen3_moe", tmp_path)
    key = "num_experts" if "num_experts" in config else "num_local_experts"
    config[key] += 2
    config["quantization_config"] = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    notes = moewright.inspect(tmp_path).published.notes
    assert any(line.startswith("routed experts: the files hold") for line in notes)
    assert "the files are in bf16, the config says fp8" in notes


def test_an_index_alone(tmp_path: Path) -> None:
    save("qwen3_moe", tmp_path)
    size = data_bytes(tmp_path)
    index = tmp_path / "model.safetensors.index.json"
    assert index.exists()
    for path in tmp_path.glob("*.safetensors"):
        path.unlink()
    found = moewright.inspect(tmp_path).published
    assert (found.total_bytes, found.notes) == (size, ())
    values = json.loads(index.read_text())
    values["metadata"]["total_size"] *= 2
    index.write_text(json.dumps(values))
    assert "the config" in moewright.inspect(tmp_path).published.notes[0]


def test_an_index_that_says_another_size_than_its_files(tmp_path: Path) -> None:
    save("qwen3_moe", tmp_path)
    index = tmp_path / "model.safetensors.index.json"
    assert moewright.inspect(tmp_path).published.notes == ()
    values = json.loads(index.read_text())
    values["metadata"]["total_size"] += 2
    index.write_text(json.dumps(values))
    size = data_bytes(tmp_path)
    note = f"model.safetensors.index.json says {size + 2:,} bytes, the headers of its files {size:,}"
    assert moewright.inspect(tmp_path).published.notes == (note,)


def test_pack_quantized_by_compressed_tensors(tmp_path: Path) -> None:
    reason = "compressed-tensors is not installed"
    packing = pytest.importorskip("compressed_tensors.compressors.pack_quantized.helpers", reason=reason)
    arguments = pytest.importorskip("compressed_tensors.quantization", reason=reason)
    config = save("qwen3_moe", tmp_path, "1GB")
    tensors = load_file(tmp_path / "model.safetensors")
    settings = arguments.QuantizationArgs(num_bits=4, group_size=2, strategy="group", symmetric=True)
    for name, value in list(tensors.items()):
        if "experts" in name:
            base = name.removesuffix("weight")
            tensors[base + "weight_packed"] = packing.pack_to_int32(torch.zeros(value.shape, dtype=torch.int8), 4)
            tensors[base + "weight_scale"] = torch.ones(value.shape[0], value.shape[1] // 2, dtype=torch.bfloat16)
            del tensors[name]
    save_file(tensors, tmp_path / "model.safetensors")
    config["quantization_config"] = {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "ignore": ["lm_head", "re:.*self_attn.*", "re:.*mlp\\.(gate|up|down)_proj.*"],
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": settings.model_dump(mode="json")}},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    by_headers = moewright.inspect(tmp_path).published
    assert by_headers.total_bytes == data_bytes(tmp_path)
    config_alone = moewright.inspect(config).published
    assert config_alone.total_bytes == by_headers.total_bytes
    assert by_headers.dtype == config_alone.dtype == "int4"


BYTE = torch.uint8
# Name, type and shape of the tensors of one matrix of 64 x 128, as each tool writes them.
OF_A_MATRIX: dict[str, dict[str, tuple[torch.dtype, tuple[int, ...]]]] = {
    "int8 by bitsandbytes": {
        "weight": (torch.int8, (64, 128)),
        "SCB": (torch.float32, (64,)),
        "weight_format": (BYTE, ()),
    },
    "int8 by torchao": {
        "_weight_qdata": (torch.int8, (64, 128)),
        "_weight_scale": (torch.float32, (64, 1)),
        "_weight_zero_point": (torch.int8, (64, 1)),
    },
    "fp8 by torchao": {
        "_weight_qdata": (torch.float8_e4m3fn, (64, 128)),
        "_weight_scale": (torch.float32, (64, 1)),
    },
    "mxfp8 by compressed-tensors": {"weight": (torch.float8_e4m3fn, (64, 128)), "weight_scale": (BYTE, (64, 4))},
    "mxfp4 by mlx": {"weight": (torch.uint32, (64, 16)), "scales": (BYTE, (64, 4))},
    "nvfp4 by mlx": {"weight": (torch.uint32, (64, 16)), "scales": (BYTE, (64, 8))},
    "int4 by mlx": {
        "weight": (torch.uint32, (64, 16)),
        "scales": (torch.bfloat16, (64, 2)),
        "biases": (torch.bfloat16, (64, 2)),
    },
    "nvfp4 by modelopt": {
        "weight": (BYTE, (64, 64)),
        "weight_scale": (torch.float8_e4m3fn, (64, 8)),
        "weight_scale_2": (torch.float32, ()),
        "input_scale": (torch.float32, ()),
    },
}


@pytest.mark.parametrize("written", OF_A_MATRIX)
def test_what_the_tensors_of_a_matrix_are(written: str, tmp_path: Path) -> None:
    base, path = "model.layers.0.mlp.up_proj.", tmp_path / "model.safetensors"
    save_file(
        {base + name: torch.zeros(shape, dtype=kind) for name, (kind, shape) in OF_A_MATRIX[written].items()}, path
    )
    found = read_content([(file_ranges(path), path.name)], num_layers=1, bits=4).model
    assert found.params_by_format == {written.partition(" ")[0]: 64 * 128}
    assert found.total_bytes == data_bytes(tmp_path)


def safetensors(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(dtype: Any = "U8", shape: Any = (4,), offsets: Any = (0, 4)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def gguf(tensors: int = 0, keys: int = 0, rest: bytes = b"", version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, keys) + rest


def gguf_tensor(kind: int = 0, shape: tuple[int, ...] = (4,), name: bytes = b"w", offset: int = 0) -> bytes:
    sides = b"".join(struct.pack("<Q", side) for side in shape)
    return (
        struct.pack("<Q", len(name)) + name + struct.pack("<I", len(shape)) + sides + struct.pack("<IQ", kind, offset)
    )


HOSTILE: dict[str, bytes] = {
    "length.safetensors": safetensors({}, length=2**62),
    "largest-length.safetensors": safetensors({}, length=2**64 - 1),
    "overlap.safetensors": safetensors({"a": tensor(), "b": tensor(offsets=(2, 6))}, bytes(6)),
    "hole.safetensors": safetensors({"a": tensor(), "b": tensor(offsets=(6, 10))}, bytes(10)),
    "dtype.safetensors": safetensors({"a": tensor("F99")}, bytes(4)),
    "no-dtype.safetensors": safetensors({"a": tensor(None)}, bytes(4)),
    "truncated.safetensors": safetensors({"a": tensor(shape=(400,), offsets=(0, 400))}, bytes(4)),
    "within-header.safetensors": safetensors({"a": tensor()})[:20],
    "empty.safetensors": b"",
    "text.safetensors": safetensors(b"\xff\xfe hello"),
    "list.safetensors": safetensors([1, 2]),
    "deep.safetensors": safetensors(b"[" * 100_000),
    "negative.safetensors": safetensors({"a": tensor(shape=(-4,))}, bytes(4)),
    "product.safetensors": safetensors({"a": tensor(shape=(2**61, 2**61))}, bytes(4)),
    "boolean.safetensors": safetensors({"a": tensor(shape=(True,), offsets=(0, 1))}, bytes(1)),
    "backwards.safetensors": safetensors({"a": tensor(offsets=(4, 0))}, bytes(4)),
    "twice.safetensors": safetensors(b'{"a":' + json.dumps(tensor()).encode() + b',"a":{}}', bytes(4)),
    "other.gguf": b"ELF" + bytes(100),
    "version.gguf": gguf(version=99),
    "tensors.gguf": gguf(tensors=2**62),
    "keys.gguf": gguf(keys=2**62),
    "key-length.gguf": gguf(keys=1, rest=struct.pack("<Q", 2**62) + bytes(40)),
    "array.gguf": gguf(keys=1, rest=struct.pack("<Q", 1) + b"k" + struct.pack("<IIQ", 9, 8, 2**62) + bytes(400)),
    "nested.gguf": gguf(
        keys=1, rest=struct.pack("<Q", 1) + b"k" + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 900
    ),
    "type.gguf": gguf(tensors=1, rest=gguf_tensor(kind=9_999) + bytes(64)),
    "shape.gguf": gguf(tensors=1, rest=gguf_tensor(kind=2, shape=(33,)) + bytes(64)),
    "size.gguf": gguf(tensors=1, rest=gguf_tensor(shape=(2**40,)) + bytes(64)),
    "gguf-overlap.gguf": gguf(tensors=2, rest=gguf_tensor() + gguf_tensor(name=b"v", offset=8) + bytes(96)),
}


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_hostile_headers_end_in_one_line(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(HOSTILE[name])
    with pytest.raises(UserError) as caught:
        read_header(file_ranges(path), name)
    assert str(caught.value).startswith(name)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


def test_changed_bytes_never_break(tmp_path: Path) -> None:
    """2,000 files, each a good one with some bytes changed or cut: read, or refused in one line."""
    r = random.Random("changed headers")
    complaints: list[str] = []
    good = [
        ("a.safetensors", safetensors({"a": tensor(), "b": tensor("BF16", (2, 2), (4, 12))}, bytes(12))),
        ("a.gguf", gguf(tensors=1, rest=gguf_tensor() + bytes(64))),
    ]
    for number in range(2_000):
        name, text = good[number % 2]
        changed = bytearray(text[: r.randrange(1, len(text) + 1)] if r.random() < 0.3 else text)
        for _ in range(r.randrange(1, 4)):
            changed[r.randrange(len(changed))] = r.randrange(256)
        path = tmp_path / name
        path.write_bytes(bytes(changed))
        try:
            found = read_header(file_ranges(path), name)
        except UserError as error:
            complaints.append(str(error))
        else:
            assert sum(each.bytes for each in found) <= len(text)
    assert not any("\n" in complaint for complaint in complaints)
    assert 0 < len(complaints) < 2_000


def test_a_folder_with_a_broken_file_says_which(tmp_path: Path) -> None:
    save("qwen3", tmp_path, "1GB")
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"model\.safetensors: .*is it complete"):
        moewright.inspect(tmp_path)


# Over HTTP


@pytest.fixture
def serve() -> Iterator[Any]:
    """A server on this machine for one file, with or without range requests; gives its address."""
    servers: list[ThreadingHTTPServer] = []
    sent: list[int] = []

    def start(path: Path, ranges: bool = True) -> str:
        content = path.read_bytes()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked = self.headers.get("Range")
                if asked and ranges:
                    begin, end = (int(side) for side in asked.removeprefix("bytes=").split("-"))
                    part = content[begin : end + 1]
                    self.send_response(206)
                    self.send_header("Content-Range", f"bytes {begin}-{begin + len(part) - 1}/{len(content)}")
                else:
                    part = content
                    self.send_response(200)
                sent.append(len(part))
                self.send_header("Content-Length", str(len(part)))
                self.end_headers()
                self.wfile.write(part)

            def log_message(self, *words: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/{path.name}"

    start.sent = sent  # type: ignore[attr-defined]
    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_over_http_only_the_header_is_sent(serve: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"model.layers.0.mlp.experts.0.up_proj.weight": torch.zeros(1000, 1000, dtype=torch.bfloat16)}, path)
    content = read_content([(http_ranges(serve(path)), path.name)], num_layers=1)
    assert content.model.bytes["routed_experts"] == 2_000_000
    assert content.model.params["routed_experts"] == 1_000_000
    assert sum(serve.sent) < 1_000


def test_a_server_without_ranges_is_refused(serve: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(10)}, path)
    with pytest.raises(UserError, match="does not answer range requests"):
        read_header(http_ranges(serve(path, False)), path.name)
    with pytest.raises(UserError, match="cannot be read"):
        read_header(http_ranges("http://127.0.0.1:9/model.safetensors"), path.name)


@pytest.mark.parametrize(
    ("status", "content_range"),
    [(200, ""), (206, ""), (206, "bytes 0-7/*"), (206, "bytes 8-15/99"), (206, f"bytes 0-7/{'9' * 40}"), (416, "x")],
)
def test_parts_that_were_not_asked_for_are_refused(status: int, content_range: str) -> None:
    with pytest.raises(UserError, match=r"^file: the server"):
        whole_length(status, content_range, 0, "file")
    assert whole_length(206, "bytes 0-7/99", 0, "file") == 99


# GGUF


def test_gguf_types_are_those_of_the_library() -> None:
    constants = pytest.importorskip("gguf.constants", reason="gguf is not installed")
    theirs = {kind.name: (int(kind), *sizes) for kind, sizes in constants.GGML_QUANT_SIZES.items()}
    assert theirs == {name: (t.number, t.block, t.block_bytes) for name, t in GGUF_TYPES.items()}


def test_gguf_by_its_own_writer(tmp_path: Path) -> None:
    gguf_library = pytest.importorskip("gguf", reason="gguf is not installed")
    import numpy

    path = tmp_path / "m.gguf"
    kinds = gguf_library.GGMLQuantizationType
    writer = gguf_library.GGUFWriter(str(path), "qwen3moe")
    writer.add_array("tokenizer.ggml.tokens", [f"word{number}" for number in range(5_000)])
    weights = {
        "token_embd.weight": (kinds.Q8_0, (64, 256)),
        "output.weight": (kinds.Q8_0, (64, 256)),
        "blk.0.ffn_gate_exps.weight": (kinds.Q4_0, (4, 32, 256)),
        "blk.0.ffn_down_exps.weight": (kinds.Q5_0, (4, 256, 32)),
        "blk.0.attn_q.weight": (kinds.F16, (256, 256)),
        "blk.0.ffn_gate_inp.weight": (kinds.F32, (4, 256)),
        "blk.0.attn_norm.weight": (kinds.F32, (256,)),
    }
    for name, (kind, shape) in weights.items():
        data = gguf_library.quants.quantize(numpy.zeros(shape, dtype=numpy.float32), kind)
        writer.add_tensor(name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    theirs = {each.name: int(each.n_bytes) for each in gguf_library.GGUFReader(str(path)).tensors}
    assert {each.name: each.bytes for each in read_header(file_ranges(path), path.name)} == theirs
    content = read_content([(file_ranges(path), path.name)], num_layers=1).model
    assert content.params["routed_experts"] == 2 * 4 * 32 * 256
    assert content.params["router"] == 4 * 256
    assert content.params["norm"] == 256
    assert content.bytes_by_format["q4_0"] == 4 * 32 * 256 // 32 * 18
    assert content.total_bytes == sum(theirs.values())
