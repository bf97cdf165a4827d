"""What every row of every token can be: interval arithmetic through the blocks, rounded outwards; and from it M of every head."""

import numpy as np
from jaxtyping import Bool, Float

from constructions._interaction_maps import FeedForward
from constructions._interaction_pairs import NUM_ROWS, HeadPairs, position_rows
from constructions._interaction_sparse import ROWS, PairUpdate

EPS = float(np.finfo(np.float64).eps)

Bounds = Float[np.ndarray, "all_rows tokens ends"]  # (5, l, 2), lower and upper end of every row of every token
Ends = tuple[np.ndarray, np.ndarray]  # lower and upper ends, arrays of one shape


def start_bounds(num_tokens: int, inputs: np.ndarray, input_bound: float) -> Bounds:
    """Before the first block: position rows as they are, inputs up to the bound, all other data 0."""
    fixed = position_rows(num_tokens).T
    bounds = np.stack([fixed, fixed], axis=-1)
    bounds[0, inputs, 0], bounds[0, inputs, 1] = -input_bound, input_bound
    return bounds


def after_heads(update: PairUpdate, bounds: Bounds) -> Bounds:
    """Behind the heads of a block. A row that is cleared and written anew holds nothing of what it held before."""
    after = bounds.copy()
    state = bounds[:ROWS].reshape(-1, 2)
    low, high = state[:, 0], state[:, 1]
    plus, minus = update.linear.maximum(0), update.linear.minimum(0)
    lower = plus @ low + minus @ high + update.constant
    upper = plus @ high + minus @ low + update.constant
    size = np.maximum(np.abs(low), np.abs(high))
    magnitude = abs(update.linear) @ size + np.abs(update.constant)
    terms = np.diff(update.linear.indptr).astype(float)
    if len(update.owners):
        below, above = _product((low[update.lefts], high[update.lefts]), (low[update.rights], high[update.rights]))
        square = update.lefts == update.rights
        below[square] = np.where((low * high <= 0)[update.lefts[square]], 0.0, below[square])
        ends = np.sort(np.stack([update.scales * below, update.scales * above]), axis=0)
        count = len(update.touched)
        lower += np.bincount(update.owners, ends[0], minlength=count)
        upper += np.bincount(update.owners, ends[1], minlength=count)
        magnitude += np.bincount(update.owners, np.abs(ends).max(0), minlength=count)
        terms += np.bincount(update.owners, minlength=count)
    slack = (terms + 4) * EPS * magnitude  # of the sums just formed, and of any order in which a network forms them
    after[:ROWS].reshape(-1, 2)[update.touched] = np.stack([lower - slack, upper + slack], axis=-1)
    return after


def after_network(network: FeedForward, bounds: Bounds) -> Bounds:
    """Behind the feed-forward network of a block: intervals through its units.

    Two units that copy a row with one sign each, relu(v) and relu(-v), count as the row itself where no gate holds them: so a row
    that is replaced keeps nothing of its old interval.
    """
    low_2, high_2 = (np.maximum(each, 0) for each in unit_bounds(network, bounds)[1])
    after = bounds.copy()
    for row in range(ROWS):
        weights = network.weight_3[:, row]
        keep, counted = copied_rows(network, bounds, row)
        positive, negative = np.maximum(weights, 0) * counted, np.minimum(weights, 0) * counted
        old_low, old_high = bounds[row, :, 0] * keep, bounds[row, :, 1] * keep
        lower = np.minimum(old_low, old_high) + (positive * low_2 + negative * high_2).sum(1)
        upper = np.maximum(old_low, old_high) + (positive * high_2 + negative * low_2).sum(1)
        # What a copy takes away in rounded arithmetic is what was there up to the rounding of the sums.
        magnitude = np.abs(bounds[row]).max(1) + (np.abs(weights) * high_2 * counted).sum(1)
        touched = bool(weights.any())
        slack = (network.width + 4) * EPS * magnitude if touched else 0.0
        after[row] = np.stack([lower - slack, upper + slack], axis=-1)
    return after


def unit_bounds(network: FeedForward, bounds: Bounds) -> tuple[Ends, Ends]:
    """Intervals of what the units of both hidden layers take the positive part of, (tokens, width) each."""
    constant = _constant(network, bounds)
    low, high = _affine((bounds[:ROWS, :, 0].T, bounds[:ROWS, :, 1].T), network.weight_1[:ROWS], constant)
    # Units without a moving input are known numbers, not intervals: a gate that is 0 is exactly 0.
    known = ~network.weight_1[:ROWS].any(0)
    low[:, known], high[:, known] = constant[:, known], constant[:, known]
    return (low, high), _affine((np.maximum(low, 0), np.maximum(high, 0)), network.weight_2, network.bias_2)


def copied_rows(
    network: FeedForward, bounds: Bounds, row: int
) -> tuple[Float[np.ndarray, "tokens"], Bool[np.ndarray, "tokens width"]]:
    """With which factor a row stays, per token, and which second units write something else into it."""
    weights, exact = network.weight_3[:, row], np.maximum(_constant(network, bounds), 0)
    keep, counted = np.ones(bounds.shape[1]), np.repeat(weights[None] != 0, bounds.shape[1], 0)
    for plus, minus in _copies(network, row):
        free = _free(network, (plus, minus), exact)
        keep = keep + np.where(free, weights[plus], 0.0)
        counted[:, plus] &= ~free
        counted[:, minus] &= ~free
    return keep, counted


def network_bounds(
    updates: tuple[PairUpdate, ...],
    networks: tuple[FeedForward | None, ...],
    start: Bounds,
) -> list[Bounds]:
    """Bounds before every block, and behind the last."""
    found = [start]
    for update, network in zip(updates, networks, strict=True):
        after = after_heads(update, found[-1])
        found.append(after if network is None else after_network(network, after))
    return found


def pair_bounds(pairs: HeadPairs, bounds: Bounds) -> Float[np.ndarray, "pairs"]:
    """M of every pair: |h_i^T W h_j| over all ordered pairs of tokens, whatever junk they hold, is at most this."""
    largest = np.abs(bounds).max(axis=(1, 2))
    assert largest.shape == (NUM_ROWS,)
    found = np.abs(pairs.scales) * largest[pairs.lefts] * largest[pairs.rights] + np.abs(pairs.shifts)
    return np.asarray(found * (1 + 8 * EPS))


def _constant(network: FeedForward, bounds: Bounds) -> Float[np.ndarray, "tokens width"]:
    """What the first units get from rows that never change."""
    return np.asarray(bounds[ROWS:, :, 0].T @ network.weight_1[ROWS:] + network.bias_1)


def _product(left: Ends, right: Ends) -> Ends:
    corners = np.stack([a * b for a in left for b in right])
    return corners.min(0), corners.max(0)


def _affine(ends: Ends, weights: Float[np.ndarray, "into out"], constant: np.ndarray) -> Ends:
    """Intervals of x weights + constant, x (tokens, into), rounded outwards."""
    low, high = ends
    plus, minus = np.maximum(weights, 0), np.minimum(weights, 0)
    lower, upper = low @ plus + high @ minus + constant, high @ plus + low @ minus + constant
    magnitude = np.maximum(np.abs(low), np.abs(high)) @ np.abs(weights) + np.abs(constant)
    # A unit with one input of weight 1 or -1 and nothing else is exact.
    count = (weights != 0).sum(0)
    plain = (count <= 1) & (np.abs(weights).sum(0) == count) & (np.broadcast_to(constant, lower.shape) == 0).all(0)
    slack = np.where(plain, 0.0, (count + 4) * EPS) * magnitude
    return lower - slack, upper + slack


def _copies(network: FeedForward, row: int) -> list[tuple[int, int]]:
    """Second units (a, b) that write relu(v) and relu(-v) of this row into it with opposite weights, gated alike."""
    moves = network.weight_1[:ROWS].any(0)
    found: list[tuple[int, int]] = []
    sides: dict[float, list[int]] = {1.0: [], -1.0: []}
    for k in np.flatnonzero(network.weight_3[:, row]):
        inputs = np.flatnonzero(network.weight_2[:, k] * moves)
        if len(inputs) != 1 or network.weight_2[inputs[0], k] != 1 or network.bias_2[k]:
            continue
        unit = network.weight_1[:, inputs[0]]
        if network.bias_1[inputs[0]] or np.count_nonzero(unit) != 1 or abs(unit[row]) != 1:
            continue
        sides[float(unit[row])].append(int(k))
    for plus in sides[1.0]:
        for minus in sides[-1.0]:
            outputs = network.weight_3[plus], network.weight_3[minus]
            gates = network.weight_2[~moves][:, [plus, minus]]
            if (outputs[0] == -outputs[1]).all() and (gates[:, 0] == gates[:, 1]).all() and minus not in [b for _, b in found]:
                found.append((plus, minus))
                break
    return found


def _free(network: FeedForward, units: tuple[int, int], exact: Float[np.ndarray, "tokens width"]) -> Bool[np.ndarray, "tokens"]:
    """On which tokens no gate, a first unit without moving input, reaches these two."""
    known = ~network.weight_1[:ROWS].any(0)
    gates = np.abs(network.weight_2[:, units[0]]) * known
    return np.asarray(exact @ gates == 0)


