"""What `moewright design` prints as JSON and keeps in the folder of its designs: one record for both."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from moewright.architecture import Architecture
from moewright.designs.budgets import Budgets
from moewright.designs.space import Space
from moewright.laws.judging.judgement import JudgedPair
from moewright.laws.judging.own_runs import OwnOpinion
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
    layer_plan: int = 0
    """Place among the choices of attention, windows, latent experts and tied embeddings that the space lists."""


class CostsRecord(Record):
    """What a model costs; pairs are [low, high]."""

    train_device_hours: Pair[float]
    decode_tokens_per_second: Pair[float]
    """Of each sequence of the batch."""
    time_to_first_token: Pair[float]
    """Seconds."""
    kv_bytes_per_token: float
    train_layout: str | None = None
    """The fastest on the named devices, whose hours then are printed; null: hours by the range of utilisation."""
    train_refusal: str | None = None
    """Why no layout of the named devices was found, in the words of `plan`."""
    train_days: Pair[float] | None = None
    """On the named number of devices."""
    train_money: Pair[float] | None = None
    """In the currency of the price; null without one."""
    serve_device_hours: Pair[float] | None = None
    """Of the tokens of the model's life; null where their number was not given, or not one sequence fits."""
    serve_batch: int | None = None
    """Sequences at a time in a server of the bill; 0 where not one fits."""
    serve_money: Pair[float] | None = None


class DesignRecord(Record):
    """One model within the budgets."""

    architecture: Architecture
    hf_family: str | None
    """Null where no Hugging Face family that is written expresses it: latent experts."""
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
    costs: CostsRecord
    score: float
    """Logarithm of the effective cost above the recommended design's; nats of mean loss by preference for loss."""
    own: OwnOpinion | None = None
    """What a user's own runs say of the recommended design against this one; null for itself, and where none is
    heard."""


class FavouriteRecord(SizesRecord):
    """What one law alone would build."""

    active_params: int
    regret: ByLaw


class WholeBillRecord(Record):
    """As good as the answer to the asked training and least dear to train and to serve, of all sizes and tokens."""

    sizes: SizesRecord
    total_params: int
    active_params: int
    memory_bytes: int
    train_tokens: float
    """At which every law that is heard and sees tokens finds it as good."""
    tokens_by_law: ByLaw
    """That each law alone wants."""
    costs: CostsRecord
    against_asked: float
    """Its bill above that of the answer to the asked training, as a share of it (-.1 is 10 % less), middles of
    ranges."""
    against_by_law: ByLaw
    """The same on the tokens that each law alone wants."""
    chosen: bool
    """Whether it is the recommended design; the answer to the asked training is then the next of `designs`."""


class SettlingRecord(Record):
    """Runs that would settle the largest doubt, a plain estimate: two small models that differ in one thing."""

    axis: str
    """In which they differ: layer_plan, num_layers, or mixture (experts, top-k, shared experts)."""
    second: SizesRecord
    """The design that would be built otherwise, the best of those that have something else there."""
    nats: float
    """By which it must have the lower loss to be the better choice; of a mixture or a plan of layers at least what 10 %
    more training is worth."""
    seeds: int
    """Of each of the two, so that a difference of so much is told with 95 %."""
    active_params: float
    """Of each small model."""
    train_tokens: float
    train_flops: float
    """Of all runs together: 6 for each active parameter and token."""
    device_hours: Pair[float]
    """On the device that trains, by the range of utilisation."""


class PrincipleRecord(SizesRecord):
    """The best design that follows a principle."""

    regret: ByLaw


class SizeRangesRecord(Record):
    """The range of each size over some designs."""

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
    layer_plan: Pair[int] = (0, 0)


class LayerPlanRecord(Record):
    """One choice of what layers have beyond their sizes, which no law sees."""

    number: int
    words: Items[str]
    """Empty: plain layers."""
    behind_nats: float | None
    """So much worse may the recommended design's layers make the loss before the best design of this plan is the better
    choice; null where none of its designs is undecided."""


class OwnVerdictsRecord(Record):
    """What a user's own runs changed of what the laws leave open."""

    runs: int
    inside: float | None
    """Share of the runs that lie in their 90 % intervals when they are left out; null with too few."""
    heard: bool
    reason: str | None
    """Why they are not heard."""
    sure: float
    """Probability from which they decide."""
    beaten: int | None = None
    """Designs that the laws leave open, and the runs drop."""
    sampled: int | None = None
    """Of the designs that the laws drop, so many were asked about."""
    kept_open: int | None = None
    """Of these, so many stay open: the runs contradict every design that beats them."""


class UndecidedRecord(Record):
    """What evidence leaves open: the designs that no other beats under every law that is heard."""

    confidence: float | None
    """Share of such verdicts that public runs bear out, where it is least; null where fewer than two published laws
    may judge, of which public runs do not speak."""
    margin: float
    """Nats by which every law must find a design better."""
    count: int
    ranges: SizeRangesRecord
    reasons: dict[str, str]
    """By size: why it is open."""
    laws: Items[str]
    """Those that are heard."""
    silent: dict[str, str]
    """Those that may not judge, with the reason."""
    may_judge: bool
    """Whether those that are heard may judge; else none of those that were asked for may, and they are heard as they
    are."""
    own: OwnVerdictsRecord | None = None
    """Null without own runs."""


class NotToldApartRecord(SizeRangesRecord):
    """Finalists that a fitted law's draws cannot tell from its favourite."""

    count: int


class RecommendedRecord(Record):
    """Which design to build, and why."""

    index: int
    """Of `designs`, from 0."""
    prefer: str
    """balanced, train, serve or loss; bill: the size and tokens of the least bill, whatever training was asked for."""
    reasons: Items[str]


class CostedOnRecord(Record):
    """Where costs are counted."""

    hardware: str
    devices: int
    assumed: bool
    """Whether the budgets named no device."""
    train_hardware: str
    train_assumed: bool
    """Whether the device that trains is neither named nor the one that serves."""
    train_devices: int | None
    train_price: float | None
    """Of a device-hour."""
    serve_price: float | None
    train_power: Pair[float] | None = None
    """Money of the energy of a device-hour, where power has a price."""
    serve_power: Pair[float] | None = None
    bill_devices: int
    """Of a server of the bill of `serve_tokens`."""


class DifferenceRecord(Record):
    """The recommended design against a model: shares of the model's figure (.1 is 10 % more), middles of ranges."""

    train_device_hours: float
    decode_tokens_per_second: float
    time_to_first_token: float
    kv_bytes_per_token: float | None
    memory_bytes: float
    probability: float | None
    """That the design has the lower loss: the share of such verdicts that public runs bear out; where own runs
    decided, what these say; null where it is open."""
    probability_by_draws: ByLaw
    """By fitted law: the share of its draws under which the design has the lower loss."""
    train_money: float | None = None
    whole_bill: float | None = None
    """Training and serving of the tokens of a life, where their number was given."""
    loss: JudgedPair | None
    """The design is the first of the two; null where no published law is among the judges."""


class BesideSizesRecord(Record):
    """Sizes that any mixture has, mean values where its layers differ."""

    hidden_size: float
    num_layers: float
    num_experts: float
    top_k: float
    shared_experts: float
    expert_size: float


class BesideRecord(Record):
    """A model beside the recommended design."""

    sizes: BesideSizesRecord
    total_params: int
    active_params: int
    memory_bytes: int
    train_tokens: float
    costs: CostsRecord
    within_budgets: bool
    design_against_it: DifferenceRecord


class BaselineRecord(Record):
    """A published model as it is, and scaled to the budgets in the proportions that it has."""

    name: str
    named: bool
    """Whether the user named it; else it is the nearest of the catalogue."""
    as_built: BesideRecord
    scaled: BesideRecord | None
    warnings: Items[str]


class BootstrapRecord(Record):
    """The finalists as the bootstrap draws of one fitted law rank them."""

    draws: int
    finalists: int
    confidence: float
    not_told_apart: NotToldApartRecord


class SizedRecord(SizesRecord):
    """A design's sizes and its active parameters."""

    active_params: int


class ModeRecord(Record):
    """The best mixture when one of tokens and FLOPs is held fixed."""

    held: Literal["tokens", "FLOPs"]
    amount: float
    all_laws: SizedRecord
    by_law: dict[str, SizedRecord]


class FlipRecord(Record):
    """The choice under one assumption that is changed, at the asked training."""

    assumption: str
    design: SizesRecord
    changed: Items[str]
    """Sizes that are not the asked answer's, which is the recommended design unless the least bill chose another;
    empty: the answer stands."""
    undecided: int
    loses: float | None
    """By how much the asked answer is dearer there than this one, as a share of effective cost (nats where the
    mean loss chooses); null where it is not undecided there."""


class TradeOffRow(Record):
    """The sparsity that fills both budgets with so many experts, None where none does."""

    num_experts: int
    sparsity: float | None
    """s = E/K at the granularity that is held."""
    sparsity_at_coarsest: float | None
    """s at the coarsest experts that the space and K >= 1 allow."""


class TradeOff(Record):
    """Experts against sparsity for one pair of budgets."""

    ratio: float
    """r = N_total / N_active, without embeddings."""
    granularity: float
    """g = d / d_e that is held fixed."""
    rows: Items[TradeOffRow]


class PrinciplesRecord(Record):
    """What each principle would choose within the budgets; None where nothing follows it."""

    liew: PrincipleRecord | None = None
    slicing: PrincipleRecord | None = None
    joint: PrincipleRecord | None = None
    liew_ranking: Items[SizesRecord]
    trade_off: TradeOff


class SearchRecord(Record):
    """How much was searched."""

    candidates: int
    feasible: int
    seconds: float


class DesignsRecord(FileRecord, Output):
    """The answer of `moewright design`: designs.json in its folder, and its JSON output."""

    command: ClassVar[str] = "design"
    format: Literal["moewright-designs/2"] = "moewright-designs/2"
    budgets: Budgets
    space: Space
    designs: Items[DesignRecord]
    laws: Items[str]
    favourites: dict[str, FavouriteRecord]
    law_optimum: dict[str, float]
    """The joint law's G*, S* and N_a/N at the first design's total, where it is among the laws."""
    recommended: RecommendedRecord
    undecided: UndecidedRecord
    layer_plans: Items[LayerPlanRecord] = ()
    """All that the space lists."""
    whole_bill: WholeBillRecord | None = None
    """Null without `serve_tokens`, where no law that is heard sees tokens, or with `whole_bill_refusal`."""
    whole_bill_refusal: str | None = None
    """Why other sizes and tokens were not compared: too many designs are open."""
    settle: SettlingRecord | None = None
    """Null where nothing else is undecided, no law may judge, or the least bill chose size and tokens."""
    baseline: BaselineRecord
    costed_on: CostedOnRecord
    fitted: dict[str, BootstrapRecord]
    modes: Items[ModeRecord]
    flips: Items[FlipRecord] | None
    """The choice at the asked training under each assumption that is changed by itself; null without --explain."""
    left_out: dict[str, str] = Field(default={})
    """Principles, the other of `modes` and assumptions of `flips` that could not be searched, with the reason: too many
    designs are open there, or none can be served."""
    principles: PrinciplesRecord
    shadow_prices: dict[str, ByLaw]
    """By law and budget: change of the best loss, in nats, for `shadow_price_of` more of the budget."""
    shadow_price_of: float
    exchange_rates: dict[str, dict[str, dict[str, float | None]]]
    search: SearchRecord
    warnings: Items[str]

    @model_validator(mode="after")
    def _hold_together(self) -> "DesignsRecord":
        if not 0 <= self.recommended.index < len(self.designs):
            count = len(self.designs)
            raise ValueError(f"recommended.index: {self.recommended.index} is none of the {count} designs, from 0")
        for place, design in enumerate(self.designs):
            if missing := [law for law in self.laws if law not in design.regret]:
                raise ValueError(f"designs[{place}].regret: lacks {missing[0]}, which is among the laws")
        return self
