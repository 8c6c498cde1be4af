"""config.json for training: the balance loss in transformers' own terms."""

from typing import Any

from moewright.architecture.canonical import canonical
from moewright.architecture.spec import Architecture
from moewright.errors import UserError
from moewright.hf.config import to_config

# Families that moewright writes whose modules have a balance loss (transformers 5.23, load_balancing_loss_func).
WITH_BALANCE_LOSS = ("mixtral", "olmoe", "qwen2_moe", "qwen3_moe")


def write_training_config(
    architecture: Architecture, balance_loss: float | None, family: str | None = None
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """config.json of `family`, or of the first that expresses the model exactly; and what was converted.

    `balance_loss` is the coefficient of the auxiliary loss in moewright's convention: per layer 1 when balanced,
    averaged over the layers with experts. None: no such loss. UserError names what the family, or none, can express.
    """
    config = to_config(canonical(architecture, merge_shared=False), family)  # families count their shared experts
    family = config["model_type"]
    notes = [f"family: {family}"]
    if balance_loss is not None:
        coefficient = counted_per_choice(architecture, balance_loss)
        if family not in WITH_BALANCE_LOSS:
            raise UserError(f"balance-loss: transformers' {family} has no balance loss")
        config |= {"router_aux_loss_coef": coefficient, "output_router_logits": True}
        notes.append(
            f"balance loss {balance_loss:g}: router_aux_loss_coef {coefficient:g}, since transformers' loss is top_k "
            "when balanced; it pools the layers' tokens, where moewright averages the layers' losses"
        )
    return config, tuple(notes)


def counted_per_choice(architecture: Architecture, balance_loss: float) -> float:
    """The coefficient for a target whose f_i are tokens over tokens, not choices over choices: top_k when balanced."""
    top_ks = {moe.top_k for _, moe in architecture.moe_layers()}
    if len(top_ks) > 1:
        raise UserError(
            f"balance-loss: layers with unlike top_k ({', '.join(map(str, sorted(top_ks)))}) have no common coefficient"
        )
    return balance_loss / top_ks.pop()
