"""Models and designs side by side: every quantity with its differences marked, layers as a picture, what is taken home.

Of the page: models that were given, those that plans lay out, and of every answer its designs and its baseline.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from moewright.architecture.spec import Architecture
from moewright.designs.design_record import DesignsRecord
from moewright.errors import UserError
from moewright.foreign_text import shell_words, to_html, to_json
from moewright.hardware.inspection import Inspection, inspect_loaded
from moewright.hardware.inspection_comparison import InspectionComparison, compare_loaded
from moewright.hardware.inspection_record import ComparedQuantity, Value
from moewright.hf.config import to_config
from moewright.hf.loading import Loaded, load_architecture
from moewright.hf.published_models import model_names
from moewright.plain_values import dump_yaml
from moewright.quantities import format_bytes, format_count
from moewright.report.page.layer_picture import KEY_WORDS, DrawnLayers, layers_svg, layers_words
from moewright.report.page.page_blocks import (
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
    range_text,
    spoken,
)
from moewright.report.page.page_sources import PageSource

EXACT_COUNT = Origin("exact", "the architecture, tensor by tensor", docs="accounting.md")
EXACT_BYTES = Origin("exact", "the architecture, as stored", "weights and cache in the named format", "accounting.md")
MULTIPLIED = Origin("exact", "the architecture", "2 FLOPs per multiply-add, causal attention", "accounting.md")
TIMED = Origin("modelled", "the roofline of the device file", "[low, high] over efficiencies", "hardware.md")
_ORIGINS = {"parameters": EXACT_COUNT, "": EXACT_COUNT, "bytes": EXACT_BYTES, "FLOPs": MULTIPLIED}
_LONG_COUNTS = ("parameters", "FLOPs")
_IN_CELLS = {"seconds": "s", "money": ""}
"""Units as they stand behind a range: money is in whatever prices are."""
MOST_SIDE_BY_SIDE = 4
"""At a time, as in `assets/page.js`."""


@dataclass(frozen=True)
class _Compared:
    """A model of the page that may stand beside others."""

    loaded: Loaded
    command: str
    """That shows it, or makes it."""
    is_shown: bool
    """Whatever is picked: its figures, its layers and what is taken home of it."""


def model_blocks(sources: Sequence[PageSource]) -> Iterator[PageBlock]:
    """A block for all models and designs of a page; none where there is nothing to show but what the answer shows."""
    compared = _compared(sources)
    if len(compared) < 2 and not any(each.is_shown for each in compared):
        return
    inspections = _inspected(compared, [source.value for source in sources if source.kind == "design"])
    numbered = list(zip(compared, inspections, strict=True))
    written = [pair for place, pair in enumerate(numbered) if pair[0].is_shown or place < MOST_SIDE_BY_SIDE]
    warnings = [f"{one.name}: {warning}" for each, one in numbered for warning in one.warnings if each.is_shown]
    later = {
        number: DrawnLayers.of(one.architecture).to_dict()
        for number, (each, one) in enumerate(numbered, start=1)
        if _is_later(each, number)
    }
    yield PageBlock(
        chapter="models",
        name="models-compared",
        title=_title([one.name for each, one in numbered if each.is_shown], len(compared)),
        html=f'<div class="models">{"".join(_card(*pair, number) for number, pair in enumerate(numbered, start=1))}'
        f"</div>\n{grid_html(_comparison(inspections))}{list_html(warnings)}",
        markdown="".join(_card_markdown(*pair, number) for number, pair in enumerate(written, start=1))
        + f"{grid_markdown(_comparison([one for _, one in written]), 100)}\n{list_markdown(warnings)}",
        data={"models-layers": {"words": KEY_WORDS, "layers": later}} if later else {},
        assets=("layers.js",) if later else (),
    )


def _is_later(each: _Compared, number: int) -> bool:
    """Whether it is shown once it is picked: its layers are then drawn by the page, for as elements they are 20 kB."""
    return not each.is_shown and number > MOST_SIDE_BY_SIDE


def _compared(sources: Sequence[PageSource]) -> list[_Compared]:
    """The recommended designs first, then what was given, then what is picked for it; each model once."""
    answers = [source for source in sources if source.kind == "design"]
    first: list[_Compared] = []
    others: list[_Compared] = []
    for source in answers:
        record: DesignsRecord = source.value
        for number, design in enumerate(record.designs, start=1):
            name = f"design {number}" + (f" of {source.given}" if len(answers) > 1 else "")
            loaded = Loaded(design.architecture, name, design.hf_family)
            to = first if number == record.recommended.index + 1 else others
            to.append(_Compared(loaded, source.command, is_shown=False))
    given = [_model(source.value, source.given, is_shown=True) for source in sources if source.kind == "model"]
    named = [source.value.model for source in sources if source.kind == "plan"]
    named += [source.value.baseline.name for source in answers]
    there = {each.loaded.name for each in given}
    published = [_model(load_architecture(name), name) for name in dict.fromkeys(named) if name in model_names()]
    return [*first, *given, *(each for each in published if each.loaded.name not in there), *others]


def _model(loaded: Loaded, given: str, is_shown: bool = False) -> _Compared:
    return _Compared(loaded, inspect_command(given), is_shown)


def _inspected(compared: Sequence[_Compared], answers: Sequence[DesignsRecord]) -> Sequence[Inspection]:
    """All under the same settings: those of the page's one answer, if there is one whose designs are served so."""
    models = [each.loaded for each in compared]
    if len(answers) == 1 and all(plan.is_served_as_asked for plan in answers[0].space.layer_plans):
        asked, on = answers[0].budgets, answers[0].costed_on
        settings: dict[str, Any] = {
            "tokens_per_sequence": asked.context,
            "batch": asked.batch,
            "weights_dtype": asked.weights_dtype,
            "kv_dtype": asked.kv_dtype,
        }
        with suppress(UserError):  # a device's file of another machine, or a model that has no such sequence
            return compare_loaded(models, **settings, hardware=on.hardware, devices=on.devices).inspections
    return (inspect_loaded(models[0]),) if len(models) == 1 else compare_loaded(models).inspections


def _title(given: Sequence[str], number: int) -> str:
    if not given:
        return f"{number} designs and models side by side"
    title = given[0] if len(given) == 1 else f"{', '.join(given[:-1])} and {given[-1]}"
    return title if number == len(given) else f"{title} beside the page's other models"


def _card(each: _Compared, one: Inspection, number: int) -> str:
    """What is shown of a model above the table; of one that was not given while it is picked."""
    is_later, name = _is_later(each, number), f"layers-{number}"
    picked = "" if each.is_shown else f' data-column="{number}"' + (" hidden" if is_later else "")
    picture = f'<div id="{name}"></div>' if is_later else layers_svg(one.architecture, name)
    texts = taken_texts(each.loaded, each.command)
    taken = "".join(copied_html(label, f"{label.partition('.')[0]}-{number}", text) for label, text in texts.items())
    return (
        f'<div class="model"{picked}><h4>{number}. {to_html(one.name)}</h4>{facts_html(_facts(one))}'
        f'{picture}<div class="taken">{taken}</div></div>\n'
    )


def _card_markdown(each: _Compared, one: Inspection, number: int) -> str:
    return f"**{number}.** {layers_words(one.architecture)}\n\n{facts_markdown(_facts(one))}\n"


def _facts(one: Inspection) -> list[tuple[str, PageNumber]]:
    facts = [
        ("parameters", PageNumber(format_count(one.total_params), one.total_params, EXACT_COUNT)),
        ("active", PageNumber(format_count(one.active_params), one.active_params, EXACT_COUNT)),
    ]
    if one.moe is not None:
        facts.append(
            (
                "experts, active",
                PageNumber(f"{_plain(one.moe.num_experts)}, {_plain(one.moe.top_k)}", origin=EXACT_COUNT),
            )
        )
    weights = one.weights_bytes[one.weights_dtype]
    facts.append((f"weights in {one.weights_dtype}", PageNumber(format_bytes(weights), weights, EXACT_BYTES)))
    cache = one.kv_bytes_per_token[one.cache_layout.latent]
    facts.append((f"cache of a token in {one.kv_dtype}", PageNumber(format_bytes(cache, 3), cache, EXACT_BYTES)))
    return facts


def _comparison(inspections: Sequence[Inspection]) -> PageGrid:
    quantities = [
        quantity
        for quantity in InspectionComparison(tuple(inspections)).quantities()
        if any(value not in (0, None, "") for value in quantity.values)
    ]
    columns = [PageColumn("quantity", is_text=True), *(PageColumn(one.name) for one in inspections)]
    rows = [
        [PageNumber(f"{each.group}: {spoken(each.name)}"), *(_cell(each, value) for value in each.values)]
        for each in quantities
    ]
    return PageGrid(
        name="models-grid",
        caption=f"Every quantity at {inspections[0].tokens_per_sequence:,} tokens a sequence"
        + ("; those that differ are marked" if len(inspections) > 1 else ""),
        columns=columns,
        rows=rows,
        origins=[_ORIGINS.get(each.unit, TIMED) for each in quantities],
        classes=["differs" if each.differs else "" for each in quantities],
        sorts=False,
        filters=True,
    )


def _cell(quantity: ComparedQuantity, value: Value) -> PageNumber:
    if value is None:
        return PageNumber("-")
    if isinstance(value, str):
        return PageNumber(value)
    if isinstance(value, tuple):
        return PageNumber(f"{range_text(value)} {_IN_CELLS.get(quantity.unit, quantity.unit)}".rstrip(), value[0])
    if quantity.unit == "bytes":
        return PageNumber(format_bytes(value), value)
    if quantity.unit in _LONG_COUNTS:
        return PageNumber(format_count(value), value)
    return PageNumber(_plain(value), value)


def _plain(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def inspect_command(given: str) -> str:
    """The command line that counts a model."""
    return shell_words("moewright", "inspect", given)


def taken_texts(loaded: Loaded, command: str) -> dict[str, str]:
    """What people take home of a model: the spec, the command line, and the config where there is one."""
    own = loaded.config
    config = written_config(own) if own is not None else config_text(loaded.architecture, loaded.family)
    return {
        **({"config.json": config} if config else {}),
        "spec": dump_yaml(loaded.architecture.to_dict(defaults=False)),
        "command": command,
    }


def config_text(architecture: Architecture, family: str | None) -> str:
    """A Hugging Face config.json of a model; empty where no family that is written expresses it."""
    try:
        values = to_config(architecture, family)
    except UserError:
        try:
            values = to_config(architecture)
        except UserError:
            return ""
    return written_config(values)


def written_config(values: Mapping[str, Any]) -> str:
    """A config as its file would hold it."""
    return to_json(json.dumps(values, indent=2, ensure_ascii=False))
