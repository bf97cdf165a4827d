"""How far built networks on manifolds come: their error at fresh random points against grid, tokens and parameters.

    table = reach_table(circle, smooth_target(circle), grids=(16, 32, 64), degree=1)
    reach_slopes(table)

Nothing here is trained: weights are built, and all there is to measure is the error of the sum that they compute.
"""

import time
from collections.abc import Callable, Sequence
from itertools import product
from math import nan
from typing import TYPE_CHECKING

import numpy as np

from constructions.manifolds import build
from empirical.regression import log_log_slope
from theory.manifolds import Manifold, Target
from theory.shapes import checked_integer

if TYPE_CHECKING:
    import pandas as pd

REACH_COLUMNS = (
    "manifold", "dimension", "ambient_dim", "target", "beta", "degree", "grid", "charts", "tokens", "heads", "blocks",
    "parameters", "rms", "sup", "num_points", "seconds",
)  # fmt: skip
"""Of `reach_table`: one row a network. Errors in the target's units; `seconds` of processor time, built and evaluated."""
SLOPE_COLUMNS = (
    "manifold", "dimension", "ambient_dim", "target", "beta", "degree", "error", "against", "slope", "low", "high",
    "predicted", "num_grids", "reason",
)  # fmt: skip
GROUP = list(SLOPE_COLUMNS[:6])
ERRORS, SIZES = ("rms", "sup"), ("grid", "tokens", "parameters")


def reach_table(
    manifold: Manifold, target: Target, grids: Sequence[int], degree: int, *, num_points: int = 1500, seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> "pd.DataFrame":  # fmt: skip
    """Build a network for each grid and measure it at the same random points.

    Args:
        manifold: where the target lives.
        target: what is approximated.
        grids: N, each >= 2.
        degree: of the local polynomials.
        num_points: random points, uniform on the manifold, none of them a node except by accident.
        seed: of the points.
        progress: called with (done, all) after each network.

    Returns:
        A row for each grid, in the order given, with the columns `REACH_COLUMNS`.

    Raises:
        ValueError: no grid, another manifold than the target's, or as `build` raises.
    """
    import pandas as pd

    if not grids:
        raise ValueError("grids is empty: at least one integer >= 2 is legal")
    if target.manifold != manifold:
        raise ValueError(f"target lives on {target.manifold.name}: a target on {manifold.name} is legal")
    count = checked_integer("num_points", num_points, 1)
    points = manifold.sample(count, np.random.default_rng(checked_integer("seed", seed, 0)))
    truth, rows = target(points), []
    for grid in grids:
        start = time.process_time()
        network = build(manifold, target, grid, degree)
        error = network(points) - truth
        seconds = time.process_time() - start
        row = (
            manifold.name, manifold.dimension, manifold.ambient_dim, target.name, float(target.smoothness), degree, grid,
            network.charts.num_charts, network.num_tokens, network.num_heads, network.num_blocks, network.num_parameters,
            float(np.sqrt(np.mean(error**2))), float(np.abs(error).max()), count, seconds,
        )  # fmt: skip
        rows.append(row)
        if progress is not None:
            progress(len(rows), len(grids))
    return pd.DataFrame(rows, columns=list(REACH_COLUMNS))


def predicted_order(beta: float, degree: int) -> float:
    """The power of h with which the error falls: min(beta, m + 1).

    Interpolation of degree m >= 1 gains m + 1 orders and no more than the target has; degree 0, constants, one order at most.
    Derived here. Raises ValueError for a degree below 0 or beta not > 0.
    """
    if not beta > 0:
        raise ValueError(f"beta = {beta!r}: a number > 0 is legal")
    return min(float(beta), checked_integer("degree", degree, 0) + 1.0)


def reach_slopes(table: "pd.DataFrame") -> "pd.DataFrame":
    """Slopes of log error on log size for each manifold, target and degree of a table of `reach_table`.

    Rows have the columns `SLOPE_COLUMNS`: `error` is "rms" or "sup", `against` "grid", "tokens" or "parameters"; `low` and
    `high` are Student's 95% of the line's scatter (NaN with two grids); `predicted` is -min(beta, m + 1) against the grid and
    that by d against tokens and parameters, which grow as N^d once nodes inside charts rule. Where there is no slope it is NaN
    and `reason` says why; it is empty elsewhere.

    Raises ValueError where a column is missing.
    """
    import pandas as pd

    missing = [name for name in REACH_COLUMNS if name not in table.columns]
    if missing:
        raise ValueError(f"table has no column {missing[0]}: a table of reach_table is legal")
    rows: list[tuple[object, ...]] = []
    for _, part in table.groupby(GROUP, sort=False):
        group = tuple(part[GROUP].iloc[0])
        dimension, beta, degree = int(group[1]), float(group[4]), int(group[5])
        for error, against in product(ERRORS, SIZES):
            sizes, errors = part[against].to_numpy(float), part[error].to_numpy(float)
            order = predicted_order(beta, degree)
            predicted = -(order if against == "grid" else order / dimension)
            slope, reason = (nan, nan, nan), ""
            if len(np.unique(sizes)) < 2:
                reason = "fewer than two sizes"
            elif not (np.isfinite(errors).all() and errors.min() > 0):
                reason = "an error is zero or not finite: no logarithm"
            else:
                fit = log_log_slope(sizes, errors)
                slope = fit.value, fit.low, fit.high
            rows.append((*group, error, against, *slope, predicted, len(part), reason))
    return pd.DataFrame(rows, columns=list(SLOPE_COLUMNS))
