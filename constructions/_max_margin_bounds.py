"""Certificates of a max-margin bracket, checked in float64 with every rounding error bounded.

Each bound is an a-priori one (Higham 2002, section 3.1): a sum of n products, in any order, is off by at most gamma_n = n u / (1
- n u) times the sum of absolute values. Those sums are computed too, and 1 per cent more covers their own rounding. A product
that underflows is off by up to the least positive number besides, times whatever it is multiplied with later: its own term.
"""

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from constructions._max_margin_problem import SUBNORMAL, UNIT, MarginProblem

SAFETY = 1.01
TINY = 1e-290  # covers what underflows last, where nothing multiplies it
SAFE = 1e-200  # traces from this to its inverse are far from underflow and overflow
SMALL = 1e-150  # of which squares may underflow
LARGEST_PROOF = 1200  # unknowns up to which a proof of infeasibility is tried: it factors one matrix of that size


def _gamma(operations: int) -> float:
    return SAFETY * operations * UNIT


def lower_bound(problem: MarginProblem, maps: np.ndarray) -> tuple[float, np.ndarray]:
    """A certain lower bound on the least margin of W, and per sequence (constraints of one label together)."""
    rank, size = problem.shape
    sizes = np.abs(problem.code) @ (np.abs(maps) @ np.abs(problem.features))
    error = sizes[problem.own] + sizes
    if problem.offsets is not None:
        error = error + np.abs(problem.offsets)
    underflow = 4.0 * SUBNORMAL * rank * (size * float(np.abs(problem.code).max()) + 1.0)
    certain = problem.margins(maps) - _gamma(size + rank + 4) * error - (TINY + underflow + problem.loss)
    certain = np.where(np.isnan(certain), -np.inf, certain)  # overflow
    per_sequence = np.where(problem.others, certain, np.inf).min(axis=0)
    least = float(per_sequence.min())
    return (least if np.isfinite(least) else -np.inf), per_sequence


def upper_bound(problem: MarginProblem, weights: np.ndarray) -> float:
    """|sum lambda a|_1 + sum lambda b over sum lambda, rounded up: no W with |W|_inf <= 1 has a larger least margin."""
    total, pull, error = _pull(problem, weights)
    value, count = float(np.abs(pull).sum()) + float(error.sum()), pull.size
    value *= 1 + _gamma(count + 2)
    if not np.isfinite(value):
        return np.inf
    if problem.offsets is not None:
        offsets = np.where(problem.others, problem.offsets, 0.0) * weights
        value += float(offsets.sum()) + _gamma(offsets.size + 2) * float(np.abs(offsets).sum()) + offsets.size * SUBNORMAL
        value += 2 * UNIT * abs(value)
    slack = _gamma(weights.size + 2)
    return float(value / (total * (1 - slack if value >= 0 else 1 + slack))) + (TINY + problem.loss)


def _pull(problem: MarginProblem, weights: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """sum lambda, A^T lambda and entrywise bounds on the error of the latter."""
    if not (np.isfinite(weights).all() and (weights >= 0).all() and (weights[problem.own] == 0).all()):
        raise ValueError("weights: finite numbers of at least 0 are legal, and 0 at the labels themselves")
    code = np.abs(problem.code)
    sizes = (code.T[:, problem.labels] * weights.sum(axis=0) + code.T @ weights) @ np.abs(problem.features).T
    classes, count = problem.others.shape
    underflow = 4.0 * SUBNORMAL * count * ((classes + 1) * float(np.abs(problem.features).max()) + 1.0)
    error = _gamma(2 * classes + count + 4) * sizes + (TINY + underflow)
    return float(weights.sum()), problem.adjoint(weights), error


def proves_infeasible(problem: MarginProblem, weights: np.ndarray) -> bool:
    """Whether some lambda >= 0, not all 0, certainly has A^T lambda = 0 exactly, so that no W has all margins above 0.

    Not the float weights themselves, whose residual rounding leaves at 1e-16 or so, but weights beside them: with S the large
    ones, A_S^T of full row rank and residual rho, some change delta of norm at most |rho| / sigma_min(A_S) repairs the residual.
    If that is less than every weight in S, the repaired weights are positive. sigma_min is bounded by a Cholesky factorisation of
    A_S^T A_S less a multiple of the identity: that it succeeds proves positive definiteness (Rump 2006). Derived here.
    """
    if problem.offsets is not None or problem.loss > 0 or problem.unknowns > LARGEST_PROOF:
        return False
    top = float(weights.max())
    return top > 0 and any(_repairable(problem, weights / top, cut) for cut in (1e-2, 1e-4, 1e-6))


def _repairable(problem: MarginProblem, weights: np.ndarray, cut: float) -> bool:
    support = weights > cut
    size = problem.unknowns
    if int(support.sum()) < size:
        return False
    gram = problem.gram(support.astype(np.float64))
    trace = float(np.trace(gram))
    if not SAFE < trace < 1 / SAFE:
        return False
    # Errors of the Gram matrix (Cauchy and Schwarz: of norm at most gamma times its trace) and of the factorisation.
    rounding = _gamma(len(problem.code) + problem.features.shape[1] + 3 * size + 30) * 2 * trace
    largest = float(np.abs(problem.features).max()) + 1.0
    rounding += 4.0 * SUBNORMAL * size * problem.features.shape[1] * (len(problem.code) + 2) * largest * largest
    flat = np.arange(size)
    floor = float(np.linalg.eigvalsh(gram)[0]) / 2 - 2 * rounding
    if not floor > 0:
        return False
    shifted = gram.copy()
    shifted[flat, flat] -= floor + rounding
    try:
        np.linalg.cholesky(shifted)
        factor = cho_factor(gram, lower=True)
    except (LinAlgError, np.linalg.LinAlgError):
        return False
    kept = np.where(support, weights, 0.0)
    for _ in range(2):
        repair = cho_solve(factor, problem.adjoint(kept).ravel()).reshape(problem.shape)
        kept = np.where(support, kept - problem.linear_margins(repair, 0.0), 0.0)
        if kept[support].min() <= 0:
            return False
    _, pull, error = _pull(problem, kept)
    residual = SAFETY * float(np.linalg.norm(np.abs(pull) + error)) + SMALL * size
    return bool(residual < 0.99 * float(kept[support].min()) * np.sqrt(floor))
