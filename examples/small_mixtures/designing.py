"""What `design` builds by the fitted laws, inside the range of the runs."""

from pathlib import Path

import moewright
from examples.pages import table
from moewright.quantities import format_count

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
