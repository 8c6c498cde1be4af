"""Text to tokens and back: a Hugging Face tokenizer.json, or a byte-level BPE trained on the spot."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from moewright.errors import UserError, needs_the_lab
from moewright.files import read_text, write_text
from moewright.quantities import brief
from moewright.records import LARGEST_SIZE

if TYPE_CHECKING:
    import tokenizers

END_OF_TEXT = "<|endoftext|>"
"""GPT-2's separator of documents; ours too."""
# What ends a document in the tokenizers of, in turn: GPT-2, OLMo, Qwen, GPT-NeoX; Llama 3; Llama 2, Mistral, T5; Gemma;
# DeepSeek.
_USUAL_ENDS = (END_OF_TEXT, "<|end_of_text|>", "</s>", "<eos>", "<｜end▁of▁sentence｜>")
LARGEST_TOKENIZER = 256 * 2**20
"""Bytes; that of 262 thousand tokens (Gemma 3) has 33 million."""
# 256 bytes and the separator: below that there is no text that byte-level BPE could not fail on.
SMALLEST_VOCABULARY = 257


@dataclass(frozen=True)
class Tokenizer:
    """A tokenizer and the token that ends a document."""

    backend: tokenizers.Tokenizer
    end_of_document: int

    @property
    def vocab_size(self) -> int:
        """One more than the largest token; vocabularies may have gaps."""
        return max(self.backend.get_vocab(with_added_tokens=True).values()) + 1

    @property
    def dtype(self) -> Literal["uint16", "uint32"]:
        """The smaller of uint16 and uint32 that holds every token."""
        return "uint16" if self.vocab_size <= 2**16 else "uint32"

    def encode(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        """Tokens of each text, int64 (length,), without any that the tokenizer would put around it.

        A separator written out in a text is text like any other: only whoever joins documents ends them.
        """
        return [np.array(found.ids, np.int64) for found in self.backend.encode_batch_fast(texts, False, False)]

    def decode(self, tokens: NDArray[np.int64]) -> str:
        """The text of tokens (length,), separators included."""
        return self.backend.decode(tokens.tolist(), skip_special_tokens=False)

    def save(self, path: Path) -> None:
        """Write tokenizer.json."""
        # Not by the library, whose error for a full disk is a bare Exception.
        write_text(path, self.backend.to_str(pretty=True))


def load_tokenizer(path: Path, end_of_document: str | None = None) -> Tokenizer:
    """A tokenizer.json; `end_of_document` names its token if it is none of the usual ones.

    Raises UserError if the file is no tokenizer or lacks the token.
    """
    library = _library()
    text = read_text(path, LARGEST_TOKENIZER)
    try:
        backend = library.Tokenizer.from_str(text)
    except Exception as error:  # the library raises bare Exception for whatever it cannot parse
        raise UserError(f"{path}: not a Hugging Face tokenizer.json: {error}") from None
    backend.encode_special_tokens = True
    backend.no_padding()
    backend.no_truncation()
    wanted = (end_of_document,) if end_of_document is not None else _USUAL_ENDS
    found = next((token for token in map(backend.token_to_id, wanted) if token is not None), None)
    if found is None and end_of_document is not None:
        raise UserError(f"end-of-document: {brief(end_of_document)} is not a token of {path}")
    if found is None:
        usual = ", ".join(_USUAL_ENDS)
        raise UserError(f"{path}: has none of {usual}; name the token that ends a document with --end-of-document")
    return Tokenizer(backend, found)


def check_vocab_size(vocab_size: int) -> None:
    """What can be known before the text is read: UserError if the vocabulary is too small or the package missing."""
    if vocab_size < SMALLEST_VOCABULARY:
        raise UserError(f"vocab-size: {vocab_size} is too small; 256 bytes and {END_OF_TEXT} are {SMALLEST_VOCABULARY}")
    if vocab_size > LARGEST_SIZE:
        raise UserError(f"vocab-size: {brief(vocab_size)} is too large; at most {LARGEST_SIZE:,}")
    _library()


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """A byte-level BPE of exactly vocab_size tokens, split into words as GPT-2's; token 0 is `<|endoftext|>`.

    Any text survives a round trip. The same texts give the same tokenizer, in any order.

    Raises UserError if vocab_size is below 257 or more than the texts have pairs to merge for.
    """
    check_vocab_size(vocab_size)
    library = _library()
    byte_level = library.pre_tokenizers.ByteLevel
    backend = library.Tokenizer(library.models.BPE())
    backend.pre_tokenizer = byte_level(add_prefix_space=False)
    backend.decoder = library.decoders.ByteLevel()
    trainer = library.trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(byte_level.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    if backend.get_vocab_size() < vocab_size:
        raise UserError(f"vocab-size: the text has pairs for {backend.get_vocab_size():,} tokens; ask for at most that")
    backend.encode_special_tokens = True
    return Tokenizer(backend, backend.token_to_id(END_OF_TEXT))


def _library() -> Any:  # a module, loaded when first needed
    try:
        import tokenizers
    except ModuleNotFoundError as error:
        raise needs_the_lab(error) from None
    return tokenizers
