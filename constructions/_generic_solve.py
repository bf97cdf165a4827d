"""From features to weights: one ridge-regularised linear system, in float64 or in ball arithmetic at any precision.

The maps M = [B, W_O^1, .., W_O^H] must send the features of each held sequence into its label's cone. Only the argmax counts, so
the targets U[label] may move: a ridge lets the costly directions go as far as half the margin allows, and B gets its small
singular values raised by moves Z x(t, S), which cost the heads nothing.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from constructions._generic_features import Features
from theory.encoders import low_coherence_code
from theory.tasks import AssociationTask

MARGIN_KEPT = 0.5  # part of the margin that the ridge must leave, and the moves of B of what it left
REFINEMENTS = 2


@dataclass(frozen=True)
class Goal:
    """Where the held sequences are to be sent, and what would still be right.

    Attributes:
        code: one row per class: the labels that occur, then a zero row for all other tokens, if there are any (classes, d).
        labels: per held sequence the row of its label (held,).
        ridge: lambda of the ridge regression, in units of the features squared; 0 asks for equality.
    """

    code: Float[np.ndarray, "classes embed_dim"]
    labels: Int[np.ndarray, "held"]
    ridge: float = 0.0

    @property
    def targets(self) -> Float[np.ndarray, "held embed_dim"]:
        """U[label] per held sequence."""
        return self.code[self.labels]

    def margin(self, outputs: Float[np.ndarray, "held embed_dim"]) -> float:
        """Least difference between the label's logit and the next over the held sequences; NaN counts as minus infinity."""
        logits = outputs @ self.code.T
        own = np.arange(len(logits)), self.labels
        right = logits[own].copy()
        logits[own] = -np.inf
        gap = right - logits.max(axis=1)
        return float(gap.min()) if not np.isnan(gap).any() else -np.inf


@dataclass(frozen=True)
class Maps:
    """Weights that were solved for.

    Attributes:
        skip: B (d, d), already part of the two others.
        unembedding: U B per class of the goal (classes, d).
        output: B^-1 W_O per head (heads, d_h, d), as the model stores it.
        margin: least margin that these maps promise before they are rounded.
        condition: condition number of B.
    """

    skip: Float[np.ndarray, "embed_dim embed_dim"]
    unembedding: Float[np.ndarray, "classes embed_dim"]
    output: Float[np.ndarray, "heads head_dim embed_dim"]
    margin: float
    condition: float


def label_code(task: AssociationTask, embed_dim: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The distinct labels, and a direction of low coherence for each; tokens that never are a label have none."""
    labels = np.unique(task.targets)
    return labels, low_coherence_code(len(labels), embed_dim, seed)


def set_goal(task: AssociationTask, features: Features, labels: np.ndarray, code: np.ndarray) -> Goal:
    """The goal with the largest ridge that keeps MARGIN_KEPT of the margin, by the float64 features."""
    rows = code if len(labels) == task.vocab_size else np.concatenate([code, np.zeros((1, code.shape[1]))])
    goal = Goal(rows, np.searchsorted(labels, task.targets[features.held]))
    _, sizes, right = np.linalg.svd(features.matrix[:, features.held], full_matrices=False)
    if not len(sizes) or len(sizes) < len(features.held):
        return goal
    wanted = MARGIN_KEPT * goal.margin(goal.targets)
    along = right @ goal.targets
    for exponent in np.arange(0.0, -30.0, -0.5):
        ridge = float(sizes[0] ** 2 * 10.0**exponent)
        if goal.margin(right.T @ ((sizes**2 / (sizes**2 + ridge))[:, None] * along)) >= wanted:
            return Goal(goal.code, goal.labels, ridge)
    return goal


def solve_float64(features: Features, goal: Goal) -> Maps | None:
    """Solve by a singular value decomposition and refine; None where float64 finds no usable B."""
    matrix = features.matrix[:, features.held]
    left, sizes, right = np.linalg.svd(matrix, full_matrices=False)
    if len(sizes) < len(features.held) or not sizes[-1] > 0:
        return None
    inverse = sizes / (sizes**2 + goal.ridge)
    fitted = right.T @ ((sizes * inverse)[:, None] * (right @ goal.targets))  # what the ridge makes of the targets
    maps = left @ (inverse[:, None] * (right @ goal.targets))  # M^T
    for _ in range(REFINEMENTS):
        maps += left @ (inverse[:, None] * (right @ (fitted - matrix.T @ maps)))
    if not np.isfinite(maps).all():
        return None
    dim = goal.code.shape[1]
    raised = raise_skip(maps[:dim].T, matrix.T @ maps, features, goal)
    if raised is None:
        return None
    moved, margin = raised
    skip = maps[:dim].T + moved
    condition = float(np.linalg.cond(skip))
    if not np.isfinite(condition):
        return None
    output = np.linalg.solve(skip, maps[dim:].T).T
    return Maps(skip, goal.code @ skip, output.reshape(-1, features.value.shape[2], dim), margin, condition)


def raise_skip(skip: np.ndarray, outputs: np.ndarray, features: Features, goal: Goal) -> tuple[np.ndarray, float] | None:
    """What to add to B, and the least margin after it.

    On the span of the x(t, S) the small singular values of B are raised as far as MARGIN_KEPT of the margin allows, which moves
    the outputs by Z x(t, S); on its complement, which no sequence sees, B is free.
    """
    last = features.last[features.held]
    before = goal.margin(outputs)
    wanted = MARGIN_KEPT * before if before > 0 else 2 * before  # some are wrong already: what is right shall stay
    _, sizes, right = np.linalg.svd(last)  # all d right singular vectors
    seen = int((sizes > 1e-10 * sizes[0]).sum())
    span, rest = right[:seen].T, right[seen:].T
    left, values, inner = np.linalg.svd(skip @ span)
    largest = values[0] if values[0] > 0 else 1.0
    for exponent in np.arange(0.0, -14.0, -0.25):
        lifted = np.maximum(values, largest * 10.0**exponent)
        moved = (left[:, :seen] * (lifted - values)) @ inner @ span.T
        margin = goal.margin(outputs + last @ moved.T)
        if margin >= wanted:
            middle = float(np.exp(np.log(lifted).mean()))
            return moved + middle * left[:, seen:] @ rest.T, margin
    return None
