"""Byte-pair encoding of bytes: the `tokenizers` library on text whose characters are the bytes.

Every byte is read as the character of the same number, so the 256 bytes are the first 256 tokens, nothing is unknown, and
decoding gives back the bytes whatever their encoding was.
"""

import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Where merges end: a word with the blank before it, a number, a run of other signs, white space up to the last blank before a
# word.
PIECES = r" ?[A-Za-z_\x80-\xff]+| ?[0-9]+| ?[^\sA-Za-z_0-9\x80-\xff]+|\s+(?=\S)|\s+"
BYTES = [chr(byte) for byte in range(256)]


def train_tokenizer(contents: list[bytes], vocab_size: int) -> "Tokenizer":
    """A tokenizer of exactly `vocab_size` tokens learned from the contents; ValueError where they offer fewer merges."""
    try:
        from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
    except ImportError:
        raise ValueError("tokens = 'bpe': needs the package tokenizers, which `pip install \"headcount[text]\"` brings") from None
    # The trainer numbers its alphabet in the order of the characters, so byte 0..255 is token 0..255; which is looked at below.
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(PIECES), "isolated")
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, min_frequency=2, show_progress=False, initial_alphabet=BYTES)
    tokenizer.train_from_iterator((content.decode("latin-1") for content in contents), trainer)
    learned = tokenizer.get_vocab_size()
    if learned != vocab_size:
        raise ValueError(f"vocab_size = {vocab_size}: must be at most {learned}, all that this text has merges for")
    vocabulary = tokenizer.get_vocab()
    if any(vocabulary.get(letter) != number for number, letter in enumerate(BYTES)):
        raise RuntimeError("the tokenizer does not number the bytes 0..255 first")
    return tokenizer


def tokenizer_digest(tokenizer: "Tokenizer") -> str:
    """SHA-256 of the merges in their order and of the rule of pieces."""
    model = json.loads(tokenizer.to_str())["model"]
    return hashlib.sha256(json.dumps([PIECES, model["merges"]]).encode()).hexdigest()


def encode_files(tokenizer: "Tokenizer", contents: list[bytes]) -> list[Int[np.ndarray, " tokens"]]:
    """The tokens of each content."""
    encoded = tokenizer.encode_batch_fast([content.decode("latin-1") for content in contents], add_special_tokens=False)
    return [np.asarray(one.ids, dtype=np.int32) for one in encoded]
