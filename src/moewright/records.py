"""Records: what two parts agree on is a class. Frozen, strictly validated, and versioned where it is kept in a file.

`Record` is the base of them all. `FileRecord` is a whole file, JSON or YAML, with a line that says its format:
`moewright-KIND/N`. N rises when the same words would mean something else; a file of an older version is read through
the upgrades of its class. `Output` is what a command prints with --json.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Generic, Literal, Self, TypeVar, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from moewright.complaints import first_complaint
from moewright.errors import NewerFileError, UserError
from moewright.files import read_mapping, write_mapping
from moewright.foreign_text import shortened, visible
from moewright.quantities import brief, plain_integer

# The largest size that any field may take. Far above every model that exists (a vocabulary of 300 thousand, a width
# of 20 thousand), and small enough that every count stays below 2**63 and every list of layers fits in memory.
LARGEST_SIZE = 10**8
LONGEST_REPR = 500
"""Characters: of a model of many unlike layers the beginning and the end."""

Size = Annotated[int, Field(gt=0, le=LARGEST_SIZE)]
Count = Annotated[int, Field(ge=0, le=LARGEST_SIZE)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
# JSON readers agree on whole numbers up to 2**53.
Total = Annotated[int, Field(ge=0, le=2**53)]
"""A count of tokens, bytes or the like, which no model's sizes bound."""
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
"""In hex, as `sha256sum` prints it."""

T = TypeVar("T")
Items = Annotated[tuple[T, ...], Field(strict=False)]
"""A tuple that may be given as a list, as JSON and YAML have it: `Items[int]`."""
Pair = Annotated[tuple[T, T], Field(strict=False)]
"""Two values, such as [low, high]."""


def _tuple_of_a_list(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


LISTS_AS_TUPLES = BeforeValidator(_tuple_of_a_list)
"""For a field whose tuple is one of several kinds: there pydantic 2.9 and 2.10 read no list as `Items` or `Pair`."""


def _none_if_not_finite(value: Any) -> Any:
    return None if isinstance(value, float) and value - value != 0 else value


def _finite(value: Any) -> Any:
    if isinstance(value, float) and value - value != 0:
        raise ValueError("expected a finite number")
    for item in value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ():
        _finite(item)
    return value


Free = Annotated[Any, AfterValidator(_finite)]
"""A plain value that somebody else gives a meaning to: whatever JSON has a word for, so no NaN and no infinity."""

Reading = Annotated[float | None, BeforeValidator(_none_if_not_finite)]
"""A measured number; None for one that is not finite, which JSON has no word for."""


def _word_if_not_finite(value: Any) -> Any:
    if isinstance(value, float) and value - value != 0:
        return str(value)
    if isinstance(value, Mapping):
        return {key: _word_if_not_finite(item) for key, item in value.items()}
    return [_word_if_not_finite(item) for item in value] if isinstance(value, list | tuple) else value


Echo = Annotated[Any, BeforeValidator(_word_if_not_finite)]
"""A user's own value in an answer; a number that is not finite as its word, inf or nan, which JSON can say."""


class Record(BaseModel):
    """Base of all records: immutable, no unknown fields, no silent type conversion, no number that is not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True, allow_inf_nan=False)

    called: ClassVar[str] = ""
    """What complaints about the record as a whole name it; by default its class, or the KIND of its file."""

    @classmethod
    def default(cls) -> Self:
        """All fields at their defaults, as the default of a field in another record.

        Unlike `cls()` it makes no validator: those of the parts would take longer than some commands do, and are not
        needed once that of the whole is made.
        """
        return cls.model_construct()  # type: ignore[return-value]  # the plugin takes Self for the class

    @classmethod
    def from_dict(cls, values: Any, where: str | Path = "") -> Self:
        """The record in plain values, as JSON or YAML give them.

        A UserError names the file (`where`) and the first field that is wrong.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            complaint = first_complaint(error, cls.called or cls.__name__, cls)
            raise UserError(f"{where}: {complaint}" if where else complaint) from None

    @classmethod
    def model_rebuild(cls, **options: Any) -> bool | None:
        """Make the validator, unless the class is a generic base: nothing is validated with one.

        pydantic would make one of such a base when it is given types.
        """
        return None if Generic in cls.__bases__ else super().model_rebuild(**options)

    def to_dict(self, defaults: bool = True) -> dict[str, Any]:
        """Plain values for JSON or YAML, which `from_dict` takes: every float reads back to the same bits.

        Without `defaults`, fields at their default are left out; `kind` and `format` are not.
        """
        return {
            name: _plain(getattr(self, name), defaults)
            for name, field in type(self).model_fields.items()
            if defaults
            or name in ("kind", "format")
            or field.is_required()
            or field.default_factory is not None
            or getattr(self, name) != field.default
        }

    def __repr__(self) -> str:
        return shortened(visible(super().__repr__()), LONGEST_REPR)

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """The JSON schema of what `to_dict` gives."""
        return cls.model_json_schema(mode="serialization")


def _plain(value: Any, defaults: bool) -> Any:
    if isinstance(value, Record):
        return value.to_dict() if defaults else value.to_dict(defaults=False)  # a class may leave them out anyway
    if isinstance(value, Mapping):
        return {key: _plain(item, defaults) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, defaults) for item in value]
    return value.tolist() if hasattr(value, "tolist") else value  # numpy's arrays and numbers


class Output(Record):
    """What a command prints with --json: one object."""

    command: ClassVar[str] = ""
    """The words after `moewright`."""


# Whole files

Upgrade = Callable[[dict[str, Any]], dict[str, Any]]
"""From the plain values of version N to those of N + 1."""
U = TypeVar("U", bound=Upgrade)


class FileRecord(Record):
    """A file that one part writes and another reads. Subclasses say `format: Literal["moewright-KIND/N"]` with that
    default."""

    format: str

    kind_of_file: ClassVar[str] = ""
    version: ClassVar[int] = 0
    version_without_format: ClassVar[int | None] = None
    """The version of files without a line for the format; None: such a file is none of these."""
    migration: ClassVar[str] = ""
    """The one command that brings older files up to date where no upgrade can."""
    _upgrades: ClassVar[dict[int, Upgrade]] = {}

    @classmethod
    def __pydantic_init_subclass__(cls, **options: Any) -> None:
        super().__pydantic_init_subclass__(**options)
        annotation = cls.model_fields["format"].annotation
        if get_origin(annotation) is Literal:
            kind, version = str(get_args(annotation)[0]).split("/")
            cls.kind_of_file, cls.version, cls._upgrades = kind, int(version), {}
            if "called" not in vars(cls):
                cls.called = kind.removeprefix("moewright-")

    @classmethod
    def upgrade(cls, version: int) -> Callable[[U], U]:
        """Decorator: the function takes plain values of `version` and gives those of `version` + 1."""

        def register(function: U) -> U:
            cls._upgrades[version] = function
            return function

        return register

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """The record in a file. A UserError names the file and the first field that is wrong."""
        return cls.from_dict(read_mapping(Path(path)), path)

    def to_dict(self, defaults: bool = True) -> dict[str, Any]:
        """Plain values, the format first; see `Record.to_dict`."""
        return {"format": self.format, **super().to_dict(defaults)}

    def write(self, path: str | Path) -> None:
        """Write the file, JSON or YAML by its ending: complete or not at all, an existing one replaced."""
        write_mapping(Path(path), self.to_dict())

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """The JSON schema of what `read` takes; `write` gives no more than that."""
        return cls.model_json_schema(mode="validation")

    @classmethod
    def from_dict(cls, values: Any, where: str | Path = "") -> Self:
        """The record in plain values of this version or an older one that can be upgraded.

        A UserError names the file (`where`) and the first field that is wrong, or says whose format it is.
        """
        if isinstance(values, Mapping):
            values = cls._upgraded(dict(values), f"{where}: " if where else "")
        return super().from_dict(values, where)

    @classmethod
    def _upgraded(cls, values: dict[str, Any], where: str) -> dict[str, Any]:
        version = cls._version_of(values.get("format"), where)
        oldest = min((*cls._upgrades, cls.version))
        if version > cls.version:
            reads = f"{oldest} to {cls.version}" if oldest < cls.version else f"{cls.version}"
            raise NewerFileError(
                f"{where}written by a newer moewright: format is {cls.kind_of_file}/{version}, this one reads {reads}; "
                "upgrade moewright"
            )
        for before in range(version, cls.version):
            if before not in cls._upgrades:
                remedy = cls.migration or "write it again with this moewright"
                raise UserError(
                    f"{where}format {cls.kind_of_file}/{version} is older than this moewright reads; {remedy}"
                )
            values = cls._upgrades[before](values)
        return {**values, "format": f"{cls.kind_of_file}/{cls.version}"}

    @classmethod
    def _version_of(cls, given: Any, where: str) -> int:
        expected = f"{cls.kind_of_file}/{cls.version}"
        if given is None:
            if cls.version_without_format is None:
                raise UserError(f"{where}format: missing; expected {expected}")
            return cls.version_without_format
        kind, _, version = given.partition("/") if isinstance(given, str) else ("", "", "")
        number = plain_integer(version)
        if kind != cls.kind_of_file or number is None:
            found = given[:80] if isinstance(given, str) else given
            raise UserError(f"{where}format: expected {brief(expected)}, found {brief(found)}")
        return number
