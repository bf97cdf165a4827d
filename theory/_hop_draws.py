"""Uniformly random strings, adjacent repeats allowed or not: what every other generator of k-hop strings starts from."""

import numpy as np
from jaxtyping import Int

from theory.shapes import checked_integer


def random_strings(
    vocab_size: int, seq_len: int, num_strings: int, *, repeats: bool, generator: np.random.Generator
) -> Int[np.ndarray, "num_strings seq_len"]:
    """`num_strings` strings of `seq_len` (N >= 1) symbols 0..`vocab_size` - 1, each uniform on all legal strings.

    With `repeats` symbols are independent and uniform. Without, no symbol equals the one before it: the first is uniform and
    each further one uniform among the others, the distribution of the experiments of Sanford, Hsu and Telgarsky 2024
    (Appendix G.1). Two symbols without repeats only alternate.

    Raises ValueError for sizes out of range, and for one symbol without repeats at N >= 2, where there is no such string.
    """
    vocab_size, seq_len = checked_integer("vocab_size", vocab_size, 1), checked_integer("seq_len", seq_len, 1)
    num_strings = checked_integer("num_strings", num_strings, 0)
    if repeats:
        return generator.integers(0, vocab_size, size=(num_strings, seq_len))
    if vocab_size == 1 and seq_len > 1:
        raise ValueError(f"vocab_size = 1: must be at least 2 for strings of {seq_len} symbols without adjacent repeats")
    first = generator.integers(0, vocab_size, size=(num_strings, 1))
    others = generator.integers(0, max(vocab_size - 1, 1), size=(num_strings, seq_len - 1))
    return without_repeats(first, others)


def without_repeats(
    first: Int[np.ndarray, "num_strings 1"], others: Int[np.ndarray, "num_strings rest"]
) -> Int[np.ndarray, "num_strings all"]:
    """The strings that start with `first` and go on with the r-th, from 0, of the symbols other than the one before."""
    symbols = np.concatenate([first, others], axis=1).astype(np.int64, copy=False)
    for place in range(1, symbols.shape[1]):
        symbols[:, place] += symbols[:, place] >= symbols[:, place - 1]
    return symbols


def all_strings(vocab_size: int, seq_len: int, *, repeats: bool) -> Int[np.ndarray, "num_strings seq_len"]:
    """Every string that `random_strings` can draw, once, in alphabetical order. ValueError as there, and beyond 2^62 of them."""
    vocab_size, seq_len = checked_integer("vocab_size", vocab_size, 1), checked_integer("seq_len", seq_len, 1)
    count = num_strings_of(vocab_size, seq_len, repeats=repeats)
    if count >= 2**62:
        raise ValueError(f"vocab_size = {vocab_size}, seq_len = {seq_len}: must have fewer than 2^62 strings, not {count}")
    codes = np.arange(count)
    symbols = np.empty((count, seq_len), dtype=np.int64)
    for place in range(seq_len - 1, 0, -1):
        codes, symbols[:, place] = np.divmod(codes, vocab_size if repeats else vocab_size - 1)
    symbols[:, 0] = codes
    return symbols if repeats else without_repeats(symbols[:, :1], symbols[:, 1:])


def num_strings_of(vocab_size: int, seq_len: int, *, repeats: bool) -> int:
    """How many strings there are: S^N, or S (S - 1)^(N - 1) without repeats."""
    return vocab_size * (vocab_size if repeats else vocab_size - 1) ** (seq_len - 1)


def string_of_family(
    family: str, entries: Int[np.ndarray, " seq_len"], turn: int, vocab_size: int
) -> Int[np.ndarray, " seq_len"]:
    """A string made from `entries` (0..vocab_size - 1) in a way of `theory.strategies.HOP_FAMILIES`; 1 <= `turn` <= N."""
    places, seq_len = np.arange(entries.size), entries.size
    if family == "constant":
        return np.full(seq_len, entries[0])
    if family == "periodic":
        return entries[places % turn]
    if family == "runs":
        return entries[places - places % turn]
    if family == "late":
        return np.where(places < seq_len - turn, entries[places % min(2, seq_len)], entries)
    if family == "mirror":
        return entries[np.minimum(places, seq_len - 1 - places)]
    if family == "far return":
        between = np.where(entries == entries[0], (entries + 1) % vocab_size, entries)
        between[[0, -1]] = entries[0]
        return between
    if family == "counting":
        return (entries[0] + places) % vocab_size
    return entries


def repaired(symbols: Int[np.ndarray, " seq_len"], vocab_size: int) -> Int[np.ndarray, " seq_len"]:
    """The string, from left to right every symbol that equals the one before it replaced by the next of the alphabet."""
    symbols = symbols.copy()
    for place in range(1, symbols.size):
        symbols[place] = (symbols[place] + (symbols[place] == symbols[place - 1])) % vocab_size
    return symbols
