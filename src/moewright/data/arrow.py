"""Rows of Parquet files and of datasets that Hugging Face datasets saved."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from moewright.complaints import list_names, name_row
from moewright.errors import UserError
from moewright.files import read_mapping
from moewright.quantities import brief

_ROWS = 1024  # rows turned into Python objects at a time
# Names that datasets.Dataset.save_to_disk and DatasetDict.save_to_disk write.
_STATE, _DICTIONARY = "state.json", "dataset_dict.json"


def saved_files(folder: Path) -> tuple[Path, ...] | None:
    """The Arrow files of a dataset written by `save_to_disk`, in order; None if the folder is none.

    Raises UserError for a dictionary of datasets, naming them, and for missing files.
    """
    if (folder / _DICTIONARY).is_file():
        names = read_mapping(folder / _DICTIONARY).get("splits", [])
        raise UserError(
            f"{folder}: holds several datasets; name one, such as {folder / str(next(iter(names), 'train'))}"
        )
    if not (folder / _STATE).is_file():
        return None
    listed = read_mapping(folder / _STATE).get("_data_files")
    if not isinstance(listed, list) or not all(isinstance(item, dict) and "filename" in item for item in listed):
        raise UserError(f"{folder / _STATE}: lists no _data_files; save the dataset with datasets' save_to_disk")
    files = tuple(folder / str(item["filename"]) for item in listed)
    missing = next((file for file in files if not file.is_file()), None)
    if missing is not None:
        raise UserError(f"{missing}: missing, but {_STATE} lists it")
    return files


def rows(file: Path, keys: tuple[str, str | None]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Place and values of these columns for each row of a Parquet or Arrow file.

    Raises UserError if a column is missing, naming those there are, or the file is not what its name says.
    """
    import pyarrow as pa

    try:
        number = 0
        for batch in _batches(file, keys):
            for row in batch.to_pylist():
                number += 1
                yield f"{file}: {name_row(number)}", row
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read: {str(error).splitlines()[0]}") from None


def _batches(file: Path, keys: tuple[str, str | None]) -> Iterator[Any]:
    import pyarrow as pa

    if file.suffix == ".parquet":
        import pyarrow.parquet as pq

        with pq.ParquetFile(file) as parquet:
            yield from parquet.iter_batches(_ROWS, columns=_present(file, parquet.schema_arrow.names, keys))
        return
    with pa.memory_map(str(file)) as mapped:
        # datasets writes streams; other tools write Arrow files, which begin with these letters.
        is_file = mapped.read(6) == b"ARROW1"
        mapped.seek(0)
        reader = pa.ipc.open_file(mapped) if is_file else pa.ipc.open_stream(mapped)
        columns = _present(file, reader.schema.names, keys)
        batches = map(reader.get_batch, range(reader.num_record_batches)) if is_file else reader
        for batch in batches:
            chosen = batch.select(columns)
            chosen.validate(full=True)  # else offsets of a damaged file are followed to wherever they point
            for start in range(0, len(chosen), _ROWS):
                yield chosen.slice(start, _ROWS)


def _present(file: Path, names: list[str], keys: tuple[str, str | None]) -> list[str]:
    for key, option in zip(keys, ("text-key", "source-key"), strict=True):
        if key is not None and key not in names:
            known = list_names(list(map(repr, names)))
            raise UserError(f"{file}: has no column {brief(key)}; name one of {known} with --{option}")
    return [key for key in dict.fromkeys(keys) if key is not None]
