"""A staircase for scores of rank one: three chains of thresholds, each head with a whole block of d associations.

A rank-one score is (a number read from the last token) x (a difference of numbers read from two positions), so heads can
threshold scalar[a] - scalar[b] upwards ("up") and downwards ("down"), or the last token alone ("last"). The first two see no
constant sequence (b, b); those are left to the third, whose head for b then has room for the d - 1 sequences (a, b) with a
nearest to b. These are first in "up" and "down", below all thresholds there. d constant sequences are the skip connection's.
"""

import numpy as np
from jaxtyping import Float, Int

from constructions._staircase_blocks import DEPENDENT, Blocks, choose_skip_carried, cut_into_blocks
from constructions._staircase_layout import Layout, assemble
from constructions._staircase_plan import Chain, Plan
from theory.tasks import AssociationTask


def rank_one_plan(
    task: AssociationTask,
    embed_dim: int,
    num_heads: int | None,
    attempt: int,
    seed: int,
    carried: Int[np.ndarray, "carried"] | None = None,
) -> Plan:
    """The plan of one layout; with too few heads for everything, those that would carry least are left out.

    `carried` are the sequences for the skip connection where they have been chosen already.
    """
    first, last = task.sequences.T
    constant = np.unique(last[first == last])
    # Where they do not suffice for the skip connection, what it carries beside them had better be near: every other attempt.
    aside = constant[: embed_dim if len(constant) > embed_dim or attempt % 2 == 0 else 0]
    chosen = _layout(task, aside, embed_dim, np.random.default_rng([seed, attempt, 2]))
    difference = chosen.scalar[first] - chosen.scalar[last]
    # Constant sequences first, by their token; then the nearest pairs.
    nearest = np.lexsort((chosen.scalar[last], np.abs(difference)))
    if len(aside):
        floor = int(chosen.scalar[np.setdiff1d(task.sequences, aside)].min(initial=chosen.scalar.max() + 1))
    else:
        # The skip must carry something that no head sees: all that follows a block of d deltas has E affine in x2.
        lowest = int(chosen.scalar[last[nearest[: 2 * embed_dim]]].argmin())
        nearest = np.concatenate([nearest[lowest : lowest + 1], np.delete(nearest, lowest)])
        floor = int(chosen.scalar[last[nearest[0]]]) + 1
    if carried is None:
        carried = nearest[choose_skip_carried(chosen.rows[1][last[nearest]], last[nearest], chosen.skip_threshold)]
    dealt = nearest[~np.isin(nearest, carried)]
    deltas = chosen.deltas(task.sequences)
    blocks, floors = _last_chain(dealt, difference, chosen.scalar[last], deltas, floor - 0.5)
    in_last = np.isin(dealt, np.array([index for block in blocks for index in block], dtype=np.int64))
    spare = 0 if num_heads is None else max(0, len(dealt) - num_heads * embed_dim)
    chains = [Chain("last", _factored(blocks, deltas), floors)]
    for kind, sign in (("up", 1), ("down", -1)):
        rest = dealt[~in_last & (sign * difference[dealt] > 0)]
        cut = cut_into_blocks(deltas[rest], embed_dim, None, spare)
        members = np.where(cut.members >= 0, rest[cut.members], -1) if len(rest) else cut.members
        cut = Blocks(members, cut.basis, cut.inverse, cut.quality)
        chains.append(Chain(kind, cut, np.abs(difference[members[:, 0]]) - 0.5))
    used = sum(len(chain.thresholds) for chain in chains)
    if num_heads is not None and used > num_heads:
        chains = _without_least(chains, used - num_heads)
    return Plan(task, chosen, carried, tuple(chains), used if num_heads is None else num_heads, embed_dim)


def _layout(task: AssociationTask, aside: Int[np.ndarray, "aside"], embed_dim: int, rng: np.random.Generator) -> Layout:
    """Scalars from a Sidon set, so that differences of two tokens are all distinct; remaining coordinates are random.

    2 p k + (k^2 mod p) for different k < p, p prime (Erdos and Turan 1941). The tokens `aside`, those of constant sequences
    for the skip connection, get k below all others and far apart: no near pair has one of them.
    """
    used = np.unique(task.sequences)
    gap = embed_dim // 2 + 2
    place = np.zeros(task.vocab_size, dtype=np.int64)
    place[aside] = gap * np.arange(len(aside))
    others = rng.permutation(np.setdiff1d(used, aside))
    place[others] = gap * len(aside) + np.arange(len(others))
    rest = rng.standard_normal((task.vocab_size, embed_dim - 2))
    if embed_dim > 2:  # with the constant coordinate, rows of an orthogonal basis
        period = embed_dim - 1
        axes = np.linalg.svd(np.eye(period) - 1.0 / period)[2][: period - 1].T * np.sqrt(period)
        rest[aside] = axes[np.arange(len(aside)) % period]
    prime = max(2, int(place.max()) + 1)
    while any(prime % divisor == 0 for divisor in range(2, int(prime**0.5) + 1)):
        prime += 1
    scalar = np.zeros(task.vocab_size, dtype=np.int64)
    scalar[used] = 2 * prime * place[used] + place[used] ** 2 % prime
    return assemble(scalar, 1, 1, rest, "Sidon", mixed=False)


def _last_chain(
    dealt: Int[np.ndarray, "dealt"],
    difference: Int[np.ndarray, "associations"],
    last: Int[np.ndarray, "associations"],
    deltas: Float[np.ndarray, "associations embed_dim"],
    floor: float,
) -> tuple[list[list[int]], Float[np.ndarray, "heads"]]:
    """Blocks of the heads that threshold the last token, and their thresholds, the first of which is `floor`.

    One head per constant sequence, filled up with the nearest pairs for as long as these fit; without constant sequences one
    head takes what "up" and "down" would otherwise have left over for two.
    """
    dim = deltas.shape[1]
    constant = dealt[difference[dealt] == 0]
    queues = [dealt[difference[dealt] > 0], dealt[difference[dealt] < 0]]
    most = [len(queue) for queue in queues]
    if not len(constant):
        over = [len(queue) % dim for queue in queues]
        if not all(over):
            return [], np.zeros(0)
        most = [over[0], min(dim - over[0], most[1])]
    blocks = [[int(index)] for index in constant] or [[]]
    floors = last[constant] - 0.5 if len(constant) else np.zeros(1)
    floors[0] = floor
    bases = [np.zeros((0, dim)) for _ in blocks]
    for block, basis in enumerate(bases):
        bases[block] = _extended(basis, deltas[blocks[block][0]]) if blocks[block] else basis
    block_of = np.searchsorted(floors, last, side="right") - 1
    taken = [0, 0]
    while any(count < limit for count, limit in zip(taken, most, strict=True)):
        side = min((s for s in (0, 1) if taken[s] < most[s]), key=lambda s: abs(int(difference[queues[s][taken[s]]])))
        index = int(queues[side][taken[side]])
        block = int(block_of[index])
        basis = _extended(bases[block], deltas[index]) if block >= 0 and len(blocks[block]) < dim else bases[block]
        if len(basis) == len(bases[block]):  # no head, no room or nothing new: all farther pairs of this side are its chain's
            most[side] = taken[side]
            continue
        bases[block] = basis
        blocks[block].append(index)
        taken[side] += 1
    return (blocks, floors) if blocks[0] else ([], np.zeros(0))


def _extended(basis: np.ndarray, delta: np.ndarray) -> np.ndarray:
    """The orthonormal rows with the new part of a delta, if there is any."""
    new = delta - (delta @ basis.T) @ basis
    new -= (new @ basis.T) @ basis
    length = np.linalg.norm(new)
    return np.vstack([basis, new / length]) if length >= 1e3 * DEPENDENT else basis


def _factored(blocks: list[list[int]], deltas: np.ndarray) -> Blocks:
    """Blocks given by their members, with Q and R^-1 of their deltas."""
    dim = deltas.shape[1]
    members = np.full((len(blocks), dim), -1, dtype=np.int64)
    basis, inverse = np.zeros((len(blocks), dim, dim)), np.zeros((len(blocks), dim, dim))
    quality = np.inf
    for place, block in enumerate(blocks):
        count = len(block)
        members[place, :count] = block
        basis[place, :, :count], factor = np.linalg.qr(deltas[block].T)
        inverse[place, :count, :count] = np.linalg.inv(factor)
        quality = min(quality, float(np.abs(np.diagonal(factor)).min()))
    return Blocks(members, basis, inverse, quality)


def _without_least(chains: list[Chain], surplus: int) -> list[Chain]:
    """The chains without the heads that carry least; no head needs another, as each solves for what the others leave."""
    sizes = np.concatenate([(chain.blocks.members >= 0).sum(axis=1) for chain in chains])
    kept = np.ones(len(sizes), dtype=bool)
    kept[np.argsort(sizes, kind="stable")[:surplus]] = False
    result, start = [], 0
    for chain in chains:
        stay = kept[start : start + len(chain.thresholds)]
        start += len(stay)
        blocks = chain.blocks
        part = Blocks(blocks.members[stay], blocks.basis[stay], blocks.inverse[stay], blocks.quality)
        result.append(Chain(chain.kind, part, chain.thresholds[stay]))
    return result
