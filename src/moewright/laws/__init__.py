"""Scaling laws of Mixture-of-Experts and dense language models: published ones by name, and fits to your own runs."""

from moewright.laws.catalogue import get, names
from moewright.laws.law import InapplicableLaw, Law

__all__ = ["InapplicableLaw", "Law", "get", "names"]
