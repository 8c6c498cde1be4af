"""How results show themselves: one line in a terminal, a table in a notebook, a frame where they are a table.

A result takes `Shown` or `ShownTable` as a base and says what its facts or its rows are:

    @dataclass(frozen=True, repr=False)  # a dataclass would write its own repr
    class Prediction(ShownTable):
        ...
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from moewright.foreign_text import to_html, visible
from moewright.quantities import format_count

if TYPE_CHECKING:
    import pandas as pd

LONGEST_TEXT_SHOWN = 60
MOST_ITEMS = 4
LONGEST_NUMBER = 10**7
"""From here on numbers have a letter: 38.51B."""
MOST_ROWS_SHOWN = 50
"""In HTML; `to_frame` has all."""


class Shown:
    """A result with a short repr and a small HTML table, both of its facts."""

    def _facts(self) -> Mapping[str, Any]:
        """What to show, by name: a handful of numbers and texts, the answer first."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={_coded(value)}' for name, value in self._facts().items())})"

    def __str__(self) -> str:
        return repr(self)

    def _repr_html_(self) -> str:
        rows = "".join(
            f'<tr><th style="text-align: left">{to_html(name)}</th><td>{to_html(_written(value))}</td></tr>'
            for name, value in self._facts().items()
        )
        return f"<table><caption>{to_html(type(self).__name__)}</caption>{rows}</table>"


class ShownTable(Shown):
    """A result that is a table: its facts in the repr, its rows in HTML and in a frame."""

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        """The rows, each by column name; not every row has every column."""
        raise NotImplementedError

    def to_frame(self) -> "pd.DataFrame":
        """The rows as a pandas DataFrame."""
        import pandas as pd

        return pd.DataFrame(list(self._rows()))

    def _repr_html_(self) -> str:
        rows = self._rows()
        columns = list(dict.fromkeys(name for row in rows for name in row))
        head = "".join(f"<th>{to_html(name)}</th>" for name in columns)
        body = "".join(
            f"<tr>{''.join(f'<td>{to_html(_written(row.get(name)))}</td>' for name in columns)}</tr>"
            for row in rows[:MOST_ROWS_SHOWN]
        )
        rest = f"<p>and {len(rows) - MOST_ROWS_SHOWN:,} more rows</p>" if len(rows) > MOST_ROWS_SHOWN else ""
        caption = f'<caption style="text-align: left">{to_html(repr(self))}</caption>'
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{rest}"


def _coded(value: Any) -> str:
    """A value in a repr: texts in quotes."""
    return repr(_short(value)) if isinstance(value, str) else str(value) if value is None else _written(value)


def _written(value: Any) -> str:
    """A value for people: numbers with four digits, long lists by their length, arrays by their shape."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if hasattr(value, "shape"):  # numpy's
        return _written(value.item()) if value.shape == () else f"{' x '.join(map(str, value.shape))} values"
    if isinstance(value, int | float):
        if LONGEST_NUMBER <= abs(value) < 1e16:
            return format_count(value)
        return f"{value:,}" if isinstance(value, int) and abs(value) < LONGEST_NUMBER else f"{value:.4g}"
    if isinstance(value, Mapping):
        return _few([f"{_short(str(key))}: {_written(item)}" for key, item in value.items()], "{}")
    if isinstance(value, list | tuple):
        return _few([_written(item) for item in value], "[]")
    return _short(str(value))


def _few(written: list[str], brackets: str) -> str:
    joined = f"{brackets[0]}{', '.join(written)}{brackets[1]}"
    return joined if len(written) <= MOST_ITEMS and len(joined) <= LONGEST_TEXT_SHOWN else f"{len(written)} items"


def _short(text: str) -> str:
    line = visible(" ".join(text.split()))
    return line if len(line) <= LONGEST_TEXT_SHOWN else f"{line[: LONGEST_TEXT_SHOWN - 3]}..."
