"""Weight files without a config beside them: what a GGUF file says of its model, and a safetensors file does not."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from moewright.errors import UserError
from moewright.quantities import format_bytes

_GGUF, _SAFETENSORS = ".gguf", ".safetensors"
_PART = re.compile(r"(.+)-\d{5}-of-(\d{5})\.gguf")


def bare_weights(place: Path, descriptions: Sequence[str]) -> list[Path]:
    """The weight files that a user points at, or those of a folder that has none of the `descriptions` of a model.

    All parts of a GGUF file that was split; GGUF files before others. None for other places. Raises UserError for a
    folder with several models.
    """
    if place.is_dir():
        if any((place / name).is_file() for name in descriptions):
            return []
        files = sorted(path for path in place.iterdir() if path.is_file())
        found = [path for path in files if path.suffix.lower() == _GGUF and not path.name.startswith("mmproj")]
        if len({_stem(path) for path in found}) > 1:
            raise UserError(f"{place}: the folder has several GGUF models; name one: {found[0].name}")
        return found or [path for path in files if path.suffix.lower() == _SAFETENSORS]
    if place.suffix.lower() not in (_GGUF, _SAFETENSORS) or not place.is_file():
        return []
    if _PART.fullmatch(place.name) is None:
        return [place]
    return sorted(path for path in place.parent.iterdir() if _PART.fullmatch(path.name) and _stem(path) == _stem(place))


def _stem(path: Path) -> str:
    part = _PART.fullmatch(path.name)
    return part[1] if part else path.stem


def config_of_weights(files: Sequence[Path]) -> tuple[dict[str, Any], str, list[str]]:
    """The config.json that the keys of a model's GGUF files stand for, the model's name, and what to know of it.

    Raises UserError for safetensors files, which hold no sizes of heads and no choices, and for unfit files.
    """
    from moewright.hf.gguf_config import config_of_gguf  # only where a file is read
    from moewright.hf.tensor_headers import file_ranges, read_gguf, read_header

    first = files[0]
    if first.suffix.lower() == _SAFETENSORS:
        tensors = [tensor for path in files for tensor in read_header(file_ranges(path), str(path))]
        numbers, size = sum(tensor.elements for tensor in tensors), sum(tensor.bytes for tensor in tensors)
        raise UserError(
            f"{first}: {numbers:,} numbers in {len(tensors):,} tensors, {format_bytes(size)}; how a model uses them is "
            "said by its config.json, and none is beside it"
        )
    metadata: dict[str, Any] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for path in files:
        with file_ranges(path) as (read, size):
            header = read_gguf(read, size, str(path))
        metadata = header.metadata | metadata  # the first part has the model's keys
        shapes |= {tensor.name: tensor.shape for tensor in header.tensors}
    try:
        values, warnings = config_of_gguf(metadata, shapes)
    except UserError as error:
        raise UserError(f"{first}: {error}") from None
    part = _PART.fullmatch(first.name)
    if part and len(files) < int(part[2]):
        warnings.append(
            f"{len(files)} of {int(part[2])} parts are here; a head in one of the others is taken for one that shares "
            "the embedding's matrix"
        )
    return values, _stem(first), warnings
