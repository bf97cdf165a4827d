"""Compute-optimal sizes read off the data with no law for the loss: the envelope and isoFLOP approaches of Hoffmann et al. 2022.

Both find the best N at many budgets C and put N_opt = prefactor C^a through them, D_opt = C / (6 N_opt); so b = 1 - a by
construction. Each optimum must lie inside the sizes that were tried, otherwise it is refused and listed: an edge is no minimum.

A parabola is not the shape of the loss (derived here). Under L = E + A/N^alpha + B/D^beta, at every budget
L - E is proportional to e^(-alpha u)/alpha + e^(beta u)/beta with u = ln(N/N_opt): the same lop-sided curve each time. Sizes that
are centred alike at all budgets therefore give the exponent a exactly and only a wrong prefactor (`parabola_shift`); sizes whose
centre drifts against the optimum across budgets bias a itself, by as much as the shift differs over the range of ln C. No
interval here knows of this bias; a drift is told in `notes`.
"""

from math import exp, inf, log, nan

import numpy as np
from jaxtyping import Float, Int

from empirical._scaling_approach import (
    Approach,
    Columns,
    build,
    curve_rows,
    drift_notes,
    ends,
    lines,
    member_rows,
    optima_table,
    optimum,
    sign_draws,
)
from empirical._scaling_curves import Curve, carried, curvature_is_clear, fit_curve, smoothest_degree
from empirical._scaling_groups import RefusedGroup, compute_overflows, densest_budgets, size_groups, size_labels
from empirical.regression import Points
from empirical.scaling_points import ScalingPoints
from theory.shapes import checked_integer

__all__ = ["Approach", "RefusedGroup", "envelope", "iso_flop", "parabola_shift"]

_NONE, _SMALLEST, _LARGEST, _UNSURE = -1, -2, -3, -4


def iso_flop(
    points: ScalingPoints,
    *,
    budgets: Points | None = None,
    tolerance: float = 1.1,
    least_sizes: int = 4,
    bootstraps: int = 999,
    level: float = 0.95,
    seed: int = 0,
) -> Approach:
    """Approach 2 (Hoffmann et al. 2022, section 3.2): a parabola of loss against ln N per budget, a power law through the minima.

    Points count for a budget when their C is within the factor `tolerance` of it (found budgets: of the middle of their window).
    Their losses are first carried to the budget (`empirical._scaling_curves.carried`): 10% of C are half a percent of loss. A
    budget is refused, with its reason among `refusals`, when it has too few sizes, when its parabola opens downward or is not
    curved beyond noise (one-sided Student test at `level`), or when the lowest place lies outside its sizes.

    Args:
        points: the table; C = 6 N D.
        budgets: FLOP; None finds the densest windows of C by themselves.
        tolerance: a factor > 1.
        least_sizes: different N that a budget needs, at least 4: a parabola has three numbers.
        bootstraps: draws of the wild bootstrap (`empirical._scaling_curves`), at least 99.
        level: of confidence, in (0, 1).
        seed: of the draws.

    Returns:
        The approach; numbers are NaN and `reason` is told with fewer than two budgets that have a minimum.

    Raises ValueError for other arguments.
    """
    checked_integer("least_sizes", least_sizes, 4)
    _check(bootstraps, level)
    if not 1 < tolerance < inf:
        raise ValueError(f"tolerance = {tolerance}: a finite factor > 1 is legal")
    refusals, notes, rows = list[RefusedGroup](), list[str](), list[dict[str, float]]()
    if why := compute_overflows(points):
        return build("iso-flop", optima_table([]), np.empty((0, 2)), ([], []), [], [], level, reason=why)
    if budgets is None:
        groups = densest_budgets(points, 2 * log(tolerance), least_sizes)
        centres = [float(np.exp(np.log(points.compute[part]).mean())) for part in groups]
        if not groups:
            notes.append(f"no {least_sizes} sizes have C within a factor {tolerance:g} of one budget")
    else:
        groups, centres = _told_budgets(points, budgets, tolerance, least_sizes, refusals)
    signs = sign_draws(points, bootstraps, seed)
    members, curves = list[Columns](), list[Columns]()
    tops, middles = list[Float[np.ndarray, " draws"]](), list[float]()
    freedom = 0.0
    losses = carried(points.log_loss, points.log_parameters, np.log(points.compute), groups, centres)
    for part, budget, adjusted in zip(groups, centres, losses, strict=True):
        curve = fit_curve(points.log_parameters[part], adjusted, 2, signs[:, part])
        top, why = _minimum(curve, part.size, level)
        members.append(member_rows(points, part, budget, adjusted, not why))
        places = np.linspace(curve.low, curve.high, 60)
        curves.append(curve_rows(budget, places, np.full(60, log(budget)), curve.at(places), not why))
        if why:
            refusals.append(RefusedGroup(budget, f"budget {budget:.3g} FLOP", why))
            continue
        tops.append(_drawn_minima(curve))
        middles.append(0.5 * (curve.low + curve.high) - top)
        freedom += part.size - 3
        lowest = float(curve.at(np.array([top]))[0])
        rows.append(optimum(log(budget), top, *ends(tops[-1], level, part.size - 3.0), lowest, part.size))
    unused = points.num_points - np.unique(np.concatenate([*groups, np.empty(0, dtype=np.int64)])).size
    if unused:
        notes.append(f"{unused} of {points.num_points} points belong to no budget")
    optima = optima_table(rows)
    found = np.log(optima["compute"].to_numpy())
    drawn = np.array(tops).reshape(len(tops), bootstraps).T
    lost = int(np.isnan(drawn).any(axis=1).sum())
    if lost > (1 - level) * bootstraps:
        notes.append(f"{lost} of {bootstraps} draws lose the minimum of a budget: the intervals are too narrow")
    notes += drift_notes(found, np.array(middles))
    if len(rows) >= 2:
        notes += _shape_notes(points, groups)
    return build(
        "iso-flop", optima, lines(found, drawn), (members, curves), refusals, notes, level, freedom=freedom, independent=True
    )  # fmt: skip


def envelope(
    points: ScalingPoints,
    *,
    num_budgets: int = 1500,
    least_points: int = 3,
    bootstraps: int = 499,
    level: float = 0.95,
    seed: int = 0,
) -> Approach:
    """Approach 1 (Hoffmann et al. 2022, section 3.1): the size of lowest loss at each of 1500 budgets, a power law through them.

    Each size gets one smooth curve of ln L against ln C, the polynomial of degree 1 to 3 that predicts its points best from one
    another, over its own range of C: nothing is extrapolated. A budget counts where a smaller and a larger size than the best
    one are known, in all but a share 1 - `level` of the draws too. Neighbouring budgets share their optimum, so that the scatter
    about the line means nothing; and sizes come in steps, for which the bootstrap's interval is widened by half a step over the
    range of ln C. What is left is a bias towards flat lines: near the ends optima are known only on one side. On 20 to 40
    noise-free sizes, four horizons each over a factor 16, a comes out .005 low; with 0.3% noise .01 low (measured). Losses in
    the middle of a schedule that is longer than the budget are too high (Hoffmann et al. 2022, section 2): hand over final ones.

    Args:
        points: the table; C = 6 N D.
        num_budgets: log-spaced over the range of C, at least 10.
        least_points: different C that a size needs, at least 3.
        bootstraps: draws of the wild bootstrap (`empirical._scaling_curves`), at least 99.
        level: of confidence, in (0, 1).
        seed: of the draws.

    Returns:
        The approach; numbers are NaN and `reason` is told where fewer than two sizes are ever best.

    Raises ValueError for other arguments.
    """
    checked_integer("num_budgets", num_budgets, 10)
    checked_integer("least_points", least_points, 3)
    _check(bootstraps, level)
    refusals, rows = list[RefusedGroup](), list[dict[str, float]]()
    members, curves = list[Columns](), list[Columns]()
    if why := compute_overflows(points):
        return build("envelope", optima_table([]), np.empty((0, 2)), (members, curves), [], [], level, reason=why)
    sizes, fitted, counts = list[float](), list[Curve](), list[int]()
    logs, signs = np.log(points.compute), sign_draws(points, bootstraps, seed)
    for size, part in size_groups(points):
        different = np.unique(np.round(logs[part], 6)).size
        members.append(member_rows(points, part, size, points.loss[part], different >= least_points))
        if different < least_points:
            why = f"it was trained with {different} different C: a curve needs {least_points}"
            refusals.append(RefusedGroup(size, f"size {size:.4g}", why))
            continue
        degree = smoothest_degree(logs[part], points.log_loss[part], min(3, different - 2))
        curve = fit_curve(logs[part], points.log_loss[part], degree, signs[:, part])
        places = np.linspace(curve.low, curve.high, 60)
        curves.append(curve_rows(size, np.full(60, log(size)), places, np.exp(curve.at(places)), True))
        sizes.append(log(size))
        fitted.append(curve)
        counts.append(part.size)
    if len(fitted) < 3:
        reason = f"{len(fitted)} sizes have a curve: a best one with a smaller and a larger one beside it needs three"
        return build("envelope", optima_table([]), np.empty((0, 2)), (members, curves), refusals, [], level, reason=reason)
    grid = np.linspace(min(curve.low for curve in fitted), max(curve.high for curve in fitted), num_budgets)
    winner, loss, drawn = _winners(fitted, grid, bootstraps)
    unsure = (winner >= 0) & ((drawn < 0).mean(axis=0) > 1 - level)
    winner[unsure], drawn[:, unsure] = _UNSURE, _UNSURE
    refusals += _edges(grid, winner, level)
    drawn = np.where(drawn >= 0, np.array(sizes)[drawn], nan)
    for place in np.flatnonzero(winner >= 0):
        at = int(winner[place])
        ranged = ends(drawn[:, place], level)
        rows.append(optimum(float(grid[place]), sizes[at], *ranged, float(np.exp(loss[place])), counts[at]))
    ever = np.unique(winner[winner >= 0]).size
    reason = "" if ever >= 2 else f"{ever} sizes are best somewhere between others: a power law needs two"
    notes = ["optima near the ends of the range are known from one side only: the exponent comes out somewhat low"]
    steps = 0.0 if reason else 0.5 * float(np.median(np.diff(sizes))) / float(np.ptp(grid[winner >= 0]))
    return build(
        "envelope", optima_table(rows), lines(grid, drawn), (members, curves), refusals, [] if reason else notes, level,
        reason=reason, steps=steps,
    )  # fmt: skip


def parabola_shift(alpha: float, beta: float, offsets: Points) -> float:
    """ln of the factor by which a parabola misses N_opt, with sizes at these offsets ln(N/N_opt) (derived here).

    The vertex of the least-squares parabola through e^(-alpha u)/alpha + e^(beta u)/beta at the offsets u; 0 for alpha = beta
    and symmetric offsets. The same at every budget whose sizes have these offsets.

    Args:
        alpha, beta: exponents of the law L = E + A/N^alpha + B/D^beta, > 0.
        offsets: natural logarithms, at least three different ones.

    Returns:
        The shift; the curve bends upward everywhere, so its parabola has a vertex.

    Raises ValueError for other arguments.
    """
    places = np.asarray(offsets, dtype=float)
    for name, value in (("alpha", alpha), ("beta", beta)):
        if not 0 < value < inf:
            raise ValueError(f"{name} = {value}: a finite number > 0 is legal")
    if places.ndim != 1 or not np.isfinite(places).all() or np.unique(places).size < 3:
        raise ValueError(f"offsets = {np.array2string(places, threshold=8)}: at least three different finite numbers are legal")
    heights = np.exp(-alpha * places) / alpha + np.exp(beta * places) / beta
    curve = fit_curve(places, heights, 2, np.empty((0, places.size), dtype=np.int8))
    return float(curve.middle - 0.5 * curve.coefficients[1] / curve.coefficients[2])


def _check(bootstraps: int, level: float) -> None:
    checked_integer("bootstraps", bootstraps, 99)
    if not 0 < level < 1:
        raise ValueError(f"level = {level}: a number in (0, 1) is legal")


def _told_budgets(
    points: ScalingPoints, budgets: Points, tolerance: float, least: int, refusals: list[RefusedGroup]
) -> tuple[list[Int[np.ndarray, " members"]], list[float]]:
    """The points of each budget that has enough sizes; the others are refused."""
    told = np.unique(np.asarray(budgets, dtype=float))
    if not told.size or not (np.isfinite(told) & (told > 0)).all():
        raise ValueError(f"budgets = {np.array2string(told, threshold=8)}: at least one finite number of FLOP > 0 is legal")
    groups, centres = list[Int[np.ndarray, " members"]](), list[float]()
    labels = size_labels(points.log_parameters)
    for budget in told.tolist():
        part = np.flatnonzero(np.abs(np.log(points.compute) - log(budget)) <= log(tolerance) * (1 + 1e-12))
        sizes = np.unique(labels[part]).size
        if sizes >= least:
            groups.append(part)
            centres.append(budget)
        else:
            why = f"{sizes} sizes have C within a factor {tolerance:g} of it: {least} are needed"
            refusals.append(RefusedGroup(budget, f"budget {budget:.3g} FLOP", why))
    return groups, centres


def _minimum(curve: Curve, num_points: int, level: float) -> tuple[float, str]:
    """ln N of the lowest place of a parabola, and why it is no interior minimum, or ""."""
    bend, rounding = curve.coefficients[2] * (curve.high - curve.low) ** 2, 1e-12 * abs(curve.coefficients[0])
    if bend <= rounding:
        flat = "its points are not curved at all" if bend >= -rounding else "its parabola opens downward"
        return nan, f"no interior minimum: {flat}"
    top = float(curve.middle - 0.5 * curve.coefficients[1] / curve.coefficients[2])
    if not curve.low < top < curve.high:
        side = "below the smallest" if top <= curve.low else "above the largest"
        return top, f"no interior minimum: the lowest place of its parabola lies {side} of its sizes"
    if not curvature_is_clear(curve, num_points, level):
        return top, f"no clear minimum: its {num_points} points are not curved beyond their noise"
    return top, ""


def _shape_notes(points: ScalingPoints, groups: list[Int[np.ndarray, " _"]]) -> list[str]:
    """A note where points of one budget differ in C, or sizes differ from budget to budget: noise is then not all."""
    widths = [float(np.ptp(np.log(points.compute[part]))) for part in groups]
    spans = [float(np.ptp(points.log_parameters[part])) for part in groups]
    if max(widths) <= 1e-6 and max(spans) - min(spans) <= 1e-6:
        return []
    return [
        f"budgets are up to a factor {exp(max(widths)):.2f} of C wide and their sizes span {exp(min(spans)):.3g} to "
        f"{exp(max(spans)):.3g} times the smallest: what this and the parabola's shape do to the exponent is in no interval"
    ]


def _drawn_minima(curve: Curve) -> Float[np.ndarray, " draws"]:
    """The minimum of each draw, NaN where a draw has none inside the sizes."""
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn = curve.middle - 0.5 * curve.draws[:, 1] / curve.draws[:, 2]
    return np.where((curve.draws[:, 2] > 0) & (drawn > curve.low) & (drawn < curve.high), drawn, nan)


def _winners(
    fitted: list[Curve], grid: Float[np.ndarray, " places"], draws: int
) -> tuple[Int[np.ndarray, " places"], Float[np.ndarray, " places"], Int[np.ndarray, "draws places"]]:
    """The curve that is lowest at each place, its height, and the same for each draw.

    No curve reaches, or the smallest or the largest size there wins: a negative number of `_edges`.
    """
    lowest = np.full((draws + 1, grid.size), inf)
    winner = np.full(lowest.shape, _NONE, dtype=np.int64)
    first, last = np.full(grid.size, -1), np.full(grid.size, -1)
    for index, curve in enumerate(fitted):
        covered = slice(int(np.searchsorted(grid, curve.low)), int(np.searchsorted(grid, curve.high, side="right")))
        heights = np.vstack([curve.coefficients, curve.draws]) @ curve.basis(grid[covered]).T
        better = heights < lowest[:, covered]
        np.copyto(lowest[:, covered], heights, where=better)
        np.copyto(winner[:, covered], index, where=better)
        first[covered] = np.where(first[covered] < 0, index, first[covered])
        last[covered] = index
    known = winner >= 0
    winner = np.where(known & (winner == last), _LARGEST, np.where(known & (winner == first), _SMALLEST, winner))
    return winner[0], lowest[0], winner[1:]


def _edges(grid: Float[np.ndarray, " places"], winner: Int[np.ndarray, " places"], level: float) -> list[RefusedGroup]:
    """The ranges of compute without an optimum between other sizes."""
    reasons = {
        _NONE: "no size has a curve here",
        _SMALLEST: "the smallest size that has a curve here is best: no interior minimum",
        _LARGEST: "the largest size that has a curve here is best: no interior minimum",
        _UNSURE: f"in over {1 - level:.2g} of the draws an outermost size is best here: no clear interior minimum",
    }
    refused = list[RefusedGroup]()
    starts = np.flatnonzero(np.diff(winner, prepend=winner[0] - 1))
    for start, end in zip(starts, [*(starts[1:] - 1), grid.size - 1], strict=True):
        if winner[start] < 0:
            low, high = np.exp(grid[start]), np.exp(grid[end])
            refused.append(RefusedGroup(float(low), f"compute {low:.3g} to {high:.3g} FLOP", reasons[int(winner[start])]))
    return refused
