"""What a model is: the specification, its counts, and its Hugging Face form. Knows no other part of moewright."""

from moewright.architecture.spec import Architecture, Layer, Norm, Repeat

__all__ = ["Architecture", "Layer", "Norm", "Repeat"]


def __dir__() -> list[str]:
    return __all__
