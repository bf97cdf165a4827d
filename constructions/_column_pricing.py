"""The gate that the prices value most: a search over a handful of parameters, from many starts at once.

A new head with gate g lowers the least total violation at the rate box |sum_t g(t) Q_t|_1, Q_t = sum_j lam_tj (u_y - u_j) (x)
delta_t, since its weights may be anything in the box: the norm is the dual of the box. Derived here.
"""

import numpy as np
from jaxtyping import Float

from constructions._column_problem import GateSpace

POOL = 512  # random gates looked at once, of which the best are climbed
CLIMB = 40
RATE = 0.3


def value_and_gradient(
    space: GateSpace, gates: Float[np.ndarray, "gates size"], priced: Float[np.ndarray, "pairs columns"]
) -> tuple[Float[np.ndarray, " gates"], Float[np.ndarray, "gates size"]]:
    """|sum_t g(t) Q_t|_1 for every gate, and its gradient (of one smooth piece, where two meet)."""
    opened = space.values(gates)
    sums = opened @ priced
    slopes = (np.sign(sums) @ priced.T) * opened * (1.0 - opened)
    return np.abs(sums).sum(axis=1), space.pull(gates, slopes)


def best_gates(
    space: GateSpace,
    priced: Float[np.ndarray, "pairs columns"],
    *,
    starts: int,
    rng: np.random.Generator,
    known: Float[np.ndarray, "known size"] | None = None,
) -> tuple[Float[np.ndarray, "starts size"], Float[np.ndarray, " starts"]]:
    """Gates of high value, the best first, with their values.

    Args:
        space: where gates come from.
        priced: Q (pairs, columns).
        starts: how many of the best random gates are climbed.
        rng: of the random gates.
        known: further gates to begin from.
    """
    gates = space.draw(max(POOL, starts), rng)
    if known is not None:
        gates = np.concatenate([known, gates])
    values = np.abs(space.values(gates) @ priced).sum(axis=1)
    gates = gates[np.argsort(-values, kind="stable")[:starts]]
    best, highest = gates, np.full(len(gates), -np.inf)
    mean, square = np.zeros_like(gates), np.zeros_like(gates)
    for step in range(CLIMB + 1):
        values, gradient = value_and_gradient(space, gates, priced)
        better = values > highest
        best, highest = np.where(better[:, None], gates, best), np.where(better, values, highest)
        if step == CLIMB:
            break
        # Steps of one size per parameter (Adam), falling to nothing, larger for sharper gates.
        mean, square = 0.8 * mean + 0.2 * gradient, 0.95 * square + 0.05 * gradient**2
        pace = RATE * (1 - step / CLIMB) * (1 + 0.2 * np.abs(gates).max(axis=1, keepdims=True))
        unbiased = (mean / (1 - 0.8 ** (step + 1))) / np.sqrt(square / (1 - 0.95 ** (step + 1)) + 1e-12)
        gates = space.clipped(gates + pace * unbiased)
    order = np.argsort(-highest, kind="stable")
    return best[order], highest[order]
