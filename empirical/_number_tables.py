"""Tables of numbers as text: read whole, every row with its line, and no text taken for a number."""

import csv
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from theory._messages import first_line

if TYPE_CHECKING:
    import pandas as pd

MISSING = ("", "na", "n/a", "nan", "null", "none", "-", "<na>", "nat")


@dataclass(frozen=True)
class NumberTable:
    """A table as text: its name, header, rows, where these stand, and whether that is a "line" or a "row"."""

    name: str
    header: list[str]
    rows: list[list[str]]
    lines: list[int]
    word: str

    def texts(self, column: str) -> list[str]:
        """The cells of a column."""
        place = self.header.index(column)
        return [row[place].strip() for row in self.rows]

    def numbers(self, column: str) -> Float[np.ndarray, " rows"]:
        """A column as numbers, NaN for what is missing; ValueError, with the place, for any other text."""
        found = np.empty(len(self.rows))
        for place, text in enumerate(self.texts(column)):
            if text.lower() in MISSING:
                found[place] = np.nan
                continue
            try:
                if "_" in text:  # Python's own, not a table's
                    raise ValueError
                found[place] = float(text)
            except ValueError:
                where = f"{self.name}: {self.word} {self.lines[place]}, column {column!r}"
                hint = "; units are told apart from numbers, as in N=millions" if re.match(r"[-+.\d]", text) else ""
                raise ValueError(f"{where}: {text[:40]!r} is no number; numbers like 7e9 are legal{hint}") from None
        return found


def unusable(column: str, value: float) -> str:
    """Why a number is none that can be used: missing, or not finite and > 0."""
    return f"{column} is missing" if np.isnan(value) else f"{column} = {value:g} is not finite and > 0"


def read_table(path: Path | str) -> NumberTable:
    """The table in a CSV file (UTF-8, with a header; tab-separated when its name ends in .tsv). Blank lines are no rows.

    Raises ValueError, in one line, for another kind of file, rows of another length than the header, and a header of numbers.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)
            header = [name.strip() for name in next(reader, [])]
            _check_separator(path, header)
            rows, lines = [], []
            for row in reader:
                if not row or (len(row) == 1 < len(header) and not row[0].strip()):
                    continue
                if len(row) != len(header):
                    counts = f"{len(row)} cells, the header {len(header)}"
                    raise ValueError(f"{path}: line {reader.line_num} has {counts}; as many are legal")
                rows.append(row)
                lines.append(reader.line_num)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: is no table of UTF-8 text ({first_line(error)})") from None
    if not any(header):
        raise ValueError(f"{path}: is empty; a header and rows of numbers are legal")
    if all(_is_number(name) for name in header):
        raise ValueError(f"{path}: line 1 has numbers only; a header with the names of the columns is legal there")
    return NumberTable(str(path), header, rows, lines, "line")


def from_pandas(table: "pd.DataFrame") -> NumberTable:
    """A pandas table, its rows counted from 1."""
    header = [str(name) for name in table.columns]
    rows = [["" if value is None else str(value) for value in row] for row in table.itertuples(index=False, name=None)]
    return NumberTable("table", header, rows, list(range(1, len(rows) + 1)), "row")


SEPARATORS = {";": ("semicolons", "commas are legal"), "\t": ("tabs", "commas, or a name that ends in .tsv, are legal")}


def _check_separator(path: Path, header: list[str]) -> None:
    for sign, (name, legal) in SEPARATORS.items():
        if len(header) == 1 and sign in header[0]:
            raise ValueError(f"{path}: seems to be separated by {name}; {legal}, and decimal points")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.lower() not in MISSING
