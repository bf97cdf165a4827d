"""Random heads for Theorem 1: drawn in a pool, picked for features that the likely sequences can be told apart by."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float

from constructions.attention import attention
from theory.shapes import AttentionShape
from theory.tasks import DistributionTask

POOL = 4  # candidates per head
SHARPNESS = 3.0  # standard deviation of a head's scores: softer heads are more alike, sharper ones switch between few values
INDEPENDENT = 1e-11  # least share of a feature row that must be new for it to count as a dimension


@dataclass(frozen=True, eq=False)
class Heads:
    """Embeddings and heads without their outputs, as `AttentionOnlyTransformer` stores them, and the rank of their features."""

    token_embedding: Float[np.ndarray, "vocab d"]
    position_embedding: Float[np.ndarray, "positions d"]
    query: Float[np.ndarray, "heads d d_h"]
    key: Float[np.ndarray, "heads d d_h"]
    value: Float[np.ndarray, "heads d d_h"]
    rank: int


def fixed_heads(token_embedding: Float[np.ndarray, "vocab d"], position_embedding: Float[np.ndarray, "positions d"]) -> Heads:
    """No heads at all, only a skip connection with given embeddings."""
    none = np.zeros((0, token_embedding.shape[1], 1))
    return Heads(token_embedding, position_embedding, none, none, none, 1)


def skip_features(task: DistributionTask, heads: Heads) -> Float[np.ndarray, "d total"]:
    """X_S: the embedding of each sequence's last token at its position, one column per sequence."""
    return (heads.token_embedding[task.sequences[:, -1]] + heads.position_embedding[-1]).T


def head_features(task: DistributionTask, heads: Heads) -> Float[np.ndarray, "rows total"]:
    """W_V^h A^h of all heads, stacked: H d_h rows, one column per sequence."""
    count, _, width = heads.value.shape
    if not count:
        return np.zeros((0, task.num_sequences))
    stream = torch.from_numpy(heads.token_embedding[task.sequences] + heads.position_embedding)
    parts = []
    for head in range(count):
        matrices = (torch.from_numpy(part[head]) for part in (heads.query, heads.key, heads.value))
        queries, keys, values = ((stream @ matrix).unsqueeze(2) for matrix in matrices)
        parts.append(attention(queries[:, -1:], keys, values)[:, 0, 0].T.numpy())
    return np.concatenate(parts).reshape(count * width, task.num_sequences)


def chosen_heads(
    task: DistributionTask, likely: np.ndarray, shape: AttentionShape, count: int, rng: np.random.Generator
) -> Heads:
    """`count` random heads from a pool of POOL times as many, each the one that adds most to what the others leave.

    A head's worth is the least singular value of its features on the likely sequences, beside the span of those chosen.
    """
    dim, width = shape.embed_dim, shape.head_dim
    pool = _drawn(task, dim, width, POOL * count, rng)
    rows = skip_features(task, pool)[:, likely]
    rest = head_features(task, pool)[:, likely].reshape(POOL * count, width, len(likely))
    basis = _orthonormal(rows)
    rest = rest - rest @ basis.T @ basis
    rank, chosen = len(basis), []
    for _ in range(count):
        if rank >= len(likely):  # nothing left to gain
            chosen.append(next(head for head in range(POOL * count) if head not in chosen))
            continue
        grams = rest @ rest.transpose(0, 2, 1)
        spectrum = np.linalg.eigvalsh(grams)
        worth = spectrum[:, -min(width, len(likely) - rank)] / (1 + spectrum[:, -1])
        worth[chosen] = -1.0
        head = int(np.argmax(worth))
        chosen.append(head)
        new = _orthonormal(rest[head] / max(1e-300, float(np.abs(rest[head]).max())), INDEPENDENT)
        rest = rest - rest @ new.T @ new
        rest = rest - rest @ new.T @ new  # twice, as rounding leaves a trace the first time
        rank += len(new)
    kept = sorted(chosen)
    picked = replace(pool, query=pool.query[kept], key=pool.key[kept], value=pool.value[kept])
    features = np.concatenate([rows, head_features(task, picked)[:, likely]])
    features = features / np.maximum(1e-300, np.linalg.norm(features, axis=1, keepdims=True))
    spectrum = np.linalg.svd(features, compute_uv=False)
    return replace(picked, rank=int((spectrum > 1e-13 * spectrum[0]).sum()))


def completed_skip(
    skip_map: Float[np.ndarray, "d d"], skip: Float[np.ndarray, "d total"], likely: np.ndarray
) -> Float[np.ndarray, "d d"]:
    """The skip map B, made invertible without changing what it does to the likely sequences.

    Fewer than d different last tokens leave directions of R^d that the system says nothing about. Those that no sequence of the
    task has are free. Those that only unlikely sequences have get 1e-6 of B's size, which moves their logits as little.
    """
    dim = len(skip_map)
    seen, every = _orthonormal(skip[:, likely].T).T, _orthonormal(skip.T).T
    if seen.shape[1] == dim:
        return skip_map
    rest, sizes, _ = np.linalg.svd(every - seen @ (seen.T @ every), full_matrices=False)
    rare = rest[:, : int((sizes > 1e-9).sum())]  # `every` has unit columns
    both = np.concatenate([seen, rare], axis=1)
    free = np.linalg.svd(both, full_matrices=True)[0][:, both.shape[1] :]
    image = skip_map @ seen
    left, values, _ = np.linalg.svd(image, full_matrices=True)
    size = float(np.median(values)) or 1.0
    missing = left[:, seen.shape[1] :]
    scales = np.concatenate([np.full(rare.shape[1], 1e-6 * size), np.full(free.shape[1], size)])
    unseen = np.concatenate([rare, free], axis=1)
    kept = np.concatenate([skip_map @ rare, np.zeros((dim, free.shape[1]))], axis=1)
    return image @ seen.T + (kept + missing * scales) @ unseen.T


def _orthonormal(rows: np.ndarray, threshold: float = 1e-10) -> np.ndarray:
    """An orthonormal basis of the span of the rows, as rows."""
    if 0 in rows.shape:
        return np.zeros((0, rows.shape[1]))
    _, values, right = np.linalg.svd(rows, full_matrices=False)
    return right[: int((values > threshold * max(values[0], 1e-300)).sum())]


def _drawn(task: DistributionTask, dim: int, width: int, count: int, rng: np.random.Generator) -> Heads:
    tokens = rng.standard_normal((task.vocab_size, dim))
    positions = rng.standard_normal((task.seq_len, dim))
    query, key, value = (rng.standard_normal((count, dim, width)) for _ in range(3))
    query *= SHARPNESS / (2 * dim * np.sqrt(width))  # coordinates have variance 2: scores of standard deviation SHARPNESS
    return Heads(tokens, positions, query, key, value / np.sqrt(dim), 0)
