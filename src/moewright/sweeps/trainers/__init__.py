"""What trains the runs of a sweep: the lab, or a trainer of the user's own; one file each.

A new trainer is a class like `command.CommandTrainer`, in a file here, and its line in `TRAINERS`.
"""

from collections.abc import Mapping

TRAINERS: Mapping[str, str] = {
    "olmo-core": "olmo_core_trainer.OlmoCoreTrainer",
    "torchtitan": "torchtitan_trainer.TorchtitanTrainer",
    "megatron": "megatron_trainer.MegatronTrainer",
    "hf": "hf_trainer.HuggingFaceTrainer",
    "command": "command.CommandTrainer",
}
"""The name that `--trainer` takes, and the module and class here. `lab` is none of them: a worker trains its runs."""

LAB = "lab"
