"""Carrying a sweep out: jobs, states, interruptions."""
