"""From thousands of starts to one minimum, with a certificate of how it was reached."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from empirical._scaling_engine import Solutions, minimise
from empirical._scaling_forms import Form
from empirical._scaling_hands import minimise_by_hands
from empirical.scaling_points import ScalingPoints

SAME = 1e-6
"""Minima whose objectives differ by less than this share are one minimum."""
MANY_POINTS = 600
"""Tables with more points are searched on a part of this many points, drawn by the seed; the best minima are then followed on
all."""
BEST = 10
TOLERANCE = 1e-7
"""Of the starts' gradients: their ends agree with those of 1e-9 to a dozen digits, and the best are polished anyway."""
POLISH = 1e-12
Told = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Convergence:
    """How a minimum was reached.

    Attributes:
        num_starts: starts followed to their end.
        num_converged: those whose gradient vanished there.
        reached_by: those that ended at the minimum (objective within 1e-6 of it).
        num_elsewhere: those that converged at another stationary point, with a higher objective.
        runner_up: the lowest objective among the latter over the minimum's, NaN without one.
        objective_spread: of the ten best ends of starts, highest over lowest objective less one.
        theta_spread: of the same ten, the largest difference in any parameter.
        gradient_norm: at the minimum, the largest component of the gradient of the Huber sum after polishing.
        converged: whether the polished minimum's gradient is within 1e-9 of what all points together could pull.
        num_searched: points that the starts saw, all of them but in large tables.
    """

    num_starts: int
    num_converged: int
    reached_by: int
    num_elsewhere: int
    runner_up: float
    objective_spread: float
    theta_spread: float
    gradient_norm: float
    converged: bool
    num_searched: int

    @property
    def certified(self) -> bool:
        """Whether the gradient vanished and the ten best ends (all, of fewer starts) are one minimum."""
        return self.converged and self.objective_spread <= SAME and self.theta_spread <= 1e-3


def search(
    form: Form,
    points: ScalingPoints,
    starts: Float[np.ndarray, "starts parameters"],
    delta: float,
    seed: int,
    progress: Told | None,
) -> tuple[Float[np.ndarray, " parameters"], float, Convergence]:
    """The best minimum, its objective and its certificate."""
    data = points.log_parameters, points.log_tokens, points.log_loss
    part = data
    if points.num_points > MANY_POINTS:
        rows = np.random.default_rng(seed).permutation(points.num_points)[:MANY_POINTS]
        part = data[0][rows], data[1][rows], data[2][rows]
    told = None if progress is None else lambda done, total: progress("starts", done, total)
    found = minimise_by_hands(form, *part, starts, delta=delta, tolerance=TOLERANCE, progress=told)
    order = _best_first(found)[:BEST]
    ahead = order if points.num_points <= MANY_POINTS else _different(found, order)
    told = None if progress is None else lambda done, total: progress("best starts", done, total)
    tolerance = max(POLISH, 1e-15 * points.num_points)  # a sum over many points carries more rounding
    polished = minimise(form, *data, found.theta[ahead], delta=delta, tolerance=tolerance, progress=told)
    best = int(_best_first(polished)[0])
    # rounding may stop the polish a little short of its tolerance; the certificate asks for no more than the search's own
    gradient = float(polished.gradient_norm[best])
    converged = bool(np.isfinite(polished.objective[best]) and gradient <= 1e-9 * delta * points.num_points)
    lowest = float(found.objective[order[0]])
    # where the fit is exact every objective is rounding: compare with what one delta per point would be
    slack = SAME * lowest + 1e-9 * delta * delta * len(part[0])
    at_best = found.converged & (found.objective <= lowest + slack)
    elsewhere = found.converged & (found.objective > lowest + slack)
    ten, thetas = found.objective[order], found.theta[order]
    certificate = Convergence(
        len(starts), int(found.converged.sum()), int(at_best.sum()), int(elsewhere.sum()),
        float(found.objective[elsewhere].min() / lowest) if elsewhere.any() and lowest > 0 else float("nan"),
        float((ten[-1] - ten[0]) / max(lowest, slack)) if np.isfinite(ten[-1]) else float("inf"),
        float(np.ptp(thetas, axis=0).max()), gradient, converged, len(part[0]),
    )  # fmt: skip
    return polished.theta[best], float(polished.objective[best]), certificate


def _best_first(found: Solutions) -> np.ndarray:
    """Ends by falling merit: converged ones first, then by objective."""
    return np.lexsort((np.nan_to_num(found.objective, nan=np.inf), ~found.converged))


def _different(found: Solutions, order: np.ndarray) -> np.ndarray:
    """Of the best ends the different ones, at most three."""
    kept: list[int] = []
    for place in order:
        if all(np.abs(found.theta[place] - found.theta[other]).max() > 1e-4 for other in kept):
            kept.append(int(place))
    return np.array(kept[:3])
