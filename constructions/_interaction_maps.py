"""Scalar maps of tokens as ReLU networks of two hidden layers, different ones on the first tokens and on the others."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from constructions._interaction_pairs import COSINE, NUM_ROWS, SECOND, position_rows
from theory.shapes import checked_integer

GATE_MARGIN = 1.25  # how much more than needed a gate takes away from the units it silences


@dataclass(frozen=True, eq=False)
class TokenMap:
    r"""A piecewise linear map \(\phi\) from one row of a token to one: row <- phi(source row), or row += phi(source row).

    \(\phi(v) = \sum_k c_k \mathrm{relu}(b_k + \sum_j W_{jk} \mathrm{relu}(a_j v + s_j))\), written such that it is exactly 0
    outside its support, however large v is: hat(u) = relu(1 - relu(u) - relu(-u)), with no large numbers that cancel.

    Args:
        row: row that is written, DATA or SECOND.
        source_row: row that is read, DATA or SECOND.
        slopes, starts: a and s, the first layer (j,).
        weights: W (j, k).
        biases: b (k,).
        outputs: c (k,).
        replaces: whether the row's old value goes away (the skip connection is subtracted) or the map's value is added to it.

    Raises:
        ValueError: a row that can't be written or read, shapes that don't fit, numbers that are not finite.
    """

    row: int
    source_row: int
    slopes: Float[np.ndarray, "first"]
    starts: Float[np.ndarray, "first"]
    weights: Float[np.ndarray, "first second"]
    biases: Float[np.ndarray, "second"]
    outputs: Float[np.ndarray, "second"]
    replaces: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        for name in ("row", "source_row"):
            if checked_integer(name, getattr(self, name), 0) > SECOND:
                raise ValueError(f"{name} = {getattr(self, name)}: 0 (DATA) and 1 (SECOND) are legal")
        first, second = len(self.slopes), len(self.biases)
        if self.starts.shape != (first,) or self.weights.shape != (first, second) or self.outputs.shape != (second,):
            raise ValueError(f"weights has shape {self.weights.shape}: {(first, second)} is legal beside slopes and biases")
        arrays = (self.slopes, self.starts, self.weights, self.biases, self.outputs)
        if not all(np.isfinite(array).all() for array in arrays):
            raise ValueError("a token map has a weight that is not finite: finite numbers are legal")

    def __call__(self, values: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
        """phi, entry by entry, as its units compute it."""
        first = np.maximum(values[..., None] * self.slopes + self.starts, 0)
        return np.asarray(np.maximum(first @ self.weights + self.biases, 0) @ self.outputs)

    @classmethod
    def hat(
        cls, row: int, source_row: int, *, centre: float = 0.0, half_width: float = 1.0, replaces: bool = True
    ) -> "TokenMap":
        """1 at `centre`, linear to 0 at the distance `half_width`: spaced by half_width, hats sum to 1."""
        scale = 1 / _positive("half_width", half_width)
        return cls._tent(row, source_row, centre, scale, 0.0, replaces)

    @classmethod
    def trapezoid(
        cls, row: int, source_row: int, *, centre: float = 0.0, spacing: float = 1.0, replaces: bool = True
    ) -> "TokenMap":
        """1 up to the distance spacing/3, linear to 0 at 2 spacing/3: with centres `spacing` apart trapezoids sum to 1."""
        scale = 3 / _positive("spacing", spacing)
        return cls._tent(row, source_row, centre, scale, 1.0, replaces)

    @classmethod
    def ramp(cls, row: int, source_row: int, start: float, stop: float, *, replaces: bool = True) -> "TokenMap":
        """1 up to `start`, linear to 0 at `stop` > start, 0 from there on."""
        slope = 1 / _positive("stop - start", stop - start)
        arrays = [slope], [-slope * start], [[-1.0]], [1.0], [1.0]
        return cls(row, source_row, *(np.array(each) for each in arrays), replaces=replaces)

    @classmethod
    def clip(cls, row: int, source_row: int, low: float, high: float, *, replaces: bool = True) -> "TokenMap":
        """The value itself between `low` and `high` > low, the nearer of the two outside."""
        width = _positive("high - low", high - low)
        if not math.isfinite(low):
            raise ValueError(f"low = {low!r}: a finite number is legal")
        # high - relu(width - relu(v - low)): exactly `high` from there on, no difference of large numbers.
        weights, biases, outputs = [[-1.0, 0.0]], [width, abs(high)], [-1.0, math.copysign(1.0, high)]
        arrays = [1.0], [-low], weights, biases, outputs
        return cls(row, source_row, *(np.array(each) for each in arrays), replaces=replaces)

    @classmethod
    def _tent(
        cls, row: int, source_row: int, centre: float, scale: float, plateau: float, replaces: bool
    ) -> "TokenMap":
        """relu(1 - relu(s - plateau) - relu(-s - plateau)) of s = scale (v - centre)."""
        slopes, starts = [scale, -scale], [-scale * centre - plateau, scale * centre - plateau]
        arrays = slopes, starts, [[-1.0], [-1.0]], [1.0], [1.0]
        return cls(row, source_row, *(np.array(each) for each in arrays), replaces=replaces)


def _positive(name: str, value: float) -> float:
    if not 0 < value < math.inf:
        raise ValueError(f"{name} = {value!r}: a finite number > 0 is legal")
    return float(value)


@dataclass(frozen=True, eq=False)
class FeedForward:
    """Two hidden ReLU layers of one width, the same on every token; what comes out is added to the token.

    h + relu(relu(h weight_1 + bias_1) weight_2 + bias_2) weight_3, h a row vector of 5.

    Raises:
        ValueError: shapes that don't fit, a weight not finite, or an output row other than DATA and SECOND.
    """

    weight_1: Float[np.ndarray, "5 width"]
    bias_1: Float[np.ndarray, "width"]
    weight_2: Float[np.ndarray, "width width"]
    bias_2: Float[np.ndarray, "width"]
    weight_3: Float[np.ndarray, "width 5"]

    def __post_init__(self) -> None:
        width = len(self.bias_1)
        shapes = {"weight_1": (NUM_ROWS, width), "weight_2": (width, width), "bias_2": (width,), "weight_3": (width, NUM_ROWS)}
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} has shape {getattr(self, name).shape}: {shape} is legal beside bias_1")
        for name in (*shapes, "bias_1"):
            if not np.isfinite(getattr(self, name)).all():
                raise ValueError(f"{name} has an entry that is not finite: finite numbers are legal")
        if self.weight_3[:, SECOND + 1 :].any():
            raise ValueError("weight_3 writes a position row or the constant: only DATA and SECOND are legal")

    @property
    def width(self) -> int:
        """Units of a hidden layer."""
        return len(self.bias_1)

    @property
    def num_parameters(self) -> int:
        """Entries of its weights and biases."""
        return sum(each.size for each in (self.weight_1, self.bias_1, self.weight_2, self.bias_2, self.weight_3))

    def __call__(self, tokens: Float[np.ndarray, "*batch 5"]) -> Float[np.ndarray, "*batch 5"]:
        """The tokens behind it."""
        first = np.maximum(tokens @ self.weight_1 + self.bias_1, 0)
        return np.asarray(tokens + np.maximum(first @ self.weight_2 + self.bias_2, 0) @ self.weight_3)


def feed_forward(
    num_tokens: int, num_gated: int, gated: Sequence[TokenMap], others: Sequence[TokenMap], bound: float
) -> FeedForward:
    r"""One network that applies the maps `gated` to the first `num_gated` tokens and the maps `others` to all other tokens.

    The cosines of the position rows fall with the token, so \(\mathrm{relu}(c_1 - \cos)\) with \(c_1\) that of the last gated
    token is exactly 0 on the gated tokens and at least \(c_1 - c_2\) on the others; times \(-B/(c_1 - c_2)\) it silences every
    unit of the second layer that nowhere exceeds B. Likewise the other way round. All maps read the tokens as they come in.

    Args:
        num_tokens: l.
        num_gated: how many tokens in front get the maps `gated`, 0 to l.
        gated: maps for tokens 0 .. num_gated - 1.
        others: maps for all other tokens.
        bound: largest |value| that rows DATA and SECOND have on any token before it.

    Raises:
        ValueError: a number out of range, maps for tokens that are not there, or two maps that replace the same row.

    Source: the structure (networks that act on chosen tokens through the position rows) is that of Havrilla and Liao 2024
    (recalled); units and constants are derived here.
    """
    num_tokens, num_gated = checked_integer("num_tokens", num_tokens, 1), checked_integer("num_gated", num_gated, 0)
    if num_gated > num_tokens:
        raise ValueError(f"num_gated = {num_gated}: 0 to num_tokens = {num_tokens} is legal")
    if not 0 <= bound < math.inf:
        raise ValueError(f"bound = {bound!r}: a finite number >= 0 is legal")
    for name, maps, there in (("gated", gated, num_gated), ("others", others, num_tokens - num_gated)):
        if maps and not there:
            raise ValueError(f"{name} has {len(maps)} maps for no token: none is legal with num_gated = {num_gated}")
        replaced = [each.row for each in maps if each.replaces]
        if len(set(replaced)) < len(replaced):
            raise ValueError(f"{name} has two maps that replace one row: one a row is legal")
    units = _Units()
    both = 0 < num_gated < num_tokens
    places = position_rows(num_tokens)[:, COSINE]
    for maps, in_front in ((gated, True), (others, False)):
        gate: tuple[int, float] | None = None
        if maps and both:
            last, first = places[num_gated - 1], places[num_gated]
            sign = -1.0 if in_front else 1.0
            gate = units.first(COSINE, sign, float(last if in_front else -first)), 1 / float(last - first)
        for each in maps:
            units.add(each, gate, float(bound))
    return units.built()


class _Units:
    """Units of both hidden layers, gathered one by one."""

    def __init__(self) -> None:
        self.firsts: list[tuple[int, float, float]] = []
        self.seconds: list[tuple[dict[int, float], float, int, float]] = []

    def first(self, row: int, weight: float, bias: float) -> int:
        unit = (row, weight, bias)
        if unit not in self.firsts:
            self.firsts.append(unit)
        return self.firsts.index(unit)

    def second(
        self, weights: dict[int, float], bias: float, row: int, output: float, most: float, gate: tuple[int, float] | None
    ) -> None:
        if gate is not None:
            weights = weights | {gate[0]: -GATE_MARGIN * max(most, 0.0) * gate[1]}
        self.seconds.append((weights, bias, row, output))

    def add(self, each: TokenMap, gate: tuple[int, float] | None, bound: float) -> None:
        places = [self.first(each.source_row, float(a), float(s)) for a, s in zip(each.slopes, each.starts, strict=True)]
        tops = np.abs(each.slopes) * bound + np.abs(each.starts)  # no first unit exceeds this
        for k, (bias, output) in enumerate(zip(each.biases, each.outputs, strict=True)):
            column = each.weights[:, k]
            weights: dict[int, float] = {}
            for place, weight in zip(places, column, strict=True):
                weights[place] = weights.get(place, 0.0) + float(weight)
            most = float(bias + np.maximum(column, 0) @ tops)
            self.second(weights, float(bias), each.row, float(output), most, gate)
        if each.replaces:  # minus the old value: -relu(v) + relu(-v)
            for sign in (1.0, -1.0):
                self.second({self.first(each.row, sign, 0.0): 1.0}, 0.0, each.row, -sign, bound, gate)

    def built(self) -> FeedForward:
        width = max(len(self.firsts), len(self.seconds), 1)
        weight_1, bias_1 = np.zeros((NUM_ROWS, width)), np.zeros(width)
        weight_2, bias_2, weight_3 = np.zeros((width, width)), np.zeros(width), np.zeros((width, NUM_ROWS))
        for k, (row, weight, bias) in enumerate(self.firsts):
            weight_1[row, k], bias_1[k] = weight, bias
        for k, (weights, bias, row, output) in enumerate(self.seconds):
            for place, weight in weights.items():
                weight_2[place, k] = weight
            bias_2[k], weight_3[k, row] = bias, output
        return FeedForward(weight_1, bias_1, weight_2, bias_2, weight_3)
