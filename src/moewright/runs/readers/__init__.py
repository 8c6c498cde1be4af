"""Runs that other trainers logged, read from the files of any logger and made rows of the run table."""
