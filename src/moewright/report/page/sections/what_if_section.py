"""What-if without a server: the designs near the asked budgets, which a page decides among by itself."""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from moewright.architecture import Architecture
from moewright.designs.baseline import load_mixture
from moewright.designs.branch_and_bound import search_problem
from moewright.designs.budgets import Budgets
from moewright.designs.candidates import Candidates
from moewright.designs.costs import costed_on
from moewright.designs.design_record import DesignsRecord
from moewright.designs.groups import groups_of
from moewright.designs.judges import choose_judges
from moewright.designs.preference import LEAST_BILL
from moewright.designs.rules import RULES
from moewright.designs.space import SWITCHED_OFF, Space
from moewright.designs.vicinity import Vicinity, find_vicinity
from moewright.errors import UserError
from moewright.files import sha256_of
from moewright.foreign_text import shell_words
from moewright.laws import judges, load, names
from moewright.plain_values import dump_yaml
from moewright.quantities import format_count
from moewright.report.design_tables import SIZE_WORDS
from moewright.report.page.design_templates import design_templates
from moewright.report.page.design_words import design_options, written_bytes, written_count
from moewright.report.page.layer_picture import KEY_WORDS
from moewright.report.page.page_blocks import PageBlock, paragraphs_html
from moewright.report.page.page_sources import PageSource
from moewright.report.page.sections.design_section import answer_origins
from moewright.report.page.sections.model_section import inspect_command, taken_texts
from moewright.report.page.what_if_data import what_if_data
from moewright.report.page.what_if_models import ComparedModel, compared_models, nearest_models

_LIMIT_WORDS = {
    "memory_bytes": "Memory of each device",
    "device_memory_bytes": "Memory of each device",
    "total_params": "Parameters",
    "active_params": "Active parameters",
    "decode_tokens_per_second": "Tokens/s of a sequence, at least",
    "time_to_first_token": "Seconds to the first token",
}
_TRAINING_WORDS = {
    "train_tokens": "Training tokens",
    "train_flops": "Training FLOPs",
    "train_device_hours": "Device-hours of training",
}


def what_if_blocks(sources: Sequence[PageSource]) -> Iterator[PageBlock]:
    """For each answer the settings near it, with what decides among them."""
    for source in sources:
        yield _block(source, f"design-{source.number}-what-if")


def _block(source: PageSource, name: str) -> PageBlock:
    record: DesignsRecord = source.value
    try:
        vicinity = _vicinity(source)
    except UserError as error:
        vicinity, why = None, str(error)
    else:
        why = "too many designs are undecided near these budgets to be carried by a page"
    if vicinity is None:
        said = f"Other budgets are not answered here: {why}. Change them in the command: {source.command}"
        return PageBlock("answer", name, "What if", paragraphs_html(said), "")
    said = _said(vicinity) + _said_of_bill(record)
    values = what_if_data(vicinity, _baseline(record))
    devices = [(served["devices"], served["bill"]["devices"]) for served in values["served"]]
    values["models"] = compared_models(vicinity, _models(source), devices)
    return PageBlock(
        "answer",
        name,
        "What if",
        f'{paragraphs_html(said)}<div class="what-if" data-what-if="{name}"></div>\n',
        "",
        data={name: {**values, **_words(source, vicinity)}},
        assets=("what_if.css", "layers.js", "what_if_draws.js", "what_if.js", "what_if_view.js"),
    )


def _models(source: PageSource) -> list[ComparedModel]:
    """What designs may be compared with: models of the page, the named baseline, the published ones nearest."""
    record: DesignsRecord = source.value
    first = record.designs[record.recommended.index]
    given = list(source.models)
    if record.baseline.named and record.baseline.name not in [loaded.name for _, loaded in given]:
        with suppress(UserError):  # a file of another machine
            given.append((record.baseline.name, load_mixture(record.baseline.name, "baseline")))
    names = [loaded.name for _, loaded in given]
    given += [(each.name, each) for each in nearest_models(first.total_params, first.active_params, names)]
    return [
        ComparedModel(loaded.name, loaded.architecture, taken_texts(loaded, inspect_command(word)))
        for word, loaded in given
    ]


def _vicinity(source: PageSource) -> Vicinity | None:
    """None where a page cannot carry it; UserError for a law that is in no catalogue and no file beside the designs."""
    record: DesignsRecord = source.value
    lost = next((law for law in record.laws if law not in names() and law not in source.fitted), None)
    if lost is not None:
        raise UserError(f"the file of the law {lost} is neither beside the designs nor among the paths of this report")
    if record.undecided.own is not None and record.undecided.own.heard:
        raise UserError("your own runs decide with the laws, and a page cannot ask them about other designs")
    plan, *others = record.space.layer_plans
    plain = not (plan.linear or plan.tied) and plan.attention == "grouped" and plan.is_served_as_asked
    plain = plain and not any(record.space.plan_nats)
    if others or not plain:
        raise UserError(
            "plans of layers, latent and linear attention, tied embeddings, formats of the space, prediction blocks "
            "and believed losses are not in its templates"
        )
    if record.budgets.power_price is not None:
        raise UserError("a price of power is not in its templates")
    laws = [_digested(source.files.laws[law]) if law in source.fitted else law for law in record.laws]
    return _found(json.dumps([record.budgets.to_dict(), record.space.to_dict(), laws]))


def _digested(path: str) -> list[str]:
    return [path, sha256_of(Path(path))]


def _baseline(record: DesignsRecord) -> tuple[str, Architecture] | None:
    """The one that was named, if it is still found under its name; else whichever published model is nearest."""
    if not record.baseline.named:
        return None
    try:
        return record.baseline.name, load_mixture(record.baseline.name, "baseline").architecture
    except UserError:
        return None


@lru_cache(maxsize=4)
def _found(asked: str) -> Vicinity | None:
    """Once for the same budgets, space and laws: a page that is watched is written again and again."""
    budgets, space, laws = json.loads(asked)
    b = Budgets.from_dict(budgets)
    asked_laws = choose_judges([law if isinstance(law, str) else load(law[0]) for law in laws], b)
    return find_vicinity(search_problem(groups_of(Space.from_dict(space)), b, asked_laws))


def _latent_sizes(designs: Candidates) -> dict[str, int]:
    """By width: the channels on which routed experts work; empty where these are the width's."""
    (plan,) = designs.plans
    if not plan.latent_experts:
        return {}
    return {str(width): int(plan.latent_size(width)) for width in np.unique(designs.hidden_size).tolist()}


def _said(vicinity: Vicinity) -> str:
    budgets = vicinity.problem.budgets
    names = " and ".join(_LIMIT_WORDS[limit.name].split(",")[0].lower() for limit in vicinity.problem.bounds)
    amounts = " / ".join(format_count(training.amount, 3) for training in vicinity.trainings)
    return (
        f"Move a budget, and the answer follows at once: {names} between {1 / vicinity.reach:.0%} and "
        f"{vicinity.reach:.0%} of what was asked, {_TRAINING_WORDS[budgets.training].lower()} of {amounts}. Within "
        "these the design, the undecided set and every number are exactly those of moewright design; the command that "
        "says the same, and more, stands below."
        + _said_of_rules(vicinity)
        + (
            " Hours of training are those of the range of utilisation here, not of a layout."
            if budgets.train_devices is not None
            else ""
        )
    )


def _said_of_bill(record: DesignsRecord) -> str:
    """What moves here is the asked training: the search over other sizes and tokens is not on the page."""
    if record.whole_bill is None:
        return ""
    which = "was asked for, design 2 above" if record.whole_bill.chosen else "is asked for"
    return (
        " The least bill of other sizes and tokens is not looked for here: what moves is the answer to the training "
        f"that {which}."
    )


def _said_of_rules(vicinity: Vicinity) -> str:
    off = vicinity.without_rules
    if off is None:
        return ""
    return (
        " So they are without rules of the space, in any combination, where budgets are between "
        f"{1 / off.reach:.0%} and {off.reach:.0%}."
    )


def _rule_words(vicinity: Vicinity, options: dict[str, list[str]]) -> dict[str, Any]:
    """Of each rule that may be off its label, its reason and its line of a space's file; and the file's other lines."""
    off, space = vicinity.without_rules, vicinity.problem.space
    own = space.to_dict(defaults=False)
    if "vocab_size" in options:  # said on the command line
        own.pop("vocab_size", None)
    found = []
    for field in off.rules if off else ():
        rule = next(each for each in RULES if field in each.fields)
        bound = "from" if field.startswith("least") else "to"
        found.append(
            {
                "field": field,
                "label": f"{rule.name} {bound} {getattr(space, field):g}",
                "reason": str(Space.model_fields[field].description),
                "line": dump_yaml({field: SWITCHED_OFF[field]}),
            }
        )
    return {"rules": found, "space": {name: dump_yaml({name: value}) for name, value in own.items()}}


def _words(source: PageSource, vicinity: Vicinity) -> dict[str, Any]:
    """What the view says: labels, the command's words, the setting that was asked."""
    record: DesignsRecord = source.value
    budgets, on = record.budgets, costed_on(record.budgets)
    options = design_options(record, source.files)
    published = {judge.name for judge in vicinity.problem.judges if judge.name not in source.fitted}
    limits = []
    for limit in vicinity.problem.bounds:
        asked = getattr(budgets, limit.name)
        devices = budgets.devices if limit.name == "memory_bytes" else 1
        is_bytes = limit.option == "memory"
        limits.append(
            {
                "label": _LIMIT_WORDS[limit.name],
                "option": limit.option.replace("-", "_"),
                "unit": "bytes" if is_bytes else "count",
                "text": (written_bytes if is_bytes else written_count)(asked / devices),
                "devices": devices,
                "inverse": limit.name == "decode_tokens_per_second",
            }
        )
    return {
        "words": {
            "limits": limits,
            **_rule_words(vicinity, options),
            "training": {
                "label": _TRAINING_WORDS[budgets.training],
                "option": budgets.training,
                "texts": [written_count(training.amount) for training in vicinity.trainings],
                "asked": [training.amount for training in vicinity.trainings].index(getattr(budgets, budgets.training)),
            },
            "sizes": SIZE_WORDS,
            "layers": KEY_WORDS,
            "templates": design_templates(vicinity.all_designs, vicinity.problem.space, budgets.context),
            "latent_sizes": _latent_sizes(vicinity.all_designs),
            "origins": {name: asdict(origin) for name, origin in answer_origins(record).items()},
            "prefer": "balanced" if record.recommended.prefer == LEAST_BILL else record.recommended.prefer,
            "options": {name: [shell_words(word) for word in words] for name, words in options.items()},
            "hardware": {"serves": on.serves, "trains": on.trains},
            "prices": {"train": on.train_price or 0, "serve": on.serve_price or 0},
            "serve_tokens": budgets.serve_tokens or 0,
            "laws": {
                judge.name: {"word": shell_words(source.files.law(judge.name)), "published": judge.name in published}
                for judge in vicinity.problem.judges
            },
            "all_published": len(published) == len(judges()),
        }
    }
