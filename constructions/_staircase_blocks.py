"""Which association is carried by which head: the staircase's plan, made before any weight is.

Walking up the order, one sequence for each of d last tokens is carried by the skip connection, every other one by the head
that is open at that moment; a head carries at most d_h sequences, of independent deltas, then the next one opens.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

# A delta counts as dependent on its block when less than this much of it (|delta| >= 1) is new: float64 keeps half its digits.
DEPENDENT = 1e-6


@dataclass(frozen=True)
class Blocks:
    """Who carries what, in one chain of thresholds.

    Attributes:
        members: per head the associations it carries, -1 where it has room left (heads, head_dim).
        basis: per head an orthonormal basis Q of its deltas, zero columns where it has room left (heads, embed_dim, head_dim).
        inverse: per head R^-1, where its deltas are the columns of Q R; zero where it has room left (heads, head_dim, head_dim).
        quality: smallest diagonal entry of any R: the least new part of a delta.
    """

    members: Int[np.ndarray, "heads head_dim"]
    basis: Float[np.ndarray, "heads embed_dim head_dim"]
    inverse: Float[np.ndarray, "heads head_dim head_dim"]
    quality: float

    def part(self, heads: slice) -> "Blocks":
        """Some of the heads."""
        return Blocks(self.members[heads], self.basis[heads], self.inverse[heads], self.quality)

    @property
    def num_carried(self) -> int:
        """Associations that these heads carry."""
        return int((self.members >= 0).sum())


def choose_skip_carried(
    rows: Float[np.ndarray, "associations embed_dim"],
    last_tokens: Int[np.ndarray, "associations"],
    threshold: float,
) -> Int[np.ndarray, "carried"]:
    """Which sequences the skip connection carries: for min(d, K) last tokens the first sequence with that token.

    Args:
        rows: x2 of every sequence, in the staircase's order.
        last_tokens: likewise.
        threshold: how much of a row must be new; where that leaves too few it is lowered.

    Returns:
        Places in the order, ascending; among sequences over the threshold the earlier is preferred.
    """
    tokens, first = np.unique(last_tokens, return_index=True)
    first = np.sort(first)
    rest = rows[first].copy()
    chosen: list[int] = []
    while len(chosen) < min(rows.shape[1], len(tokens)) and threshold > DEPENDENT:
        enough = np.flatnonzero(np.linalg.norm(rest, axis=1) >= threshold)
        if not len(enough):
            threshold /= 4.0
            continue
        new = rest[enough[0]] / np.linalg.norm(rest[enough[0]])
        chosen.append(int(first[enough[0]]))
        for _ in range(2):  # twice is enough for orthogonality to rounding
            rest -= np.outer(rest @ new, new)
        rest[enough[0]] = 0.0
    return np.sort(np.array(chosen, dtype=np.int64))


def cut_into_blocks(
    deltas: Float[np.ndarray, "associations embed_dim"], head_dim: int, num_heads: int | None, may_skip: int
) -> Blocks:
    """Deal the sequences, in order, to heads of head_dim independent deltas each.

    Args:
        deltas: of the sequences that are not carried by the skip connection, in order.
        head_dim: d_h, at most d.
        num_heads: heads to use at most; None for as many as it takes.
        may_skip: how many sequences may be passed over for free when their delta depends on their block (they stay unheld).

    Returns:
        The blocks; `members` are places in `deltas`.
    """
    parts = list(_blocks(deltas, head_dim, num_heads, may_skip))
    embed_dim = deltas.shape[1]
    members = [part[0] for part in parts] or [np.zeros((0, head_dim), dtype=np.int64)]
    bases = [part[1] for part in parts] or [np.zeros((0, embed_dim, head_dim))]
    factors = [part[2] for part in parts] or [np.zeros((0, head_dim, head_dim))]
    inverses = []
    quality = np.inf
    for which, factor in zip(members, factors, strict=True):
        diagonal = np.abs(np.diagonal(factor, axis1=1, axis2=2))[which >= 0]
        quality = min(quality, float(diagonal.min(initial=np.inf)))
        inverses.append(_padded_inverse(factor, which >= 0))
    return Blocks(np.concatenate(members), np.concatenate(bases), np.concatenate(inverses), quality)


def _padded_inverse(factor: Float[np.ndarray, "h m m"], present: Bool[np.ndarray, "h m"]) -> Float[np.ndarray, "h m m"]:
    """Inverses of the upper triangles, zero where a head has room left."""
    width = factor.shape[1]
    absent = np.eye(width) * ~present[:, None, :]
    return np.linalg.inv(factor + absent) - absent


Part = tuple[np.ndarray, np.ndarray, np.ndarray]  # members, Q, R of consecutive heads


def _blocks(deltas: np.ndarray, head_dim: int, num_heads: int | None, may_skip: int) -> Iterator[Part]:
    """Full blocks by the window; a block with a dependent delta by hand, then the window again."""
    place, made, window = 0, 0, 64
    limit = np.inf if num_heads is None else num_heads
    while place < len(deltas) and made < limit:
        ahead = int(min(window, (len(deltas) - place) // head_dim, limit - made))
        if ahead:
            stop = place + ahead * head_dim
            basis, factor = np.linalg.qr(deltas[place:stop].reshape(ahead, head_dim, -1).transpose(0, 2, 1))
            dependent = (np.abs(np.diagonal(factor, axis1=1, axis2=2)) < DEPENDENT).any(axis=1)
            good = int(dependent.argmax()) if dependent.any() else ahead
            if good:
                yield np.arange(place, place + good * head_dim).reshape(good, head_dim), basis[:good], factor[:good]
                place, made = place + good * head_dim, made + good
            if good == ahead:
                window = min(2 * window, 1 << 14)
                continue
            window = 4
        members, place, may_skip = _one_block(deltas, place, head_dim, may_skip)
        if members:
            yield _by_hand(deltas, members, head_dim)
            made += 1


def _one_block(deltas: np.ndarray, place: int, head_dim: int, may_skip: int) -> tuple[list[int], int, int]:
    """The next block, delta by delta: a dependent one is passed over while that is free, else it closes the block."""
    members: list[int] = []
    basis = np.zeros((0, deltas.shape[1]))
    while place < len(deltas) and len(members) < head_dim:
        new = deltas[place] - (deltas[place] @ basis.T) @ basis
        new -= (new @ basis.T) @ basis
        length = np.linalg.norm(new)
        if length >= DEPENDENT:
            members.append(place)
            basis = np.vstack([basis, new / length])
        elif may_skip:
            may_skip -= 1
        else:
            break
        place += 1
    return members, place, may_skip


def _by_hand(deltas: np.ndarray, members: list[int], head_dim: int) -> Part:
    which = np.full((1, head_dim), -1, dtype=np.int64)
    basis, factor = np.zeros((1, deltas.shape[1], head_dim)), np.zeros((1, head_dim, head_dim))
    count = len(members)
    which[0, :count] = members
    basis[0, :, :count], factor[0, :count, :count] = np.linalg.qr(deltas[members].T)
    return which, basis, factor
