"""Sweeps as TOML files: which cells one asks for, every mistake told with its file, its key and its line."""

import itertools
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NoReturn

from empirical._parameters import VARIANTS
from empirical.cells import DEVICE_KINDS, DTYPES, Cell
from empirical.training import TrainingSettings
from theory._token_rows import check_table_size
from theory.shapes import TransformerShape, checked_integer

MOST_CELLS = 100_000
MOST_BYTES = 1 << 20
LARGEST = 1_000_000
"""Sizes beyond this are slips of the pen; what is legal and still too large for memory fails as a cell, with its reason."""

AXES = tuple(entry.name for entry in fields(TransformerShape))
SETTINGS = tuple(entry.name for entry in fields(TrainingSettings))
INTEGERS = {"vocab_size": 2, "seq_len": 1, "repetitions": 1, "table_seed": 0, "seed": 0}
TOP = ("name", "title", *INTEGERS, "variant", "device", "settings", "grid")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class SweepFileError(ValueError):
    """A sweep file that can't be used: one line with file, line where known, key, value and what would be legal."""


@dataclass(frozen=True)
class Sweep:
    """What a file asks for: distinct cells, in the order of its grids.

    Attributes:
        name: letters, digits, `_`, `.` and `-`.
        cells: all combinations of all grids, each with all repetitions.
        title: a line for people; the name where the file has none.
    """

    name: str
    cells: tuple[Cell, ...]
    title: str


def read_sweep(path: Path | str) -> Sweep:
    """The cells that a TOML file asks for; docs/sweeps.md describes the format.

    Raises SweepFileError for anything but such a file (unknown or missing keys, values of wrong type or size, more than
    `MOST_CELLS` cells), OSError for one that can't be read.
    """
    return _Reader(Path(path)).sweep()


class _Reader:
    """One file being read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.is_dir():
            raise SweepFileError(f"{path}: is a folder; name the TOML file of a sweep")
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise SweepFileError(f"{path}: has more than {MOST_BYTES:,} bytes; a sweep is a short TOML file")
        try:
            self.text = content.decode("utf-8-sig")  # editors put a mark in front
            self.content = tomllib.loads(self.text)
        except UnicodeDecodeError as error:
            raise SweepFileError(f"{path}: is not UTF-8 text (byte {error.start}); a sweep is a TOML file") from None
        except tomllib.TOMLDecodeError as error:
            raise SweepFileError(f"{path}: is not TOML: {error}") from None
        except (RecursionError, ValueError) as error:  # brackets too deep; integers of thousands of digits
            raise SweepFileError(f"{path}: is not TOML that can be read: {str(error).splitlines()[0]}") from None

    def sweep(self) -> Sweep:
        top = self.content
        self._known(top, TOP, ())
        for name in ("name", "vocab_size", "grid"):
            if name not in top:
                self._wrong((name,), "is missing; every sweep has name, vocab_size and at least one [[grid]]")
        name, title = top["name"], top.get("title", top["name"])
        if not isinstance(name, str) or not NAME.fullmatch(name):
            self._wrong(("name",), f"= {_shown(name)}: must be 1 to 64 letters, digits, '_', '.' or '-', a letter or digit first")
        if not isinstance(title, str) or not title.isprintable() or len(title) > 200:
            self._wrong(("title",), f"= {_shown(title)}: must be one line of at most 200 characters")
        sizes = {key: self._integer((key,), top[key], least) for key, least in INTEGERS.items() if key in top}
        repetitions = sizes.pop("repetitions", 1)
        for key, choices in (("variant", VARIANTS), ("device", DEVICE_KINDS)):
            if key in top and top[key] not in choices:
                self._wrong((key,), f"= {_shown(top[key])}: must be one of {', '.join(map(repr, choices))}")
        settings = self._settings(top.get("settings", {}))
        try:
            check_table_size(sizes["vocab_size"], sizes.get("seq_len", 2), None)
        except ValueError as error:
            self._wrong(("vocab_size",), f"= {sizes['vocab_size']}: {str(error).partition(': ')[2]}")
        shapes = self._shapes(top["grid"], repetitions)
        common: dict[str, Any] = {**sizes, "settings": settings, **{key: top[key] for key in ("variant", "device") if key in top}}
        cells = tuple(Cell(shape=shape, repetition=number, **common) for shape in shapes for number in range(repetitions))
        return Sweep(name, cells, title)

    def _settings(self, given: object) -> TrainingSettings:
        if not isinstance(given, dict):
            self._wrong(("settings",), f"= {_shown(given)}: must be a table, [settings]")
        self._known(given, SETTINGS, ("settings",))
        values = dict(given)
        if "dtype" in values:
            if values["dtype"] not in list(DTYPES):
                self._wrong(("settings", "dtype"), f"= {_shown(values['dtype'])}: must be one of {', '.join(map(repr, DTYPES))}")
            values["dtype"] = DTYPES[values["dtype"]]
        if "betas" in values:
            betas = values["betas"]
            if not isinstance(betas, list) or len(betas) != 2 or not all(type(beta) in (int, float) for beta in betas):
                self._wrong(("settings", "betas"), f"= {_shown(betas)}: must be a pair of numbers in [0, 1)")
            values["betas"] = (float(betas[0]), float(betas[1]))
        for name in ("learning_rate", "final_learning_rate", "epsilon"):
            if type(values.get(name)) is int:  # 1 and 1.0 are the same rate, and shall be the same cell
                values[name] = _float(values[name])
        try:
            return TrainingSettings(**values)
        except ValueError as error:
            name = str(error).partition(" ")[0]
            key = ("settings", name) if name in given else ("settings",)
            self._wrong(key, f"= {str(error).partition(' = ')[2]}" if name in given else f": {error}")

    def _shapes(self, grids: object, repetitions: int) -> list[TransformerShape]:
        if not isinstance(grids, list) or not grids or not all(isinstance(grid, dict) for grid in grids):
            self._wrong(("grid",), f"= {_shown(grids)}: must be one or more tables, [[grid]]")
        found: dict[TransformerShape, None] = {}
        total = 0
        for number, grid in enumerate(grids):
            table = (f"grid[{number + 1}]",)
            self._known(grid, AXES, table)
            for name in ("embed_dim", "num_heads", "head_dim"):
                if name not in grid:
                    self._wrong((*table, name), "is missing; every grid has embed_dim, num_heads and head_dim")
            same = {name: value for name, value in grid.items() if value in AXES and isinstance(value, str)}
            for name, other in same.items():
                if other == name or other in same or other not in grid:
                    self._wrong((*table, name), f"= {_shown(other)}: must name another entry of this grid that has numbers")
            axes = {name: self._numbers((*table, name), value) for name, value in grid.items() if name not in same}
            size = 1
            for values in axes.values():
                size *= len(values)
            total += size * repetitions
            if total > MOST_CELLS:  # before the product is written out, which could fill the memory
                self._wrong(table, f"brings the sweep to {total:,} cells; at most {MOST_CELLS:,} are legal")
            for chosen in itertools.product(*axes.values()):
                point = dict(zip(axes, chosen, strict=True))
                found[TransformerShape(**point, **{name: point[other] for name, other in same.items()})] = None
        return list(found)

    def _numbers(self, key: tuple[str, ...], value: object) -> list[int]:
        """An entry of a grid: an integer, a list of them, or text like "1:31:5" or "1,5,9:12"."""
        least = 0 if key[-1] in ("num_heads", "mlp_width") else 1
        numbers_legal = f"an integer from {least} to {LARGEST:,}, a list of them"
        legal = f'{numbers_legal}, "first:last:step" (last included), or another entry\'s name'
        found: list[int] = []
        if isinstance(value, str):
            for part in value.split(","):
                pieces = [piece.strip() for piece in part.split(":")]
                if not 1 <= len(pieces) <= 3 or not all(re.fullmatch("[0-9]{1,7}", piece) for piece in pieces):
                    self._wrong(key, f"= {_shown(value)}: must be {legal}")
                first, last = int(pieces[0]), int(pieces[min(1, len(pieces) - 1)])
                step = int(pieces[2]) if len(pieces) == 3 else 1
                numbers = range(first, last + 1, step) if step else range(0)
                if not numbers:
                    self._wrong(key, f"= {_shown(value)}: {part.strip()!r} is empty; first <= last and a step >= 1 are legal")
                if len(found) + len(numbers) > MOST_CELLS:
                    self._wrong(key, f"= {_shown(value)}: more than {MOST_CELLS:,} numbers")
                found.extend(numbers)
        elif isinstance(value, list) and value:
            found = value
        else:
            found = [value]  # type: ignore[list-item]  # looked at below
        for number in found:
            if type(number) is not int or not least <= number <= LARGEST:
                self._wrong(key, f"= {_shown(value)}: must be {legal}")
        if len(set(found)) < len(found):
            self._wrong(key, f"= {_shown(value)}: every number once is legal")
        return found

    def _integer(self, key: tuple[str, ...], value: object, least: int) -> int:
        try:
            number = checked_integer(key[-1], value, least)
        except ValueError as error:
            self._wrong(key, f"= {_shown(value)}: {str(error).partition(': ')[2]}")
        if "seed" not in key[-1] and number > LARGEST:
            self._wrong(key, f"= {_shown(value)}: must be at most {LARGEST:,}")
        return number

    def _known(self, table: Mapping[str, Any], legal: tuple[str, ...], key: tuple[str, ...]) -> None:
        for name in table:
            if name not in legal:
                self._wrong((*key, name), f"is unknown; legal are {', '.join(legal)}")

    def _wrong(self, key: tuple[str, ...], what: str) -> NoReturn:
        line = _line_of(self.text, key)
        where = f"{self.path}, line {line}" if line else str(self.path)
        name = ".".join(part if part.isprintable() and part else repr(part) for part in key)
        raise SweepFileError(f"{where}: {_short(name, 80)} {what}".replace(" :", ":"))


def _line_of(text: str, key: tuple[str, ...]) -> int | None:
    """The line where a key stands, as files are usually written; None where that is not found (inline tables, dotted keys).

    `key` is (name,), (table, name), or a table alone, with the n-th [[grid]] called "grid[n]".
    """
    here, grids = (), 0  # type: tuple[str, ...], int
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.fullmatch(r"\s*(\[\[?)\s*([A-Za-z0-9_-]+)\s*\]\]?\s*(#.*)?", line):
            grids += header[2] == "grid"
            here = (f"grid[{grids}]",) if header[2] == "grid" else (header[2],)
            if key == here:
                return number
        elif (entry := re.match(r"\s*([\"']?)([A-Za-z0-9_-]+)\1\s*=", line)) and (*here, entry[2]) == key:
            return number
    return None


def _float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf")  # refused as such


def _shown(value: object) -> str:
    """A value as it may stand in one line."""
    return _short(repr(value), 60)


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."
