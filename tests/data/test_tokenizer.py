"""Byte-level BPE: any text comes back; separators in a text are text; the same texts give the same tokenizer."""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moewright.data.tokenizer import END_OF_TEXT, Tokenizer, load_tokenizer, train_tokenizer
from moewright.errors import UserError

CHAPTERS = Path("examples/data/moby-dick.txt")


@pytest.fixture(scope="module")
def chapters() -> list[str]:
    return (Path(__file__).parents[2] / CHAPTERS).read_text(encoding="utf-8").split(END_OF_TEXT)[:10]


@pytest.fixture(scope="module")
def trained(chapters: list[str]) -> Tokenizer:
    return train_tokenizer(chapters, 400)


@given(texts=st.lists(st.text() | st.text(alphabet="<|endoftx> \r\n\t"), max_size=5))
@settings(max_examples=200, deadline=None)
def test_any_text_comes_back(trained: Tokenizer, texts: list[str]) -> None:
    for text, tokens in zip(texts, trained.encode(texts), strict=True):
        assert trained.decode(tokens) == text
        assert trained.end_of_document not in tokens
        assert not len(tokens) or 0 <= tokens.min() <= tokens.max() < trained.vocab_size


def test_a_written_separator_does_not_end_a_document(trained: Tokenizer, tmp_path: Path) -> None:
    trained.save(tmp_path / "tokenizer.json")
    loaded = load_tokenizer(tmp_path / "tokenizer.json")
    for tokenizer in (trained, loaded):
        (tokens,) = tokenizer.encode([f"a{END_OF_TEXT}b"])
        assert tokenizer.end_of_document not in tokens
        assert tokenizer.decode(np.append(tokens, tokenizer.end_of_document)) == f"a{END_OF_TEXT}b{END_OF_TEXT}"


def test_training_does_not_depend_on_order(trained: Tokenizer, chapters: list[str]) -> None:
    shuffled = chapters[:]
    random.Random(1).shuffle(shuffled)
    assert train_tokenizer(shuffled, 400).backend.to_str() == trained.backend.to_str()
    assert trained.vocab_size == 400
    assert trained.dtype == "uint16"


def wordlevel(path: Path, *tokens: str) -> Path:
    """A tokenizer.json of whole words that adds a token before each text, as Llama's does."""
    from tokenizers import Tokenizer as Backend
    from tokenizers import models, pre_tokenizers, processors

    backend = Backend(models.WordLevel({token: index * 70_000 for index, token in enumerate(tokens)}, unk_token="?"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(single="? $A", special_tokens=[("?", 0)])
    backend.enable_truncation(2)
    backend.enable_padding()
    backend.save(str(path))
    return path


def test_a_given_tokenizer_neither_adds_nor_cuts(tmp_path: Path) -> None:
    loaded = load_tokenizer(wordlevel(tmp_path / "tokenizer.json", "?", "</s>", "call"))
    assert [tokens.tolist() for tokens in loaded.encode(["call", "call call call"])] == [[140_000], [140_000] * 3]
    assert (loaded.vocab_size, loaded.dtype, loaded.end_of_document) == (140_001, "uint32", 70_000)
    assert load_tokenizer(tmp_path / "tokenizer.json", "call").end_of_document == 140_000


def test_bad_tokenizers(tmp_path: Path, chapters: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "no.json").write_text("{}")
    path = wordlevel(tmp_path / "endless.json", "?", "call")
    wrong: dict[str, Callable[[], object]] = {
        "absent.json: cannot be read": lambda: load_tokenizer(tmp_path / "absent.json"),
        "no.json: not a Hugging Face tokenizer.json": lambda: load_tokenizer(tmp_path / "no.json"),
        "endless.json: has none of <|endoftext|>": lambda: load_tokenizer(path),
        "end-of-document: '<end>' is not a token": lambda: load_tokenizer(path, "<end>"),
        "vocab-size: 256 is too small": lambda: train_tokenizer(chapters, 256),
        "vocab-size: the text has pairs for 260 tokens": lambda: train_tokenizer(["abc abc"], 1000),
    }
    for said, make in wrong.items():
        with pytest.raises(UserError) as complaint:
            make()
        assert said in str(complaint.value)
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(UserError, match=r'pip install "moewright\[lab\]"'):
        train_tokenizer(chapters, 400)
