"""What an estimator says of clouds whose dimension is known, and what an estimate then allows.

With n points the nearest neighbours in d dimensions are some n^(-1/d) away: beyond d = log2 n or so they are no neighbours at all
but lie across the cloud, and every estimator that reads distances stops to grow. The curve says by how much, and its inverse
says which dimensions an estimate leaves open.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from empirical._dimension_estimators import DimensionEstimate, gride_likelihood, harmonic_mean, two_nn_line
from empirical._dimension_intervals import Statistic
from empirical._dimension_neighbours import cloud
from theory.manifold_rates import data_exponent, model_exponent
from theory.shapes import checked_integer

if TYPE_CHECKING:
    import pandas as pd

FAMILIES = ("ball", "gaussian", "sphere")
STATISTICS: dict[str, Statistic] = {"levina_bickel": harmonic_mean, "two_nn": two_nn_line, "gride": gride_likelihood}
"""What the methods of these names give but for rounding, without a library's loop over points."""
DIMENSIONS = (1, 2, 3, 5, 8, 10, 12, 15, 20, 25, 30, 40, 50, 75, 100)
COLUMNS = ["family", "dimension", "method", "neighbours", "num_points", "ambient_dim", "estimate", "low", "high"]


@dataclass(frozen=True)
class CorrectedDimension:
    """The dimensions that an estimate leaves open after its bias: best one (NaN where none can be told), ends, and why not more.

    high is infinite where the estimate, with its interval, reaches as far up as the curve does: no larger dimension is excluded.
    """

    dimension: float
    low: float
    high: float
    reason: str = ""


@dataclass(frozen=True)
class PredictedExponents:
    """Exponents of the squared error that a dimension and a smoothness promise, against samples and against parameters."""

    data: float
    data_low: float
    data_high: float
    model: float
    model_low: float
    model_high: float


def known_cloud(family: str, dimension: int, num_points: int, generator: np.random.Generator) -> Float[np.ndarray, "n D"]:
    """Points of a known dimension d: even in the unit ball of R^d ("ball"), standard normal in R^d, or even on S^d in R^(d+1).

    An isometric embedding into more dimensions leaves all distances as they are, so none is made.
    """
    found = generator.standard_normal((num_points, dimension + (family == "sphere")))
    if family == "gaussian":
        return found
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found * generator.uniform(size=(num_points, 1)) ** (1 / dimension) if family == "ball" else found


def bias_curve(
    *,
    num_points: int = 3600,
    ambient_dim: int | None = None,
    dimensions: Sequence[int] | None = None,
    families: Sequence[str] = FAMILIES,
    method: str | Sequence[str] = "levina_bickel",
    neighbours: int | None = 20,
    repeats: int = 2,
    seed: int = 0,
    beyond: Mapping[str, float] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> "pd.DataFrame":
    """Estimates on clouds of known dimension, a row for each method, family and dimension.

    Args:
        num_points: points of a cloud; take as many as the data have that the curve is for.
        ambient_dim: D of the data, which no dimension may exceed (None: no limit). Distances don't depend on it otherwise.
        dimensions: ascending (None: some from 1 to 100, up to D and D itself).
        families: of "ball", "gaussian", "sphere": `known_cloud`. A sphere takes D > d, so that at d = D it has D - 1.
        method: a name in `METHODS`, or several; neighbours: as they take them (None: their own; two_nn always has 2).
        repeats: clouds of each kind.
        beyond: a number for each method (upper ends of estimates, say): dimensions end with the first at which the lower ends of
            all methods and families are above it; what `corrected_dimension` makes of such estimates needs no further ones.
        progress: called with (done, all) clouds.

    Returns:
        The table, columns `COLUMNS`: estimate: the geometric mean over repeats; low, high: its 95% interval by Student's
        distribution with a variance of log d pooled over the dimensions of a family (NaN for one repeat).

    Raises:
        ValueError: an unknown family or method, a number out of range, or num_points <= neighbours.
    """
    import pandas as pd

    from empirical.dimension import METHODS, USUAL_NEIGHBOURS, method_arguments  # that stands on this module

    checked_integer("num_points", num_points, 3)
    checked_integer("repeats", repeats, 1)
    if ambient_dim is not None:
        checked_integer("ambient_dim", ambient_dim, 1)
    methods = [method] if isinstance(method, str) else list(method)
    told = {name: method_arguments(name, neighbours) for name in methods}
    arguments = {name: {"neighbours": USUAL_NEIGHBOURS[name]} | given for name, given in told.items()}
    most = max(given["neighbours"] for given in arguments.values())
    wanted = _dimensions(dimensions, ambient_dim)
    for family in families:
        if family not in FAMILIES:
            raise ValueError(f"families: {family!r} is unknown; {', '.join(FAMILIES)} are legal")
    spaces = math.inf if ambient_dim is None else float(ambient_dim)
    fits = {family: _within(wanted, spaces - (family == "sphere")) for family in families}
    done, everything = 0, repeats * sum(map(len, fits.values()))
    logs: dict[str, list[Float[np.ndarray, "methods repeats"]]] = {family: [] for family in families}
    for place in range(len(wanted)):
        for number, family in enumerate(families):
            if place >= len(fits[family]):
                continue
            found = np.empty((len(methods), repeats))
            for repeat in range(repeats):
                generator = np.random.default_rng([seed, number, fits[family][place], repeat])
                points = known_cloud(family, fits[family][place], num_points, generator)
                prepared = cloud(points, most)
                for index, name in enumerate(methods):
                    if name in STATISTICS:
                        value = STATISTICS[name](np.log(prepared.distances[:, : arguments[name]["neighbours"]]))
                    else:
                        value = METHODS[name](points, resamples=0, prepared=prepared, **told[name]).dimension
                    found[index, repeat] = math.log(value)
                done += 1
                if progress is not None:
                    progress(done, everything)
            logs[family].append(found)
        # At a family's own last dimension there is nothing further that it could show.
        if beyond is not None and all(
            place + 1 >= len(fits[family]) < len(wanted) or _passed(np.stack(logs[family], axis=1), methods, beyond)
            for family in families
        ):
            break
    if progress is not None and done < everything:
        progress(done, done)
    rows: list[list[object]] = []
    for family in families:
        if not logs[family]:
            continue
        for name, values in zip(methods, np.stack(logs[family], axis=1), strict=True):
            reach = _reach(values)
            for dimension, centre in zip(fits[family], values.mean(axis=1), strict=False):
                ends = [math.exp(centre - reach), math.exp(centre + reach)]
                used = arguments[name]["neighbours"]
                rows.append([family, dimension, name, used, num_points, ambient_dim, math.exp(centre), *ends])
    return pd.DataFrame(rows, columns=COLUMNS).astype({"ambient_dim": "Int64"})


def corrected_dimension(estimate: DimensionEstimate | float, curve: "pd.DataFrame") -> CorrectedDimension:
    """The dimensions whose clouds would give this estimate, over all families of a `bias_curve`, since which it is isn't known.

    Between the curve's dimensions log estimate is linear in log d, made monotone from below. The best dimension is the geometric
    mean of the families', low the least over families at the estimate's low end against the curve's high one, high the largest at
    the opposite ends. Below the curve the bias of its first dimension is taken. Where the estimate is a plain number it has no
    interval and only the curve's own is counted. A sphere in R^D has at most D - 1 dimensions, where its range then ends.

    This is a range over balls, Gaussians and spheres (the curve's families), no 95% interval: other shapes can lie outside.
    `benchmarks/dimension_coverage.py --corrected`, 20 clouds of 800 points a cell: the three shapes themselves were held in every
    cloud (d = 3, 5, 10), cubes in 95% or more at d = 3 and 5, by Levina-Bickel in 65% at d = 10. A flat torus bends away and
    looks larger: Levina-Bickel held it in 80%, 0% and 0% of clouds at d = 3, 5, 10 (after its bias 3.2, 6.3, 16.6), TwoNN in
    100%, 100% and 5%, local_pca in none. local_pca never held a circle x sphere either (3.27 for 3), the others in 95% or more.

    Raises:
        ValueError: an estimate of a method or number of neighbours that the curve has no rows of; a plain number and a curve of
            several.
    """
    import pandas as pd

    if isinstance(estimate, DimensionEstimate):
        curve = _rows_for(estimate, curve)
        value, low, high = estimate.dimension, estimate.low, estimate.high
        reasons = [estimate.reason] if not math.isfinite(value) else []
        points = int(curve["num_points"].iloc[0])
        if abs(math.log(estimate.num_points / points)) > math.log(1.1):
            reasons.append(f"the curve has {points} points, the estimate {estimate.num_points}")
    else:
        if curve["method"].nunique() != 1:
            raise ValueError(f"curve: is of {curve['method'].nunique()} methods; for a plain number a curve of one is legal")
        value, low, high, reasons = float(estimate), math.nan, math.nan, []
    if not math.isfinite(value) or value <= 0:
        return CorrectedDimension(math.nan, math.nan, math.nan, "; ".join(reasons) or "there is no estimate")
    low, high = (value if math.isnan(end) else end for end in (low, high))
    bests, lows, highs = list[float](), list[float](), list[float]()
    for family, rows in curve.sort_values("dimension").groupby("family", sort=False):
        dimensions, levels = rows["dimension"].to_numpy(float), rows["estimate"].to_numpy(float)
        lower, upper = (rows[name].fillna(rows["estimate"]).to_numpy(float) for name in ("low", "high"))
        found = [_inverse(value, dimensions, levels), _inverse(low, dimensions, upper), _inverse(high, dimensions, lower)]
        ambient = rows["ambient_dim"].iloc[0]
        if family == "sphere" and not pd.isna(ambient) and dimensions[-1] == ambient - 1:
            # No larger sphere fits into the data's space: if it gives less than the estimate, the data are none.
            found[2] = min(found[2], float(dimensions[-1]))
            if math.isinf(found[0]):
                found[0] = math.nan
        for ends, end in zip((bests, lows, highs), found, strict=True):
            ends.append(end)
    largest = float(curve["dimension"].max())
    least = min(min(lows), largest)
    if not all(map(math.isfinite, highs)):
        reasons.append(f"saturated: clouds of dimension {largest:.0f}, the curve's last, give no more than the upper end")
    known = [best for best in bests if not math.isnan(best)]
    best = math.exp(float(np.log(known).mean())) if known and all(map(math.isfinite, known)) else math.nan
    return CorrectedDimension(best, least, max(highs), "; ".join(reasons))


def predicted_exponents(
    dimension_interval: tuple[float, float] | DimensionEstimate | CorrectedDimension, beta: float | tuple[float, float]
) -> PredictedExponents:
    """2 beta/(2 beta + d) and 2 beta/d for a range of d and of beta: both fall with d and rise with beta, so corners suffice.

    The middle is at the estimate (for a pair: at the middle of its logarithms; beta likewise); NaN where that is unknown. An
    upper end of d at infinity puts the lower ends at 0; an interval that is NaN leaves ends that are NaN.

    Raises:
        ValueError: d <= 0, beta <= 0 or infinite, or ends in the wrong order.

    Source: Havrilla and Liao 2024 for the data exponent; the model exponent from their network's size.
    """
    if isinstance(dimension_interval, tuple):
        low, high = dimension_interval
        middle = math.sqrt(low * high) if low > 0 and math.isfinite(high) else math.nan
        if not 0 < low <= high:
            raise ValueError(f"dimension_interval = {dimension_interval}: must be 0 < low <= high")
    elif not isinstance(dimension_interval, DimensionEstimate | CorrectedDimension):
        raise ValueError(f"dimension_interval = {dimension_interval!r}: a tuple (low, high) or an estimate is legal")
    else:
        middle, low, high = dimension_interval.dimension, dimension_interval.low, dimension_interval.high
    rough, smooth = beta if isinstance(beta, tuple) else (beta, beta)
    if not 0 < rough <= smooth < math.inf:
        raise ValueError(f"beta = {beta}: must be a finite number > 0, or two with low <= high")
    between = math.sqrt(rough * smooth)
    corners = [(middle, between), (high, rough), (low, smooth)]
    return PredictedExponents(*(_exponent(kind, d, b) for kind in (data_exponent, model_exponent) for d, b in corners))


def _exponent(kind: Callable[[float, float], object], dimension: float, beta: float) -> float:
    if math.isnan(dimension):
        return math.nan
    return 0.0 if math.isinf(dimension) else float(kind(dimension, beta))  # type: ignore[arg-type]


def _inverse(value: float, dimensions: Float[np.ndarray, " m"], levels: Float[np.ndarray, " m"]) -> float:
    """The dimension at which a curve reaches a value; infinity above the curve."""
    levels = np.maximum.accumulate(levels)
    if value >= levels[-1]:
        return math.inf
    if value <= levels[0]:
        return value * float(dimensions[0] / levels[0])
    above = int(np.searchsorted(levels, value, side="right"))
    share = math.log(value / levels[above - 1]) / math.log(levels[above] / levels[above - 1])
    return float(dimensions[above - 1] * (dimensions[above] / dimensions[above - 1]) ** share)


def _reach(logs: Float[np.ndarray, "m repeats"]) -> float:
    from scipy import special

    rows, repeats = logs.shape
    if repeats < 2:
        return math.nan
    freedom = rows * (repeats - 1)
    variance = float(((logs - logs.mean(axis=1, keepdims=True)) ** 2).sum()) / freedom
    return float(special.stdtrit(freedom, 0.975)) * math.sqrt(variance / repeats)


def _within(dimensions: Sequence[int], limit: float) -> list[int]:
    """The dimensions up to a limit, and the limit itself for what is above."""
    return sorted({d if d <= limit else int(limit) for d in dimensions} - {0})


def _passed(logs: Float[np.ndarray, "methods m repeats"], methods: Sequence[str], beyond: Mapping[str, float]) -> bool:
    """Whether the last dimension's lower ends are above what was asked for, for all methods."""
    return all(
        math.exp(float(values[-1].mean()) - _reach(values)) > beyond[name] for name, values in zip(methods, logs, strict=True)
    )


def _dimensions(dimensions: Sequence[int] | None, ambient_dim: int | None) -> list[int]:
    limit = math.inf if ambient_dim is None else ambient_dim
    if dimensions is None:
        return sorted({*(d for d in DIMENSIONS if d <= limit), *([] if ambient_dim is None or limit > 100 else [ambient_dim])})
    found = [checked_integer("dimensions", d, 1) for d in dimensions]
    if not found or found != sorted(set(found)) or found[-1] > limit:
        raise ValueError(f"dimensions = {found}: must ascend, at least one and none above ambient_dim = {ambient_dim}")
    return found


def _rows_for(estimate: DimensionEstimate, curve: "pd.DataFrame") -> "pd.DataFrame":
    rows = curve[(curve["method"] == estimate.method) & (curve["neighbours"] == estimate.neighbours)]
    if not len(rows):
        told = sorted(set(zip(curve["method"], curve["neighbours"], strict=True)))
        had = ", ".join(f"{method} with {k} neighbours" for method, k in told)
        raise ValueError(f"curve: is of {had}; for {estimate.method} with {estimate.neighbours} neighbours one of these is legal")
    return rows
