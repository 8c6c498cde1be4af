"""Showing results to people: tables in the terminal."""
