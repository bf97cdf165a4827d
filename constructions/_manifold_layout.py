"""Which token of a network on a manifold holds what, and the heads that put it there, whole arrays of tokens at a time.

A term of the approximant is a product of factors: a bump on each axis, local coordinates as often as the monomial says, the
chart's indicator. Factors multiply along a tree whose subtrees are shared: all terms that need the same factors of the same
cells read the same token. `_Group` is the tokens of one list of factors, one for each chart and cell that some term asks for.

    tokens  indicators (charts) | inputs (D) | coordinates (charts x d) | output | groups
    block 1 SECOND of inputs: their squares; coordinates z = T^T (x - c)
    block 2 indicators: |x - c|^2; groups: u = (z_i - z_k) / h of their first factor's axis;
            feed-forward: SECOND gets the ramp on indicators, bump(u) elsewhere; DATA gets u clipped to [-1, 1] (degree > 1)
    then    ceil log2(factors) blocks of products, one of the sum

Havrilla and Liao 2024's plan (recalled); the sharing, and bumps made on the tokens that multiply them, are ours: one block less.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from constructions._manifold_pieces import Pieces
from constructions.interaction import (
    DATA,
    SECOND,
    Block,
    FeedForward,
    HeadPairs,
    InteractionNetwork,
    TokenMap,
    affine,
    clears,
    feed_forward,
    joined,
    products,
)
from theory.manifolds import Charts

Factors = tuple[int, ...]  # i < d: bump on axis i; d + i: local coordinate of axis i; 2 d: indicator
Keys = Int[np.ndarray, " tokens"]


@dataclass(frozen=True, eq=False)
class _Group:
    """Tokens of one list of factors: ascending keys of (chart, nodes on the axes that occur), and the first token's number."""

    factors: Factors
    keys: Keys
    first: int

    @property
    def tokens(self) -> Int[np.ndarray, " tokens"]:
        return np.arange(self.first, self.first + len(self.keys))


class Layout:
    """Tokens of the network for some pieces, `slack` wide indicators in it or none."""

    def __init__(
        self, charts: Charts, pieces: Pieces, input_bound: float, slack: float, *, indicator: bool, skip_zeros: bool
    ) -> None:
        self.charts, self.pieces, self.slack, self.indicator = charts, pieces, slack, indicator
        self.input_bound = input_bound
        self.num_charts, self.num_inputs, self.dimension = charts.bases.shape
        self.indicators = np.arange(self.num_charts)
        self.inputs = self.num_charts + np.arange(self.num_inputs)
        first = self.num_charts + self.num_inputs
        self.coordinates = (first + np.arange(self.num_charts * self.dimension)).reshape(self.num_charts, self.dimension)
        self.output = first + self.num_charts * self.dimension
        self.num_tokens = self.output + 1
        self.groups: dict[Factors, _Group] = {}
        self.terms = list(self._terms(skip_zeros))
        self._gather()

    @property
    def most_factors(self) -> int:
        """Factors of the longest products of this degree, whether a function needs them or not: all the depth depends on."""
        return self.dimension + int(self.pieces.exponents.sum(axis=1).max()) + 1

    def network(self) -> InteractionNetwork:
        """All blocks, in order."""
        levels = (self.most_factors - 1).bit_length()
        blocks = [Block(self._coordinates(), None), Block(joined(*self._local()), None)]
        bounds = self._made(blocks).bounds()[-1, [DATA, SECOND]]  # what the feed-forward network reads
        blocks[1] = Block(blocks[1].pairs, self._feed_forward(float(np.abs(bounds).max())))
        blocks += [Block(joined(*self._level(level)), None) for level in range(levels)]
        return self._made([*blocks, Block(joined(*self._sum()), None)])

    def _made(self, blocks: list[Block]) -> InteractionNetwork:
        return InteractionNetwork(self.num_tokens, self.inputs, self.output, tuple(blocks), self.input_bound)

    # which tokens there are

    def _terms(self, skip_zeros: bool) -> Iterator[tuple[Factors, Keys, Float[np.ndarray, " tokens"]]]:
        """Of each monomial its factors, the keys of the cells where it counts, and its coefficients there."""
        pieces = self.pieces
        for exponents, column in zip(pieces.exponents, pieces.coefficients.T, strict=True):
            kept = column != 0 if skip_zeros else np.ones(len(column), dtype=bool)
            if kept.any():
                keys = self._encoded(pieces.charts[kept], list(pieces.nodes[kept].T))
                order = np.argsort(keys)
                yield self._factors(exponents), keys[order], column[kept][order]

    def _factors(self, exponents: Int[np.ndarray, " axes"]) -> Factors:
        """The factors in the order that asks for the smaller subtrees: axis by axis, or all bumps first."""
        d = self.dimension
        powers = [[d + axis] * int(power) for axis, power in enumerate(exponents)]
        by_axis = [factor for axis in range(d) for factor in (axis, *powers[axis])]
        bumps_first = [*range(d), *(factor for power in powers for factor in power)]
        return min(((*each, 2 * d) for each in (by_axis, bumps_first)), key=self._cost)

    def _cost(self, factors: Factors) -> int:
        return sum((self.pieces.grid + 1) ** len(self._axes(partner)) for _, partner in _partners(factors))

    def _gather(self) -> None:
        """Groups for all terms and for all that their products read, longest first: a partner is always shorter."""
        wanted: dict[Factors, list[Keys]] = {}
        for factors, keys, _ in self.terms:
            wanted.setdefault(factors, []).append(keys)
        for length in range(self.most_factors, 0, -1):
            for factors in [each for each in wanted if len(each) == length]:
                keys = np.unique(np.concatenate(wanted[factors]))
                self.groups[factors] = _Group(factors, keys, self.num_tokens)
                self.num_tokens += len(keys)
                for _, partner in _partners(factors):
                    if partner != (2 * self.dimension,):
                        wanted.setdefault(partner, []).append(self._projected(keys, factors, partner))

    # keys: one number for a chart and the nodes on some axes

    def _axes(self, factors: Factors) -> tuple[int, ...]:
        return tuple(sorted({factor % self.dimension for factor in factors if factor < 2 * self.dimension}))

    def _encoded(self, charts: Int[np.ndarray, " tokens"], nodes: list[Int[np.ndarray, " tokens"]]) -> Keys:
        return np.ravel_multi_index((charts, *nodes), (self.num_charts, *[self.pieces.grid + 1] * len(nodes)))

    def _decoded(self, keys: Keys, num_axes: int) -> tuple[Int[np.ndarray, " tokens"], ...]:
        return tuple(np.unravel_index(keys, (self.num_charts, *[self.pieces.grid + 1] * num_axes)))

    def _projected(self, keys: Keys, factors: Factors, partner: Factors) -> Keys:
        """The keys of the partner's tokens that the tokens `keys` read."""
        axes = self._axes(factors)
        charts, *nodes = self._decoded(keys, len(axes))
        return self._encoded(charts, [nodes[axes.index(axis)] for axis in self._axes(partner)])

    # the heads of each block

    def _coordinates(self) -> HeadPairs:
        squares = products(self.inputs, SECOND, DATA, self.inputs, DATA)
        bases = self.charts.bases  # (C, D, d)
        shifts = -bases * self.charts.centres[:, :, None]
        return joined(squares, affine(self.coordinates[:, None, :], DATA, self.inputs[:, None], DATA, bases, shifts))

    def _local(self) -> Iterator[HeadPairs]:
        """Squared distances from centres, and the local coordinate of each token's own bump."""
        pieces, centres = self.pieces, self.charts.centres
        if self.indicator:
            owners = self.indicators[:, None]
            yield affine(owners, DATA, self.inputs, SECOND)
            yield affine(owners, DATA, self.inputs, DATA, -2 * centres, centres**2)
        for group in self.groups.values():
            axes = self._axes(group.factors)
            charts, *nodes = self._decoded(group.keys, len(axes))
            axis = group.factors[0] % self.dimension
            places = nodes[axes.index(axis)] - pieces.grid / 2  # z_k / h
            yield affine(group.tokens, DATA, self.coordinates[charts, axis], DATA, 1 / pieces.step, -places)

    def _feed_forward(self, bound: float) -> FeedForward:
        inner = self.charts.radius**2
        bump = TokenMap.trapezoid if self.pieces.degree == 0 else TokenMap.hat
        maps = [bump(SECOND, DATA)]
        if self.pieces.degree > 1:
            maps.append(TokenMap.clip(DATA, DATA, -1.0, 1.0))
        ramp = TokenMap.ramp(SECOND, DATA, inner, inner + self.slack)  # not beside large u: that would cost precision
        return feed_forward(self.num_tokens, self.num_charts, [ramp], maps, bound)

    def _row(self, factors: Factors) -> int:
        """Where a token keeps its product: in u's place where it starts with u, where bumps and ramps come to stand else."""
        return DATA if self.dimension <= factors[0] < 2 * self.dimension else SECOND

    def _level(self, level: int) -> Iterator[HeadPairs]:
        for group in self.groups.values():
            row = self._row(group.factors)
            for at, partner in _partners(group.factors):
                if at == level:
                    keys = self._projected(group.keys, group.factors, partner)
                    if partner in self.groups:
                        other = self.groups[partner]
                        sources = other.first + np.searchsorted(other.keys, keys)
                    else:
                        sources = self.indicators[keys]
                    yield products(group.tokens, row, row, sources, self._row(partner))
                    yield clears(group.tokens, row)

    def _sum(self) -> Iterator[HeadPairs]:
        for factors, keys, coefficients in self.terms:
            group = self.groups[factors]
            tokens = group.first + np.searchsorted(group.keys, keys)
            yield affine(self.output, DATA, tokens, self._row(factors), coefficients)


def _partners(factors: Factors) -> Iterator[tuple[int, Factors]]:
    """With what a token that holds the first factor multiplies, level by level: factor 1, factors 2-3, factors 4-7 .."""
    level = 0
    while 2**level < len(factors):
        yield level, factors[2**level : 2 ** (level + 1)]
        level += 1
