"""Where and with what a run was made. No torch: what only it knows is given."""

import os
import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PACKAGES = ("moewright", "torch", "numpy", "tokenizers", "safetensors")


def provenance(capability: str, threads: int, gpus: Sequence[str]) -> dict[str, Any]:
    """Versions, machine and the commit of moewright's own checkout, where there is one.

    `capability`: the instruction set that torch's kernels use; `threads`: of torch; `gpus`: their names.
    """
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "versions": versions,
        "python": platform.python_version(),
        "commit": _commit(),
        "machine": {
            "node": platform.node(),
            "system": platform.platform(),
            "processor": _processor(),
            "capability": capability,
            "threads": threads,
            "gpus": list(gpus),
            "slurm_job": os.environ.get("SLURM_JOB_ID"),
        },
    }


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


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
