"""The scale of noise around a fitted scaling law: what turns a rise of the Huber sum into a likelihood ratio.

Near its minimum the Huber sum is half a quadratic form with the matrix H = sum_i p_i J_i J_i^T, p_i the chance of |residual i| <=
delta, and the estimate's covariance is V = H^-1 M H^-1 with M = sum_i psi_i^2 J_i J_i^T, psi the clipped residual (Huber 1967,
"The behavior of maximum likelihood estimates under nonstandard conditions"; Powell's kernel form of H for absolute deviations).
When theta_j is fixed at its true value, twice the rise of the sum is V_jj / (H^-1)_jj times a chi-squared variable with one
degree of freedom (derived here).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import special

NO_NOISE = 1e-9
"""Residuals of ln L below this are rounding: a loss with ten digits."""
BANDWIDTH = 0.8  # chosen by coverage; times the robust spread times n^(-1/5)


@dataclass(frozen=True, eq=False)
class NoiseScale:
    """The two matrices of an M-estimate, and what Student's distribution to compare with.

    bread: H^-1, (parameters, parameters); covariance: V of the same shape; freedom: degrees of freedom.
    reason: why there is no scale (the matrices are then empty), or "".
    """

    bread: Float[np.ndarray, "parameters parameters"]
    covariance: Float[np.ndarray, "parameters parameters"]
    freedom: int
    reason: str = ""

    def rise(self, index: int) -> float:
        """V_jj / (H^-1)_jj: twice the rise of the objective divided by this is compared with the squared Student quantile."""
        return float(self.covariance[index, index] / self.bread[index, index])

    def error(self, index: int) -> float:
        """The standard error of one parameter."""
        return float(np.sqrt(self.covariance[index, index]))


def noise_scale(
    residuals: Float[np.ndarray, " points"],
    jacobian: Float[np.ndarray, "points parameters"],
    delta: float,
    runs: Int[np.ndarray, " points"] | None = None,
) -> NoiseScale:
    """H^-1 and V from the residuals of a fit, for noise that may differ from point to point and may depend within runs.

    A count of |residual| <= delta would be useless for p_i: with delta far below the noise a fit of p parameters passes through p
    points, which would be all that is counted. So the chance is smoothed by a Gaussian kernel, and its level is set without the p
    smallest residuals. M is multiplied by n / (n - p). With runs (a number for each point), M sums psi_i J_i over a run before it
    squares, is multiplied by G / (G - 1) for G runs, and Student's distribution has G - 1 degrees of freedom in place of n - p.
    """
    num_points, num_parameters = jacobian.shape
    nothing = np.empty((0, 0))
    freedom = num_points - num_parameters
    if freedom < 1:
        reason = f"{num_points} points leave {num_parameters} parameters no degree of freedom"
        return NoiseScale(nothing, nothing, freedom, reason)
    size = np.sort(np.abs(residuals))[num_parameters:]
    spread = float(np.median(size)) / 0.6745
    if spread <= NO_NOISE:
        return NoiseScale(nothing, nothing, freedom, "the law passes through the points: there is no noise to set a scale")
    width = BANDWIDTH * spread * num_points**-0.2
    inside = _chance(residuals, delta, width)
    level = float(_chance(size, delta, width).mean() / inside.mean())
    units = np.sqrt((jacobian**2).sum(0))
    units[units == 0] = 1.0
    columns = jacobian / units
    values, vectors = np.linalg.eigh(level * (columns * inside[:, None]).T @ columns)
    values = np.maximum(values, 1e-13 * values.max())
    bread = (vectors / values) @ vectors.T
    pulls = columns * np.clip(residuals, -delta, delta)[:, None]
    correction = num_points / freedom
    if runs is not None and (groups := int(runs.max()) + 1) < num_points:
        if groups <= num_parameters:
            reason = f"{groups} runs say too little on how runs differ, for {num_parameters} parameters"
            return NoiseScale(nothing, nothing, groups - 1, reason)
        summed = np.zeros((groups, num_parameters))
        np.add.at(summed, runs, pulls)
        pulls, freedom = summed, groups - 1
        correction *= groups / (groups - 1)
    covariance = bread @ (pulls.T @ pulls * correction) @ bread
    return NoiseScale(bread / np.outer(units, units), covariance / np.outer(units, units), freedom)


def _chance(residuals: Float[np.ndarray, " some"], delta: float, width: float) -> Float[np.ndarray, " some"]:
    """The kernel's share of [-delta, delta] when it stands at each residual."""
    return np.asarray(special.ndtr((delta - residuals) / width) - special.ndtr((-delta - residuals) / width))
