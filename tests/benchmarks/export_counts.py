"""Exports counted by the tools that they are for: how many exact, refused and wrong.

    python -m tests.benchmarks.export_counts FORMAT [random models of each kind, 200 unless given]

Run it where the tool of the format is installed (docs/export.md says how). Rows: the published configs; random models
within the target's means; such models with something changed that it may not be able to express.
"""

import random
import sys
import warnings
from collections import Counter
from pathlib import Path

import moewright
from moewright import UserError
from moewright.exporters.exported import Export
from moewright.hf.loading import ArchitectureSource
from tests.exporters.samplers import SAMPLERS, anything
from tests.exporters.tools import COUNTERS


def main(target: str, models: int) -> None:
    """Print one line per published config, then the counts."""
    rows = {name: Counter[str]() for name in ("published", "random", "random, changed")}
    for path in sorted(Path("examples/configs").glob("*.json")):
        found, detail = outcome(path, target)
        rows["published"][found] += 1
        print(f"{path.stem:22s} {found:8s} {detail}", flush=True)
    r = random.Random(f"benchmark {target}")
    for _ in range(models):
        sampler = SAMPLERS[target]
        rows["random"][outcome(sampler(r), target)[0]] += 1
        rows["random, changed"][outcome(anything(r, sampler(r)), target)[0]] += 1
    print(f"\n{target:22s} {'exact':>7s} {'refused':>8s} {'wrong':>6s}")
    for name, counts in rows.items():
        print(f"{name:22s} {counts['exact']:7d} {counts['refused']:8d} {counts['wrong']:6d}")


def outcome(design: ArchitectureSource, target: str) -> tuple[str, str]:
    """exact, refused or wrong, with the count or the refusal."""
    try:
        exported: Export = moewright.export(design, target)
    except UserError as error:
        return "refused", str(error).split(";")[0][:90]
    wanted = exported.total_params + exported.mtp_params
    counted = COUNTERS[target](exported)
    return ("exact", f"{counted:,}") if counted == wanted else ("wrong", f"{counted:,} for {wanted:,}")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 200)
