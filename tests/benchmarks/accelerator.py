"""Whether the lab's path on an accelerator computes what its definitions say, and what it gains: one table.

    python -m tests.benchmarks.accelerator [--device cuda|cpu] [--large]

On a machine with CUDA it takes the GPU: torch's grouped product, its attention kernels one by one, a compiled model,
FSDP2 over all GPUs, and a step of a model. On a processor it goes through the same operators where torch has them, two
processes under FSDP2; speed means nothing there. Each is held to float64 on the processor: `off` is the largest
difference over the largest value, of outputs and all gradients. What torch or the machine lacks is a row with its
reason. The exit status is 1 if a row is off by more than its format allows.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import spawn
from torch.nn.attention import SDPBackend, sdpa_kernel

from moewright.architecture.spec import Architecture
from moewright.lab import sharding
from moewright.lab.fast.choice import implementation
from moewright.lab.model import Transformer
from moewright.lab.model.operations import causal_attention, expert_ffn
from moewright.lab.sharding import World

ALLOWED = {torch.float32: 2e-3, torch.bfloat16: 6e-2}
"""Of a row: CUDA's fp32 products may be TF32 (10 bits); bf16 keeps 8 bits, through a chain of products."""
TURNS = 5


@dataclass
class Row:
    """One line of the table."""

    what: str
    dtype: torch.dtype
    off: float | None = None
    """None: it did not run."""
    milliseconds: float | None = None
    against: str = ""
    """What it is timed against, with those milliseconds; or why it did not run."""

    @property
    def state(self) -> str:
        """right, WRONG, or -."""
        if self.off is None:
            return "-"
        return "right" if self.off <= ALLOWED[self.dtype] else "WRONG"

    def __str__(self) -> str:
        off = "" if self.off is None else f"{self.off:.1e}"
        took = "" if self.milliseconds is None else f"{self.milliseconds:.3f}"
        dtype = str(self.dtype).removeprefix("torch.")
        return f"{self.what:30} {dtype:9} {self.state:6} {off:>8} {took:>10}  {self.against}"


def draw(*shape: int, seed: int) -> Tensor:
    """Normal numbers on the processor, in float64."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def answers(function: Callable[..., Tensor], inputs: list[Tensor]) -> list[Tensor]:
    """The output and every input's gradient, under a fixed gradient of the output; in float64 on the processor."""
    leaves = [tensor.detach().clone().requires_grad_() for tensor in inputs]
    y = function(*leaves)
    weight = draw(*y.shape, seed=99).to(y.device, y.dtype)
    gradients = torch.autograd.grad((y * weight).sum(), leaves)
    return [tensor.detach().cpu().double() for tensor in (y, *gradients)]


def off_by(found: list[Tensor], truth: list[Tensor]) -> float:
    """The largest difference of any tensor, over that tensor's largest value."""
    return max(
        float((one - other).abs().max() / other.abs().max().clamp(min=1e-30))
        for one, other in zip(found, truth, strict=True)
    )


def milliseconds(run: Callable[[], object], device: torch.device) -> float:
    """The least of several turns after one to warm up."""
    best = float("inf")
    for turn in range(TURNS + 1):
        if device.type == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        if turn:
            best = min(best, 1e3 * (time.perf_counter() - start))
    return best


def tried(what: str, dtype: torch.dtype, make: Callable[[], Row]) -> Row:
    """The row, or one that says in a few words why there is none."""
    try:
        return make()
    except (RuntimeError, NotImplementedError, ImportError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return Row(what, dtype, against=f"not here: {lines[0][:60]}")


def expert_rows(device: torch.device, large: bool) -> Iterator[Row]:
    """Experts by torch's grouped product and one after the other, with an expert that has no rows."""
    tokens, width, size, experts, top_k = (8192, 1024, 512, 64, 4) if large else (96, 32, 16, 6, 2)
    chosen = torch.randint(experts - 1, (tokens * top_k,), generator=torch.Generator().manual_seed(1)).sort().values
    token = torch.randint(tokens, (tokens * top_k,), generator=torch.Generator().manual_seed(2))
    counts = torch.bincount(chosen, minlength=experts)
    inputs = [draw(tokens, width, seed=3), draw(tokens * top_k, seed=4), draw(experts, 2 * size, width, seed=5)]
    inputs += [draw(experts, width, size, seed=6)]
    inputs = [inputs[0], inputs[1], inputs[2] * width**-0.5, inputs[3] * size**-0.5]

    def experts_of(place: torch.device, x: Tensor, gates: Tensor, up: Tensor, down: Tensor) -> Tensor:
        sent = token.to(place), counts.to(place)
        return expert_ffn(x, sent[0], gates, sent[1], up, down, "silu", True)

    with implementation("plain"):
        truth = answers(partial(experts_of, torch.device("cpu")), inputs)
    for dtype in (torch.float32, torch.bfloat16):

        def row(dtype: torch.dtype = dtype) -> Row:
            here = [tensor.to(device, dtype) for tensor in inputs]
            step = partial(answers, partial(experts_of, device), here)
            with implementation("plain"):
                off, took = off_by(step(), truth), milliseconds(step, device)
            with implementation("fast"):
                other = milliseconds(step, device)
            return Row("grouped product of experts", dtype, off, took, f"loop over experts {other:.3f} ms")

        yield tried("grouped product of experts", dtype, row)


def attention_rows(device: torch.device, large: bool) -> Iterator[Row]:
    """Each of torch's attention kernels, causal and with grouped keys, and the one that torch chooses."""
    sequences, heads, groups, length, channels = (4, 16, 4, 4096, 128) if large else (2, 4, 2, 48, 16)
    inputs = [draw(sequences, heads, length, channels, seed=1)]
    inputs += [draw(sequences, groups, length, channels, seed=seed) for seed in (2, 3)]
    attend = partial(causal_attention, scale=channels**-0.5)

    def by_definition(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        k, v = (each.repeat_interleave(heads // groups, dim=1) for each in (k, v))
        later = torch.ones(length, length, dtype=torch.bool).triu(1)
        scores = (q @ k.transpose(-2, -1) * channels**-0.5).masked_fill(later, -torch.inf)
        return (scores.softmax(-1) @ v).transpose(1, 2)

    truth = answers(by_definition, inputs)
    kernels: dict[str, SDPBackend | None] = {
        "torch's choice": None,
        "flash": SDPBackend.FLASH_ATTENTION,
        "efficient": SDPBackend.EFFICIENT_ATTENTION,
        "cudnn": SDPBackend.CUDNN_ATTENTION,
        "math": SDPBackend.MATH,
    }
    for dtype in (torch.float32, torch.bfloat16):
        for name, kernel in kernels.items():

            def row(name: str = name, kernel: SDPBackend | None = kernel, dtype: torch.dtype = dtype) -> Row:
                here = [tensor.to(device, dtype) for tensor in inputs]
                step = partial(answers, attend, here)
                some = [each for each in kernels.values() if each is not None] if kernel is None else [kernel]
                with implementation("plain"), sdpa_kernel(some):
                    off, took = off_by(step(), truth), milliseconds(step, device)
                return Row(f"attention: {name}", dtype, off, took)

            yield tried(f"attention: {name}", dtype, row)


def model_of(large: bool) -> Architecture:
    """Dense and routed layers, latent attention, shared and latent experts, a prediction block."""
    width, size, experts, top_k, vocabulary = (1024, 512, 32, 4, 32768) if large else (32, 16, 6, 2, 64)
    heads = width // 16
    grouped = {"kind": "attention", "num_heads": heads, "num_kv_heads": heads // 2, "head_dim": 16, "rope": {}}
    sizes: dict[str, Any] = {
        "q_lora_rank": None,
        "kv_lora_rank": 16,
        "qk_nope_head_dim": 16,
        "qk_rope_head_dim": 16,
        "v_head_dim": 16,
    }
    latent: dict[str, Any] = {"kind": "latent_attention", "num_heads": heads, **sizes, "rope": {}}
    router = {"score": "sigmoid", "normalize": True, "selection_bias": "buffer"}
    groups = [{"count": experts, "expert_size": size, "top_k": top_k}]
    routed = {"kind": "moe", "groups": groups, "router": router, "shared": {"expert_size": size}}
    layers = [
        {"mixer": grouped, "feed_forward": {"kind": "dense", "size": 2 * width}},
        {"mixer": {**grouped, "window": {"size": 16}}, "feed_forward": {**routed, "latent_size": width // 2}},
        {"mixer": latent, "feed_forward": routed},
    ]
    return Architecture.from_dict({"vocab_size": vocabulary, "hidden_size": width, "layers": layers, "mtp_layers": 1})


def filled(architecture: Architecture, compute: torch.dtype | None = None) -> Transformer:
    """The model with weights that keep activations near 1, in float64 on the processor."""
    model = Transformer(architecture, compute).double()
    with torch.no_grad():
        for seed, (name, tensor) in enumerate(model.state_dict().items()):
            if "selection_bias" not in name:
                scale = 1.0 if name == "embed_tokens" else tensor.shape[-1] ** -0.5
                tensor.copy_(
                    1 + 0.1 * draw(*tensor.shape, seed=seed)
                    if tensor.ndim == 1
                    else scale * draw(*tensor.shape, seed=seed)
                )
    return model


def batch_of(architecture: Architecture, large: bool) -> Tensor:
    """Sequences with one token more than they are long."""
    shape = (8, 1025) if large else (4, 33)
    return torch.randint(architecture.vocab_size, shape, generator=torch.Generator().manual_seed(7))


def losses_and_gradients(model: Any, tokens: Tensor, whole: int) -> list[Tensor]:
    """The losses of sequences as shares of `whole`, and all gradients, in float64 on the processor."""
    losses, _ = model(tokens[:, :-1], targets=tokens[:, 1:], loss_scale=1 / whole, prediction_weight=0.3)
    losses.sum().backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    found = [losses.detach(), *(sharding.full_tensor(gradient) for gradient in gradients)]
    model.zero_grad()
    return [tensor.cpu().double() for tensor in found]


def model_rows(device: torch.device, large: bool) -> Iterator[Row]:
    """A step of the whole model as it runs here, and compiled. Its routers score in fp32 at least; a tie that
    rounding breaks otherwise than float64 does would show as a row that is far off."""
    architecture, precision = model_of(large), torch.float32
    tokens = batch_of(architecture, large)
    truth = losses_and_gradients(filled(architecture), tokens, tokens[:, 1:].numel())
    model, sent = filled(architecture).float().to(device), tokens.to(device)
    step = partial(losses_and_gradients, model, sent, tokens[:, 1:].numel())
    took = milliseconds(step, device)
    yield Row("a step of the model", precision, off_by(step(), truth), took)

    def compiled() -> Row:
        with implementation("plain"):
            fast = torch.compile(model, dynamic=False)
            again = partial(losses_and_gradients, fast, sent, tokens[:, 1:].numel())
            off, quick, eager = off_by(again(), truth), milliseconds(again, device), milliseconds(step, device)
        return Row("a step, torch.compile", precision, off, quick, f"not compiled {eager:.3f} ms")

    yield tried("a step, torch.compile", precision, compiled)


def _member(rank: int, size: int, device: str, large: bool, folder: str) -> None:
    """One process of FSDP2: its share of the sequences; the first writes losses and gradients of all."""
    here = torch.device(device, rank) if device == "cuda" else torch.device(device)
    if device == "cuda":
        torch.cuda.set_device(here)
    torch.set_num_threads(1)
    store = f"file://{folder}/meeting"
    dist.init_process_group("nccl" if device == "cuda" else "gloo", init_method=store, rank=rank, world_size=size)
    architecture = model_of(large)
    model, tokens = filled(architecture).float().to(here), batch_of(architecture, large)
    sharding.shard(model, World(rank, size, here))
    mine = tokens.chunk(size)[rank].to(here)
    losses, *gradients = losses_and_gradients(model, mine, tokens[:, 1:].numel())
    together = losses.to(here)
    dist.all_reduce(together)
    if rank == 0:
        torch.save([together.cpu(), *gradients], Path(folder) / "found")
    dist.destroy_process_group()


def sharded_rows(device: torch.device, large: bool) -> Iterator[Row]:
    """FSDP2 over all GPUs, or two processes of a processor."""
    size = torch.cuda.device_count() if device.type == "cuda" else 2
    size = max(n for n in (1, 2, 4, 8) if n <= size and n <= len(batch_of(model_of(large), large)))

    def row() -> Row:
        architecture = model_of(large)
        tokens = batch_of(architecture, large)
        truth = losses_and_gradients(filled(architecture), tokens, tokens[:, 1:].numel())
        with tempfile.TemporaryDirectory() as folder:
            spawn(_member, (size, device.type, large, folder), nprocs=size)
            found = torch.load(Path(folder) / "found")
        return Row(f"FSDP2 over {size}", torch.float32, off_by(found, truth))

    yield tried(f"FSDP2 over {size}", torch.float32, row)


def rows(device: torch.device, large: bool) -> Iterator[Row]:
    """Every line of the table."""
    for part in (expert_rows, attention_rows, model_rows, sharded_rows):
        yield from part(device, large)


def main() -> int:
    """The table; 1 if a row is wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), help="the GPU where there is one")
    parser.add_argument("--large", action="store_true", help="sizes at which speed means something")
    arguments = parser.parse_args()
    device = torch.device(arguments.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    name = torch.cuda.get_device_name() if device.type == "cuda" else "a processor: its speeds say nothing here"
    print(f"torch {torch.__version__}, {name}")
    print(f"{'what':30} {'format':9} {'is':6} {'off':>8} {'ms':>10}  against")
    wrong = 0
    for row in rows(device, arguments.large):
        print(row, flush=True)
        wrong += row.state == "WRONG"
    return int(wrong > 0)


if __name__ == "__main__":
    raise SystemExit(main())
