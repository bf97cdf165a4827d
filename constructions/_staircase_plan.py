"""The staircase's plan for a task: chains of thresholds, who carries which association, and how many that makes."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from constructions._staircase_blocks import Blocks, choose_skip_carried, cut_into_blocks
from constructions._staircase_layout import CONSTANT, ORDER, Layout, layout, sidon_layout
from theory.tasks import AssociationTask

# A step of the gate is this many score units wide on either side: sigmoid(-64) = 1.6e-28 vanishes beside rounding.
SHARPNESS = 128.0


@dataclass(frozen=True)
class Chain:
    """A run of heads, each of which sees exactly the chain's sequences from its threshold upwards.

    Attributes:
        kind: the functional that the heads threshold: "order" (p a + q b), "last" (b), "up" (a - b) or "down" (b - a).
        blocks: who carries what; `members` are task indices.
        thresholds: per head, halfway between whole numbers.
    """

    kind: str
    blocks: Blocks
    thresholds: Float[np.ndarray, "heads"]


@dataclass(frozen=True)
class Plan:
    """What the staircase will hold, known before any weight is computed.

    Attributes:
        task: the task.
        layout: embeddings and order.
        skip_carried: task indices that the skip connection carries.
        chains: one chain, or three for heads of dimension one.
        num_heads: heads of the model; more than the chains use when more were asked for.
        head_dim: d_h.
    """

    task: AssociationTask
    layout: Layout
    skip_carried: Int[np.ndarray, "carried"]
    chains: tuple[Chain, ...]
    num_heads: int
    head_dim: int

    @property
    def quality(self) -> float:
        """Least new part of any delta in its block, at most 1; a small one means large weights."""
        return min((chain.blocks.quality for chain in self.chains), default=1.0)

    @property
    def heads_used(self) -> int:
        """Heads that carry something."""
        return sum(len(chain.thresholds) for chain in self.chains)

    @property
    def held(self) -> Int[np.ndarray, "held"]:
        """Task indices of the associations that will be held, ascending."""
        carried = [chain.blocks.members[chain.blocks.members >= 0] for chain in self.chains]
        return np.sort(np.concatenate([self.skip_carried, *carried]))

    @property
    def num_held(self) -> int:
        """How many associations will be held."""
        return len(self.skip_carried) + sum(chain.blocks.num_carried for chain in self.chains)


def plan_once(task: AssociationTask, embed_dim: int, head_dim: int, num_heads: int | None, attempt: int, seed: int) -> Plan:
    """The plan of one layout; see `_staircase_search` for the choice among them."""
    make = sidon_layout if head_dim == 1 else layout
    chosen = make(task.sequences, task.vocab_size, embed_dim, attempt, seed)
    kinds = ("last", "up", "down") if head_dim == 1 else ("order",)
    keys = [chain_keys(kind, chosen, task.sequences) for kind in kinds]
    orders = [np.flatnonzero(mask)[np.argsort(key[mask], kind="stable")] for key, mask in keys]
    order = np.concatenate(orders)
    last = task.sequences[:, 1]
    carried = order[choose_skip_carried(chosen.rows[1][last[order]], last[order], chosen.skip_threshold)]
    remaining = task.num_associations - len(carried)
    may_skip = 0 if num_heads is None else max(0, remaining - num_heads * head_dim)
    chains: list[Chain] = []
    free = num_heads
    for kind, (key, _), indices in zip(kinds, keys, orders, strict=True):
        dealt = indices[~np.isin(indices, carried)]
        blocks = _chain_blocks(chosen, task, dealt, head_dim, free, may_skip)
        chains.append(Chain(kind, blocks, key[blocks.members[:, 0]] - 0.5))
        if free is not None:
            free -= len(blocks.members)
    used = sum(len(chain.thresholds) for chain in chains)
    return Plan(task, chosen, carried, tuple(chains), used if num_heads is None else num_heads, head_dim)


def chain_keys(kind: str, chosen: Layout, sequences: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the heads of a chain threshold, per sequence, and which sequences belong to the chain."""
    first, last = chosen.scalar[sequences].T
    if kind == "order":
        return chosen.first * first + chosen.last * last, np.ones(len(sequences), dtype=bool)
    if kind == "last":
        return last, first == last
    return (first - last, first > last) if kind == "up" else (last - first, first < last)


def _chain_blocks(
    chosen: Layout, task: AssociationTask, dealt: np.ndarray, head_dim: int, free: int | None, may_skip: int
) -> Blocks:
    if head_dim == 1:
        return _constant_blocks(dealt if free is None else dealt[:free], chosen.rows.shape[2])
    blocks = cut_into_blocks(chosen.deltas(task.sequences[dealt]), head_dim, free, may_skip)
    members = np.where(blocks.members >= 0, dealt[blocks.members], -1) if len(dealt) else blocks.members
    return Blocks(members, blocks.basis, blocks.inverse, blocks.quality)


def _constant_blocks(dealt: np.ndarray, embed_dim: int) -> Blocks:
    """Heads of dimension one need only the constant coordinate, where every delta is -1."""
    basis = np.zeros((len(dealt), embed_dim, 1))
    basis[:, CONSTANT] = 1.0
    return Blocks(dealt[:, None], basis, np.full((len(dealt), 1, 1), -1.0), 1.0)


def gates(plan: Plan, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Queries and keys of the heads of one kind, for threshold 0 and 1: (2, d, head_dim) each; keys are affine in the threshold.

    With x1 = (alpha_a, 0, ..) and x2 = (alpha_b, 1, ..) the score difference of the two positions is
    SHARPNESS * (functional - threshold), every term exact in floating point as long as it fits the mantissa.
    """
    unit = SHARPNESS * 2.0**plan.layout.shift
    embed_dim = plan.layout.rows.shape[2]
    query, key = np.zeros((2, embed_dim, plan.head_dim)), np.zeros((2, embed_dim, plan.head_dim))
    if kind == "last":  # key -1 at the last position only; query alpha_b - threshold
        query[0, ORDER, 0] = unit
        query[1, CONSTANT, 0] = -SHARPNESS
        key[0, CONSTANT, 0] = -1.0
        return query, key
    sign = {"order": plan.layout.first, "up": 1, "down": -1}[kind]
    query[0, CONSTANT, 0] = 1.0
    key[0, ORDER, 0] = sign * unit
    key[1, CONSTANT, 0] = SHARPNESS
    if kind == "order":  # the first column compares p a with p b + threshold, the second takes (p + q) b off the latter
        query[0, ORDER, 1] = 1.0
        key[0, CONSTANT, 1] = -(plan.layout.first + plan.layout.last) * unit
    return query, key
