"""From budgets to a design: what evidence decides and leaves open, what cost decides there, a baseline beside it."""

import math
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from moewright.architecture import counts
from moewright.complaints import check_integer, one_of
from moewright.designs.baseline import Baseline, budgets_like, load_mixture, put_beside
from moewright.designs.branch_and_bound import FeasibleSet, SearchProblem, best_of_each_law, search_problem
from moewright.designs.budgets import TRAINING, make_budgets
from moewright.designs.candidates import Candidates, build_design, by_plan, columns, distinct, family_of, join
from moewright.designs.costs import costed_on, costs_of_candidates, finalist_costs
from moewright.designs.groups import groups_of
from moewright.designs.judges import choose_judges, domain, published_that_judge, training_tokens
from moewright.designs.limits import infeasible, memory_bytes
from moewright.designs.own_verdicts import compared, told_of_designs
from moewright.designs.preference import LEAST_BILL, PREFERENCES, Choice, Preference, choose_design
from moewright.designs.ranking import bootstrap_rankings, ranges_of
from moewright.designs.result import Design, Designs, Favourite, UndecidedSet
from moewright.designs.space import UNSEEN, Space, load_space
from moewright.designs.undecided import TooManyOpenError
from moewright.designs.whole_bill import ROUNDING, WholeBill, find_whole_bill, most_published_tokens
from moewright.errors import UserError
from moewright.hf.loading import ArchitectureSource
from moewright.hf.published_models import find_model
from moewright.laws import Law, get
from moewright.laws.judging.own_runs import OwnOpinion, OwnRuns
from moewright.laws.law import InapplicableLaw, check_loss
from moewright.laws.variable import Array
from moewright.quantities import format_count
from moewright.records import LARGEST_SIZE

if TYPE_CHECKING:
    import pandas as pd

# Of the undecided designs that the draws of a fitted law rank.
MOST_FINALISTS = 2000
# Below this share of a budget used, the answer says that the budget is not used up.
FULL = 0.9
# Beyond this many times outside a law's runs, its view is called an extrapolation worth a warning.
FAR = 10.0
_BILL_CHOOSES = "prefer: with --serve-tokens the whole bill chooses; leave out one of them"


def recommend(
    given: dict[str, Any],
    *,
    space: str | Path | Space | None,
    vocab_size: int | None,
    like: ArchitectureSource | None,
    baseline: ArchitectureSource | None,
    prefer: str,
    laws: Iterable[str | Path | Law] | None,
    top: int,
    explain: bool,
    own: "pd.DataFrame | None" = None,
) -> Designs:
    """Search, and make the answer. Of designs with the same mixture (E, K, shared) only the best is shown.

    `own`: a run table of the user's own.
    """
    chosen_by = one_of(prefer, "prefer", (*PREFERENCES, LEAST_BILL))
    start = time.perf_counter()
    check_integer(top, "top", 1, 1000)
    loaded = None
    if like is not None:
        loaded, given = budgets_like(like, given)
        if vocab_size is not None:
            raise UserError("vocab-size: --like takes the vocabulary from the model; leave it out")
        vocab_size = loaded.architecture.vocab_size
    beside = loaded if baseline is None else load_mixture(baseline, "baseline")
    stated = _stated_tokens(like, given)
    if stated is not None:
        if chosen_by not in ("balanced", LEAST_BILL):
            raise UserError(_BILL_CHOOSES)
        given, chosen_by = {**given, "train_tokens": stated}, LEAST_BILL
    moves = chosen_by == LEAST_BILL
    preference: Preference = "balanced" if chosen_by == LEAST_BILL else chosen_by
    budgets = make_budgets(given)
    if budgets.serve_tokens is not None and preference != "balanced":
        raise UserError(_BILL_CHOOSES)
    if moves and budgets.serve_tokens is None:
        raise UserError("prefer: the least bill is that of training and serving; add --serve-tokens 5T")
    if moves and own is not None:
        raise UserError(
            "prefer: own runs are asked at the asked training, the least bill is at another; leave out --own"
        )
    costed_on(budgets)  # what is wrong with devices and prices is said before the search
    searched = _space(space, vocab_size)
    for name in ("weights_dtype", "kv_dtype"):
        listed = getattr(searched, name)
        if given.get(name) is not None and "asked" not in listed:
            raise UserError(
                f"{name.replace('_', '-')}: {given[name]} was given, and the space lists {', '.join(listed)}; leave "
                "one out, or list `asked` too"
            )
        if getattr(budgets, name) in listed:  # the same plans twice, one without what is believed of the format
            searched = searched.model_copy(update={name: tuple(each for each in listed if each != "asked")})
    problem = search_problem(groups_of(searched), budgets, choose_judges(laws, budgets))
    runs = None if own is None else OwnRuns.read(own, published_that_judge(problem.judges))
    within = FeasibleSet(problem)
    if not within.designs:
        raise infeasible(problem.groups, budgets)
    best, winners = best_of_each_law(problem, within)
    for judge, loss in zip(problem.judges, best, strict=True):
        try:
            check_loss(judge.law, float(loss))
        except InapplicableLaw as reason:
            raise UserError(f"law: {judge.name} cannot rank these designs: {reason}; leave it out") from None
    if runs is not None and runs.reason is None:
        problem = replace(problem, own=told_of_designs(runs, problem, within))
    choice = choose_design(problem, within, preference)
    shown = choice.designs.take(np.arange(min(top, len(choice.designs))))
    regrets = problem.losses(choice.designs) - best[:, None]
    designs = _designs(problem, shown, regrets, best, choice)
    finalists = distinct(join([choice.designs, winners, _some(choice.undecided.designs)]))
    bootstrap = bootstrap_rankings(problem, finalists)
    for number, design in enumerate(designs):
        design.probability_best.update({law: float(s.probability_best[number]) for law, s in bootstrap.items()})
    names = tuple(judge.name for judge in problem.judges)
    bill, bill_refusal = None, None
    if budgets.serve_tokens is not None:
        try:
            bill = find_whole_bill(problem, choice, designs[0].costs, moves=moves)
        except TooManyOpenError as error:
            bill_refusal = str(error)
    if bill is not None and bill.chosen:
        moved = _moved(problem, choice, bill, best)
        above = -math.log1p(bill.against_asked)
        designs = (moved, *(replace(design, score=design.score + above) for design in designs))
    first = designs[0]
    against = put_beside(problem, first.architecture, first.train_tokens, beside, choice.on, first.layer_plan, runs)
    return Designs(
        budgets=budgets,
        space=problem.space,
        designs=designs,
        laws=names,
        favourites=_favourites(problem, winners, best),
        optimum=get("zhao2025").optimum(total_params=float(first.total_params)) if "zhao2025" in names else {},
        undecided=UndecidedSet(len(choice.undecided.designs), ranges_of(choice.undecided.designs)),
        choice=choice,
        prefer=chosen_by,
        baseline=against,
        whole_bill=bill,
        whole_bill_refusal=bill_refusal,
        bootstrap=bootstrap,
        worst_regrets=regrets.max(axis=0),
        considered=problem.groups.num_designs,
        feasible=within.designs,
        seconds=time.perf_counter() - start,
        warnings=(
            *([] if stated is None else [f"train-tokens: none were asked for; {against.name}'s {stated} set the loss"]),
            *_warnings(first, against, problem, choice, runs, bill, bill_refusal),
        ),
        own=runs,
        explained=explain,
        problem=problem,
        within=within,
        best=best,
        winners=winners,
    )


def _stated_tokens(like: ArchitectureSource | None, given: dict[str, Any]) -> str | None:
    """The training tokens that the publisher of the model of `like` states, where tokens are served and no training
    was asked for: they set the loss that is to be reached."""
    if not isinstance(like, str) or given.get("serve_tokens") is None:
        return None
    entry = find_model(like)
    asks = any(given.get(name) is not None for name in TRAINING)
    return None if asks or entry is None or entry.training_tokens is None else entry.training_tokens.value


def _space(space: str | Path | Space | None, vocab_size: int | None) -> Space:
    found = space if isinstance(space, Space) else Space() if space is None else load_space(space)
    if vocab_size is None:
        return found
    if "vocab_size" in found.model_fields_set and found.vocab_size != vocab_size:
        raise UserError(f"vocab-size: {vocab_size} was given, and the space says {found.vocab_size}; leave one out")
    return found.model_copy(update={"vocab_size": check_integer(vocab_size, "vocab-size", 1, LARGEST_SIZE)})


def _some(undecided: Candidates) -> Candidates:
    """At most so many of them, evenly: draws are counted for every finalist."""
    return undecided.take(np.arange(0, len(undecided), len(undecided) // MOST_FINALISTS + 1))


def _designs(
    problem: SearchProblem, shown: Candidates, regrets: Array, best: Array, choice: Choice
) -> tuple[Design, ...]:
    wider = shown.with_expert_size(shown.expert_size + problem.space.expert_size_step)
    vocab_size, asked = problem.space.vocab_size, problem.budgets.served
    breaks = {
        limit.option: np.asarray(limit.taken(wider, problem.budgets, vocab_size)) > limit.most
        for limit in problem.bounds
    }
    counted = columns(shown, vocab_size)
    taken = {
        "total_params": counts.total_params(counted),
        "active_params": counts.active_params(counted),
        "memory_bytes": by_plan(
            shown,
            lambda some, plan: memory_bytes(columns(some, vocab_size), problem.budgets, plan.served(asked)),
        ),
    }
    opinions = _own_opinions(problem, shown)
    found = []
    for row in range(len(shown)):
        architecture = build_design(shown.take([row]), problem.space, problem.budgets.context)
        one = {
            "total_params": counts.total_params(architecture),
            "active_params": counts.active_params(architecture),
            "memory_bytes": memory_bytes(architecture, problem.budgets, shown.plan_of(row).served(asked)),
        }
        same = all(one[name] == column[row] for name, column in taken.items())
        assert same, "the columns and the built architecture describe unlike models"
        tokens = float(training_tokens(architecture, problem.budgets))
        per_token = counts.trained_flops_per_token(architecture, problem.budgets.tokens_per_sequence)
        regret = {w.name: float(regrets[n, row]) for n, w in enumerate(problem.judges)}
        found.append(
            Design(
                architecture=architecture,
                family=family_of(int(shown.shared_experts[row]), problem.space.target, shown.plan_of(row)),
                layer_plan=shown.plan_of(row),
                sizes=shown.sizes(row),
                total_params=one["total_params"],
                active_params=one["active_params"],
                memory_bytes=one["memory_bytes"],
                train_tokens=tokens,
                train_flops=tokens * per_token,
                predicted_loss={w.name: float(best[n]) + regret[w.name] for n, w in enumerate(problem.judges)},
                regret=regret,
                binding=tuple(option for option, broken in breaks.items() if broken[row]),
                domain={w.name: domain(w, architecture, problem.budgets) for w in problem.judges},
                costs=finalist_costs(architecture, tokens, problem.budgets, choice.on, choice.costs.take(row)),
                score=float(choice.scores[row]),
                own=opinions[row],
            )
        )
    return tuple(found)


def _moved(problem: SearchProblem, choice: Choice, bill: WholeBill, best: Array) -> Design:
    """The design of the least bill, trained on its own tokens; regrets are against the asked training's best."""
    one = bill.designs
    at = problem.budgets.model_copy(update={problem.budgets.training: None, "train_tokens": bill.train_tokens})
    there = replace(problem, budgets=at, own=None)
    costs = costs_of_candidates(one, bill.train_tokens, at, choice.on, problem.space.vocab_size)
    alone = replace(choice, designs=one, scores=np.zeros(1), costs=costs)
    return _designs(there, one, there.losses(one) - best[:, None], best, alone)[0]


def _own_opinions(problem: SearchProblem, shown: Candidates) -> list[OwnOpinion | None]:
    """What own runs say of the first design against each of the others."""
    told = problem.own
    if told is None:
        return [None] * len(shown)
    each = [compared(problem, shown.take([row])) for row in range(len(shown))]
    return [None, *(told.opinion(each[0], other) for other in each[1:])]


def _favourites(problem: SearchProblem, winners: Candidates, best: Array) -> dict[str, Favourite]:
    names = [judge.name for judge in problem.judges]
    regrets = problem.losses(winners) - best[:, None]
    active = np.asarray(counts.active_params(columns(winners, problem.space.vocab_size)))
    return {
        name: Favourite(
            winners.sizes(row), int(active[row]), dict(zip(names, map(float, regrets[:, row]), strict=True))
        )
        for row, name in enumerate(names)
    }


def _warnings(
    first: Design,
    baseline: Baseline,
    problem: SearchProblem,
    choice: Choice,
    runs: OwnRuns | None,
    bill: WholeBill | None,
    bill_refusal: str | None,
) -> list[str]:
    found = []
    if runs is not None and runs.reason is not None:
        found.append(f"your runs are not heard: {runs.reason}")
    if choice.own is not None and choice.own.kept_open:
        found.append(
            f"your runs contradict the laws about {choice.own.kept_open:,} of {choice.own.sampled:,} sampled designs "
            "that these drop: such designs are open too, and beyond the sample they are not counted"
        )
    if not choice.hearing.may_judge:
        said = "; ".join(f"{law}: {reason}" for law, reason in choice.hearing.silent.items())
        found.append(f"no law may judge these designs, so what laws say is heard as it is and is no evidence ({said})")
    for axis in first.layer_plan.unseen():
        nats = problem.space.unseen_nats.get(axis, 0.0)
        added = f"; {nats:+g} nats are added to every law's loss (`unseen_nats` of the space)" if nats else ""
        found.append(f"{axis}: in the costs, and no law sees what it does to the loss{added}; {UNSEEN[axis]}")
    if first.costs.train_refusal is not None:
        found.append(
            f"the first design has no layout ({first.costs.train_refusal}): its hours are by the usual range of "
            "utilisation"
        )
    for what, model in (("", baseline.as_built), (" as it is scaled", baseline.scaled)):
        if model is not None and first.costs.train_layout is not None and model.costs.train_layout is None:
            found.append(
                f"{baseline.name}{what} has no layout ({model.costs.train_refusal}): its hours are by the usual range "
                "of utilisation, the design's of its fastest layout, so they do not compare"
            )
    found += _bill_warnings(first, baseline, problem, choice)
    if bill_refusal is not None:
        found.append(f"serve-tokens: other sizes and tokens were not compared for the whole bill: {bill_refusal}")
    if bill is not None and bill.saves:
        found.append(_bill_words(problem, choice, bill))
    hours, most = first.costs.train_device_hours[1], problem.budgets.train_device_hours
    moved = bill is not None and bill.chosen
    if most is not None and first.costs.train_layout is not None and hours > most and not moved:
        found.append(
            "train-device-hours: the tokens are those of the usual range of utilisation; the fastest layout takes up "
            f"to {hours / most:.2g} times the budget at its slow end"
        )
    if choice.worth.nats is None and choice.prefer != "loss":
        found.append("no law that is heard sees training, so loss has no price: the least mean loss was chosen")
    far = {
        law: max(outside.items(), key=lambda item: item[1])
        for law, outside in first.extrapolation.items()
        if outside and max(outside.values()) >= FAR
    }
    if far:
        shown = ", ".join(f"{law} ({name} {factor:.3g} times)" for law, (name, factor) in far.items())
        found.append(f"far outside the runs behind {shown}; trust orders more than losses")
    for limit in problem.bounds:
        served = first.layer_plan.served(problem.budgets.served)
        option, share = limit.option, float(limit.cost(first.architecture, served)) / limit.most
        if share < FULL:
            found.append(f"{option}: the first design uses {share:.0%} of this budget; another one, or the laws, bind")
    return found


def _bill_words(problem: SearchProblem, choice: Choice, bill: WholeBill) -> str:
    """What the least bill trains on, against the asked training, and what it takes to have it or to go back."""
    asked = float(np.max(problem.variables(choice.designs.take([0])).train_tokens))
    wanted = sorted(bill.tokens_by_law.values())
    found = (
        f"serve-tokens: the least bill trains on {format_count(bill.train_tokens, 3)} tokens"
        + (f" (one law: {format_count(wanted[0], 3)})" if len(wanted) > 1 else "")
        + f", {bill.train_tokens / asked:.2g} times the asked answer's"
    )
    if not bill.chosen:
        kept = {"training tokens": problem.budgets.train_tokens, "active parameters": problem.budgets.active_params}
        fixed = " and ".join(name for name, amount in kept.items() if amount is not None)
        why = f"the answer keeps the {fixed} that you gave" if fixed else "the answer keeps the training that you gave"
        return f"{found}; {why}, --prefer {LEAST_BILL} takes it"
    over = bill.train_tokens / float(np.max(problem.variables(bill.designs).train_tokens))
    if problem.budgets.train_tokens is None and over > 1 + ROUNDING:
        found += f", and {over:.2g} times what the asked training would pay for"
    return f"{found}; more than {format_count(most_published_tokens(), 3)}, the most that was published, were not tried"


def _bill_warnings(first: Design, baseline: Baseline, problem: SearchProblem, choice: Choice) -> list[str]:
    """Batches of the whole bill that are not the asked one, and what has no bill."""
    where, found = f"on {choice.on.bill_devices} {choice.on.serves}", []
    if choice.unserved:
        found.append(
            f"serve-tokens: of {choice.unserved:,} undecided designs not one sequence fits {where}; none of them can "
            "be chosen"
        )
    models = {"the first design": first.costs, baseline.name: baseline.as_built.costs}
    if baseline.scaled is not None:
        models[f"{baseline.name} as it is scaled"] = baseline.scaled.costs
    for name, costs in models.items():
        batch, asked = costs.serve_batch, problem.budgets.batch
        if batch is not None and batch < asked:
            least = f"the bill counts {batch:.0f} at a time" if batch else "not one fits, so it has no bill"
            found.append(f"serve-tokens: {asked} sequences of {name} do not fit {where}, or are too slow; {least}")
    return found
