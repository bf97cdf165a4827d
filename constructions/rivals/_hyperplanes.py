"""Hyperplanes through a few of many points, and how far all other points are from them: what general position is needed for."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

TRIES = 8  # directions drawn where a group leaves its hyperplane a choice
CLOSEST = 1e-10  # of the points' size: nearer than that, float64 can't tell a point from the hyperplane


class Hyperplane(NamedTuple):
    """The points x with normal · x = offset; |normal| = 1. `gap`: least distance of a point that is not in the group."""

    normal: Float[np.ndarray, " input_dim"]
    offset: float
    gap: float


def hyperplane_through(
    points: Float[np.ndarray, "points input_dim"], group: Int[np.ndarray, " members"], rng: np.random.Generator
) -> Hyperplane:
    """A hyperplane through the points of a group (at most input_dim) and no others.

    Where the group has fewer than input_dim points, the hyperplane farthest from the others among TRIES is taken.

    Raises:
        ValueError: the points are not in general position: the group's are affinely dependent, or another lies on its hyperplane.
    """
    dim = points.shape[1]
    size = float(np.abs(points).max(initial=0.0)) or 1.0
    members = points[group]
    centre = members.mean(axis=0)
    _, singular, directions = np.linalg.svd(members - centre)
    rank = len(group) - 1
    if rank and singular[rank - 1] <= CLOSEST * size:
        raise ValueError(
            f"points {group.tolist()} span fewer than {rank} dimensions: general position (no {dim + 1} points in one "
            "hyperplane, and likewise for fewer points) is assumed"
        )
    free = directions[rank:]  # orthonormal: the directions in which the group has no extent
    others = np.ones(len(points), dtype=bool)
    others[group] = False
    best = None
    for _ in range(1 if len(free) == 1 else TRIES):
        normal = free[0] if len(free) == 1 else rng.standard_normal(len(free)) @ free
        normal = normal / np.linalg.norm(normal)
        offset = float(centre @ normal)
        distances = np.abs(points[others] @ normal - offset)
        gap = float(distances.min()) if len(distances) else size
        if best is None or gap > best.gap:
            best = Hyperplane(normal, offset, gap)
    assert best is not None
    if best.gap <= CLOSEST * size:
        nearest = np.flatnonzero(others)[np.abs(points[others] @ best.normal - best.offset).argmin()]
        raise ValueError(
            f"points[{nearest}] lies on the hyperplane through points {group.tolist()}: general position (no {dim + 1} points in "
            "one hyperplane) is assumed"
        )
    return best


def chunks(indices: Int[np.ndarray, " some"], size: int) -> list[Int[np.ndarray, " _"]]:
    """The indices in consecutive groups of `size`; the last may be smaller."""
    return [indices[start : start + size] for start in range(0, len(indices), size)]


def separable_groups(
    points: Float[np.ndarray, "points input_dim"],
    groups: Sequence[Int[np.ndarray, " _"]],
    most: int,
    rng: np.random.Generator,
) -> list[Int[np.ndarray, " _"]]:
    """The first `most` groups that have a hyperplane of their own; a group that has none is halved until its parts do.

    For points that are not in general position as a whole. Single points always have one, as long as no point comes twice.
    """
    waiting = list(groups[::-1])
    found: list[np.ndarray] = []
    while waiting and len(found) < most:
        group = waiting.pop()
        try:
            hyperplane_through(points, group, rng)
        except ValueError:
            if len(group) == 1:
                raise
            waiting += [group[len(group) // 2 :], group[: len(group) // 2]]
        else:
            found.append(group)
    return found


def positions(groups: Sequence[Int[np.ndarray, " _"]]) -> list[Int[np.ndarray, " _"]]:
    """Where the members of each group are once the groups are put one after the other."""
    starts = np.cumsum([0, *map(len, groups)])
    return [np.arange(start, stop) for start, stop in pairwise(starts.tolist())]
