"""`moewright.sweep`: the command as one function, and which of its options go together."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, overload

from moewright.errors import UserError
from moewright.sweeps.foresight import dry_run as planning
from moewright.sweeps.foresight.dry_run import DryRun
from moewright.sweeps.running import sweeping
from moewright.sweeps.running.sweeping import SweepResult

Spec = str | Path | dict[str, Any]


@overload
def sweep(
    spec: Spec,
    out: str | Path,
    *,
    jobs: int | None = None,
    executor: str = "local",
    dry_run: Literal[False] = False,
    watch: bool = False,
    retry_failed: bool = False,
    add: bool = False,
) -> SweepResult: ...


@overload
def sweep(
    spec: Spec,
    out: str | Path | None = None,
    *,
    jobs: int | None = None,
    executor: str = "local",
    dry_run: Literal[True],
    forecast: Sequence[str] | None = None,
    noise: float | None = None,
) -> DryRun: ...


def sweep(
    spec: Spec,
    out: str | Path | None = None,
    *,
    jobs: int | None = None,
    executor: str = "local",
    dry_run: bool = False,
    watch: bool = False,
    retry_failed: bool = False,
    add: bool = False,
    forecast: Sequence[str] | None = None,
    noise: float | None = None,
) -> SweepResult | DryRun:
    """Carry out a sweep in a folder; again with the same folder goes on where it was.

    `dry_run`: see `lab.sweep.dry_run`; only it takes `forecast` and `noise`. `watch`: how the sweep stands in its
    folder at this moment. Runs in processes of their own, so a script that calls this needs no `__main__` guard. Raises
    UserError for bad input, and RunStopped when the disk is full.
    """
    check_options(
        out,
        jobs=jobs,
        executor=executor,
        dry_run=dry_run,
        watch=watch,
        retry_failed=retry_failed,
        add=add,
        forecast=forecast,
        noise=noise,
    )
    if dry_run:
        return planning.dry_run(spec, out, jobs=jobs, executor=executor, forecast=forecast, noise=noise)
    assert out is not None, "checked above"
    if watch:
        return sweeping.look(spec, out)
    return sweeping.sweep(spec, out, jobs=jobs, executor=executor, retry_failed=retry_failed, add=add)


def check_options(
    out: str | Path | None,
    *,
    jobs: int | None,
    executor: str,
    dry_run: bool,
    watch: bool,
    retry_failed: bool,
    add: bool,
    forecast: Sequence[str] | None,
    noise: float | None,
) -> None:
    """UserError for options that have no use together."""
    if dry_run and watch:
        raise UserError("watch: has no use in a dry run")
    for name, given in (("retry-failed", retry_failed), ("add", add)):
        if (dry_run or watch) and given:
            raise UserError(f"{name}: nothing is run; leave it out")
    for name, given in (("jobs", jobs is not None), ("executor", executor != "local")):
        if watch and given:
            raise UserError(f"{name}: nothing is run; leave it out")
    if jobs is not None and jobs < 1:
        raise UserError(f"jobs: {jobs} at a time; give at least 1")
    for name, value in (("forecast", forecast), ("noise", noise)):
        if value not in (None, [], ()) and not dry_run:
            raise UserError(f"{name}: has a use only in a dry run; add --dry-run")
    if out is None and not dry_run:
        raise UserError("out: name the sweep's folder with --out DIR")
