"""How far a scaling law's constants move when the points, or the runs that they come from, are drawn again.

A resample is a row of weights, so all resamples are one batch of the fitting engine, started at the fit of the full table. Points
are drawn with their N and D ("pairs"), so nothing is assumed on how the noise depends on the size of a model. Checkpoints of one
training run depend on each other; where the runs are known, whole runs are drawn ("runs"), and that interval is the one to trust.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cached_property, partial
from math import floor, nan
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import stats

from empirical._regression_lines import Estimate, check_level
from empirical._scaling_engine import Solutions, minimise
from empirical._scaling_forms import Form
from empirical.scaling_points import ScalingPoints
from theory.scaling_units import FLOPS_PER_PARAMETER_TOKEN
from theory.shapes import checked_integer

if TYPE_CHECKING:
    import pandas as pd

Unit = Literal["pairs", "runs"]
TOLERANCE = 1e-7  # of the gradient, far below what a resample moves
BATCH = 2_000_000  # weights in one call of the engine: of large tables only so many are spelled out at a time
SAMPLE = 40  # resamples that are fitted from other starts too: of 4,800 on well-posed tables none came out lower


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """The fits of resampled tables.

    Intervals are percentile intervals. On tables drawn from a Hoffmann law (N and D over two decades, 60 or 240 points, Gaussian
    noise of 0.5% or 2%) nominal 95% covered 94 to 100% (`benchmarks/scaling_coverage.py` prints every cell); the basic
    interval, the percentiles mirrored at the estimate, covered 64 to 93 times and is not offered. With 60 points the
    percentiles lean to the long side (97 to 100), where profile likelihood covers 95 to 98 times: trust that one first, and these
    as its check, by runs where points are checkpoints of the same run.

    Attributes:
        form: the law that was fitted.
        theta: the fit of the full table, (parameters,) in the form's own symbols.
        thetas: one row for each resample that could be fitted, (fitted, parameters).
        num_failed: resamples whose fit did not converge, or holds too few different points to have one. They are not forgotten:
            each counts as if it lay beyond both ends of every interval.
        unit: what was drawn, "pairs" (points) or "runs".
        num_units: how many of them the table has.
        level: of confidence, for `interval`.
        warnings: what weakens the intervals, one line each.
    """

    form: Form
    theta: Float[np.ndarray, " parameters"]
    thetas: Float[np.ndarray, "fitted parameters"]
    num_failed: int
    unit: Unit
    num_units: int
    level: float = 0.95
    warnings: tuple[str, ...] = field(default=())

    @cached_property
    def constants(self) -> "pd.DataFrame":
        """One row per fitted resample: the law's constants as the papers write them, with a and b (N_opt ~ C^a, D_opt ~ C^b)."""
        import pandas as pd

        names = list(natural_constants(self.form, self.theta))
        return pd.DataFrame([natural_constants(self.form, row) for row in self.thetas], columns=names, dtype=float)

    def interval(self, symbol: str, *, level: float | None = None) -> Estimate:
        """The percentile interval of a constant ("E", "A", "alpha", "a", ..), around its value in the fit of the full table.

        The ends are order statistics, rounded outwards; NaN where there are too few resamples, or too many failed, for the level.
        Raises ValueError for a symbol that the law has not, or a level outside (0, 1).
        """
        told = self.level if level is None else level
        check_level(told)
        estimate = natural_constants(self.form, self.theta)
        if symbol not in estimate:
            raise ValueError(f"symbol = {symbol!r}: {', '.join(estimate)} are legal for the law {self.form.name!r}")
        low, high = percentiles(self.constants[symbol].to_numpy(), told, num_failed=self.num_failed)
        return Estimate(estimate[symbol], low, high, told)

    def skew(self, symbol: str) -> float:
        """The skewness of a constant over the resamples: near 0 for a symmetric cloud, above 1 for one like B, nearly log-normal.

        NaN with fewer than three finite values. Raises ValueError as `interval`.
        """
        self.interval(symbol)
        values = self.constants[symbol].to_numpy()
        finite = values[np.isfinite(values)]
        if finite.size < 3 or np.ptp(finite) <= 1e-12 * np.abs(finite).max():
            return nan
        return float(stats.skew(finite))


def natural_constants(form: Form, theta: Float[np.ndarray, " parameters"]) -> dict[str, float]:
    """The law's constants, and a = beta / (alpha + beta) and b = 1 - a, the exponents of N_opt and D_opt, where it has both."""
    constants = dict(form.constants(theta))
    if {"alpha", "beta"} <= constants.keys():
        total = constants["alpha"] + constants["beta"]
        constants["a"] = constants["beta"] / total if total != 0 else nan
        constants["b"] = 1 - constants["a"]
    return constants


def percentiles(values: Float[np.ndarray, " resamples"], level: float, *, num_failed: int = 0) -> tuple[float, float]:
    """The ends of a percentile interval as order statistics, rounded outwards, so that infinite values do no harm.

    With n values the ends are the k-th from below and above, k = floor((n + 1)(1 - level) / 2). NaN values and `num_failed` more
    count as values beyond both ends; where k does not exceed their number the ends are NaN.
    """
    known = np.sort(values[~np.isnan(values)])
    lost = num_failed + values.size - known.size
    place = floor((values.size + num_failed + 1) * (1 - level) / 2 + 1e-9) - lost
    if place < 1:
        return nan, nan
    return float(known[place - 1]), float(known[-place])


def bootstrap_fit(
    form: Form,
    points: ScalingPoints,
    theta: Float[np.ndarray, " parameters"],
    *,
    unit: Unit = "pairs",
    resamples: int = 500,
    delta: float = 1e-3,
    level: float = 0.95,
    seed: int | np.random.Generator = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Bootstrap:
    """Fit the law to resampled tables.

    Every resample starts at `theta`. The first 40 start again at the two ends of the cloud that this gives, and all do if one of
    those came out lower (a weak design has a curved valley, maybe with more than one low place); the lowest objective is kept.

    Args:
        form: the law.
        points: the table.
        theta: the minimum on the full table.
        unit: "pairs" draws points, "runs" whole runs with all their points.
        resamples: how many tables.
        delta: of the Huber loss on log-loss residuals.
        level: of confidence, in (0, 1).
        seed: of the draws, or a generator.
        progress: called with (fits done, fits).

    Raises:
        ValueError: unit "runs" for points whose runs are not known or that are all of one run; another unit; fewer than 20
            resamples; a theta of another length or not finite; delta not > 0.
    """
    if unit not in get_args(Unit):
        raise ValueError(f"unit = {unit!r}: 'pairs' or 'runs' is legal")
    check_level(level)
    checked_integer("resamples", resamples, 20)
    start = checked_theta(form, theta, delta)
    members = _unit_of_each_point(points, unit)
    num_units = int(members.max()) + 1
    if num_units < 2:
        raise ValueError(f"unit = {unit!r}: the table has {num_units} of them, at least 2 are legal")
    generator = np.random.default_rng(seed)
    tables = _Tables(points, members, generator, resamples, form.num_parameters)
    thetas, converged = _fits(form, points, start, tables, delta, progress)
    num_failed = resamples - int(converged.sum())
    warnings = _warnings(unit, num_units, form, num_failed, resamples, points)
    return Bootstrap(form, start, thetas[converged], num_failed, unit, num_units, level, warnings)


def allocation_cloud(bootstrap: Bootstrap, compute: float) -> "pd.DataFrame":
    """The compute-optimal model of every resample at one budget C = 6 N D, in FLOP.

    Columns compute, parameters, tokens, tokens_per_parameter, loss (nats per token); one row per fitted resample, NaN where its
    exponents or scales are not > 0, so that no minimum exists. Closed form of Hoffmann et al. 2022, equation 4, in logarithms:
    N = G (C/6)^a, D = (C/6)^b / G, G = (alpha A / (beta B))^(1/(alpha + beta)).

    Raises ValueError for a budget that is not finite and > 0, or a law without A, B, alpha and beta.
    """
    if not (np.isfinite(compute) and compute > 0):
        raise ValueError(f"compute = {compute:g}: finite FLOP > 0 are legal")
    table = bootstrap.constants
    if not {"A", "B", "alpha", "beta"} <= set(table.columns):
        raise ValueError(f"law = {bootstrap.form.name!r}: a law with the terms A / N^alpha and B / D^beta is legal")
    import pandas as pd

    with np.errstate(all="ignore"):
        alpha, beta, log_a, log_b = (
            np.where((values := column.to_numpy()) > 0, values, np.nan)
            for column in (table["alpha"], table["beta"], table["A"], table["B"])
        )
        log_a, log_b = np.log(log_a), np.log(log_b)
        scale = (np.log(alpha) + log_a - np.log(beta) - log_b) / (alpha + beta)
        budget = np.log(compute / FLOPS_PER_PARAMETER_TOKEN)
        log_n = scale + budget * beta / (alpha + beta)
        log_d = budget - log_n
        loss = table["E"].to_numpy() + np.exp(log_a - alpha * log_n) + np.exp(log_b - beta * log_d)
        return pd.DataFrame({
            "compute": np.full(len(table), float(compute)), "parameters": np.exp(log_n), "tokens": np.exp(log_d),
            "tokens_per_parameter": np.exp(log_d - log_n), "loss": loss,
        })  # fmt: skip


def checked_theta(form: Form, theta: Float[np.ndarray, " parameters"], delta: float) -> Float[np.ndarray, " parameters"]:
    """The parameters as float64. Raises ValueError for another length, a number that is not finite, or a delta not > 0."""
    row = np.asarray(theta, dtype=np.float64)
    if row.shape != (form.num_parameters,) or not np.isfinite(row).all():
        shown = np.array2string(row, threshold=8)
        raise ValueError(f"theta = {shown}: {form.num_parameters} finite numbers are legal for {form.name!r}")
    if not (np.isfinite(delta) and delta > 0):
        raise ValueError(f"delta = {delta:g}: finite numbers > 0 are legal")
    return row


def _unit_of_each_point(points: ScalingPoints, unit: Unit) -> Int[np.ndarray, " points"]:
    if unit == "pairs":
        return np.arange(points.num_points)
    if points.runs is None:
        raise ValueError("unit = 'runs': the points name no runs, so 'pairs' is legal")
    return np.unique(np.array(points.runs), return_inverse=True)[1].ravel()


class _Tables:
    """The resampled tables that hold enough different places for a fit: how often each unit was drawn, points' weights on
    demand."""

    def __init__(
        self, points: ScalingPoints, members: Int[np.ndarray, " points"], generator: np.random.Generator, resamples: int,
        least: int,
    ) -> None:  # fmt: skip
        units = int(members.max()) + 1
        self.members = members
        self.batch = max(1, BATCH // points.num_points)
        places = np.unique(np.column_stack([points.log_parameters, points.log_tokens]), axis=0, return_inverse=True)[1].ravel()
        order = np.argsort(places, kind="stable")
        firsts = np.concatenate([[0], 1 + np.flatnonzero(np.diff(places[order]))])
        kept = list[Int[np.ndarray, "rows units"]]()
        for first in range(0, resamples, self.batch):
            draws = generator.multinomial(units, np.full(units, 1 / units), size=min(self.batch, resamples - first))
            # as many different places as parameters is the least that a fit can stand on: fewer are met by a whole family of laws
            held = np.add.reduceat(draws[:, members[order]], firsts, axis=1) > 0
            enough = draws[held.sum(axis=1) >= least]
            kept.append(enough.astype(np.min_scalar_type(int(draws.max()))))
        self.draws = np.concatenate(kept)

    def __len__(self) -> int:
        return len(self.draws)

    def weights(self, rows: slice) -> Float[np.ndarray, "rows points"]:
        return self.draws[rows][:, self.members].astype(np.float64)


def _fits(
    form: Form,
    points: ScalingPoints,
    start: Float[np.ndarray, " parameters"],
    tables: _Tables,
    delta: float,
    progress: Callable[[int, int], None] | None,
) -> tuple[Float[np.ndarray, "rows parameters"], Bool[np.ndarray, " rows"]]:
    """Fits from the warm start, and from the ends of their cloud for a sample of the rows: for all, if one came out lower."""
    data = points.log_parameters, points.log_tokens, points.log_loss

    def fit(begin: Float[np.ndarray, " parameters"], rows: slice, told: Callable[[int, int], None] | None) -> Solutions:
        from_, to, _ = rows.indices(len(tables))
        parts = list[Solutions]()
        for first in range(from_, to, tables.batch):
            weights = tables.weights(slice(first, min(first + tables.batch, to)))
            here = None if told is None else partial(_shifted, told, first, len(tables))
            starts = np.tile(begin, (len(weights), 1))
            parts.append(minimise(form, *data, starts, weights=weights, delta=delta, tolerance=TOLERANCE, progress=here))
        return Solutions(*(np.concatenate([getattr(part, one.name) for part in parts]) for one in fields(Solutions)))

    if not len(tables):
        return np.empty((0, len(start))), np.empty(0, dtype=bool)
    first = fit(start, slice(None), progress)
    thetas, objective = first.theta.copy(), first.objective.copy()
    converged = first.converged & np.isfinite(thetas).all(1)
    rows = slice(0, SAMPLE)
    for _ in range(2):
        lower = False
        for begin in _ends_of_cloud(start, first.theta[first.converged]):
            found = fit(begin, rows, None)
            usable = found.converged & np.isfinite(found.theta).all(1)
            better = usable & ((found.objective < objective[rows] * (1 - 1e-6)) | ~converged[rows])
            lower |= bool(better.any())
            thetas[rows][better], objective[rows][better] = found.theta[better], found.objective[better]
            converged[rows] |= better
        if not lower or len(tables) <= SAMPLE:
            break
        rows = slice(SAMPLE, None)
    return thetas, converged


def _shifted(told: Callable[[int, int], None], before: int, total: int, done: int, _: int) -> None:
    """Progress of one batch as progress of all."""
    told(before + done, total)


def _ends_of_cloud(
    start: Float[np.ndarray, " parameters"], cloud: Float[np.ndarray, "fitted parameters"]
) -> list[Float[np.ndarray, " parameters"]]:
    """Two starts, 1.5 robust deviations from the estimate along the cloud's longest direction; none where there is no cloud."""
    if len(cloud) < 10:
        return []
    moves = cloud - np.median(cloud, axis=0)
    spread = np.median(np.abs(moves), axis=0) * 1.4826
    if not (spread > 0).all():
        return []
    inside = moves[(np.abs(moves) <= 5 * spread).all(1)] / spread
    longest = np.linalg.svd(inside, full_matrices=False)[2][0]
    along = 1.4826 * float(np.median(np.abs(inside @ longest)))
    return [start + sign * 1.5 * along * longest * spread for sign in (1.0, -1.0)]


def _warnings(
    unit: Unit, num_units: int, form: Form, num_failed: int, resamples: int, points: ScalingPoints
) -> tuple[str, ...]:
    lines = []
    if unit == "pairs" and points.runs is not None and len(set(points.runs)) < points.num_points:
        lines.append(
            f"points of one run depend on each other ({len(set(points.runs))} runs, {points.num_points} points): "
            "trust the bootstrap by run, intervals by pair are too narrow"
        )
    if num_units < 4 * form.num_parameters:
        lines.append(f"{num_units} {unit} for {form.num_parameters} parameters: percentiles of so few are too narrow")
    if num_failed:
        lines.append(f"{num_failed} of {resamples} resamples could not be fitted and count as lying beyond both ends")
    return tuple(lines)
