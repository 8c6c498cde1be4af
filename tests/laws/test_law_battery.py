"""A sample of the battery of laws: `python -m tests.benchmarks.battery_laws` runs it all."""

from pathlib import Path

import pytest

from tests.benchmarks.battery_laws import Case, cases, faults

SAMPLE = [case for number, case in enumerate(cases()) if number % 60 == 7 or str(case) == "zhao2025, no shared experts"]


@pytest.mark.parametrize("case", SAMPLE, ids=str)
def test_no_fit_ends_in_a_traceback_or_prints_nan(case: Case, tmp_path: Path) -> None:
    _, found = faults(case, tmp_path, plots=case.amiss == "no shared experts", designs=False)
    assert not found, found
