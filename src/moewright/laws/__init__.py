"""Scaling laws of Mixture-of-Experts and dense language models: published ones by name, and fits to your own runs."""

from moewright.laws.catalogue import get, names
from moewright.laws.law import InapplicableLaw, Law
from moewright.laws.published.ling2025 import loss_through

__all__ = ["InapplicableLaw", "Law", "get", "loss_through", "names"]
