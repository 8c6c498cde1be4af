"""Results in a terminal, a notebook and a frame."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from moewright.display import MOST_ROWS_SHOWN, Shown, ShownTable
from moewright.records import Record


@dataclass(frozen=True, repr=False)
class Facts(Shown):
    facts: Mapping[str, Any]

    def _facts(self) -> Mapping[str, Any]:
        return self.facts


@dataclass(frozen=True, repr=False)
class Rows(ShownTable):
    rows: Sequence[Mapping[str, Any]]

    def _facts(self) -> Mapping[str, Any]:
        return {"rows": len(self.rows)}

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        return self.rows


def test_a_repr_is_one_short_line() -> None:
    shown = Facts({"name": "a\nb", "loss": 2.123456, "tokens": 2 * 10**12, "interval": (2.0, 2.5), "rest": None})
    assert repr(shown) == "Facts(name='a b', loss=2.123, tokens=2.000T, interval=[2, 2.5], rest=None)"
    assert repr(Facts({"draws": np.zeros((1000, 5)), "best": np.float64(0.5), "ok": True})) == (
        "Facts(draws=1000 x 5 values, best=0.5, ok=yes)"
    )


class Line(ShownTable, Record):
    loss: float

    def _facts(self) -> Mapping[str, Any]:
        return {"loss": self.loss}

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        return [self.to_dict()]


def test_a_record_shows_itself_like_any_result() -> None:
    line = Line(loss=2.5)
    assert repr(line) == str(line) == "Line(loss=2.5)"
    assert line.to_frame()["loss"].tolist() == [2.5]
    assert "<td>2.5</td>" in line._repr_html_()


values = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.floats()), st.just(np.ones((3, 4)))
)
facts = st.dictionaries(st.text(st.characters(codec="ascii", exclude_categories=["Cc"])), values, max_size=5)


@given(facts)
def test_whatever_the_facts_the_repr_is_a_line_and_the_html_is_whole(given: dict[str, Any]) -> None:
    assert "\n" not in repr(Facts({f"n{i}": value for i, value in enumerate(given.values())}))
    texts = {name: value for name, value in given.items() if not isinstance(value, str)}
    assert len(ElementTree.fromstring(Facts(texts)._repr_html_()).findall("tr")) == len(texts)


def test_html_is_escaped() -> None:
    for shown in (Facts({"<b>": "<script>"}), Rows([{"<b>": "<script>"}])):
        html = shown._repr_html_()
        assert "<script>" not in html
        assert "<b>" not in html


def test_a_table_has_every_row_in_the_frame_and_the_first_in_html() -> None:
    rows: list[dict[str, Any]] = [{"a": 1, "b": 0.1 + i} for i in range(MOST_ROWS_SHOWN + 5)] + [{"a": 2, "c": "x"}]
    table = Rows(rows)
    frame = table.to_frame()
    assert list(frame.columns) == ["a", "b", "c"]
    assert frame["b"].iloc[1] == rows[1]["b"]
    html = table._repr_html_()
    assert html.count("<tr>") == 1 + MOST_ROWS_SHOWN
    assert "and 6 more rows" in html
    assert len(Rows([]).to_frame()) == 0
