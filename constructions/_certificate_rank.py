"""Certificates of rank: how many independent features a model has over given sequences, at least.

The features of a sequence are x_S and W_V^h A^h for every head, the matrix that the counts of Dana, Pydi and Chevaleyre 2025
(Theorem 1 and Lemma 2) are about. A minor is exhibited and proved to be non-singular: by a residual bound in float64, or by
elimination in ball arithmetic. That a rank is *not* larger is never proved here.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import linalg

from constructions._certificate_balls import BallModel, ball_matrix, precisions
from constructions._certificate_checks import FLOAT_PRECISION
from constructions._certificate_float import Weights, features_float
from constructions._enclosure import UNIT, gamma

MOST_ENTRIES = 1 << 24
"""Sequences are thinned out evenly beyond this many features in all; the rank of fewer columns is a lower bound still."""
MOST_BALL_STEPS = 20_000_000
MOST_FLOAT_STEPS = 40_000_000_000


@dataclass(frozen=True)
class Minor:
    """A square submatrix of the features, proved to be non-singular: features (rows) and associations (columns)."""

    features: Int[np.ndarray, " rank"]
    associations: Int[np.ndarray, " rank"]
    precision: int

    @property
    def rank(self) -> int:
        """The rank that it proves."""
        return len(self.features)


def find_minor(
    weights: Weights, sequences: Int[np.ndarray, "samples positions"], indices: Int[np.ndarray, " samples"], max_precision: int
) -> Minor:
    """The largest minor that can be proved non-singular; `indices` are the sequences' numbers in their task."""
    heads, embed_dim, head_dim = weights.query.shape
    width = embed_dim + heads * head_dim
    kept = np.arange(len(sequences))
    if width * len(kept) > MOST_ENTRIES:
        kept = np.unique(np.linspace(0, len(kept) - 1, max(1, MOST_ENTRIES // width)).astype(np.int64))
    sequences, indices = sequences[kept], indices[kept]
    best = _by_floats(weights, sequences)
    most = min(width, len(sequences))
    if len(best[0]) < most and width * len(sequences) * most <= MOST_BALL_STEPS:
        for precision in precisions(max_precision):
            rows, columns, _ = _by_balls(weights, sequences, precision)
            grown = len(rows) - len(best[0])
            if grown > 0:
                best = rows, columns, precision
            if len(rows) == most or (grown <= 0 and precision >= 512):  # what 512 bits do not see is most likely not there
                break
    return Minor(np.asarray(best[0], np.int64), indices[np.asarray(best[1], np.int64)], best[2])


def proves(minor: Minor, weights: Weights, sequences: Int[np.ndarray, "rank positions"], max_precision: int) -> bool:
    """Whether the minor of these features and sequences is proved to be non-singular again."""
    if minor.rank == 0:
        return True
    middle, error = features_float(weights, sequences)
    if minor.precision == FLOAT_PRECISION and _regular(middle[:, minor.features].T, error[:, minor.features].T):
        return True
    tries = [precision for precision in precisions(max_precision) if precision >= min(minor.precision, max_precision)]
    return any(len(_by_balls(weights, sequences, precision, minor.features)[0]) == minor.rank for precision in tries)


def _by_floats(weights: Weights, sequences: Int[np.ndarray, "samples positions"]) -> tuple[list[int], list[int], int]:
    middle, error = features_float(weights, sequences)
    known = np.isfinite(error).all(axis=1)
    middle, error, places = middle[known].T, error[known].T, np.flatnonzero(known)
    nothing: tuple[list[int], list[int], int] = [], [], FLOAT_PRECISION
    if not middle.size or middle.size * min(middle.shape) > MOST_FLOAT_STEPS:
        return nothing
    if middle.shape[0] == middle.shape[1] and _regular(middle, error):
        return list(range(len(middle))), places.tolist(), FLOAT_PRECISION
    triangle, order = linalg.qr(middle, mode="r", pivoting=True)
    pivots = np.abs(np.diag(triangle))
    threshold = pivots[0] * max(middle.shape) * UNIT + float(np.abs(error).max())
    for _ in range(16):
        rank = int((pivots > threshold).sum())
        if rank == 0:
            return nothing
        columns = np.sort(order[:rank])
        rows = np.arange(len(middle))
        if rank < len(middle):
            rows = np.sort(linalg.qr(middle[:, columns].T, mode="r", pivoting=True)[1][:rank])
        if _regular(middle[np.ix_(rows, columns)], error[np.ix_(rows, columns)]):
            return rows.tolist(), places[columns].tolist(), FLOAT_PRECISION
        threshold *= 10
    return nothing


def _regular(middle: Float[np.ndarray, "rank rank"], error: Float[np.ndarray, "rank rank"]) -> bool:
    """Whether every matrix within `error` of `middle` is non-singular: ||I - R M|| < 1 for an approximate inverse R.

    I - R M is the computed residual, give or take gamma_n |R||middle| for its rounding and |R| error for M itself.
    """
    size = len(middle)
    try:
        inverse = np.linalg.inv(middle)
    except np.linalg.LinAlgError:
        return False
    with np.errstate(all="ignore"):
        near = np.abs(inverse)
        residual = np.abs(inverse @ middle - np.eye(size)) * (1 + 4 * UNIT)
        residual += near @ (np.abs(middle) * gamma(size, UNIT) + error)
        lost = 8 * size * 2.0**-1022 * (1 + near.max()) * (1 + np.abs(middle).max() + error.max())
        norm = (residual.sum(axis=1).max() + size * lost) * (1 + (2 * size + 32) * 2 * UNIT)
    return bool(norm < 1)


def _by_balls(
    weights: Weights,
    sequences: Int[np.ndarray, "samples positions"],
    precision: int,
    features: Int[np.ndarray, " rank"] | None = None,
) -> tuple[list[int], list[int], int]:
    """Elimination with complete pivoting: after k pivots that exclude zero, the minor of their rows and columns is regular."""
    from flint import ctx

    with ctx.workprec(precision):
        model = BallModel(weights, precision)
        values = [ball_matrix(value) for value in weights.value]
        columns = []
        for sequence in sequences.tolist():
            column = model.row(len(sequence) - 1, sequence[-1]).entries()
            mixed = model.mixed(sequence).tolist() if model.heads else []
            for head, value in zip(mixed, values, strict=True):
                column += (type(value)(1, len(head), head) * value).entries()
            columns.append(column if features is None else [column[feature] for feature in features.tolist()])
        rows_left, columns_left = list(range(len(columns[0]))), list(range(len(columns)))
        rows, chosen = [], []
        while rows_left and columns_left:
            sizes = [(float(columns[c][r].abs_lower()), c, r) for c in columns_left for r in rows_left]
            size, column, row = max(sizes)
            if not size > 0:
                # Numbers too small for a float may still exclude zero.
                pairs = [(c, r) for _, c, r in sizes if columns[c][r].is_finite() and columns[c][r].abs_lower() > 0]
                if not pairs:
                    break
                column, row = pairs[0]
            pivot = columns[column]
            rows.append(row)
            chosen.append(column)
            rows_left.remove(row)
            columns_left.remove(column)
            for other in columns_left:
                target = columns[other]
                factor = target[row] / pivot[row]
                if not factor.is_zero():
                    for r in rows_left:
                        target[r] = target[r] - factor * pivot[r]
        return sorted(rows), sorted(chosen), precision
