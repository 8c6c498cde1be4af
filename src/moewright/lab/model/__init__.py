"""The model of an Architecture, in torch: what trains, and what checkpoints are made of."""

from moewright.lab.model.transformer import Output, Transformer

__all__ = ["Output", "Transformer"]
