"""The same system as in `_generic_solve`, with features and solution at any precision (Arb), where float64 has too few digits."""

import numpy as np
from flint import arb, arb_mat, ctx
from jaxtyping import Float

from constructions._generic_features import Features
from constructions._generic_solve import Goal, Maps, raise_skip
from theory.tasks import AssociationTask

RESIDUAL = 1e-12  # largest error of the equations, in units of the targets' length


class PrecisionError(ArithmeticError):
    """This precision is not enough to meet the equations."""


def solve_exact(task: AssociationTask, features: Features, goal: Goal, bits: int) -> Maps | None:
    """Evaluate the features of the held sequences at `bits` bits, solve, and round the weights to float64 at the end.

    Returns:
        The weights; None where no move of the targets gives a B that float64 can hold.

    Raises:
        PrecisionError: the equations can't be met to RESIDUAL at this precision.
    """
    before = ctx.prec
    try:
        ctx.prec = bits
        return _solve(task, features, goal)
    finally:
        ctx.prec = before


def _solve(task: AssociationTask, features: Features, goal: Goal) -> Maps | None:
    dim = goal.code.shape[1]
    matrix = exact_features(task, features)
    maps = _ridge_maps(matrix, goal.ridge, goal.targets)  # M^T
    approximate = _midpoints(maps)
    raised = raise_skip(approximate[:dim].T, _midpoints(matrix.transpose() * maps), features, goal)
    if raised is None:
        return None
    moved, margin = raised
    entries = maps.tolist()
    skip = arb_mat([list(row) for row in zip(*entries[:dim], strict=True)]) + _matrix(moved)
    try:
        heads = entries[dim:]
        output = _midpoints((skip.solve(arb_mat(heads).transpose())).transpose()) if heads else np.zeros((0, dim))
    except ZeroDivisionError as error:
        raise PrecisionError("skip map singular") from error
    rounded = _midpoints(skip)
    return Maps(
        rounded,
        _midpoints(_matrix(goal.code) * skip),
        output.reshape(-1, features.value.shape[2], dim),
        margin,
        float(np.linalg.cond(rounded)),
    )


def solve_targets(
    task: AssociationTask, features: Features, targets: Float[np.ndarray, "held outputs"], ridge: float, bits: int
) -> Float[np.ndarray, "features outputs"]:
    """The maps M^T that ridge regression sends to the targets on the held sequences, at `bits` bits, then rounded to float64.

    Raises:
        PrecisionError: the equations can't be met to RESIDUAL at this precision.
    """
    before = ctx.prec
    try:
        ctx.prec = bits
        return _midpoints(_ridge_maps(exact_features(task, features), ridge, targets))
    finally:
        ctx.prec = before


def _ridge_maps(matrix: arb_mat, ridge: float, targets: np.ndarray) -> arb_mat:
    gram = matrix.transpose() * matrix
    for i in range(gram.nrows()):
        gram[i, i] += arb(ridge)
    wanted = _matrix(targets)
    try:
        # Midpoints only: whether they are a solution is decided by the residual, which is enclosed.
        solved = gram.solve(wanted, algorithm="approx")
    except ZeroDivisionError as error:
        raise PrecisionError("singular") from error
    residual = max(float(x.abs_upper()) for row in (gram * solved - wanted).tolist() for x in row)
    if not residual <= RESIDUAL:
        raise PrecisionError(f"equations met to {residual:.0e} only")
    return matrix * solved


def exact_features(task: AssociationTask, features: Features) -> arb_mat:
    """F over the held sequences, (d + heads d_h, held), enclosed: weights are taken as the exact floats that they are."""
    sequences = task.sequences[features.held]
    used = np.unique(sequences)
    place = np.searchsorted(used, sequences)
    tokens = features.tokens[used]
    rows = [_matrix(tokens) + _matrix(np.tile(position, (len(used), 1))) for position in features.positions]
    last_rows = rows[-1].tolist()
    result = [[last_rows[t][k] for t in place[:, -1]] for k in range(features.tokens.shape[1])]
    for query, key, value in zip(features.query, features.key, features.value, strict=True):
        asked = (rows[-1] * _matrix(query)) * _matrix(key).transpose()
        scores = [(asked * row.transpose()).tolist() for row in rows]
        values = [(row * _matrix(value)).tolist() for row in rows]
        columns = []
        for sequence in place.tolist():
            line = [table[sequence[-1]][token] for table, token in zip(scores, sequence, strict=True)]
            top = max(line, key=float)
            weights = [(score - top).exp() for score in line]
            total = sum(weights, arb(0))
            mixed = [sum((w * table[token][k] for w, table, token in zip(weights, values, sequence, strict=True)), arb(0)) / total
                     for k in range(value.shape[1])]  # fmt: skip
            columns.append(mixed)
        result += [list(row) for row in zip(*columns, strict=True)]
    return arb_mat(result)


def _matrix(numbers: np.ndarray) -> arb_mat:
    rows, columns = numbers.shape
    return arb_mat(rows, columns, [arb(x) for x in numbers.ravel().tolist()])


def _midpoints(matrix: arb_mat) -> np.ndarray:
    return np.array([[float(x.mid()) for x in row] for row in matrix.tolist()]).reshape(matrix.nrows(), matrix.ncols())
