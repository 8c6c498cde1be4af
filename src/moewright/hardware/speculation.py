"""Tokens that prediction blocks propose while a model generates, and how many of them are kept."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Speculation:
    """`draft` tokens are proposed by the model's prediction blocks; each is right with probability `acceptance`."""

    draft: int = 0
    acceptance: float = 0.0

    @property
    def tokens_per_step(self) -> float:
        """Accepted tokens and one more: (1 - a^(n + 1)) / (1 - a) (Leviathan et al., arXiv 2211.17192, equation 1).

        >>> Speculation(1, 0.8).tokens_per_step
        1.8
        """
        return float(sum(self.acceptance**place for place in range(self.draft + 1)))


NO_SPECULATION = Speculation()
"""A token a step."""
