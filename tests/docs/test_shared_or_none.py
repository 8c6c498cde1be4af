"""The study of one shared expert or none: its intervals against scipy, its page against its run table."""

import re

import numpy as np
import pytest
from scipy import stats

from examples.shared_or_none.__main__ import cells, sources, verdicts
from examples.shared_or_none.effects import LEVEL, RATIOS, SHARES, effect, half_width, main_runs, read, seeds_for
from tests.docs.pages import ROOT


@pytest.mark.parametrize("ratio", RATIOS)
def test_the_interval_is_that_of_a_paired_t_test(ratio: int) -> None:
    chosen = main_runs(read())
    none, shared = (
        chosen[(chosen["ratio"] == ratio) & (chosen["share"] == share)].sort_values("seed")["loss"].to_numpy()
        for share in SHARES
    )
    expected = stats.ttest_rel(shared, none).confidence_interval(LEVEL)
    np.testing.assert_allclose(effect(chosen, ratio).interval, (expected.low, expected.high), rtol=1e-9)


def test_so_many_seeds_are_enough_and_one_less_is_not() -> None:
    deviation = 0.0225
    seeds = seeds_for(0.01, deviation)
    assert half_width(deviation, seeds) <= 0.01 < half_width(deviation, seeds - 1)


def test_the_page_has_the_tables_of_the_runs() -> None:
    found = read()
    chosen = main_runs(found)
    effects = {ratio: effect(chosen, ratio) for ratio in RATIOS}
    page = (ROOT / "docs" / "shared_or_none.md").read_text(encoding="utf-8")
    for name, table in {
        "verdicts": verdicts(chosen, effects),
        "cells": cells(found),
        "sources": sources(effects),
    }.items():
        shown = re.search(rf"<!-- {name} -->\n\n(.*?)\n\n<!-- end -->", page, re.DOTALL)
        assert shown is not None
        assert shown[1] == table
