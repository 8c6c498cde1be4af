"""The table of `moewright fit --law all`, made to read well at 80 columns."""

from moewright.laws.fitting.comparison import ComparedLaws
from moewright.report.fit_tables import print_findings, print_iso_flops
from moewright.report.plain_tables import bare_table, number_table
from moewright.screen import Screen, styled


def print_compared_laws(console: Screen, compared: ComparedLaws) -> None:
    """Which forms the largest rows tell apart, how well each predicts them, and which the rows do not determine."""
    print_findings(console, compared.findings)
    best, others = compared.best.law.record, [fit.law.record.law for fit in compared.fits[1:]]
    judged = [row for row in compared if row.coefficients is not None]
    if not compared.held_out:
        console.print("Too few sizes to hold the largest rows out: nothing tells these forms apart.")
    elif others:
        console.print(f"{best.law} predicts the largest rows best, and they do not tell it from {', '.join(others)}.")
    elif len(judged) > 1:
        console.print(f"{best.law} predicts the largest rows best, and is told apart from all other forms.")
    else:
        console.print(f"{best.law} is the only form that the rows determine.")
    console.print()
    title = f"Forms on the same {best.num_rows} rows, by the largest held out"
    table = number_table(title, "", "coefficients", "on the rows", "beyond them", "weight")
    table.add_column("status")
    for row in judged:
        beyond = "" if row.beyond is None else f"{row.beyond:.2%}"
        weight = "" if row.told_apart is None else "told apart" if row.told_apart else f"{row.weight:.2f}"
        fitted = "" if row.rmse_log_fitted is None else f"{row.rmse_log_fitted:.2%}"
        table.add_row(row.law, str(row.coefficients), fitted, beyond, weight, row.status.replace("_", " "))
    console.print(table)
    for row in judged:
        if row.also:
            console.print(f"- {', '.join(row.also)}: the same form as {row.law}")
    print_iso_flops(console, compared.best)
    if compared.at is not None:
        console.print()
        at = ", ".join(f"{name} {value:g}" for name, value in compared.at.at.items())
        ends = "no interval that the rows support"
        if compared.at.low is not None and compared.at.high is not None:
            ends = f"90 % interval {compared.at.low:.4f} to {compared.at.high:.4f}"
        console.print(styled("Together they expect {} at {}; {}.", f"{compared.at.loss:.4f}", at, ends))
    if compared.held_out:
        console.print()
        table = number_table("Held out", "", "cuts", "up to")
        for each in compared.held_out:
            table.add_row(each.direction, str(each.cuts), f"{each.farthest:.3g} x")
        console.print(table)
    if any(row.rmse is not None for row in judged):
        console.print()
        table = number_table("Rows kept from every fit", "", "RMSE", "bias", "inside their 90 % interval")
        for row in judged:
            inside = "" if row.coverage_90 is None else f"{row.coverage_90:.0%}"
            table.add_row(row.law, f"{row.rmse:.4f}", f"{row.bias:+.4f}", inside)
        console.print(table)
    refused = [row for row in compared if row.coefficients is None]
    if refused:
        console.print()
        table = bare_table("Not determined by these rows")
        table.add_column("", no_wrap=True)
        table.add_column("why", overflow="fold")
        for row in refused:
            table.add_row(row.law, row.status)
        console.print(table)
