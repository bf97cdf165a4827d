"""How many heads everything takes: every method of the project on one kind of table, as tidy rows.

Four kinds of rows are kept apart. *bound*: a formula. *built*: a closed form or a convex solver, with a count promised by a
theorem or an argument. *solved*: a second-order optimiser. *trained*: gradient descent as the papers do it. Built, solved and
trained rows are all measured by `empirical.capacity.measure`, and certified.
"""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from constructions import readout
from empirical._batches import draws
from empirical._landscape_bounds import bound_rows
from empirical._landscape_cells import run_cell
from empirical._landscape_plan import TRAINING_SEED, Cell, LandscapeSpec, bound_heads, cell_name, cells
from empirical.cell_store import CellStore, StoredCell, dated_cell, spec_text
from empirical.comparison import ROW_COLUMNS, tidy
from empirical.training import TrainingSettings
from theory.shapes import AttentionShape
from theory.tasks import AssociationTask
from theory.thresholds import num_features

LANDSCAPE_COLUMNS = (*ROW_COLUMNS, "certified", "origin", "date", "spec", "reason")
__all__ = [
    "KINDS", "LANDSCAPE_COLUMNS", "Cell", "Landscape", "LandscapeSpec", "cell_name", "cells", "check_record", "headline",
    "landscape",
    "landscape_table", "record", "shipped_cells", "upper_median",
]  # fmt: skip

KINDS = ("bound", "built", "solved", "trained")
GRIDS = ("solver", "adam")
"""Methods that are tried at some numbers of heads and have no count of their own."""
@dataclass(frozen=True)
class Landscape:
    """What was found.

    Attributes:
        spec: which landscape.
        table: one row per bound and head count, and per model, with LANDSCAPE_COLUMNS (docs/landscape.md).
        headline: heads for everything, per method (`headline`).
        missing: cells that were neither on record nor affordable.
        refused: cells whose method excludes this shape, with the reason.
        seconds: time taken by this call.
    """

    spec: LandscapeSpec
    table: pd.DataFrame
    headline: pd.DataFrame
    missing: tuple[Cell, ...] = ()
    refused: tuple[tuple[Cell, str], ...] = ()
    seconds: float = 0.0


def landscape(
    spec: LandscapeSpec,
    *,
    store: CellStore | None = None,
    fresh: bool = False,
    budget_seconds: float = 240.0,
    progress: Callable[[int, int, str], None] | None = None,
) -> Landscape:
    """All methods on the tables of a specification.

    Args:
        spec: which landscape.
        store: finished cells are kept there and found again; None keeps none.
        fresh: compute everything, whatever it takes; without it slow cells are read from the record shipped with the package,
            and what is not on record is computed as long as `budget_seconds` allows.
        budget_seconds: see there; a cell that may take longer than what is left is not begun.
        progress: called with cells done, cells in all, and the name of the next one.

    Raises:
        ValueError: a budget that is no positive number.
        OSError: the store can't be written.
    """
    if not budget_seconds > 0:
        raise ValueError(f"budget_seconds = {budget_seconds}: a number above 0 is legal")
    start = time.perf_counter()
    plan, recorded = cells(spec), {} if fresh else shipped_cells()
    rows, missing, refused = _bounds(spec), list[Cell](), list[tuple[Cell, str]]()
    for done, cell in enumerate(plan):
        if progress is not None:
            progress(done, len(plan), cell_name(cell))
        kept, origin = (store.get(cell.spec) if store is not None else None), "computed"
        if kept is None and not cell.fast and spec_text(cell.spec) in recorded:
            kept, origin = recorded[spec_text(cell.spec)], "stored"
        if kept is None:
            left = budget_seconds - (time.perf_counter() - start)
            if not (fresh or cell.fast) and cell.estimate > left:
                missing.append(cell)
                continue
            try:
                found = run_cell(cell.spec)
                kept = dated_cell(cell.spec, found) if store is None else store.put(cell.spec, found)
            except ValueError as error:  # a method excludes this shape, and says why
                refused.append((cell, str(error)))
                continue
        rows.extend({**row, "origin": origin, "date": kept.date, "spec": spec_text(cell.spec)} for row in kept.rows)
    if progress is not None:
        progress(len(plan), len(plan), "")
    table = landscape_table([{**_common(spec), **row} for row in rows])
    return Landscape(spec, table, headline(table), tuple(missing), tuple(refused), time.perf_counter() - start)


def _bounds(spec: LandscapeSpec) -> list[dict[str, Any]]:
    task = AssociationTask.complete(spec.vocab_size, 2, spec.table_seeds[0])
    made = readout.plan(task, embed_dim=spec.embed_dim, head_dim=spec.width)

    def threshold(heads: int) -> float:
        return made.ratio.value * num_features(spec.embed_dim, spec.width, heads, made.values) if made.ratio else math.inf

    return list(bound_rows(spec.vocab_size, spec.embed_dim, spec.width, bound_heads(spec), threshold))


def shipped_cells() -> dict[str, StoredCell]:
    """The record shipped with the package: results of slow cells by specification (`spec_text`)."""
    with (resources.files("empirical") / "landscape.csv").open(encoding="utf-8") as file:
        table = pd.read_csv(file, dtype={"spec": "string", "date": "string"}, keep_default_na=True)
    found = {}
    for text, rows in table.groupby("spec", sort=False):
        plain = [
            {str(name): value for name, value in row.items() if not pd.isna(value) and name not in ("spec", "date", "origin")}
            for row in rows.to_dict("records")
        ]
        found[str(text)] = StoredCell(json.loads(str(text)), str(rows["date"].iloc[0]), tuple(plain))
    return found


def landscape_table(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Rows as a table with LANDSCAPE_COLUMNS; missing numbers are NaN, whole numbers nullable integers."""
    extra = LANDSCAPE_COLUMNS[len(ROW_COLUMNS) :]
    table = tidy([{name: value for name, value in row.items() if name not in extra} for row in rows])
    for name in extra:
        values = [row.get(name) for row in rows]
        table[name] = pd.array(values, dtype="Int64" if name == "certified" else "string")
    order = {kind: place for place, kind in enumerate(KINDS)}
    place = table["kind"].map(order)
    return (
        table.assign(_place=place)
        .sort_values(["_place", "name", "num_heads", "table_seed", "model_seed"], kind="stable")
        .drop(columns="_place")
        .reset_index(drop=True)
    )


def headline(table: pd.DataFrame) -> pd.DataFrame:
    """Heads for everything, per method: the median over tables (over models, where trained) of the fewest heads that held all.

    Fewest among those tried: closed forms and searches find their own count, solver and Adam have a grid of counts (`grid`).

    Args:
        table: rows of a landscape.

    Returns:
        One row per kind and method: `heads` (upper median; NaN where it is a table or model that did not get there), `least`,
        `most`, `reached` and `tried` (tables or models), `most_tried` (largest number of heads tried wherever it did not get
        there), `grid` (the counts tried, where the method does not find its own), `heads_99` (as `heads` for 99% of the
        associations, where there is a grid), `shown` and `heads_shown` (where trained: how many associations the draws of the
        schedule contain, and `heads` for these), `transformer` (whether it has heads at all), `seconds` (median
        time of the models counted in `heads`), `origin` (computed, stored, or both).
    """
    rows: list[dict[str, Any]] = []
    models = table[table["kind"] != "bound"]
    for (kind, name), found in models.groupby(["kind", "name"], sort=False):
        unit = "model_seed" if kind == "trained" else "table_seed"
        tried = found[unit].nunique()
        first = _first_with(found, unit, 1.0)
        fewest, nearly = first["num_heads"].astype(float).tolist(), _first_with(found, unit, 0.99)
        most = found.groupby(unit)["num_heads"].max()
        shown = num_shown(int(found["num_associations"].iloc[0])) if kind == "trained" else None
        grid = sorted({int(heads) for heads in found["num_heads"]}) if name in GRIDS else []
        origins = sorted(set(found["origin"].dropna()))
        rows.append({
            "kind": kind, "name": name, "heads": upper_median(fewest, tried),
            "least": min(fewest, default=math.nan), "most": max(fewest, default=math.nan), "reached": len(fewest),
            "tried": tried, "most_tried": int((most.drop(first.index) if len(fewest) < tried else most).min()),
            "heads_99": upper_median(nearly["num_heads"].astype(float).tolist(), tried) if grid else math.nan,
            "grid": ", ".join(map(str, grid)), "shown": shown, "transformer": bool(found["certified"].notna().any()),
            "heads_shown": upper_median(_first_with(found, unit, 1.0, shown)["num_heads"].astype(float).tolist(), tried),
            "seconds": float(first["seconds"].astype(float).median()) if fewest else math.nan,
            "origin": " and ".join(origins),
        })  # fmt: skip
    order = {kind: place for place, kind in enumerate(KINDS)}
    rows.sort(key=lambda row: (order[str(row["kind"])], -(row["heads"] if math.isfinite(row["heads"]) else math.inf)))
    return pd.DataFrame(rows)


def num_shown(num_associations: int) -> int:
    """How many of the associations a landscape's trained models ever see: the notebook's draws miss some of a large table."""
    return len(np.unique(draws(num_associations, TrainingSettings.notebook(), TRAINING_SEED)))


def _first_with(found: pd.DataFrame, unit: str, share: float, total: int | None = None) -> pd.DataFrame:
    """Per table or model the row of fewest heads that held at least this share of the associations (or of `total`)."""
    all_of_them = found["num_associations"].astype(float) if total is None else total
    enough = found[found["held"].astype(float) >= share * all_of_them]
    return enough.sort_values("num_heads").groupby(unit).first()


def upper_median(reached: Sequence[float], tried: int) -> float:
    """The upper median of `tried` numbers of which only some were reached, the rest being larger; NaN where it is of the rest."""
    return sorted(reached)[tried // 2] if tried // 2 < len(reached) else math.nan


def record(file: Path, found: Landscape) -> pd.DataFrame:
    """The rows of a record: those of a landscape's slow cells, in place of earlier ones of the same specification.

    Args:
        file: an earlier record, which is read where it exists.
        found: a landscape, computed anew.

    Raises:
        ValueError: the file is there and is no record.
    """
    fast = {spec_text(cell.spec) for cell in cells(found.spec) if cell.fast}
    rows = found.table[found.table["spec"].notna() & ~found.table["spec"].isin(fast)]
    rows = rows.drop(columns=["origin", *(name for name in rows.columns if rows[name].isna().all() and name != "reason")])
    if not file.exists():
        return rows
    earlier = check_record(file)
    return pd.concat([earlier[~earlier["spec"].isin(rows["spec"])], rows], ignore_index=True)


def check_record(file: Path) -> pd.DataFrame:
    """The rows of a record on disk; an empty table where there is no such file.

    Raises:
        ValueError: the file is there and is no record.
    """
    if not file.exists():
        return pd.DataFrame()
    try:
        earlier = pd.read_csv(file)
    except ValueError as error:
        raise ValueError(f"{file}: is there and is no record of a landscape ({str(error).splitlines()[0]})") from error
    if not {"spec", "date", "held"} <= set(earlier.columns):
        raise ValueError(f"{file}: is there and is no record of a landscape (it lacks the columns spec, date and held)")
    return earlier


def _common(spec: LandscapeSpec) -> dict[str, Any]:
    shape = AttentionShape(spec.embed_dim, 0, spec.width)
    return {
        "vocab_size": spec.vocab_size, "seq_len": 2, "embed_dim": shape.embed_dim, "head_dim": shape.head_dim, "num_layers": 1,
        "num_associations": spec.num_associations,
    }  # fmt: skip
