"""The folder of `moewright design --out`: designs as specs and configs, the reasons for each, and plots."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from moewright.designs.principles import Principle
from moewright.designs.result import Design, Designs
from moewright.designs.space import describe_space
from moewright.designs.undecided import REASONS
from moewright.errors import UserError
from moewright.files import new_folder, write_mapping, write_text
from moewright.foreign_text import to_markdown
from moewright.hf import to_config
from moewright.hf.loading import SPEC
from moewright.laws import FittedLaw
from moewright.outputs import RUN_TABLE_MARK
from moewright.quantities import format_bytes, format_count, format_figure
from moewright.report.design_figures import write_design_figures
from moewright.report.design_tables import SIZE_WORDS, answer_lines, budget_lines, size_ranges
from moewright.report.page.design_words import LAW_FOLDER, OWN_FILE, SPACE_FILE, own_space

HF_CONFIG = "config.json"
RATIONALE = "README.md"


def write_designs(designs: Designs, folder: str | Path) -> Path:
    """Write design-NN/ (spec, Hugging Face config, rationale), designs.json, and the plots as PNG and HTML.

    With them what the search was told in files, so that the folder can be asked again: laws/ has the fitted laws,
    space.yaml a space of one's own, own.parquet the finished runs of one's own. The folder must be new or empty; it
    appears complete or not at all.
    """
    folder = Path(folder)
    with new_folder(folder) as partial:
        for number, design in enumerate(designs.designs, start=1):
            place = partial / f"design-{number:02d}"
            design.architecture.save(place / SPEC)
            if design.family is not None:
                write_mapping(place / HF_CONFIG, to_config(design.architecture, design.family))
            write_text(place / RATIONALE, rationale(designs, number))
        designs.answer().write(partial / "designs.json")
        _write_told(designs, partial)
        write_design_figures(designs, partial)
    return folder


def _write_told(designs: Designs, folder: Path) -> None:
    fitted = [judge.law for judge in designs.problem.judges if isinstance(judge.law, FittedLaw)]
    for number, law in enumerate(fitted, start=1):
        with suppress(UserError):  # a form that only its user's program knows: no file can name it
            law.save(folder / LAW_FOLDER / f"law-{number}.json")
    if own_space(designs.space):
        write_text(folder / SPACE_FILE, describe_space(designs.space))
    if designs.own is not None:
        from moewright.runs.table_files import write_frame  # the package loads pandas

        write_frame(designs.own.table, folder / OWN_FILE, RUN_TABLE_MARK)


_PRINCIPLES: dict[Principle, str] = {
    "liew": "fill the total, then the smallest E/K, then the fewest experts (arXiv 2601.08215)",
    "slicing": "experts of 1/8 to 1/2 of the dense width 4 d (arXiv 2605.11689)",
    "joint": "6 to 8 active experts, 13 to 31 % of them shared (arXiv 2509.23678)",
}


def rationale(designs: Designs, number: int) -> str:
    """The page of the design with that number, counted from 1."""
    design = designs.designs[number - 1]
    sections = (
        _what(designs, design, number),
        _answer(designs),
        _laws(designs, design),
        _bounds(design),
        _principles(designs, design, number),
        _doubts(designs, design),
    )
    return "\n\n".join(sections) + "\n"


def _what(designs: Designs, design: Design, number: int) -> str:
    budgets = to_markdown(budget_lines(designs.budgets)[0])
    sizes = ", ".join(f"{word} {design.sizes[name]}" for name, word in SIZE_WORDS.items())
    heads = (
        f"{design.sizes['num_heads']} heads of {design.sizes['head_dim']} over {design.sizes['num_kv_heads']} "
        "key-value heads"
    )
    on, costs = designs.choice.on, design.costs
    times = (
        ("device-hours of training", costs.train_device_hours),
        ("tokens a second for each sequence", costs.decode_tokens_per_second),
        ("seconds to the first token", costs.time_to_first_token),
    )
    where = f"on {on.devices} x {on.serves}" + (", assumed" if on.assumed else "")
    speed = "".join(
        f"\n- {name} ({where}): {format_figure(low, 4)} to {format_figure(high, 4)}" for name, (low, high) in times
    )
    return (
        f"# Design {number} of {len(designs.designs)}\n\nBudgets: {budgets}.\n\n"
        f"- {sizes}; {heads}; as {to_markdown(design.family or 'no Hugging Face family')}\n"
        f"- {format_count(design.total_params)} parameters, {format_count(design.active_params)} active (exact, input "
        f"embedding counted), {format_bytes(design.memory_bytes)} with its cache\n"
        f"- trained on {format_count(design.train_tokens, 3)} tokens: {design.train_flops:.3g} FLOPs{speed}"
    )


def _answer(designs: Designs) -> str:
    lines = [f"{label:8} {text}" for label, text in answer_lines(designs)]
    reasons = "\n".join(f"- {to_markdown(reason)}" for reason in designs.reasons())
    answer = "\n".join(f"    {to_markdown(line)}" for line in lines)
    return f"## The answer\n\n{answer}\n\nThe first design is recommended because\n\n{reasons}"


def _laws(designs: Designs, design: Design) -> str:
    rows = []
    for law in designs.laws:
        outside = sorted(design.extrapolation[law].items(), key=lambda item: -item[1])
        where = ", ".join(f"{name} {factor:.3g}x" for name, factor in outside[:3]) or "inside"
        best = designs.favourites[law].sizes
        its = f"{best['num_experts']}/{best['top_k']}+{best['shared_experts']} x {best['expert_size']}"
        rows.append((law, f"{design.regret[law]:.4f}", its, where))
    worst = max(design.regret, key=lambda law: design.regret[law])
    return (
        f"## What the laws say\n\nWorst regret {design.worst_regret:.4f} nats, by {to_markdown(worst)}. A regret is a "
        "law's loss of this design above its own best within the same budgets; losses never compare between laws.\n\n"
        + _table(("law", "regret", "would build (E/K+shared x size)", "outside its runs"), rows)
    )


def _bounds(design: Design) -> str:
    if not design.binding:
        return "## What bounds it\n\nNo budget: wider experts would fit; a rule of the space, the laws or cost ends it."
    return f"## What bounds it\n\nExperts one step wider would break: {', '.join(design.binding)}."


def _principles(designs: Designs, design: Design, number: int) -> str:
    rows = []
    for name, text in _PRINCIPLES.items():
        found = designs.principles.choices.get(name)
        if found is None:
            rows.append((text, "no design can", *[""] * len(designs.laws)))
            continue
        change = (f"{found.regret[law] - design.regret[law]:+.4f}" for law in designs.laws)
        rows.append((text, "yes" if name in designs.follows[number - 1] else "no", *change))
    return (
        "## Rules of thumb\n\nWhat the best design that follows each rule would change against this one, by law (above "
        "0: it is worse):\n\n" + _table(("rule", "followed", *designs.laws), rows)
    )


def _doubts(designs: Designs, design: Design) -> str:
    undecided = designs.undecided
    ranges = size_ranges(undecided.ranges)
    lines = [
        f"- {undecided.count:,} designs within the budgets are undecided: no other beats them by all laws: {ranges}.",
        *(f"  - {SIZE_WORDS[size]}: {reason}." for size, reason in REASONS.items()),
        *(
            f"- best in {share:.0%} of the draws of {to_markdown(law)} among "
            f"{designs.bootstrap[law].num_finalists} finalists."
            for law, share in design.probability_best.items()
        ),
        *(f"- {to_markdown(warning)}" for warning in designs.warnings),
    ]
    return "## What is not known\n\n" + "\n".join(lines)


def _table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    names, *cells = (map(to_markdown, row) for row in (headers, *rows))
    return "\n".join(f"| {' | '.join(line)} |" for line in (names, ["---"] * len(headers), *cells))
