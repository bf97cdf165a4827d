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
SUBNORMAL = 2.0**-1074  # the least positive float64: what underflow changes is less
ORDINARY = 16  # arrays with a largest entry from 2^-17 to 2^16 are solved as they are
LARGEST_OFFSET = 200  # power of two that rescaled offsets stay below


@dataclass(frozen=True, eq=False)
class MarginProblem:
    """The numbers of one problem, all float64.

    Attributes:
        features: F, one column per sequence.
        labels: the row of `code` that must win, per sequence.
        code: U, one row per class.
        offsets: b, added to the margin of every (class, sequence); None for none.
        loss: by how much any margin, of any W with |W|_inf <= 1, may be off because these numbers are not quite those meant.
    """

    features: Float[np.ndarray, "features sequences"]
    labels: Int[np.ndarray, " sequences"]
    code: Float[np.ndarray, "classes code_dim"]
    offsets: Float[np.ndarray, "classes sequences"] | None = None
    loss: float = 0.0

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
        return MarginProblem(self.features[:, columns], self.labels[columns], self.code, offsets, self.loss)

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


def rescaled(problem: MarginProblem) -> tuple[MarginProblem, int]:
    """The problem with features and code of size about 1 each, by powers of two, and s: margins are 2^s times the new ones.

    Arrays of ordinary size stay as they are. W and dual weights mean the same in both problems. Entries that become subnormal are
    rounded; what that changes is in `loss`. Offsets far larger than all else get a smaller code instead of an overflow.
    """
    of_features, of_code = _exponent(problem.features), _exponent(problem.code)
    total = of_features + of_code
    given = None if problem.offsets is None else np.where(problem.others, problem.offsets, 0.0)
    if given is not None:
        total = max(total, int(np.frexp(np.abs(given).max())[1]) - LARGEST_OFFSET)
    if of_features == 0 and total == 0:
        return problem, 0
    features, of_feature = _shifted(problem.features, -of_features)
    code, of_code_entry = _shifted(problem.code, of_features - total)
    offsets, of_offset = (None, 0.0) if given is None else _shifted(given, -total)
    # A margin has 2 r m products of a code entry, one of W and a feature; twice that covers the rounding here.
    each = of_feature * (float(np.abs(code).max()) + 1.0) + of_code_entry * (float(np.abs(features).max()) + 1.0)
    return MarginProblem(features, problem.labels, code, offsets, 4.0 * problem.unknowns * each + 2.0 * of_offset), total


def _exponent(array: np.ndarray) -> int:
    """e with the largest entry in [2^(e - 1), 2^e); 0 where that is near enough to 1."""
    exponent = int(np.frexp(np.abs(array).max())[1])
    return exponent if abs(exponent) > ORDINARY else 0


def _shifted(array: np.ndarray, exponent: int) -> tuple[np.ndarray, float]:
    """2^exponent array, and by how much an entry may be off: 0, unless some become subnormal."""
    with np.errstate(under="ignore"):
        result = np.ldexp(array, exponent)
        return result, 0.0 if np.array_equal(np.ldexp(result, -exponent), array) else SUBNORMAL


def scaled_back(values: np.ndarray, exponent: int, *, upwards: bool) -> np.ndarray:
    """2^exponent values, rounded in one direction where that is no float64 number; the sign of a bound stays, or it is 0."""
    outwards = np.inf if upwards else -np.inf
    with np.errstate(all="ignore"):
        result = np.ldexp(values, exponent)
        result = np.where(np.ldexp(result, -exponent) == values, result, np.nextafter(result, outwards))
    if upwards:
        return np.where(values <= 0, np.minimum(result, 0.0), result)
    return np.where(values >= 0, np.maximum(result, 0.0), result)
