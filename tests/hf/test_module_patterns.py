"""Lists of modules: wildcards against fnmatch, and expressions whose matching would not end."""

import fnmatch
import random

import pytest

from moewright import UserError
from moewright.hf.module_names import Module
from moewright.hf.module_patterns import ModulePatterns

ENDLESS = (
    "re:(.|..)*!",
    "re:(a+)+$",
    "re:((ab)*c)*!",
    "re:(?:a?){30}b",
    "re:.*.*.*.*.*.*.*.*.*!",
    "re:([a-z]+\\.)*!",
)
PLAIN = (
    r"re:.*self_attn\.(q|k|v|o)_proj$",
    r"re:^model\.layers\.\d+\.mlp\.(gate|up)_proj.*",
    r"re:.*\.experts\.(?:[0-9]|1[0-9])\..*",
    r"re:model\.layers\.[0-3]\..*(?<!gate)_proj",
    r"re:.*[*+(|]?lm_head",
)


def module(name: str) -> Module:
    """One matrix of this name."""
    return Module((name,), "linear", 1, 1, 1)


@pytest.mark.parametrize("entry", ENDLESS)
def test_expressions_that_might_never_end_are_refused(entry: str) -> None:
    with pytest.raises(UserError, match="matching might never end"):
        ModulePatterns([entry], "ignore")


@pytest.mark.parametrize("entry", PLAIN)
def test_expressions_as_tools_write_them_are_read(entry: str) -> None:
    assert ModulePatterns([entry], "ignore")


def test_wildcards_fit_what_fnmatch_says() -> None:
    """2,000 random names and entries of few letters; and one with 60 wildcards ends."""
    r = random.Random(4)
    fitted = 0
    for _ in range(2000):
        name = "".join(r.choice("ab.") for _ in range(r.randrange(1, 9))).strip(".") or "a"
        entry = "".join(r.choice("ab.**") for _ in range(r.randrange(2, 7)))
        if not entry.startswith("*") or entry.strip("*") in ("", "."):
            continue
        beneath = any(
            fnmatch.fnmatchcase(name[:stop], entry)
            for stop in range(1, len(name) + 1)
            if stop == len(name) or name[stop] == "."
        )
        found = ModulePatterns([entry], "ignore").fitting_copies(module(name)) > 0
        assert found >= beneath, (name, entry)
        fitted += beneath
    assert fitted > 100
    # Which would not end if parts were looked for in every way.
    assert not ModulePatterns(["*a" * 60 + "b*"], "ignore").fitting_copies(module("a" * 200))
