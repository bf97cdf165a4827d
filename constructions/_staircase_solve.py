"""Forward substitution up the staircase: from targets to the skip map and one low-rank map per head, without any large solve.

A sequence with x2 = x that has passed the thresholds of the heads h <= j gets E = G x + C_j delta, C_j = sum_{h<=j} M_h.
Everything is linear in the targets and in G, so it is computed with G unknown: every target t is carried along with its x
(a "pair"), maps are stacked as [top; bottom] and mean top - G bottom. G then follows from the at most d sequences that the
skip carries.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from constructions._staircase_blocks import Blocks
from constructions._staircase_plan import Plan, chain_keys

CONDITION_WANTED = 100.0
MOST_DRAWS = 32


@dataclass(frozen=True)
class Solution:
    """Maps that realise a plan, from the residual stream to as many outputs as the code has dimensions (d for the staircase).

    Attributes:
        skip: B, what the skip connection must do to x2 (outputs, d).
        heads: per head the W of M_h = W Q^T (heads, outputs, head_dim).
        basis: per head the Q, which reads the residual stream (heads, d, head_dim).
        targets: where every association's E ends up (T0, outputs); rows of associations that are not held mean nothing.
        movable: indices of the associations whose targets may have been moved off their code row.
        condition: condition number of B; infinite when the skip-carried sequences missed their targets.
    """

    skip: Float[np.ndarray, "outputs embed_dim"]
    heads: Float[np.ndarray, "heads outputs head_dim"]
    basis: Float[np.ndarray, "heads embed_dim head_dim"]
    targets: Float[np.ndarray, "associations outputs"]
    movable: Int[np.ndarray, "movable"]
    condition: float


def skip_quality(plan: Plan) -> float:
    """Least singular value of the system that the skip-carried sequences ask of G; 0 means that no G can satisfy them.

    It vanishes when such a sequence lies between others whose deltas and last tokens already force its E, for instance among d
    sequences of one block that share their first token.
    """
    carried = plan.task.sequences[plan.skip_carried]
    rows = plan.layout.rows[1][carried[:, 1]]
    for chain in plan.chains:
        keys, mask = chain_keys(chain.kind, plan.layout, carried)
        reached = mask | (chain.kind == "last")  # heads that see the last token alone act on all sequences
        if (reached & (keys > chain.thresholds.min(initial=np.inf))).any():
            break
    else:  # all lie below every threshold: their rows are x2 itself
        return float(np.linalg.svd(rows, compute_uv=False)[-1])
    system = _System(plan, np.zeros((plan.task.num_associations, 1)))  # G's rows are asked the same, whatever the targets
    rows = system.equations(np.zeros((len(system.movable), 1)))[0]
    return float(np.linalg.svd(rows, compute_uv=False)[-1])


def solve(plan: Plan, code: Float[np.ndarray, "vocab outputs"], seed: int) -> Solution:
    """Solve for all maps; move the targets that decide B inside their label cones until B is well-conditioned.

    Args:
        plan: who carries what.
        code: one unit row per label, the unembedding before the change of basis; of at most d dimensions.
        seed: of the moves.

    Returns:
        The solution with the smallest condition number of B among at most MOST_DRAWS draws; the first good one ends the search.
    """
    rng = np.random.default_rng([seed, 1])
    system = _System(plan, code[plan.task.targets])
    best = None
    for draw in range(MOST_DRAWS):
        targets = code[plan.task.targets[system.movable]]
        if draw:
            targets = _moved(targets, code, plan.task.targets[system.movable], rng)
        drawn = system.draw(targets, rng)
        if best is None or drawn.condition < best.condition:
            best = drawn
        if best.condition <= CONDITION_WANTED:
            break
    assert best is not None
    return system.finish(best)


@dataclass(frozen=True)
class _Draw:
    """G and what depends on it, for one choice of the movable targets."""

    targets: np.ndarray
    tail: np.ndarray
    skip_map: np.ndarray
    base: np.ndarray
    condition: float


class _System:
    """The substitution of one plan. What the movable targets leave alone is computed once: all heads but the tail.

    Movable are the targets of what the skip carries and of the tail, the last heads with at least d associations between them:
    these alone decide whether B is well-conditioned. With three chains B depends on the last heads in one column only: no tail.
    """

    def __init__(self, plan: Plan, targets: np.ndarray) -> None:
        last = plan.task.sequences[:, 1]
        self.plan, self.out, self.dim = plan, targets.shape[1], plan.layout.rows.shape[2]
        both = self.out + self.dim
        self.delta = plan.layout.deltas(plan.task.sequences[plan.skip_carried])
        self.pairs = np.concatenate([targets, plan.layout.rows[1][last]], axis=1)
        single = len(plan.chains) == 1
        self.start = np.zeros((both, self.dim))  # C before the tail
        self.maps: list[np.ndarray] = []  # per chain W of all heads before the tail, as pairs (heads, out + d, head_dim)
        self.tail_start = _tail_start(plan.chains[0].blocks, self.dim) if single else len(plan.chains[0].thresholds)
        by_last_token = np.zeros((plan.task.vocab_size, both))  # what the first of three chains adds to the others
        for chain in plan.chains:
            if single:
                blocks = chain.blocks.part(slice(0, self.tail_start))
                self.maps.append(chain_maps(blocks, self.pairs, np.zeros_like(self.start)))
            else:
                blocks, members = chain.blocks, chain.blocks.members[:, 0]
                added = by_last_token[last[members]] if self.maps else np.zeros(both)
                self.maps.append(_constant_maps(self.pairs[members] - added))
                if len(self.maps) == 1:  # these read the constant coordinate, which is -1 in every delta
                    cumulated = np.concatenate([np.zeros((1, both)), np.cumsum(self.maps[0][:, :, 0], axis=0)])
                    by_last_token = -cumulated[np.searchsorted(chain.thresholds, plan.layout.scalar, side="right")]
            self.start = self.start + sum_of_maps(self.maps[-1], blocks.basis)
        self.tail = plan.chains[0].blocks.part(slice(self.tail_start, None)) if single else None
        tail_members = self.tail.members[self.tail.members >= 0] if self.tail else np.zeros(0, dtype=np.int64)
        self.movable = np.concatenate([plan.skip_carried, tail_members])
        self.contributions = np.zeros((len(plan.skip_carried), both))
        if not single:
            first_token, last_token = plan.task.sequences[plan.skip_carried].T
            self.contributions += by_last_token[last_token] * (first_token != last_token)[:, None]
        for chain, maps in zip(plan.chains, self.maps, strict=True):
            keys, mask = chain_keys(chain.kind, plan.layout, plan.task.sequences[plan.skip_carried])
            passed = np.searchsorted(chain.thresholds, keys, side="right") * mask
            self.contributions += added_by_heads(maps, chain.blocks.basis, np.minimum(passed, len(maps)), self.delta)
        self.passed_of_tail = np.maximum(passed - self.tail_start, 0) if self.tail else np.zeros_like(plan.skip_carried)

    def equations(self, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """What the skip-carried sequences ask of G, as rows @ G^T = wanted; the sum of all maps as pairs; the tail's maps."""
        carried, out = len(self.plan.skip_carried), self.out
        self.pairs[self.movable, :out] = targets
        contributions, total = self.contributions, self.start
        tail = np.zeros((0, out + self.dim, self.plan.head_dim))
        if self.tail:
            tail = chain_maps(self.tail, self.pairs, self.start)
            contributions = contributions + added_by_heads(tail, self.tail.basis, self.passed_of_tail, self.delta)
            total = total + sum_of_maps(tail, self.tail.basis)
        rows = self.pairs[self.plan.skip_carried, out:] - contributions[:, out:]
        return rows, targets[:carried] - contributions[:, :out], total, tail

    def draw(self, targets: np.ndarray, rng: np.random.Generator) -> _Draw:
        """Solve for G with the movable targets as given; where G is free it is drawn at random."""
        out, dim = self.out, self.dim
        rows, wanted, total, tail = self.equations(targets)
        inverse = np.linalg.pinv(rows)  # (d, carried)
        free = np.linalg.qr(rng.standard_normal((dim, dim)))[0][:out] @ (np.eye(dim) - inverse @ rows)
        skip_map = (inverse @ wanted).T + free
        residual = float(np.abs(rows @ skip_map.T - wanted).max(initial=0.0))
        base = skip_map - (total[:out] - skip_map @ total[out:])
        singular = np.linalg.svd(base, compute_uv=False)
        condition = float(singular[0] / singular[-1]) if singular[-1] > 1e-200 else np.inf
        return _Draw(targets, tail, skip_map, base, condition if residual < 1e-6 else np.inf)

    def finish(self, drawn: _Draw) -> Solution:
        """All maps for the G of a draw."""
        out = self.out
        self.pairs[self.movable, :out] = drawn.targets
        heads = np.concatenate([w[:, :out] - drawn.skip_map @ w[:, out:] for w in [*self.maps, drawn.tail]])
        basis = np.concatenate([chain.blocks.basis for chain in self.plan.chains])
        return Solution(drawn.base, heads, basis, self.pairs[:, :out], self.movable, drawn.condition)


def _tail_start(blocks: Blocks, enough: int) -> int:
    """The first of the last heads that carry `enough` associations between them."""
    carried = np.cumsum((blocks.members[::-1] >= 0).sum(axis=1))
    return max(0, len(carried) - 1 - int(np.searchsorted(carried, enough)))


def _constant_maps(missing: np.ndarray) -> np.ndarray:
    """W of heads that read the constant coordinate only, one sequence each: C_j delta = -C_j is what sequence j misses."""
    maps = -missing
    maps[1:] += missing[:-1]
    return maps[:, :, None]


def chain_maps(blocks: Blocks, pairs: np.ndarray, before: np.ndarray) -> np.ndarray:
    """W_j = Y_j - C_{j-1} Q_j with Y_j = (what block j must get) R_j^-1; a full block of d deltas forgets what came before it."""
    members = blocks.members
    missing = pairs[members]
    missing[members < 0] = 0.0
    maps = missing.transpose(0, 2, 1) @ blocks.inverse
    full = (members >= 0).sum(axis=1) == blocks.basis.shape[1]
    ends = np.append(np.flatnonzero(~full), len(full))
    place = 0
    while place < len(members):
        stop = place + 1
        if full[place]:
            stop = int(ends[np.searchsorted(ends, place)])
            own = maps[place:stop].copy()
            turn = blocks.basis[place : stop - 1].transpose(0, 2, 1) @ blocks.basis[place + 1 : stop]
            maps[place] -= before @ blocks.basis[place]
            maps[place + 1 : stop] -= own[:-1] @ turn
            before = own[-1] @ blocks.basis[stop - 1].T
        else:
            maps[place] -= before @ blocks.basis[place]
            before = before + maps[place] @ blocks.basis[place].T
        place = stop
    return maps


def sum_of_maps(maps: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """sum_h W_h Q_h^T."""
    total = np.zeros((maps.shape[1], basis.shape[1]))
    for start in range(0, len(maps), 4096):
        part = slice(start, start + 4096)
        total += np.tensordot(maps[part], basis[part], axes=([0, 2], [0, 2]))
    return total


def added_by_heads(maps: np.ndarray, basis: np.ndarray, passed: np.ndarray, delta: np.ndarray) -> np.ndarray:
    """sum_{h < passed} W_h Q_h^T delta per sequence, walking up the heads once."""
    result = np.zeros((len(passed), maps.shape[1]))
    reached, cumulated = 0, np.zeros((maps.shape[1], basis.shape[1]))
    for place in np.argsort(passed, kind="stable"):
        cumulated = cumulated + sum_of_maps(maps[reached : passed[place]], basis[reached : passed[place]])
        reached = passed[place]
        result[place] = cumulated @ delta[place]
    return result


def _moved(targets: np.ndarray, code: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Targets moved inside their label cones: up to twice as far out, aside by at most half of what the cone allows."""
    gaps = targets @ code.T  # (movable, vocab)
    lengths = (code**2).sum(axis=1)
    apart = np.sqrt(np.maximum(lengths[labels][:, None] + lengths[None, :] - 2 * gaps, 0.0))
    margins = lengths[labels][:, None] - gaps
    own = np.arange(len(labels)), labels
    margins[own], apart[own] = np.inf, 1.0
    radius = 0.5 * (margins / apart).min(axis=1, keepdims=True)
    aside = rng.standard_normal(targets.shape)
    aside /= np.linalg.norm(aside, axis=1, keepdims=True)
    return rng.uniform(1.0, 2.0, size=(len(labels), 1)) * (targets + radius * aside)
