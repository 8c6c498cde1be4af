"""`python -m moewright` is the command line."""

from moewright.cli import main

main()
