"""Task files: CSV with the header token_1,..,token_S,target, read with errors that name the line, written whole or not at all."""

import csv
import os
from array import array
from pathlib import Path

import numpy as np
from jaxtyping import Int

from theory._token_rows import MAX_VOCAB_SIZE, first_repeat, first_row_outside
from theory._whole_files import whole_files


class TaskFileError(ValueError):
    """A task file that cannot be read or written; the message is one line naming the file and, if known, the line."""


def read_rows(name: str, vocab_size: int | None) -> tuple[Int[np.ndarray, "rows columns"], int]:
    """All rows of a task file (tokens, then the target) and N; without `vocab_size`, the largest entry + 1, at least 2.

    Raises TaskFileError for whatever `theory.tasks.AssociationTask.from_csv` says that it refuses.
    """
    rows, lines = _parsed_file(name)
    size = max(2, int(rows.max()) + 1) if vocab_size is None else vocab_size
    row = first_row_outside(rows, size)
    if row is not None:
        where = f"{name}, line {lines[row]}"
        raise TaskFileError(f"{where}: entry {rows[row].max()} must be at most {size - 1} (vocabulary size {size})")
    repeated = first_repeat(rows[:, :-1], size)
    if repeated is not None:
        row, earlier = repeated
        sequence = ",".join(map(str, rows[row, :-1]))
        same = rows[row, -1] == rows[earlier, -1]
        how = "with the same target" if same else f"with target {rows[row, -1]} instead of {rows[earlier, -1]}"
        raise TaskFileError(f"{name}, line {lines[row]}: sequence {sequence} repeats line {lines[earlier]}, {how}")
    return rows, size


def write_rows(path: str | os.PathLike[str], rows: Int[np.ndarray, "rows columns"]) -> None:
    """Write what `read_rows` reads: tokens, then the target. An existing file is replaced only when all is written."""
    target = Path(path).resolve()  # a link stays a link: what it points to is replaced
    if target.exists() and not target.is_file():
        raise TaskFileError(f"{path}: cannot be written (not an ordinary file)")
    try:
        with whole_files(target) as (partial,), partial.open("x", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(_header(rows.shape[1] - 1))
            writer.writerows(rows.tolist())
    except OSError as error:
        raise TaskFileError(f"{path}: cannot be written ({error.strerror})") from error


def _header(seq_len: int) -> list[str]:
    return [f"token_{i}" for i in range(1, seq_len + 1)] + ["target"]


def _parsed_file(name: str) -> tuple[Int[np.ndarray, "rows columns"], "array[int]"]:
    """All rows of a task file as numbers, and the line each came from."""
    if os.path.exists(name) and not (os.path.isfile(name) or os.path.isdir(name)):  # a pipe would be waited for without end
        raise TaskFileError(f"{name}: is no ordinary file; a CSV file is legal")
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
