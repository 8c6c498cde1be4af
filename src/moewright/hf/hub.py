"""Models on Hugging Face's hub: their config and the headers of their weight files, never the weights.

huggingface_hub asks and keeps (extra `hub`), so its cache, HF_HOME, HF_ENDPOINT, HF_HUB_OFFLINE and tokens are obeyed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from moewright.errors import UserError
from moewright.hf.checkpoint_headers import INDEX
from moewright.hf.tensor_headers import RangeReader, Ranges, whole_length
from moewright.quantities import brief

_HUB_ID = re.compile(r"([A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95})(?:@([\w./-]{1,200}))?", re.ASCII)
_SMALL_FILES = ("config.json", "hf_quant_config.json", INDEX)
_FIRST_BYTES = 2**17
"""Asked for at once: the headers of most files are within, so that each takes one request."""


@dataclass(frozen=True)
class HubModel:
    """A repository's small files in the cache, and where its weight files can be asked for."""

    repository: str
    folder: Path
    """The snapshot in huggingface_hub's cache."""
    weight_files: Mapping[str, Ranges] = field(default_factory=dict)
    """By name; empty where the hub could not be asked."""
    warnings: tuple[str, ...] = ()


def hub_id(text: str) -> tuple[str, str | None] | None:
    """The repository and the revision of ORGANISATION/NAME[@REVISION]; None for other text.

    >>> hub_id("Qwen/Qwen3-30B-A3B@main")
    ('Qwen/Qwen3-30B-A3B', 'main')
    """
    found = _HUB_ID.fullmatch(text)
    return None if found is None else (found[1], found[2])


OLDEST_CLIENT = 1
"""Major version of huggingface_hub: its HTTP library changed with it. Old tokenizers bring an older one."""


def ask_hub(repository: str, revision: str | None = None) -> HubModel:
    """Fetch a model's small files, or take them from the cache where the hub cannot be reached.

    Raises UserError in one line: the extra is not installed, no such repository or revision, no access, no network and
    nothing in the cache.
    """
    try:
        from huggingface_hub import HfApi, __version__, errors
    except ModuleNotFoundError:
        raise UserError(
            f"{repository}: no such file; to look for it on Hugging Face's hub install huggingface_hub: "
            'pip install "moewright[hub]"'
        ) from None
    if int(__version__.partition(".")[0]) < OLDEST_CLIENT:
        raise UserError(
            f"{repository}: no such file; to look for it on Hugging Face's hub, huggingface_hub must be "
            f'{OLDEST_CLIENT}.0 or newer, and is {__version__}: pip install "moewright[hub]"'
        )
    named = repository if revision is None else f"{repository}@{revision}"
    try:
        info = HfApi().model_info(repository, revision=revision, timeout=20)
        names = [file.rfilename for file in info.siblings or ()]
        if "config.json" not in names:
            raise UserError(f"{named}: the repository on the hub has no config.json")
        folder = _fetched(repository, revision, [name for name in _SMALL_FILES if name in names])
    except errors.GatedRepoError:
        raise UserError(
            f"{named}: the repository is gated; ask for access on its page, then log in (`hf auth login` or HF_TOKEN)"
        ) from None
    except errors.RevisionNotFoundError:
        raise UserError(f"{named}: the repository has no revision {brief(revision or 'main')}") from None
    except errors.RepositoryNotFoundError:
        raise UserError(
            f"{named}: no such file, and no such repository on the hub, or a private one that your token does not open"
        ) from None
    except errors.HFValidationError:
        raise UserError(f"{named}: not the name of a repository on the hub") from None
    except _unreachable() as error:
        return _from_cache(repository, revision, named, error)
    weights = {name: _ranges(repository, name, str(info.sha)) for name in names if _is_weight_file(name)}
    return HubModel(repository, folder, weights)


def _unreachable() -> tuple[type[Exception], ...]:
    """What the client raises where it cannot reach the hub: its HTTP library's error, and OSError."""
    from huggingface_hub.errors import HfHubHTTPError

    return tuple(kind for kind in HfHubHTTPError.__bases__ if issubclass(kind, Exception))


def _is_weight_file(name: str) -> bool:
    return "/" not in name and name.endswith((".safetensors", ".gguf"))


def _fetched(repository: str, revision: str | None, names: list[str]) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    quiet = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        paths = [Path(hf_hub_download(repository, name, revision=revision)) for name in names]
    finally:
        if not quiet:
            enable_progress_bars()
    return paths[0].parent


def _from_cache(repository: str, revision: str | None, named: str, error: BaseException) -> HubModel:
    from huggingface_hub import constants, errors, try_to_load_from_cache

    offline = isinstance(error, errors.OfflineModeIsEnabled)
    why = "HF_HUB_OFFLINE is set" if offline else f"the hub at {constants.ENDPOINT} could not be asked"
    found = try_to_load_from_cache(repository, "config.json", revision=revision)
    if not isinstance(found, str):
        raise UserError(f"{named}: no such file; {why}, and the cache in {constants.HF_HUB_CACHE} has no config of it")
    return HubModel(
        repository, Path(found).parent, warnings=(f"{why}: config from its cache, weight files not looked at",)
    )


@contextmanager
def _ranges(repository: str, name: str, commit: str) -> Iterator[tuple[RangeReader, int]]:
    """A reader of a file's ranges, and the file's bytes; the client leaves tokens out where it is sent elsewhere."""
    from huggingface_hub import hf_hub_url

    utils: Any = import_module("huggingface_hub.utils")
    url = hf_hub_url(repository, name, revision=commit)

    def ask(offset: int, length: int) -> tuple[bytes, int]:
        asked = {**utils.build_hf_headers(), "Range": f"bytes={offset}-{offset + length - 1}"}
        try:
            with utils.get_session().stream("GET", url, headers=asked, follow_redirects=True) as answer:
                content_range = answer.headers.get("Content-Range", "")
                total = whole_length(answer.status_code, content_range, offset, f"{repository}: {name}")
                return _at_most(answer, length), total
        except _unreachable() as error:
            raise UserError(f"{repository}: {name}: cannot be read: {str(error) or type(error).__name__}") from None

    first, size = ask(0, _FIRST_BYTES)

    def read(offset: int, length: int) -> bytes:
        if offset + length <= len(first):
            return first[offset : offset + length]
        return ask(offset, length)[0] if length and offset < size else b""

    yield read, size


def _at_most(answer: Any, length: int) -> bytes:
    taken = bytearray()
    for block in answer.iter_bytes():
        taken += block
        if len(taken) >= length:
            break
    return bytes(taken[:length])
