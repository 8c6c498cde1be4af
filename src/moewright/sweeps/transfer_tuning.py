"""The learning-rate stage by one transfer rule: cheap groups are tested, dearer ones only where the rule is unsure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import log, sqrt

from moewright.architecture import variables
from moewright.architecture.counts import active_params_non_embedding, training_flops
from moewright.experiment.recipe import Recipe
from moewright.experiment.schedule import peak_learning_rate
from moewright.laws.rate_transfer import RateRule, TunedModel, tuned_model
from moewright.sweeps.rate_tuning import PredictedMultiplier, TunedRate, round_rate, tune_rate
from moewright.sweeps.sweep_spec import Tuning

_WAVE = 2.0
"""Groups that cost up to so many times the cheapest of those left are decided together, and tested in parallel."""
_WAITING = TunedRate(None, (), None)


@dataclass(frozen=True)
class RateGroup:
    """A group as the rule sees it."""

    name: str
    sizes: Mapping[str, float]
    """The variables of `rate_transfer.EXPONENTS`."""
    rate: float
    """The recipe's own."""
    cost: float
    """FLOPs of one run of its tuned cell."""
    mup: bool = False

    @classmethod
    def of(cls, name: str, recipe: Recipe) -> "RateGroup":
        """The group that is tuned by this recipe."""
        model = recipe.architecture
        mixture = bool(model.moe_layers())
        return cls(
            name=name,
            sizes={
                "active_params": active_params_non_embedding(model),
                "train_tokens": recipe.train_tokens,
                "num_experts": variables.num_experts(model) if mixture else 1,
                "top_k": variables.top_k(model) if mixture else 1,
                "expert_share": variables.expert_size(model) / model.hidden_size if mixture else 1,
                "batch_tokens": recipe.batch_tokens,
            },
            rate=peak_learning_rate(recipe),
            cost=training_flops(model, recipe.trained_tokens, recipe.sequence_length),
            mup=recipe.initialization.rule == "mup",
        )


def tune_by_rule(
    tuning: Tuning, groups: Sequence[RateGroup], losses_at: Callable[[str, float], Sequence[float | None]]
) -> dict[str, tuple[tuple[float, ...], TunedRate]]:
    """For each group the multipliers that it needs and its rate, as `tune_rate` has them; in the order of `groups`.

    Waves of about equal cost, the cheapest first; in each, groups are tested around the rule's own answer until those
    left are sure. Groups of a later wave wait. It follows from the losses alone, so that the same ones give the same
    stage.
    """
    assert tuning.transfer is not None
    found: dict[str, tuple[tuple[float, ...], TunedRate]] = {group.name: ((), _WAITING) for group in groups}
    step = _step(tuning)
    tuned: list[TunedModel] = []
    waves = _waves(groups)
    first = waves[0][0]
    for wave in waves:
        left = list(wave)
        while left:
            rule = RateRule(first.rate, first.sizes, tuned, first.mup)
            picked = rule.to_test([group.sizes for group in left], tuning.transfer.within, step / sqrt(12))
            for number in picked:
                group = left[number]
                around = round_rate(rule.predict(group.sizes).rate / group.rate) if tuned else 1.0
                found[group.name] = tune_rate(tuning, partial(losses_at, group.name), around)
            tested = [left[number] for number in picked]
            if any(found[group.name][1].multiplier is None for group in tested):
                return found
            tuned += [_as_tuned(group, found[group.name][1], step) for group in tested]
            left = [group for group in left if group not in tested]
            if not picked:
                for group in left:
                    found[group.name] = (), _predicted(rule, group)
                break
    return found


def _waves(groups: Sequence[RateGroup]) -> list[list[RateGroup]]:
    waves: list[list[RateGroup]] = []
    for group in sorted(groups, key=lambda each: each.cost):
        if not waves or group.cost > _WAVE * waves[-1][0].cost:
            waves.append([])
        waves[-1].append(group)
    return waves


def _step(tuning: Tuning) -> float:
    """Of ln(rate) between the multipliers, on average."""
    return log(max(tuning.multipliers) / min(tuning.multipliers)) / (len(tuning.multipliers) - 1)


def _as_tuned(group: RateGroup, found: TunedRate, step: float) -> TunedModel:
    assert found.multiplier is not None
    assert found.optimum is not None
    return tuned_model(group.sizes, group.rate * found.multiplier, found.optimum, step)


def _predicted(rule: RateRule, group: RateGroup) -> TunedRate:
    best = rule.predict(group.sizes)
    low, high = best.interval
    about = PredictedMultiplier(
        interval=(round_rate(low / group.rate), round_rate(high / group.rate)),
        gives_away=float(f"{best.gives_away:.3g}"),
    )
    return TunedRate(round_rate(best.rate / group.rate), (), None, about)
