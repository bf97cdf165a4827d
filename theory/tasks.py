"""The thing to be remembered: a table of token sequences, each with the one token that must follow it."""

import csv
import hashlib
import os
import secrets
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import log2
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from jaxtyping import Int, Shaped

from theory.shapes import checked_integer

MAX_TABLE_BYTES = 2 * 1024**3
"""`complete` and `random` refuse tables whose T0 (S + 1) 64-bit entries take more than this (2 GiB)."""

MAX_VOCAB_SIZE = 2**31
"""Largest legal N; keeps token numbers within 32 bits, whatever reads them later."""


class TaskFileError(ValueError):
    """A task file that cannot be read or written; the message is one line naming the file and, if known, the line."""


@dataclass(frozen=True, eq=False, repr=False, init=False)
class AssociationTask:
    """T0 associations, sequence -> next token, over a vocabulary of N tokens numbered 0 to N-1; checked once, frozen.

    `sequences` (T0, S) and `targets` (T0,) may be any integer arrays or nested lists of ints; they are kept as int64
    copies that nothing can write to. T0 >= 1, S >= 1, 2 <= N <= 2**31, all entries in [0, N), no sequence twice.
    `description` is a line for people: where the task came from. It takes no part in equality or the fingerprint.
    The order of the rows does.

    Raises ValueError, naming the first offending row (rows count from 0).
    Source: the lookup table g of Assumption 1 in Dana, Pydi and Chevaleyre 2025 (T0 pairs, N tokens, length S).
    """

    sequences: Int[np.ndarray, "associations seq_len"]
    targets: Int[np.ndarray, " associations"]
    vocab_size: int
    description: str = ""

    def __init__(
        self, sequences: npt.ArrayLike, targets: npt.ArrayLike, vocab_size: int, description: str = ""
    ) -> None:
        vocab_size = _checked_vocab_size(vocab_size)
        sequences = _integer_array("sequences", sequences, 2)
        targets = _integer_array("targets", targets, 1)
        if sequences.shape[0] < 1 or sequences.shape[1] < 1:
            raise ValueError(f"sequences has shape {sequences.shape}: must be (T0, S) with T0 >= 1 and S >= 1")
        if targets.shape[0] != sequences.shape[0]:
            raise ValueError(
                f"targets has {targets.shape[0]} entries: must have one per sequence, that is {sequences.shape[0]}"
            )
        if not isinstance(description, str):
            raise ValueError(f"description = {description!r}: must be text")
        for name, entries in (("sequences", sequences), ("targets", targets)):
            row = _first_row_outside(entries, vocab_size)
            if row is not None:
                value = entries[row].tolist()
                raise ValueError(f"{name}[{row}] = {value}: must lie between 0 and vocab_size - 1 = {vocab_size - 1}")
        sequences = sequences.astype(np.int64, copy=False)
        repeated = _first_repeat(sequences, vocab_size)
        if repeated is not None:
            row, earlier = repeated
            raise ValueError(
                f"sequences[{row}] = {sequences[row].tolist()}: must be distinct, but repeats sequences[{earlier}]"
            )
        object.__setattr__(self, "sequences", _frozen(sequences))
        object.__setattr__(self, "targets", _frozen(targets))
        object.__setattr__(self, "vocab_size", vocab_size)
        object.__setattr__(self, "description", description)

    @property
    def num_associations(self) -> int:
        """T0, the number of sequences."""
        return int(self.sequences.shape[0])

    @property
    def seq_len(self) -> int:
        """S, the number of tokens in each sequence."""
        return int(self.sequences.shape[1])

    @cached_property
    def num_last_tokens(self) -> int:
        """K, the number of distinct last tokens; the skip connection is worth min(d, K) associations, not d."""
        return int(np.unique(self.sequences[:, -1]).size)

    def subset(self, indices: Sequence[int] | Int[np.ndarray, " kept"]) -> "AssociationTask":
        """The task of the associations at `indices` (each in [0, T0), at least one, none twice), in that order, same N.

        Raises ValueError for anything else, boolean masks included (use `np.flatnonzero(mask)`).
        """
        if len(indices) == 0:
            raise ValueError("indices is empty: must name at least one association")
        kept = _integer_array("indices", indices, 1)
        position = _first_row_outside(kept, self.num_associations)
        if position is not None:
            last = self.num_associations - 1
            raise ValueError(f"indices[{position}] = {kept[position]}: must lie between 0 and {last}")
        repeated = _first_repeat(kept.astype(np.int64)[:, None], self.num_associations)
        if repeated is not None:
            raise ValueError(f"indices[{repeated[0]}] = {kept[repeated[0]]}: must not repeat indices[{repeated[1]}]")
        origin = f" of: {self.description}" if self.description else ""
        return AssociationTask(
            self.sequences[kept],
            self.targets[kept],
            self.vocab_size,
            f"{kept.size} of {self.num_associations} associations{origin}",
        )

    def fingerprint(self) -> str:
        """SHA-256 (64 hex digits) of N and the rows in order; the same on every machine, blind to `description`."""
        digest = hashlib.sha256(f"association task {self.vocab_size} {self.sequences.shape}\n".encode())
        for part in (self.sequences, self.targets):
            digest.update(part.astype("<i8").tobytes())
        return digest.hexdigest()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, AssociationTask):
            return NotImplemented
        return (
            self.vocab_size == other.vocab_size
            and np.array_equal(self.sequences, other.sequences)
            and np.array_equal(self.targets, other.targets)
        )

    def __hash__(self) -> int:
        return int(self.fingerprint()[:15], 16)

    def __reduce__(self) -> tuple[Any, ...]:
        # Copies, and tasks sent to another process, go through the constructor: their arrays are frozen again.
        return AssociationTask, (self.sequences, self.targets, self.vocab_size, self.description)

    def __repr__(self) -> str:
        if self.sequences.size <= 64:  # small enough to paste back into a test
            content = f"sequences={self.sequences.tolist()}, targets={self.targets.tolist()}"
        else:
            content = f"<{self.num_associations} sequences of length {self.seq_len}>"
        return f"AssociationTask({content}, vocab_size={self.vocab_size}, description={self.description!r})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        # Hypothesis and IPython would print the arrays instead of something that can be pasted.
        printer.text(repr(self))

    @classmethod
    def complete(cls, vocab_size: int, seq_len: int, seed: int) -> "AssociationTask":
        """All N^S sequences in lexicographic order with independent uniform targets.

        Raises ValueError, before allocating anything, when the N^S (S + 1) entries exceed MAX_TABLE_BYTES.
        Source: the task of all experiments in Dana, Pydi and Chevaleyre 2025 (there S = 2).
        """
        vocab_size, seq_len = _checked_vocab_size(vocab_size), checked_integer("seq_len", seq_len, 1)
        seed = checked_integer("seed", seed, 0)
        _check_table_size(vocab_size, seq_len, None)
        sequences = _rows_from_codes(np.arange(vocab_size**seq_len, dtype=np.int64), vocab_size, seq_len)
        targets = np.random.default_rng(seed).integers(0, vocab_size, size=(len(sequences),))
        return cls(sequences, targets, vocab_size, f"all {vocab_size}^{seq_len} sequences, targets from seed {seed}")

    @classmethod
    def random(cls, vocab_size: int, seq_len: int, num_associations: int, seed: int) -> "AssociationTask":
        """T0 distinct sequences drawn uniformly without replacement from the N^S, in random order, targets uniform.

        Works up to T0 = N^S and for any N^S, however large. Raises ValueError when T0 > N^S, or when the T0 (S + 1)
        entries exceed MAX_TABLE_BYTES.
        """
        vocab_size, seq_len = _checked_vocab_size(vocab_size), checked_integer("seq_len", seq_len, 1)
        wanted, seed = checked_integer("num_associations", num_associations, 1), checked_integer("seed", seed, 0)
        _check_table_size(vocab_size, seq_len, wanted)
        few_sequences = _codes_fit(vocab_size, seq_len)
        if few_sequences and wanted > vocab_size**seq_len:
            legal = f"at most vocab_size^seq_len = {vocab_size**seq_len}"
            raise ValueError(f"num_associations = {wanted}: must be {legal}")
        rng = np.random.default_rng(seed)
        if few_sequences and 2 * wanted >= vocab_size**seq_len:
            sequences = _rows_from_codes(rng.permutation(vocab_size**seq_len)[:wanted], vocab_size, seq_len)
        else:  # fewer than half of all sequences: draw, drop repeats, draw again
            sequences = np.empty((0, seq_len), dtype=np.int64)
            while sequences.shape[0] < wanted:
                draws = rng.integers(0, vocab_size, size=(wanted - sequences.shape[0], seq_len))
                sequences = np.concatenate([sequences, draws])
                sequences = sequences[_first_occurrences(sequences, vocab_size)]
        targets = rng.integers(0, vocab_size, size=(wanted,))
        origin = f"{wanted} random sequences of length {seq_len} over {vocab_size} tokens, seed {seed}"
        return cls(sequences, targets, vocab_size, origin)

    @classmethod
    def from_csv(cls, path: str | os.PathLike[str], vocab_size: int | None = None) -> "AssociationTask":
        """Read a UTF-8 CSV file with the header token_1,..,token_S,target and one association per row.

        Without `vocab_size`, N is the largest entry plus one (at least 2), and `description` says so. Blank lines are
        skipped. Raises TaskFileError naming file and line: empty or unreadable file, wrong header, ragged rows, entries
        that are not plain non-negative integers or not below N, a sequence that was already given.
        """
        if vocab_size is not None:
            vocab_size = _checked_vocab_size(vocab_size)
        name = str(path)
        rows, lines = _read_rows(name)
        if vocab_size is None:
            size = max(2, int(rows.max()) + 1)
            origin = f"read from {name}; vocabulary size {size} inferred as largest entry + 1"
        else:
            size, origin = vocab_size, f"read from {name}"
        row = _first_row_outside(rows, size)
        if row is not None:
            where = f"{name}, line {lines[row]}"
            raise TaskFileError(f"{where}: entry {rows[row].max()} must be at most {size - 1} (vocabulary size {size})")
        repeated = _first_repeat(rows[:, :-1], size)
        if repeated is not None:
            row, earlier = repeated
            sequence = ",".join(map(str, rows[row, :-1]))
            same = rows[row, -1] == rows[earlier, -1]
            how = "with the same target" if same else f"with target {rows[row, -1]} instead of {rows[earlier, -1]}"
            raise TaskFileError(f"{name}, line {lines[row]}: sequence {sequence} repeats line {lines[earlier]}, {how}")
        return cls(rows[:, :-1], rows[:, -1], size, origin)

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the file that `from_csv` reads. All or nothing: an existing file is replaced only when all is written.

        N itself is not in the file; give it to `from_csv` when no entry equals N - 1. Raises TaskFileError.
        """
        target = Path(path).resolve()  # a link stays a link: what it points to is replaced
        if target.exists() and not target.is_file():
            raise TaskFileError(f"{path}: cannot be written (not an ordinary file)")
        scratch = target.with_name(f".{secrets.token_hex(8)}.tmp")
        try:
            try:
                with scratch.open("x", encoding="utf-8", newline="") as file:
                    writer = csv.writer(file, lineterminator="\n")
                    writer.writerow(_header(self.seq_len))
                    writer.writerows(np.column_stack([self.sequences, self.targets]).tolist())
                os.replace(scratch, target)
            finally:
                scratch.unlink(missing_ok=True)
        except OSError as error:
            raise TaskFileError(f"{path}: cannot be written ({error.strerror})") from error


def _checked_vocab_size(vocab_size: int) -> int:
    vocab_size = checked_integer("vocab_size", vocab_size, 2)
    if vocab_size > MAX_VOCAB_SIZE:
        raise ValueError(f"vocab_size = {vocab_size}: must be at most {MAX_VOCAB_SIZE}")
    return vocab_size


def _integer_array(name: str, values: object, ndim: int) -> Shaped[np.ndarray, "..."]:
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


def _frozen(values: Shaped[np.ndarray, "..."]) -> Int[np.ndarray, "..."]:
    # Backed by bytes, so that not even setflags can make it writeable again.
    return np.frombuffer(values.astype(np.int64, copy=False).tobytes(), dtype=np.int64).reshape(values.shape)


def _first_row_outside(entries: Shaped[np.ndarray, "..."], size: int) -> int | None:
    if int(entries.min()) >= 0 and int(entries.max()) < size:
        return None
    bad = (entries < 0) | (entries >= size)
    return int(np.argmax(bad.reshape(len(bad), -1).any(axis=1)))


def _codes_fit(vocab_size: int, seq_len: int) -> bool:
    """Whether every sequence has its own number below 2^62, read as digits in base N."""
    return seq_len * log2(vocab_size) < 62


def _rows_from_codes(codes: Int[np.ndarray, " rows"], vocab_size: int, seq_len: int) -> Int[np.ndarray, "rows seq_len"]:
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


def _first_repeat(rows: Int[np.ndarray, "rows columns"], size: int) -> tuple[int, int] | None:
    """The first row that occurred before, and where it first occurred; None when all rows are distinct."""
    order, repeats = _order_and_repeats(rows, size)
    if not repeats.any():
        return None
    later, earlier = order[1:][repeats], order[:-1][repeats]
    first = int(np.argmin(later))
    return int(later[first]), int(earlier[first])


def _first_occurrences(rows: Int[np.ndarray, "rows columns"], size: int) -> Int[np.ndarray, " distinct"]:
    order, repeats = _order_and_repeats(rows, size)
    return np.sort(np.delete(order, np.flatnonzero(repeats) + 1))


def _check_table_size(vocab_size: int, seq_len: int, num_associations: int | None) -> None:
    limit = f"the table must fit in {MAX_TABLE_BYTES // 1024**3} GiB of 64-bit entries"
    if num_associations is None:
        if seq_len * log2(vocab_size) > 62 or vocab_size**seq_len * (seq_len + 1) * 8 > MAX_TABLE_BYTES:
            power = f"all {vocab_size}^{seq_len} sequences"
            raise ValueError(f"vocab_size = {vocab_size}, seq_len = {seq_len}: {power} are too many, {limit}")
    elif num_associations * (seq_len + 1) * 8 > MAX_TABLE_BYTES:
        raise ValueError(f"num_associations = {num_associations}, seq_len = {seq_len}: too many entries, {limit}")


def _header(seq_len: int) -> list[str]:
    return [f"token_{i}" for i in range(1, seq_len + 1)] + ["target"]


def _read_rows(name: str) -> tuple[Int[np.ndarray, "rows columns"], "array[int]"]:
    """All rows of a task file as numbers, and the line each came from."""
    values, lines = array("q"), array("q")
    try:
        with open(name, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            try:
                header = [cell.strip() for cell in next(reader, [])]
                if not header and not file.read(1):
                    raise TaskFileError(f"{name}: is empty, must start with the header token_1,..,token_S,target")
                if len(header) < 2 or header != _header(len(header) - 1):
                    found = _shown(",".join(header))
                    raise TaskFileError(f"{name}, line 1: the header must be token_1,..,token_S,target, not {found}")
                for row in reader:
                    if row:
                        values.extend(_parsed(row, len(header), f"{name}, line {reader.line_num}"))
                        lines.append(reader.line_num)
            except csv.Error as error:
                raise TaskFileError(f"{name}, line {reader.line_num}: is not valid CSV ({error})") from error
    except UnicodeDecodeError as error:
        raise TaskFileError(f"{name}: must be UTF-8 text") from error
    except OSError as error:
        raise TaskFileError(f"{name}: cannot be read ({error.strerror})") from error
    if not lines:
        raise TaskFileError(f"{name}: has a header but no associations, must have at least one row")
    return np.frombuffer(values, dtype=np.int64).reshape(len(lines), len(header)), lines


def _parsed(row: list[str], num_columns: int, where: str) -> list[int]:
    if len(row) != num_columns:
        raise TaskFileError(f"{where}: has {len(row)} entries, must have {num_columns} like the header")
    numbers = []
    for cell in row:
        digits = cell.strip()
        if not (digits.isascii() and digits.isdigit()):
            raise TaskFileError(f"{where}: entry {_shown(cell)} must be a non-negative integer")
        digits = digits.lstrip("0") or "0"
        if len(digits) > 10 or int(digits) >= MAX_VOCAB_SIZE:
            raise TaskFileError(f"{where}: entry {_shown(cell)} must be below {MAX_VOCAB_SIZE}")
        numbers.append(int(digits))
    return numbers


def _shown(text: str) -> str:
    """Text from a file, made safe for a one-line message."""
    return repr(text if len(text) <= 40 else text[:37] + "...")
