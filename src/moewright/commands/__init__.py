"""The commands: each is one function with the command's own arguments, in the module of the function's name.

A new command is a file here, with one function under `@command`, and its line in `COMMANDS`. The command line and the
names of the package `moewright` are made from this table and from the functions' signatures and docstrings.
"""

COMMANDS: dict[str, str] = {
    "inspect": "inspect",
    "models": "models",
    "predict": "predict",
    "design": "design",
    "plan": "plan",
    "calibrate": "calibrate",
    "train": "train",
    "sweep": "sweep",
    "runs": "collect_runs",
    "fit": "fit",
    "laws": "describe_laws",
    "next": "next_runs",
    "export": "export",
    "report": "make_report",
    "data prepare": "prepare_data",
}
"""What is typed after `moewright`, and the function that it calls. Where a command is a noun, the noun is a package in
Python (`laws`, `runs`, `report`, `data`) and the function a verb. In the order of `moewright --help`."""
