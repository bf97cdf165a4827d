"""How far the dense network, rounded in some number format, can be from exact routing: errors carried through the blocks."""

import math

import numpy as np
from jaxtyping import Float

from constructions._interaction_bounds import Bounds, copied_rows, pair_bounds, unit_bounds
from constructions._interaction_maps import FeedForward
from constructions._interaction_pairs import NUM_ROWS, SCORE_MARGIN, HeadPairs, routing_factor
from constructions._interaction_sparse import ROWS, PairUpdate

# Roundings on the way of one term of a score: weight, position rows of both tokens, two sums of five products each, scale.
# The sum over tokens has one term that is not 0, which rounds nothing.
SCORE_ROUNDINGS = 4.0 + 4 * NUM_ROWS

Errors = Float[np.ndarray, "rows tokens"]


def errors_after_heads(update: PairUpdate, pairs: HeadPairs, bounds: Bounds, errors: Errors, unit: float) -> Errors:
    """Behind the heads of a block: what was wrong before, and two scores a pair that round at the size of M + 4 C.

    `bounds` are those before the block, `errors` (2, tokens), `unit` the format's unit roundoff.
    """
    tokens = errors.shape[1]
    flat, size = errors.reshape(-1), np.abs(bounds[:ROWS]).max(-1).reshape(-1)
    largest, growth = pair_bounds(pairs, bounds), _gamma(SCORE_ROUNDINGS, unit)
    worst = np.append(errors.max(1), np.zeros(NUM_ROWS - ROWS))  # the largest error of each row on any token
    big = np.abs(bounds).max(axis=(1, 2))
    drift = np.abs(pairs.scales) * (
        worst[pairs.lefts] * (big[pairs.rights] + worst[pairs.rights]) + big[pairs.lefts] * worst[pairs.rights]
    )
    score = growth * (1 + 4 * routing_factor(tokens)) * (largest + drift)
    # What a pair that should be silent can still say: nothing, unless rounding outweighs the margin.
    leaked = 2 * tokens * np.maximum(score + drift - (SCORE_MARGIN - 1) * largest, 0)
    after = abs(update.linear) @ flat
    values = abs(update.linear) @ (size + flat) + np.abs(update.constant)
    count = len(update.touched)
    if len(update.owners):
        left, right = update.lefts, update.rights
        carried = flat[left] * (size[right] + flat[right]) + size[left] * flat[right]
        scale = np.abs(update.scales)
        after = after + np.bincount(update.owners, scale * carried, minlength=count)
        reached = scale * (size[left] + flat[left]) * (size[right] + flat[right])
        values = values + np.bincount(update.owners, reached, minlength=count)
    owners = np.searchsorted(update.touched, pairs.rows * tokens + pairs.targets)
    fresh = np.bincount(owners, 2 * score, minlength=count)
    # A cleared row is there in the stream and as minus itself in a head: what both add up to rounds at its size.
    old = size[update.touched] + flat[update.touched]
    roundings = (2.0 * np.bincount(owners, minlength=count) + 2 + 2 * NUM_ROWS) * unit
    after = after + fresh + roundings / np.maximum(1 - roundings, unit) * (values + fresh + 2 * old)
    found = flat.copy()
    found[update.touched] = after
    return np.asarray(found.reshape(errors.shape) + np.bincount(pairs.rows, leaked, minlength=ROWS)[:, None])


def errors_after_network(network: FeedForward, bounds: Bounds, errors: Errors, unit: float) -> Errors:
    """Behind the feed-forward network of a block; `bounds` are those before it. A unit that stays silent carries no error."""
    growth = _gamma(2.0 * network.width + 2 * NUM_ROWS, unit)
    first, second = unit_bounds(network, bounds)
    inputs = np.abs(bounds).max(-1).T + np.pad(errors.T, ((0, 0), (0, NUM_ROWS - ROWS)))
    from_inputs = errors.T @ np.abs(network.weight_1[:ROWS])
    error_1 = from_inputs + growth * (inputs @ np.abs(network.weight_1) + np.abs(network.bias_1))
    known = ~network.weight_1[:ROWS].any(0)
    error_1 = np.where(known & (first[1] <= 0), 0.0, error_1)  # the closed gates' cosines are compared with themselves: exact
    size_1 = np.maximum(first[1], 0) + error_1
    error_2 = error_1 @ np.abs(network.weight_2) + growth * (size_1 @ np.abs(network.weight_2) + np.abs(network.bias_2))
    silent = second[1] + error_2 <= 0
    error_2 = np.where(silent, 0.0, error_2)
    size_2 = np.maximum(second[1], 0) + error_2
    found = errors.copy()
    for row in range(ROWS):
        weights = np.abs(network.weight_3[:, row])
        if not weights.any():
            continue
        keep, counted = copied_rows(network, bounds, row)
        copied = np.where(counted, 0.0, weights * (growth * size_2)).sum(1)
        found[row] = np.abs(keep) * errors[row] + (np.where(counted, error_2, 0.0) * weights).sum(1) + copied
        found[row] += growth * (np.abs(bounds[row]).max(1) + errors[row] + size_2 @ weights)
    return found


def _gamma(count: float, unit: float) -> float:
    """count u / (1 - count u), the classic bound for `count` roundings in a row; infinite where it says nothing."""
    return count * unit / (1 - count * unit) if count * unit < 1 else math.inf
