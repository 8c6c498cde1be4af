"""Every combination of a space but for the expert size, made chunk by chunk with its parameters counted.

Parameters and FLOPs are straight lines in the expert size, so two counts of each group give them at every size.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from moewright.architecture import counts
from moewright.architecture.columns import ArchitectureColumns
from moewright.designs.candidates import CANDIDATE_SIZES, Candidates, IntColumn, columns
from moewright.designs.rules import LINE_COUNTS
from moewright.designs.space import Space
from moewright.errors import UserError

# Rows that are worked on at a time: their columns stay in a processor's cache, and memory does not grow with the space.
CHUNK_ROWS = 2**16
# Groups that are kept for the next pass: 400 MB of columns; larger spaces are made again.
KEPT_GROUPS = 2_000_000
# Twenty times the default space. 14 million took 31 s of one core and 1.1 GB at most (AMD EPYC).
MOST_GROUPS = 10_000_000
# Bytes, FLOPs and their sums over a thousand times as many stay below 2^63.
LARGEST_COUNT = 1e15


@dataclass(frozen=True)
class Groups:
    """Shapes times mixtures of a space."""

    shapes: IntColumn
    """(S, 6): width, depth, dense_first, heads, kv heads, head_dim."""
    mixtures: IntColumn
    """(T, 3): experts, top_k, shared experts."""
    space: Space
    tokens_per_sequence: int | None = None
    """Of training; None where its FLOPs are not wanted."""

    def __len__(self) -> int:
        return len(self.shapes) * len(self.mixtures) * len(self.space.layer_plans)

    @property
    def num_designs(self) -> int:
        """Designs in the space, every expert size counted, before the rules that count parameters."""
        space, widths = self.space, self.shapes[:, 0]
        steps = (space.widest_size(widths) - space.narrowest_size(widths)) // space.expert_size_step
        return int((steps + 1).sum()) * len(self.mixtures) * len(self.space.layer_plans)

    def chunks(self) -> Iterator[Candidates]:
        """All groups in pieces of about CHUNK_ROWS, at their narrowest expert size, parameters as lines."""
        yield from self._kept if len(self) <= KEPT_GROUPS else self._made()

    def with_flops(self, tokens_per_sequence: int) -> "Groups":
        """The same groups with training FLOPs per token among their lines."""
        return self if self.tokens_per_sequence else replace(self, tokens_per_sequence=tokens_per_sequence)

    @cached_property
    def _kept(self) -> list[Candidates]:
        return list(self._made())

    def _made(self) -> Iterator[Candidates]:
        mixtures_at_once = min(len(self.mixtures), CHUNK_ROWS)
        shapes_at_once = max(CHUNK_ROWS // mixtures_at_once, 1)
        for number in range(len(self.space.layer_plans)):  # a chunk is of one plan: one kind of layers to count
            for row in range(0, len(self.shapes), shapes_at_once):
                shapes = self.shapes[row : row + shapes_at_once, None, :]
                for column in range(0, len(self.mixtures), mixtures_at_once):
                    mixtures = self.mixtures[None, column : column + mixtures_at_once, :]
                    yield self._chunk(shapes, mixtures, number)

    def _chunk(self, shapes: Any, mixtures: Any, number: int) -> Candidates:
        narrowest = self.space.narrowest_size(shapes[..., 0])
        # Shapes run down and mixtures across: what depends on one of them alone is counted once for all of the other.
        grid = Candidates(
            hidden_size=shapes[..., 0],
            num_layers=shapes[..., 1],
            dense_first=shapes[..., 2],
            num_heads=shapes[..., 3],
            num_kv_heads=shapes[..., 4],
            head_dim=shapes[..., 5],
            num_experts=mixtures[..., 0],
            top_k=mixtures[..., 1],
            shared_experts=mixtures[..., 2],
            expert_size=narrowest,
            layer_plan=np.full((1, 1), number),
            plans=self.space.layer_plans,
        )
        step = self.space.expert_size_step
        low = columns(grid, self.space.vocab_size)
        high = columns(replace(grid, expert_size=narrowest + step), self.space.vocab_size)
        shape = (shapes.shape[0], mixtures.shape[1])
        lines: dict[str, tuple[Any, Any]] = {}
        for name, count in self._counted().items():
            at_low, at_high = count(low), count(high)
            per_channel = (at_high - at_low) // step
            lines[name] = (_flat(at_low - per_channel * narrowest, shape), _flat(per_channel, shape))
        sizes: dict[str, Any] = {name: _flat(getattr(grid, name), shape) for name in CANDIDATE_SIZES}
        return Candidates(**sizes, lines=lines, plans=grid.plans)

    def _counted(self) -> dict[str, Any]:
        counted: dict[str, Any] = dict(LINE_COUNTS)
        if self.tokens_per_sequence is not None:
            tokens = self.tokens_per_sequence

            def training_flops(architecture: ArchitectureColumns) -> IntColumn:
                flops: IntColumn = counts.trained_flops_per_token(architecture, tokens)
                return flops

            counted["training_flops"] = training_flops
        return counted


def groups_of(space: Space) -> Groups:
    """The groups of a space; UserError names the rule that leaves none.

    >>> groups = groups_of(Space(widths=(1024,), experts=(64,)))
    >>> len(groups), groups.num_designs
    (120, 3480)
    """
    shapes, mixtures = np.array(space.shapes(), dtype=np.int64), np.array(space.mixtures(), dtype=np.int64)
    plans = len(space.layer_plans)
    number = len(shapes) * len(mixtures) * plans
    if number > MOST_GROUPS:
        beside = f" x {plans} plans of layers" if plans > 1 else ""
        raise UserError(
            f"space: {len(shapes):,} shapes x {len(mixtures):,} mixtures{beside} are {number:,} combinations, more "
            f"than the {MOST_GROUPS:,} that are searched; name fewer widths, depths, experts or top_k"
        )
    _check_counts(space, shapes, mixtures)
    return Groups(shapes, mixtures, space)


def _check_counts(space: Space, shapes: IntColumn, mixtures: IntColumn) -> None:
    """UserError where a design of the space may have more parameters than the columns' int64 can count."""
    width, depth, _, heads, kv_heads, head_dim = shapes.astype(np.float64).T
    experts = float(mixtures[:, 0].max() + mixtures[:, 1].max() + mixtures[:, 2].max())
    layer = width * (3 * space.widest_size(width) * experts + 2 * (heads + kv_heads) * head_dim + experts)
    most = float(np.max(depth * layer + 2 * space.vocab_size * width))
    if most > LARGEST_COUNT:
        raise UserError(
            f"space: its largest design has some {most:.0e} parameters, more than the {LARGEST_COUNT:.0e} that are "
            "counted exactly; lower widths, depths, experts or most_expert_size_over_width"
        )


def _flat(values: Any, shape: tuple[int, int]) -> Any:
    return np.ascontiguousarray(np.broadcast_to(values, shape)).ravel()
