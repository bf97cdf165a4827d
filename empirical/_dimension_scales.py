"""Dimension against the scale it is looked at: noise fills all directions below its size, curvature and edges show far above.

The dimension of the manifold, where data have one, is what the estimates say in between, over a range of scales: a plateau.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from empirical._dimension_estimators import Groups, from_cloud, gride_likelihood, harmonic_mean
from empirical._dimension_intervals import group_numbers, listed_neighbours
from empirical._dimension_neighbours import Metric, cloud
from theory.shapes import checked_integer

if TYPE_CHECKING:
    import pandas as pd

SCALE_METHODS = {"levina_bickel": harmonic_mean, "gride": gride_likelihood}
SCALES = (2, 4, 8, 16, 32, 64, 128, 256)
COLUMNS = ["method", "neighbours", "scale", "dimension", "low", "high"]
FEWEST_SCALES = 3


@dataclass(frozen=True)
class Plateau:
    """A range of scales at which an estimator says the same.

    method: that was looked at; dimension: the geometric mean over the range, low, high: the union of its intervals; scales: the
    mean distances to the farthest neighbour looked at, first and last; neighbours: likewise. NaN and zeros where there is none,
    and then reason says why.
    """

    method: str
    dimension: float
    low: float
    high: float
    scales: tuple[float, float]
    neighbours: tuple[int, int]
    reason: str = ""


def dimension_by_scale(
    points: Float[np.ndarray, "n D"],
    *,
    methods: Sequence[str] = ("levina_bickel", "gride"),
    scales: Sequence[int] | None = None,
    metric: Metric = "euclidean",
    resamples: int = 50,
    level: float = 0.95,
    seed: int = 0,
    groups: Groups = None,
    progress: Callable[[int, int], None] | None = None,
) -> "pd.DataFrame":
    """Estimates from 2, 4, 8, .. neighbours, a row for each method and number.

    Gride compares the neighbours k/2 and k, so that its estimates are of one scale each (Denti et al. 2022); Levina-Bickel reads
    all up to k, and keeps a memory of the small ones.

    Args:
        methods: of "levina_bickel", "gride".
        scales: numbers of neighbours, even for Gride (None: powers of 2 up to 256 and a quarter of the points).
        progress: called with (done, all) estimates; others as `levina_bickel`.

    Returns:
        The table, columns `COLUMNS`: scale: the mean distance to the last neighbour, in the data's units.

    Raises:
        ValueError: as `levina_bickel`; unknown methods, numbers that don't ascend from 2 on or are odd.
    """
    import pandas as pd

    for method in methods:
        if method not in SCALE_METHODS:
            raise ValueError(f"methods: {method!r} can't be looked at by scale; {', '.join(SCALE_METHODS)} are legal")
    most = max(2, len(points) // 4)
    wanted = [k for k in SCALES if k <= most] if scales is None else [checked_integer("scales", k, 2) for k in scales]
    if not wanted or wanted != sorted(set(wanted)) or any(k % 2 for k in wanted):
        raise ValueError(f"scales = {wanted}: must be even numbers from 2 up that ascend")
    found = cloud(points, listed_neighbours(wanted[-1]) if resamples else wanted[-1], metric, least=wanted[-1])
    numbers = group_numbers(groups, len(points))
    rows: list[list[object]] = []
    for method in methods:
        for neighbours in wanted:
            narrow = found.nearer(listed_neighbours(neighbours), neighbours)
            told = from_cloud(
                method, narrow, neighbours, SCALE_METHODS[method], None, resamples=resamples, level=level, seed=seed,
                groups=None if numbers is None else numbers[found.rows],
            )  # fmt: skip
            scale = float(found.distances[:, neighbours - 1].mean()) * found.unit
            rows.append([method, neighbours, scale, told.dimension, told.low, told.high])
            if progress is not None:
                progress(len(rows), len(methods) * len(wanted))
    return pd.DataFrame(rows, columns=COLUMNS)


def plateau(table: "pd.DataFrame", *, method: str | None = None, tolerance: float = 0.1) -> Plateau:
    """The longest run of scales in a `dimension_by_scale` over which the estimates lie within `tolerance` of each other.

    At least three scales, a factor of four in neighbours; of equally long runs the one that varies least. Estimates of data whose
    dimension is beyond what so many points can show fall slowly with the scale, and a slow fall passes for a plateau: see
    `bias_curve`. method: whose rows (None: gride's where there are some, the first one's otherwise).

    Raises ValueError for a table without rows of the method, or a tolerance that is not above 0.
    """
    if not tolerance > 0:
        raise ValueError(f"tolerance = {tolerance!r}: must be > 0")
    told = list(dict.fromkeys(table["method"]))
    name = method if method is not None else "gride" if "gride" in told else str(told[0]) if told else "gride"
    rows = table[table["method"] == name].sort_values("neighbours")
    if not len(rows):
        raise ValueError(f"table: has no rows of {name}")
    values = rows["dimension"].to_numpy(float)
    best, found = (0, 0.0), (0, 0)
    for start in range(len(values)):
        for stop in range(start + FEWEST_SCALES, len(values) + 1):
            part = values[start:stop]
            spread = float(part.max() / part.min()) - 1 if np.isfinite(part).all() else math.inf
            if spread <= tolerance and (stop - start, -spread) > best:
                best, found = (stop - start, -spread), (start, stop)
    if not best[0]:
        reason = f"no {FEWEST_SCALES} scales in a row have estimates within {tolerance:.0%} of each other"
        return Plateau(name, math.nan, math.nan, math.nan, (math.nan, math.nan), (0, 0), reason)
    run = rows.iloc[found[0] : found[1]]
    ends, counts = run["scale"].to_numpy(float), run["neighbours"].to_numpy(int)
    centre = float(np.exp(np.log(run["dimension"].to_numpy(float)).mean()))
    low, high = float(run["low"].min()), float(run["high"].max())
    return Plateau(name, centre, low, high, (float(ends[0]), float(ends[-1])), (int(counts[0]), int(counts[-1])))
