"""The model of an Architecture, in torch: what trains, and what checkpoints are made of. Begin with `transformer`."""

from moewright.lab.model.transformer import Transformer

__all__ = ["Transformer"]


def __dir__() -> list[str]:
    return __all__
