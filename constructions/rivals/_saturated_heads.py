"""Heads that spread their attention as asked on a few examples and attend to a single token on all others."""

import numpy as np
from jaxtyping import Float, Int

SATURATED = 40.0  # by so many nats the highest score leads where a head is to attend to one token: e^-40 is below rounding
DRAWS = 16  # directions drawn per head, the one with the smallest scale kept
DEPENDENT = 1e-9  # relative singular value below which vectors count as dependent


def features(
    contexts: Float[np.ndarray, "contexts context embed_dim"],
    queries: Float[np.ndarray, "examples embed_dim"],
    query: Float[np.ndarray, "heads embed_dim head_dim"],
    key: Float[np.ndarray, "heads embed_dim head_dim"],
) -> Float[np.ndarray, "examples features"]:
    """E_t^T a_t of all heads side by side (H d columns); `contexts` has one context for all examples, or one for each."""
    values = np.broadcast_to(contexts, (len(queries), *contexts.shape[1:]))
    seen = []
    for head_query, head_key in zip(query, key, strict=True):
        scores = np.einsum("tnw,tw->tn", values @ head_key, queries @ head_query)
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        seen.append(np.einsum("tn,tnd->td", weights / weights.sum(axis=1, keepdims=True), values))
    return np.hstack(seen)


def check_contexts(contexts: Float[np.ndarray, "contexts context embed_dim"]) -> None:
    """Raise ValueError, naming the first, when a context's rows are linearly dependent."""
    size, dim = contexts.shape[1:]
    for index, context in enumerate(contexts):
        singular = np.linalg.svd(context, compute_uv=False)
        rank = int((singular > DEPENDENT * singular[0]).sum())
        if rank < size:
            raise ValueError(f"contexts[{index}] has rank {rank}: full row rank n = {size} is assumed (n <= d = {dim})")


def realize_attention(
    contexts: Float[np.ndarray, "contexts context embed_dim"],
    queries: Float[np.ndarray, "examples embed_dim"],
    weights: Float[np.ndarray, "examples context"],
    *,
    head_dim: int,
) -> tuple[Float[np.ndarray, "embed_dim head_dim"], Float[np.ndarray, "embed_dim head_dim"]]:
    """Query and key maps Q, K with softmax(E_t K Q^T e_t) = the given positive weights, exactly, for every example.

    Two ways: with one context for all and n <= d_h, K is the pseudo-inverse of E and Q^T sends e_t to log a_t (Bhojanapalli et
    al. 2020); with contexts of any kind and no more examples than d_h, Q^T sends e_t to a unit vector and K that on to w_t, with
    E_t w_t = log a_t.

    Raises:
        ValueError: dependent queries, or d_h too small for either way (some weights are then out of reach).
    """
    size = contexts.shape[1]
    _check_independent(queries, np.arange(len(queries)), size)
    duals, logs = np.linalg.pinv(queries), np.log(weights)  # (d, examples), whose products with the queries are the identity
    if len(contexts) == 1 and size <= head_dim:
        query, key = duals @ logs, np.linalg.pinv(contexts[0])
    elif len(queries) <= head_dim:
        rows = np.broadcast_to(contexts, (len(queries), *contexts.shape[1:]))
        query, key = duals, np.einsum("mdn,mn->dm", np.linalg.pinv(rows), logs)
    else:
        least = min(size, len(queries)) if len(contexts) == 1 else len(queries)
        raise ValueError(f"head_dim = {head_dim}: at least {least} is legal where attention on {len(queries)} examples is chosen")
    spare = ((0, 0), (0, head_dim - query.shape[1]))
    return np.pad(query, spare), np.pad(key, spare)


def _check_independent(queries: np.ndarray, members: np.ndarray, size: int) -> None:
    singular = np.linalg.svd(queries[members], compute_uv=False)
    if len(members) and (len(members) > queries.shape[1] or singular[-1] <= DEPENDENT * singular[0]):
        raise ValueError(f"queries {members.tolist()} are linearly dependent: Kruskal rank >= n = {size} is assumed")


def head_maps(
    contexts: Float[np.ndarray, "contexts context embed_dim"],
    queries: Float[np.ndarray, "examples embed_dim"],
    members: Int[np.ndarray, " members"],
    rng: np.random.Generator,
) -> tuple[Float[np.ndarray, "embed_dim width"], Float[np.ndarray, "embed_dim width"]]:
    """Query and key maps of a head with drawn weights on the members and one token each on all other examples; width members + 1.

    Raises:
        ValueError: queries are dependent that have to be independent, or two rows of a context are equal.
    """
    size, dim = contexts.shape[1:]
    _check_independent(queries, members, size)
    complement = np.linalg.svd(queries[members])[2][len(members) :]  # an orthonormal basis of what is orthogonal to the members
    others = np.ones(len(queries), dtype=bool)
    others[members] = False
    where = others if len(contexts) > 1 else np.zeros(1, dtype=np.int64)
    apart = np.linalg.norm(queries[others] @ complement.T, axis=1)
    dependent = np.flatnonzero(apart <= DEPENDENT * np.linalg.norm(queries[others], axis=1))
    if len(dependent):
        both = [*members.tolist(), int(np.flatnonzero(others)[dependent[0]])]
        raise ValueError(f"queries {both} are linearly dependent: Kruskal rank >= n = {size} is assumed")
    query, key = np.zeros((2, dim, 0))
    if len(members):
        tokens = rng.permutation(size)[np.arange(len(members)) % size]
        weights = np.exp(2.0 * np.eye(size)[tokens] + 0.3 * rng.standard_normal((len(members), size)))
        rows = contexts[members] if len(contexts) > 1 else contexts
        query, key = realize_attention(rows, queries[members], weights, head_dim=len(members))
    spread = 2 * np.abs(
        np.einsum("tnd,dw,tw->tn", np.broadcast_to(contexts, (len(queries), size, dim))[others], key, queries[others] @ query)
    ).max(axis=1, initial=0.0)
    best = None
    for _ in range(DRAWS):
        q, u = rng.standard_normal(len(complement)) @ complement, rng.standard_normal(dim)
        along, scores = queries[others] @ q, np.sort(contexts[where] @ u, axis=1)
        lead = np.where(along > 0, scores[:, -1] - scores[:, -2:-1].sum(axis=1), scores[:, 1:2].sum(axis=1) - scores[:, 0])
        strength = np.abs(along) * np.abs(lead)
        if len(strength) and strength.min() == 0.0:
            continue
        scale = float(((SATURATED + spread) / strength).max(initial=0.0))
        if best is None or scale < best[0]:
            best = scale, q, u
    if best is None:
        raise ValueError("contexts has two equal rows in one context: full row rank is assumed")
    scale, q, u = best
    return np.column_stack([query, q]), np.column_stack([key, scale * u])


def pair_maps(
    rows: Float[np.ndarray, "pairs 2 embed_dim"], own: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "embed_dim 2"], Float[np.ndarray, "embed_dim 2"]]:
    """Query and key (d, 2 each) with equal scores on pair `own` and a lead of SATURATED on all others."""
    difference, last = rows[:, 0] - rows[:, 1], rows[:, 1]
    others = np.arange(len(rows)) != own
    best = None
    for _ in range(DRAWS):
        u, free_u, q, free_q = rng.standard_normal((4, rows.shape[2]))
        keys = np.stack([_without(u, difference[own]), free_u], axis=1)
        queries = np.stack([free_q, _without(q, last[own])], axis=1)
        weakest = float(np.abs(((difference @ keys) * (last @ queries)).sum(axis=1))[others].min(initial=np.inf))
        if best is None or weakest > best[0]:
            best = weakest, queries, keys
    assert best is not None
    weakest, queries, keys = best
    return queries, SATURATED / weakest * keys


def _without(vector: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """The part of a vector orthogonal to a direction."""
    for _ in range(2):  # twice, for the last digits
        vector = vector - (vector @ direction) / (direction @ direction) * direction
    return vector
