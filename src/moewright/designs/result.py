"""What a design run gives: the design to build, what else is undecided, a baseline, and where the laws differ."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from moewright.architecture import Architecture, counts, variables
from moewright.designs.baseline import Baseline, BesideModel, share_of
from moewright.designs.branch_and_bound import FeasibleSet, SearchProblem
from moewright.designs.budgets import Budgets
from moewright.designs.candidates import Candidates, join
from moewright.designs.costs import Costs, middle_of_bill
from moewright.designs.design_record import (
    BaselineRecord,
    BesideRecord,
    BesideSizesRecord,
    CostedOnRecord,
    CostsRecord,
    DesignRecord,
    DesignsRecord,
    DifferenceRecord,
    FavouriteRecord,
    LayerPlanRecord,
    OwnVerdictsRecord,
    PrinciplesRecord,
    RecommendedRecord,
    SearchRecord,
    SettlingRecord,
    SizeRangesRecord,
    SizesRecord,
    TradeOff,
    UndecidedRecord,
    WholeBillRecord,
)
from moewright.designs.flips import Flips, find_flips
from moewright.designs.hearing import BEATS_BY
from moewright.designs.preference import Choice
from moewright.designs.principles import Principle, Principles, choose_by_principles, trade_off
from moewright.designs.ranking import BootstrapRanking
from moewright.designs.sensitivity import MORE, ConstraintMode, ShadowPrices, constraint_modes, shadow_prices
from moewright.designs.settling import runs_to_settle
from moewright.designs.space import LayerPlan, Space
from moewright.designs.undecided import REASONS
from moewright.designs.whole_bill import WholeBill
from moewright.display import ShownTable
from moewright.errors import UserError
from moewright.laws.judging.own_runs import SURE, OwnOpinion, OwnRuns
from moewright.laws.variable import Array, Status
from moewright.quantities import format_count


@dataclass(frozen=True)
class Design:
    """One model within the budgets."""

    architecture: Architecture
    family: str | None
    """The Hugging Face family that expresses it, if any that is written does."""
    layer_plan: LayerPlan
    sizes: dict[str, int]
    """Width, depth, heads, experts and so on, by the names of `Candidates`."""
    total_params: int
    active_params: int
    memory_bytes: int
    train_tokens: float
    train_flops: float
    predicted_loss: dict[str, float]
    regret: dict[str, float]
    """Loss above the law's best design within the same budgets, in nats, by law."""
    binding: tuple[str, ...]
    """Budgets that experts one step wider would break."""
    domain: dict[str, dict[str, Status]]
    """By law: where each variable, and each condition that the law's runs shared, lies against these runs."""
    costs: Costs
    score: float
    """Logarithm of the effective cost above the recommended design's; nats of mean loss by preference for loss."""
    own: OwnOpinion | None = None
    """What own runs say of the recommended design against this one."""
    probability_best: dict[str, float] = field(default_factory=dict)
    """By fitted law with draws: share of draws under which it is the best of the finalists."""

    @property
    def worst_regret(self) -> float:
        """The largest regret over the laws."""
        return max(self.regret.values())

    @property
    def extrapolation(self) -> dict[str, dict[str, float]]:
        """By law and variable: how many times outside the law's runs; what is inside is left out."""
        return {
            law: {name: float(s.factor) for name, s in domain.items() if s.status in ("below", "above")}
            for law, domain in self.domain.items()
        }

    def answer(self, follows: tuple[Principle, ...]) -> DesignRecord:
        """For JSON, with the principles that it follows."""
        return DesignRecord(
            architecture=self.architecture,
            hf_family=self.family,
            sizes=SizesRecord(**self.sizes),
            total_params=self.total_params,
            active_params=self.active_params,
            memory_bytes=self.memory_bytes,
            train_tokens=self.train_tokens,
            train_flops=self.train_flops,
            predicted_loss=self.predicted_loss,
            regret=self.regret,
            worst_regret=self.worst_regret,
            binding=self.binding,
            domain={law: {n: s.status for n, s in domain.items()} for law, domain in self.domain.items()},
            extrapolation=self.extrapolation,
            follows=follows,
            probability_best=self.probability_best,
            costs=costs_record(self.costs),
            score=self.score,
            own=self.own,
        )


@dataclass(frozen=True)
class UndecidedSet:
    """The designs that no other beats: how many, and the range of each size."""

    count: int
    ranges: dict[str, tuple[int, int]]


@dataclass(frozen=True)
class Favourite:
    """What one law alone would build, and its regret by every law."""

    sizes: dict[str, int]
    active_params: int
    regret: dict[str, float]

    def answer(self) -> FavouriteRecord:
        """For JSON."""
        return FavouriteRecord(**self.sizes, active_params=self.active_params, regret=self.regret)


@dataclass(frozen=True, repr=False)
class Designs(ShownTable):
    """The answer of `moewright design`."""

    budgets: Budgets
    space: Space
    designs: tuple[Design, ...]
    laws: tuple[str, ...]
    favourites: dict[str, Favourite]
    """By law."""
    optimum: dict[str, float]
    """The joint law's G*, S* and N_a/N at the first design's total, where it is among the laws; else empty."""
    undecided: UndecidedSet
    choice: Choice
    """At the asked training."""
    prefer: str
    """As the user wrote it."""
    baseline: Baseline
    whole_bill: WholeBill | None
    """What size and tokens have the least bill, where tokens are served; the first design if it was chosen."""
    whole_bill_refusal: str | None
    """Why other sizes and tokens were not compared."""
    bootstrap: dict[str, BootstrapRanking]
    worst_regrets: Array
    """Of `choice.designs`, the best undecided design of every mixture: for plots."""
    considered: int
    feasible: int
    seconds: float
    warnings: tuple[str, ...]
    explained: bool
    """Whether to print what is behind the answer too."""
    problem: SearchProblem = field(repr=False)
    """What was searched, to ask more of it, as principles, prices and modes do where they are shown."""
    within: FeasibleSet = field(repr=False)
    best: Array = field(repr=False)
    """(laws,): each law's least loss."""
    winners: Candidates = field(repr=False)
    """A design of each law's least loss."""
    own: OwnRuns | None = field(default=None, repr=False)
    """A user's own runs, heard or not."""

    @property
    def moved(self) -> WholeBill | None:
        """The least bill where it chose size and tokens: the first design then, the asked answer is the second."""
        return self.whole_bill if self.whole_bill is not None and self.whole_bill.chosen else None

    @property
    def asked(self) -> Design:
        """The answer to the asked training."""
        return self.designs[1 if self.moved else 0]

    @cached_property
    def principles(self) -> Principles:
        """What each study's rule of thumb would build."""
        return choose_by_principles(self.problem, self.within, self.best, self.choice.prefer)

    @cached_property
    def follows(self) -> tuple[tuple[Principle, ...], ...]:
        """For each design the principles that it follows."""
        moved = [] if self.moved is None else [self.moved.designs]
        asked = self.choice.designs.take(np.arange(len(self.designs) - len(moved)))
        return tuple(self.principles.follows(join([*moved, asked]), self.space.vocab_size))

    @cached_property
    def settling(self) -> SettlingRecord | None:
        """The runs that would settle the largest doubt; what the least bill assumes of tokens no small run settles."""
        if self.moved is not None:
            return None
        loss = float(np.mean([self.designs[0].predicted_loss[law] for law in self.choice.hearing.laws]))
        return runs_to_settle(self.problem, self.choice, loss, self.baseline.as_built.sizes["num_layers"])

    @cached_property
    def trade_off(self) -> TradeOff:
        """Liew's algebra at the first design's N_total / N_active, without embeddings, and granularity."""
        a = self.designs[0].architecture
        ratio = counts.total_params_non_embedding(a) / counts.active_params_non_embedding(a)
        return trade_off(ratio, variables.granularity_liew(a), self.space)

    @cached_property
    def prices(self) -> ShadowPrices:
        """What 10 % more of each budget would buy."""
        return shadow_prices(self.problem, self.within, self.best, self.winners)

    @cached_property
    def flips(self) -> Flips:
        """The choice at the asked training under each assumption that is changed by itself."""
        return find_flips(self.problem, self.within, self.choice)

    @property
    def modes(self) -> tuple[ConstraintMode, ...]:
        """Both constraint modes where the budgets leave active parameters open, else empty."""
        return self._modes[0]

    @cached_property
    def _modes(self) -> tuple[tuple[ConstraintMode, ...], dict[str, str]]:
        """With why the other mode could not be searched."""
        if not self.budgets.leaves_active_open:
            return (), {}
        first = self.choice.designs.take([0])
        try:
            return constraint_modes(self.problem, self.within, first, self.winners, self.choice.prefer), {}
        except UserError as error:
            return (), {"the other constraint mode": str(error)}

    @property
    def left_out(self) -> dict[str, str]:
        """What lies behind the answer and could not be searched: why; of flips where they are explained."""
        of_flips = self.flips.left_out if self.explained else {}
        return {**self.principles.left_out, **self._modes[1], **of_flips}

    def _facts(self) -> Mapping[str, Any]:
        """In the order of the printed answer: what to build, costs, the baseline, what is open, how it was chosen."""
        first = self.designs[0]
        return {
            "best": f"{first.sizes['num_experts']} experts, {first.sizes['top_k']} active",
            "total_params": float(first.total_params),
            "active_params": float(first.active_params),
            "train_device_hours": _ends(first.costs.train_device_hours),
            "baseline": self.baseline.name,
            "undecided": self.undecided.count,
            "prefer": self.prefer,
        }

    def _rows(self) -> list[dict[str, Any]]:
        same = {"layer_plan"} if len(self.space.layer_plans) == 1 else set()
        return [
            {
                **{name: size for name, size in design.sizes.items() if name not in same},
                "total_params": design.total_params,
                "active_params": design.active_params,
                "memory_bytes": design.memory_bytes,
                "train_tokens": design.train_tokens,
                "train_flops": design.train_flops,
                **_both_ends("train_device_hours", design.costs.train_device_hours),
                **_both_ends("decode_tokens_per_second", design.costs.decode_tokens_per_second),
                **_both_ends("time_to_first_token", design.costs.time_to_first_token),
                "kv_bytes_per_token": float(design.costs.kv_bytes_per_token),
                "worst_regret": design.worst_regret,
                **{f"loss_{law}": loss for law, loss in design.predicted_loss.items()},
            }
            for design in self.designs
        ]

    @property
    def shadow_prices(self) -> dict[str, dict[str, float]]:
        """By law and budget: change of the best loss, in nats, for 10 % more of the budget."""
        return self.prices.by_law

    def answer(self) -> DesignsRecord:
        """What `moewright design --json` prints and designs.json holds."""
        p = self.principles
        return DesignsRecord(
            budgets=self.budgets,
            space=self.space,
            designs=tuple(design.answer(follows) for design, follows in zip(self.designs, self.follows, strict=True)),
            laws=self.laws,
            favourites={law: favourite.answer() for law, favourite in self.favourites.items()},
            law_optimum=self.optimum,
            recommended=RecommendedRecord(index=0, prefer=self.prefer, reasons=self.reasons()),
            undecided=self._undecided_record(),
            layer_plans=self.layer_plans(),
            whole_bill=_whole_bill_record(self.whole_bill),
            whole_bill_refusal=self.whole_bill_refusal,
            settle=self.settling,
            baseline=_baseline_record(self.baseline, self.designs[0]),
            costed_on=CostedOnRecord(**asdict(self.choice.on)),
            fitted={law: ranking.answer() for law, ranking in self.bootstrap.items()},
            modes=tuple(mode.answer() for mode in self.modes),
            flips=tuple(flip.answer(self.asked.sizes) for flip in self.flips.found) if self.explained else None,
            left_out=self.left_out,
            principles=PrinciplesRecord(
                **{name: choice.answer() for name, choice in p.choices.items()},
                liew_ranking=tuple(SizesRecord(**p.liew.sizes(row)) for row in range(len(p.liew))),
                trade_off=self.trade_off,
            ),
            shadow_prices=self.shadow_prices,
            shadow_price_of=MORE,
            exchange_rates=self.prices.exchange(),
            search=SearchRecord(candidates=self.considered, feasible=self.feasible, seconds=self.seconds),
            warnings=self.warnings,
        )

    def layer_plans(self) -> tuple[LayerPlanRecord, ...]:
        """What layers may have beyond their sizes, and how far the best design of each lies behind."""
        behind = self.choice.plans_behind()
        return tuple(
            LayerPlanRecord(number=number, words=plan.words(), behind_nats=behind.get(number))
            for number, plan in enumerate(self.space.layer_plans)
        )

    def reasons(self) -> tuple[str, ...]:
        """Why the first design is recommended, in sentences."""
        asked = self._reasons_of_asked()
        if self.moved is None:
            return asked
        shares = sorted(self.moved.against_by_law.values())
        by_law = f" ({shares[0]:+.0%} to {shares[-1]:+.0%} on what each law alone wants)" if len(shares) > 1 else ""
        tokens = [format_count(design.train_tokens, 3) for design in (self.designs[0], self.asked)]
        least = (
            f"of all sizes and tokens that {', '.join(self.moved.tokens_by_law)} find as good as design 2, "
            "the answer to the asked training, it has the least bill of training and serving: "
            f"{self.moved.against_asked:+.0%}{by_law}, on {tokens[0]} tokens in place of {tokens[1]}"
        )
        return (least, *(f"of design 2: {reason}" for reason in asked))

    def _reasons_of_asked(self) -> tuple[str, ...]:
        choice, hearing = self.choice, self.choice.hearing
        heard = f"{len(hearing.laws)} {'law' if len(hearing.laws) == 1 else 'laws'}"
        may = "that may judge" if hearing.may_judge else "that were asked for, though none may judge"
        found = [
            f"no design within the budgets beats it by more than {BEATS_BY:g} nats under all {heard} {may} "
            f"({', '.join(hearing.laws)}); {_also_unbeaten(self.undecided.count - 1)}"
        ]
        if choice.own is not None and self.own is not None:
            found.append(
                f"nor does one by your {len(self.own)} runs with probability {SURE:g}, which drop "
                f"{choice.own.beaten:,} designs that the laws leave open"
            )
        if not choice.by_cost:
            return (*found, "of these it has the least mean loss over the laws")
        what = {
            "balanced": "device-hours of training and seconds of decoding, alike,",
            "train": "device-hours of training",
            "serve": "seconds of decoding",
        }[choice.prefer]
        if self.budgets.serve_tokens is not None:
            what = "for training and serving together"
        return (
            *found,
            f"of these it has the least {what} at equal loss: 10 % more training is worth "
            f"{choice.worth.of_more_training:.4f} nats (mean of {len(choice.worth.by_law)} laws at "
            f"{choice.worth.at}'s size)",
        )

    def _undecided_record(self) -> UndecidedRecord:
        hearing = self.choice.hearing
        return UndecidedRecord(
            confidence=hearing.confidence,
            margin=BEATS_BY,
            count=self.undecided.count,
            ranges=SizeRangesRecord(**self.undecided.ranges),
            reasons=dict(REASONS),
            laws=hearing.laws,
            silent=hearing.silent,
            may_judge=hearing.may_judge,
            own=self._own_record(),
        )

    def _own_record(self) -> OwnVerdictsRecord | None:
        if self.own is None:
            return None
        changed = {} if self.choice.own is None else asdict(self.choice.own)
        return OwnVerdictsRecord(
            runs=len(self.own),
            inside=self.own.inside,
            heard=bool(changed),
            reason=self.own.reason,
            sure=SURE,
            **changed,
        )

    def to_dict(self) -> dict[str, Any]:
        """The fields of `moewright design --json`."""
        return self.answer().to_dict()


def costs_record(costs: Costs) -> CostsRecord:
    """For JSON."""
    return CostsRecord(
        train_device_hours=_ends(costs.train_device_hours),
        decode_tokens_per_second=_ends(costs.decode_tokens_per_second),
        time_to_first_token=_ends(costs.time_to_first_token),
        kv_bytes_per_token=float(costs.kv_bytes_per_token),
        train_layout=costs.train_layout,
        train_refusal=costs.train_refusal,
        train_days=None if costs.train_days is None else _ends(costs.train_days),
        train_money=None if costs.train_money is None else _ends(costs.train_money),
        serve_device_hours=_ends(costs.serve_device_hours) if costs.serve_batch and costs.serve_device_hours else None,
        serve_batch=None if costs.serve_batch is None else int(costs.serve_batch),
        serve_money=_ends(costs.serve_money) if costs.serve_batch and costs.serve_money else None,
    )


def _whole_bill_record(found: WholeBill | None) -> WholeBillRecord | None:
    if found is None:
        return None
    return WholeBillRecord(
        sizes=SizesRecord(**found.designs.sizes(0)),
        total_params=found.total_params,
        active_params=found.active_params,
        memory_bytes=found.memory_bytes,
        train_tokens=found.train_tokens,
        tokens_by_law=found.tokens_by_law,
        costs=costs_record(found.costs),
        against_asked=found.against_asked,
        against_by_law=found.against_by_law,
        chosen=found.chosen,
    )


def difference(design: Design, other: BesideModel) -> DifferenceRecord:
    """The recommended design against another model: costs as shares of the other's, loss where laws decide it."""
    return DifferenceRecord(
        train_device_hours=share_of(design.costs.train_device_hours, other.costs.train_device_hours),
        decode_tokens_per_second=share_of(design.costs.decode_tokens_per_second, other.costs.decode_tokens_per_second),
        time_to_first_token=share_of(design.costs.time_to_first_token, other.costs.time_to_first_token),
        kv_bytes_per_token=share_of(design.costs.kv_bytes_per_token, other.costs.kv_bytes_per_token)
        if other.costs.kv_bytes_per_token
        else None,
        memory_bytes=share_of(design.memory_bytes, other.memory_bytes),
        train_money=None
        if design.costs.train_money is None or other.costs.train_money is None
        else share_of(design.costs.train_money, other.costs.train_money),
        whole_bill=None
        if design.costs.whole_bill is None or other.costs.whole_bill is None
        else share_of(
            float(sum(middle_of_bill(design.costs.whole_bill))), float(sum(middle_of_bill(other.costs.whole_bill)))
        ),
        loss=other.verdict,
        probability=other.probability,
        probability_by_draws=other.probability_by_draws,
    )


def _both_ends(name: str, ends: tuple[Any, Any]) -> dict[str, float]:
    low, high = _ends(ends)
    return {f"{name}_low": low, f"{name}_high": high}


def _ends(ends: tuple[Any, Any]) -> tuple[float, float]:
    return float(ends[0]), float(ends[1])


def _also_unbeaten(others: int) -> str:
    if not others:
        return "this is true of no other"
    return f"this is true of {'one other' if others == 1 else f'{others:,} others'} too"


def _baseline_record(baseline: Baseline, first: Design) -> BaselineRecord:
    return BaselineRecord(
        name=baseline.name,
        named=baseline.named,
        as_built=_beside_record(baseline.as_built, first),
        scaled=None if baseline.scaled is None else _beside_record(baseline.scaled, first),
        warnings=baseline.warnings,
    )


def _beside_record(model: BesideModel, first: Design) -> BesideRecord:
    return BesideRecord(
        sizes=BesideSizesRecord(**model.sizes),
        total_params=model.total_params,
        active_params=model.active_params,
        memory_bytes=model.memory_bytes,
        train_tokens=model.train_tokens,
        costs=costs_record(model.costs),
        within_budgets=model.within_budgets,
        design_against_it=difference(first, model),
    )
