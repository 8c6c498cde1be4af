"""Fitting a law's form to runs: observations, the problem and its solver, what the rows leave open, the fitted law."""
