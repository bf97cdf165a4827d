"""Structured tokens and the heads in which exactly one ordered pair of tokens speaks."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from theory.shapes import checked_integer

DATA, SECOND, COSINE, SINE, ONE = range(5)
NUM_ROWS = 5
SCORE_MARGIN = 1.05  # the routing constant is this much larger than needed, so that every other score is below -M/20


def position_rows(num_tokens: int) -> Float[np.ndarray, "tokens 5"]:
    r"""The tokens before any input: rows COSINE, SINE and ONE filled, DATA and SECOND zero.

    Token t = 0 .. l - 1 has the angle \((t + 1) \pi / (2 l)\), in the first quadrant, so that cosines fall with t.

    Raises:
        ValueError: num_tokens is no integer >= 1.

    Source: the interaction terms of Havrilla and Liao 2024 (recalled, not checked against the text).
    """
    num_tokens = checked_integer("num_tokens", num_tokens, 1)
    angles = np.arange(1, num_tokens + 1) * (math.pi / (2 * num_tokens))
    rows = np.zeros((num_tokens, NUM_ROWS))
    rows[:, COSINE], rows[:, SINE], rows[:, ONE] = np.cos(angles), np.sin(angles), 1.0
    return rows


def routing_factor(num_tokens: int) -> float:
    r"""\(C / M = 1.05 / (1 - \cos(\pi / 2l))\), about \(0.85\, l^2\): silences all pairs of l tokens but one (derived here)."""
    return SCORE_MARGIN / (2 * math.sin(math.pi / (4 * num_tokens)) ** 2)  # 1 - cos without its cancellation


@dataclass(frozen=True, eq=False)
class HeadPairs:
    """Pairs of heads of one block, each of which adds to one row of one token and touches nothing else.

    Pair i is two heads with forms W and -W, W = scale e_left e_right^T + shift e_ONE e_ONE^T, that write with + and -: since
    relu(s) - relu(-s) = s, together they add scale * h_p[left] * h_q[right] + shift to `row` of token p = target, q = source.

    Args:
        targets: tokens that are written, 0-based, one per pair (P,).
        sources: tokens that are read beside the target.
        rows: row that is written: DATA or SECOND.
        lefts: row of the target that is read (ONE: none).
        rights: row of the source that is read.
        scales: coefficients of the products, finite.
        shifts: constants, finite.

    Raises:
        ValueError: arrays of other shapes, a token below 0, a row that is not there or is never written, a number not finite.

    Source: the form of the heads is the interaction lemma of Havrilla and Liao 2024 (recalled); the arithmetic is derived here.
    """

    targets: Int[np.ndarray, "pairs"]
    sources: Int[np.ndarray, "pairs"]
    rows: Int[np.ndarray, "pairs"]
    lefts: Int[np.ndarray, "pairs"]
    rights: Int[np.ndarray, "pairs"]
    scales: Float[np.ndarray, "pairs"]
    shifts: Float[np.ndarray, "pairs"]

    def __post_init__(self) -> None:
        length = self.targets.shape
        for name in ("targets", "sources", "rows", "lefts", "rights", "scales", "shifts"):
            array = getattr(self, name)
            if array.ndim != 1 or array.shape != length:
                raise ValueError(f"{name} has shape {array.shape}: {length}, one entry a pair, is legal")
        for name, most in (("rows", SECOND), ("lefts", ONE), ("rights", ONE), ("targets", None), ("sources", None)):
            array = getattr(self, name)
            if array.size and (array.min() < 0 or (most is not None and array.max() > most)):
                wrong = array.min() if array.min() < 0 else array.max()
                raise ValueError(f"{name} has the entry {wrong}: {'0 or more' if most is None else f'0 to {most}'} is legal")
        for name in ("scales", "shifts"):
            if not np.isfinite(getattr(self, name)).all():
                raise ValueError(f"{name} has an entry that is not finite: finite numbers are legal")

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def num_heads(self) -> int:
        """Two heads a pair."""
        return 2 * len(self)


def _pairs(
    targets: object, sources: object, row: object, left: object, right: object, scale: object, shift: object
) -> HeadPairs:
    try:
        given = np.broadcast_arrays(*(np.asarray(each) for each in (targets, sources, row, left, right, scale, shift)))
    except ValueError:
        raise ValueError("the arguments' shapes do not fit together: scalars and arrays that broadcast are legal") from None
    arrays = [np.ravel(each) for each in given]
    for name, array in zip(("targets", "sources", "row", "left_row", "right_row"), arrays[:5], strict=True):
        if array.size and array.dtype.kind not in "iu":
            raise ValueError(f"{name} has dtype {array.dtype}: integers are legal")
    whole = [array.astype(np.int64) for array in arrays[:5]]
    return HeadPairs(*whole, *(array.astype(np.float64) for array in arrays[5:]))


def constants(targets: object, row: object, values: object) -> HeadPairs:
    """Add `values` to `row` of the tokens `targets`; all arguments scalars or arrays that broadcast."""
    return _pairs(targets, targets, row, ONE, ONE, 0.0, values)


def affine(
    targets: object, row: object, sources: object, source_row: object, scale: object = 1.0, shift: object = 0.0
) -> HeadPairs:
    """Add scale * (source_row of sources) + shift to `row` of the tokens `targets`; arguments broadcast."""
    return _pairs(targets, sources, row, ONE, source_row, scale, shift)


def products(
    targets: object, row: object, left_row: object, sources: object, right_row: object, scale: object = 1.0
) -> HeadPairs:
    """Add scale * (left_row of targets) * (right_row of sources) to `row` of targets; arguments broadcast."""
    return _pairs(targets, sources, row, left_row, right_row, scale, 0.0)


def clears(targets: object, row: object) -> HeadPairs:
    """Add minus itself to `row` of the tokens `targets`: against the skip connection."""
    return _pairs(targets, targets, row, ONE, row, -1.0, 0.0)


def joined(*pairs: HeadPairs) -> HeadPairs:
    """The heads of all of them in one block, in this order; all read the stream before the block."""
    names = ("targets", "sources", "rows", "lefts", "rights", "scales", "shifts")
    if not pairs:
        nothing = np.zeros(0, np.int64)
        return HeadPairs(nothing, nothing, nothing, nothing, nothing, np.zeros(0), np.zeros(0))
    return HeadPairs(*(np.concatenate([getattr(each, name) for each in pairs]) for name in names))


def interaction_head(
    form: Float[np.ndarray, "5 5"],
    target: int,
    source: int,
    row: int,
    coefficient: float,
    num_tokens: int,
    bound: float,
) -> tuple[
    Float[np.ndarray, "5 5"], Float[np.ndarray, "5 5"], Float[np.ndarray, "5 5"], Float[np.ndarray, "5 5"]
]:
    r"""One ReLU head that adds \(c_0 \mathrm{relu}(h_p^T W h_q)\) to one row of token p and exactly 0 everywhere else.

    Its score of (i, j) is \(h_i^T W h_j + C(\langle I_i, I_p\rangle - 1) + C(\langle I_j, I_q\rangle - 1)\), I the rows COSINE
    and SINE and \(C = 1.05 M / (1 - \cos(\pi / 2l))\): for every other pair a bracket takes at least 1.05 M away.

    Args:
        form: W.
        target: p, 0-based.
        source: q.
        row: row that is written.
        coefficient: c_0.
        num_tokens: l.
        bound: M, at least |h_i^T W h_j| over all ordered pairs of tokens; what is not promised silences wrong pairs too late.

    Returns:
        Query, key, value (embed_dim, head_dim) and output (head_dim, embed_dim) for a `Transformer` with attention "relu", both
        dimensions 5: key and output are the identity.

    Raises:
        ValueError: a token or row that is not there, a bound that is negative or not finite.

    Source: interaction lemma of Havrilla and Liao 2024 (recalled); constants derived here.
    """
    num_tokens = checked_integer("num_tokens", num_tokens, 1)
    for name, value, most in (("target", target, num_tokens - 1), ("source", source, num_tokens - 1), ("row", row, ONE)):
        if checked_integer(name, value, 0) > most:
            raise ValueError(f"{name} = {value}: 0 to {most} is legal")
    if not 0 <= bound < math.inf:
        raise ValueError(f"bound = {bound!r}: a finite number >= 0 is legal")
    places = np.array([target]), np.array([source])
    query = routed_forms(np.asarray(form, np.float64)[None], *places, num_tokens, np.array([float(bound)]))[0]
    written = np.zeros((NUM_ROWS, NUM_ROWS))
    written[ONE, row] = coefficient
    return query, np.eye(NUM_ROWS), written, np.eye(NUM_ROWS)


def routed_forms(
    forms: Float[np.ndarray, "heads 5 5"],
    targets: Int[np.ndarray, "heads"],
    sources: Int[np.ndarray, "heads"],
    num_tokens: int,
    bounds: Float[np.ndarray, "heads"],
) -> Float[np.ndarray, "heads 5 5"]:
    """The forms with the terms added that silence every pair but (target, source); `bounds` is M of each."""
    places, routed = position_rows(num_tokens), forms.copy()
    constants_ = routing_factor(num_tokens) * bounds
    for row in (COSINE, SINE):
        routed[:, row, ONE] += constants_ * places[targets, row]
        routed[:, ONE, row] += constants_ * places[sources, row]
    routed[:, ONE, ONE] -= 2 * constants_
    return routed
