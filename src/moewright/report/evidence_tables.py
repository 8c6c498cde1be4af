"""The scoreboard of `moewright laws --evidence`, made to read well at 80 columns."""

from collections.abc import Iterable, Sequence

from moewright.laws.judging.back_test import KINDS
from moewright.laws.judging.evidence import Evidence, EvidenceScore
from moewright.screen import Screen, styled

SHORT_LAWS = {
    "zhao2025": "zhao",
    "ludziejewski2025": "ludz",
    "clark2022": "clar",
    "krajewski2024": "kraj",
    "abnar2025": "abna",
    "ling2025": "ling",
}
SHORT_COMBINED = {"minimax regret": "mini", "mean regret": "mean", "majority": "majo"}
NUMBER, FIXED_SIZES, ALIKE = "number of experts", "anything at fixed total and active", "any two trained alike"
PRINTED_KINDS = [kind for kind in KINDS if kind != "the same, alike in having shared experts"]


def print_evidence(console: Screen, found: Evidence) -> None:
    """The answer first, then the scores."""
    judged = [found.of(table.name, ALIKE)["judge"] for table in found.tables]
    experts = [score for table in found.tables for score in _of_laws(found, table.name, NUMBER)]
    sizes = [score for table in found.tables for score in _of_laws(found, table.name, FIXED_SIZES)]
    right, decided = _span(score.accuracy for score in judged), _span(score.decided for score in judged)
    one, at_sizes = _span(score.accuracy for score in experts), _span(score.accuracy for score in sizes)
    for line in (
        "Pairs of public runs that were trained alike and differ beyond noise, by table:",
        f"- what `laws.judge` decides ({decided} of them) is right on {right};",
        f"- any one law is right about the number of experts on {one},",
        f"  at fixed total and active size on {at_sizes} (.5: blind), which is left open.",
    ):
        console.print(line)
    console.print()
    heads = "".join(f"{head:>4} " for head in (*SHORT_LAWS.values(), *SHORT_COMBINED.values()))
    console.print(styled("[bold]{}[/bold]", f"{'':14}{'n':>4} {heads}{'all':>8}{'judge':>8}"))
    for kind in PRINTED_KINDS if console.explain else (NUMBER, ALIKE):
        console.print(styled("[bold]{}[/bold]", kind))
        for table in found.tables:
            scores = found.of(table.name, kind)
            if scores:
                console.print(_line(table.name, scores))
    if console.explain:
        console.print()
    for line in (
        "Share of pairs ranked right; *: runs that the law was fitted to, left out of the",
        "five columns on the right. mini, mean, majo: least worst regret, least mean",
        "regret, majority. all (unanimous), judge: right/share decided. More: --json.",
    ):
        console.print(line)
    if not console.explain:
        console.point_to("width and depth; expert size, shared experts and all at fixed sizes")


def _line(name: str, scores: dict[str, EvidenceScore]) -> str:
    shares = "".join(_share(scores[scorer].accuracy, scores[scorer].own) for scorer in (*SHORT_LAWS, *SHORT_COMBINED))
    pairs = "".join(
        f"{_written(scores[scorer].accuracy) + '/' + _written(scores[scorer].decided):>8}"
        for scorer in ("unanimity", "judge")
    )
    return f" {name:13}{scores['judge'].comparisons:>4} {shares}{pairs}"


def _share(value: float | None, own: bool) -> str:
    return f"{_written(value) + ('*' if own else ' '):>5}"


def _of_laws(found: Evidence, table: str, kind: str) -> Sequence[EvidenceScore]:
    return [score for scorer, score in found.of(table, kind).items() if scorer in SHORT_LAWS and not score.own]


def _written(value: float | None) -> str:
    if value is None:
        return "-"
    return "1.0" if value > 0.995 else f"{value:.2f}".removeprefix("0")


def _span(values: Iterable[float | None]) -> str:
    known = [value for value in values if value is not None]
    low, high = _written(min(known)), _written(max(known))
    return low if low == high else f"{low} to {high}"
