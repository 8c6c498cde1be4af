"""A design's answer as it was printed: what to build, beside what, why, how sure, at what cost, and the candidates."""

from collections.abc import Iterator, Mapping, Sequence

from moewright.designs.design_record import BesideRecord, CostsRecord, DesignRecord, DesignsRecord, DifferenceRecord
from moewright.plain_values import dump_yaml
from moewright.quantities import counted, format_bytes, format_count
from moewright.report.design_tables import SIZE_WORDS, budget_lines, size_ranges
from moewright.report.page.layer_picture import layers_svg, layers_words
from moewright.report.page.page_blocks import (
    Chapter,
    Origin,
    PageBlock,
    PageColumn,
    PageGrid,
    PageNumber,
    copied_html,
    facts_html,
    facts_markdown,
    grid_html,
    grid_markdown,
    list_html,
    list_markdown,
    paragraphs_html,
    paragraphs_markdown,
    range_text,
)
from moewright.report.page.page_sources import PageSource
from moewright.report.page.sections.model_section import EXACT_COUNT, config_text

CHOSEN = Origin("modelled", "the laws that may judge, then costs", "among designs that no other beats", "design.md")
_RESIDENT = Origin("exact", "weights as stored and the cache", "all experts resident", "accounting.md")
_COMPARED_SIZES = ("hidden_size", "num_layers", "num_experts", "top_k", "shared_experts", "expert_size")
_COSTS = ("train_device_hours", "decode_tokens_per_second", "time_to_first_token", "kv_bytes_per_token")
_FASTER = "decode_tokens_per_second"
"""The one of which more is better."""
_COST_WORDS = {
    "train_device_hours": "device-hours of training",
    "decode_tokens_per_second": "tokens/s of a sequence",
    "time_to_first_token": "seconds to the first token",
    "kv_bytes_per_token": "cache bytes of a token",
}
_FURTHER_COSTS = {
    "train_layout": "layout of training",
    "train_days": "days of training",
    "train_money": "training, money",
    "serve_device_hours": "device-hours of serving its life",
    "serve_batch": "sequences at a time then",
    "serve_money": "serving its life, money",
}
"""Each where devices, a price or the tokens of a life were given."""


def design_blocks(sources: Sequence[PageSource]) -> Iterator[PageBlock]:
    """The blocks of each answer: one in each chapter that it has to say something about."""
    for source in sources:
        yield from _Answer(source).blocks()


def answer_origins(record: DesignsRecord) -> dict[str, Origin]:
    """Where the numbers of an answer are from: `count`, `memory`, `timed`, `trained`, `chosen`."""
    on = record.costed_on
    timed = Origin(
        "assumed" if on.assumed else "modelled",
        f"the roofline of {on.hardware}" + (", which no budget named" if on.assumed else ""),
        "[low, high] over the efficiencies of the device file",
        "hardware.md",
    )
    trained = Origin(
        "assumed" if on.train_assumed else "modelled",
        f"the training on {on.train_hardware}" + (", which no budget named" if on.train_assumed else ""),
        "[low, high]: of the named devices in their fastest layout, else over the range of utilisation",
        "hardware.md",
    )
    return {"count": EXACT_COUNT, "memory": _RESIDENT, "timed": timed, "trained": trained, "chosen": CHOSEN}


class _Answer:
    """One answer of `moewright design`."""

    def __init__(self, source: PageSource) -> None:
        self.record: DesignsRecord = source.value
        self.command = source.command
        self.name = f"design-{source.number}"
        self.first = self.record.designs[self.record.recommended.index]
        on = self.record.costed_on
        self.where = f"{on.devices} x {on.hardware}{' (assumed)' if on.assumed else ''}"
        origins = answer_origins(self.record)
        self.timed, self.trained = origins["timed"], origins["trained"]
        self.further = [
            name for name in _FURTHER_COSTS if any(getattr(d.costs, name) is not None for d in self.record.designs)
        ]

    def blocks(self) -> Iterator[PageBlock]:
        """In the order of the argument."""
        yield self._build()
        yield self._baseline()
        yield self._why()
        yield self._sure()
        yield self._costs()

    def _block(self, chapter: Chapter, title: str, html: str, markdown: str) -> PageBlock:
        return PageBlock(chapter, f"{self.name}-{chapter}", title, html, markdown)

    def _build(self) -> PageBlock:
        s, first = self.first.sizes, self.first
        shared = f"{s.shared_experts} shared" if s.shared_experts else "none shared"
        dense = f", {s.dense_first} dense first" if s.dense_first else ""
        title = (
            f"Build {s.num_experts} experts of {s.expert_size}, top-{s.top_k}, {shared}; {s.hidden_size:,} wide, "
            f"{s.num_layers} layers{dense}"
        )
        undecided, on = self.record.undecided.count, self.record.costed_on
        facts = [
            ("parameters", PageNumber(format_count(first.total_params), first.total_params, EXACT_COUNT)),
            ("active", PageNumber(format_count(first.active_params), first.active_params, EXACT_COUNT)),
            ("memory with the cache", PageNumber(format_bytes(first.memory_bytes), first.memory_bytes, _RESIDENT)),
            (f"{on.train_hardware}-hours of training", self._cost("train_device_hours")),
            *((self._further_words(name), self._cost(name)) for name in self.further),
            (f"tokens/s on {self.where}", self._cost("decode_tokens_per_second")),
            ("undecided with it", PageNumber(counted(undecided, "design"), undecided, CHOSEN)),
        ]  # fmt: skip
        budgets = budget_lines(self.record.budgets)
        reasons = list(self.record.recommended.reasons)
        doubts = list(self.record.warnings)
        spec = dump_yaml(first.architecture.to_dict(defaults=False))
        config = config_text(first.architecture, first.hf_family)
        taken = (copied_html("config.json", f"{self.name}-config", config) if config else "") + copied_html(
            "spec", f"{self.name}-spec", spec
        )
        taken += copied_html("command", f"{self.name}-command", self.command)
        return self._block(
            "answer",
            title,
            f'<div class="argued"><div>{facts_html(facts)}'
            f"{layers_svg(first.architecture, f'{self.name}-layers')}</div>"
            f"<div>{paragraphs_html(f'Within {budgets[0]}; {budgets[1]}.')}{list_html(reasons)}"
            f'<div class="taken">{taken}</div>'
            + (f'<div class="doubt">{list_html(doubts)}</div>' if doubts else "")
            + "</div></div>",
            f"{facts_markdown(facts)}\n{paragraphs_markdown(layers_words(first.architecture), *budgets)}\n"
            f"{list_markdown([*reasons, *doubts])}",
        )

    def _cost(self, name: str) -> PageNumber:
        costs = self.first.costs
        return PageNumber(_cost(costs, name), _low(costs, name), self._cost_origin(name))

    def _further_words(self, name: str) -> str:
        on = self.record.costed_on
        alone = {"train_money": on.train_price is None, "serve_money": on.serve_price is None}.get(name)
        return f"{_FURTHER_COSTS[name]}{' for power alone' if alone else ''}"

    def _cost_origin(self, name: str) -> Origin:
        return self.trained if name.startswith("train_") else self.timed

    def _baseline(self) -> PageBlock:
        baseline, first = self.record.baseline, self.first
        models: list[tuple[str, BesideRecord]] = [("as built", baseline.as_built)]
        if baseline.scaled is not None:
            models.append(("scaled to fit", baseline.scaled))
        names = [PageColumn("", is_text=True), PageColumn("this design")]
        cells = [[PageNumber(label) for label, _ in self._compared()], self._figures(first.sizes.to_dict(), first)]
        for name, model in models:
            names += [PageColumn(name), PageColumn("this against it", origin=CHOSEN)]
            cells += [self._figures(model.sizes.to_dict(), model), self._differences(model.design_against_it)]
        origins = [origin for _, origin in self._compared()]
        rows = list(zip(*cells, strict=True))
        grid = PageGrid(
            f"{self.name}-baseline-grid", f"The design and {baseline.name}", names, rows, origins, sorts=False
        )
        named = "the model that was named" if baseline.named else "the nearest published model"
        verdicts = [
            f"{name}: {'' if loss.decided else 'loss undecided, '}{loss.reason}"
            for name, model in models
            if (loss := model.design_against_it.loss) is not None
        ]
        bills = [
            f"{name}: the whole bill of training and serving {share:+.0%}"
            for name, model in models
            if (share := model.design_against_it.whole_bill) is not None
        ]
        notes = [*verdicts, *bills, *baseline.warnings]
        return self._block(
            "baseline",
            f"{baseline.name}, {named}",
            f"{grid_html(grid)}{list_html(notes)}",
            f"{grid_markdown(grid)}\n{list_markdown(notes)}",
        )

    def _compared(self) -> list[tuple[str, Origin]]:
        """The rows of the comparison, in the order of `_figures` and `_differences`."""
        return [
            *((SIZE_WORDS[size], EXACT_COUNT) for size in _COMPARED_SIZES),
            ("parameters", EXACT_COUNT),
            ("active", EXACT_COUNT),
            ("memory with the cache", _RESIDENT),
            *((_COST_WORDS[name], self._cost_origin(name)) for name in _COSTS),
            *((self._further_words(name), self._cost_origin(name)) for name in self.further),
            ("loss", CHOSEN),
        ]

    def _figures(self, sizes: Mapping[str, float], model: DesignRecord | BesideRecord) -> list[PageNumber]:
        return [
            *(PageNumber(f"{sizes[size]:,.5g}") for size in _COMPARED_SIZES),
            PageNumber(format_count(model.total_params)),
            PageNumber(format_count(model.active_params)),
            PageNumber(format_bytes(model.memory_bytes)),
            *(PageNumber(_cost(model.costs, name)) for name in (*_COSTS, *self.further)),
            PageNumber(""),
        ]

    def _differences(self, found: DifferenceRecord) -> list[PageNumber]:
        mean = None if found.loss is None else found.loss.mean
        loss = "not judged" if found.loss is None else "undecided" if mean is None else f"{mean:+.3f} nats"
        shares = [getattr(found, name) for name in ("memory_bytes", *_COSTS)]
        shares += [getattr(found, name, None) for name in self.further]  # of money; of hours and days as above
        return [
            *(PageNumber("") for _ in (*_COMPARED_SIZES, "parameters", "active")),
            *(PageNumber("-" if share is None else f"{share:+.0%}") for share in shares),
            PageNumber(loss),
        ]

    def _why(self) -> PageBlock:
        record = self.record
        columns = [PageColumn("law", is_text=True)]
        judged = Origin("modelled", "each law", "loss above the law's own best design within the budgets", "design.md")
        columns += [PageColumn(f"{number}", origin=judged) for number, _ in enumerate(record.designs, start=1)]
        rows = [
            [
                PageNumber(law, mark="" if law in record.undecided.laws else "not heard"),
                *(PageNumber(f"{design.regret[law]:.4f}", design.regret[law]) for design in record.designs),
            ]
            for law in record.laws
        ]
        regrets = PageGrid(f"{self.name}-regrets", "Regret of each design by law, nats", columns, rows, sorts=True)
        favourites = PageGrid(
            f"{self.name}-favourites",
            "What each law alone would build",
            [
                PageColumn("law", is_text=True),
                *(PageColumn(word, origin=CHOSEN) for word in SIZE_WORDS.values()),
                PageColumn("active", origin=EXACT_COUNT),
            ],
            [
                [
                    PageNumber(law),
                    *(PageNumber(f"{getattr(found, size):,}", getattr(found, size)) for size in SIZE_WORDS),
                    PageNumber(format_count(found.active_params, 3), found.active_params),
                ]
                for law, found in record.favourites.items()
            ],
        )
        return self._block(
            "why", "What each law says",
            f"{grid_html(regrets)}{grid_html(favourites)}",
            f"{grid_markdown(regrets)}\n{grid_markdown(favourites)}",
        )  # fmt: skip

    def _sure(self) -> PageBlock:
        undecided = self.record.undecided
        ranges = {name: getattr(undecided.ranges, name) for name in SIZE_WORDS}
        said = (
            f"{undecided.count:,} of {self.record.search.feasible:,} designs within the budgets are beaten by none "
            f"under all of {', '.join(undecided.laws)}: {size_ranges(ranges)}."
        )
        if undecided.confidence is not None:
            said += f" Public runs bear out {undecided.confidence:.0%} of such verdicts where it is least."
        columns = [
            PageColumn("", is_text=True),
            PageColumn("from", origin=CHOSEN),
            PageColumn("to", origin=CHOSEN),
            PageColumn("why it is open", is_text=True),
        ]
        rows = [
            [
                PageNumber(word),
                *(PageNumber(f"{end:,}", end) for end in ranges[name]),
                PageNumber(undecided.reasons.get(name, "")),
            ]
            for name, word in SIZE_WORDS.items()
        ]
        grid = PageGrid(f"{self.name}-open", "What is open", columns, rows, sorts=False)
        if not undecided.may_judge:
            said += " None of these laws may judge here, so this is no evidence."
        silence = "is not heard" if undecided.may_judge else "may not judge"
        silent = [f"{law} {silence}: {reason}" for law, reason in undecided.silent.items()]
        return self._block(
            "certainty",
            f"{undecided.count:,} designs cannot be told apart" if undecided.count > 1 else "One design is left",
            f"{paragraphs_html(said)}{grid_html(grid)}{list_html(silent)}",
            f"{paragraphs_markdown(said)}\n{grid_markdown(grid)}\n{list_markdown(silent)}",
        )

    def _costs(self) -> PageBlock:
        record, on = self.record, self.record.costed_on
        columns = [
            PageColumn("design", is_text=True),
            *(
                PageColumn(_COST_WORDS[name], origin=self._cost_origin(name), is_more_better=name == _FASTER)
                for name in _COSTS
            ),
            *(
                PageColumn(self._further_words(name), origin=self._cost_origin(name), is_text=name == "train_layout")
                for name in self.further
            ),
            PageColumn("memory", origin=_RESIDENT),
            PageColumn("worst regret", "nats", CHOSEN),
            PageColumn("total", origin=EXACT_COUNT),
            PageColumn("active", origin=EXACT_COUNT),
            *(PageColumn(word, origin=EXACT_COUNT) for word in SIZE_WORDS.values()),
        ]
        rows = [
            [
                PageNumber(f"{number}", number, mark="recommended" if design is self.first else ""),
                *(PageNumber(_cost(design.costs, name), _low(design.costs, name)) for name in (*_COSTS, *self.further)),
                PageNumber(format_bytes(design.memory_bytes), design.memory_bytes),
                PageNumber(f"{design.worst_regret:.4f}", design.worst_regret),
                PageNumber(format_count(design.total_params), design.total_params),
                PageNumber(format_count(design.active_params), design.active_params),
                *(PageNumber(f"{getattr(design.sizes, size):,}", getattr(design.sizes, size)) for size in SIZE_WORDS),
            ]
            for number, design in enumerate(record.designs, start=1)
        ]
        grid = PageGrid(
            f"{self.name}-costs-grid",
            f"The best of each undecided mixture; trained on {on.train_hardware}, served on {self.where}",
            columns,
            rows,
            classes=["chosen" if design is self.first else "" for design in record.designs],
            filters=len(rows) > 12,
        )
        return self._block("costs", "What each candidate costs", grid_html(grid), grid_markdown(grid))


def _cost(costs: CostsRecord, name: str) -> str:
    value = getattr(costs, name)
    if value is None or isinstance(value, str):
        return value or "-"
    if isinstance(value, tuple):
        return range_text(value)
    return format_bytes(value, 3) if name == "kv_bytes_per_token" else f"{value:,}"


def _low(costs: CostsRecord, name: str) -> float | None:
    value = getattr(costs, name)
    if value is None or isinstance(value, str):
        return None
    return float(value[0] if isinstance(value, tuple) else value)
