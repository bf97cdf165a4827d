"""Minimising the sum of Huber losses of log-loss residuals from thousands of starts at once.

With delta = 1e-3 the objective is nearly a sum of absolute values, so quasi-Newton runs crawl. Here every start follows a
homotopy (in the spirit of Madsen and Nielsen 1993): least squares first, then ever smaller delta, by Newton steps with the
exact Hessian, damped in the metric of the iteratively reweighted Gauss-Newton matrix, which bounds the Huber Hessian from
above and makes the steps indifferent to the units of the parameters. Starts live in a pool: who is done leaves, the next one
takes the seat.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from empirical._scaling_forms import Form

POOL = 192  # starts worked on together
VALUES = 200_000  # most starts x points at once: temporaries of more would leave the cache
SHRINK = 5.0  # from one delta to the next
NEAR = 0.1  # mean absolute residual below which steps are taken in the amounts instead of in their logs
RIDGE = 1e-11  # against steps of parameters that have no effect, as a share of the strongest one's metric
LOOSE = 1e-5  # how much of the objective a step may still promise when delta is lowered

TIGHT = 1e-13  # the same at the end of least squares where starts may meet
MEET = 1e-5  # largest difference of parameters between starts that meet


@dataclass(frozen=True, eq=False)
class Solutions:
    """Where every start ended: theta (batch, p), the unscaled Huber sum, the largest gradient component, whether it
    converged, its steps."""

    theta: Float[ndarray, "batch parameters"]
    objective: Float[ndarray, " batch"]
    gradient_norm: Float[ndarray, " batch"]
    converged: Bool[ndarray, " batch"]
    iterations: Int[ndarray, " batch"]

    @property
    def best(self) -> int:
        """The lowest objective's index; converged starts go first."""
        return int(np.lexsort((self.objective, ~self.converged))[0])


def huber_sum(
    residual: Float[ndarray, "batch points"], weights: Float[ndarray, "#batch points"], delta: Float[ndarray, "#batch 1"]
) -> Float[ndarray, " batch"]:
    """sum_i w_i h(r_i), h(r) = r^2/2 up to |r| = delta and delta (|r| - delta/2) beyond."""
    size = np.abs(residual)
    inner = np.minimum(size, delta)
    return (weights * inner * (size - 0.5 * inner)).sum(1)


class _Pool:
    """The starts being worked on: current and trial points with what was computed there."""

    def __init__(self, size: int, num_parameters: int) -> None:
        self.member = np.full(size, -1)
        self.theta = np.empty((size, num_parameters))
        self.trial = np.empty((size, num_parameters))
        self.objective = np.full(size, np.inf)
        self.promised = np.zeros(size)
        self.gradient = np.zeros((size, num_parameters))
        self.hessian = np.zeros((size, num_parameters, num_parameters))
        self.metric = np.zeros((size, num_parameters, num_parameters))
        self.damping = np.ones(size)
        self.raising = np.full(size, 4.0)
        self.delta = np.full(size, np.inf)
        self.largest = np.zeros(size)
        self.typical = np.full(size, np.inf)
        self.steps = np.zeros(size, dtype=np.int64)
        self.first = np.ones(size, dtype=bool)  # still at least squares

    def keep(self, rows: ndarray) -> None:
        for name, value in vars(self).items():
            setattr(self, name, value[rows])


def minimise(
    form: Form,
    log_n: Float[ndarray, " points"],
    log_d: Float[ndarray, " points"],
    log_loss: Float[ndarray, " points"],
    starts: Float[ndarray, "batch parameters"],
    *,
    weights: Float[ndarray, " points"] | Float[ndarray, "batch points"] | None = None,
    delta: float = 1e-3,
    fixed: dict[int, Float[ndarray, " batch"]] | None = None,
    tolerance: float = 1e-9,
    max_iterations: int = 400,
    progress: Callable[[int, int], None] | None = None,
) -> Solutions:
    """The minimum that each start leads to of sum_i w_i Huber_delta(prediction_i - log loss_i), over the parameters that are
    not fixed.

    weights: per point, or per start and point (a bootstrap is a batch of weights). fixed: index in theta -> value for every
    start. A start has converged when no free component of the gradient exceeds tolerance * delta * sum_i w_i (what it would
    be if all points pulled the same way is about delta * sum w). progress: called with (starts done, starts).
    """
    free = np.array([index for index in range(form.num_parameters) if index not in (fixed or {})])
    amounts = {index: direction for index, direction in form.amounts(log_n, log_d).items() if index in free}
    theta = np.array(starts, dtype=np.float64)
    for index, values in (fixed or {}).items():
        theta[:, index] = values
    batch, points = len(theta), len(log_loss)
    all_weights = np.ones((1, points)) if weights is None else np.atleast_2d(np.asarray(weights, dtype=np.float64))
    shared = len(all_weights) == 1
    meetings, meeting = _Meetings(), shared and not fixed and batch > 1
    weight_sum = all_weights.sum(1)
    out = Solutions(
        theta, np.full(batch, np.inf), np.full(batch, np.inf), np.zeros(batch, dtype=bool), np.zeros(batch, dtype=np.int64)
    )
    pool = _Pool(min(max(1, min(POOL, VALUES // points)), batch), form.num_parameters)
    pool.member[:] = np.arange(len(pool.member))
    pool.trial[:] = theta[: len(pool.member)]
    following, done = len(pool.member), 0
    with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
        while len(pool.member):
            mass = all_weights if shared else all_weights[pool.member]
            _evaluate(pool, form, log_n, log_d, log_loss, mass, delta, free)
            bound = tolerance * delta * (weight_sum if shared else weight_sum[pool.member])
            size = np.abs(pool.gradient[:, free]).max(1) if len(free) else np.zeros(len(pool.member))
            final = pool.delta <= delta
            _propose(pool, free, amounts)
            small = final & (size <= bound) & np.isfinite(pool.objective)
            loose = np.where(pool.first & meeting, TIGHT, LOOSE)
            settled = ~final & ((pool.promised <= loose * pool.objective) | (size <= bound)) & (pool.damping < 0.5)
            stuck = ~small & ((pool.damping > 1e12) | ~np.isfinite(pool.objective))
            settled |= ~final & stuck
            finished = small | (final & stuck) | (pool.steps >= max_iterations)
            lower = settled & ~finished
            follows = meetings.find(pool, lower & pool.first & (pool.largest <= pool.delta)) if meeting else np.zeros_like(lower)
            lower &= ~follows
            pool.first &= ~lower
            pool.delta[lower] = np.maximum(delta, np.minimum(pool.delta[lower], pool.largest[lower]) / SHRINK)
            pool.objective[lower] = np.inf
            pool.trial[lower] = pool.theta[lower]
            pool.damping[lower] = 1e-1
            if finished.any() or follows.any():
                done += int(follows.sum())
                where = pool.member[finished]
                out.theta[where] = pool.theta[finished]
                out.objective[where] = np.where(final[finished], pool.objective[finished], np.inf)
                out.gradient_norm[where] = size[finished]
                out.converged[where] = small[finished]
                out.iterations[where] = pool.steps[finished]
                done += len(where)
                if progress is not None:
                    progress(done, batch)
                following = _refill(pool, finished | follows, theta, following)
    meetings.settle(out)
    return out


class _Meetings:
    """Starts whose least-squares stages end at the same point share the rest of the way: the first one walks it for all."""

    def __init__(self) -> None:
        self.places: list[ndarray] = []
        self.leaders: list[tuple[int, int]] = []  # start, steps to the meeting
        self.followers: list[tuple[int, int, int]] = []  # start, steps to the meeting, number of the meeting

    def find(self, pool: _Pool, arrived: Bool[ndarray, " pool"]) -> Bool[ndarray, " pool"]:
        """Which of those that arrived need not go on."""
        follows = np.zeros_like(arrived)
        for row in np.flatnonzero(arrived):
            member, steps = int(pool.member[row]), int(pool.steps[row])
            near = [number for number, place in enumerate(self.places) if np.abs(place - pool.theta[row]).max() <= MEET]
            if near:
                self.followers.append((member, steps, near[0]))
                follows[row] = True
            else:
                self.places.append(pool.theta[row].copy())
                self.leaders.append((member, steps))
        return follows

    def settle(self, out: Solutions) -> None:
        """Give the followers what their leaders found."""
        for member, steps, number in self.followers:
            leader, before = self.leaders[number]
            for values in (out.theta, out.objective, out.gradient_norm, out.converged):
                values[member] = values[leader]
            out.iterations[member] = steps + out.iterations[leader] - before


def _refill(pool: _Pool, finished: Bool[ndarray, " pool"], theta: Float[ndarray, "batch parameters"], following: int) -> int:
    """Give the seats of the finished to those who wait; drop the seats that stay empty."""
    seats = np.flatnonzero(finished)
    taken = seats[: len(theta) - following]
    members = np.arange(following, following + len(taken))
    pool.member[taken] = members
    pool.trial[taken] = theta[members]
    pool.objective[taken], pool.delta[taken], pool.damping[taken], pool.steps[taken] = np.inf, np.inf, 1.0, 0
    pool.first[taken] = True
    if len(taken) < len(seats):
        keep = np.ones(len(pool.member), dtype=bool)
        keep[seats[len(taken) :]] = False
        pool.keep(keep)
    return following + len(taken)


def _evaluate(
    pool: _Pool, form: Form, log_n: ndarray, log_d: ndarray, log_loss: ndarray, mass: Float[ndarray, "#pool points"],
    delta: float, free: Int[ndarray, " free"],
) -> None:  # fmt: skip
    """Look at the trial points, take those that improve (or that begin), and set the damping by what was promised."""
    prediction, jacobian = form.with_jacobian(pool.trial, log_n, log_d)
    residual = prediction - log_loss
    size = np.abs(residual)
    largest = size.max(1)
    begins = np.isinf(pool.delta)
    pool.delta[begins] = np.maximum(delta, np.nan_to_num(largest[begins], nan=1.0, posinf=1.0))
    width = pool.delta[:, None]
    inner = np.minimum(size, width)
    objective = (mass * inner * (size - 0.5 * inner)).sum(1)
    fresh = np.isinf(pool.objective)
    gain = np.where(fresh, 1.0, (pool.objective - objective) / np.maximum(pool.promised, 1e-300))
    taken = (np.isfinite(objective) & (objective < pool.objective)) | (fresh & np.isfinite(objective))
    rounding = pool.promised <= 1e-13 * objective  # gains are noise there, the gradient is not
    pull = mass * np.copysign(inner, residual)
    columns = jacobian.transpose(0, 2, 1)
    gradient = (columns @ pull[:, :, None])[:, :, 0]
    calmer = np.abs(gradient[:, free]).max(1, initial=0.0) < np.abs(pool.gradient[:, free]).max(1, initial=0.0)
    taken = np.where(rounding & ~fresh, calmer & (objective <= pool.objective * (1 + 1e-12)), taken)
    gain = np.where(rounding & taken, 1.0, gain)
    ratio = width / np.maximum(size, width)
    metric = (columns * (mass * ratio)[:, None, :]) @ jacobian
    hessian = (columns * (mass * (size <= width))[:, None, :]) @ jacobian
    hessian += form.curvature(pool.trial, log_n, log_d, pull, prediction, jacobian)
    taken &= np.isfinite(hessian).all((1, 2)) & np.isfinite(metric).all((1, 2))
    pool.theta[taken | fresh] = pool.trial[taken | fresh]
    pool.objective[taken], pool.largest[taken] = objective[taken], largest[taken]
    pool.typical[taken] = ((mass * size).sum(1) / mass.sum(1))[taken]
    pool.gradient[taken], pool.hessian[taken], pool.metric[taken] = gradient[taken], hessian[taken], metric[taken]
    down = np.maximum(1 / 5, 1 - (2 * np.clip(gain, 0.0, 1.0) - 1) ** 3)
    pool.damping *= np.where(taken, np.where(fresh, 1.0, down), pool.raising)
    pool.raising = np.where(taken, 4.0, 2 * pool.raising)
    np.maximum(pool.damping, 1e-4, out=pool.damping)
    pool.damping[~taken & fresh] = np.inf
    pool.steps += 1


def _propose(pool: _Pool, free: Int[ndarray, " free"], amounts: dict[int, Float[ndarray, " parameters"]]) -> None:
    """The next trial: a damped Newton step in the metric of the reweighted Gauss-Newton matrix, negative curvature turned
    round."""
    curved = pool.hessian.copy()
    near = pool.typical < NEAR
    for index, direction in amounts.items():
        curved -= (near * pool.gradient[:, index])[:, None, None] * (direction[:, None] * direction)
    pick = np.ix_(np.arange(len(pool.member)), free, free)
    metric, hessian, gradient = pool.metric[pick], curved[pick], pool.gradient[:, free]
    scale = np.sqrt(np.maximum(np.diagonal(metric, axis1=1, axis2=2), 1e-300))
    scale = np.maximum(scale, 1e-8 * scale.max(1, keepdims=True))
    metric = metric / (scale[:, :, None] * scale[:, None, :])
    ridge = RIDGE * (scale.max(1, keepdims=True) / scale) ** 2
    metric += ridge[:, :, None] * np.eye(len(free))
    broken = ~np.isfinite(metric).all((1, 2))
    metric[broken] = np.eye(len(free))
    values, vectors = np.linalg.eigh(metric)
    root = vectors / np.sqrt(np.maximum(values, 1e-12))[:, None, :] / scale[:, :, None]
    inside = root.transpose(0, 2, 1) @ hessian @ root
    inside[~np.isfinite(inside).all((1, 2))] = np.eye(len(free))
    curve, turn = np.linalg.eigh(inside)
    basis = root @ turn
    slope = (basis.transpose(0, 2, 1) @ gradient[:, :, None])[:, :, 0]
    curve = np.maximum(np.abs(curve), 1e-10) + pool.damping[:, None]
    move = -slope / curve
    move = np.where(np.isfinite(move), move, 0.0)
    pool.promised = -(slope * move).sum(1) - 0.5 * (curve * move * move).sum(1)
    pool.trial = pool.theta.copy()
    moves = np.zeros_like(pool.theta)
    moves[:, free] = (basis @ move[:, :, None])[:, :, 0]
    pool.trial += moves
    for index, direction in amounts.items():
        relative = moves @ direction
        pool.trial[:, index] += np.where(near, np.log1p(np.maximum(relative, -0.9)) - relative, 0.0)
