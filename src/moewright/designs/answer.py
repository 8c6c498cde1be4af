"""From a question to its answer: search, then everything that makes the few designs worth showing defensible."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from moewright.architecture import counts, variables
from moewright.designs.budgets import make_budgets
from moewright.designs.candidates import Candidates, build, columns, family_of, join
from moewright.designs.costs import memory_bytes
from moewright.designs.draws import ranges_of, sureness
from moewright.designs.groups import groups_of
from moewright.designs.infeasible import no_design
from moewright.designs.like import budgets_like, compare
from moewright.designs.modes import both_modes
from moewright.designs.prices import shadow_prices
from moewright.designs.principles import Principles, principles
from moewright.designs.ranking import ALIKE_NATS, Ranking, rank
from moewright.designs.result import Alike, Design, Designs, Favourite, MixtureMap
from moewright.designs.search import Feasible, Question, ask, best_of_each_law
from moewright.designs.space import Space, load_space
from moewright.designs.tradeoff import TradeOff, trade_off
from moewright.designs.witnesses import choose_witnesses, domain, tokens_of
from moewright.errors import UserError
from moewright.hf.sources import Source
from moewright.laws import Law, get
from moewright.laws.variable import Array

# Below this share of a budget used, the answer says that the budget is not used up.
FULL = 0.9
# Beyond this many times outside a law's runs, its view is called an extrapolation worth a warning.
FAR = 10.0


def answer(
    given: dict[str, Any],
    *,
    space: str | Path | Space | None,
    vocab_size: int | None,
    like: Source | None,
    laws: Iterable[str | Path | Law] | None,
    top: int,
) -> Designs:
    """Search, and make the answer. Of designs with the same mixture (E, K, shared) only the best is shown."""
    start = time.perf_counter()
    if not 1 <= top <= 1000:
        raise UserError(f"top: expected 1 to 1000, found {top}")
    loaded = None
    if like is not None:
        loaded, given = budgets_like(like, given)
        if vocab_size is not None:
            raise UserError("vocab-size: --like takes the vocabulary from the model; leave it out")
        vocab_size = loaded.architecture.vocab_size
    budgets = make_budgets(given)
    question = ask(groups_of(_space(space, vocab_size)), budgets, choose_witnesses(laws, budgets))
    within = Feasible(question)
    if not within.designs:
        raise no_design(question)
    best, winners = best_of_each_law(question, within)
    ranking = rank(question, within, best, winners, top)
    chosen = principles(question, within, best)
    first = ranking.designs.take([0])
    shown = ranking.designs.take(np.arange(min(top, len(ranking.designs))))
    designs = _designs(question, shown, ranking.regrets, best, chosen)
    finalists = join([ranking.designs, winners, ranking.alike])
    sure = sureness(question, finalists)
    for number, design in enumerate(designs):
        design.probability_best.update({law: float(s.probability_best[number]) for law, s in sure.items()})
    names = tuple(witness.name for witness in question.witnesses)
    total = float(designs[0].total_params)
    return Designs(
        budgets=budgets,
        space=question.space,
        designs=designs,
        laws=names,
        favourites=_favourites(question, winners, best),
        optimum=get("zhao2025").optimum(total_params=total) if "zhao2025" in names else {},
        alike=Alike(ALIKE_NATS, len(ranking.alike), ranges_of(ranking.alike)),
        sureness=sure,
        modes=both_modes(question, within, first, winners) if budgets.leaves_active_open else (),
        principles=chosen,
        trade_off=_trade_off(designs[0], question.space),
        prices=shadow_prices(question, within, best, winners),
        published=compare(loaded, question.witnesses, best, budgets) if loaded is not None else None,
        mixtures=_map(question, ranking),
        considered=question.groups.num_designs,
        feasible=within.designs,
        seconds=time.perf_counter() - start,
        warnings=tuple(_warnings(designs[0], question)),
        question=question,
    )


def _space(space: str | Path | Space | None, vocab_size: int | None) -> Space:
    found = space if isinstance(space, Space) else Space() if space is None else load_space(space)
    if vocab_size is None:
        return found
    if "vocab_size" in found.model_fields_set and found.vocab_size != vocab_size:
        raise UserError(f"vocab-size: {vocab_size} was given, and the space says {found.vocab_size}; leave one out")
    if isinstance(vocab_size, bool) or not isinstance(vocab_size, int) or not 1 <= vocab_size <= 10**8:
        raise UserError(f"vocab-size: expected an integer from 1 to 10^8, found {vocab_size}")
    return found.model_copy(update={"vocab_size": vocab_size})


def _designs(
    question: Question, shown: Candidates, regrets: Array, best: Array, chosen: Principles
) -> tuple[Design, ...]:
    follows = chosen.follows(shown, question.space.vocab_size)
    wider = shown.with_expert_size(shown.expert_size + question.space.expert_size_step)
    wider_columns = columns(wider, question.space.vocab_size)
    breaks = {limit.option: np.asarray(limit.cost(wider_columns)) > limit.most for limit in question.bounds}
    counted = columns(shown, question.space.vocab_size)
    taken = {
        "total_params": counts.total_params(counted),
        "active_params": counts.active_params(counted),
        "memory_bytes": memory_bytes(counted, question.budgets),
    }
    found = []
    for row in range(len(shown)):
        architecture = build(shown.take([row]), question.space, question.budgets.context)
        one = {
            "total_params": counts.total_params(architecture),
            "active_params": counts.active_params(architecture),
            "memory_bytes": memory_bytes(architecture, question.budgets),
        }
        same = all(one[name] == column[row] for name, column in taken.items())  # type: ignore[index]
        assert same, "the columns and the built architecture describe unlike models"
        tokens = float(tokens_of(architecture, question.budgets))
        per_token = counts.training_flops_per_token(architecture, question.budgets.tokens_per_sequence)
        regret = {w.name: float(regrets[n, row]) for n, w in enumerate(question.witnesses)}
        found.append(
            Design(
                architecture=architecture,
                family=family_of(int(shown.shared_experts[row]), question.space.target),
                sizes=shown.sizes(row),
                total_params=one["total_params"],
                active_params=one["active_params"],
                memory_bytes=one["memory_bytes"],
                train_tokens=tokens,
                train_flops=tokens * per_token,
                predicted_loss={w.name: float(best[n]) + regret[w.name] for n, w in enumerate(question.witnesses)},
                regret=regret,
                binding=tuple(option for option, broken in breaks.items() if broken[row]),
                domain={w.name: domain(w, architecture, question.budgets) for w in question.witnesses},
                follows=follows[row],
                speed=_speed(architecture, question),
            )
        )
    return tuple(found)


def _speed(architecture: Any, question: Question) -> dict[str, tuple[float, float]]:
    b = question.budgets
    if b.hardware is None:
        return {}
    from moewright.hardware import decode_tokens_per_second, time_to_first_token

    ranges = {
        "decode_tokens_per_second": decode_tokens_per_second,
        "time_to_first_token": time_to_first_token,
    }
    return {
        name: tuple(  # type: ignore[misc]  # a pair
            map(
                float,
                figure(
                    architecture,
                    b.hardware,
                    devices=b.devices,
                    batch=b.batch,
                    context=b.context,
                    weights_dtype=b.weights_dtype,
                    kv_dtype=b.kv_dtype,
                ),
            )
        )
        for name, figure in ranges.items()
    }


def _favourites(question: Question, winners: Candidates, best: Array) -> dict[str, Favourite]:
    names = [witness.name for witness in question.witnesses]
    regrets = question.losses(winners) - best[:, None]
    active = np.asarray(counts.active_params(columns(winners, question.space.vocab_size)))
    return {
        name: Favourite(
            winners.sizes(row), int(active[row]), dict(zip(names, map(float, regrets[:, row]), strict=True))
        )
        for row, name in enumerate(names)
    }


def _map(question: Question, ranking: Ranking) -> MixtureMap:
    active = np.asarray(counts.active_params(columns(ranking.designs, question.space.vocab_size)), dtype=np.float64)
    return MixtureMap(ranking.designs, ranking.worst_regret, active)


def _trade_off(design: Design, space: Space) -> TradeOff:
    """Liew's algebra at a design's N_total / N_active, without embeddings, and granularity."""
    a = design.architecture
    ratio = counts.total_params_non_embedding(a) / counts.active_params_non_embedding(a)
    return trade_off(ratio, variables.granularity_liew(a), space)


def _warnings(first: Design, question: Question) -> list[str]:
    found = []
    far = {
        law: max(outside.items(), key=lambda item: item[1])
        for law, outside in first.extrapolation.items()
        if outside and max(outside.values()) >= FAR
    }
    if far:
        shown = ", ".join(f"{law} ({name} {factor:.3g} times)" for law, (name, factor) in far.items())
        found.append(f"far outside the runs behind {shown}; trust orders more than losses")
    for limit in question.bounds:
        option, share = limit.option, float(limit.cost(first.architecture)) / limit.most
        if share < FULL:
            found.append(f"{option}: the first design uses {share:.0%} of this budget; another one, or the laws, bind")
    return found
