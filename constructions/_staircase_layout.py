"""Where the staircase puts its tokens: embeddings, and the total order of all sequences that its heads cut with thresholds.

Coordinate 0 of the residual stream is the order coordinate (one whole number per token, scaled by a power of two), coordinate
1 is constant (0 at the first position, 1 at the last), the others only keep deltas independent. Sequences are pairs (a, b), b
last; x1(a), x2(b) are the two rows of the residual stream and delta = x1(a) - x2(b), so that delta_1 = -1 for every pair.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

ORDER, CONSTANT = 0, 1  # coordinates of the residual stream
JITTER = 0.3  # standard deviation beside coordinates of unit mean square


@dataclass(frozen=True)
class Layout:
    """One choice of token scalars, order functional and remaining coordinates.

    Attributes:
        scalar: whole number per token (N,); tokens that the task does not use have 0.
        shift: the order coordinate is scalar * 2**-shift, below 1.
        first: weight p of the first token in the order p * scalar[a] + q * scalar[b].
        last: weight q of the last token.
        rows: residual stream per token and position (2, N, d).
        name: in words, for reports.
        mixed: whether neighbours in the order differ in both tokens.
    """

    scalar: Int[np.ndarray, "vocab"]
    shift: int
    first: int
    last: int
    rows: Float[np.ndarray, "2 vocab embed_dim"]
    name: str
    mixed: bool

    @property
    def skip_threshold(self) -> float:
        """How much of its x2 must be new for a sequence to be carried by the skip connection.

        In an order by first tokens, a whole block can share its first token; E is then affine in x2 on all that lies in the
        block, and the skip can carry nothing in it. There the earliest sequences are taken, whatever their conditioning.
        """
        return 0.3 if self.mixed else 1e-4

    def deltas(self, sequences: Int[np.ndarray, "associations 2"]) -> Float[np.ndarray, "associations embed_dim"]:
        """x1(a) - x2(b) per sequence."""
        return self.rows[0][sequences[:, 0]] - self.rows[1][sequences[:, 1]]

    @property
    def position_embedding(self) -> Float[np.ndarray, "2 embed_dim"]:
        """0 at the first position, the constant coordinate at the last."""
        position = np.zeros((2, self.rows.shape[2]))
        position[1, CONSTANT] = 1.0
        return position


def layout(sequences: Int[np.ndarray, "associations 2"], vocab_size: int, embed_dim: int, attempt: int, seed: int) -> Layout:
    """The layout to try in a given attempt: a regular one first, then jittered and random ones in turn.

    A regular layout numbers the tokens in order and orders pairs by their first token, then their last; its remaining
    coordinates repeat a regular simplex, so that neighbours in the order have independent deltas: best for complete tables. In
    the plane, where only the order coordinate tells deltas apart, it orders by the sum, then by the first token: neighbours are
    then twice as far from each other. A jittered layout is a regular one whose remaining coordinates are moved a little: blocks
    that span two first tokens can be degenerate without. A random layout permutes the tokens, spaces them irregularly and draws
    the remaining coordinates; every other one mixes both digits.
    """
    used = np.unique(sequences)
    scalar = np.zeros(vocab_size, dtype=np.int64)
    rng = np.random.default_rng([seed, attempt])
    jittered = attempt % 3 == 1 and embed_dim > 2
    if attempt == 0 or jittered:
        scalar[used] = np.arange(len(used))
        first, last = (len(used) + 1, len(used)) if embed_dim == 2 else (len(used), 1)
        rest = _simplex_coordinates(scalar, embed_dim)
        if jittered:
            rest = rest + JITTER * rng.standard_normal(rest.shape)
        return assemble(scalar, first, last, rest, f"jittered {attempt}" if jittered else "regular", mixed=False)
    # Gaps of one or two: irregular differences at the price of one bit.
    scalar[rng.permutation(used)] = np.cumsum(rng.integers(1, 3, size=len(used))) - 1
    mixed = attempt % 3 == 0
    top = int(scalar.max()) + 1
    first, last = _coprime(rng, top) if mixed else (top, 1)
    return assemble(scalar, first, last, rng.standard_normal((vocab_size, embed_dim - 2)), f"random {attempt}", mixed=mixed)


def assemble(
    scalar: Int[np.ndarray, "vocab"],
    first: int,
    last: int,
    rest: Float[np.ndarray, "vocab rest"],
    name: str,
    *,
    mixed: bool,
) -> Layout:
    """A layout from its token scalars and remaining coordinates."""
    shift = max(1, int(scalar.max()).bit_length())
    rows = np.zeros((2, len(scalar), rest.shape[1] + 2))
    rows[:, :, ORDER] = scalar * 2.0**-shift
    rows[1, :, CONSTANT] = 1.0
    rows[:, :, 2:] = rest
    return Layout(scalar=scalar, shift=shift, first=first, last=last, rows=rows, name=name, mixed=mixed)


def _coprime(rng: np.random.Generator, at_least: int) -> tuple[int, int]:
    """Two coprime weights of at least the number of tokens: then p * a + q * b tells all pairs apart."""
    while True:
        first, last = (int(w) for w in rng.integers(at_least, 2 * at_least + 2, size=2))
        if np.gcd(first, last) == 1:
            return first, last


def _simplex_coordinates(scalar: Int[np.ndarray, "vocab"], embed_dim: int) -> Float[np.ndarray, "vocab rest"]:
    """Rows that, with the constant coordinate, repeat an orthogonal basis with period d - 1."""
    if embed_dim == 2:
        return np.zeros((len(scalar), 0))
    period = embed_dim - 1
    axes = np.linalg.svd(np.eye(period) - 1.0 / period)[2][: period - 1].T * np.sqrt(period)
    return axes[scalar % period]


def sidon_layout(
    sequences: Int[np.ndarray, "associations 2"], vocab_size: int, embed_dim: int, attempt: int, seed: int
) -> Layout:
    """The layout for heads of dimension one: all differences of two different token scalars are distinct (a Sidon set).

    Scalars 2 p k + (k^2 mod p) for the k-th token, p the least prime that is no smaller than the number of tokens
    (Erdos and Turan 1941).
    """
    used = np.unique(sequences)
    prime = len(used)
    while prime < 2 or any(prime % divisor == 0 for divisor in range(2, int(prime**0.5) + 1)):
        prime += 1
    k = np.arange(len(used))
    scalar = np.zeros(vocab_size, dtype=np.int64)
    scalar[used] = 2 * prime * k + k * k % prime
    ranks = np.zeros(vocab_size, dtype=np.int64)
    ranks[used] = k
    if attempt:
        rest = np.random.default_rng([seed, attempt]).standard_normal((vocab_size, embed_dim - 2))
    else:
        rest = _simplex_coordinates(ranks, embed_dim)
    return assemble(scalar, 1, 1, rest, "Sidon", mixed=False)
