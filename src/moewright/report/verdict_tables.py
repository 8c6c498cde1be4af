"""The answer of `moewright predict A B`: which is better, or why that is open. What is open is never ordered."""

from rich.table import Table

from moewright.laws.judging.judged_models import JudgedModels
from moewright.laws.judging.judgement import JudgedPair, LawOpinion
from moewright.quantities import format_count
from moewright.report.law_tables import format_value
from moewright.report.plain_tables import bare_table
from moewright.screen import Screen, styled


def print_verdicts(console: Screen, judged: JudgedModels) -> None:
    """Every two models in a line; of two alone also on what it rests."""
    for pair in judged.pairs:
        console.print(_line(pair))
    tokens = format_count(judged.predictions[0].train_tokens)
    unique = judged.predictions[0].unique_tokens
    of = "" if unique is None else f", {format_count(unique)} of them different"
    console.print(f"Each trained on {tokens} tokens{of}.")
    if len(judged.pairs) == 1:
        (_print_grounds if console.explain else _print_in_short)(console, judged.pairs[0])
        _print_own(console, judged.pairs[0])
    else:
        console.print("On what one of these rests: `moewright predict` with those two alone.")
    for prediction in judged.predictions:
        for warning in prediction.warnings:
            console.print(styled("[yellow]note:[/yellow] {}: {}", prediction.model, warning))
    if len(judged.pairs) == 1 and not console.explain:
        console.point_to("what they differ in by how much, why that is open, what each law says")


def _line(pair: JudgedPair) -> object:
    if pair.better is None:
        return styled("[bold]open[/bold]: {} or {}: {}", pair.first, pair.second, pair.reason)
    better, worse = (pair.first, pair.second) if pair.better == "first" else (pair.second, pair.first)
    assert pair.mean is not None
    assert pair.low is not None
    assert pair.high is not None
    least, most = sorted((abs(pair.low), abs(pair.high)))
    return styled(
        "[bold]{}[/bold] is better than {} by {} nats ({} to {}): {}",
        better,
        worse,
        f"{abs(pair.mean):.3f}",
        f"{least:.3f}",
        f"{most:.3f}",
        pair.reason,
    )


def _print_in_short(console: Screen, pair: JudgedPair) -> None:
    if pair.differs:
        axes = (f"{each.axis.replace('_', ' ')}{' (open)' if each.open is not None else ''}" for each in pair.differs)
        console.print(styled("They differ in {}.", ", ".join(axes)))
        heard = [each for each in pair.laws if each.difference is not None]
        silent = [each.law for each in pair.laws if each.difference is None]
        said = ", ".join(f"{each.law} {_said(pair, each)}" if pair.decided else each.law for each in heard)
        of = ", first less second in nats" if pair.decided else ""
        console.print(styled("Laws{}: {}.", of, said or "none is heard"))
        if silent:
            console.print(styled("Not heard: {}.", ", ".join(silent)))
    for assumption in pair.assumes:
        console.print(styled("- {}", assumption))


def _print_grounds(console: Screen, pair: JudgedPair) -> None:
    if pair.differs:
        console.print()
        table: Table = bare_table("They differ in")
        for name in ("", pair.first, pair.second):
            table.add_column(styled("{}", name), justify="right" if name else "left", overflow="fold")
        table.add_column("", overflow="fold")
        for each in pair.differs:
            note = "" if each.open is None else f"open: {each.open}"
            table.add_row(each.axis.replace("_", " "), format_value(each.first), format_value(each.second), note)
        console.print(table)
        console.print()
        laws: Table = bare_table("Laws")
        if pair.decided:
            laws.title = "First less second, nats: if expansion multiplies the experts only / all that is active"
        laws.show_header = False
        laws.add_column(no_wrap=True)
        laws.add_column(overflow="fold")
        for opinion in pair.laws:
            laws.add_row(opinion.law, _said(pair, opinion))
        console.print(laws)
        console.print()
    for assumption in pair.assumes:
        console.print(styled("- {}", assumption))


def _print_own(console: Screen, pair: JudgedPair) -> None:
    own = pair.own
    if own is None or own.laws is None:
        return
    inside = "" if own.inside is None else f"; of those left out {own.inside:.0%} lay in their 90 % intervals"
    likely = ", ".join(f"{name} {share:.0%}" for name, share in own.laws.items() if share >= 0.005)
    console.print(
        styled(
            "Your runs, first less second: {} nats ({} to {}), by the forms of {}{}.",
            f"{own.difference:+.3f}",
            f"{own.low:+.3f}",
            f"{own.high:+.3f}",
            likely,
            inside,
        )
    )


def _said(pair: JudgedPair, opinion: LawOpinion) -> str:
    if opinion.difference is None:
        return f"not heard: {opinion.reason}"
    return " / ".join(f"{value:+.3f}" for value in opinion.difference) if pair.decided else "heard"
