"""Hugging Face transformers: config.json as `architecture/hf` writes it, and the balance loss in its terms."""

import json

from moewright.architecture.spec import Architecture
from moewright.errors import UserError
from moewright.exporters.target_conventions import Written, canonical, counted_per_choice

# Families that moewright writes whose modules have a balance loss (transformers 5.23, load_balancing_loss_func).
WITH_BALANCE_LOSS = ("mixtral", "olmoe", "qwen2_moe", "qwen3_moe")


def export(architecture: Architecture, balance_loss: float | None, family: str | None = None) -> Written:
    """config.json of `family`, or the first that expresses the model exactly. UserError names what it, or none, can."""
    config = canonical(architecture, merge_shared=False).to_hf(family)  # families count their shared experts
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
    return Written({"config.json": json.dumps(config, indent=2) + "\n"}, tuple(notes))
