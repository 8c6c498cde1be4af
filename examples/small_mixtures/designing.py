"""What `design` builds by the fitted laws, inside the range of the runs."""

from pathlib import Path

import pandas as pd

import moewright
from examples.pages import table
from examples.small_mixtures import effects
from moewright import laws
from moewright.laws import Fit
from moewright.laws.counted_variables import in_conventions
from moewright.quantities import format_count, parse_count

HERE = Path(__file__).parent
LAWS = ("liew2026", "zhao2025")
"""Those whose variables a model has by itself; slicing2026 asks for a learning rate."""
# The total and active parameters, embeddings in, of the middle size with 8 and with 32 times its active width.
BUDGETS = (("800K", "220K"), ("2.8M", "230K"))
TOKENS = 524_288


def designs(folder: Path) -> str:
    """For two pairs of budgets: what each law alone would build, and how far its designs can be told apart."""
    rows = []
    for total, active in BUDGETS:
        for law in LAWS:
            answer = moewright.design(
                total_params=total,
                active_params=active,
                train_tokens=TOKENS,
                vocab_size=1024,
                law=[str(folder / f"{law}.json")],
                space=HERE / "space.yaml",
            ).to_dict()
            name = f"{law}-fitted"
            best = answer["favourites"][name]
            alike = answer["fitted"][name]["not_told_apart"]
            first = answer["designs"][0]
            loss = first["predicted_loss"][name] - first["regret"][name]
            rows.append(
                (
                    f"{total}, {active}",
                    law,
                    f"{best['num_layers']} x {best['hidden_size']}",
                    f"{best['num_experts']} of {best['expert_size']}, {best['top_k']} active",
                    format_count(best["active_params"], 3),
                    f"{loss:.3f}",
                    ", ".join(
                        f"{words} {_span(alike[key])}"
                        for words, key in (("layers", "num_layers"), ("experts", "num_experts"), ("top-k", "top_k"))
                    ),
                )
            )
    head = ("total, active", "law", "layers x width", "experts", "active", "predicted loss", "not told apart")
    return table(head, rows)


def _span(ends: tuple[float, float]) -> str:
    low, high = ends
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def trained(check: Path, main: pd.DataFrame, whole: dict[str, Fit]) -> str:
    """The design of the larger budgets as it was trained, beside what the laws said and the sweep's own best there."""
    runs = pd.read_parquet(check)
    runs = runs[runs["stage"].isin(["main", "tune+main"])]
    noise = effects.seed_noise(main, effects.lengths(main)[0])
    rows = [("the design, trained", _mean(runs["loss"], noise))]
    for law in LAWS:
        row = in_conventions(laws.get(law), runs.head(1))[0]
        interval = whole[law].law.interval(row, effects.LEVEL)
        loss = float(whole[law].law.predict(row)[0])
        rows.append((f"the design by {law}", f"{loss:.3f}, {interval.low[0]:.3f} to {interval.high[0]:.3f}"))
    total, active = (parse_count(written, "budget") for written in BUDGETS[-1])
    rivals = effects.long_runs(main)
    rivals = rivals[(rivals["total_params"] <= total) & (rivals["active_params"] <= active)]
    cells = rivals.groupby(["num_layers", "num_experts", "top_k"])["loss"]
    for layers, experts, top_k in cells.mean().nsmallest(2).index:
        name = f"of the sweep: {layers:.0f} layers, {experts:.0f} experts, top-{top_k:.0f}"
        rows.append((name, _mean(cells.get_group((layers, experts, top_k)), noise)))
    return table(("within 2.8M in all and 230K active", "nats"), rows)


def _mean(losses: pd.Series, noise: effects.Noise) -> str:
    return f"{losses.mean():.3f} ± {noise.half_width(len(losses)):.3f}"
