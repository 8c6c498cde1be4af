"""Several processes: who they are, sums over them, and tensors that FSDP2 spreads over them.

FSDP2 is imported when it is used: that takes a quarter of the time of torch itself, at the start of every small run.
"""

import os
import time
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor, nn

from moewright.complaints import integer_in_text
from moewright.errors import OtherProcessError, RunStopped, UserError
from moewright.lab.model import Transformer


@dataclass(frozen=True)
class World:
    """This process among its fellows, as torchrun started them."""

    rank: int
    size: int
    device: torch.device
    _sums: deque[weakref.ref[Tensor]] = field(default_factory=lambda: deque(maxlen=16), compare=False, repr=False)

    @property
    def is_first(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0

    def sum_(self, tensor: Tensor) -> Tensor:
        """The sum over processes, in place."""
        if self.size > 1:
            ours = tensor.detach()  # an object that only we and the thread that sends it hold
            dist.all_reduce(ours)
            self._sums.append(weakref.ref(ours))
        return tensor

    def sent(self, patience_s: float = 10.0) -> bool:
        """Wait until the threads that send have let the last sums go, at most so many seconds; whether they have.

        A sum is there before gloo's thread lets its tensor go, for which it needs Python. Where the interpreter ends in
        between, the thread kills the process ("terminate called without an active exception"), its work done and well.
        """
        end = time.monotonic() + patience_s
        while any(tensor() is not None for tensor in self._sums):
            if time.monotonic() > end:
                return False
            time.sleep(0.001)
        return True

    def any(self, flag: bool) -> bool:
        """Whether it is true of any process: they must agree before one of them stops."""
        return bool(self.sum_(torch.tensor(float(flag), device=self.device)).item() > 0)

    @contextmanager
    def together(self) -> Iterator[None]:
        """What fails in one process ends all of them: the first that failed raises its error, which one line says, and
        the others OtherProcessError. The block must not wait for other processes where only some may fail."""
        failure: Exception | None = None
        try:
            yield
        except (UserError, RunStopped, OSError) as error:
            failure = error
        failed = torch.zeros(self.size, device=self.device)
        failed[self.rank] = float(failure is not None)
        ranks = self.sum_(failed).nonzero().flatten().tolist()
        if failure is not None and ranks[0] == self.rank:
            raise failure
        if ranks:
            raise OtherProcessError(f"process {ranks[0]} failed") from None


def local_device() -> torch.device:
    """This process's GPU, or the processor."""
    if torch.cuda.is_available():
        return torch.device("cuda", _number("LOCAL_RANK", 0))
    return torch.device("cpu")


def _number(variable: str, otherwise: int, below: int = 10**9) -> int:
    """A count that torchrun set. UserError where somebody else did, to something that is none."""
    text = os.environ.get(variable, "").strip()
    return integer_in_text(text, variable, 0, below - 1) if text else otherwise


@contextmanager
def world() -> Iterator[World]:
    """The processes of torchrun, joined by NCCL on GPUs and gloo elsewhere; without torchrun, this one alone.

    UserError where its variables are not as it sets them.
    """
    size = max(1, _number("WORLD_SIZE", 1))
    device = local_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if size == 1:
        yield World(0, 1, device)
        return
    if missing := [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]:
        raise UserError(
            f"WORLD_SIZE: {size} processes, and {', '.join(missing)} not set; unset it, or start by torchrun"
        )
    rank = _number("RANK", 0, size)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    members = World(rank, size, device)
    try:
        yield members
    finally:
        members.sent()
        dist.destroy_process_group()


def shard(model: Transformer, members: World) -> None:
    """Spread parameters, gradients and optimizer state over the processes, layer by layer (FSDP2)."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard

    mesh = init_device_mesh(members.device.type, (members.size,))
    still = {parameter for parameter in model.parameters() if not parameter.requires_grad}  # selection biases: few
    for layer in [*model.layers, *(layer for block in model.prediction_blocks() for layer in block.layers)]:
        fully_shard(layer, mesh=mesh, ignored_params=still)
    fully_shard(model, mesh=mesh, ignored_params=still)
    for module in model.modules():  # gradients add up: the losses are shares of the whole batch's already
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)  # gloo has no other


def sum_gradients(model: nn.Module, members: World) -> None:
    """Add up the gradients of whole copies, in one message."""
    if members.size == 1:
        return
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([gradient.view(-1) for gradient in gradients])
    members.sum_(flat)
    start = 0
    for gradient in gradients:
        gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
        start += gradient.numel()


def full_tensor(tensor: Tensor) -> Tensor:
    """All of a tensor; with sharding, a call that all processes make."""
    if not dist.is_initialized():
        return tensor
    from torch.distributed.tensor import DTensor

    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def like(values: Tensor, tensor: Tensor) -> Tensor:
    """A copy of whole values placed as another tensor is."""
    if dist.is_initialized():
        from torch.distributed.tensor import DTensor, distribute_tensor

        if isinstance(tensor, DTensor):
            return distribute_tensor(values.to(tensor.device), tensor.device_mesh, tensor.placements)
    return values.to(tensor.device, copy=True)
