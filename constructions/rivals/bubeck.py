r"""Bubeck, Eldan, Lee and Mikulincer 2020: 4 ceil(n/d) ReLU units pass through n points of R^d with any real labels.

The points are split into groups of d. Through a group goes a hyperplane u · x = b that no other point lies on; some affine
c(x) = v · x + v_0 takes the group's labels; and four units make a bump that is c(x) in a thin slab around the hyperplane and 0
away from it, with s = u · x - b:

    ([s + tau + delta c]_+ - [s + tau]_+ - [s - tau + delta c]_+ + [s - tau]_+) / delta.

On the hyperplane it is c(x) as long as delta |c| < tau, and at a point at distance |s| it is 0 as soon as |s| > tau + delta |c|.
So with the group's gap (the distance of the nearest other point) tau = gap/2 and delta = tau / (2 max |c|) over all data leave
every point at least tau/2 from every kink. Weights grow as 1/delta, that is as max |c| / gap: exact in real numbers, and in
floats up to a rounding error that `ReluNetwork.error_bound` bounds.

A table of pairs is no such data: the concatenated embeddings of (a, b), (a, b'), (a', b) and (a', b') lie in a plane, whatever
the embeddings. The transplant therefore groups pairs so that no token is repeated at a place within a group: those are as good as
in general position, and on all N^2 pairs with 2d < N nothing is lost by it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from constructions.rivals._hyperplanes import chunks, hyperplane_through, positions, separable_groups
from constructions.rivals.memory import RivalMemory
from theory.shapes import AttentionShape, checked_integer
from theory.tasks import AssociationTask

NAME = "bubeck"
SOURCE = (
    "Bubeck, Eldan, Lee and Mikulincer 2020, Network size and size of the weights in memorization with two-layers neural "
    "networks (NeurIPS), the ReLU form of Baum 1988"
)
STATEMENT = (
    "For all n points in general position in R^d and all real labels, some network with one hidden layer of 4 ceil(n/d) ReLU "
    "units and a linear output takes every point to its label exactly."
)
ASSUMPTIONS = (
    "general position: no d + 1 of the points lie in one hyperplane",
    "weights of any size: they grow as the labels over the smallest gap between a group's hyperplane and another point",
)
UNITS_PER_GROUP = 4


@dataclass(frozen=True)
class ReluNetwork:
    """x -> sum_j outward_j [inward_j · x + bias_j]_+ with m hidden units, four per group."""

    inward: Float[np.ndarray, "units input_dim"]
    bias: Float[np.ndarray, " units"]
    outward: Float[np.ndarray, " units"]

    def __call__(self, points: Float[np.ndarray, "points input_dim"]) -> Float[np.ndarray, " points"]:
        """One real number per point."""
        return np.maximum(points @ self.inward.T + self.bias, 0.0) @ self.outward

    def error_bound(self, points: Float[np.ndarray, "points input_dim"]) -> Float[np.ndarray, " points"]:
        """How far `self(points)` may be from these weights' exact output, in float64, whatever the order of summation.

        |error| <= gamma_k sum_j |outward_j| (|inward_j| · |x| + |bias_j|) with k = m + d + 4, as [.]_+ never widens an error
        (Higham 2002, section 3.1; the four spare terms pay for the bound's own rounding).
        """
        k = len(self.bias) + self.inward.shape[1] + 4
        unit = k * 2.0**-53
        return unit / (1 - unit) * ((np.abs(points) @ np.abs(self.inward).T + np.abs(self.bias)) @ np.abs(self.outward))

    @property
    def num_parameters(self) -> int:
        """Numbers stored: m (d + 2)."""
        return self.inward.size + self.bias.size + self.outward.size

    @property
    def max_weight(self) -> float:
        """The largest absolute weight."""
        return max(float(np.abs(part).max(initial=0.0)) for part in (self.inward, self.bias, self.outward))


def units_needed(num_points: int, input_dim: int) -> int:
    """4 ceil(n/d), the hidden units of the statement."""
    groups = -(-checked_integer("num_points", num_points, 1) // checked_integer("input_dim", input_dim, 1))
    return UNITS_PER_GROUP * groups


def claimed_capacity(num_units: int, input_dim: int) -> int:
    """The most points that `num_units` hidden units are claimed to be enough for: d floor(m/4)."""
    return checked_integer("num_units", num_units, 0) // UNITS_PER_GROUP * checked_integer("input_dim", input_dim, 1)


def fit(
    points: Float[np.ndarray, "points input_dim"],
    labels: Float[np.ndarray, " points"],
    *,
    seed: int = 0,
    groups: Sequence[Int[np.ndarray, " _"]] | None = None,
) -> ReluNetwork:
    """The network that takes every point to its label, four units per group.

    Args:
        points: n points.
        labels: a real number for each.
        seed: of the random grouping.
        groups: indices of the points of each group, at most input_dim, every point once; None for random groups of input_dim.

    Raises:
        ValueError: the points are not in general position.
    """
    rng = np.random.default_rng(checked_integer("seed", seed, 0))
    dim = points.shape[1]
    inward, bias, outward = [], [], []
    for group in chunks(rng.permutation(len(points)), dim) if groups is None else groups:
        plane = hyperplane_through(points, group, rng)
        slope = np.linalg.lstsq(np.column_stack([points[group], np.ones(len(group))]), labels[group], rcond=None)[0]
        reach = float(np.abs(points @ slope[:-1] + slope[-1]).max())
        tau = plane.gap / 2
        delta = tau / (2 * reach) if reach > 0 else 1.0
        for sign in (1.0, -1.0):
            inward += [plane.normal + delta * slope[:-1], plane.normal]
            bias += [sign * tau - plane.offset + delta * slope[-1], sign * tau - plane.offset]
            outward += [sign / delta, -sign / delta]
    return ReluNetwork(np.array(inward), np.array(bias), np.array(outward))


def build(*, num_points: int, input_dim: int, num_labels: int, seed: int) -> RivalMemory:
    """Gaussian points with random labels 0 to num_labels - 1 as real numbers, fitted and run; an answer is the nearest label.

    Raises:
        ValueError: an argument out of range.
    """
    checked_integer("num_points", num_points, 1)
    checked_integer("input_dim", input_dim, 1)
    checked_integer("num_labels", num_labels, 2)
    rng = np.random.default_rng([checked_integer("seed", seed, 0), 0])
    points = rng.standard_normal((num_points, input_dim))
    labels = rng.integers(0, num_labels, num_points)
    network = fit(points, labels.astype(float), seed=seed)
    return _measured(network, points, labels, num_labels, "own", {})


def transplant(task: AssociationTask, *, embed_dim: int, head_dim: int, num_heads: int, seed: int) -> RivalMemory:
    """The network on the concatenated embeddings of the first pairs of a task: an MLP in place of attention, no transformer.

    Args:
        task: pairs (S = 2), one label each.
        embed_dim: d; the network's inputs are the 2d numbers of two Gaussian embeddings. Each place has a table of its own: with
            one for both, the pairs (a, a) would lie in d dimensions.
        head_dim, num_heads: as many units are made as have no more weights than so many heads, 4 d d_h each.
        seed: of the embeddings and hyperplanes.

    Returns:
        What the network holds of the pairs that it was given: as many groups of pairs (at most 2d, no token twice at a place) as
        there are units for.

    Raises:
        ValueError: an argument out of range, sequences of another length, or fewer weights than a group needs.
    """
    shape = AttentionShape(embed_dim, num_heads, head_dim)
    if task.seq_len != 2:
        raise ValueError(f"task has sequences of {task.seq_len} tokens: 2 is legal, the network reads two embeddings at once")
    dim = 2 * shape.embed_dim
    num_groups = 4 * shape.embed_dim * shape.head_dim * shape.num_heads // (UNITS_PER_GROUP * (dim + 2))
    if num_groups < 1:
        raise ValueError(
            f"num_heads = {num_heads}: 4 d d_h H = {4 * shape.embed_dim * shape.head_dim * shape.num_heads} weights; at least "
            f"{UNITS_PER_GROUP * (dim + 2)} are legal, for four units"
        )
    rng = np.random.default_rng([checked_integer("seed", seed, 0), 0])
    embedding = rng.standard_normal((2, task.vocab_size, shape.embed_dim))
    everything = np.hstack([table[tokens] for table, tokens in zip(embedding, task.sequences.T, strict=True)])
    groups = separable_groups(everything, pair_groups(task, dim), num_groups, rng)
    kept = np.concatenate(groups)
    points, labels = everything[kept], task.targets[kept]
    network = fit(points, labels.astype(float), seed=seed, groups=positions(groups))
    notes = {
        "given": f"{len(kept)} of the task's {task.num_associations} pairs, in {len(groups)} groups of at most {dim}",
        "general position": "within a group, where no token comes twice at a place; a table of pairs as a whole does not have it",
    }
    return _measured(network, points, labels, task.vocab_size, "transplanted", notes, embedding.size)


def pair_groups(task: AssociationTask, size: int) -> list[Int[np.ndarray, " _"]]:
    """A task's pairs in groups of at most `size`, no token twice at a place within one; largest groups first.

    First fit along the diagonals b - a = 0, 1, .. (mod N): on all N^2 pairs it fills every group when size < N (derived here:
    `size` successive pairs of that order repeat no token).
    """
    first, last = task.sequences.T
    groups: list[tuple[list[int], set[int], set[int]]] = []
    start = 0  # groups before it are full
    for index in np.lexsort((first, (last - first) % task.vocab_size)).tolist():
        a, b = int(first[index]), int(last[index])
        for members, firsts, lasts in groups[start:]:
            if len(members) < size and a not in firsts and b not in lasts:
                break
        else:
            members, firsts, lasts = [], set(), set()
            groups.append((members, firsts, lasts))
        members.append(index)
        firsts.add(a)
        lasts.add(b)
        while start < len(groups) and len(groups[start][0]) == size:
            start += 1
    return [np.array(members) for members, _, _ in sorted(groups, key=lambda group: -len(group[0]))]


def _measured(
    network: ReluNetwork,
    points: np.ndarray,
    labels: np.ndarray,
    num_labels: int,
    setting: str,
    notes: dict[str, str],
    num_embedded: int = 0,
) -> RivalMemory:
    error, rounding = np.abs(network(points) - labels), network.error_bound(points)
    return RivalMemory(
        rival=NAME,
        setting=setting,
        size=f"{len(network.bias)} ReLU units on R^{points.shape[1]}",
        num_associations=len(points),
        num_held=int((error < 0.5).sum()),
        num_labels=num_labels,
        claimed=float(claimed_capacity(len(network.bias), points.shape[1])),
        num_parameters=network.num_parameters + num_embedded,
        notes={
            "largest error": f"{error.max():.3g}",
            "largest error, evaluation's rounding included": f"{(error + rounding).max():.3g}",
            "largest weight": f"{network.max_weight:.3g}",
            **notes,
        },
    )
