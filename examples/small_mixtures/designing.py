"""What `design` builds by the fitted laws, inside the range of the runs."""

from pathlib import Path

import moewright
from examples.pages import table
from moewright.architecture import variables
from moewright.quantities import format_count

HERE = Path(__file__).parent
LAWS = ("liew2026", "zhao2025")
"""Those whose variables a model has by itself; slicing2026 asks for a learning rate."""
# The total and active parameters, embeddings in, of the middle size with 8 and with 32 times its active width.
BUDGETS = (("800K", "220K"), ("2.8M", "230K"))
TOKENS = 524_288
SHOWN = 3


def designs(folder: Path) -> str:
    """The best designs of each law for two pairs of budgets."""
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
                top=SHOWN,
            ).to_dict()
            for rank, found in enumerate(answer["designs"], 1):
                model = moewright.Architecture.from_dict(found["architecture"])
                (loss,) = found["predicted_loss"].values()
                rows.append(
                    (
                        f"{total}, {active}",
                        law,
                        rank,
                        f"{model.num_layers} x {model.hidden_size}",
                        f"{variables.num_experts(model):g} of {variables.expert_size(model):g}, "
                        f"{variables.top_k(model):g} active",
                        format_count(found["total_params"], 3),
                        format_count(found["active_params"], 3),
                        f"{loss:.3f}" if isinstance(loss, float) else str(loss),
                    )
                )
    head = ("budgets", "law", "rank", "layers x width", "experts", "total", "active", "predicted loss")
    return table(head, rows)
