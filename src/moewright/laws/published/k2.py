"""What sparsity saves at equal loss (Kimi K2, arXiv 2507.20534), found without a law."""

from moewright.laws.law import Finding

LAW = Finding(
    name="k2",
    title="Sparsity against compute at equal loss",
    source="Kimi K2, arXiv 2507.20534",
    confidence="A",
    params_convention="sparsity E/K",
    findings=("at equal loss, sparsity 48 needs 1.69, 1.39 and 1.15 times fewer FLOPs than 8, 16 and 32",),
)
