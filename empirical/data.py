"""Real inputs that need no download: Python's own standard library as text, and what is counted in it; scikit-learn's digits.

The text differs from one version of Python to the next, and between distributions of one version. So a corpus keeps the list of
its files and a digest, everything measured on it should carry the digest, and `require_same_corpus` refuses to compare across
digests.
"""

import hashlib
import platform
import re
import sysconfig
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Integer

from empirical._data_bpe import encode_files, tokenizer_digest, train_tokenizer
from empirical._data_files import CorpusFile, path_key, read_sources
from theory.shapes import checked_integer

__all__ = [
    "Corpus",
    "CorpusFile",
    "CorpusPart",
    "Split",
    "WordCounts",
    "bigram_matrix",
    "digits",
    "require_same_corpus",
    "stdlib_corpus",
    "token_counts",
    "word_counts",
]

BYTE_VOCABULARY = 256
DEFAULT_BPE_VOCABULARY = 1024
LARGEST_BIGRAM_VOCABULARY = 8192  # its matrix takes half a gigabyte
WORD = re.compile(rb"[A-Za-z_\x80-\xff][A-Za-z_0-9\x80-\xff]*")


class CorpusPart(NamedTuple):
    """Some files of a corpus: their tokens one file after the other, file i being tokens[offsets[i]:offsets[i + 1]]."""

    files: tuple[CorpusFile, ...]
    tokens: Integer[np.ndarray, " tokens"]
    offsets: Int[np.ndarray, " files_and_one"]

    @property
    def num_bytes(self) -> int:
        """The size of the files in bytes."""
        return sum(file.size for file in self.files)


class Split(NamedTuple):
    """A corpus in two parts that share no file."""

    training: CorpusPart
    validation: CorpusPart


@dataclass(frozen=True, eq=False)
class Corpus:
    """A text as tokens, with what it takes to tell it from another text.

    Attributes:
        files: in the order of the text.
        digest: SHA-256 over paths, sizes, contents and the way of cutting into tokens (merges included): what losses per token
            and numbers of tokens depend on.
        text_digest: the same without the tokens: equal for byte and BPE tokens of one text.
        python_version: of the interpreter that read the files; for its own standard library that of the text.
        tokens: (num_tokens,), uint16, or int32 where the vocabulary asks for it; all files one after the other.
        vocab_size: tokens are 0..vocab_size - 1. The first 256 are the bytes.
        tokens_per_byte: 1 for byte tokens, less for BPE; nats per token times this is nats per byte.
        offsets: (num_files + 1,), where each file's tokens begin, and the end.
        tokenizer: "bytes" or "bpe".
        content: the text.
    """

    files: tuple[CorpusFile, ...]
    digest: str
    text_digest: str
    python_version: str
    tokens: Integer[np.ndarray, " tokens"] = field(repr=False)
    vocab_size: int
    tokens_per_byte: float
    offsets: Int[np.ndarray, " files_and_one"] = field(repr=False)
    tokenizer: str
    content: bytes = field(repr=False)

    def part(self, numbers: Iterable[int]) -> CorpusPart:
        """The files of these numbers, in that order."""
        chosen = list(numbers)
        pieces = [self.tokens[self.offsets[number] : self.offsets[number + 1]] for number in chosen]
        offsets = np.array([0, *accumulate(len(piece) for piece in pieces)], dtype=np.int64)
        tokens = np.concatenate(pieces) if pieces else self.tokens[:0]
        return CorpusPart(tuple(self.files[number] for number in chosen), tokens, offsets)

    def split(self, validation_share: float = 0.05) -> Split:
        """Whole files for validation, at most that share of the bytes (at least one file), and all others for training.

        Files are drawn in an order that depends on their paths alone; one that would go beyond the share is passed over, so a
        file larger than the share never is in the validation part. Within both parts the corpus' order stays. Raises ValueError
        for a share outside (0, 1) and a corpus of one file.
        """
        if not 0 < validation_share < 1:
            raise ValueError(f"validation_share = {validation_share!r}: must be above 0 and below 1")
        if len(self.files) < 2:
            raise ValueError("the corpus has one file: a split by file needs at least 2")
        room = validation_share * sum(file.size for file in self.files)
        drawn = sorted(range(len(self.files)), key=lambda number: path_key("validation", self.files[number].path))
        held_out: set[int] = set()
        for number in drawn:
            if self.files[number].size <= room:
                room -= self.files[number].size
                held_out.add(number)
        held_out = held_out or {min(drawn, key=lambda number: self.files[number].size)}
        everything = range(len(self.files))
        return Split(self.part(i for i in everything if i not in held_out), self.part(i for i in everything if i in held_out))


def stdlib_corpus(
    *,
    tokens: Literal["bytes", "bpe"] = "bytes",
    vocab_size: int | None = None,
    folder: str | Path | None = None,
    limit_bytes: int | None = None,
) -> Corpus:
    """The sources of Python's standard library (or of `folder`) as one text, without tests and machine-specific files.

    Bytes are taken as they are, whatever encoding a file is in. Files come in a fixed order that is unrelated to their names, so
    that the beginning of the text is a sample of it; with `limit_bytes` whole files are taken in that order as long as they fit.
    Nothing is put between files.

    `tokens` "bytes": 256 tokens. "bpe": byte-pair encoding with `vocab_size` tokens (1024 unless given, at least 257), learned
    from this very text, validation files included, by the package tokenizers; merges stay within words, numbers, runs of signs
    and runs of white space.

    Raises ValueError for other values of `tokens` and `vocab_size`, a folder that is none or holds no source, a file that cannot
    be read, a limit that no file fits into, and where the package tokenizers is missing.
    """
    if tokens not in ("bytes", "bpe"):
        raise ValueError(f"tokens = {tokens!r}: must be 'bytes' or 'bpe'")
    if tokens == "bytes":
        if vocab_size not in (None, BYTE_VOCABULARY):
            raise ValueError(f"vocab_size = {vocab_size!r}: must be None or 256 for byte tokens")
        size = BYTE_VOCABULARY
    else:
        size = checked_integer("vocab_size", DEFAULT_BPE_VOCABULARY if vocab_size is None else vocab_size, BYTE_VOCABULARY + 1)
    limit = None if limit_bytes is None else checked_integer("limit_bytes", limit_bytes, 1)
    place = Path(sysconfig.get_path("stdlib") if folder is None else folder)
    if not place.is_dir():
        raise ValueError(f"folder = {str(place)!r}: must be a folder of Python sources")
    files, content = read_sources(place, limit)
    listing = "".join(f"{file.path}\0{file.size}\0{file.sha256}\n" for file in files)
    text_digest = hashlib.sha256(listing.encode(errors="surrogateescape"))
    ends = list(accumulate(file.size for file in files))
    if tokens == "bytes":
        numbers: Integer[np.ndarray, " tokens"] = np.frombuffer(content, dtype=np.uint8).astype(np.uint16)
        lengths = [file.size for file in files]
        way = "bytes"
    else:
        contents = [content[end - file.size : end] for end, file in zip(ends, files, strict=True)]
        tokenizer = train_tokenizer(contents, size)
        encoded = encode_files(tokenizer, contents)
        numbers = np.concatenate(encoded).astype(np.uint16 if size <= 1 << 16 else np.int32)
        lengths = [len(one) for one in encoded]
        way = f"bpe {tokenizer_digest(tokenizer)}"
    numbers.setflags(write=False)
    return Corpus(
        files=tuple(files),
        digest=hashlib.sha256(f"{text_digest.hexdigest()} {way}".encode()).hexdigest(),
        text_digest=text_digest.hexdigest(),
        python_version=platform.python_version(),
        tokens=numbers,
        vocab_size=size,
        tokens_per_byte=len(numbers) / len(content),
        offsets=np.array([0, *accumulate(lengths)], dtype=np.int64),
        tokenizer=tokens,
        content=content,
    )


def require_same_corpus(first: Corpus | str, second: Corpus | str) -> None:
    """Nothing, where both have the same digest (corpora, or digests as text); ValueError otherwise: losses do not compare."""
    digests = [one if isinstance(one, str) else one.digest for one in (first, second)]
    if digests[0] == digests[1]:
        return
    why = "other files or contents, or other tokens"
    if isinstance(first, Corpus) and isinstance(second, Corpus):
        same_text = first.text_digest == second.text_digest
        why = "the same text cut into other tokens" if same_text else _difference(first.files, second.files)
    raise ValueError(f"corpora {digests[0][:12]} and {digests[1][:12]} differ ({why}): measurements on them do not compare")


def _difference(first: tuple[CorpusFile, ...], second: tuple[CorpusFile, ...]) -> str:
    hashes = [{file.path: file.sha256 for file in files} for files in (first, second)]
    shared = hashes[0].keys() & hashes[1].keys()
    changed = sum(hashes[0][path] != hashes[1][path] for path in shared)
    own = [len(files) - len(shared) for files in (first, second)]
    return f"{own[0]} files only in the first, {own[1]} only in the second, {changed} changed"


def token_counts(tokens: Integer[np.ndarray, " tokens"], vocab_size: int) -> Int[np.ndarray, " vocab_size"]:
    """How often each of 0..vocab_size - 1 occurs. Raises ValueError for a token outside."""
    size = checked_integer("vocab_size", vocab_size, 1)
    _require_tokens(tokens, size)
    return np.bincount(tokens, minlength=size).astype(np.int64)


def bigram_matrix(tokens: Integer[np.ndarray, " tokens"], vocab_size: int) -> Int[np.ndarray, "vocab_size vocab_size"]:
    """How often token i is followed by token j, in row i and column j; pairs across file borders are among them.

    Raises ValueError for a token outside 0..vocab_size - 1, and a vocabulary above 8192 (half a gigabyte).
    """
    size = checked_integer("vocab_size", vocab_size, 1)
    if size > LARGEST_BIGRAM_VOCABULARY:
        raise ValueError(f"vocab_size = {size}: must be at most {LARGEST_BIGRAM_VOCABULARY} for a dense matrix of bigrams")
    _require_tokens(tokens, size)
    pairs = tokens[:-1].astype(np.int64) * size + tokens[1:]
    return np.bincount(pairs, minlength=size * size).reshape(size, size).astype(np.int64)


def _require_tokens(tokens: Integer[np.ndarray, " tokens"], vocab_size: int) -> None:
    if tokens.size and not 0 <= int(tokens.min()) <= int(tokens.max()) < vocab_size:
        raise ValueError(f"tokens: must be in 0..{vocab_size - 1}, has {int(tokens.min())}..{int(tokens.max())}")


@dataclass(frozen=True, eq=False)
class WordCounts:
    """How often each word occurs, in all and in two halves of the files.

    Attributes:
        words: in the order of their bytes.
        halves: (2, num_words): counts in the files with even and with odd numbers. Halves by file are what a split-half check of
            a text wants: a word that one file uses all the time is frequent in one half only, as it would be in another text.
    """

    words: tuple[bytes, ...] = field(repr=False)
    halves: Int[np.ndarray, "2 num_words"] = field(repr=False)

    @property
    def counts(self) -> Int[np.ndarray, " num_words"]:
        """In all files; at least 1 each."""
        return self.halves.sum(axis=0)


def word_counts(corpus: Corpus) -> WordCounts:
    """Counts of words: longest runs of letters, digits and underscores that do not begin with a digit (names, for source text).

    Every byte above 127 counts as a letter, so a letter outside ASCII stays in its word in any encoding.
    """
    halves: tuple[Counter[bytes], Counter[bytes]] = (Counter(), Counter())
    end = 0
    for number, file in enumerate(corpus.files):
        halves[number % 2].update(WORD.findall(corpus.content, end, end + file.size))
        end += file.size
    words = tuple(sorted(halves[0].keys() | halves[1].keys()))
    return WordCounts(words, np.array([[half[word] for word in words] for half in halves], dtype=np.int64).reshape(2, len(words)))


def digits() -> Float[np.ndarray, "images pixels"]:
    """scikit-learn's hand-written digits: 1797 images of 8 x 8 pixels with values 0..16, one image per row.

    Raises ValueError where scikit-learn is missing.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise ValueError("digits: needs the package scikit-learn, which `pip install scikit-learn` brings") from None
    return np.asarray(load_digits().data, dtype=np.float64)
