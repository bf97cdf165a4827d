"""Generic embeddings and heads, and their features on a task: many heads are drawn, those that tell sequences apart are kept."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.linalg import qr

from theory.tasks import AssociationTask

SCORE_SCALES = (1.0, 3.0, 10.0, 30.0)  # spreads of a drawn head's scores: from soft attention to nearly hard choices
POOL_ENTRIES = 1 << 23  # of all drawn heads' outputs together (64 MiB); fewer heads are drawn where they would be more
CONDITION_WANTED = 1e4
MOST_DRAWS = 4
VANISHED = 1e-9  # a head whose new part is smaller than this part of its output adds nothing that float64 can see


@dataclass(frozen=True)
class Features:
    """The part of the model that is drawn and never solved for, and what it makes of the sequences.

    Attributes:
        tokens, positions: e and pos, (N, d) and (S, d); their sums are exact in float32.
        query, key, value: W_Q, W_K and W_V per head, (heads, d, d_h), of the heads that are used; all float32 numbers.
        last: x(t, S) (T0, d).
        matrix: F, the columns [x(t, S); W_V^1 A^1(t); ..] (d + heads d_h, T0), as computed in float64.
        held: indices of the associations to solve for, ascending; their columns are independent.
        condition: condition number of the columns of `held`, every row scaled to length one.
    """

    tokens: Float[np.ndarray, "vocab embed_dim"]
    positions: Float[np.ndarray, "positions embed_dim"]
    query: Float[np.ndarray, "heads embed_dim head_dim"]
    key: Float[np.ndarray, "heads embed_dim head_dim"]
    value: Float[np.ndarray, "heads embed_dim head_dim"]
    last: Float[np.ndarray, "associations embed_dim"]
    matrix: Float[np.ndarray, "features associations"]
    held: Int[np.ndarray, "held"]
    condition: float


def draw_features(
    task: AssociationTask,
    *,
    embed_dim: int,
    head_dim: int,
    num_heads: int,
    num_held: int,
    candidates: int,
    score_scale: float | None,
    rank_one: bool,
    rng: np.random.Generator,
    constant: int | None = None,
) -> Features:
    """The best-conditioned of a few draws of embeddings and heads.

    Args:
        task: the associations.
        embed_dim, head_dim, num_heads: d, d_h and H.
        num_held: how many independent columns there are to find.
        candidates: heads drawn for every head that is kept; with 1 there is one draw and no choice of anything.
        score_scale: standard deviation of a drawn head's scores about their mean; None mixes SCORE_SCALES.
        rank_one: W_QK of rank one.
        rng: everything random comes from it.
        constant: a coordinate of the residual stream that is to be 1 at the last position, whatever the token; None for none.
    """
    best = None
    for _ in range(1 if candidates == 1 else MOST_DRAWS):
        pool = _Pool(task, embed_dim, head_dim, num_heads, candidates, score_scale, rank_one, rng, constant)
        if candidates == 1:
            chosen = [(h, rng.standard_normal((embed_dim, head_dim))) for h in range(num_heads)]
        else:
            chosen = pool.select(head_dim, num_heads)
        drawn = pool.features(chosen, num_held)
        if best is None or drawn.condition < best.condition:
            best = drawn
        if best.condition <= CONDITION_WANTED:
            break
    assert best is not None
    return best


class _Pool:
    """Embeddings, and many heads with what they see: A(t) = sum_i a_i(t) x(t, i) per head and sequence."""

    def __init__(
        self,
        task: AssociationTask,
        embed_dim: int,
        head_dim: int,
        num_heads: int,
        candidates: int,
        score_scale: float | None,
        rank_one: bool,
        rng: np.random.Generator,
        constant: int | None,
    ) -> None:
        # Multiples of 2^-16 below 2^6 or so: e + pos is exact even in float32.
        self.tokens = np.round(rng.standard_normal((task.vocab_size, embed_dim)) * 2**16) / 2**16
        self.positions = np.round(rng.standard_normal((task.seq_len, embed_dim)) * 2**16) / 2**16
        if constant is not None:
            self.tokens[:, constant], self.positions[-1, constant] = 0.0, 1.0
        inputs = self.tokens[task.sequences] + self.positions  # (T0, S, d)
        self.last = inputs[:, -1]
        room = POOL_ENTRIES // (embed_dim * task.num_associations)
        size = max(num_heads, min(candidates * num_heads, room))
        query, key = rng.standard_normal((2, size, embed_dim, head_dim))
        if rank_one:
            query[:, :, 1:] = 0.0
        scales = np.full(size, score_scale) if score_scale is not None else rng.choice(SCORE_SCALES, size=size)
        self.seen = np.empty((size, embed_dim, task.num_associations))
        step = max(1, (1 << 21) // (task.num_associations * max(embed_dim, task.seq_len)))
        for start in range(0, size, step):
            part = slice(start, start + step)
            scores = _scores(inputs, query[part], key[part])
            spread = (scores - scores.mean(axis=2, keepdims=True)).std(axis=(0, 2))
            query[part] *= (scales[part] / np.where(spread > 0, spread, 1.0))[:, None, None]
            query[part] = _as_float32(query[part])
            key[part] = _as_float32(key[part])
            weights = _softmax(_scores(inputs, query[part], key[part]))
            self.seen[part] = (weights @ inputs).transpose(1, 2, 0)
        self.query, self.key = query, key

    def select(self, head_dim: int, num_heads: int) -> list[tuple[int, np.ndarray]]:
        """Heads by pivoting, each with the reading (W_V) of what is newest in it.

        A head is taken whose `head_dim` newest directions, orthogonal to all rows before it, span the largest volume. When the
        rows span everything, or nothing new is left, a second round starts from scratch: it makes the columns longer where
        the first left them short. Heads beyond that stay unused.
        """
        chosen: list[tuple[int, np.ndarray]] = []
        free = np.ones(len(self.seen), dtype=bool)
        norms = np.einsum("mdt,mdt->m", self.seen, self.seen)
        for _ in range(2):
            basis = _row_basis(self.last.T)
            around = self.seen @ basis
            gram = self.seen @ self.seen.transpose(0, 2, 1) - around @ around.transpose(0, 2, 1)
            while len(chosen) < num_heads and free.any() and basis.shape[1] < basis.shape[0]:
                wanted = min(head_dim, basis.shape[0] - basis.shape[1])
                volume = np.linalg.eigvalsh(gram)[:, -wanted:] / norms[:, None]
                score = np.log(np.maximum(volume, VANISHED**1.5)).sum(axis=1)  # a Gram matrix has half the digits
                score[~free] = -np.inf
                head = int(score.argmax())
                new = self.seen[head] - (self.seen[head] @ basis) @ basis.T
                new -= (new @ basis) @ basis.T
                left, sizes, right = np.linalg.svd(new, full_matrices=new.shape[1] < new.shape[0])
                count = int((sizes[:wanted] > VANISHED * np.sqrt(norms[head])).sum())
                if count == 0:
                    break
                free[head] = False
                chosen.append((head, left[:, :head_dim]))
                added = right[:count].T
                basis = np.concatenate([basis, added], axis=1)
                along = self.seen @ added
                gram -= along @ along.transpose(0, 2, 1)
        return chosen

    def features(self, chosen: list[tuple[int, np.ndarray]], num_held: int) -> Features:
        """F for the heads chosen, every row of a head about as long as sqrt(T0), and the columns to solve for."""
        heads = [head for head, _ in chosen]
        embed_dim, total = self.last.shape[1], len(self.last)
        rows, values = [self.last.T], []
        for head, reading in chosen:
            sizes = np.sqrt(((reading.T @ self.seen[head]) ** 2).mean(axis=1))
            value = _as_float32(reading / np.where(sizes > 0, sizes, 1.0))
            values.append(value)
            rows.append(value.T @ self.seen[head])
        matrix = np.concatenate(rows)
        scaled = matrix / np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-300)
        held = np.arange(total)
        if num_held < total:
            held = np.sort(qr(scaled, mode="r", pivoting=True)[1][:num_held])
        singular = np.linalg.svd(scaled[:, held], compute_uv=False)
        enough = len(singular) >= num_held and singular[num_held - 1] > 0
        condition = float(singular[0] / singular[num_held - 1]) if enough else np.inf
        value = np.stack(values) if values else np.zeros((0, embed_dim, self.query.shape[2]))
        return Features(
            self.tokens, self.positions, self.query[heads], self.key[heads], value, self.last, matrix, held, condition
        )


def _scores(inputs: np.ndarray, query: np.ndarray, key: np.ndarray) -> np.ndarray:
    """x(t, S)^T W_QK x(t, i) as (T0, heads, S)."""
    forms = query @ key.transpose(0, 2, 1)  # (heads, d, d)
    asked = np.tensordot(inputs[:, -1], forms, axes=(1, 1))  # (T0, heads, d)
    return asked @ inputs.transpose(0, 2, 1)


def _softmax(scores: np.ndarray) -> np.ndarray:
    weights = np.exp(scores - scores.max(axis=2, keepdims=True))
    return np.asarray(weights / weights.sum(axis=2, keepdims=True))


def _as_float32(numbers: np.ndarray) -> np.ndarray:
    return numbers.astype(np.float32).astype(np.float64)


def _row_basis(rows: np.ndarray) -> np.ndarray:
    """An orthonormal basis of the span of the rows, as columns."""
    _, sizes, right = np.linalg.svd(rows, full_matrices=False)
    return right[sizes > 1e-10 * sizes[0]].T
