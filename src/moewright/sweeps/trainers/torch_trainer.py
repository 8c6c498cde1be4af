"""What trainers in PyTorch have in common: the interpreter of their environment, and how processes are started."""

import json
from collections.abc import Mapping
from importlib import resources
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from moewright.data.dataset import Dataset
from moewright.data.shards import TOKEN_DTYPES
from moewright.errors import UserError
from moewright.experiment.recipe import Recipe
from moewright.exporters.exported import Export, export_to
from moewright.foreign_text import shell_words, to_json
from moewright.records import Free
from moewright.sweeps.sweep_spec import OPTION_NAME, Execution
from moewright.sweeps.trainers.expressible import exported_balance
from moewright.sweeps.trainers.recipe_values import recipe_values, token_files
from moewright.sweeps.trainers.trainer import CellRun, Trainer


class TorchTrainer(Trainer):
    """Settings of a trainer that torchrun starts."""

    indifferent: ClassVar[tuple[str, ...]] = ("python", "launch")

    always_torchrun: ClassVar[bool] = False
    """Whether one process is started by torchrun too."""

    python: str = "python3"
    """The interpreter that has the trainer installed."""
    launch: Literal["torchrun", "srun"] = "torchrun"
    """torchrun: all processes on one machine. srun: on the nodes of a Slurm job, one torchrun on each."""
    arguments: dict[Annotated[str, Field(pattern=OPTION_NAME)], Free] = Field({})
    """More of the trainer's own, in its words; what the sweep itself sets is refused."""

    def exported(self, recipe: Recipe) -> Export:
        """A recipe's model and balance loss in the trainer's terms, by the exporter of its name."""
        return export_to(self.name, recipe.architecture, exported_balance(recipe, self.name))

    def start(self, script: str, execution: Execution, *more: str) -> str:
        """The line that starts a Python script with its arguments on the run's processes."""
        count = processes(execution)
        program = shell_words(self.python)
        rest = shell_words(script, *more)
        run = f"{program} -m torch.distributed.run --nproc-per-node {count}"
        if self.launch == "srun":
            nodes = '--nnodes "$SLURM_NNODES" --rdzv-id "$SLURM_JOB_ID" --rdzv-backend c10d --rdzv-endpoint "$head"'
            return (
                'head="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1):29500"\n'
                f"srun --ntasks-per-node 1 --kill-on-bad-exit=1 {run} {nodes} {rest}"
            )
        return f"{run} --standalone {rest}" if count > 1 or self.always_torchrun else f"{program} {rest}"


def settings_text(run: CellRun, **more: object) -> str:
    """settings.json, what a run's script is told: the recipe in numbers and as it is, the files of tokens, and more."""
    settings = {
        **recipe_values(run.recipe),
        **token_files(run.dataset),
        "processes": processes(run.execution),
        **more,
        "recipe": run.recipe.to_dict(),
    }
    return to_json(json.dumps(settings, indent=1)) + "\n"


def processes(execution: Execution) -> int:
    """Of a run: one for each of its GPUs, or one."""
    return execution.gpus_per_run or 1


def script_text(name: str) -> str:
    """A file of `templates/`, which is copied into runs' folders."""
    return resources.files("moewright.sweeps.trainers").joinpath("templates", name).read_text("utf-8")


def option_words(arguments: Mapping[str, object], dashes: bool = False) -> list[str]:
    """Options as words: True is a flag, a list several values. `dashes`: in names, instead of underscores."""
    words = []
    for name, value in arguments.items():
        words.append(f"--{name.replace('_', '-') if dashes else name}")
        if value is not True:
            words += map(str, value) if isinstance(value, list | tuple) else [str(value)]
    return words


def check_bare_tokens(dataset: Dataset, trainer: str) -> None:
    """UserError unless all shards are bare tokens, without a header: what this trainer maps into memory."""
    size = TOKEN_DTYPES[dataset.train.dtype].itemsize
    for shards in (dataset.train, *dataset.validation.values()):
        if sum(path.stat().st_size for path in shards.files) != len(shards) * size:
            raise UserError(f"{trainer} reads bare tokens; {shards.files[0]} has a header: prepare or convert the data")
