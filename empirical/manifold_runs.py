"""Transformers trained on functions on manifolds: how their error falls with samples and with parameters.

    from empirical.manifold_runs import TIERS, measured_exponents, read_cells, run_cell

    for cell in TIERS["smoke"]:
        run_cell(cell, "results/manifold/smoke")
    measured_exponents(read_cells("results/manifold", "smoke"))

A cell is a pure function of its settings and is kept in a file of its own: what was interrupted goes on with the first cell that
is not there. Two things are measured that differ from what theory speaks of, and both are said in the result: gradient descent
does not find the best weights (`measured_exponents` has a reason where longer runs do better), and it learns slow waves long
before fast ones (Rahaman et al. 2019), which on Weierstrass' functions is most of the error.
"""

import os
from math import inf
from pathlib import Path

import numpy as np
import pandas as pd

from empirical._manifold_cell import TEST_POINTS, CellSamples, ManifoldCell
from empirical._manifold_descent import Progress, train_cell
from empirical._manifold_exponents import EXPONENT_COLUMNS, measured_exponents, predicted_exponent, told_apart
from empirical._manifold_tiers import TIERS, expected_seconds, learning_rate
from empirical.cell_store import CellStore, Row
from theory.manifolds import manifold_named, target_named

__all__ = [
    "EXPONENT_COLUMNS", "TIERS", "TRAINED_COLUMNS", "CellSamples", "ManifoldCell", "Progress", "built_rows", "expected_seconds",
    "learning_rate", "measured_exponents", "predicted_exponent", "read_cells", "run_cell", "told_apart", "train_cell",
]  # fmt: skip

TRAINED_COLUMNS = (
    "kind", "experiment", "manifold", "dimension", "ambient_dim", "target", "beta", "attention", "width", "layers", "parameters",
    "samples", "noise", "seed", "mse", "target_variance", "stopped_at", "steps", "tier", "seconds", "versions",
    "check", "held_out_loss", "final_mse", "rate", "failure", "degree", "grid",
)  # fmt: skip
"""Columns of `read_cells` and `built_rows`, a row a model: `mse` and `final_mse` (at the last step, not the one with the least
held-out loss) against the noise-free target on fresh points, in its units squared; `beta` is inf for smooth targets; `samples`
are all labels behind a model, those held out counted in; `seconds` are of processor time; `check` is "longer" for runs that only
check the number of steps; `degree` and `grid` are of built networks, which have neither samples nor steps."""


NUMBERS = (
    "beta", "mse", "target_variance", "held_out_loss", "final_mse", "noise", "seconds", "rate", "degree", "grid", "width",
)  # fmt: skip


def run_cell(cell: ManifoldCell, folder: str | os.PathLike[str], progress: Progress | None = None) -> tuple[Row, ...]:
    """The rows of a cell: those kept in the folder, or else `train_cell`'s, which are kept there.

    Raises OSError where the folder can't be made or written.
    """
    store = CellStore(Path(folder))
    store.folder.parent.mkdir(parents=True, exist_ok=True)
    kept = store.get(cell.spec)
    return (kept or store.put(cell.spec, train_cell(cell, progress))).rows


def read_cells(folder: str | os.PathLike[str], tier: str) -> pd.DataFrame:
    """What is there of a tier in <folder>/<tier>, a row a model, with the columns `TRAINED_COLUMNS`.

    Cells with other settings than the tier's, and damaged files, are left out. Raises ValueError for a tier that is not there.
    """
    if tier not in TIERS:
        raise ValueError(f"tier = {tier!r}: {', '.join(TIERS)} are legal")
    store, rows = CellStore(Path(folder) / tier), list[Row]()
    for cell in TIERS[tier]:
        kept = store.get(cell.spec)
        rows += [] if kept is None else [{**row, "tier": tier} for row in kept.rows]
    return _typed(pd.DataFrame(rows, columns=list(TRAINED_COLUMNS)))


def built_rows(
    manifold: str, ambient_dim: int | None, target: str, beta: float, grids: tuple[int, ...], degree: int, *, seed: int = 0
) -> pd.DataFrame:
    """Networks built for the same functions, in the same columns: kind "built", experiment "model", `mse` on as many points.

    Args:
        manifold, ambient_dim, target, beta: as in a `ManifoldCell`; beta is not looked at for "smooth".
        grids, degree: of `constructions.manifolds.build`.
        seed: of the embedding and the points.

    Raises ValueError as `empirical.manifold_reach.reach_table` does.
    """
    from empirical.manifold_reach import reach_table

    place = manifold_named(manifold, ambient_dim, seed)
    function = target_named(place, target, beta)
    reached = reach_table(place, function, grids, degree, num_points=TEST_POINTS, seed=seed)
    values = function(place.sample(TEST_POINTS, np.random.default_rng(seed)))
    table = pd.DataFrame({
        "kind": "built", "experiment": "model", "manifold": manifold, "dimension": place.dimension,
        "ambient_dim": place.ambient_dim, "target": target, "beta": inf if target == "smooth" else beta, "attention": "relu",
        "layers": reached["blocks"], "parameters": reached["parameters"], "samples": 0, "noise": 0.0, "seed": seed,
        "mse": reached["rms"] ** 2, "target_variance": float(values.var()), "stopped_at": 0, "steps": 0, "tier": "",
        "seconds": reached["seconds"], "versions": f"numpy {np.__version__}", "check": "", "failure": "", "degree": degree,
        "grid": reached["grid"],
    })  # fmt: skip
    return _typed(table.reindex(columns=list(TRAINED_COLUMNS)))


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    """Numbers as numbers: None in files is NaN, and the beta of smooth targets inf."""
    table = table.astype(dict.fromkeys(NUMBERS, float))
    return table.assign(beta=table["beta"].where(table["target"] != "smooth", inf))
