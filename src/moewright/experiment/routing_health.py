"""Whether a run's routing has collapsed: an expert that nobody chooses, or one that half of the tokens do. No torch."""

from collections.abc import Iterator

from moewright.architecture.feed_forwards import MoE
from moewright.architecture.spec import Architecture
from moewright.experiment.metrics import RoutingMetrics
from moewright.records import Record

LEAST_CHOICES = 20
"""Choices of an expert at an even load, below which none at all may be chance: of 20 it is one in e^20."""
HALF = 0.5
"""Share of the tokens that one expert takes, from which on it is said."""
REMEDY = (
    "add a balance loss (balancing.losses) or a selection bias (balancing.selection_bias), give it more weight, or "
    "lower the learning rate"
)


class Collapse(Record):
    """What is wrong with one layer's routing."""

    layer: int
    """Among the layers with experts, from 1."""
    measure: str
    """The field of `RoutingMetrics` that says so."""
    detail: str

    def __str__(self) -> str:
        return f"layer {self.layer} with experts: {self.detail}"


def collapsed(routing: RoutingMetrics, architecture: Architecture, tokens: float) -> Iterator[Collapse]:
    """The collapses that the metrics of so many tokens show, layer by layer.

    An expert has half of the tokens only if that is also twice its even share: with 2 of 4 experts, each has half.
    """
    mixtures = [layer.feed_forward for layer in architecture.iter_layers() if isinstance(layer.feed_forward, MoE)]
    for number, moe in enumerate(mixtures, start=1):
        even = [group.top_k / group.count for group in moe.groups]  # share of the tokens, by group
        dead = routing.dead_experts[number - 1] if number <= len(routing.dead_experts) else 0
        if dead and tokens * min(even) >= LEAST_CHOICES:
            what = "1 expert is" if dead == 1 else f"{dead} experts are"
            yield Collapse(layer=number, measure="dead_experts", detail=f"{what} chosen by no token of {tokens:,.0f}")
        violation = routing.max_violation[number - 1] if number <= len(routing.max_violation) else None
        if violation is None or violation < 1:
            continue
        share = (1 + violation) * min(even)  # at least: which group has the expert is not recorded
        if share >= HALF:
            yield Collapse(
                layer=number,
                measure="max_violation",
                detail=f"one expert takes {share:.0%} of the tokens, {1 + violation:.3g} times its even share",
            )


class CollapseWatch:
    """Watches the steps of a run as they are logged; says once for each layer and measure what does not go away."""

    STEPS = 5
    """Logged steps in a row that must show it."""

    def __init__(self, architecture: Architecture, tokens: float):
        """`tokens`: of a step."""
        self.architecture, self.tokens = architecture, tokens
        self.in_a_row: dict[tuple[int, str], int] = {}
        self.said: set[tuple[int, str]] = set()

    def warnings(self, routing: RoutingMetrics) -> Iterator[str]:
        """What to tell the user after one more logged step."""
        seen = {(each.layer, each.measure): each for each in collapsed(routing, self.architecture, self.tokens)}
        self.in_a_row = {key: self.in_a_row.get(key, 0) + 1 for key in seen}
        for key, count in self.in_a_row.items():
            if count >= self.STEPS and key not in self.said:
                self.said.add(key)
                yield f"routing has collapsed for {count} logged steps: {seen[key]}; {REMEDY}"
