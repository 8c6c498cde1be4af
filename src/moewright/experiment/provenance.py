"""Where and with what a run was made. No torch: what only it knows is given."""

import os
import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from moewright.experiment.product_backends import ProductChoice
from moewright.experiment.threads import ThreadChoice
from moewright.records import Count, Items, Record

_PACKAGES = ("moewright", "torch", "numpy", "tokenizers", "safetensors")


class Machine(Record):
    """The machine that a run began on."""

    node: str
    system: str
    processor: str
    capability: str
    """The instruction set that torch's kernels used."""
    threads: Count
    """Of torch."""
    thread_choice: ThreadChoice | None = None
    """Why so many. None: not recorded."""
    products: ProductChoice | None = None
    """What computes matrix products, and why. None: not recorded, or an accelerator's own."""
    gpus: Items[str]
    slurm_job: str | None


class Provenance(Record):
    """Where and with what a run began."""

    versions: dict[str, str]
    """Of moewright and the packages that decide what it computes."""
    python: str
    commit: str | None
    """Of moewright's own checkout, with + if it was changed; None for an installed package."""
    machine: Machine


def provenance(
    capability: str, threads: ThreadChoice, products: ProductChoice | None, gpus: Sequence[str]
) -> Provenance:
    """Versions, machine and the commit of moewright's own checkout, where there is one.

    `capability`: the instruction set that torch's kernels use; `threads`: of torch; `products`: what computes them on a
    processor; `gpus`: their names.
    """
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return Provenance(
        versions=versions,
        python=platform.python_version(),
        commit=_commit(),
        machine=Machine(
            node=platform.node(),
            system=platform.platform(),
            processor=processor_name(),
            capability=capability,
            threads=threads.threads,
            thread_choice=threads,
            products=products,
            gpus=tuple(gpus),
            slurm_job=os.environ.get("SLURM_JOB_ID"),
        ),
    )


def _commit() -> str | None:
    """The commit of the checkout that this file is in, with + if it was changed; None for an installed package."""
    here = Path(__file__).resolve().parent
    try:
        described = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return described.stdout.strip() or None if described.returncode == 0 else None


def processor_name() -> str:
    """As its maker calls it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
