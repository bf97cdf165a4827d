"""Corpora that can be told apart: which files, which bytes, which tokens; and what is counted in them."""

import os
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from empirical._data_bpe import encode_files, train_tokenizer
from empirical.data import (
    Corpus,
    bigram_matrix,
    digits,
    require_same_corpus,
    stdlib_corpus,
    token_counts,
    word_counts,
)

LATIN = "gr\xfc\xdfe = 'caf\xe9'\n".encode("latin-1")
BAD = b"# \xff\xfe\x00 bytes of no encoding\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small standard library with everything that does not belong."""
    sources = {
        "abc.py": b"def abstract(method):\n    return method\n" * 20,
        "json/decoder.py": b"def decode(text):\n    return text\n" * 30,
        "json/encoder.py": LATIN * 10,
        "json/__init__.py": b"",
        "odd.py": BAD,
        "zoo.py": b"def method(text):\n    return decode(text)\n" * 25,
        "test/test_abc.py": b"assert 1\n",
        "json/tests/test_json.py": b"assert 2\n",
        "idlelib/idle_test/mock.py": b"assert 3\n",
        "site-packages/numpy.py": b"import me\n",
        "__pycache__/abc.py": b"cached = 1\n",
        "_sysconfigdata__linux.py": b"build_time_vars = {}\n",
        "config-3.11/python-config.py": b"prefix = '/home'\n",
        "sitecustomize.py": b"local = 1\n",
        ".hidden.py": b"hidden = 1\n",
        "README.txt": b"no source\n",
    }
    for name, content in sources.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path


KEPT = {"abc.py", "json/decoder.py", "json/encoder.py", "odd.py", "zoo.py"}


def test_the_text_is_the_bytes_of_the_files_that_belong(folder: Path) -> None:
    corpus = stdlib_corpus(folder=folder)
    assert {file.path for file in corpus.files} == KEPT
    assert bytes(corpus.tokens.astype(np.uint8)) == b"".join((folder / file.path).read_bytes() for file in corpus.files)
    assert corpus.tokens.dtype == np.uint16 and corpus.vocab_size == 256 and corpus.tokens_per_byte == 1
    ends = np.cumsum([file.size for file in corpus.files])
    np.testing.assert_array_equal(corpus.offsets, [0, *ends])


def test_the_corpus_is_the_same_wherever_it_lies(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("elsewhere")
    for name in sorted(KEPT, reverse=True):  # another order of creation
        (other / name).parent.mkdir(parents=True, exist_ok=True)
        (other / name).write_bytes((folder / name).read_bytes())
    first, second = stdlib_corpus(folder=folder), stdlib_corpus(folder=other)
    assert first.files == second.files
    require_same_corpus(first, second)
    require_same_corpus(first.digest, second)


def test_a_folder_that_cannot_be_read_is_refused_and_not_left_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def guarded(place):
        if Path(place).name in ("json", "test"):  # the second is not wanted, so nobody looks into it
            raise PermissionError(13, "Permission denied", str(place))
        return scandir(place)

    monkeypatch.setattr(os, "scandir", guarded)
    with pytest.raises(ValueError, match=r"json cannot be read \(Permission denied\)") as caught:
        stdlib_corpus(folder=folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "content", "told"), [
    ("zoo.py", b"x = 1\n", "0 files only in the first, 0 only in the second, 1 changed"),
    ("new.py", b"x = 1\n", "0 files only in the first, 1 only in the second, 0 changed"),
])  # fmt: skip
def test_another_text_is_refused(folder: Path, name: str, content: bytes, told: str) -> None:
    before = stdlib_corpus(folder=folder)
    (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=told):
        require_same_corpus(before, stdlib_corpus(folder=folder))


def test_a_moved_file_and_a_shifted_border_are_other_texts(folder: Path) -> None:
    before = stdlib_corpus(folder=folder)
    (folder / "zoo.py").rename(folder / "zoologist.py")
    assert stdlib_corpus(folder=folder).text_digest != before.text_digest


def test_other_tokens_of_one_text_are_refused_and_named(folder: Path) -> None:
    first, second = stdlib_corpus(folder=folder), stdlib_corpus(folder=folder, tokens="bpe", vocab_size=280)
    assert first.text_digest == second.text_digest
    with pytest.raises(ValueError, match="the same text cut into other tokens"):
        require_same_corpus(first, second)
    with pytest.raises(ValueError, match="do not compare"):
        require_same_corpus(first.digest, second.digest)


def test_byte_pairs_give_back_the_bytes_and_come_out_the_same(folder: Path) -> None:
    contents = [(folder / name).read_bytes() for name in sorted(KEPT)]
    tokenizer = train_tokenizer(contents, 290)
    decoded = ["".join(tokenizer.id_to_token(int(token)) for token in one) for one in encode_files(tokenizer, contents)]
    assert [text.encode("latin-1") for text in decoded] == contents
    first, second = (stdlib_corpus(folder=folder, tokens="bpe", vocab_size=290) for _ in range(2))
    require_same_corpus(first, second)
    np.testing.assert_array_equal(first.tokens, second.tokens)
    assert first.tokens_per_byte == len(first.tokens) / len(first.content) < 0.6
    assert first.tokens.max() >= 256


def test_a_split_by_file_shares_no_file_and_stays_the_same(folder: Path) -> None:
    corpus = stdlib_corpus(folder=folder)
    split, again = corpus.split(0.4), corpus.split(0.4)
    assert [file.path for file in split.validation.files] == [file.path for file in again.validation.files]
    assert {file.path for part in split for file in part.files} == KEPT
    assert len(split.training.files) + len(split.validation.files) == len(KEPT)
    assert 0 < split.validation.num_bytes <= 0.4 * len(corpus.content)
    for part in split:
        texts = [(folder / file.path).read_bytes() for file in part.files]
        assert bytes(part.tokens.astype(np.uint8)) == b"".join(texts)
        for number, text in enumerate(texts):
            piece = part.tokens[part.offsets[number] : part.offsets[number + 1]]
            assert bytes(piece.astype(np.uint8)) == text


def test_a_share_that_no_file_fits_into_takes_the_smallest(folder: Path) -> None:
    assert [file.path for file in stdlib_corpus(folder=folder).split(1e-9).validation.files] == ["odd.py"]


@pytest.mark.parametrize("share", [0.0, 1.0, float("nan"), -1.0])
def test_shares_outside_are_refused(folder: Path, share: float) -> None:
    with pytest.raises(ValueError, match="validation_share"):
        stdlib_corpus(folder=folder).split(share)


@pytest.fixture(scope="module")
def library() -> Corpus:
    """Some of the real one."""
    return stdlib_corpus(limit_bytes=300_000)


def test_a_limit_takes_whole_files_in_a_fixed_order(library: Corpus) -> None:
    assert 250_000 < len(library.content) <= 300_000
    # Files of all letters, not the first ones of the alphabet.
    assert len({file.path[0] for file in library.files}) > 5
    assert not any("test" in file.path.split("/")[:-1] or "site-packages" in file.path for file in library.files)


def test_the_library_counts_as_its_words_say(library: Corpus) -> None:
    counted = word_counts(library)
    by_word = dict(zip(counted.words, counted.counts.tolist(), strict=True))
    assert by_word[b"self"] > by_word[b"import"] > 20
    assert counted.counts.min() >= 1 and counted.halves.shape == (2, len(counted.words))


def test_halves_of_words_are_those_of_files(folder: Path) -> None:
    corpus = stdlib_corpus(folder=folder)
    counted = word_counts(corpus)
    # "decode" 30 times in decoder.py and 25 times in zoo.py
    at = counted.words.index(b"decode")
    numbers = {file.path: number % 2 for number, file in enumerate(corpus.files)}
    expected = [0, 0]
    expected[numbers["json/decoder.py"]] += 30
    expected[numbers["zoo.py"]] += 25
    assert counted.halves[:, at].tolist() == expected
    assert counted.words.count("gr\xfc\xdfe".encode("latin-1")) == 1


@settings(max_examples=25)
@given(st.lists(st.integers(0, 4), max_size=30))
def test_counts_and_pairs_are_what_a_loop_counts(tokens: list[int]) -> None:
    array = np.array(tokens, dtype=np.uint16)
    assert token_counts(array, 5).tolist() == [tokens.count(token) for token in range(5)]
    pairs = Counter(pairwise(tokens))
    table = bigram_matrix(array, 5)
    assert all(table[i, j] == pairs[i, j] for i in range(5) for j in range(5))


@pytest.mark.parametrize("count", [token_counts, bigram_matrix])
def test_tokens_outside_the_vocabulary_are_refused(count) -> None:
    with pytest.raises(ValueError, match=r"must be in 0\.\.3, has 1\.\.4"):
        count(np.array([1, 4]), 4)


def test_digits_are_the_images() -> None:
    images = digits()
    assert images.shape == (1797, 64) and images.min() == 0 and images.max() == 16


@pytest.mark.parametrize(
    ("package", "call"), [("tokenizers", lambda: stdlib_corpus(tokens="bpe", limit_bytes=50_000)), ("sklearn.datasets", digits)]
)
def test_a_missing_package_is_named(package: str, call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError, match="pip install"):
        call()


@pytest.mark.bad_input
@pytest.mark.parametrize(("arguments", "told"), [
    ({"tokens": "words"}, "tokens = 'words'"),
    ({"vocab_size": 300}, "vocab_size = 300"),
    ({"tokens": "bpe", "vocab_size": 256}, "vocab_size = 256"),
    ({"tokens": "bpe", "vocab_size": 100_000}, "vocab_size = 100000: must be at most"),
    ({"limit_bytes": 0}, "limit_bytes = 0"),
    ({"limit_bytes": 5}, "of at most 5 bytes"),
    ({"folder": "/nowhere"}, "must be a folder"),
])  # fmt: skip
def test_bad_arguments_are_refused_in_one_line(folder: Path, arguments: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told) as caught:
        stdlib_corpus(**({"folder": folder} | arguments))
    assert "\n" not in str(caught.value)


def test_a_corpus_of_one_file_cannot_be_split(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_bytes(b"x = 1\n")
    with pytest.raises(ValueError, match="one file"):
        stdlib_corpus(folder=tmp_path).split()
