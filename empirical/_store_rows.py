"""One row of a store: how the result of a cell becomes one and comes back, its digest, and the table of all rows."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from empirical._origin import Origin
from empirical.cells import Cell, CellResult
from theory.shapes import TransformerShape

if TYPE_CHECKING:
    import pandas as pd

RESULT_COLUMNS = tuple(entry.name for entry in fields(CellResult) if entry.name != "cell")
CONTENT_COLUMNS = ("key", "spec", *RESULT_COLUMNS, "device", "dtype", "date", "versions", "git_revision", "machine")
COLUMNS = (*CONTENT_COLUMNS, "digest")
REAL_COLUMNS = ("draw_accuracy", "accuracy", "memory", "margin_min", "final_loss", "seconds")
COUNT_COLUMNS = ("held", "nominal_parameters", "effective_parameters")

Row = dict[str, Any]


def row_of(result: CellResult, origin: Origin, date: str) -> Row:
    """The row of a result, in SQLite's own types: NaN and None are NULL."""
    spec = result.cell.spec
    row: Row = {"key": result.cell.key, "spec": result.cell.text, "state": result.state}
    for name in REAL_COLUMNS:
        value = float(getattr(result, name))
        row[name] = None if math.isnan(value) else value + 0.0  # SQLite has no -0.0
    for name in COUNT_COLUMNS:
        count = getattr(result, name)
        row[name] = None if count is None else int(count)
    row |= {"diverged": int(result.diverged), "reason": result.reason, "device": spec["device"], "dtype": spec["settings.dtype"]}
    row |= {"date": date, "versions": origin.versions, "git_revision": origin.git_revision, "machine": origin.machine}
    return {**{name: row[name] for name in CONTENT_COLUMNS}, "digest": digest_of(row)}


def digest_of(row: Mapping[str, Any]) -> str:
    """SHA-256 over all columns but the digest itself; floats count by their shortest exact decimal."""
    return hashlib.sha256(json.dumps([row[name] for name in CONTENT_COLUMNS], separators=(",", ":")).encode()).hexdigest()


def is_whole(row: Mapping[str, Any]) -> bool:
    """Whether the row is the one that was written, and its key that of its specification."""
    try:
        return digest_of(row) == row["digest"] and hashlib.sha256(row["spec"].encode()).hexdigest() == row["key"]
    except (TypeError, AttributeError):  # a value that has become of another type
        return False


def same_numbers(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two rows agree in everything that the specification determines."""
    return all(one[name] == other[name] for name in RESULT_COLUMNS if name != "seconds")


def result_of(row: Mapping[str, Any], cell: Cell) -> CellResult:
    """The result that a row was made of."""
    values = {name: row[name] for name in RESULT_COLUMNS}
    values |= {name: math.nan if row[name] is None else row[name] for name in REAL_COLUMNS}
    return CellResult(cell, **{**values, "diverged": bool(row["diverged"])})


def table_of(rows: Sequence[Mapping[str, Any]]) -> "pd.DataFrame":
    """Tidy table of rows, one line each: key, all of the specification, all of the result, where it comes from."""
    import pandas as pd

    specs = [json.loads(row["spec"]) for row in rows]
    template = Cell(2, TransformerShape(1, 0, 1)).spec
    names = [*template, *sorted({name for spec in specs for name in spec} - set(template))]
    columns: dict[str, list[Any]] = {"key": [row["key"] for row in rows]}
    for name in names:
        values = [spec.get(name) for spec in specs]
        columns[name] = [json.dumps(value) if isinstance(value, list) else value for value in values]
    for name in CONTENT_COLUMNS:
        if name not in ("key", "spec", "device", "dtype"):  # the last two are in the specification
            columns[name] = [row[name] for row in rows]
    kinds = {name: _kind(template.get(name), columns[name]) for name in names}
    kinds |= {name: "float64" for name in REAL_COLUMNS} | {name: "Int64" for name in COUNT_COLUMNS}
    kinds |= {"diverged": "bool"} | {name: "str" for name in ("key", "state", "reason", "versions", "git_revision", "machine")}
    table = pd.DataFrame({name: pd.Series(values, dtype=kinds.get(name)) for name, values in columns.items()})
    table["date"] = pd.to_datetime(table["date"], utc=True, format="ISO8601").astype("datetime64[us, UTC]")
    return table


def _kind(example: object, values: Sequence[object]) -> str:
    """The pandas type of a column of specifications: integers stay integers, and a seed may have any number of digits."""
    known = {type(value) for value in values if value is not None} or {type(example)}
    if known == {int}:
        small = all(value is None or -(2**63) <= int(value) < 2**63 for value in values)  # type: ignore[call-overload]
        return ("Int64" if None in values else "int64") if small else "object"
    if known <= {int, float}:
        return "float64"
    return "str" if known <= {str, list} else "object"
