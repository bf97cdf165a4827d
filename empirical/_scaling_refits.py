"""Refits of a law to parts of a table: from few starts, with a reason in place of numbers where the part does not decide them."""

from dataclasses import dataclass
from math import nan

import numpy as np
from jaxtyping import Float

from empirical._scaling_engine import minimise
from empirical._scaling_forms import Form
from empirical._scaling_points import ScalingPoints

BATCH = 2_000_000
"""Starts times points in one call of the engine: its temporaries hold several times as many numbers."""
TOLERANCE = 1e-7
"""Of the gradient: a dozen digits of the objective."""
MANY_POINTS = 2000
"""Larger tables let a part of this many points choose among the starts."""
BLIND = 1e-8
"""Singular values of the Jacobian below this share of the largest leave a combination of constants undecided; well-spread tables
have 1e-3 or more."""


@dataclass(frozen=True, eq=False)
class Refit:
    """The best of the starts on one part of the points; theta is NaN where there is a `reason`."""

    theta: Float[np.ndarray, " parameters"]
    objective: float
    converged: bool
    reason: str


def random_starts(form: Form, number: int, seed: int = 0) -> Float[np.ndarray, "starts parameters"]:
    """Rows of the form's grid of starts, drawn without repetition."""
    grid = form.starts()
    return grid[np.random.default_rng(seed).permutation(len(grid))[:number]]


def promising(
    form: Form,
    points: ScalingPoints,
    starts: Float[np.ndarray, "starts parameters"],
    delta: float,
    seed: int = 0,
) -> Float[np.ndarray, "some parameters"]:
    """The starts as they are; of a large table where the best of them ends on a part of the points, drawn by the seed."""
    if points.num_points <= MANY_POINTS:
        return starts
    rows = np.random.default_rng(seed).permutation(points.num_points)[:MANY_POINTS]
    data = points.log_parameters[rows], points.log_tokens[rows], points.log_loss[rows]
    found = minimise(form, *data, starts, delta=delta, tolerance=TOLERANCE)
    return found.theta[[found.best]] if np.isfinite(found.theta[found.best]).all() else starts[:1]


def refit(
    form: Form,
    points: ScalingPoints,
    parts: Float[np.ndarray, "parts points"],
    starts: Float[np.ndarray, "starts parameters"],
    delta: float,
) -> list[Refit]:
    """The fit to each part of the points (weights 1 and 0) from the same starts."""
    size = max(1, BATCH // (points.num_points * len(starts)))
    needed = form.num_parameters
    counts = (parts > 0).sum(axis=1)
    few = [f"{count} points for {needed} free constants" if count <= needed else "" for count in counts]
    found = [Refit(np.full(needed, nan), nan, False, reason) for reason in few]
    enough = np.flatnonzero(counts > needed)
    for first in range(0, enough.size, size):
        chunk = parts[enough[first : first + size]]
        many = np.repeat(chunk, len(starts), axis=0)
        solutions = minimise(
            form, points.log_parameters, points.log_tokens, points.log_loss, np.tile(starts, (len(chunk), 1)), weights=many,
            delta=delta, tolerance=TOLERANCE,
        )  # fmt: skip
        for index, weights in enumerate(chunk):
            rows = np.arange(len(starts)) + index * len(starts)
            at = rows[np.lexsort((solutions.objective[rows], ~solutions.converged[rows]))[0]]
            theta, converged = solutions.theta[at], bool(solutions.converged[at])
            reason = _undecided(form, points, weights > 0, theta, converged)
            objective = nan if reason else float(solutions.objective[at])
            found[enough[first + index]] = Refit(np.full_like(theta, nan) if reason else theta, objective, converged, reason)
    return found


def _undecided(
    form: Form, points: ScalingPoints, left: np.ndarray, theta: Float[np.ndarray, " parameters"], converged: bool
) -> str:
    """Why the points that are left don't decide the constants, or ""."""
    if not converged or not np.isfinite(theta).all():
        return "no start converged"
    jacobian = form.with_jacobian(theta[None], points.log_parameters[left], points.log_tokens[left])[1][0]
    return "" if decides(jacobian) else "these points do not decide all constants"


def decides(jacobian: Float[np.ndarray, "points parameters"]) -> bool:
    """Whether points with these slopes decide all constants: no combination of them moves hardly anything."""
    if not np.isfinite(jacobian).all():
        return False
    lengths = np.linalg.norm(jacobian, axis=0)
    values = np.linalg.svd(jacobian / np.where(lengths > 0, lengths, 1.0), compute_uv=False)
    return bool(lengths.min() > 0 and values[-1] > BLIND * values[0])


def constants_with_allocation(form: Form, theta: Float[np.ndarray, " parameters"]) -> dict[str, float]:
    """The law's constants, and a of N_opt ~ C^a where the law has both exponents (NaN where one of them is not above zero).

    a = beta / (alpha + beta) for sums of two powers (Hoffmann et al. 2022, equation 4); alpha_D / (alpha_N + alpha_D) for the
    joint law of Kaplan et al. 2020, equation 1.5, whose inner sum has the exponents alpha_N / alpha_D and 1 (derived here).
    """
    constants = form.constants(theta)
    for of_parameters, of_tokens in (("alpha", "beta"), ("alpha_N", "alpha_D")):
        if of_parameters in constants and of_tokens in constants:
            first, second = constants[of_parameters], constants[of_tokens]
            constants["a"] = second / (first + second) if first > 0 and second > 0 else nan
    return constants
