"""The command line of `moewright design` that gives a record's answer, option by option."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from moewright.designs.budgets import TRAINING, Budgets, room_of
from moewright.designs.design_record import DesignsRecord
from moewright.designs.space import DEFAULT_VOCAB_SIZE, Space
from moewright.errors import UserError
from moewright.laws import judges, names
from moewright.quantities import parse_bytes, parse_count

SPACE_FILE, LAW_FOLDER, OWN_FILE = "space.yaml", "laws", "own.parquet"
"""A space of one's own, the folder of fitted laws, and the run table of one's own, beside `designs.json`."""
_BYTES, _COUNTS = (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)), (("T", 1e12), ("B", 1e9), ("M", 1e6))
_DEVICES = ("hardware", "devices", "train_hardware", "train_devices")
_CONDITIONS = (*_DEVICES, "context", "batch", "weights_dtype", "kv_dtype")


@dataclass(frozen=True)
class GivenFiles:
    """What a search was told in files, where these are."""

    space: str = SPACE_FILE
    laws: Mapping[str, str] = field(default_factory=dict)
    """By the law's name."""
    own: str = OWN_FILE

    def law(self, name: str) -> str:
        """The word of `--law`: a published law's name, or a file."""
        return self.laws.get(name, name if name in names() else f"{name}.json")


def own_space(space: Space) -> bool:
    """Whether a space is neither the usual one nor `wide`, but for its vocabulary."""
    vocab_size = space.vocab_size
    return all(space != usual.model_copy(update={"vocab_size": vocab_size}) for usual in (Space(), Space.wide()))


def design_options(record: DesignsRecord, files: GivenFiles) -> dict[str, list[str]]:
    """The words of each option by its name, all budgets exactly; those at their defaults are left out."""
    b = record.budgets
    found: dict[str, list[str]] = {}
    memory = b.memory_bytes if b.memory_bytes is None else b.memory_bytes / b.devices
    if memory is None and b.device_memory_bytes is not None and not _is_usual_room(b):
        memory = b.device_memory_bytes
    if memory is not None:
        found["memory"] = [written_bytes(memory)]
    for name in ("total_params", "active_params", "decode_tokens_per_second", "time_to_first_token", *TRAINING):
        value = getattr(b, name)
        if value is not None:
            found[name] = [written_count(value)]
    for name in _CONDITIONS:
        value = getattr(b, name)
        if value != Budgets.model_fields[name].default:
            found[name] = [str(value)]
    found["price"] = [f"{device}={_exact(price)}" for device, price in b.price.items()]
    if b.power_price is not None:
        found["power_price"] = [_exact(b.power_price)]
    if b.serve_tokens is not None:
        found["serve_tokens"] = [written_count(b.serve_tokens)]
    space, vocab_size = record.space, record.space.vocab_size
    for usual, word in ((Space(), []), (Space.wide(), ["wide"])):
        if space == usual.model_copy(update={"vocab_size": vocab_size}):
            found["space"] = word
            found["vocab_size"] = [] if vocab_size == DEFAULT_VOCAB_SIZE else [str(vocab_size)]
    found.setdefault("space", [files.space])
    if set(record.laws) != {law.name for law in judges()}:
        found["law"] = law_words(record.laws, files)
    if record.undecided.own is not None:
        found["own"] = [files.own]
    if record.recommended.prefer != "balanced":
        found["prefer"] = [record.recommended.prefer]
    if record.baseline.named:
        found["baseline"] = [record.baseline.name]
    return {name: words for name, words in found.items() if words}


def law_words(laws: Iterable[str], files: GivenFiles) -> list[str]:
    """The words of `--law`: names restrict the published laws, so they are left out where all of these are asked."""
    published = {law.name for law in judges()}
    named = [law for law in laws if law in published]
    return [*(named if len(named) < len(published) else ()), *(files.law(law) for law in laws if law not in published)]


def design_words(options: dict[str, list[str]]) -> list[str]:
    """The same as one list of words."""
    words = ["moewright", "design"]
    for name, values in options.items():
        for value in values:
            words += [f"--{name.replace('_', '-')}", value]
    return words


def written_bytes(value: float) -> str:
    """A number of bytes as it is read back, to the last digit.

    >>> written_bytes(80e9), written_bytes(85899345920.0)
    ('80GB', '85899345920')
    """
    return _written(value, _BYTES, parse_bytes)


def written_count(value: float) -> str:
    """A count, a rate or a time as it is read back, to the last digit.

    >>> written_count(2e12), written_count(30532122624.0), written_count(1e22), written_count(2.5)
    ('2T', '30532122624', '1e+22', '2.5')
    """
    return _written(value, _COUNTS, parse_count)


def _written(value: float, units: tuple[tuple[str, float], ...], parse: Callable[[str, str], float]) -> str:
    for unit, size in units:
        text = f"{value / size:g}{unit}"
        if size <= value < 1e5 * size and parse(text, "") == value:
            return text
    return _exact(value)


def _exact(value: float) -> str:
    """The shortest text that is read back as the same number."""
    whole = float(value).is_integer() and abs(value) < 1e16
    return str(int(value)) if whole else repr(float(value))


def _is_usual_room(b: Budgets) -> bool:
    """Whether the memory is what the named devices leave; a device that is not described here says nothing."""
    assert b.hardware is not None
    try:
        return b.device_memory_bytes == room_of(b.hardware, b.devices)
    except UserError:  # a file of devices of another machine
        return False
