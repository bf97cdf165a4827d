"""find^k and hop_k of strings: as fast as gathers go, and once more straight from the definition."""

from typing import Any

import numpy as np
from jaxtyping import Int, Integer, Shaped

from theory.shapes import checked_integer

MISSING = -1
"""What `hop` gives where find^k is 0: the symbol does not exist."""


def find(
    symbols: Integer[np.ndarray, "*batch seq_len"], num_hops: int | Integer[np.ndarray, "*batch"]
) -> Int[np.ndarray, "*batch seq_len"]:
    """find^k of every position: positions 1..N, 0 where it does not exist.

    `symbols` are integers >= 0, strings along the last axis (N >= 1), any number of axes before it; `num_hops` is k >= 0, of
    any size, or one k per string. find^0 is the position itself. Sanford, Hsu and Telgarsky 2024, Definition 4.1.

    find^1 is one stable sort of each string (O(N) for symbols below 65536); its k-fold is composed by squaring, in at most
    2 log2(N) gathers: positions never grow, so that nothing moves any more after N hops.

    Raises ValueError for symbols that are no strings of integers >= 0, and for num_hops < 0 or of another shape.
    """
    return _find(checked_symbols(symbols), num_hops)[..., 1:]


def find_by_definition(
    symbols: Integer[np.ndarray, "*batch seq_len"], num_hops: int | Integer[np.ndarray, "*batch"]
) -> Int[np.ndarray, "*batch seq_len"]:
    """What `find` gives, by Definition 4.1 as it is written: every j is tried, for every hop. O(k N^2), for tests.

    Raises ValueError as `find` does.
    """
    strings = checked_symbols(symbols)
    batch, seq_len = strings.shape[:-1], strings.shape[-1]
    hops = _checked_hops(num_hops, batch)
    found = np.empty(strings.shape, dtype=np.int64)
    for string in np.ndindex(*batch):
        text = [None, *strings[string].tolist()]  # X_1 sits at index 1
        for start in range(1, seq_len + 1):
            position = start
            for _ in range(int(hops[string])):
                position = max([0, *(j for j in range(2, position + 1) if text[j - 1] == text[position])])
            found[(*string, start - 1)] = position
    return found


def hop(
    symbols: Integer[np.ndarray, "*batch seq_len"], num_hops: int | Integer[np.ndarray, "*batch"]
) -> Int[np.ndarray, "*batch seq_len"]:
    """hop_k at every position: the symbol at find^k, MISSING where find^k is 0. Arguments and errors are those of `find`."""
    strings = checked_symbols(symbols)
    return symbols_at(strings, _find(strings, num_hops)[..., 1:])


def symbols_at(
    strings: Integer[np.ndarray, "*batch seq_len"], positions: Int[np.ndarray, "*batch queries"]
) -> Int[np.ndarray, "*batch queries"]:
    """The symbols at positions 1..N of each string, MISSING at position 0."""
    padded = np.full((*strings.shape[:-1], strings.shape[-1] + 1), MISSING, dtype=np.int64)
    padded[..., 1:] = strings
    return np.take_along_axis(padded, positions, axis=-1)


def checked_symbols(symbols: object, vocab_size: int | None = None) -> Shaped[np.ndarray, "..."]:
    """`symbols` as an array of strings along the last axis, N >= 1, of integers from 0 (below `vocab_size`); else ValueError."""
    strings = _integers("symbols", symbols, "must be integers, strings of equal length along the last axis")
    if strings.ndim < 1 or strings.shape[-1] < 1:
        raise ValueError(f"symbols has shape {strings.shape}: must be (.., N), strings along the last axis, with N >= 1")
    largest = "2^63 - 1" if vocab_size is None else f"vocab_size - 1 = {vocab_size - 1}"
    most = 2**63 - 1 if vocab_size is None else vocab_size - 1
    _check_entries("symbols", strings, 0, most, f"must lie between 0 and {largest}")
    return strings


def checked_hops(
    num_hops: object, batch: tuple[int, ...], least: int, most: int | None = None
) -> Shaped[np.ndarray, "..."]:
    """One k per string as an array of shape `batch`; a single one is for all. ValueError where it isn't in least..most."""
    if isinstance(num_hops, np.ndarray) and num_hops.ndim == 0:
        num_hops = num_hops.item()
    if not isinstance(num_hops, np.ndarray | list | tuple):
        one = checked_integer("num_hops", num_hops, least)
        if most is not None and one > most:
            raise ValueError(f"num_hops = {one}: must be an integer from {least} to {most}")
        return np.full(batch, min(one, 2**62), dtype=np.int64)  # so many hops are as good as any more
    shape = f"must be an integer, or one for each string, in an array of shape {batch}"
    hops = _integers("num_hops", num_hops, shape)
    if hops.shape != batch:
        raise ValueError(f"num_hops has shape {hops.shape}: {shape}")
    legal = f"must be at least {least}" if most is None else f"must be an integer from {least} to {most}"
    _check_entries("num_hops", hops, least, most, legal)
    return hops


def _checked_hops(num_hops: object, batch: tuple[int, ...]) -> Shaped[np.ndarray, "..."]:
    return checked_hops(num_hops, batch, 0)


def _integers(name: str, values: object, legal: str) -> Shaped[np.ndarray, "..."]:
    try:
        found = np.asarray(values)
    except (ValueError, TypeError, OverflowError):
        raise ValueError(f"{name}: {legal}") from None
    if not np.issubdtype(found.dtype, np.integer):
        raise ValueError(f"{name} has dtype {found.dtype}: {legal}")
    return found


def _check_entries(name: str, entries: Shaped[np.ndarray, "..."], least: int, most: int | None, legal: str) -> None:
    if not entries.size:
        return
    low, high = int(entries.min()), int(entries.max())
    if low < least:
        raise ValueError(f"{name} has the entry {low}: {legal}")
    if most is not None and high > most:
        raise ValueError(f"{name} has the entry {high}: {legal}")


def _find(strings: Shaped[np.ndarray, "..."], num_hops: object) -> Int[np.ndarray, "*batch positions"]:
    """find^k for positions 0..N, position 0 (which finds itself) among them: no gather below needs a branch."""
    batch, seq_len = strings.shape[:-1], strings.shape[-1]
    hops = np.minimum(_checked_hops(num_hops, batch), seq_len).astype(np.int64).reshape(-1, 1)  # see find
    # Positions of all strings are numbered through, so that a composition is one plain gather.
    starts = np.arange(hops.size)[:, None] * (seq_len + 1)
    found = starts + np.arange(seq_len + 1)
    power = _find_once(strings.reshape(hops.size, seq_len)) + starts if hops.any() else found
    while hops.any():
        odd = hops % 2 == 1
        if odd.all():
            found = power.ravel()[found]
        elif odd.any():
            found = np.where(odd, power.ravel()[found], found)
        hops = hops // 2
        if hops.any():
            power = power.ravel()[power]
    return (found - starts).reshape(*batch, seq_len + 1)


def _find_once(strings: Shaped[np.ndarray, "rows seq_len"]) -> Int[np.ndarray, "rows positions"]:
    rows, seq_len = strings.shape
    table = np.zeros((rows, seq_len + 1), dtype=np.int64)
    if rows and seq_len > 1:
        top = int(strings.max())
        small: Any = np.uint8 if top < 2**8 else np.uint16 if top < 2**16 else strings.dtype  # numpy sorts these by radix
        order = np.argsort(strings.astype(small, copy=False), axis=1, kind="stable")
        ordered = np.take_along_axis(strings, order, axis=1)
        # Behind each other in the order, and equal: the last position before this one that holds the same symbol.
        previous = np.where(ordered[:, 1:] == ordered[:, :-1], order[:, :-1] + 2, 0)
        np.put_along_axis(table, order[:, 1:] + 1, previous, axis=1)
    return table
