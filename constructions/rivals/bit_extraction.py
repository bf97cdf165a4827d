"""Bit extraction: N_s labels in about sqrt(N_s) parameters, because each parameter is allowed about sqrt(N_s) bits.

Recipe (Vardi, Yehudai and Shamir 2022, section 3; realised anew here, in integers):
    1. a random integer vector projects every point to an integer id; ids must differ;
    2. the ids, sorted, are cut into blocks; the ids of a block are packed into one long integer, its labels into another; one
       layer per block steps both sums up to those of the block that the point falls into;
    3. tent maps unpack: after n of them the slope at a number tells its n-th bit, so two copies side by side give the bit;
       each id is compared with the point's own, and the label whose id agrees passes a gate.
Width 12 as in the paper; every hidden value is an integer, so that evaluation is exact.

For sequences (Kim, Kim and Mozafari 2023) step 1 is one attention head of width 1 that averages scalar tokens with fixed
positive weights c_i / sum(c): up to the factor sum(c), the projection of the point (t_1, .., t_S). The ids are separated for the
sequences that are stored, which is checked, and that is all a contextual mapping has to do here.

Constants from memory: Vardi, Yehudai and Shamir's ids below R = 10 N_s^2 r sqrt(pi d) / delta, width 12, and blocks of
sqrt(N_s / log N_s) points. The projection onto integers drawn below N_s^2, by the union bound, is derived here.
"""

from math import ceil, log2, sqrt

import numpy as np
from jaxtyping import Int

from constructions.rivals._bit_network import NetworkPlan, write_network
from constructions.rivals._exact_network import ExactNetwork
from constructions.rivals.memory import RivalMemory
from theory.shapes import checked_integer
from theory.tasks import AssociationTask

NAME = "bit_extraction"
SOURCE = "Vardi, Yehudai and Shamir 2022, Theorem 3.1; Kim, Kim and Mozafari 2023 (sequence classification)"
STATEMENT = (
    "For every N_s points of norm at most r, any two at least delta > 0 apart, and every labelling of them with C classes,"
    " there is a ReLU network of constant width with O~(sqrt(N_s)) parameters that outputs every label; for N_s sequences of"
    " S tokens in d dimensions a transformer with O~(d + S + sqrt(N_s)) parameters does. O~ hides powers of log N_s, log C,"
    " log(r / delta)."
)
ASSUMPTIONS = (
    "the points are separated: no two of them are equal (here: they are integer points)",
    "parameters may be as long as the construction asks, about sqrt(N_s log N_s) bits; in float64 it does not work",
    "depth grows like sqrt(N_s log N_s)",
)


def claimed_capacity(num_parameters: int) -> float | None:
    """None: the statement gives the order (num_parameters up to logs, squared), and no constants."""
    checked_integer("num_parameters", num_parameters, 1)
    return None


def plan(num_points: int, num_labels: int, num_inputs: int, radius: int) -> NetworkPlan:
    """The sizes for N_s integer points with coordinates between -radius and radius, before anything is computed.

    Raises:
        ValueError: fewer than 1 point, 2 labels, 1 coordinate, or radius 1.
    """
    num_points = checked_integer("num_points", num_points, 1)
    num_labels = checked_integer("num_labels", num_labels, 2)
    num_inputs = checked_integer("num_inputs", num_inputs, 1)
    radius = checked_integer("radius", radius, 1)
    block_size = ceil(sqrt(num_points / max(1.0, log2(num_points))))
    largest_id = 2 * radius * num_inputs * _largest_factor(num_points)
    return NetworkPlan(num_points, num_inputs, block_size, largest_id.bit_length(), (num_labels - 1).bit_length())


def memorize(
    points: Int[np.ndarray, "points dims"], labels: Int[np.ndarray, " points"], num_labels: int, *, seed: int = 0
) -> ExactNetwork:
    """The network that outputs the label of each of these points.

    Args:
        points: distinct integer points.
        labels: one per point, in [0, num_labels).
        num_labels: C >= 2.
        seed: of the projection.

    Returns:
        The network; one output, the label itself.

    Raises:
        ValueError: two points are equal, or a label is out of range.
    """
    num_labels = checked_integer("num_labels", num_labels, 2)
    if len(np.unique(points, axis=0)) < len(points):
        raise ValueError("points has a point twice: the theorem asks for separated points, so only distinct ones are legal")
    if labels.min() < 0 or labels.max() >= num_labels:
        raise ValueError(f"labels has values from {labels.min()} to {labels.max()}: 0 to {num_labels - 1} are legal")
    radius = max(1, int(np.abs(points).max()))
    sizes = plan(len(points), num_labels, points.shape[1], radius)
    factors, ids = _separating_projection(points, radius, seed)
    order = sorted(range(len(ids)), key=ids.__getitem__)
    sorted_labels = [int(labels[place]) for place in order]
    return write_network(sizes, factors, radius, [ids[place] for place in order], sorted_labels, num_labels)


def build(num_points: int, num_labels: int, *, dims: int = 3, radius: int = 100, seed: int = 0) -> RivalMemory:
    """The paper's own setting: distinct random integer points, uniform labels.

    Args:
        num_points: N_s >= 1.
        num_labels: C >= 2.
        dims: coordinates of a point.
        radius: coordinates are drawn from -radius to radius.
        seed: of points, labels and projection.

    Returns:
        What the exact network holds; `weight_bits` is the true length of its longest parameter.

    Raises:
        ValueError: more points than fit into the box without two of them being equal.
    """
    plan(num_points, num_labels, dims, radius)
    most = (2 * radius + 1) ** dims // 2
    if num_points > most:
        raise ValueError(f"num_points = {num_points}: at most {most} are legal, half the points of the box, so that all differ")
    generator = np.random.default_rng(seed)
    chosen: dict[tuple[int, ...], None] = {}
    while len(chosen) < num_points:
        rows = generator.integers(-radius, radius + 1, size=(num_points, dims))
        chosen.update(dict.fromkeys(map(tuple, rows.tolist())))
    points = np.array(list(chosen)[:num_points], dtype=np.int64)
    labels = generator.integers(num_labels, size=num_points)
    network = memorize(points, labels, num_labels, seed=seed)
    return _measured(network, points, labels, num_labels, "own", None, 0, f"N_s = {num_points} points in {dims} dimensions")


def transplant(task: AssociationTask, *, embed_dim: int = 2, seed: int = 0) -> RivalMemory:
    """This project's task: sequences are points (t_1, .., t_S), projected to ids by one attention head of width 1.

    Args:
        task: any associations; their sequences are distinct, so separation holds.
        embed_dim: at least 2; two coordinates are used, the token as a number and the position's score ln c_i.
        seed: of the head's weights over positions.

    Returns:
        What is held; `model` is None, since depth and MLP are what this rival lives on. The head's N + S scalars are counted with
        the network's parameters.
    """
    checked_integer("embed_dim", embed_dim, 2)
    network = memorize(task.sequences, task.targets, task.vocab_size, seed=seed)
    size, head = f"T0 = {task.num_associations} sequences of {task.seq_len} tokens", task.vocab_size + task.seq_len
    return _measured(network, task.sequences, task.targets, task.vocab_size, "transplanted", 1, head, size)


def _largest_factor(num_points: int) -> int:
    return max(2, num_points**2)  # union bound over pairs: a draw fails with probability below 1/2


def _separating_projection(points: np.ndarray, radius: int, seed: int) -> tuple[list[int], list[int]]:
    """Positive integer factors under which all points have different non-negative ids, and the ids."""
    generator = np.random.default_rng(seed)
    rows = points.tolist()
    for _ in range(100):  # all fail with probability below 2^-100
        drawn: np.ndarray = generator.integers(1, _largest_factor(len(rows)) + 1, size=points.shape[1:])
        factors: list[int] = drawn.tolist()
        offset = radius * sum(factors)
        ids = [offset + sum(factor * entry for factor, entry in zip(factors, row, strict=True)) for row in rows]
        if len(set(ids)) == len(ids):
            return factors, ids
    raise ArithmeticError("no projection out of 100 separated the points")


def _measured(
    network: ExactNetwork,
    points: np.ndarray,
    labels: np.ndarray,
    num_labels: int,
    setting: str,
    num_heads: int | None,
    embedding_parameters: int,
    size: str,
) -> RivalMemory:
    answers = [outputs[0] for outputs in network.evaluate(points)]
    notes = {
        "bits": f"{network.total_bits:,} bits in all parameters for {len(labels) * log2(num_labels):,.0f} bits of labels",
        "non-zero parameters": f"{network.num_nonzero:,}",
        "exactness": "evaluated in integers; float64 can't hold the longest weights",
    }
    return RivalMemory(
        rival=NAME,
        setting=setting,
        size=f"{size}, width {network.width}, depth {network.depth}",
        num_associations=len(labels),
        num_held=sum(answer == label for answer, label in zip(answers, labels.tolist(), strict=True)),
        num_labels=num_labels,
        claimed=claimed_capacity(network.num_parameters),
        num_parameters=network.num_parameters + embedding_parameters,
        num_heads=num_heads,
        weight_bits=network.weight_bits,
        notes=notes,
    )
