"""Tier two of the certificates: one association at a time in ball arithmetic (Arb), at whatever precision it takes.

Weights enter as the exact binary numbers that they are; every operation, the exponential included, returns an interval that holds
the true result. So an interval of margins that excludes zero decides, and one that never does is left undecided.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from constructions._certificate_float import Weights

FIRST_PRECISION = 64
KEPT_NUMBERS = 2_000_000
Ball = Any  # flint has no types
BallMatrix = Any


def precisions(most: int) -> list[int]:
    """64, 128, .. bits, doubled while below `most`, and `most` itself."""
    found = [min(FIRST_PRECISION, most)]
    while found[-1] < most:
        found.append(min(2 * found[-1], most))
    return found


def ball_matrix(array: Float[np.ndarray, "rows columns"]) -> BallMatrix:
    """A matrix of balls of radius zero at the exact values of the floats."""
    from flint import arb, arb_mat

    return arb_mat(array.shape[0], array.shape[1], [arb(number) for number in array.ravel().tolist()])


class BallModel:
    """The model in balls of one precision; token-level results are kept for as long as there is room.

    Use it only while flint's working precision is `precision` (flint's context is global to the process).
    """

    def __init__(self, weights: Weights, precision: int) -> None:
        self.weights, self.precision = weights, precision
        self.heads, self.embed_dim, self.head_dim = weights.query.shape
        # x_S^T W_Q W_K^T for every head side by side, and x W_V W_O likewise.
        self._forms = self._side_by_side(weights.query, weights.key, True)
        self._circuits = self._side_by_side(weights.value, weights.output, False)
        self._kept: dict[tuple[str, int, int], BallMatrix] = {}

    def _side_by_side(self, left: Float[np.ndarray, "..."], right: Float[np.ndarray, "..."], turned: bool) -> BallMatrix:
        from flint import arb_mat

        pairs = zip(left, np.swapaxes(right, 1, 2) if turned else right, strict=True)
        products = [ball_matrix(first) * ball_matrix(second) for first, second in pairs]
        rows = [product.tolist() for product in products]
        entries = [number for row in range(self.embed_dim) for head in rows for number in head[row]]
        return arb_mat(self.embed_dim, self.heads * self.embed_dim, entries)

    def _token(self, kind: str, position: int, token: int) -> BallMatrix:
        """Kept by kind: "row" x (1, d); "form" x W_Q W_K^T (H, d); "written" x W_V W_O (H, d); "apart" U_label - U (N, d)."""
        from flint import arb_mat

        key = (kind, position, token)
        if key not in self._kept:
            weights = self.weights
            if len(self._kept) * max(1, self.heads) * self.embed_dim > KEPT_NUMBERS:
                self._kept.clear()
            if kind == "row":
                made = ball_matrix(weights.token_embedding[[token]]) + ball_matrix(weights.position_embedding[[position]])
            elif kind == "apart":
                made = ball_matrix(np.repeat(weights.unembedding[[token]], len(weights.unembedding), axis=0))
                made = made - ball_matrix(weights.unembedding)
            else:
                table = self._forms if kind == "form" else self._circuits
                made = arb_mat(self.heads, self.embed_dim, (self._token("row", position, token) * table).entries())
            self._kept[key] = made
        return self._kept[key]

    def attention(self, sequence: Sequence[int]) -> list[list[Ball]]:
        """Attention weights, per position one ball per head."""
        last = len(sequence) - 1
        form, row = self._token("form", last, sequence[last]), self._token("row", last, sequence[last])
        scores = [
            (form * (self._token("row", position, token) - row).transpose()).entries() for position, token in enumerate(sequence)
        ]
        columns = [_softmax(list(head)) for head in zip(*scores, strict=True)]
        return [list(row) for row in zip(*columns, strict=True)] or [[] for _ in sequence]

    def mixed(self, sequence: Sequence[int]) -> BallMatrix:
        """A^h = sum_i a_i^h x_i for every head, (H, d)."""
        from flint import arb_mat

        total = arb_mat(self.heads, self.embed_dim)
        for position, weights in enumerate(self.attention(sequence)):
            total = total + arb_mat(self.heads, 1, weights) * self._token("row", position, sequence[position])
        return total

    def row(self, position: int, token: int) -> BallMatrix:
        """x = e + pos, (1, d)."""
        return self._token("row", position, token)

    def stream(self, sequence: Sequence[int]) -> BallMatrix:
        """x_S + sum_h sum_i a_i^h x_i W_V^h W_O^h, (1, d)."""
        from flint import arb_mat

        last = len(sequence) - 1
        total = self._token("row", last, sequence[last])
        if self.heads:
            for position, weights in enumerate(self.attention(sequence)):
                total = total + arb_mat(1, self.heads, weights) * self._token("written", position, sequence[position])
        return total

    def margin(self, sequence: Sequence[int], label: int) -> tuple[int, float, float]:
        """Verdict (1 right, -1 wrong, 0 open) and bounds of label minus largest other logit, as floats rounded outward."""
        gaps = (self._token("apart", 0, label) * self.stream(sequence).transpose()).entries()
        gaps = [gap for token, gap in enumerate(gaps) if token != label]
        verdict = 1 if all(gap > 0 for gap in gaps) else -1 if any(gap <= 0 for gap in gaps) else 0
        lower = min(_outward(gap, -1) for gap in gaps)
        upper = min(_outward(gap, 1) for gap in gaps)
        # A margin below the least float keeps its sign in the verdict; zero is then still a bound.
        return verdict, max(lower, 0.0) if verdict == 1 else lower, min(upper, 0.0) if verdict == -1 else upper


def margins_balls(
    weights: Weights,
    sequences: Int[np.ndarray, "some positions"],
    targets: Int[np.ndarray, " some"],
    precision: int,
    progress: Callable[[int], None] | None = None,
) -> list[tuple[int, float, float]]:
    """`BallModel.margin` of every sequence at one precision; `progress` is told how many are done."""
    found = []
    from flint import ctx

    with ctx.workprec(precision):
        model = BallModel(weights, precision)
        for sequence, label in zip(sequences.tolist(), targets.tolist(), strict=True):
            found.append(model.margin(sequence, label))
            if progress is not None:
                progress(len(found))
    return found


def _softmax(scores: list[Ball]) -> list[Ball]:
    from flint import arb

    # Any shift is right in exact arithmetic; this one keeps the exponentials of numbers up to 2^63 and more within reach.
    largest = scores[0]
    for score in scores[1:]:
        if score.mid() > largest.mid():
            largest = score
    powers = [arb(1) if score is largest else (score - largest).exp() for score in scores]
    total = sum(powers[1:], powers[0])
    return [power / total for power in powers]


def _outward(ball: Ball, side: int) -> float:
    """The lower (side -1) or upper end of a ball as a float, rounded away from the ball; no float for what is not a number."""
    if not ball.is_finite():
        return side * math.inf
    end = ball.lower() if side < 0 else ball.upper()
    number = float(end.mid())
    if number == side * -math.inf:  # beyond the largest float, on the inner side
        number = -side * np.finfo(np.float64).max
    from flint import arb

    exact = end.is_exact() and math.isfinite(number) and bool(arb(number) == end)
    return number if exact else math.nextafter(number, side * math.inf)
