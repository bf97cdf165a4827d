"""What a block staircase may choose: token order and spacing, other coordinates, label code; and a hill climb over them."""

import time
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from constructions._block_order import grouped
from constructions._block_walk import Staircase, StuckError, Walk
from constructions._staircase_layout import Layout, assemble
from theory.encoders import circle_code, low_coherence_code
from theory.tasks import AssociationTask

BOUND = 100.0  # norm of a map beside that of the least output that keeps distance 1 from its walls
APART = 0.3  # least distance of two rows below which a random code gives way to one of low coherence
DIRECTIONS = 2  # random sortings of a group beside the one that puts first what is easy
WIDEST_GAP = 4  # of neighbouring token scalars


@dataclass(frozen=True)
class Choice:
    """All that is fixed before a walk.

    Attributes:
        layout: embeddings and the order of first tokens.
        tokens: the labels that occur, ascending; row k of the code belongs to tokens[k].
        code: label directions of mean 0 (with a single label, a second row stands for all other tokens).
        labels: per association its row of the code.
        directions: linear functionals of x2 that may sort a group.
        free: whether groups may be sorted by quadratics.
        bound: on the norm of every C_j.
    """

    layout: Layout
    tokens: Int[np.ndarray, "labels"]
    code: Float[np.ndarray, "rows code_dim"]
    labels: Int[np.ndarray, "associations"]
    directions: Float[np.ndarray, "directions embed_dim"]
    free: bool
    bound: float


def first_choice(task: AssociationTask, embed_dim: int, head_dim: int, code_dim: int, seed: int) -> Choice:
    """Tokens in their own order, Gaussian coordinates beside it, and a code for the labels that occur."""
    rng = np.random.default_rng([seed, 5])
    used = np.unique(task.sequences)
    scalar = np.zeros(task.vocab_size, dtype=np.int64)
    scalar[used] = np.arange(len(used))
    rest = rng.standard_normal((task.vocab_size, embed_dim - 2))
    tokens, labels = np.unique(task.targets, return_inverse=True)
    code = _code(len(tokens), code_dim, seed)
    directions = rng.standard_normal((DIRECTIONS, embed_dim)) if embed_dim > 2 else np.array([[1.0, 0.0], [-1.0, 0.0]])
    return Choice(
        layout=assemble(scalar, len(used), 1, rest, "grouped", mixed=False),
        tokens=tokens,
        code=code,
        labels=labels,
        directions=directions,
        free=head_dim == embed_dim,
        bound=_bound(code),
    )


def walk_choice(task: AssociationTask, choice: Choice, num_heads: int | None) -> Staircase:
    """The walk of a choice."""
    groups = grouped(choice.layout, task.sequences, choice.directions, free=choice.free)
    return Walk(choice.layout, task.sequences, choice.labels, choice.code, groups, choice.bound).go(num_heads)


def climb(
    task: AssociationTask,
    choice: Choice,
    walked: Staircase,
    num_heads: int | None,
    *,
    seed: int,
    steps: int,
    max_seconds: float,
) -> tuple[Choice, Staircase, dict[str, str]]:
    """Change one thing at a time and keep what is no worse: most held, then fewest heads, then the shortest last block."""
    rng = np.random.default_rng([seed, 6])
    started, made, taken = time.process_time(), 0, 0
    begin = walked.num_heads
    for _ in range(steps):
        if walked.num_heads == 0 or time.process_time() - started > max_seconds:
            break
        made += 1
        changed = _changed(task, choice, rng)
        try:
            again = walk_choice(task, changed, num_heads)
        except StuckError:
            continue
        if _rank(again) >= _rank(walked):
            taken += _rank(again) > _rank(walked)
            choice, walked = changed, again
    notes = {"search": f"{made} of {steps} steps, {taken} better, from {begin} heads to {walked.num_heads}"}
    if made < steps and walked.num_heads:
        notes["search"] += f", stopped by max_seconds = {max_seconds:g}"
    return choice, walked, notes


def _rank(walked: Staircase) -> tuple[int, int, int]:
    return walked.num_held, -walked.num_heads, -len(walked.blocks[-1])


def _changed(task: AssociationTask, choice: Choice, rng: np.random.Generator) -> Choice:
    """Two tokens or two labels change places, a gap between token scalars or a row of the code moves."""
    kind = int(rng.integers(4))
    used = np.unique(task.sequences)
    if kind in (0, 1) and len(used) > 1:
        scalar = choice.layout.scalar.copy()
        by_rank = used[np.argsort(scalar[used])]
        if kind == 0:
            one, two = rng.choice(len(used), 2, replace=False)
            scalar[by_rank[[one, two]]] = scalar[by_rank[[two, one]]]
        else:
            gaps = np.diff(scalar[by_rank])
            gaps[rng.integers(len(gaps))] = rng.integers(1, WIDEST_GAP + 1)
            scalar[by_rank] = np.concatenate([[0], np.cumsum(gaps)])
        rest = choice.layout.rows[0][:, 2:]
        return replace(choice, layout=assemble(scalar, int(scalar.max()) + 1, 1, rest, "searched", mixed=False))
    code = choice.code.copy()
    if kind == 2 and len(code) > 1:
        one, two = rng.choice(len(code), 2, replace=False)
        code[[one, two]] = code[[two, one]]
    else:
        row = int(rng.integers(len(code)))
        code[row] += 0.2 * np.linalg.norm(code[row]) * rng.standard_normal(code.shape[1]) / code.shape[1] ** 0.5
        code -= code.mean(axis=0)
    return replace(choice, code=code)


def _code(num_labels: int, code_dim: int, seed: int) -> Float[np.ndarray, "rows code_dim"]:
    """Rows of mean 0: a label that never occurs can then have the row 0, which is no one's equal where all margins hold."""
    if code_dim == 1:
        return np.array([[1.0], [-1.0]])
    if code_dim == 2 or num_labels <= code_dim + 1:
        code = circle_code(num_labels) if code_dim == 2 else low_coherence_code(num_labels, code_dim, seed)
    else:
        code = np.random.default_rng([seed, 7]).standard_normal((num_labels, code_dim))
        code /= np.linalg.norm(code, axis=1, keepdims=True)
        if _least_distance(code) < APART:
            code = low_coherence_code(num_labels, code_dim, seed)
    return code - code.mean(axis=0)


def _least_distance(code: np.ndarray) -> float:
    squared = (code**2).sum(axis=1)
    apart = squared[:, None] + squared - 2 * code @ code.T
    np.fill_diagonal(apart, np.inf)
    return float(np.sqrt(max(float(apart.min()), 0.0)))


def _bound(code: np.ndarray) -> float:
    """The output t u_y of a unit row has the distance t |u_y - u_i| / 2 from the wall to i."""
    return BOUND * 2.0 / max(_least_distance(code), 1e-6)
