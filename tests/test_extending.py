"""One more of a kind is one new file and one line that names it: a toy of each, added to a copy of the sources."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.docs.pages import ROOT
from tests.lab.test_golden import ids

LAW = '''
"""A law of nobody's."""

from dataclasses import replace

from moewright.laws.published.zhao2025 import LAW as ZHAO

LAW = replace(ZHAO, name="toy2026", title="A law of nobody's")
'''
USES_LAW = """
import moewright
assert "toy2026" in [line.name for line in moewright.describe_laws().laws]
assert moewright.describe_laws("toy2026").title == "A law of nobody's"
model = moewright.Recipe.load("examples/train/tiny.yaml").architecture
assert moewright.predict(model, train_tokens="1B", law=["toy2026"]).to_dict()["laws"][0]["loss"] > 0
"""

FAMILY = '''
"""Toys."""

from moewright.hf.families.mixtral import FAMILIES as MIXTRAL

FAMILIES = {"toy_moe": MIXTRAL["mixtral"]._replace(model_type="toy_moe")}
'''
USES_FAMILY = """
import moewright
sizes = dict(hidden_size=64, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
             num_local_experts=4, num_experts_per_tok=2, vocab_size=128)
toy, model = (moewright.inspect({"model_type": kind, **sizes}) for kind in ("toy_moe", "mixtral"))
assert toy.total_params == model.total_params > 0
"""

EXPORTER = '''
"""Toys in the toy framework's terms."""

from moewright.architecture.spec import Architecture
from moewright.exporters.target_conventions import Written


def export(architecture: Architecture, balance_loss: float | None) -> Written:
    """The number of its layers."""
    return Written({"toy.txt": f"{architecture.num_layers}"}, ())
'''
USES_EXPORTER = """
import moewright
model = moewright.Recipe.load("examples/train/tiny.yaml").architecture
assert dict(moewright.export(model, "toy").files) == {"toy.txt": "4"}
"""

IMPORTER = '''
"""Toys' runs."""

import pandas as pd


def import_toy(frame: pd.DataFrame, where: str) -> pd.DataFrame:
    """Their losses have another name."""
    return frame.rename(columns={"toy_loss": "loss"})
'''
USES_IMPORTER = """
import sys
from pathlib import Path
from moewright import runs
path = Path(sys.argv[1]) / "toys.csv"
path.write_text("run_id,toy_loss\\na,2.5\\n")
assert runs.load(path, source="toy")["loss"].tolist() == [2.5]
"""

SECTION = '''
"""How toys show themselves."""

from typing import Any

from rich.console import Console


def print_toy(console: Console, toy: Any) -> None:
    """One line."""
    console.print(f"a toy of {toy}")
'''
USES_SECTION = """
import io
from rich.console import Console
from moewright.report import show
class Toy:
    def __str__(self):
        return "wood"
out = io.StringIO()
show(Toy(), Console(file=out))
assert out.getvalue() == "a toy of wood\\n"
"""

BALANCE_LOSS = '''
"""The importance loss."""

from typing import Any, Literal

from moewright.architecture.feed_forwards import MoE
from moewright.experiment.balance_loss import BalanceLoss


class ImportanceLoss(BalanceLoss):
    """The squared coefficient of variation of the experts' shares (arXiv 1701.06538, equation 7)."""

    kind: Literal["importance"]
    power: float = 2.0

    def by_sample(self, moe: MoE, loads: Any, shares: Any) -> Any:
        """(S,)."""
        return (shares.std(-1, unbiased=False) / shares.mean(-1)) ** self.power
'''
USES_BALANCE_LOSS = """
import sys
from moewright.errors import UserError
from moewright.experiment.identity import run_id
from moewright.experiment.recipe import Recipe

def recipe(*losses):
    values = Recipe.load("examples/train/tiny.yaml").to_dict()
    return Recipe.from_dict({**values, "balancing": {"losses": list(losses)}})

toy, switch = {"kind": "importance", "weight": 0.5}, {"weight": 0.5}
made = recipe(toy, switch)
assert [type(loss).__name__ for loss in made.balancing.losses] == ["ImportanceLoss", "SwitchLoss"]
assert Recipe.from_dict(made.to_dict()) == made
assert len({run_id(recipe(*some), "tokens") for some in ((toy,), (switch,), (toy, switch), (switch, toy))}) == 4
assert run_id(recipe({**toy, "power": 2.0}), "tokens") == run_id(recipe(toy), "tokens")
for wrong, said in (({**toy, "powr": 3.0}, "power"), ({**toy, "kind": "importence"}, "importance")):
    try:
        recipe(wrong)
    except UserError as error:
        assert str(error).startswith("balancing.losses[0]") and said in str(error) and "\\n" not in str(error), error
    else:
        raise AssertionError(wrong)
try:
    import torch
except ModuleNotFoundError:
    sys.exit()
from moewright.lab.model.balancing import balance_loss
from moewright.lab.model.moe import MoELayer, Routing
layers = [MoELayer(moe, made.architecture.hidden_size) for _, moe in made.architecture.moe_layers()]
experts = layers[0].spec.num_experts
shares = torch.rand(3, experts, dtype=torch.float64, requires_grad=True)
tokens = torch.full((3,), 7)
routing = Routing(loads=torch.ones(3, experts, dtype=torch.int64), shares=shares, tokens=tokens, **{
    name: torch.zeros(()) for name in Routing.__annotations__ if name not in ("loads", "shares", "tokens")})
one = layers[:1]
found = balance_loss(made.balancing.losses[0], [routing], one)
mean = shares.sum(0) / 21
assert torch.isclose(found, 0.5 * mean.var(unbiased=False) / mean.mean() ** 2)
found.backward()
assert shares.grad.abs().sum() > 0
"""


@dataclass(frozen=True)
class Addition:
    """A file, and the line that names it before another in a table of its package."""

    file: str
    text: str
    table: str
    line: str
    before: str
    use: str
    """A program that uses it."""


KINDS = {
    "law": Addition(
        "laws/published/toy2026.py", LAW, "laws/catalogue.py", '"toy2026": "toy2026.LAW",', '"zhao2025":', USES_LAW
    ),
    "family": Addition(
        "hf/families/toy.py", FAMILY, "hf/families/__init__.py", '"toy": ("toy_moe",),', '"mixtral":', USES_FAMILY
    ),
    "exporter": Addition(
        "exporters/toy.py", EXPORTER, "exporters/__init__.py", '"toy": "toy",', '"hf":', USES_EXPORTER
    ),
    "importer": Addition(
        "runs/importers/toy.py",
        IMPORTER,
        "runs/importers/__init__.py",
        '"toy": "toy.import_toy",',
        '"joint_moe":',
        USES_IMPORTER,
    ),
    "section of the report": Addition(
        "report/toy_tables.py",
        SECTION,
        "report/__init__.py",
        '"Toy": "toy_tables.print_toy",',
        '"Dataset":',
        USES_SECTION,
    ),
    "balancing loss": Addition(
        "experiment/balance_losses/importance.py",
        BALANCE_LOSS,
        "experiment/balance_losses/__init__.py",
        '"importance": "importance.ImportanceLoss",',
        '"switch":',
        USES_BALANCE_LOSS,
    ),
}
DEVICE = """
  Toy:
    description: A toy
    memory: 1GB
    memory_bandwidth: 1GB
    peak_flops: {bf16: 1T}
    node: {devices: 1, bandwidth: 1GB, link: none}
    sources: {memory: assumed, memory_bandwidth: assumed, peak_flops: assumed, node: assumed}
"""
USES_DEVICE = """
from moewright import hardware
assert "Toy" in hardware.known_devices()
assert hardware.load_device("Toy").memory == 1e9
"""


def copied(folder: Path) -> Path:
    """The sources, to be added to."""
    source = folder / "src"
    shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
    return source


def use(program: str, source: Path, folder: Path) -> None:
    """Run a program with these sources; AssertionError with what it says if it fails."""
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)],
        env={**os.environ, "PYTHONPATH": str(source)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_one_more_is_one_file_and_one_line(kind: str, tmp_path: Path) -> None:
    added = KINDS[kind]
    source = copied(tmp_path)
    (source / "moewright" / added.file).write_text(added.text.lstrip())
    table = source / "moewright" / added.table
    listed, before = table.read_text(), f"    {added.before}"
    assert listed.count(before) == 1
    table.write_text(listed.replace(before, f"    {added.line}\n{before}"))
    use(added.use, source, tmp_path)
    if kind == "balancing loss":  # and every run is what it was
        assert ids(source) == ids(ROOT / "src")


def test_one_more_device_is_one_entry(tmp_path: Path) -> None:
    source = copied(tmp_path)
    with open(source / "moewright" / "hardware" / "devices.yaml", "a") as devices:
        devices.write(DEVICE)
    use(USES_DEVICE, source, tmp_path)
