"""The additive law of dense models (Hoffmann et al., arXiv 2203.15556) and its refit (Besiroglu et al., 2404.10102)."""

from moewright.architecture import counts
from moewright.laws import derive
from moewright.laws.formulas import additive_form, additive_optimum
from moewright.laws.law import Judgement, LossLaw
from moewright.laws.variable import TRAIN_TOKENS, Variable

_BLIND = Judgement(reason="it is a law of dense models, which cannot see sparsity", of_form=True)


def _dense_inputs(low: float, high: float) -> tuple[Variable, ...]:
    size = Variable(
        "total_params", "N, every parameter, embeddings included", low, high, "parameters", counts.total_params
    )
    return (size, TRAIN_TOKENS)


LAW = LossLaw(
    name="hoffmann2022",
    title="The Chinchilla law",
    source="Hoffmann et al. 2022, arXiv 2203.15556, approach 3",
    confidence="B",
    params_convention="dense, with embeddings",
    form=additive_form("total_params"),
    # More digits than the paper prints, from its LaTeX source by way of arXiv 2404.10102.
    coefficients={"E": 1.6934, "A": 406.4, "alpha": 0.3392, "B": 410.7, "beta": 0.2849},
    inputs=_dense_inputs(70e6, 16e9),
    optimum_rule=additive_optimum("total_params"),
    applies=derive.needs_dense,
    judges=_BLIND,
    notes=("its intervals are narrower than its runs support; epoch2024 refits the same runs",),
)

EPOCH2024 = LossLaw(
    name="epoch2024",
    title="Refit of the Chinchilla law to its authors' own runs",
    source="Besiroglu et al. 2024, arXiv 2404.10102",
    confidence="B, checked",
    params_convention="dense, with embeddings",
    form=additive_form("total_params"),
    coefficients={"E": 1.8172, "A": 482.01, "alpha": 0.3478, "B": 2085.43, "beta": 0.3658},
    inputs=_dense_inputs(57e6, 16e9),
    optimum_rule=additive_optimum("total_params"),
    applies=derive.needs_dense,
    judges=_BLIND,
)
