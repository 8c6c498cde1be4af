"""Memory: what a run will need, what there is, what it took; and keeping what was freed."""

import ctypes
import os
import resource
import sys
from pathlib import Path

import torch

from moewright.errors import UserError
from moewright.experiment.recipe import Recipe
from moewright.hardware.training_memory import Parallelism, TrainingMemory, training_memory
from moewright.lab.model.loss import CHUNK
from moewright.quantities import format_bytes

# glibc's mallopt parameters (malloc.h).
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_TOP_PAD = 64 * 2**20


def keep_freed_memory() -> bool:
    """Let this process's allocator keep what is freed, instead of asking the system for fresh pages at every step.

    Large tensors are otherwise mapped and unmapped, and every page is cleared again when it is first touched. glibc
    only; elsewhere nothing happens. Returns whether it took effect.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, _TOP_PAD))
    return all(mallopt(parameter, value) == 1 for parameter, value in settings)


def expected_memory(recipe: Recipe, processes: int = 1) -> TrainingMemory:
    """What inspect's accounting expects of this recipe on one process, the framework's own base apart."""
    stage = 3 if recipe.parallel == "shard" else 0
    return training_memory(
        recipe.architecture,
        Parallelism(data=processes, zero_stage=stage),
        micro_batch=recipe.micro_batch_sequences,
        tokens_per_sequence=recipe.sequence_length,
        optimizer="adamw" if recipe.optimizer.kind == "adamw" else "muon",
        precision="fp32" if recipe.precision == "fp32" else "bf16_products",
        recompute="layers" if recipe.recompute else "experts",
        logit_rows=CHUNK,
    )


def check_memory(recipe: Recipe, device: torch.device, processes: int = 1) -> TrainingMemory:
    """Raise UserError if the run cannot fit, before anything is allocated."""
    expected = expected_memory(recipe, processes)
    there = available_memory(device)
    if there is not None and device.type == "cpu":  # the processes of a machine share it
        there /= int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if there is not None and expected.total > there:
        states = expected.weights + expected.gradients + expected.optimizer
        raise UserError(
            f"memory: this run needs some {format_bytes(expected.total)} and {format_bytes(there)} are free "
            f"(weights, gradients and optimizer {format_bytes(states)}, activations "
            f"{format_bytes(expected.activations)}); take a smaller model, fewer micro_batch_sequences, "
            "or recompute: true"
        )
    return expected


def available_memory(device: torch.device) -> float | None:
    """Free bytes of the device; None where the system does not say."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")), None)


def peak_memory(device: torch.device) -> int:
    """The most bytes that this process held at once, the framework's included."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1024 if sys.platform.startswith("linux") else 1)
