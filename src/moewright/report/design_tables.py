"""What `moewright design` prints, in order; each table is at most 80 columns wide with up to seven laws."""

import math
from collections.abc import Mapping
from typing import Any

from rich.table import Table

from moewright.designs.baseline import BesideModel
from moewright.designs.budgets import Budgets
from moewright.designs.costs import CostedOn, trained_on
from moewright.designs.hearing import BEATS_BY, Hearing
from moewright.designs.preference import LEAST_BILL
from moewright.designs.ranking import CONFIDENCE
from moewright.designs.result import Design, Designs, difference
from moewright.designs.rules import RULES, excluded, published_mixtures
from moewright.designs.settling import is_much_shallower, nearest_other_plan
from moewright.designs.space import Space, describe_space
from moewright.designs.undecided import REASONS
from moewright.designs.whole_bill import LEAST_SAVING
from moewright.quantities import counted, format_bytes, format_count, format_range, format_size
from moewright.report.plain_tables import bare_table, print_labelled
from moewright.screen import Screen, styled

# A law this many times outside its runs is the largest doubt.
FAR_OUTSIDE = 3.0
MOST_LINES = 12

SIZE_WORDS = {
    "hidden_size": "width",
    "num_layers": "layers",
    "dense_first": "dense first",
    "num_experts": "experts",
    "top_k": "top-k",
    "shared_experts": "shared",
    "expert_size": "expert size",
}


def print_designs(console: Screen, designs: Designs) -> None:
    """Print the answer in at most twelve lines, and all that is behind it where that was asked for."""
    print_labelled(console, answer_lines(designs))
    if designs.explained:
        console.print()
        _print_explanation(console, designs)


def answer_lines(designs: Designs) -> list[tuple[str, str]]:
    """What to build, what it costs, what stands beside it, what is undecided, how it was chosen, the largest doubt.

    Labels and texts, each line at most eighty characters where numbers are of usual length.
    """
    first, on = designs.designs[0], designs.choice.on
    s, costs = first.sizes, first.costs
    shared = f"{s['shared_experts']} shared" if s["shared_experts"] else "no shared"
    dense = f" ({s['dense_first']} dense)" if s["dense_first"] else ""
    where = f"{on.devices} x {on.serves}{' (assumed)' if on.assumed else ''}"
    # A token of a window that is not full yet takes as much, which is not what its cache grows by.
    cache = "" if first.layer_plan.has_pattern else f" ({costs.kv_bytes_per_token / 1e3:.3g} kB a token)"
    lines = [
        ("Build", f"{s['num_experts']} experts of {s['expert_size']}, top-{s['top_k']}, {shared}; "
         f"{s['hidden_size']} wide, {s['num_layers']} layers{dense}"),
        ("", f"{format_count(first.total_params)} total, {format_count(first.active_params)} active, "
         f"{format_bytes(first.memory_bytes)} with the cache{cache}"),
        *_plan_lines(designs),
        *_training_lines(first, on),
        ("", f"{format_range(costs.decode_tokens_per_second)} tokens/s, first token "
         f"{format_range(costs.time_to_first_token, letters=False)} s on {where}"),
        *_life_lines(designs),
    ]  # fmt: skip
    after = [("Chosen", _chosen(designs)), ("Doubt", doubts(designs)[0]), *_settle_lines(designs)]
    against, still_open = _baseline_lines(designs), _open_lines(designs)
    room = MOST_LINES - len(lines) - len(after)
    if len(against) + len(still_open) > room:  # most is asked where most is printed
        asked = f" at {format_count(designs.asked.train_tokens, 3)}" if designs.moved else ""
        without = ("d", "d_e") if designs.moved else ("d",)
        still_open = [
            ("Open", f"{designs.undecided.count:,}{asked}: {_short_ranges(designs.undecided.ranges, without=without)}"),
            *_own_lines(designs),
        ]
    if len(against) + len(still_open) > room:
        against = against[:1]
    found = [*lines, *against, *still_open, *after][:MOST_LINES]
    more = doubts(designs)[1:] if len(found) < MOST_LINES else []
    place = next(number for number, (label, _) in enumerate(found) if label == "Doubt") + 1
    return [*found[:place], *(("", text) for text in more[:1]), *found[place:]]


def _settle_lines(designs: Designs) -> list[tuple[str, str]]:
    """The runs that would settle the first doubt."""
    found = designs.settling
    if found is None:
        return []
    sizes, second = designs.designs[0].sizes, found.second
    pair = {
        "layer_plan": "both layers",
        "num_layers": f"{sizes['num_layers']} or {second.num_layers} layers",
        "mixture": f"{sizes['num_experts']}/{sizes['top_k']}+{sizes['shared_experts']} or "
        f"{second.num_experts}/{second.top_k}+{second.shared_experts}",
    }[found.axis]
    runs = f"{2 * found.seeds:,} runs of {format_count(found.active_params, 2)}"
    hours = format_range(found.device_hours, 2)
    return [("Settle", f"{pair} ({found.nats:.4f} nats): {runs}, {hours} {designs.choice.on.trains}-hours")]


def _plan_lines(designs: Designs) -> list[tuple[str, str]]:
    """What the layers have beyond their sizes, where that is anything."""
    words = list(designs.designs[0].layer_plan.words())
    return [("", "; ".join(words))] if words else []


def _training_lines(first: Design, on: CostedOn) -> list[tuple[str, str]]:
    """Hours, said to be of an assumed device unless the next line says so; money and days where they are known."""
    costs = first.costs
    device = f"{on.trains}-hours{' (assumed)' if on.train_assumed and not on.assumed else ''}"
    parts = []
    if costs.train_money is not None:
        parts.append(f"{format_range(costs.train_money)} {_money_of(on.train_price)}")
    if costs.train_days is not None and costs.train_layout is not None:
        parts.append(f"{format_range(costs.train_days)} days on {on.train_devices} ({_degrees(costs.train_layout)})")
    if costs.train_refusal is not None:
        parts.append(f"no layout ({costs.train_refusal})")
    hours = f"{format_range(costs.train_device_hours)} {device} for {format_count(first.train_tokens, 3)} tokens"
    return [("Costs", hours), *([("", "; ".join(parts))] if parts else [])]


def _money_of(price: float | None) -> str:
    """What money is counted: the device's price, its power in it, or where only power has a price that alone."""
    return "for power alone" if price is None else "at the price"


def _degrees(layout: str) -> str:
    """What of a layout is spread: its degrees above one, ZeRO and micro-batch left out."""
    spread = [part for part in layout.split(",") if part[:2] in ("tp", "pp", "ep", "cp") and not part.endswith("=1")]
    return ",".join(spread) or "data parallel"


def _life_lines(designs: Designs) -> list[tuple[str, str]]:
    first, on = designs.designs[0], designs.choice.on
    costs, tokens = first.costs, designs.budgets.serve_tokens
    if costs.serve_device_hours is None or tokens is None:
        return []
    money = "" if costs.serve_money is None else f" ({format_range(costs.serve_money)})"
    hours = f"{format_range(costs.serve_device_hours)} {on.serves}-hours{money}"
    asked = f" of {designs.budgets.batch}" if costs.serve_batch < designs.budgets.batch else ""
    batch = f"{costs.serve_batch:.0f}{asked} at a time on {on.bill_devices}"
    lines = [("", f"serving {format_count(tokens, 3)}: {hours}, {batch}")]
    return [*lines, *_least_bill_lines(designs)]


def _least_bill_lines(designs: Designs) -> list[tuple[str, str]]:
    """The asked answer where the least bill chose another, else what that would save, or why it is not known."""
    if designs.whole_bill_refusal is not None:
        return [("", "other sizes and tokens for the whole bill: too many open, see the warning")]
    found = designs.whole_bill
    if found is None:
        return []
    if not found.saves:
        return [("", f"no other size and tokens that are as good have a bill {LEAST_SAVING:.0%} lower")]
    share = f"bill {found.against_asked:+.0%}"
    if not found.chosen:
        size = f"{format_count(found.active_params, 3)} active on {format_count(found.train_tokens, 3)}"
        return [("", f"with --prefer {LEAST_BILL} as good at {size} tokens: {share}")]
    s, asked = designs.asked.sizes, designs.asked
    mixture = f"{s['num_experts']} of {s['expert_size']}, top-{s['top_k']}, {s['hidden_size']} x {s['num_layers']}"
    size = f"{format_count(asked.active_params, 3)} on {format_count(asked.train_tokens, 3)}"
    return [("", f"{share} against asked {mixture}, {size}")]


def _baseline_lines(designs: Designs) -> list[tuple[str, str]]:
    baseline = designs.baseline
    lines = [("Against", f"{baseline.name}: {_difference(designs, baseline.as_built)}")]
    if baseline.scaled is None:
        return [*lines, ("", "scaled: in no size within the budgets")]
    return [*lines, ("", f"scaled to fit: {_difference(designs, baseline.scaled)}")]


def _difference(designs: Designs, model: BesideModel) -> str:
    found = difference(designs.designs[0], model)
    loss = "undecided"
    if model.loss_difference is not None and model.probability is not None:
        sure = max(model.probability, 1 - model.probability)
        loss = f"{model.loss_difference:+.3f} ({sure:.0%})"
    return (
        f"loss {loss}, train {found.train_device_hours:+.0%}, decode {found.decode_tokens_per_second:+.0%}, "
        f"memory {found.memory_bytes:+.0%}"
    )


def _open_lines(designs: Designs) -> list[tuple[str, str]]:
    ranges, heard = designs.undecided.ranges, len(designs.choice.hearing.laws)
    asked = " of asked training" if designs.moved else ""
    by = f"all {heard} laws" if heard > 1 else "the one law that judges"
    if not designs.choice.hearing.may_judge:
        by = "laws that may not judge"
    return [
        ("Open", f"{designs.undecided.count:,} of {counted(designs.feasible, 'design')}{asked}, beaten by none under "
         f"{by}:"),
        ("", _short_ranges(ranges)),
        *_own_lines(designs),
    ]  # fmt: skip


def _own_lines(designs: Designs) -> list[tuple[str, str]]:
    """What a user's own runs changed of it, or why they are not heard."""
    own, changed = designs.own, designs.choice.own
    if own is None:
        return []
    if changed is None:
        return [("", f"your runs are not heard: {own.reason}")]
    kept = f", keep {changed.kept_open:,} that they drop" if changed.kept_open else ""
    if not changed.beaten and not kept:
        return [("", f"your {len(own)} runs are sure about none of them")]
    return [("", f"your {len(own)} runs drop {changed.beaten:,} more that laws leave open{kept}")]


def _short_ranges(ranges: dict[str, tuple[int, int]], without: tuple[str, ...] = ()) -> str:
    words = {
        "num_experts": "E",
        "top_k": "K",
        "shared_experts": "shared",
        "expert_size": "d_e",
        "hidden_size": "d",
        "num_layers": "layers",
    }
    return ", ".join(f"{word} {_from_to(ranges[name])}" for name, word in words.items() if word not in without)


def _from_to(ends: tuple[int, int]) -> str:
    return f"{ends[0]}" if ends[0] == ends[1] else f"{ends[0]}-{ends[1]}"


def _chosen(designs: Designs) -> str:
    choice = designs.choice
    if not choice.by_cost:
        return f"by {choice.prefer}: the least mean loss over the laws"
    what = {"balanced": "training and decoding alike", "train": "training", "serve": "decoding"}[choice.prefer]
    if designs.moved is not None:
        return f"{designs.prefer}: the least bill of all sizes and tokens that are as good"
    if designs.budgets.serve_tokens is not None:
        what = "the whole bill at equal loss"
    return f"{designs.prefer}: {what}; 10 % more training: {choice.worth.of_more_training:.4f} nats"


def doubts(designs: Designs) -> list[str]:
    """What would most easily make the answer wrong, the largest first."""
    first, hearing = designs.designs[0], designs.choice.hearing
    if not hearing.may_judge:
        return ["no law may judge these designs: no evidence, only cost and opinion"]
    found = []
    if designs.moved is not None:
        tokens, shares = (designs.moved.tokens_by_law.values(), designs.moved.against_by_law.values())
        found.append(
            f"laws want {format_range((min(tokens), max(tokens)), 3)} tokens for it: bill {min(shares):+.0%} to "
            f"{max(shares):+.0%}"
        )
    number = None if designs.moved else nearest_other_plan(designs.choice)
    if number is not None:
        behind = designs.choice.plans_behind()[number]
        other = ", ".join(designs.space.layer_plans[number].unseen()) or "plain layers"
        found.append(f"layers by cost, unseen by laws: wrong if {behind:.4f} nats worse than {other}")
    layers, theirs = first.sizes["num_layers"], designs.baseline.as_built.sizes["num_layers"]
    if is_much_shallower(layers, theirs):
        found.append(f"{layers} layers against {theirs:g}: cheaper, and no law sees depth")
    far = {law: max(outside.values(), default=1.0) for law, outside in first.extrapolation.items()}
    heard = {law: far[law] for law in hearing.laws}
    nearest = min(heard, key=lambda law: heard[law])
    if len(heard) == 1:
        outside = f"{heard[nearest]:.3g} times outside" if heard[nearest] > 1 else "inside"
        found.append(f"one law alone judges, {outside} its runs")
    elif heard[nearest] >= FAR_OUTSIDE:
        found.append(f"all laws extrapolate, the nearest ({nearest}) {heard[nearest]:.3g} times")
    return found or ["no run moved depth or the experts' share alone: laws are blind there"]


def _print_explanation(console: Screen, designs: Designs) -> None:
    budgets, cache = budget_lines(designs.budgets)
    console.print(styled("[bold]Budgets[/bold]: {}", budgets))
    console.print(cache)
    for reason in designs.reasons():
        console.print(styled("- {}", reason))
    console.print()
    _print_undecided(console, designs)
    console.print()
    console.print(_ranking(designs))
    if len(designs.space.layer_plans) > 1:
        console.print(_plans(designs))
    console.print(
        "mixture: experts/top-k+shared x expert size; * a budget that experts one step wider would break; cost: "
        "effective cost above the first's"
    )
    console.print()
    console.print(_beside(designs))
    console.print(f"{_shapes(designs)}")
    console.print()
    _print_flips(console, designs)
    for what, reason in designs.left_out.items():
        console.print(styled("[bold]Not searched[/bold]: {}", f"{what}: {reason}"))
    console.print()
    console.print(_regrets(designs))
    console.print(
        "above the law's own best; designs by their numbers above; 11x: its farthest variable is 11 times outside its "
        "runs"
    )
    console.print()
    console.print(_favourites(designs))
    if designs.modes:
        console.print()
        console.print(_modes(designs))
    console.print()
    _print_principles(console, designs)
    console.print()
    console.print(_prices(designs))
    if len(next(iter(designs.shadow_prices.values()))) > 1:
        console.print()
        console.print(_exchange(designs))
    console.print()
    print_rules(console, designs.space)
    console.print()
    console.print(
        f"{designs.considered:,} designs considered, {designs.feasible:,} within the budgets, {designs.seconds:.1f} s"
        "; losses never compare between laws"
    )
    for warning in (*designs.warnings, *designs.baseline.warnings):
        console.print(styled("[yellow]warning:[/yellow] {}", warning))


def budget_lines(b: Budgets) -> list[str]:
    """The budgets in words, and what is counted as memory."""
    where = f"{b.devices} x {b.hardware}" if b.hardware else f"{b.devices} devices" if b.devices > 1 else ""
    parts = []
    if b.memory_bytes is not None:
        parts.append(f"{format_bytes(b.memory_bytes)} of memory{f' on {where}' if where else ''}")
    if b.device_memory_bytes is not None:
        parts.append(f"{where} with {format_bytes(b.device_memory_bytes)} usable each")
    if b.total_params is not None:
        parts.append(f"{format_count(b.total_params, 3)} total")
    if b.active_params is not None:
        parts.append(f"{format_count(b.active_params, 3)} active")
    if b.decode_tokens_per_second is not None:
        parts.append(f"{b.decode_tokens_per_second:g} tokens/s for each of {b.batch}")
    if b.time_to_first_token is not None:
        parts.append(f"first token in {b.time_to_first_token:g} s")
    if b.train_tokens is not None:
        parts.append(f"{format_count(b.train_tokens, 3)} training tokens")
    if b.train_flops is not None:
        parts.append(f"{b.train_flops:.3g} training FLOPs")
    if b.train_device_hours is not None:
        parts.append(f"{format_count(b.train_device_hours, 3)} device-hours of training")
    if b.train_devices is not None or b.train_hardware is not None:
        number = "" if b.train_devices is None else f"{b.train_devices} x "
        parts.append(f"trained on {number}{trained_on(b)[0]}")
    if b.serve_tokens is not None:
        parts.append(f"{format_count(b.serve_tokens, 3)} tokens served")
    parts += [f"{name} at {amount:g} an hour" for name, amount in b.price.items()]
    if b.power_price is not None:
        parts.append(f"power at {b.power_price:g} a kilowatt-hour")
    cache = f"memory is weights in {b.weights_dtype} and a {b.kv_dtype} cache of {b.batch} x {b.context:,} tokens"
    return [", ".join(parts), cache]


def size_ranges(ranges: dict[str, tuple[int, int]]) -> str:
    """Ranges of the sizes that have a word."""
    return ", ".join(f"{word} {_from_to(ranges[name])}" for name, word in SIZE_WORDS.items() if name in ranges)


def _print_undecided(console: Screen, designs: Designs) -> None:
    hearing = designs.choice.hearing
    console.print(
        styled(
            "[bold]Undecided[/bold]: {}",
            f"{designs.undecided.count:,} designs, none of which another beats by over {BEATS_BY:g} nats under all "
            f"of {', '.join(hearing.laws)}; {_borne_out(hearing)}. "
            f"{size_ranges(designs.undecided.ranges)}.",
        )
    )
    for size, reason in REASONS.items():
        console.print(f"- {SIZE_WORDS[size]}: {reason}")
    for warned in [text for _, text in _own_lines(designs)]:
        console.print(f"- {warned}")
    for law, reason in hearing.silent.items():
        console.print(f"- {law} {'is not heard' if hearing.may_judge else 'may not judge'}: {reason}")
    for law, ranking in designs.bootstrap.items():
        console.print(
            styled(
                "[bold]{}[/bold], {}",
                law,
                f"{ranking.num_draws} draws over {ranking.num_finalists} finalists: {ranking.num_undecided} cannot be "
                f"told from its favourite at {CONFIDENCE:.0%} ({size_ranges(ranking.ranges)}); the asked answer is "
                f"best in {designs.asked.probability_best[law]:.0%}.",
            )
        )


def _borne_out(hearing: Hearing) -> str:
    """What public runs say of such verdicts."""
    if hearing.confidence is not None:
        return f"what such laws agree on, public runs bore out in {hearing.confidence:.0%}"
    if hearing.may_judge:
        return "no back-test speaks of fewer than two published laws"
    return "none of them may judge, so this is no evidence"


def _print_flips(console: Screen, designs: Designs) -> None:
    """The assumptions that change the choice, each with what would be built; the others by name."""
    recommended = designs.asked.sizes
    unit = "costs" if designs.choice.by_cost else "nats"
    title = "What flips the answer" if designs.moved is None else "What flips the answer to the asked training (2)"
    table = _table(title, (*_size_words(designs), "open", unit), first="if")
    table.columns[0].no_wrap = False  # figures are whole, whatever an assumption takes to say
    stands = []
    for flip in designs.flips.found:
        if not flip.changed(recommended):
            stands.append(flip.assumption)
            continue
        loses = "beaten" if flip.loses is None else f"{flip.loses:+.1%}" if unit == "costs" else f"{flip.loses:+.4f}"
        table.add_row(flip.assumption, *_sizes(dict(flip.sizes), designs), f"{flip.undecided:,}", loses)
    if table.row_count:
        console.print(table)
        console.print(f"{unit}: what the recommended design would {'cost' if unit == 'costs' else 'lose'} more there")
    console.print(styled("[bold]The answer stands[/bold]: {}", "; ".join(stands) or "under none of what was changed"))


def _print_principles(console: Screen, designs: Designs) -> None:
    console.print(_principles(designs))
    built = {name: _mixture(found.design.sizes(0)) for name, found in designs.principles.choices.items()}
    console.print("; ".join(f"{name}: {mixture}" for name, mixture in built.items()))
    best = designs.optimum
    if best:
        console.print(
            f"joint law at this total: {best['active_experts']:.2f} active experts, shared share "
            f"{best['shared_ratio']:.2f}, N_a/N {best['active_ratio']:.1%} ({best['active_ratio_efficient']:.1%} once "
            "cost per token counts)"
        )
    t = designs.trade_off
    free = ", ".join(
        f"E {row.num_experts}: {_sparsity(row.sparsity)} | {_sparsity(row.sparsity_at_coarsest)}" for row in t.rows
    )
    console.print(
        f"sparsity E/K that fills total/active = {t.ratio:.2f}, at d/d_e = {t.granularity:.2f} | with the coarsest "
        f"experts: {free}"
    )


def _sparsity(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


_SIZE_COLUMNS = ("width", "depth", "mixture", "dense")
_LAW_WIDTH = 9
"""Of seven laws in eighty characters."""
_NUMBER = "design"
"""Heads the names of designs: their place in the answer, from 1."""


def _ranking(designs: Designs) -> Table:
    """The designs, best first."""
    unit, size = ("GB", 1e9) if designs.designs[0].memory_bytes >= 1e9 else ("MB", 1e6)
    table = _table("The best of each undecided mixture", _size_words(designs), first=_NUMBER)
    for header in ("total ", "active ", f"{unit} ", "cost"):
        table.add_column(header, justify="right", no_wrap=True)
    for number, design in enumerate(designs.designs, start=1):
        costs = {
            "total-params": format_count(design.total_params),
            "active-params": format_count(design.active_params),
            "memory": f"{design.memory_bytes / size:.1f}",
        }
        marked = [f"{cost}*" if option in design.binding else f"{cost} " for option, cost in costs.items()]
        table.add_row(str(number), *_sizes(design.sizes, designs), *marked, _score(designs, design))
    return table


def _plans(designs: Designs) -> Table:
    """What layers have beyond their sizes, by number, and what each plan's best design is worth less than the first."""
    table = bare_table("Plans of layers (lp), which no law sees", narrow=True)
    table.add_column("lp", justify="right")
    table.add_column("layers")
    table.add_column("behind, nats", justify="right")
    for plan in designs.layer_plans():
        behind = "beaten" if plan.behind_nats is None else f"{plan.behind_nats:.4f}"
        table.add_row(str(plan.number), "; ".join(plan.words) or "plain", behind)
    return table


def _score(designs: Designs, design: Design) -> str:
    return f"{math.expm1(design.score):+.1%}" if designs.choice.by_cost else f"{design.score:+.4f}"


def _regrets(designs: Designs) -> Table:
    """Each law's regret of each design, with how far it extrapolates."""
    table = _law_table("Regret by law, in thousandths of a nat", designs, first=_NUMBER)
    for number, design in enumerate(designs.designs, start=1):
        table.add_row(str(number), *(_regret_cell(design, law) for law in designs.laws))
    return table


def _favourites(designs: Designs) -> Table:
    """What each law alone would build."""
    table = _table("What each law alone would build", _size_words(designs), first="law")
    table.add_column("active", justify="right", no_wrap=True)
    table.add_column("worst by", justify="right", no_wrap=True)
    for law, favourite in designs.favourites.items():
        judge, worst = max(favourite.regret.items(), key=lambda item: item[1])
        shown = f"{worst:.3f} {judge}" if worst > 0 else "-"
        table.add_row(law, *_sizes(favourite.sizes, designs), format_count(favourite.active_params, 3), shown)
    return table


def _modes(designs: Designs) -> Table:
    """Both constraint modes: the answer depends on what is held fixed."""
    held = " or ".join(f"{_amount(mode.amount, mode.held)} {mode.held}" for mode in designs.modes)
    table = _table(f"Active size is left open. Held fixed: {held}", (), first="best by")
    for mode in designs.modes:
        for header in (f"{mode.held}: E/K", "active"):
            table.add_column(header, justify="right", no_wrap=True)
    for name in ("built", *designs.laws):
        cells = []
        for mode in designs.modes:
            judges = ("built", *mode.laws)
            if name not in judges:  # it does not see what is held fixed
                cells += ["-", "-"]
                continue
            sizes, active = mode.designs.sizes(judges.index(name)), mode.active_params[judges.index(name)]
            cells += [f"{sizes['num_experts']}/{sizes['top_k']}", format_count(active, 3)]
        table.add_row(name, *cells)
    return table


def _beside(designs: Designs) -> Table:
    """The recommended design, and the baseline as it is and scaled to the budgets."""
    baseline = designs.baseline
    table = _table(f"Beside {baseline.name}", (), first=_NUMBER)
    for header in ("total", "active", "hours", "tokens/s", "first", "loss"):
        table.add_column(header, justify="right", no_wrap=True)
    for name, model in _compared_models(designs):
        loss = ""
        if isinstance(model, BesideModel):
            loss = "open" if model.loss_difference is None else f"{model.loss_difference:+.3f}"
        table.add_row(
            name,
            format_count(model.total_params, 3),
            format_count(model.active_params, 3),
            format_range(model.costs.train_device_hours),
            format_range(model.costs.decode_tokens_per_second),
            format_range(model.costs.time_to_first_token, letters=False),
            loss,
        )
    return table


def _compared_models(designs: Designs) -> list[tuple[str, Design | BesideModel]]:
    """The recommended design by its number, and the baseline as it is and as it is scaled."""
    rows: list[tuple[str, Design | BesideModel]] = [("1", designs.designs[0]), ("as built", designs.baseline.as_built)]
    return rows if designs.baseline.scaled is None else [*rows, ("scaled", designs.baseline.scaled)]


def _shapes(designs: Designs) -> str:
    """Mixture, width and layers of what is compared."""
    found = []
    for name, model in _compared_models(designs):
        s = {size: f"{value:g}" for size, value in model.sizes.items()}
        found.append(f"{name}: {_mixture(model.sizes)}, {s['hidden_size']} wide, {s['num_layers']} layers")
    return "; ".join(found)


def _mixture(sizes: Mapping[str, float]) -> str:
    """E/K+shared x expert size."""
    s = {name: f"{size:g}" for name, size in sizes.items()}
    return f"{s['num_experts']}/{s['top_k']}+{s['shared_experts']} x {s['expert_size']}"


def _principles(designs: Designs) -> Table:
    """The best design that follows each principle, and each law's regret of it."""
    table = _law_table("Regret of the best design that follows a principle", designs, first="principle")
    for name, found in designs.principles.choices.items():
        table.add_row(name, *(f"{found.regret[law]:.4f}" for law in designs.laws))
    table.add_row("design 1", *(f"{designs.designs[0].regret[law]:.4f}" for law in designs.laws))
    return table


def _prices(designs: Designs) -> Table:
    """Change of each law's best loss for 10 % more of each budget."""
    table = _law_table("10 % more of a budget: change of each law's best loss", designs, first="")
    for option in next(iter(designs.shadow_prices.values())):
        cells = (f"{designs.shadow_prices[law][option]:+.4f}" for law in designs.laws)
        table.add_row(_short_option(option), *cells)
    return table


def _exchange(designs: Designs) -> Table:
    """What 10 % of one budget is worth in the others: the range over the laws that give a rate."""
    rates = designs.prices.exchange()
    options = list(next(iter(designs.shadow_prices.values())))
    table = _table(
        "10 % of a row is worth so many % of a column (range over laws)", map(_short_option, options), first=""
    )
    for one in options:
        cells = []
        for other in options:
            found = [rate for law in rates.values() if (rate := law[one].get(other)) is not None]
            cells.append(_range(found) if one != other else "")
        table.add_row(_short_option(one), *cells)
    return table


def _law_table(title: str, designs: Designs, first: str) -> Table:
    """A table with a column for each law, its name in full in as many lines as it takes."""
    table = _table(title, (), first)
    for law in designs.laws:
        table.add_column(law, justify="right", width=_LAW_WIDTH, overflow="fold")
    return table


def _table(title: str, headers: Any, first: str) -> Table:
    table = bare_table(title, narrow=True)  # many columns in eighty characters
    table.add_column(first, no_wrap=True)
    for header in headers:
        table.add_column(header, justify="right", no_wrap=True)
    return table


def _size_words(designs: Designs) -> list[str]:
    return [*_SIZE_COLUMNS, *(["lp"] if len(designs.space.layer_plans) > 1 else [])]


def _sizes(sizes: dict[str, int], designs: Designs) -> list[str]:
    plan = [str(sizes["layer_plan"])] if len(designs.space.layer_plans) > 1 else []
    return [
        str(sizes["hidden_size"]),
        str(sizes["num_layers"]),
        _mixture(sizes),
        str(sizes["dense_first"] or ""),
        *plan,
    ]


def _regret_cell(design: Design, law: str) -> str:
    outside = design.extrapolation[law]
    far = max(outside.values(), default=1.0)
    distance = f" {far:.0f}x" if far >= 1.5 else f" {far:.1f}x" if outside else ""
    return f"{1000 * design.regret[law]:.1f}{distance}"


def _amount(value: float, held: str) -> str:
    return format_count(value, 3) if held == "tokens" else f"{value:.3g}"


def _short_option(option: str) -> str:
    return {
        "total-params": "total",
        "active-params": "active",
        "decode-tokens-per-second": "tokens/s",
        "time-to-first-token": "first",
        "train-tokens": "tokens",
        "train-flops": "FLOPs",
        "train-device-hours": "hours",
    }.get(option, option)


def _range(values: list[float]) -> str:
    if not values:
        return "-"
    low, high = min(values), max(values)
    return f"{low:.1f}" if f"{low:.1f}" == f"{high:.1f}" else f"{low:.1f} to {high:.1f}"


def print_rules(console: Screen, space: Space) -> None:
    """What makes a design plausible, why, and which published mixtures of the catalogue stand outside."""
    models = published_mixtures()
    table = bare_table(
        f"Rules of the space, against the {len(models)} published mixtures of the catalogue", narrow=True
    )
    for header in ("rule", "from", "to"):
        table.add_column(header, no_wrap=True)
    table.add_column("outside")
    for rule in RULES:
        low, high = rule.bounds(space)
        outside = sorted(excluded(rule, space, models).items(), key=lambda item: item[1])
        named = ", ".join(f"{name} {format_size(value)}" for name, value in outside[:3])
        more = f" and {len(outside) - 3} more" if len(outside) > 3 else ""
        most = "-" if high == float("inf") else format_size(high)
        table.add_row(rule.name, format_size(low), most, named + more)
    console.print(table)
    for rule in RULES:
        console.print(styled("[bold]{}[/bold]: {}", rule.name, "; ".join(rule.reasons)))


def print_space(console: Screen, space: Space) -> None:
    """The rules of a space and the reason for each, as the YAML that `--space` reads."""
    console.document(describe_space(space))
