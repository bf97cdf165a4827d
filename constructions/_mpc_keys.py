"""Keys by which a receiver finds all tokens that have something for it: scores are high exactly on a token's set of destinations.

A token with destinations S gets a key, machine i a query; their product is the same for all i in S and clearly smaller for all
others, and the start token's key lies between. So softmax with a large scale is the plain mean over the senders to i, and the
start token where there are none.
"""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from theory.shapes import checked_integer

UNDERFLOW = 746.0  # exp of anything below minus this is exactly 0 in float64


class KeyFailure(Exception):
    """No key with the promised margin was found for one set of destinations."""


@dataclass(frozen=True)
class PolynomialKeys:
    r"""Exact keys for few destinations: the score of machine i is \(-\prod_{d \in S} (i - d)^2\), the start token's -1/2.

    Queries are the powers 0..2s of i - N // 2, keys the coefficients. All numbers and partial sums are integers of size at most
    \(\prod_{d} (|i| + |d|)^2 \le N^{2s}\) in these centred positions, so scores are exact while \(N^{2s} < 2^{53}\). With
    positions counted from 1 partial sums can be \(2^{2s}\) times as large, and scores are wrong before that limit.

    Args:
        num_machines: N >= 1.
        messages: s >= 1, the most destinations of one token.

    Raises:
        ValueError: \(N^{2s} \ge 2^{53}\).

    Source: derived here, in place of the random vectors in the proof of Lemma 3.2 of Sanford, Hsu and Telgarsky 2024.
    """

    num_machines: int
    messages: int
    margin: float = 0.5

    def __post_init__(self) -> None:
        n, s = checked_integer("num_machines", self.num_machines, 1), checked_integer("messages", self.messages, 1)
        if n ** (2 * s) >= 1 << 53:
            raise ValueError(f"num_machines = {n} with {s} messages: polynomial keys are exact while N^(2s) < 2^53")

    @property
    def width(self) -> int:
        """2s + 1 coordinates."""
        return 2 * self.messages + 1

    def query(self, machine: int) -> Float[np.ndarray, " width"]:
        """Powers of the machine's centred number."""
        return np.array([float((machine - self.num_machines // 2) ** power) for power in range(self.width)])

    def key(self, destinations: tuple[int, ...]) -> Float[np.ndarray, " width"]:
        """Coefficients of minus the product; the constant -1 without destinations."""
        coefficients = [1]
        for destination in destinations:
            root = destination - self.num_machines // 2
            for _ in range(2):  # times (x - root)
                shifted = [0, *coefficients]
                coefficients = [a - root * b for a, b in zip(shifted, [*coefficients, 0], strict=True)]
        padded = coefficients + [0] * (self.width - len(coefficients))
        return -np.array(padded, dtype=np.float64)

    @property
    def start_key(self) -> Float[np.ndarray, " width"]:
        """The start token's: score -1/2 for everybody."""
        return np.array([-0.5] + [0.0] * (self.width - 1))


@dataclass(frozen=True)
class RandomKeys:
    r"""Keys from random signs: \(\langle u_i, w_S \rangle = 1\) on S and at most `largest_outside` off it; the start has 3/4.

    \(u_i \in \{\pm 1/\sqrt m\}^m\) is drawn once per machine, \(w_S = U_S^T (U_S U_S^T)^{-1} 1\) is the least-squares solution,
    computed from S alone. The lemma promises 1/2 outside for m = O(s log N) with a constant that is large at small sizes; here
    the largest product outside is computed and a key that exceeds `largest_outside` is refused.

    Args:
        num_machines: N >= 1.
        messages: s >= 1, the most destinations of one token.
        dim: m >= 1; \(16 s \lceil \log_2 (N + 1) \rceil\) unless given.
        seed: of the signs.

    Source: Sanford, Hsu and Telgarsky 2024, proof of Lemma 3.2 (sparse propagation); least squares and the check are ours.
    """

    num_machines: int
    messages: int
    dim: int = 0
    seed: int = 0
    largest_outside: float = 0.7
    margin: float = 0.05
    vectors: Float[np.ndarray, "machines dim"] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        n, s = checked_integer("num_machines", self.num_machines, 1), checked_integer("messages", self.messages, 1)
        dim = checked_integer("dim", self.dim or 16 * s * n.bit_length(), 1)
        generator = np.random.default_rng([checked_integer("seed", self.seed, 0), 0])
        signs = generator.integers(0, 2, size=(n, dim)) * 2.0 - 1.0
        object.__setattr__(self, "dim", dim)
        object.__setattr__(self, "vectors", signs / np.sqrt(dim))

    @property
    def width(self) -> int:
        """m + 1 coordinates: the last is a constant for the start token."""
        return self.dim + 1

    def query(self, machine: int) -> Float[np.ndarray, " width"]:
        """u_i, and 1."""
        return np.append(self.vectors[machine], 1.0)

    def key(self, destinations: tuple[int, ...]) -> Float[np.ndarray, " width"]:
        """w_S, and 0; raises `KeyFailure` when a product outside S is too large or one inside is not 1."""
        if not destinations:
            return np.zeros(self.width)
        inside = self.vectors[list(destinations)]
        try:
            weights = inside.T @ np.linalg.solve(inside @ inside.T, np.ones(len(destinations)))
        except np.linalg.LinAlgError:
            raise KeyFailure(f"vectors of destinations {destinations} are dependent") from None
        products = self.vectors @ weights
        # Any order of summation errs by at most this; the scale turns it into a relative error of the attention weights.
        error = (self.dim + 2) * 2.0**-53 * float(np.abs(weights).sum()) / np.sqrt(self.dim)
        on_set = float(np.abs(products[list(destinations)] - 1.0).max()) + 2 * error
        others = np.delete(products, list(destinations))
        outside = float(others.max(initial=-1.0)) + error
        if outside > self.largest_outside:
            raise KeyFailure(f"largest product outside {destinations} is {outside:.3f}: at most {self.largest_outside} is wanted")
        if not on_set * scale_of(self) < 1e-6:
            raise KeyFailure(f"products on {destinations} are off 1 by {on_set:.1e}: too much for the scale")
        return np.append(weights, 0.0)

    @property
    def start_key(self) -> Float[np.ndarray, " width"]:
        """The start token's: score 3/4 for everybody."""
        return np.append(np.zeros(self.dim), 0.75)


Keys = PolynomialKeys | RandomKeys


def scale_of(keys: Keys) -> float:
    """The least power of two that turns the margin into a difference at which attention weights underflow to exactly 0."""
    scale = 1.0
    while scale * keys.margin < UNDERFLOW:
        scale *= 2
    return scale
