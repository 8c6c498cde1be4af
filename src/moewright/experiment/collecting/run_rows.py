"""One run folder as one row of the run table. No torch: records are read, nothing is computed again."""

import json
import math
from collections.abc import Mapping
from typing import Any, TypeGuard

from moewright.architecture.counts import training_flops
from moewright.errors import UserError
from moewright.experiment.collecting.learning_curves import Tail, mean
from moewright.experiment.identity import decisive_settings
from moewright.experiment.metrics import EvaluationLine, RoutingMetrics
from moewright.experiment.recipe import Recipe
from moewright.experiment.run_folder import RunRecord, RunStatus
from moewright.experiment.schedule import peak_learning_rate
from moewright.experiment.states import State
from moewright.experiment.sweep_folder import CellRecord
from moewright.experiment.trainer_outcome import TrainerOutcome
from moewright.quantities import brief
from moewright.runs.schema import LOSS_PREFIX
from moewright.sealed_records import digest

STATUS_OF_STATE: dict[State, str] = {"done": "finished", "diverged": "diverged", "failed": "failed"}
"""The run table's status of a state; of any other, unfinished."""


def settings_columns(recipe: Mapping[str, Any], fingerprint: str | None, weights: str | None) -> dict[str, Any]:
    """What a resolved recipe sets, on tokens and initial weights of these fingerprints.

    Raises UserError for a recipe that lacks what every row needs.
    """
    architecture = recipe.get("architecture")
    if not isinstance(architecture, Mapping):
        raise UserError("recipe.architecture: is missing")
    batch, tokens = (_needed(recipe, name) for name in ("batch_tokens", "train_tokens"))
    losses = at(recipe, "balancing.losses") or []
    if not isinstance(losses, list):
        raise UserError(f"recipe.balancing.losses: expected a list, found {brief(losses)}")
    rate = recipe.get("learning_rate")
    quantile = at(recipe, "balancing.selection_bias.update") == "quantile"  # which has no step
    return {
        "config_id": config_digest(recipe, fingerprint, weights),
        "architecture": json.dumps(architecture, sort_keys=True),
        "train_tokens": tokens,
        "batch_tokens": batch,
        "sequence_length": finite_number(recipe, "sequence_length"),
        "train_flops": None,  # run.json says it; in a table without that column `train_loss` would be taken for a slip
        "learning_rate": float(rate) if _is_number(rate) else None,
        "schedule": at(recipe, "schedule.kind"),
        "warmup_steps": _over(finite_number(recipe, "schedule.warmup_tokens"), batch),
        "optimizer": at(recipe, "optimizer.kind"),
        "precision": recipe.get("precision"),
        "balance_weight": float(
            sum(finite_number(loss, "weight") or 0.0 for loss in losses if isinstance(loss, Mapping))
        ),
        "balance_scope": "+".join(str(loss.get("scope")) for loss in losses if isinstance(loss, Mapping)) or None,
        "z_loss": finite_number(recipe, "balancing.z_loss"),
        "bias_step": None if quantile else finite_number(recipe, "balancing.selection_bias.step") or 0.0,
        "capacity_factor": finite_number(recipe, "dispatch.capacity.factor"),
        "tokenizer": None if fingerprint is None else f"data {fingerprint[:12]}",
        "data_fingerprint": fingerprint,
        "seed": finite_number(recipe, "seed"),
    }


def config_digest(recipe: Mapping[str, Any], fingerprint: str | None, weights: str | None) -> str:
    """Equal for runs of one configuration: all of the recipe but its seed, where its data and initial weights lie, and
    what may change between two parts of one run; and the data and weights themselves."""
    values = {"recipe": decisive_settings(recipe, without=("seed",)), "data": fingerprint}
    return digest(values if weights is None else {**values, "initial_weights": weights})[:16]


def fact_columns(run: RunRecord, batch: float, seen: float | None) -> dict[str, Any]:
    """What run.json adds: facts of the plan, and where it runs.

    `batch`: the tokens of a step. `seen`: those of a finished run, whole batches and so perhaps some more than planned.
    """
    facts, made, machine = run.facts, run.provenance, run.provenance.machine
    columns = {
        "learning_rate": facts.peak_learning_rate,
        "train_flops": facts.train_flops,
        "epochs": facts.epochs,
        "training_version": run.training_version,
        "commit": made.commit,
        "moewright_version": made.versions.get("moewright"),
        "torch_version": made.versions.get("torch"),
        "python_version": made.python,
        "node": machine.node,
        "processor": machine.processor,
        "capability": machine.capability,
        "gpus": "+".join(machine.gpus) or None,
        "threads": machine.threads,
        "slurm_job": machine.slurm_job,
        "device": run.device,
        "processes": run.processes,
    }
    if seen is not None:
        columns["train_flops"] = facts.train_flops * seen / (facts.steps * batch) if facts.steps else None
        columns["train_tokens"] = seen
    return columns


def trainer_columns(outcome: TrainerOutcome, cell: CellRecord | None) -> dict[str, Any]:
    """What the files of another trainer add, and of the plan what the lab's run.json would say."""
    status, record = outcome.status, outcome.record
    columns = {name: value for name, value in outcome.columns.items() if value is not None}
    columns |= {
        "trainer": record.trainer,
        "schedule_fraction": None if status is None else min(1.0, status.step / record.steps),
    }
    if cell is None:
        return columns
    recipe = Recipe.from_dict(cell.recipe)
    config = config_digest(cell.recipe, cell.data_fingerprint, cell.initial_weights)
    return columns | {
        "config_id": digest({"config": config, "trainer": cell.trainer})[:16],
        "learning_rate": peak_learning_rate(recipe),
        "train_flops": training_flops(recipe.architecture, recipe.trained_tokens, recipe.sequence_length),
        "train_tokens": recipe.trained_tokens,
    }


def outcome_columns(
    recipe: Mapping[str, Any], steps: int | None, state: State, status: RunStatus | None, tail: Tail
) -> dict[str, Any]:
    """How the run went; `steps`: that it is to have, where that is known.

    Losses are those of a finished run only: a loss on the way is another quantity.
    """
    done = None if status is None else status.step
    step = tail.step if tail.step is not None and state != "done" else done
    batch = finite_number(recipe, "batch_tokens")
    columns: dict[str, Any] = {
        "state": state,
        "status": STATUS_OF_STATE.get(state, "unfinished"),
        "loss": None,
        "train_loss": tail.train_loss,
        "schedule_fraction": _over(step, steps),
        "tokens_done": None if step is None or batch is None else step * batch,
        "tokens_per_second": None if status is None else status.tokens_per_second,
        "matmul_utilization": None if status is None else status.matmul_utilization,
        "peak_memory_bytes": None if status is None else status.peak_memory_bytes,
        "drop_fraction": tail.drop_fraction,
        "started": tail.started,
        "ended": tail.ended,
        "seconds": None if tail.started is None or tail.ended is None else tail.ended - tail.started,
        "reason": None if status is None else status.reason,
    }
    if state != "done" or status is None:
        return columns
    columns["loss"] = status.loss
    final = tail.evaluation
    return columns if final is None or final.step != status.step else columns | _evaluation_columns(recipe, final)


def _evaluation_columns(recipe: Mapping[str, Any], final: EvaluationLine) -> dict[str, Any]:
    by_set, capped, bits = map(_known, (final.by_set, final.capacity_by_set, final.bits_per_byte))
    limit, forced = at(recipe, "evaluation.sequences"), at(recipe, "dispatch.forced")
    amount = "all" if limit is None else f"first {limit}"
    routing = final.routing or RoutingMetrics()
    return {
        "evaluation": f"{'+'.join(sorted(by_set))}: {amount} sequences of {recipe.get('sequence_length')}"
        + (f", routing forced {forced}" if forced else ""),
        **{f"{LOSS_PREFIX}{name}": value for name, value in by_set.items()},
        "capacity_loss": final.capacity_loss,
        **{f"capacity_{LOSS_PREFIX}{name}": value for name, value in capped.items()},
        "bits_per_byte": _pooled_bits(by_set, bits, final.tokens_by_set),
        **{f"bits_per_byte_{name}": value for name, value in bits.items()},
        "max_violation": mean(routing.max_violation),
        "load_entropy": mean(routing.load_entropy),
        "dead_experts": float(sum(routing.dead_experts)) if final.routing is not None else None,
    }


def _pooled_bits(by_set: dict[str, float], bits: dict[str, float], counts: Mapping[str, int]) -> float | None:
    """Bits per byte over the text of all sets: their nats together over their bytes together."""
    if not by_set or not (by_set.keys() == bits.keys() == counts.keys()) or not all(bits.values()):
        return None
    nats = {name: by_set[name] * counts[name] for name in by_set}
    # A set's bytes = its bits / its bits per byte; the nats in a bit cancel.
    return sum(nats.values()) / sum(nats[name] / bits[name] for name in nats)


def at(record: Mapping[str, Any], place: str) -> Any:
    """What stands at a dotted place; None where nothing does."""
    value: Any = record
    for name in place.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def finite_number(record: Mapping[str, Any], place: str) -> float | None:
    """The finite number at a dotted place; None where there is none."""
    value = at(record, place)
    return float(value) if _is_number(value) and math.isfinite(value) else None


def _needed(recipe: Mapping[str, Any], name: str) -> float:
    value = finite_number(recipe, name)
    if value is None or value <= 0:
        raise UserError(f"recipe.{name}: no positive number there")
    return value


def _over(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else part / whole


def _known(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
