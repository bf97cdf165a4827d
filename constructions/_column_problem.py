"""What the readout of gated heads has to satisfy: one inequality per association and neighbouring label, linear in all maps.

A head that attends to position 1 with weight g(t) puts out x2 + g(t) delta, delta = x1 - x2. With P the net skip map and M_h the
heads' maps into the r dimensions of a label code u, E = P x2 + sum_h M_h (x2 + g_h delta) = G x2 + sum_h g_h M_h delta, where
G = P + sum_h M_h is free. A label y is right when (u_y - u_j) E > 0 for all j: linear in w = (G, M_1, .., M_H). Derived here.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import nnls
from scipy.special import expit

from theory.encoders import circle_code, low_coherence_code
from theory.tasks import AssociationTask

LARGEST_ENTRY = 20.0  # of W_QK where it is drawn and climbed: gates are then as sharp as they need to be, and scores below 1,000
SCALES = (1.0, 3.0, 10.0)  # spreads of drawn gates: from soft to sharp


@dataclass(frozen=True)
class Embedding:
    """Drawn once, never solved for: token rows e (N, d) and the two positions' rows (2, d)."""

    tokens: Float[np.ndarray, "vocab embed_dim"]
    positions: Float[np.ndarray, "2 embed_dim"]


def draw_embedding(task: AssociationTask, embed_dim: int, rng: np.random.Generator) -> Embedding:
    """Directions far from one another for the tokens that occur, dealt out at random, and Gaussian positions.

    Positions must differ: with equal ones all constant sequences (a, a) have delta = 0 and no head could help them.
    """
    used = np.unique(task.sequences)
    tokens = np.zeros((task.vocab_size, embed_dim))
    if embed_dim == 2:
        tokens[used] = circle_code(len(used))[rng.permutation(len(used))]
    else:
        code = np.eye(1, embed_dim) if len(used) == 1 else low_coherence_code(len(used), embed_dim, int(rng.integers(2**31)))
        tokens[used] = code[rng.permutation(len(used))]
    return Embedding(tokens, rng.standard_normal((2, embed_dim)))


@dataclass(frozen=True)
class LabelCode:
    """Where labels are read out.

    Attributes:
        rows: u, a unit row per label that occurs, the zero row for every other token (N, r).
        normals: per label y that occurs its facets u_y - u_j (facets, r), those that no others imply; j may be "never a label".
    """

    rows: Float[np.ndarray, "vocab code_dim"]
    normals: dict[int, Float[np.ndarray, "facets code_dim"]]


def label_code(task: AssociationTask, code_dim: int, seed: int) -> LabelCode:
    """A well-spread code of the labels that occur, with the facets of its cones (the two neighbours, in the plane)."""
    labels = np.unique(task.targets)
    rows = np.zeros((task.vocab_size, code_dim))
    if len(labels) <= 2 or code_dim == 1:
        rows[labels, 0] = np.array([1.0, -1.0])[: len(labels)]
    else:
        rows[labels] = low_coherence_code(len(labels), code_dim, seed)
    absent = len(labels) < task.vocab_size
    normals = {}
    for label in labels:
        others = rows[labels[labels != label]]
        if absent:
            others = np.concatenate([others, np.zeros((1, code_dim))])
        normals[int(label)] = _facets(rows[label] - others)
    return LabelCode(rows, normals)


def _facets(normals: Float[np.ndarray, "all code_dim"]) -> Float[np.ndarray, "facets code_dim"]:
    """The normals left when each one that the rest imply is dropped, the longest first.

    Implied is a non-negative combination whose coefficients sum to 1 or more: a margin of the rest is then a margin of it too.
    """
    kept = list(np.argsort(-np.linalg.norm(normals, axis=1), kind="stable"))
    for candidate in list(kept):
        rest = [index for index in kept if index != candidate]
        if not rest:
            break
        coefficients, residual = nnls(normals[rest].T, normals[candidate])
        if residual <= 1e-9 and coefficients.sum() >= 1.0 - 1e-9:
            kept = rest
    return normals[sorted(kept)]


class GateSpace:
    """All gates sigmoid(x2^T W delta) of rank <= head_dim over some sequences; a gate is a vector of parameters.

    With head_dim >= d the parameters are the d^2 entries of W; below, they are those of two factors, W = A B^T.
    """

    def __init__(self, last: Float[np.ndarray, "pairs d"], delta: Float[np.ndarray, "pairs d"], head_dim: int) -> None:
        self.last, self.delta = last, delta
        self.dim = last.shape[1]
        self.rank = min(head_dim, self.dim)
        self.full = self.rank == self.dim
        self.features = np.einsum("ti,tj->tij", last, delta).reshape(len(last), -1)
        self.size = self.dim**2 if self.full else 2 * self.dim * self.rank

    def draw(self, count: int, rng: np.random.Generator) -> Float[np.ndarray, "count size"]:
        """Random gates of all sharpnesses."""
        scale = rng.choice(SCALES, (count, 1))
        return rng.standard_normal((count, self.size)) * (scale if self.full else np.sqrt(scale))

    def clipped(self, gates: Float[np.ndarray, "gates size"]) -> Float[np.ndarray, "gates size"]:
        """The same gates, scaled down where an entry is too large."""
        most = LARGEST_ENTRY if self.full else np.sqrt(LARGEST_ENTRY)
        return gates * np.minimum(1.0, most / np.maximum(np.abs(gates).max(axis=1, keepdims=True), 1e-300))

    def factors(self, gates: Float[np.ndarray, "gates size"]) -> tuple[np.ndarray, np.ndarray]:
        """Query and key matrices of W = A B^T, each (gates, d, rank)."""
        if self.full:
            return gates.reshape(-1, self.dim, self.dim), np.tile(np.eye(self.dim), (len(gates), 1, 1))
        halves = gates.reshape(-1, 2, self.dim, self.rank)
        return halves[:, 0], halves[:, 1]

    def values(self, gates: Float[np.ndarray, "gates size"]) -> Float[np.ndarray, "gates pairs"]:
        """Attention on position 1, of every gate on every sequence."""
        matrices = gates
        if not self.full:
            query, key = self.factors(gates)
            matrices = (query @ key.transpose(0, 2, 1)).reshape(len(gates), -1)
        return expit(matrices @ self.features.T)

    def pull(
        self, gates: Float[np.ndarray, "gates size"], slopes: Float[np.ndarray, "gates pairs"]
    ) -> Float[np.ndarray, "gates size"]:
        """Gradient with respect to the parameters, of something whose gradient with respect to the scores is `slopes`."""
        matrices = slopes @ self.features
        if self.full:
            return matrices
        query, key = self.factors(gates)
        turned = matrices.reshape(-1, self.dim, self.dim)
        return np.stack([turned @ key, turned.transpose(0, 2, 1) @ query], axis=1).reshape(len(gates), -1)


class Problem:
    """The inequalities of one task under one embedding and one code.

    Attributes:
        embedding, code: as drawn.
        gates: the gates to choose from.
        owner: association of every inequality (inequalities,).
        code_dim: r.
    """

    def __init__(self, task: AssociationTask, embedding: Embedding, code: LabelCode, head_dim: int) -> None:
        self.task, self.embedding, self.code = task, embedding, code
        first, last = task.sequences.T
        x2 = embedding.tokens[last] + embedding.positions[1]
        delta = embedding.tokens[first] + embedding.positions[0] - x2
        self.gates = GateSpace(x2, delta, head_dim)
        self.code_dim = code.rows.shape[1]
        normals = [code.normals[int(label)] for label in task.targets]
        self.owner: Int[np.ndarray, " inequalities"] = np.repeat(np.arange(len(normals)), [len(part) for part in normals])
        self.starts = np.concatenate([[0], np.cumsum([len(part) for part in normals])[:-1]])
        stacked = np.concatenate(normals)
        self._ungated = np.einsum("cr,cd->crd", stacked, delta[self.owner]).reshape(len(stacked), -1)
        self.skip_columns: Float[np.ndarray, "inequalities columns"] = np.einsum("cr,cd->crd", stacked, x2[self.owner]).reshape(
            len(stacked), -1
        )

    @property
    def num_inequalities(self) -> int:
        """One per association and facet of its label's cone."""
        return len(self.owner)

    def columns(self, gate: Float[np.ndarray, " size"]) -> Float[np.ndarray, "inequalities columns"]:
        """The r d columns of one head with this gate: (u_y - u_j) (x) gate(t) delta."""
        return self._ungated * self.gates.values(gate[None])[0][self.owner, None]

    def priced(self, prices: Float[np.ndarray, " inequalities"]) -> Float[np.ndarray, "associations columns"]:
        """sum_j price_tj (u_y - u_j) (x) delta_t per association: a gate's value is the norm of its gate-weighted sum over t."""
        return np.add.reduceat(prices[:, None] * self._ungated, self.starts, axis=0)
