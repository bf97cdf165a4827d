r"""How many random labels a linear readout of frozen features can get right, argmax only: the threshold law T* = m r / codim.

Token y has a code row u_y in R^r and is read out where z lies inside its cone C_y = {z: u_y . z >= u_j . z}, so that it is the
strict argmax. Assumed: every row that occurs as a label is a vertex of the code's convex hull, and no other row equals it, which
is to say that some direction makes it the strict argmax. Then, for T random sequences with m generic features each and random
labels, some W in R^(r x m) puts every W f_t inside its cone almost surely, for large m and T, when T < T*, and none does when
T > T*. Without the assumption there is no such law: a row in the hull of the others has a cone without inside (often {0}), a
single sequence with that label is lost for every W, and half of all tables are realizable up to a number of sequences that
does not grow with m: T* / m = 0.

Why m r / codim. codim = mean_y E |g - P_y g|^2, g ~ N(0, I_r), P_y the projection onto C_y, is what one sequence costs in
dimensions: r less the statistical dimension of its cone (Amelunxen, Lotz, McCoy and Tropp 2014, who prove that a uniformly
random subspace, here of m r dimensions in R^(T r), meets a product of cones when m r exceeds the sum of codimensions). Maps W F
make up a subspace that is random in m of T directions only, the same for all r coordinates, so theirs is not a proof here. The
comparison theorem of Gordon 1988, as Stojnic 2013 uses it for perceptrons, or the replica calculation of Gardner 1988 with
overlap towards 1, give for a single output 1 / E[(g)_+^2] = 2 (Cover 1965); for several outputs the result has two symmetric
matrices of order parameters:

    T* / m = max over Q min over P  tr(P Q) / mean_y E min_{x in C_y} (Q^(1/2) g - x)^T P (Q^(1/2) g - x),

Q the covariance of the outputs, P^-1 that of their differences between two solutions. With P = Q = I it is r / codim. That point
is stationary for codes with enough symmetry (circle, simplex, orthants) and not in general: U and U B, B invertible, have the
same solutions, but not the same codim (a regular simplex of 6 stretched by 3 in two directions: r / codim changes by up to 6 per
cent, up or down with the directions). The saddle does not change with B. `threshold_ratio` is the saddle, `codim` the plain
average. The two-matrix form is derived here, at the level of rigour of the replica calculation; the claims about it are measured.
"""

from dataclasses import dataclass
from math import ceil, inf, pi, sqrt
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.linalg import expm
from scipy.optimize import nnls

from theory.shapes import AttentionShape, checked_integer

Values = Literal["solved", "frozen"]
Law = Literal["saddle", "isotropic"]
SAMPLES = 4000
FLAT = 1e-9  # singular values, relative to the largest, below which a code has no extent
STEPS = 14


@dataclass(frozen=True)
class Estimate:
    """A number with the standard error of its Monte Carlo estimate, 0 where a closed form gave it.

    Attributes:
        value: the estimate.
        standard_error: of the mean; an interval of 95 per cent is two of them either way.
        code_dim: r, the dimensions that differences of code rows span; at most N - 1, and what the law means by r.
        source: the closed form, or how it was estimated.
    """

    value: float
    standard_error: float
    code_dim: int
    source: str

    @property
    def interval(self) -> tuple[float, float]:
        """1.96 standard errors either way."""
        return self.value - 1.96 * self.standard_error, self.value + 1.96 * self.standard_error


def spanned(code: Float[np.ndarray, "classes code_dim"]) -> Float[np.ndarray, "classes spanned"]:
    """The code in orthonormal coordinates of the span of its differences, and centred: neither changes any argmax.

    A code need not be centred for the law: only differences u_y - u_j enter, and of r >= N - 1 dimensions N - 1 count.

    Raises ValueError for fewer than two rows, rows that are all equal, or numbers that are not finite.
    """
    if code.ndim != 2 or len(code) < 2 or code.shape[1] < 1 or not np.isfinite(code).all():
        raise ValueError(f"code has shape {code.shape}: at least two rows of finite numbers are legal")
    centred = code - code.mean(axis=0)
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    if not sizes[0] > 1e-12 * float(np.abs(code).max()):
        raise ValueError("code has equal rows only: at least two different ones are legal")
    return centred @ axes[sizes > FLAT * sizes[0]].T


def codim(
    code: Float[np.ndarray, "classes code_dim"],
    *,
    label_weights: Float[np.ndarray, " classes"] | None = None,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Estimate:
    """mean_y E |g - P_y g|^2 over g ~ N(0, I_r): the dimensions that one sequence costs, for a code as it stands.

    Exact for r = 1 and r = 2, where a cone is an angle: a polar cone of angle b < pi costs 1/2 + b / pi, one that is the plane
    2. So 3/2 - 2/N for the circle. It is defined for every code, but r / codim is no threshold unless every row with a label is a
    vertex of the convex hull: a row that is not costs up to r here, while no map at all makes it the strict argmax.

    For a regular simplex the projection is water filling (the label's logit and those above it meet at their mean), and samples
    are cheap. Elsewhere it is non-negative least squares on {u_j - u_y}, whose cone is polar to C_y.

    Args:
        code: U, one row per token.
        label_weights: how often each label occurs; equally often by default.
        samples: of the Monte Carlo estimate; directions only, as the mean square length of g is r.
        seed: of the samples.

    Raises:
        ValueError: a code that `spanned` refuses, weights that do not fit, a count below 2.
    """
    rows = spanned(code)
    weights, count = _weights(rows, label_weights), checked_integer("samples", samples, 2)
    rank = rows.shape[1]
    if rank == 1:
        ends = (rows[:, 0] == rows[:, 0].max()) | (rows[:, 0] == rows[:, 0].min())
        return Estimate(float(weights @ np.where(ends, 0.5, 1.0)), 0.0, 1, "closed form on a line")
    if rank == 2:
        return Estimate(float(weights @ _planar_costs(rows)), 0.0, 2, "closed form in the plane")
    rng = np.random.default_rng([seed, 7])
    if _regular_simplex(rows) and np.ptp(weights) < 1e-12:
        costs = _simplex_costs(len(rows), max(count, 20_000), rng)
        return _estimate(costs, rank, f"water filling, {len(costs)} samples")
    labels = _stratified(weights, count, rng)
    residuals = _Cones(rows, np.eye(rank)).project(labels, _directions(count, rank, rng))[0]
    return _estimate((residuals**2).sum(axis=1), rank, f"non-negative least squares, {count} samples")


def threshold_ratio(
    code: Float[np.ndarray, "classes code_dim"],
    *,
    law: Law = "saddle",
    label_weights: Float[np.ndarray, " classes"] | None = None,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Estimate:
    """T* / m, associations per feature at the threshold, for strict argmax; arguments and errors as for `codim`.

    The law is about codes every row of which (if its label weight is positive) is a vertex of the code's convex hull, not met
    twice. Where one is not, the ratio is 0, exactly, by either law, and `source` names the row: whatever m, such a label is
    never the strict argmax, so that a table is realizable only while the label does not occur.

    "isotropic" is r / codim(U). "saddle" is the number that does not depend on the basis of the code (see the module): the same
    for the circle and for a regular simplex, into which every code of N - 1 dimensions can be turned.
    """
    if law not in ("saddle", "isotropic"):
        raise ValueError(f"law = {law!r}: 'saddle' and 'isotropic' are legal")
    rows = spanned(code)
    weights, rank = _weights(rows, label_weights), rows.shape[1]
    even = bool(np.ptp(weights) < 1e-12)
    lost = _never_strict(rows, weights)
    if lost is not None:
        return Estimate(0.0, 0.0, rank, f"row {lost} of the code is no vertex of its convex hull: never the strict argmax")
    if law == "saddle" and rank > 1:
        rows = _whitened(rows)
    if law == "isotropic" or rank == 1 or (even and (_regular_simplex(rows) or _regular_polygon(rows))):
        found = codim(rows, label_weights=weights, samples=samples, seed=seed)
        error = rank / found.value**2 * found.standard_error
        return Estimate(rank / found.value, error, rank, found.source)
    return _saddle(rows, weights, checked_integer("samples", samples, 2), seed)


def threshold_associations(
    num_features: int,
    code: Float[np.ndarray, "classes code_dim"],
    *,
    law: Law = "saddle",
    label_weights: Float[np.ndarray, " classes"] | None = None,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Estimate:
    """T* = m times `threshold_ratio`: with about so many random associations half of all label tables are realizable.

    By strict argmax, and for codes of which every row with a label is a vertex of the convex hull. Elsewhere it is 0, which
    stands for a number that does not grow with m: without other obstacles ln 2 / (label weight of the rows that are none).

    `num_features` is m: d (H + 1) where the value maps are solved for (r <= d_h), H d_h + d where they are frozen. For a finite
    m the change from all to none is gradual, over a few per cent of T at m = 40.
    """
    number = checked_integer("num_features", num_features, 1)
    found = threshold_ratio(code, law=law, label_weights=label_weights, samples=samples, seed=seed)
    return Estimate(number * found.value, number * found.standard_error, found.code_dim, found.source)


def num_features(embed_dim: int, head_dim: int, num_heads: int, values: Values) -> int:
    """m: d (H + 1) with "solved" value maps, H min(d_h, d) + d with "frozen" ones."""
    shape = AttentionShape(embed_dim, num_heads, head_dim)
    if values not in ("solved", "frozen"):
        raise ValueError(f"values = {values!r}: 'solved' and 'frozen' are legal")
    return shape.embed_dim + shape.num_heads * (shape.embed_dim if values == "solved" else shape.rank)


def heads_for_threshold(num_associations: int, embed_dim: int, head_dim: int, ratio: Estimate, values: Values = "solved") -> int:
    """The fewest heads whose threshold reaches T0, for a code's `threshold_ratio`.

    With "solved" values the code has to have r <= d_h dimensions. Raises ValueError for a code that has more, and for a ratio
    that is not positive: 0 is that of a code with a label that is no vertex of its convex hull, for which no number of heads
    will do.
    """
    total, per_head = checked_integer("num_associations", num_associations, 1), num_features(embed_dim, head_dim, 1, values)
    if values == "solved" and ratio.code_dim > min(head_dim, embed_dim):
        raise ValueError(f"ratio is of a code of {ratio.code_dim} dimensions: at most min(d_h, d) are legal for solved values")
    if not 0 < ratio.value < inf:
        raise ValueError(f"ratio = {ratio.value} ({ratio.source}): a number above 0 is legal")
    return max(0, ceil((total / ratio.value - embed_dim) / (per_head - embed_dim) - 1e-9))


def _weights(rows: np.ndarray, given: np.ndarray | None) -> np.ndarray:
    if given is None:
        return np.full(len(rows), 1.0 / len(rows))
    if given.shape != (len(rows),) or not np.isfinite(given).all() or given.min() < 0 or given.sum() <= 0:
        raise ValueError(f"label_weights: {len(rows)} numbers of at least 0, not all 0, are legal")
    return given / given.sum()


def _never_strict(rows: np.ndarray, weights: np.ndarray) -> int | None:
    """The first row of positive weight that no direction makes the strict argmax, None without one.

    A direction is tried first: that of the row itself, seen from the mean. Else the unit vectors e_j towards the other rows have
    a hull that contains 0, or its point w nearest to 0 has e_j . w > 0 for all j, and -w is a direction. Non-negative least
    squares with the sum of the coefficients drawn to 1 finds w up to its length. A direction counts if its margins exceed their
    rounding errors, so that three rows on a line up to rounding are on a line.
    """
    left, sizes, _ = np.linalg.svd(rows, full_matrices=False)  # whitened: neither vertices nor margins depend on the basis
    longest = float(np.linalg.norm(rows, axis=1).max())

    def strict(label: int, direction: np.ndarray) -> bool:
        rounding = 1e-13 * longest * float(np.linalg.norm(direction / sizes))
        return bool((np.delete(left[label] - left, label, axis=0) @ direction > rounding).all())

    for label in np.flatnonzero(weights).tolist():
        if strict(label, left[label]):
            continue
        ways = np.delete(left - left[label], label, axis=0)
        lengths = np.linalg.norm(ways, axis=1, keepdims=True)
        if not lengths.min() > 0:
            return int(label)
        ways /= lengths
        shares, _ = nnls(np.vstack([ways.T, np.ones(len(ways))]), np.append(np.zeros(ways.shape[1]), 1.0))
        if not strict(label, -(shares @ ways)):
            return int(label)
    return None


def _planar_costs(rows: np.ndarray) -> np.ndarray:
    costs = []
    for row in rows:
        ways = rows - row
        ways = ways[np.hypot(*ways.T) > 1e-12 * np.abs(rows).max()]
        angles = np.sort(np.arctan2(ways[:, 1], ways[:, 0]))
        widest = float(np.diff(np.append(angles, angles[0] + 2 * pi)).max())
        costs.append(0.5 + (2 * pi - widest) / pi if widest > pi - 1e-9 else 2.0)
    return np.array(costs)


def _regular_simplex(rows: np.ndarray) -> bool:
    if rows.shape[1] != len(rows) - 1:
        return False
    gram = rows @ rows.T  # centred: the identity less a constant, up to scale
    wanted = (np.eye(len(rows)) - 1 / len(rows)) * np.trace(gram) / (len(rows) - 1)
    return bool(np.abs(gram - wanted).max() < 1e-9 * np.trace(gram))


def _regular_polygon(rows: np.ndarray) -> bool:
    if rows.shape[1] != 2:
        return False
    lengths, angles = np.hypot(*rows.T), np.sort(np.arctan2(rows[:, 1], rows[:, 0]))
    steps = np.diff(np.append(angles, angles[0] + 2 * pi))
    return bool(np.ptp(lengths) < 1e-9 * lengths.max() and np.ptp(steps) < 1e-9)


def _simplex_costs(num_tokens: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """|g - P g|^2 onto {z: z_0 >= z_j}: coordinate 0 and those above it are pooled at their mean."""
    drawn = rng.standard_normal((count, num_tokens))
    own, rest = drawn[:, :1], -np.sort(-drawn[:, 1:], axis=1)
    means = (own + np.cumsum(rest, axis=1)) / np.arange(2, num_tokens + 1)
    pooled = (rest > np.concatenate([own, means[:, :-1]], axis=1)).sum(axis=1)  # the first so many lie above the mean so far
    level = np.concatenate([own, means], axis=1)[np.arange(count), pooled]
    return (own[:, 0] - level) ** 2 + (np.maximum(rest - level[:, None], 0.0) ** 2).sum(axis=1)


def _directions(count: int, rank: int, rng: np.random.Generator) -> np.ndarray:
    drawn = rng.standard_normal((count, rank))
    return np.asarray(drawn * (sqrt(rank) / np.linalg.norm(drawn, axis=1, keepdims=True)))


def _stratified(weights: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    points = (np.arange(count) + rng.uniform()) / count
    return np.minimum(np.searchsorted(np.cumsum(weights), points), len(weights) - 1)


def _estimate(costs: np.ndarray, rank: int, source: str) -> Estimate:
    return Estimate(float(costs.mean()), float(costs.std(ddof=1)) / sqrt(len(costs)), rank, source)


class _Cones:
    """Projections onto the cones of a code under the metric x^T P x, by non-negative least squares on the polar cones."""

    def __init__(self, rows: np.ndarray, metric: np.ndarray) -> None:
        values, axes = np.linalg.eigh(metric)
        self.root, inverse = (axes * np.sqrt(values)) @ axes.T, (axes / np.sqrt(values)) @ axes.T
        self.inverse = inverse
        self.polar = [((np.delete(rows, label, axis=0) - row) @ inverse).T for label, row in enumerate(rows)]

    def project(self, labels: np.ndarray, drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Residuals and projections per sample, in the coordinates in which the metric is the identity."""
        turned = drawn @ self.root
        residuals = np.stack([self.polar[y] @ nnls(self.polar[y], z)[0] for y, z in zip(labels.tolist(), turned, strict=True)])
        return residuals, turned - residuals


def _whitened(rows: np.ndarray) -> np.ndarray:
    """The code in the basis in which its rows have covariance I: exact for every affine image of a symmetric code."""
    left = np.linalg.svd(rows, full_matrices=False)[0]
    return left * sqrt(len(rows))


def _saddle(rows: np.ndarray, weights: np.ndarray, samples: int, seed: int) -> Estimate:
    """Fixed point of the two stationarity conditions, with Q kept at I by changes of the code's basis.

    With rho = g - x the residual, stationary in P means E rho rho^T = (phi / tr P) I, stationary in Q means E rho x^T = 0. Steps
    are multiplicative, each on new samples; the value, stationary there, is taken on more samples that none of the steps has
    seen.
    """
    rank = rows.shape[1]
    metric = np.eye(rank)
    for step in range(STEPS):
        rng = np.random.default_rng([seed, 8, step])
        ratio, spread, cross, _ = _moments(rows, metric, weights, max(2, samples // 2), rng)
        rate = min(1.0, 6.0 / (1 + step))
        values, axes = np.linalg.eigh(metric)
        root = (axes * np.sqrt(values)) @ axes.T
        metric = root @ expm(0.4 * rate * (ratio * spread - np.eye(rank))) @ root
        turn = expm(-0.6 * rate * ratio * (cross + cross.T) / 2)
        rows, metric = rows @ turn, turn @ metric @ turn
        metric = metric * (rank / np.trace(metric))
    ratio, _, _, costs = _moments(rows, metric, weights, samples, np.random.default_rng([seed, 9]))
    error = ratio * float(costs.std(ddof=1)) / float(costs.mean()) / sqrt(len(costs))
    return Estimate(ratio, error, rank, f"saddle by non-negative least squares, {samples} samples")


def _moments(
    rows: np.ndarray, metric: np.ndarray, weights: np.ndarray, samples: int, rng: np.random.Generator
) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
    """tr P / phi, E rho rho^T, E rho x^T, and the costs whose mean is phi, at Q = I."""
    cones, labels = _Cones(rows, metric), _stratified(weights, samples, rng)
    residuals, kept = cones.project(labels, _directions(samples, rows.shape[1], rng))
    costs = (residuals**2).sum(axis=1)
    residuals, kept = residuals @ cones.inverse, kept @ cones.inverse
    ratio = float(np.trace(metric) / costs.mean())
    return ratio, residuals.T @ residuals / samples, residuals.T @ kept / samples, costs
