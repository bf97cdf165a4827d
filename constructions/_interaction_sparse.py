"""Evaluating an interaction network pair by pair: every head looks only at the two tokens it was made for."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse

from constructions._interaction_maps import FeedForward
from constructions._interaction_pairs import DATA, SECOND, HeadPairs, position_rows

SLICE_ELEMENTS = 1 << 14  # elements of one temporary of a feed-forward network: they stay in the caches
ROWS = SECOND + 1  # rows that change, DATA and SECOND


@dataclass(frozen=True, eq=False)
class PairUpdate:
    """The heads of a block as the equation they solve: for every row they touch, new = linear(old) + products + constant.

    The state is (2 l,): row DATA of all tokens, then row SECOND; `linear` includes the skip connection, so that a cleared row
    loses its old value exactly. Entry k of `products` is scale * state[lefts[k]] * state[rights[k]] for touched[owners[k]].
    """

    touched: Int[np.ndarray, "touched"]
    linear: sparse.csr_array
    constant: Float[np.ndarray, "touched"]
    owners: Int[np.ndarray, "products"]
    scales: Float[np.ndarray, "products"]
    lefts: Int[np.ndarray, "products"]
    rights: Int[np.ndarray, "products"]

    @classmethod
    def of(cls, pairs: HeadPairs, num_tokens: int) -> "PairUpdate":
        """The equation of these heads on `num_tokens` tokens."""
        keys = pairs.rows * num_tokens + pairs.targets
        touched, owners = np.unique(keys, return_inverse=True)
        fixed = position_rows(num_tokens)
        moves_left, moves_right = pairs.lefts < ROWS, pairs.rights < ROWS
        # A factor from a row that never changes is a number; what remains has none, one or two factors that move.
        factor = np.where(moves_left, 1.0, fixed[pairs.targets, pairs.lefts])
        factor = factor * np.where(moves_right, 1.0, fixed[pairs.sources, pairs.rights]) * pairs.scales
        left, right = pairs.lefts * num_tokens + pairs.targets, pairs.rights * num_tokens + pairs.sources
        still, both = ~moves_left & ~moves_right, moves_left & moves_right & (pairs.scales != 0)
        one = moves_left ^ moves_right
        constant = np.zeros(len(touched))
        np.add.at(constant, owners, pairs.shifts + np.where(still, factor, 0.0))
        columns = np.concatenate([touched, np.where(moves_left, left, right)[one]])
        entries = np.concatenate([np.ones(len(touched)), factor[one]])
        rows = np.concatenate([np.arange(len(touched)), owners[one]])
        linear = sparse.csr_array((entries, (rows, columns)), shape=(len(touched), ROWS * num_tokens))
        linear.sum_duplicates()
        linear.eliminate_zeros()
        return cls(touched, linear, constant, owners[both], factor[both], left[both], right[both])

    @cached_property
    def gather(self) -> sparse.csr_array:
        """Which touched row each product goes to, with its scale (touched, products)."""
        places = self.owners, np.arange(len(self.owners))
        return sparse.csr_array((self.scales, places), shape=(len(self.touched), len(self.owners)))

    def apply(self, state: Float[np.ndarray, "rows points"]) -> None:
        """Bring the state (2 l, points) behind these heads, in place."""
        if not len(self.touched):
            return
        dtype = state.dtype
        after = self.linear.astype(dtype, copy=False) @ state + self.constant.astype(dtype)[:, None]
        if len(self.owners):
            terms = state[self.lefts]
            terms *= state[self.rights]
            after += self.gather.astype(dtype, copy=False) @ terms
        state[self.touched] = after


def apply_feed_forward(network: FeedForward, state: Float[np.ndarray, "rows points"], num_tokens: int) -> None:
    """Bring the state (2 l, points) behind the network, in place: every weight that is not 0 is one product a token."""
    dtype = state.dtype
    # What a first unit gets from rows that never change is one number a token.
    fixed = (position_rows(num_tokens)[:, ROWS:] @ network.weight_1[ROWS:] + network.bias_1).astype(dtype)
    weights = network.weight_1
    moving = [[(row, weights[row, k]) for row in (DATA, SECOND) if weights[row, k]] for k in range(network.width)]
    step = max(1, SLICE_ELEMENTS // max(1, state.shape[1]))
    for start in range(0, num_tokens, step):
        part = slice(start, min(start + step, num_tokens))
        rows = [state[row * num_tokens + part.start : row * num_tokens + part.stop] for row in (DATA, SECOND)]
        firsts = []
        for k, inputs in enumerate(moving):
            unit = fixed[part, k, None]
            for row, weight in inputs:
                unit = unit + rows[row] * dtype.type(weight)
            firsts.append(np.maximum(unit, 0))
        added = [np.zeros_like(row) for row in rows]
        for k in range(network.width):
            if not network.weight_3[k].any():
                continue
            unit = np.full((1, 1), network.bias_2[k], dtype)
            for j in np.flatnonzero(network.weight_2[:, k]):
                unit = unit + firsts[j] * dtype.type(network.weight_2[j, k])
            unit = np.maximum(unit, 0)
            for row in (DATA, SECOND):
                if network.weight_3[k, row]:
                    added[row] += unit * dtype.type(network.weight_3[k, row])
        for before, more in zip(rows, added, strict=True):
            before += more
