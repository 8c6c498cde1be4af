"""The run table, made anew from the files of runs."""
