"""Rows of token numbers as every kind of task needs them: read, checked, told apart, drawn at random."""

from math import log2
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped

from theory.shapes import checked_integer

MAX_TABLE_BYTES = 2 * 1024**3
"""`complete` and `random` refuse tables whose T0 (S + 1) 64-bit entries take more than this (2 GiB)."""

MAX_VOCAB_SIZE = 2**31
"""Largest legal N; keeps token numbers within 32 bits, whatever reads them later."""


def checked_vocab_size(vocab_size: int) -> int:
    vocab_size = checked_integer("vocab_size", vocab_size, 2)
    if vocab_size > MAX_VOCAB_SIZE:
        raise ValueError(f"vocab_size = {vocab_size}: must be at most {MAX_VOCAB_SIZE}")
    return vocab_size


def checked_sequences(sequences: object, vocab_size: int) -> Int[np.ndarray, "rows seq_len"]:
    """`sequences` as int64 (T0, S), T0 >= 1, S >= 1, all tokens below N, no sequence twice; ValueError otherwise."""
    rows = integer_array("sequences", sequences, 2)
    if rows.shape[0] < 1 or rows.shape[1] < 1:
        raise ValueError(f"sequences has shape {rows.shape}: must be (T0, S) with T0 >= 1 and S >= 1")
    check_tokens("sequences", rows, vocab_size)
    rows = rows.astype(np.int64, copy=False)
    repeated = first_repeat(rows, vocab_size)
    if repeated is not None:
        row, earlier = repeated
        raise ValueError(f"sequences[{row}] = {rows[row].tolist()}: must be distinct, but repeats sequences[{earlier}]")
    return rows


def check_tokens(name: str, entries: Shaped[np.ndarray, "..."], vocab_size: int) -> None:
    """ValueError, naming the first row that has it, when an entry is no token in [0, N)."""
    row = first_row_outside(entries, vocab_size)
    if row is not None:
        value = entries[row].tolist()
        raise ValueError(f"{name}[{row}] = {value}: must lie between 0 and vocab_size - 1 = {vocab_size - 1}")


def integer_array(name: str, values: object, ndim: int) -> Shaped[np.ndarray, "..."]:
    legal = f"must be a {ndim}-dimensional array of integers"
    try:
        found = np.asarray(values)
    except (ValueError, TypeError, OverflowError):
        raise ValueError(f"{name}: {legal}, with rows of equal length") from None
    if found.ndim != ndim:
        raise ValueError(f"{name} has shape {found.shape}: {legal}")
    if not np.issubdtype(found.dtype, np.integer):
        raise ValueError(f"{name} has dtype {found.dtype}: {legal} that fit in 64 bits")
    return found


def frozen(values: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "..."]:
    """A copy that nothing can write to."""
    # Backed by bytes, so that not even setflags can make it writeable again.
    return np.frombuffer(values.tobytes(), dtype=values.dtype).reshape(values.shape)


def first_row_outside(entries: Shaped[np.ndarray, "..."], size: int) -> int | None:
    if int(entries.min()) >= 0 and int(entries.max()) < size:
        return None
    bad = (entries < 0) | (entries >= size)
    return int(np.argmax(bad.reshape(len(bad), -1).any(axis=1)))


def _codes_fit(vocab_size: int, seq_len: int) -> bool:
    """Whether every sequence has its own number below 2^62, read as digits in base N."""
    return seq_len * log2(vocab_size) < 62


def rows_from_codes(codes: Int[np.ndarray, " rows"], vocab_size: int, seq_len: int) -> Int[np.ndarray, "rows seq_len"]:
    rows = np.empty((codes.size, seq_len), dtype=np.int64)
    for column in range(seq_len - 1, -1, -1):
        codes, rows[:, column] = np.divmod(codes, vocab_size)
    return rows


def _order_and_repeats(
    rows: Int[np.ndarray, "rows columns"], size: int
) -> tuple[Int[np.ndarray, " rows"], np.ndarray[Any, np.dtype[np.bool_]]]:
    """A stable sort of the rows (entries in [0, size)) and, per sorted row but the first: equal to the one before?"""
    if _codes_fit(size, rows.shape[1]):
        codes = np.zeros(rows.shape[0], dtype=np.int64)
        for column in range(rows.shape[1]):
            codes = codes * size + rows[:, column]
        order = np.argsort(codes, kind="stable")
        return order, np.diff(codes[order]) == 0
    order = np.lexsort(rows.T[::-1])
    ordered = rows[order]
    return order, (ordered[1:] == ordered[:-1]).all(axis=1)


def first_repeat(rows: Int[np.ndarray, "rows columns"], size: int) -> tuple[int, int] | None:
    """The first row that occurred before, and where it first occurred; None when all rows are distinct."""
    order, repeats = _order_and_repeats(rows, size)
    if not repeats.any():
        return None
    later, earlier = order[1:][repeats], order[:-1][repeats]
    first = int(np.argmin(later))
    return int(later[first]), int(earlier[first])


def first_occurrences(rows: Int[np.ndarray, "rows columns"], size: int) -> Int[np.ndarray, " distinct"]:
    order, repeats = _order_and_repeats(rows, size)
    return np.sort(np.delete(order, np.flatnonzero(repeats) + 1))


def check_table_size(
    vocab_size: int, seq_len: int, wanted: int | None, argument: str = "num_associations", columns: int = 1
) -> None:
    """ValueError when a table of `wanted` sequences (None: all N^S), S + `columns` numbers each, is beyond MAX_TABLE_BYTES."""
    limit = f"the table must fit in {MAX_TABLE_BYTES // 1024**3} GiB of 64-bit entries"
    if wanted is None:
        if seq_len * log2(vocab_size) > 62 or vocab_size**seq_len * (seq_len + columns) * 8 > MAX_TABLE_BYTES:
            power = f"all {vocab_size}^{seq_len} sequences"
            raise ValueError(f"vocab_size = {vocab_size}, seq_len = {seq_len}: {power} are too many, {limit}")
    elif wanted * (seq_len + columns) * 8 > MAX_TABLE_BYTES:
        raise ValueError(f"{argument} = {wanted}, seq_len = {seq_len}: too many entries, {limit}")


def random_rows(
    vocab_size: int, seq_len: int, wanted: int, rng: np.random.Generator, argument: str
) -> Int[np.ndarray, "rows seq_len"]:
    """`wanted` distinct sequences, drawn uniformly without replacement from the N^S, in random order.

    Raises ValueError, blaming `argument`, when there are not so many; check the table's size before.
    """
    few_sequences = _codes_fit(vocab_size, seq_len)
    if few_sequences and wanted > vocab_size**seq_len:
        raise ValueError(f"{argument} = {wanted}: must be at most vocab_size^seq_len = {vocab_size**seq_len}")
    if few_sequences and 2 * wanted >= vocab_size**seq_len:
        return rows_from_codes(rng.permutation(vocab_size**seq_len)[:wanted], vocab_size, seq_len)
    rows = np.empty((0, seq_len), dtype=np.int64)  # fewer than half of all sequences: draw, drop repeats, draw again
    while rows.shape[0] < wanted:
        draws = rng.integers(0, vocab_size, size=(wanted - rows.shape[0], seq_len))
        rows = np.concatenate([rows, draws])
        rows = rows[first_occurrences(rows, vocab_size)]
    return rows
