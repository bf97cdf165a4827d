"""Frozen heads for a readout: drawn from the generic pool in a fixed order, so that more heads mean more of the same features."""

from dataclasses import dataclass

import numpy as np

from constructions._generic_features import _as_float32, _Pool
from constructions._max_margin_problem import MarginProblem
from theory.tasks import AssociationTask

VANISHED = 1e-9  # singular values of the features, relative to the largest, that count as none


@dataclass(frozen=True, eq=False)
class FrozenHeads:
    """Embeddings and heads in order of choice, and what they see.

    Attributes:
        tokens, positions: e and pos.
        query, key, value: per head (heads, d, d_h); `value` is there for frozen value maps only.
        rows: x(t, S) (d, T0), then one block of rows per head: A^h (d, T0), or W_V^h A^h (d_h, T0).
        block: rows per head.
    """

    tokens: np.ndarray
    positions: np.ndarray
    query: np.ndarray
    key: np.ndarray
    value: np.ndarray | None
    rows: np.ndarray
    block: int

    @property
    def embed_dim(self) -> int:
        """d."""
        return self.tokens.shape[1]

    def used(self, num_heads: int) -> int:
        """Heads that `num_heads` heads make use of; beyond those chosen nothing is new."""
        return min(num_heads, len(self.query))

    def matrix(self, num_heads: int) -> np.ndarray:
        """The features of the first heads."""
        return self.rows[: self.embed_dim + self.used(num_heads) * self.block]


def draw_heads(
    task: AssociationTask, *, embed_dim: int, head_dim: int, num_heads: int, frozen: bool, candidates: int, seed: int
) -> FrozenHeads:
    """Choose up to `num_heads` heads of a pool, best conditioned first; with `frozen` each with its value map."""
    rng = np.random.default_rng([seed, 5])
    pool = _Pool(task, embed_dim, head_dim, num_heads, candidates, None, False, rng, None)
    chosen = pool.select(head_dim if frozen else embed_dim, num_heads)
    heads = [head for head, _ in chosen]
    rows, values = [pool.last.T], []
    for head, reading in chosen:
        seen = pool.seen[head]
        if frozen:
            sizes = np.sqrt(((reading.T @ seen) ** 2).mean(axis=1))
            values.append(_as_float32(reading / np.where(sizes > 0, sizes, 1.0)))
            seen = values[-1].T @ seen
        rows.append(seen)
    value = np.stack(values) if values else (np.zeros((0, embed_dim, head_dim)) if frozen else None)
    block = head_dim if frozen else embed_dim
    return FrozenHeads(
        pool.tokens, pool.positions, pool.query[heads], pool.key[heads], value, np.concatenate(rows), block
    )


@dataclass(frozen=True, eq=False)
class White:
    """Features in orthonormal coordinates, of mean square 1, and the way back.

    Attributes:
        problem: the max-margin problem on them.
        back: features' own coordinates from orthonormal ones: W = W_white @ back.
    """

    problem: MarginProblem
    back: np.ndarray


def whiten(matrix: np.ndarray, labels: np.ndarray, code: np.ndarray) -> White:
    """Orthonormal rows with the same span; what is too small for float64 to be told from rounding is left out."""
    lengths = np.maximum(np.linalg.norm(matrix, axis=1), 1e-300)
    left, sizes, right = np.linalg.svd(matrix / lengths[:, None], full_matrices=False)
    kept = sizes > VANISHED * sizes[0]
    scale = np.sqrt(matrix.shape[1])
    back = scale * (left[:, kept] / sizes[kept]).T / lengths
    return White(MarginProblem(np.ascontiguousarray(scale * right[kept]), labels, code), back)
