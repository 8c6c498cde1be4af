"""Models side by side: every quantity with its differences marked, the layers as a picture, and the config to take."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from moewright.architecture.spec import Architecture
from moewright.errors import UserError
from moewright.foreign_text import shell_words, to_html, to_json
from moewright.hardware.inspection import Inspection, inspect_loaded
from moewright.hardware.inspection_comparison import InspectionComparison, compare_loaded
from moewright.hardware.inspection_record import ComparedQuantity, Value
from moewright.hf.config import to_config
from moewright.hf.loading import Loaded
from moewright.plain_values import dump_yaml
from moewright.quantities import format_bytes, format_count
from moewright.report.page.layer_picture import layers_svg, layers_words
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


def model_blocks(sources: Sequence[PageSource]) -> Iterator[PageBlock]:
    """A block for all models of a page."""
    models = [source.value for source in sources]
    inspections = (inspect_loaded(models[0]),) if len(models) == 1 else compare_loaded(models).inspections
    names = [one.name for one in inspections]
    title = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    grid = _comparison(inspections)
    html = markdown = ""
    for number, (source, one) in enumerate(zip(sources, inspections, strict=True), start=1):
        facts = _facts(one)
        html += (
            f'<div class="model"><h4>{number}. {to_html(one.name)}</h4>{facts_html(facts)}'
            f"{layers_svg(one.architecture, f'layers-{number}')}{_taken_html(source, number)}</div>\n"
        )
        markdown += f"**{number}.** {layers_words(one.architecture)}\n\n{facts_markdown(facts)}\n"
    warnings = [f"{one.name}: {warning}" for one in inspections for warning in one.warnings]
    yield PageBlock(
        chapter="models",
        name="models-compared",
        title=title,
        html=f'<div class="models">{html}</div>\n{grid_html(grid)}{list_html(warnings)}',
        markdown=f"{markdown}{grid_markdown(grid, 100)}\n{list_markdown(warnings)}",
    )


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
        return PageNumber(range_text(value), value[0])
    if quantity.unit == "bytes":
        return PageNumber(format_bytes(value), value)
    if quantity.unit in _LONG_COUNTS:
        return PageNumber(format_count(value), value)
    return PageNumber(_plain(value), value)


def _plain(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def _taken_html(source: PageSource, number: int) -> str:
    texts = taken_texts(source.given, source.value)
    buttons = (copied_html(label, f"{label.partition('.')[0]}-{number}", text) for label, text in texts.items())
    return f'<div class="taken">{"".join(buttons)}</div>\n'


def taken_texts(given: str, loaded: Loaded) -> dict[str, str]:
    """What people take home of a model: the spec, the command line, and the config where there is one."""
    own = loaded.config
    config = written_config(own) if own is not None else config_text(loaded.architecture, loaded.family)
    return {
        **({"config.json": config} if config else {}),
        "spec": dump_yaml(loaded.architecture.to_dict(defaults=False)),
        "command": shell_words("moewright", "inspect", given),
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
