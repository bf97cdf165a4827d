"""Results that took long, kept so that nobody computes them twice: one JSON file per cell, in the folder named.

A cell is a piece of work that its specification determines (a JSON object); its result is a list of rows. What is on disk is
written whole or not at all, so that a run may be interrupted at any time and goes on where it was.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from theory._whole_files import whole_files

FORMAT = "headcount cell 1"
Row = dict[str, Any]


@dataclass(frozen=True)
class StoredCell:
    """The result of a cell as it was kept.

    Attributes:
        spec: what determined it.
        date: day it was computed, UTC, YYYY-MM-DD.
        rows: the result; missing numbers are None.
    """

    spec: Mapping[str, Any]
    date: str
    rows: tuple[Row, ...]


class CellStore:
    """Cells in a folder, which is made when the first one is put there.

    Args:
        folder: where the files are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, spec: Mapping[str, Any]) -> Path:
        """Where the cell of this specification is kept, whether it is there or not."""
        return self.folder / f"{spec.get('method', 'cell')}-{hashlib.sha256(spec_text(spec).encode()).hexdigest()[:16]}.json"

    def get(self, spec: Mapping[str, Any]) -> StoredCell | None:
        """The cell's result; None where it is not there, or where the file is damaged or of another specification."""
        try:
            content = json.loads(self.path(spec).read_text(encoding="utf-8"))
            kept = StoredCell(content["spec"], content["date"], tuple(content["rows"]))
            known = content["format"] == FORMAT and spec_text(kept.spec) == spec_text(spec)
            whole = content["sha256"] == _digest(kept.rows) and all(isinstance(row, dict) for row in kept.rows)
            return kept if known and whole else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def put(self, spec: Mapping[str, Any], rows: Sequence[Row]) -> StoredCell:
        """Keep a result, in place of an earlier one.

        Raises:
            OSError: the folder can't be made or written.
        """
        self.folder.mkdir(exist_ok=True)
        kept = dated_cell(spec, rows)
        content = {"format": FORMAT, "spec": kept.spec, "date": kept.date, "sha256": _digest(kept.rows), "rows": kept.rows}
        with whole_files(self.path(spec)) as (partial,):
            partial.write_text(json.dumps(content, allow_nan=False, indent=1) + "\n", encoding="utf-8")
        return kept


def dated_cell(spec: Mapping[str, Any], rows: Sequence[Row]) -> StoredCell:
    """A result of today, as it would be kept."""
    return StoredCell(dict(spec), datetime.now(UTC).strftime("%Y-%m-%d"), tuple(_plain(row) for row in rows))


def spec_text(spec: Mapping[str, Any]) -> str:
    """A specification as one line, the same for the same content."""
    return json.dumps(spec, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _digest(rows: Sequence[Row]) -> str:
    return hashlib.sha256(json.dumps(list(rows), sort_keys=True).encode()).hexdigest()


def _plain(row: Row) -> Row:
    """A row of Python's own numbers and strings, with None for what is no number."""
    plain: Row = {}
    for name, value in row.items():
        value = value.item() if hasattr(value, "item") else value
        plain[name] = None if isinstance(value, float) and not math.isfinite(value) else value
    return plain
