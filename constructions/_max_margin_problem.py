"""The bounded max-margin problem in the shape that it has here: one map of features, one code, one label per sequence.

Unknown is a map W (r, m). Its margins are (u_y - u_j) . W f_t + b_tj, one for every sequence t with label y and every other
class j. Nothing of size (T (N - 1)) x (r m) is ever formed: margins, their adjoint and their Gram matrices are products of small
matrices.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

UNIT = 2.0**-53  # rounding error of one float64 operation


@dataclass(frozen=True, eq=False)
class MarginProblem:
    """The numbers of one problem, all float64.

    Attributes:
        features: F, one column per sequence.
        labels: the row of `code` that must win, per sequence.
        code: U, one row per class.
        offsets: b, added to the margin of every (class, sequence); None for none.
    """

    features: Float[np.ndarray, "features sequences"]
    labels: Int[np.ndarray, " sequences"]
    code: Float[np.ndarray, "classes code_dim"]
    offsets: Float[np.ndarray, "classes sequences"] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(r, m), the shape of W."""
        return self.code.shape[1], self.features.shape[0]

    @property
    def unknowns(self) -> int:
        """r m."""
        return self.code.shape[1] * self.features.shape[0]

    @cached_property
    def own(self) -> tuple[np.ndarray, np.ndarray]:
        """Where (class, sequence) arrays hold the label itself, which is no constraint."""
        return self.labels, np.arange(len(self.labels))

    @cached_property
    def others(self) -> Bool[np.ndarray, "classes sequences"]:
        """True at every constraint."""
        mask = np.ones((len(self.code), len(self.labels)), dtype=bool)
        mask[self.own] = False
        return mask

    @cached_property
    def differences(self) -> Float[np.ndarray, "code_dim classes sequences"]:
        """u_y - u_j."""
        return self.code.T[:, self.labels][:, None, :] - self.code.T[:, :, None]

    def select(self, columns: Int[np.ndarray, " kept"] | Bool[np.ndarray, " sequences"]) -> "MarginProblem":
        """The problem of some of the sequences."""
        offsets = None if self.offsets is None else self.offsets[:, columns]
        return MarginProblem(self.features[:, columns], self.labels[columns], self.code, offsets)

    def logits(self, maps: Float[np.ndarray, "code_dim features"]) -> Float[np.ndarray, "classes sequences"]:
        """U W F."""
        return self.code @ (maps @ self.features)

    def linear_margins(self, maps: Float[np.ndarray, "code_dim features"], blank: float) -> np.ndarray:
        """(u_y - u_j) . W f_t, with `blank` at the labels themselves."""
        logits = self.logits(maps)
        margins = logits[self.own] - logits
        margins[self.own] = blank
        return margins

    def margins(self, maps: Float[np.ndarray, "code_dim features"], blank: float = np.inf) -> np.ndarray:
        """The same with the offsets."""
        margins = self.linear_margins(maps, blank)
        if self.offsets is not None:
            margins += self.offsets
            margins[self.own] = blank
        return margins

    def adjoint(self, weights: Float[np.ndarray, "classes sequences"]) -> Float[np.ndarray, "code_dim features"]:
        """sum over constraints of weight (u_y - u_j) f_t^T; weights of the labels themselves count for nothing."""
        pulled = self.code.T[:, self.labels] * weights.sum(axis=0) - self.code.T @ weights
        return pulled @ self.features.T

    def gram(self, weights: Float[np.ndarray, "classes sequences"]) -> Float[np.ndarray, "unknowns unknowns"]:
        """sum over constraints of weight a a^T with a = (u_y - u_j) (x) f_t; weights at the labels must be 0."""
        rank, size = self.shape
        result = np.empty((rank, size, rank, size))
        for row in range(rank):
            for column in range(row + 1):
                per_sequence = (weights * self.differences[row] * self.differences[column]).sum(axis=0)
                block = (self.features * per_sequence) @ self.features.T
                result[row, :, column] = block
                if column < row:
                    result[column, :, row] = block  # symmetric itself
        return result.reshape(rank * size, rank * size)
