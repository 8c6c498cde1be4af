"""The best activation ratio (Li et al., arXiv 2506.12119), found without a law."""

from moewright.laws.law import Finding

LAW = Finding(
    name="li2025",
    title="Best activation ratio at fixed size and compute",
    source="Li et al. 2025, arXiv 2506.12119",
    confidence="A",
    params_convention="without vocabulary parameters",
    findings=(
        "at fixed total parameters and training compute the best activation ratio is about 20 %, at 2B, 3B and 7B",
    ),
)
