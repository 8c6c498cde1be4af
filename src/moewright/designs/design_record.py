"""What `moewright design` prints as JSON and keeps in the folder of its designs: one record for both."""

from typing import ClassVar, Literal

from moewright.architecture import Architecture
from moewright.designs.budgets import Budgets
from moewright.designs.space import Space
from moewright.records import FileRecord, Items, Output, Pair, Record

ByLaw = dict[str, float]
Where = Literal["inside", "below", "above", "unstated"]


class SizesRecord(Record):
    """The sizes of a design."""

    hidden_size: int
    num_layers: int
    dense_first: int
    """Dense layers before the mixtures."""
    num_heads: int
    num_kv_heads: int
    head_dim: int
    num_experts: int
    top_k: int
    shared_experts: int
    expert_size: int


class DesignRecord(Record):
    """One model within the budgets."""

    architecture: Architecture
    hf_family: str
    sizes: SizesRecord
    total_params: int
    active_params: int
    memory_bytes: int
    train_tokens: float
    train_flops: float
    predicted_loss: ByLaw
    regret: ByLaw
    """Loss above the law's best design within the same budgets, in nats."""
    worst_regret: float
    binding: Items[str]
    """Budgets that experts one step wider would break."""
    domain: dict[str, dict[str, Where]]
    """By law and variable: where it lies against the law's runs."""
    extrapolation: dict[str, ByLaw]
    """By law and variable: how many times outside the law's runs; what is inside is left out."""
    follows: Items[str]
    """Principles."""
    probability_best: ByLaw
    speed: dict[str, Pair[float]]


class FavouriteRecord(SizesRecord):
    """What one law alone would build."""

    active_params: int
    regret: ByLaw


class PrincipleRecord(SizesRecord):
    """The best design that follows a principle."""

    regret: ByLaw


class UndecidedRecord(Record):
    """Designs that cannot be told apart: how many, and the range of each size."""

    count: int
    hidden_size: Pair[int]
    num_layers: Pair[int]
    dense_first: Pair[int]
    num_heads: Pair[int]
    num_kv_heads: Pair[int]
    head_dim: Pair[int]
    num_experts: Pair[int]
    top_k: Pair[int]
    shared_experts: Pair[int]
    expert_size: Pair[int]


class WithinNoiseRecord(UndecidedRecord):
    """The designs whose worst regret is within noise of the first's."""

    within: float
    """Nats."""


class BootstrapRecord(Record):
    """The finalists as the bootstrap draws of one fitted law rank them."""

    draws: int
    finalists: int
    confidence: float
    not_told_apart: UndecidedRecord


class SizedRecord(SizesRecord):
    """A design's sizes and its active parameters."""

    active_params: int


class ModeRecord(Record):
    """The best mixture when one of tokens and FLOPs is held fixed."""

    held: Literal["tokens", "FLOPs"]
    amount: float
    all_laws: SizedRecord
    by_law: dict[str, SizedRecord]


class TradeOffRow(Record):
    """The sparsity that fills both budgets with so many experts, None where none does."""

    num_experts: int
    sparsity: float | None
    sparsity_at_coarsest: float | None


class TradeOffRecord(Record):
    """Experts against sparsity for one pair of budgets."""

    ratio: float
    """N_total / N_active, without embeddings."""
    granularity: float
    rows: Items[TradeOffRow]


class PrinciplesRecord(Record):
    """What each principle would choose within the budgets; None where nothing follows it."""

    liew: PrincipleRecord | None = None
    slicing: PrincipleRecord | None = None
    joint: PrincipleRecord | None = None
    liew_ranking: Items[SizesRecord]
    trade_off: TradeOffRecord


class PublishedRecord(Record):
    """A published model beside the designs."""

    name: str
    total_params: int
    active_params: int
    sizes: dict[str, float]
    regret: ByLaw
    """Negative where it is outside the space searched and better."""
    silent: dict[str, str]
    """Laws that say nothing about it, with the reason."""
    warnings: Items[str]


class SearchRecord(Record):
    """How much was searched."""

    candidates: int
    feasible: int
    seconds: float


class DesignsRecord(FileRecord, Output):
    """The answer of `moewright design`: designs.json in its folder, and its JSON output."""

    command: ClassVar[str] = "design"
    version_without_format: ClassVar[int | None] = 1
    format: Literal["moewright-designs/1"] = "moewright-designs/1"
    budgets: Budgets
    space: Space
    designs: Items[DesignRecord]
    laws: Items[str]
    favourites: dict[str, FavouriteRecord]
    law_optimum: dict[str, float]
    """The joint law's G*, S* and N_a/N at the first design's total, where it is among the laws."""
    indistinguishable: WithinNoiseRecord
    fitted: dict[str, BootstrapRecord]
    modes: Items[ModeRecord]
    principles: PrinciplesRecord
    shadow_prices: dict[str, ByLaw]
    """By law and budget: change of the best loss, in nats, for `shadow_price_of` more of the budget."""
    shadow_price_of: float
    exchange_rates: dict[str, dict[str, dict[str, float | None]]]
    like: PublishedRecord | None
    search: SearchRecord
    warnings: Items[str]
