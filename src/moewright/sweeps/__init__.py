"""Sweeps: many runs from one description, planned, priced, carried out and gathered. Only `worker` needs torch."""
