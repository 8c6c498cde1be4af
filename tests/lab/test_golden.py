"""Training computes what it computed: golden values, bit for bit, that take every branch; and what runs' ids follow."""

import ast
import os
import shutil
import subprocess
import sys
import types
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ForwardRef, Literal, Union, get_args, get_origin

import pytest
from pydantic_core import PydanticUndefined

from moewright.architecture import mixers
from moewright.experiment.identity import TRAINING_VERSION
from moewright.experiment.product_backends import Loops
from moewright.experiment.recipe import Initialization, Optimizer, Recipe, Schedule
from moewright.experiment.routing import SelectionBias
from moewright.records import Record
from tests.lab import golden
from tests.lab.golden import ADD, MUTATIONS, Golden, Measured
from tests.lab.golden_recipes import golden_recipes


@cache
def measured(restriction: str, products: str, loops: Loops) -> tuple[str, Measured]:
    """Its class and values on this machine."""
    torch = pytest.importorskip("torch")
    from moewright.lab.fast.choice import HAS_ONEDNN

    if products == "onednn" and not HAS_ONEDNN:
        pytest.skip("torch has no products of oneDNN here")
    if restriction == torch.backends.cpu.get_cpu_capability():
        pytest.skip(f"this machine has no more than {restriction}: that is native")
    return golden.measure(restriction, products, loops)


def said(complaints: list[str]) -> str:
    """What a failing test says."""
    return "\n".join([*complaints, "If that is meant, raise TRAINING_VERSION, say there what changed, and run", ADD])


@pytest.mark.parametrize(
    ("restriction", "products", "loops"),
    [("native", "torch", "grouped"), ("native", "onednn", "single"), ("AVX2", "onednn", "grouped")],
)
def test_training_computes_the_golden_values(restriction: str, products: str, loops: Loops) -> None:
    machine, values = measured(restriction, products, loops)
    stored = Golden.load()
    complaints = stored.complaints(machine, values, TRAINING_VERSION)
    assert not complaints, said(complaints)
    if machine not in stored.classes:
        pytest.skip(f"losses are near the stored ones; bits are not known on {machine}: {ADD}")


def test_every_recipe_has_values_of_two_classes_and_no_class_has_others(tmp_path: Path) -> None:
    names = set(golden_recipes(tmp_path))
    stored = Golden.load()
    assert all(set(by_recipe) <= names for by_recipe in stored.classes.values())
    assert all(sum(name in by_recipe for by_recipe in stored.classes.values()) >= 2 for name in names)


# Which changes are found


def test_a_changed_constant_is_found_on_known_and_unknown_machines(tmp_path: Path) -> None:
    """One of `python -m tests.lab.golden --mutate`."""
    pytest.importorskip("torch")
    mutation = next(one for one in MUTATIONS if one.what == "scale of the softmax")
    machine, values = golden.measure(source=golden.mutated(mutation, tmp_path))
    stored = Golden.load()
    assert len(stored.complaints(machine, values, TRAINING_VERSION)) > len(values) / 2
    others = Golden(stored.training_version, {name: one for name, one in stored.classes.items() if name != machine})
    assert others.complaints(machine, values, TRAINING_VERSION)


def test_a_raised_version_asks_for_new_values() -> None:
    (complaint,) = Golden.load().complaints("any", {}, TRAINING_VERSION + 1)
    assert complaint.endswith(ADD)


def test_values_of_an_unknown_class_may_differ_as_much_as_stored_ones_do() -> None:
    def of(loss: float, weights: str = "") -> Measured:
        return {"one": golden.Values((loss,), weights)}

    stored = Golden(1, {"a": of(1.0), "b": of(1.001)})
    limit = 1.001 + 0.001 * golden.MARGIN  # from the nearest of them
    assert stored.complaints("c", of(limit - 1e-3, "other"), 1) == []
    assert len(stored.complaints("c", of(limit + 1e-3), 1)) == 1
    assert len(stored.complaints("a", of(1.0, "other"), 1)) == 1
    assert stored.complaints("b", of(1.001), 1) == []
    newer = Golden(1, {**stored.classes, "c": {"another": golden.Values((2.0,), "")}})
    assert newer.complaints("c", of(limit - 1e-3, "other"), 1) == []
    assert len(newer.complaints("c", of(limit + 1e-3), 1)) == 1
    assert len(newer.complaints("a", {"a third": golden.Values((2.0,), "")}, 1)) == 1


SWEEPS = ("examples/sweeps/tiny.yaml", "examples/small_mixtures/sweep.yaml")
PLAN = """
import sys
from pathlib import Path
from moewright.experiment import identity
from moewright.sweeps.settings.cells import resolve_cells
from moewright.sweeps.sweep_spec import LoadedSweep

assert identity.__file__.startswith(sys.argv[1]), identity.__file__
for path in sys.argv[2:]:
    loaded = LoadedSweep.load(Path(path))
    for cell in resolve_cells(loaded.recipe, loaded.beside, loaded.spec.axes):
        for seed in loaded.spec.seeds:
            print(identity.run_id(cell.recipe.model_copy(update={"seed": seed}), "tokens"))
"""


def ids(source: Path) -> list[str]:
    """The ids of all cells and seeds of the sweeps of the examples, by the moewright of a folder."""
    command = [sys.executable, "-c", PLAN, str(source), *SWEEPS]
    environment = {**os.environ, "PYTHONPATH": str(source)}
    ended = subprocess.run(command, env=environment, cwd=golden.ROOT, capture_output=True, text=True, check=True)
    return ended.stdout.split()


def test_comments_leave_every_run_what_it_was_and_a_raised_version_none(tmp_path: Path) -> None:
    source = tmp_path / "src"
    shutil.copytree(golden.ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
    before = ids(golden.ROOT / "src")
    assert len(before) == len(set(before)) > 50
    for path in source.rglob("*.py"):
        path.write_text(path.read_text() + "\n# As it was, but for this line.\n")
    assert ids(source) == before
    changed = source / "moewright" / "experiment" / "identity.py"
    version = f"\nTRAINING_VERSION = {TRAINING_VERSION}"
    assert changed.read_text().count(version) == 1
    changed.write_text(changed.read_text().replace(version, version + "9"))
    assert not set(ids(source)) & set(before)


# Constants that no golden recipe shows

TRAINING = ("lab", "data/batches.py", "experiment/balance_losses", "experiment/schedule.py", "experiment/support.py")
"""Where numbers are named that training computes with."""
BESIDE_TRAINING = {
    "lab/hf_weights/tensors.py: _LISTED": "how many names a complaint lists",
    "lab/loop.py: _SMOOTHING": "the loss that is shown",
    "lab/machine.py: _SECONDS": "measures the machine's peak",
    "lab/product_timing.py: _BF16_TURNS": "measures the backends of products",
    "lab/product_timing.py: _PAUSE": "waits for another process that measures them",
    "lab/product_timing.py: _TURNS": "measures the backends of products",
    "lab/product_timing.py: _WAIT_SECONDS": "waits for another process that measures them",
    "lab/machine.py: _TOP_PAD": "when the allocator gives memory back",
}
FROZEN: dict[int, dict[str, float]] = {
    1: {
        "data/batches.py: _GOLDEN_GAMMA": 0x9E3779B97F4A7C15,
        "experiment/support.py: LOGIT_ROWS": 512,
        "lab/fast/blockwise_attention.py: BLOCK": 512,
        "lab/fast/blockwise_attention.py: GROUP_BLOCK": 64,
        "lab/fast/blockwise_attention.py: SCORE_BYTES": 2**20,
        "lab/fast/choice.py: SMALL": 2**22,
        "lab/fast/chunked_loss.py: IGNORED": -100,
        "lab/fast/expert_loop.py: GROUP_BYTES": 2**21,
        "lab/loop.py: PATIENCE": 20,
        "lab/model/attention.py: LATENT_NORM_EPS": 1e-6,
        "lab/model/router.py: TINY": 1e-20,
    }
}
"""By training version: another value is another version, be it seen by the golden recipes or not."""


def named_numbers(source: Path) -> dict[str, float]:
    """The numbers that modules which training runs give a name, by file and name."""
    found: dict[str, float] = {}
    patterns = [name if name.endswith(".py") else f"{name}/**/*.py" for name in TRAINING]
    for path in sorted(path for pattern in patterns for path in source.glob(pattern)):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
                continue
            parts = [part for part in ast.walk(node.value) if isinstance(part, ast.expr)]
            if all(isinstance(part, ast.BinOp | ast.UnaryOp | ast.Constant) for part in parts):
                value = eval(ast.unparse(node.value))
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                if isinstance(value, int | float):
                    found |= {f"{path.relative_to(source).as_posix()}: {ast.unparse(name)}": value for name in targets}
    return found


def test_a_changed_constant_needs_another_version() -> None:
    numbers = named_numbers(golden.ROOT / "src" / "moewright")
    assert {name: value for name, value in numbers.items() if name not in BESIDE_TRAINING} == FROZEN[TRAINING_VERSION]
    assert [name for name in BESIDE_TRAINING if name not in numbers] == []


# Whether the recipes take every branch

NOT_TRAINED: dict[type[Record], str] = {
    mixer: "the lab refuses it"
    for mixer in get_args(get_args(mixers.Mixer)[0])
    if mixer not in (mixers.Attention, mixers.LatentAttention)
}
NOT_TRAINED[mixers.Indexer] = "the lab refuses it"
LEFT_OUT = {
    **dict.fromkeys(
        (
            "Architecture.attention_residuals: other",
            "Architecture.hyper_connections: other",
            "Architecture.mtp_norms: other",
            "Architecture.mixes_streams: False",
            "Architecture.per_layer_input: PerLayerInput",
            "PerLayerInput.*: value",
            "Attention.indexer: BlockIndexer",
            "BlockIndexer.*: value",
            "BlockIndexer.pooled: *",
            "Attention.key_values: 'earlier_layer'",
            "Attention.key_values: 'keys'",
            "Architecture.merges_streams: False",
            "Architecture.residual_vectors: other",
            "Architecture.rope_frequencies: other",
            "Architecture.own_weights: OwnWeight",
            "OwnWeight.*",
            "Architecture.lm_head_rows: value",
            "Layer.own_weights: OwnWeight",
            "Layer.own_state: other",
            "Layer.passes: other",
            "Router.input_size: value",
            "Router.skip_choices: other",
            "SharedExpert.combine: 'scored'",
            "Attention.output_gate_bias: 'per_head'",
            "LatentAttention.gate_from_query: True",
            "LatentAttention.key_values: 'earlier_layer'",
            "LatentAttention.position_scaling: True",
            "Layer.mixer_norm_gate: value",
            "Layer.feed_forward_norm_gate: value",
            "Layer.norms: 'half_weighted_sandwich'",
            "MoE.expert_output_norm: True",
            "MoE.image_group: ExpertGroup",
            "Attention.dynamic_mask: value",
            "Attention.q_rank: value",
            "Router.kind: 'product_keys'",
            "Attention.value_head_dim: value",
            "Attention.value_norm: True",
            "LatentAttention.sinks: True",
            "LatentAttention.num_kv_heads: value",
            "LatentAttention.num_noise_heads: other",
            "Attention.reads_embedding: True",
            "Layer.one_residual: True",
            "Layer.shares_weights: True",
            "MoE.experts: 'earlier_layer'",
            "Dense.activation: 'poly_norm'",
            "MoE.activation: 'poly_norm'",
            "MoE.branch_norms: True",
            "MoE.output_norm: True",
            "Router.expert_scale: True",
            "Router.input_scale: True",
            "Attention.sinks: True",
            "LatentAttention.indexer: Indexer",
            "LatentAttention.output_gate: 'per_channel'",
            "LatentAttention.output_gate: 'per_head'",
            "LatentAttention.rope_key_norm: True",
            "Dense.activation: 'situ'",
            "Dense.activation: 'xielu'",
            "MoE.activation: 'xielu'",
            "Layer.feed_forward: NoFeedForward",
            "MoE.activation: 'situ'",
            "NoFeedForward.kind: 'none'",
            "MoE.expert_bias: True",
            "MoE.identity_experts: other",
            "MoE.identity_input_weights: True",
            "Rope.scaling: value",
            "Router.kind: 'hash'",
        ),
        "the lab refuses it",
    ),
    **dict.fromkeys(
        (
            "Architecture.max_context: value",
            "Architecture.weights_format: *",
            "Checkpoints.every_minutes: None",
            "Checkpoints.every_minutes: other",
            "Checkpoints.every_tokens: value",
            "Checkpoints.keep: other",
            "Evaluation.every_tokens: value",
            "Recipe.log_every_steps: other",
            "Recipe.mirrors: 'wandb'",
            "Recipe.mirrors: 'mlflow'",
            "Recipe.mirrors: 'trackio'",
        ),
        "no number depends on it",
    ),
    **dict.fromkeys(
        ("Recipe.data: value", "ShardFiles.dtype: 'uint32'", "ShardFiles.dtype: None"),
        "the tokens are the same: tests/data",
    ),
    "Recipe.parallel: 'shard'": "for several processes: test_distributed holds it to the losses of one",
    "Recipe.initial_weights: value": "begins at the weights of transformers' modules: test_hf holds it to their losses",
}
"""Settings that no golden recipe has, each with the reason; * stands for all values."""


def kinds(annotation: Any) -> set[str]:
    """The kinds of values that a field may have, in words: 'a word', True, None, a record's class, value, ()."""
    if isinstance(annotation, type) and issubclass(annotation, Record):
        return {annotation.__name__}
    if isinstance(annotation, str | ForwardRef):  # of a class inside itself; see `fields_of`
        return set()
    if annotation is type(None):
        return {"None"}
    if annotation is bool:
        return {"True", "False"}
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return {repr(value) for value in inner}
    if origin is Annotated:
        return kinds(inner[0])
    if origin in (tuple, Union, types.UnionType):
        return set().union(*(kinds(one) for one in inner if one is not ...))
    return {"value"}


def kind_of(value: Any, possible: set[str]) -> Iterator[str]:
    """The kinds that a value has."""
    if isinstance(value, tuple):
        for one in value:
            yield from kind_of(one, possible)
    elif isinstance(value, Record):
        yield type(value).__name__
    else:
        yield repr(value) if repr(value) in possible else "value"


def records_in(annotation: Any) -> Iterator[type[Record]]:
    """The classes of records in a type."""
    if isinstance(annotation, type) and issubclass(annotation, Record):
        yield annotation
    for inner in get_args(annotation):
        yield from records_in(inner)


def fields_of(record: type[Record]) -> Iterator[tuple[str, Any, set[str]]]:
    """Name, default and kinds of each field; a number with a default has the kinds default and other."""
    for name, field in record.model_fields.items():
        # A class inside itself is the same kind once more, whether pydantic has resolved its name by now or not.
        possible = kinds(field.annotation) - {record.__name__}
        if "value" in possible and field.default is not PydanticUndefined and field.default is not None:
            possible = (possible - {"value"}) | {"default", "other"}
        yield f"{record.__name__}.{name}", field.default, possible


def required() -> set[str]:
    """Every kind of every field of every record that a recipe may hold."""
    found: set[str] = set()
    waiting: list[type[Record]] = [Recipe]
    seen: set[type[Record]] = set()
    while waiting:
        record = waiting.pop()
        if record in seen or record in NOT_TRAINED:
            continue
        seen.add(record)
        untrained = {mixer.__name__ for mixer in NOT_TRAINED if mixer is not mixers.Indexer}
        for name, _, possible in fields_of(record):
            found |= {f"{name}: {kind}" for kind in possible - untrained}
        for field in record.model_fields.values():
            waiting += records_in(field.annotation)
    return found


def without_use(value: Record) -> tuple[str, ...]:
    """Fields that say nothing beside the others of a record: at their default there, they are not tried."""
    if isinstance(value, Schedule):
        return value.unused
    if isinstance(value, Initialization):
        return (value.unused,)
    if isinstance(value, SelectionBias):
        return value.unused
    return ("momentum",) if isinstance(value, Optimizer) and value.kind == "adamw" else ()


def occurring(value: Any) -> Iterator[str]:
    """The kinds of fields that a recipe has, through all that it holds."""
    if isinstance(value, tuple):
        for one in value:
            yield from occurring(one)
    if not isinstance(value, Record):
        return
    for name, default, possible in fields_of(type(value)):
        if name.partition(".")[2] in without_use(value):
            continue
        given = getattr(value, name.partition(".")[2])
        if "default" in possible and not isinstance(given, Record):
            found = {"None"} if given is None else {"default" if given == default else "other"}
        else:
            found = set(kind_of(given, possible))
        yield from (f"{name}: {kind}" for kind in found)
        yield from occurring(given)


def test_the_golden_recipes_have_every_setting(tmp_path: Path) -> None:
    found = {kind for plain in golden_recipes(tmp_path).values() for kind in occurring(Recipe.from_dict(plain))}
    everything = required()
    missing = everything - found
    assert sorted(kind for kind in missing if not any(fnmatchcase(kind, name) for name in LEFT_OUT)) == []
    assert [name for name in LEFT_OUT if not any(fnmatchcase(kind, name) for kind in missing)] == []
