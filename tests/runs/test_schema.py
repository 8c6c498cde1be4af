from pathlib import Path

from moewright.runs.schema import SCHEMA, column_for

PAGE = Path(__file__).resolve().parents[2] / "docs" / "run_table.md"


def test_every_column_is_on_the_page_with_its_meaning() -> None:
    page = PAGE.read_text()
    for column in SCHEMA:
        assert f"| `{column.name}` | {column.kind} | {column.unit} | {column.meaning}" in page


def test_names_are_unique_and_losses_are_open_ended() -> None:
    assert len({column.name for column in SCHEMA}) == len(SCHEMA)
    pile = column_for("loss_pile")
    assert pile is not None
    assert pile.kind == "loss"
    assert column_for("my_own") is None
