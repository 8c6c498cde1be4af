"""The golden values of training: what a fixed set of recipes came to, bit for bit, so that no change goes unnoticed.

    python -m tests.lab.golden --add       store the values of this machine's classes, after a raise of TRAINING_VERSION
    python -m tests.lab.golden --mutate    change constants of training one at a time: every change must be found

Bits depend on what torch's kernels dispatch to, so values are kept by *machine class*: torch's version, the maker of
the processor (MKL goes by it), the vector instructions of ATen's kernels and oneDNN's, the backend of matrix products,
which is stated here and measured in training, and whether the loops over heads and experts take one at a time, as runs
that began without groups do, or several. On one thread nothing else was found to matter but MKL_CBWR, which is taken
away. On a class that is not stored, losses are
compared within what the stored classes differ by.
"""

import argparse
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations, product
from pathlib import Path
from typing import Any, NamedTuple, get_args

from moewright.experiment.product_backends import BACKENDS, Backend, Loops, ProductChoice
from tests.lab.golden_recipes import golden_recipes

ROOT = Path(__file__).parents[2]
VALUES = Path(__file__).with_name("golden_values.json")
ADD = "python -m tests.lab.golden --add"
MARGIN = 30
"""An unknown class may differ from a stored one by so many times what the stored ones differ by among themselves."""
LEAST_SPREAD = 3e-7
"""Of losses, relative: what the ordinary fp32 recipes differ by at most. Single ones may agree by chance."""

RESTRICTIONS: dict[str, dict[str, str]] = {
    "native": {},
    "AVX2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    "SSE4": {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
}
"""Environments that make one machine several classes."""


class Values(NamedTuple):
    """What one recipe came to."""

    losses: tuple[float, ...]
    """All losses of each step together; then the validation losses, dropless and with capacity where there is one."""
    weights: str
    """SHA-256 of the last weights, selection biases and optimizer state."""


Measured = Mapping[str, Values]
"""By recipe."""


@dataclass
class Golden:
    """The stored values."""

    training_version: int
    classes: dict[str, Measured] = field(default_factory=dict)
    """By machine class."""

    @classmethod
    def load(cls, path: Path = VALUES) -> "Golden":
        """Read the file; losses are hexadecimal in it."""
        stored = json.loads(path.read_text())
        classes: dict[str, Measured] = {
            machine: {
                name: Values(tuple(float.fromhex(loss) for loss in one["losses"].split()), one["weights"])
                for name, one in by_recipe.items()
            }
            for machine, by_recipe in stored["classes"].items()
        }
        return cls(stored["training_version"], classes)

    def save(self, path: Path = VALUES) -> None:
        """Write the file."""
        classes = {
            machine: {
                name: {"losses": " ".join(loss.hex() for loss in one.losses), "weights": one.weights}
                for name, one in by_recipe.items()
            }
            for machine, by_recipe in sorted(self.classes.items())
        }
        path.write_text(json.dumps({"training_version": self.training_version, "classes": classes}, indent=1) + "\n")

    def tolerance(self, recipe: str) -> float:
        """How far, relatively, losses of a recipe may lie from those of a stored class on a class that is not."""
        stored = [by_recipe[recipe].losses for by_recipe in self.classes.values() if recipe in by_recipe]
        spread = max((_distance(one, other) for one, other in combinations(stored, 2)), default=0.0)
        return MARGIN * max(spread, LEAST_SPREAD)

    def complaints(self, machine: str, measured: Measured, training_version: int) -> list[str]:
        """What is not as stored, a line for each recipe.

        What has no value of this class, because the class is unknown or the recipe newer than its values, may be off by
        so much.
        """
        if training_version != self.training_version:
            return [f"these are values of training version {self.training_version}, not {training_version}: {ADD}"]
        return [line for name, values in measured.items() if (line := self._complaint(machine, name, values))]

    def _complaint(self, machine: str, name: str, values: Values) -> str | None:
        known = self.classes.get(machine, {})
        stored = known if name in known else self._nearest(name, values)
        if name not in stored:
            return f"{name}: has no value yet: {ADD}"
        if name not in known:
            far, limit = _distance(values.losses, stored[name].losses), self.tolerance(name)
            return f"{name}: losses are {far:.1e} off, more than {limit:.1e}" if far > limit else None
        if values == stored[name]:
            return None
        moved = _distance(values.losses, stored[name].losses)
        return f"{name}: " + (f"losses moved by {moved:.1e}" if moved else "weights or optimizer state have other bits")

    def _nearest(self, name: str, values: Values) -> Measured:
        known = [by_recipe for by_recipe in self.classes.values() if name in by_recipe]
        return min(known, key=lambda by_recipe: _distance(values.losses, by_recipe[name].losses), default={})


def _distance(losses: tuple[float, ...], others: tuple[float, ...]) -> float:
    """The largest relative difference."""
    if len(losses) != len(others):
        return float("inf")
    return max(abs(one - other) / abs(other) for one, other in zip(losses, others, strict=True))


# Measuring


def train(recipe: dict[str, Any]) -> Values:
    """Train a recipe in this process."""
    import torch

    from moewright.experiment.planning import open_data
    from moewright.experiment.recipe import Recipe
    from moewright.lab.session import Session
    from moewright.lab.sharding import World

    made = Recipe.from_dict(recipe)
    session = Session(made, open_data(made), World(0, 1, torch.device("cpu")))
    losses = []
    while not session.is_done:
        losses.append(sum(session.next_step()[0].values))
    report = session.evaluate()
    losses += [loss for loss in (report.loss, report.capacity_loss) if loss is not None]
    bits = hashlib.sha256()
    for name, tensor in sorted({**session.model.state_dict(), **session.optimizers.state()}.items()):
        bits.update(f"{name}\0".encode() + tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return Values(tuple(losses), bits.hexdigest())


def measure(
    restriction: str = "native", products: str = "torch", loops: Loops = "grouped", source: Path = ROOT / "src"
) -> tuple[str, Measured]:
    """The machine class and the values of all recipes, in a process of its own on one thread.

    `products`: their backend. `loops`: over heads and experts. `source`: the folder of the moewright that trains.
    Raises subprocess.CalledProcessError if it fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        inherited = {name: value for name, value in os.environ.items() if name != "MKL_CBWR"}  # MKL's order of sums
        environment = {
            **inherited,
            **RESTRICTIONS[restriction],
            **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
            "ONEDNN_VERBOSE": "dispatch",  # the least that makes it say which instructions it uses
            "PYTHONPATH": f"{source}{os.pathsep}{ROOT}",
        }
        command = [sys.executable, "-m", "tests.lab.golden", "--measure", folder]
        command += ["--products", products, "--loops", loops]
        ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        if ended.returncode:
            raise subprocess.CalledProcessError(ended.returncode, command, ended.stdout, ended.stderr)
        said = re.search(r"info,cpu,isa:(.*)", ended.stdout)
        measured = Golden.load(Path(folder) / "values.json")
    ((machine, values),) = measured.classes.items()
    one_by_one = "" if loops == "single" else f", loops {loops}"
    return f"{machine}, oneDNN {said.group(1) if said else 'unused'}, products by {products}{one_by_one}", values


def _measure_here(folder: Path, products: Backend, loops: Loops) -> None:
    """Train all recipes and write their values into the folder."""
    import torch

    from moewright.lab.fast.choice import using_products

    torch.set_num_threads(1)
    capability = torch.backends.cpu.get_cpu_capability()
    machine = f"torch {torch.__version__}, {_processor_maker()}, ATen {capability}"
    with using_products(ProductChoice.all(products, "stated", loops=loops)):
        values = {name: train(one) for name, one in golden_recipes(folder).items()}
    Golden(0, {machine: values}).save(folder / "values.json")


def _processor_maker() -> str:
    try:
        found = re.search(r"vendor_id\s*:\s*(\S+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found.group(1) if found else f"{platform.system()} {platform.machine()}"


def add() -> int:
    """Store the values of this machine's classes. 1, and nothing is stored, if training changed unannounced."""
    from moewright.experiment.identity import TRAINING_VERSION

    golden = Golden.load() if VALUES.exists() else Golden(TRAINING_VERSION)
    if golden.training_version != TRAINING_VERSION:
        print(f"dropped: the values of training version {golden.training_version} of {len(golden.classes)} classes")
        golden = Golden(TRAINING_VERSION)
    loops: tuple[Loops, ...] = get_args(Loops)
    found = dict(measure(*one) for one in product(RESTRICTIONS, BACKENDS, loops))
    for machine, measured in found.items():
        stored = golden.classes.get(machine, {})
        changed = [name for name, values in measured.items() if stored.get(name, values) != values]
        if changed:
            print(f"{changed[0]}: training computes something else than before on {machine}. If it is meant to, raise")
            print("TRAINING_VERSION in moewright.experiment.identity; if the recipe changed, give it another name.")
            return 1
    golden.classes |= found
    golden.save()
    print("\n".join(f"stored: {machine}" for machine in found))
    return 0


# Mutations: what the golden values must find


class Mutation(NamedTuple):
    """One change of the sources that changes what training computes."""

    what: str
    file: str
    old: str
    """Stands in the file once."""
    new: str


_MODEL, _FAST = "lab/model", "lab/fast"
MUTATIONS = (
    Mutation("epsilon of RMSNorm", f"{_FAST}/elementwise.py", ".add_(eps)", ".add_(1.1 * eps)"),
    Mutation("epsilon of the latent norms", f"{_MODEL}/attention.py", "NORM_EPS = 1e-6", "NORM_EPS = 2e-6"),
    Mutation("scale of the softmax", f"{_MODEL}/attention.py", "spec.head_dim**-0.5", "spec.head_dim**-0.501"),
    Mutation("base of the rotation", f"{_MODEL}/attention.py", "rope.theta**-exp", "(rope.theta + 0.1) ** -exp"),
    Mutation("smallest sum of scores", f"{_MODEL}/router.py", "TINY = 1e-20", "TINY = 1e-6"),
    Mutation("best experts that rank a group", "architecture/feed_forwards.py", "return 1 if", "return 2 if"),
    Mutation("rounding of the capacity", f"{_MODEL}/router.py", "math.floor(even)", "round(even)"),
    Mutation("sign of the selection bias", f"{_MODEL}/balancing.py", "direction = -(", "direction = ("),
    Mutation(
        "weight of the balance loss",
        f"{_MODEL}/balancing.py",
        "return loss.weight * (",
        "return 1.001 * loss.weight * (",
    ),
    Mutation("weight of the z-loss", f"{_MODEL}/balancing.py", "[routing.z.sum() /", "[1.001 * routing.z.sum() /"),
    Mutation("initial deviation", "experiment/recipe.py", "Positive = 0.02\n", "Positive = 0.02001\n"),
    Mutation("power of mup", "lab/optimization.py", "settings.base_width**-0.5", "settings.base_width**-0.501"),
    Mutation("scale of Muon", "lab/optimization.py", "match_rms_adamw", "original"),
    Mutation("decay of vectors", "lab/optimization.py", "0.0 if tensor.ndim == 1", "1e-3 if tensor.ndim == 1"),
    Mutation("default of the optimizer", "experiment/recipe.py", "lt=1)] = 0.95\n    eps", "lt=1)] = 0.951\n    eps"),
    Mutation("default of the decay", "experiment/recipe.py", "le=1)] = 0.2\n", "le=1)] = 0.3\n"),
    Mutation("limit of the gradient's norm", "lab/session.py", "float(limit / norm)", "float(limit / (norm + 1e-6))"),
    Mutation("share of the warm-up", "experiment/schedule.py", "return tokens / sch", "return (tokens - 1) / sch"),
    Mutation("form of the cosine", "experiment/schedule.py", "math.cos(math.pi", "math.cos(3.1416"),
    Mutation("constant of a law", "laws/published/steplaw.py", "1.79", "1.791"),
    Mutation("order of the data", "data/batches.py", "0x9E3779B97F4A7C15", "0x9E3779B97F4A7C17"),
    Mutation("where documents end", "data/batches.py", "dtype=np.int64) - ends", "dtype=np.int64)"),
)


def mutated(mutation: Mutation, folder: Path) -> Path:
    """A copy of the sources with a change; the folder to import from."""
    source = folder / "src"
    shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
    path = source / "moewright" / mutation.file
    before = path.read_text()
    assert before.count(mutation.old) == 1, f"{mutation.what}: {mutation.old!r} is not once in {mutation.file}"
    path.write_text(before.replace(mutation.old, mutation.new))
    return source


def _missed() -> Iterator[str]:
    """Try all mutations, a line for each; yields those that are not found."""
    golden = Golden.load()
    for mutation in MUTATIONS:
        with tempfile.TemporaryDirectory() as folder:
            machine, measured = measure(source=mutated(mutation, Path(folder)))
        others = Golden(golden.training_version, {name: one for name, one in golden.classes.items() if name != machine})
        found = golden.complaints(machine, measured, golden.training_version)
        elsewhere = others.complaints(machine, measured, golden.training_version)
        print(f"{mutation.what}: found by {len(found)} recipes, on an unknown machine by {len(elsewhere)}", flush=True)
        if not found:
            yield mutation.what


def main() -> int:
    """The commands above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--add", action="store_true")
    action.add_argument("--mutate", action="store_true")
    action.add_argument("--measure", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    parser.add_argument("--products", choices=BACKENDS, help=argparse.SUPPRESS)
    parser.add_argument("--loops", choices=get_args(Loops), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        _measure_here(asked.measure, asked.products, asked.loops)
        return 0
    if asked.add:
        return add()
    missed = list(_missed())
    print(f"not found: {', '.join(missed)}" if missed else f"all {len(MUTATIONS)} changes were found")
    return len(missed)


if __name__ == "__main__":
    sys.exit(main())
