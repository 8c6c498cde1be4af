"""From the ranked candidates to the answer: the few worth showing, what bounds them and what more budget would buy."""

import time
from dataclasses import replace
from typing import Any

import numpy as np

from moewright import laws
from moewright.architecture import counts
from moewright.design.budgets import Budgets
from moewright.design.result import Alike, Design, Designs
from moewright.design.search import BOUNDS, Ranked, binding, costs, law_variables, memory_bytes, search
from moewright.design.space import build
from moewright.errors import UserError
from moewright.laws import Law

# Losses of repeated runs differ by .001 to .010 nats (arXiv 2605.11689's repeats); less is no difference.
ALIKE_NATS = 0.001
# Below this share of a budget used, the answer says that the budget is not used up.
FULL = 0.9


def rank(budgets: Budgets, law_name: str, top: int) -> Designs:
    """Search, and make the answer. Of designs with the same experts (E, K, shared) only the best is shown."""
    start = time.perf_counter()
    if not 1 <= top <= 1000:
        raise UserError(f"top: expected 1 to 1000, found {top}")
    law = laws.get(law_name)
    if "loss" not in law.gives or not {"active_params", "active_experts"} <= {v.name for v in law.inputs}:
        raise UserError(f"law: {law.name} does not see both size and experts, so it cannot rank designs; use zhao2025")
    ranked = search(budgets, law)
    shown = _best_of_each_kind(ranked, top)
    designs = tuple(_design(ranked, row, budgets, law) for row in shown)
    return Designs(
        budgets=budgets,
        designs=designs,
        laws=(law.name,),
        optimum=law.optimum(total_params=float(designs[0].total_params)),
        alike=_alike(ranked),
        shadow_prices={law.name: _shadow_prices(budgets, law, float(ranked.loss[0]))},
        considered=ranked.considered,
        feasible=len(ranked.loss),
        seconds=time.perf_counter() - start,
        warnings=tuple(_warnings(designs[0], budgets)),
    )


def _best_of_each_kind(ranked: Ranked, top: int) -> list[int]:
    c = ranked.candidates
    _, first = np.unique(np.stack([c.num_experts, c.top_k, c.shared_experts]), axis=1, return_index=True)
    return [int(row) for row in np.sort(first)[:top]]


def _design(ranked: Ranked, row: int, budgets: Budgets, law: Law) -> Design:
    candidates = ranked.candidates
    architecture = build(candidates, row, budgets.vocab_size, budgets.context)
    this = candidates.take([row])
    taken = {
        "memory_bytes": memory_bytes(architecture, budgets),
        "total_params": counts.total_params(architecture),
        "active_params": counts.active_params(architecture, count_embedding=True),
    }
    assert taken == costs(this, budgets), "the columns and the built architecture describe unlike models"
    variables = law_variables(law, this, budgets)
    domain = law.domain(**{name: float(np.squeeze(value)) for name, value in variables.items()})
    loss = float(ranked.loss[row])
    return Design(
        architecture=architecture,
        family="glm4_moe" if candidates.shared_experts[row] else "qwen3_moe",
        **taken,
        predicted_loss={law.name: loss},
        regret={law.name: loss - float(ranked.loss[0])},
        binding=tuple(BOUNDS[name] for name, binds in binding(this, budgets).items() if binds[0]),
        extrapolation={law.name: {name: s.factor for name, s in domain.items() if s.status != "inside"}},
    )


def _alike(ranked: Ranked) -> Alike:
    count = int(np.searchsorted(ranked.loss, ranked.loss[0] + ALIKE_NATS, side="right"))
    near: dict[str, Any] = vars(ranked.candidates.take(slice(0, count)))
    return Alike(ALIKE_NATS, count, {name: (int(column.min()), int(column.max())) for name, column in near.items()})


def _shadow_prices(budgets: Budgets, law: Law, best: float) -> dict[str, float]:
    prices = {}
    for name, option in (*BOUNDS.items(), ("train_tokens", "train-tokens")):
        value = getattr(budgets, name)
        if value is not None:
            more = search(replace(budgets, **{name: 1.1 * value}), law)
            prices[option] = float(more.loss[0]) - best
    return prices


def _warnings(best: Design, budgets: Budgets) -> list[str]:
    found = []
    for law, variables in best.extrapolation.items():
        if variables:
            far = ", ".join(f"{name} {factor:.3g} times" for name, factor in variables.items())
            found.append(
                f"{law} is far from its runs here: outside their range by {far}; trust the order, not the loss"
            )
    for name, option in BOUNDS.items():
        budget = getattr(budgets, name)
        used = getattr(best, name) / budget if budget else 1.0
        if used < FULL:
            found.append(f"{option}: the best design uses {used:.0%} of this budget; another one binds first")
    return found
