"""What a report is made of: each path is recognised by its record, whatever its name, and read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from moewright.errors import UserError
from moewright.files import read_mapping, sha256_of
from moewright.foreign_text import shell_words, shortened
from moewright.progress import track
from moewright.quantities import brief
from moewright.report.page.design_words import (
    LAW_FOLDER,
    OWN_FILE,
    SPACE_FILE,
    GivenFiles,
    design_options,
    design_words,
)
from moewright.sealed_records import digest

if TYPE_CHECKING:
    from moewright.hf.loading import Loaded
    from moewright.laws import FittedLaw

SourceKind = Literal["design", "model", "law", "table", "runs", "plan", "next", "sweep"]
UNDERSTOOD = (
    "a design's folder or JSON, a fitted law, a run table, a folder of runs or of a sweep, a sweep's "
    "specification, the JSON of plan or next, a model's config or name"
)
DESIGNS, TABLES = "designs.json", (".csv", ".parquet", ".jsonl")
_MAPPINGS = (".json", ".yaml", ".yml")
_LONGEST_REASON = 160
"""Characters of why a path is no model, so that what it might be has its place on the line."""


@dataclass(frozen=True)
class PageSource:
    """One path, read."""

    given: str
    """As the user wrote it."""
    kind: SourceKind
    value: Any
    """DesignsRecord, Loaded, FittedLaw, DataFrame, RunTable, LayoutPlanRecord or ServingPlanRecord, NextRunsRecord or
    LoadedSweep by kind."""
    number: int
    """Of all sources, from 1."""
    path: Path | None = None
    """None for a model that is not a file of this machine."""
    sha256: str | None = None
    """Of the file that says what it is, or of what `hashed` names."""
    hashed: str = ""
    """What the digest is of, where that is not the file that was given."""
    command: str = ""
    """The command line that makes such a result, where the file says it."""
    fitted: Mapping[str, FittedLaw] = field(default_factory=dict)
    """Of designs: the laws of files that judged them, by name, where they are found."""
    files: GivenFiles = field(default_factory=GivenFiles)
    """Of designs: where the files are that the search was told."""
    models: Sequence[tuple[str, Loaded]] = ()
    """Of designs: the models that are shown too, with what was given for each."""


def read_sources(given: Iterable[str | Path]) -> tuple[PageSource, ...]:
    """Each path, recognised and read. Raises UserError for the first that is none of what is understood."""
    paths = [str(each) for each in given]
    tracked = track("reading", paths, len(paths), "paths", is_even=False)
    sources = [_read(each, number) for number, each in enumerate(tracked, start=1)]
    laws = [source for source in sources if source.kind == "law"]
    models = [(source.given, source.value) for source in sources if source.kind == "model"]
    return tuple(
        replace(_with_files(source, laws), models=models) if source.kind == "design" else source for source in sources
    )


def _with_files(source: PageSource, laws: Sequence[PageSource]) -> PageSource:
    """Designs with the files that their search was told: those of their own folder, else laws that are shown too."""
    assert source.path is not None
    beside = source.path.parent
    own = sorted((beside / LAW_FOLDER).glob("*.json")) if source.path.name == DESIGNS else []
    read = [_read(str(path), 0) for path in own]
    found = {each.value.name: each for each in (*laws, *read) if each.value.name in source.value.laws}
    space = beside / SPACE_FILE
    runs = beside / OWN_FILE
    files = GivenFiles(
        str(space) if space.is_file() else SPACE_FILE,
        {name: each.given for name, each in found.items()},
        str(runs) if runs.is_file() else OWN_FILE,
    )
    command = shell_words(*design_words(design_options(source.value, files)))
    return replace(source, fitted={name: each.value for name, each in found.items()}, files=files, command=command)


def _read(given: str, number: int) -> PageSource:
    path = Path(given)
    if path.is_dir():
        return _read_folder(given, path, number)
    if path.is_file():
        return _read_file(given, path, number)
    return _read_model(given, None, number)


def _read_folder(given: str, path: Path, number: int) -> PageSource:
    from moewright.experiment.collecting.collection import collect, holds_own_runs

    if (path / DESIGNS).is_file():
        return replace(_of_mapping(given, path / DESIGNS, number, read_mapping(path / DESIGNS)), hashed=DESIGNS)
    if holds_own_runs(path):
        collected = collect(path)
        rows = digest({"runs": collected.to_dict()["runs"]})
        return PageSource(given, "runs", collected, number, path, rows, "its rows, as runs --json has them")
    return _read_model(given, path, number)


def _read_file(given: str, path: Path, number: int) -> PageSource:
    if path.suffix.lower() in TABLES:
        from moewright import runs

        return PageSource(given, "table", runs.load(path), number, path, sha256_of(path))
    if path.suffix.lower() in _MAPPINGS:
        return _of_mapping(given, path, number, read_mapping(path))
    return _read_model(given, path, number)


def _of_mapping(given: str, path: Path, number: int, values: Mapping[str, Any]) -> PageSource:
    """By what a file says that it is."""
    for kind, value in _records(path, values):
        return PageSource(given, kind, value, number, path, sha256_of(path))
    if "format" in values and "model_type" not in values:
        found = str(values["format"])
        if not found.startswith("moewright-architecture/"):
            raise UserError(
                f"path: {given}: its format is {brief(found)}, of which there is no report; {_understood()}"
            )
    return _read_model(given, path, number)


def _records(path: Path, values: Mapping[str, Any]) -> Iterator[tuple[SourceKind, Any]]:
    written = str(values.get("format", ""))
    if written.startswith("moewright-designs/"):
        from moewright.designs.design_record import DesignsRecord

        yield "design", DesignsRecord.from_dict(values, path)
    if written.startswith("moewright-law/"):
        from moewright import laws

        yield "law", laws.load(path)
    if written.startswith("moewright-sweep/"):
        from moewright.sweeps.sweep_spec import LoadedSweep

        yield "sweep", LoadedSweep.load(path)
    if "chosen" in values and "first_batch" in values:
        from moewright.laws.selection.run_choice import NextRunsRecord

        yield "next", NextRunsRecord.from_dict(values, path)
    if "layouts" in values and "software" in values:
        from moewright.hardware.serving_record import ServingPlanRecord

        yield "plan", ServingPlanRecord.from_dict(values, path)
    if "layouts" in values:
        from moewright.hardware.layout_record import LayoutPlanRecord

        yield "plan", LayoutPlanRecord.from_dict(values, path)


def _read_model(given: str, path: Path | None, number: int) -> PageSource:
    from moewright.hf.loading import load_architecture

    try:
        loaded = load_architecture(given)
    except UserError as error:
        why = shortened(str(error), _LONGEST_REASON)
        raise UserError(f"path: {brief(given)} is taken for a model: {why}; {_understood()}") from None
    if path is not None and path.is_file():
        return PageSource(given, "model", loaded, number, path, sha256_of(path))
    read = digest(loaded.architecture.to_dict())
    return PageSource(given, "model", loaded, number, path, read, "the architecture that was read")


def _understood() -> str:
    return f"understood are {UNDERSTOOD}"
