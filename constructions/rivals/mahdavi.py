r"""Mahdavi, Liao and Thrampoulidis 2024: H heads remember H (min(n, d_h) - 1) + 1 examples by their attention patterns.

An example is a context of n rows E and a query e, both real vectors; head h answers v_h · E^T softmax(E K_h Q_h^T e), and the
heads add up. (The abstract says Omega(H n) examples and Theta(H d^2) parameters; the constants above are from memory.) The recipe
is the authors' in outline; its details are derived here. With r = min(n, d_h), each head takes r - 1 examples for its own. On
these its attention weights a_t are chosen freely: solve E_t w_t = log a_t for w_t and let K Q^T send the query e_t to w_t, which
r - 1 columns can do as the queries are independent (`realize_attention`). One column more, u q^T with q orthogonal to the head's
own queries, times a large constant, drives the attention on all other examples onto a single token each. The features E^T a of
all heads then have rank H (r - 1) + 1, and the values follow from one linear solve.

Why that rank: on head h's own examples a_t moves its features in n - 1 >= r - 1 directions while those of all other heads and
examples stay as they are. So the determinant of a well-chosen square part is, to leading order in these moves, the product of H
determinants of size r - 1 and one number that is not 0; for almost all a_t it does not vanish.

"Matching" ceiling: attention weights sum to 1, so with one context for all examples the features of H heads have rank at most
H (n - 1) + 1, and for any FIXED attention some labels of H (n - 1) + 2 examples are out of reach. For attention chosen after the
labels that is no ceiling: one head with n = 2 and T <= d independent queries has weights sigma(w · e_t), which can be anything
between 0 and 1, so T = d > 2 real labels are within its reach (derived here).

Their d_h is the width of queries and keys; values may be as narrow as the answer. Dana et al. 2025 compare their own bound, whose
d_h is the width of values, with this one: the two are different resources.

Transplanted to pairs (S = n = 2, so r <= 2), the context holds the query's own token, and queries repeat once two pairs have
one last token, so that the assumption on queries fails on nearly every task. It can be done without (derived here): with delta =
x_1 - x_2 a head's two scores differ by delta · W x_2, and W = c (u q^T + u' q'^T) with u orthogonal to delta and q' to x_2 of the
head's own pair makes that 0 there, and large for every pair that has another delta or another x_2 (for almost all q and u'). So a
head of width 2 shares its attention evenly on one pair and is saturated on all others, and H + 1 pairs are held.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int

from constructions.aot import AttentionOnlyTransformer
from constructions.attention import attention
from constructions.construction import logit_margins
from constructions.rivals._saturated_heads import check_contexts, features, head_maps, pair_maps
from constructions.rivals.memory import RivalMemory
from theory.shapes import AttentionShape, checked_integer
from theory.tasks import AssociationTask

NAME = "mahdavi"
SOURCE = "Mahdavi, Liao and Thrampoulidis 2024, Memorization capacity of multi-head attention in transformers (ICLR), Theorem 1"
STATEMENT = (
    "For all T <= H (min(n, d_h) - 1) + 1 examples (context of n rows in R^d, query in R^d) that meet the assumptions and all "
    "real labels, some attention layer with H heads of query-key width d_h gives every example its label."
)
ASSUMPTIONS = (
    "the queries have Kruskal rank >= n: any n of them are linearly independent",
    "every context has full row rank n (so n <= d); contexts may coincide",
    "real labels; query and context are separate inputs",
)


class ScalarHeads(NamedTuple):
    """H heads with query and key of width d_h and one value vector each."""

    query: Float[np.ndarray, "heads embed_dim head_dim"]
    key: Float[np.ndarray, "heads embed_dim head_dim"]
    value: Float[np.ndarray, "heads embed_dim"]

    @property
    def num_parameters(self) -> int:
        """Numbers stored: H d (2 d_h + 1)."""
        return self.query.size + self.key.size + self.value.size


def claimed_capacity(num_heads: int, context_size: int, head_dim: int) -> int:
    """H (min(n, d_h) - 1) + 1, for H >= 1."""
    shape = AttentionShape(1, checked_integer("num_heads", num_heads, 1), head_dim)
    return shape.num_heads * (min(checked_integer("context_size", context_size, 1), shape.head_dim) - 1) + 1


def shared_context_rank(num_heads: int, context_size: int, embed_dim: int, num_associations: int) -> int:
    """min(T, H (n - 1) + 1, H d): no features of H heads on T examples with one context of n rows have a larger rank."""
    return min(num_associations, num_heads * (context_size - 1) + 1, num_heads * embed_dim)


def outputs(
    heads: ScalarHeads,
    contexts: Float[np.ndarray, "contexts context embed_dim"],
    queries: Float[np.ndarray, "examples embed_dim"],
) -> Float[np.ndarray, " examples"]:
    """The layer's answers by an ordinary forward pass (`constructions.attention`), independent of how the heads were made."""
    rows = torch.from_numpy(contexts.copy()).expand(len(queries), -1, -1)
    query, key, value = (torch.from_numpy(part) for part in heads)
    asked = torch.einsum("td,hdw->thw", torch.from_numpy(queries), query)[:, None]
    keys, values = torch.einsum("tnd,hdw->tnhw", rows, key), torch.einsum("tnd,hd->tnh", rows, value)[..., None]
    return attention(asked, keys, values, causal=False).sum(dim=2)[:, 0, 0].numpy()


def memorize(
    contexts: Float[np.ndarray, "contexts context embed_dim"],
    queries: Float[np.ndarray, "examples embed_dim"],
    labels: Float[np.ndarray, " examples"],
    *,
    num_heads: int,
    head_dim: int,
    seed: int = 0,
) -> ScalarHeads:
    """Heads that answer every example with its label, up to the claimed number of examples; a least-squares fit beyond it.

    Args:
        contexts: one for all examples, or one for each.
        queries, labels: of the examples.
        num_heads, head_dim: H >= 1 and d_h >= 1.
        seed: of attention weights and directions.

    Raises:
        ValueError: contexts of deficient row rank, or queries that are dependent where the recipe needs them independent.
    """
    rng = np.random.default_rng(checked_integer("seed", seed, 0))
    checked_integer("num_heads", num_heads, 1)
    check_contexts(contexts)
    own = min(contexts.shape[1], checked_integer("head_dim", head_dim, 1)) - 1
    order = rng.permutation(len(queries))
    query, key = np.zeros((2, num_heads, queries.shape[1], head_dim))
    for head in range(num_heads):
        members = order[head * own : (head + 1) * own]  # the last heads have none when there are fewer examples
        made = head_maps(contexts, queries, members, rng)
        for part, columns in zip((query, key), made, strict=True):
            part[head, :, : columns.shape[1]] = columns
    seen = features(contexts, queries, query, key)
    value = np.linalg.lstsq(seen, labels, rcond=None)[0]
    value = value + np.linalg.lstsq(seen, labels - seen @ value, rcond=None)[0]
    return ScalarHeads(query, key, value.reshape(num_heads, -1))


def build(
    *,
    num_heads: int,
    context_size: int,
    embed_dim: int,
    head_dim: int,
    num_labels: int,
    seed: int,
    num_associations: int | None = None,
    shared_context: bool = False,
) -> RivalMemory:
    """Gaussian contexts and queries with random labels 0 to num_labels - 1, memorized and run; an answer is the nearest label.

    Args:
        num_heads, head_dim: H and d_h.
        context_size, embed_dim: n <= d.
        num_labels: labels to choose from.
        seed: of data and weights.
        num_associations: examples; as many as claimed by default, more to see it fail.
        shared_context: one context for all examples.

    Raises:
        ValueError: an argument out of range, n > d for instance.
    """
    claimed = claimed_capacity(num_heads, context_size, head_dim)
    checked_integer("embed_dim", embed_dim, 1)
    checked_integer("num_labels", num_labels, 2)
    if context_size > embed_dim:
        raise ValueError(f"context_size = {context_size}: 1 to embed_dim = {embed_dim} are legal, full row rank is assumed")
    total = claimed if num_associations is None else checked_integer("num_associations", num_associations, 1)
    rng = np.random.default_rng([checked_integer("seed", seed, 0), 0])
    contexts = rng.standard_normal((1 if shared_context else total, context_size, embed_dim))
    queries = rng.standard_normal((total, embed_dim))
    labels = rng.integers(0, num_labels, total)
    heads = memorize(contexts, queries, labels - (num_labels - 1) / 2, num_heads=num_heads, head_dim=head_dim, seed=seed)
    error = np.abs(outputs(heads, contexts, queries) - (labels - (num_labels - 1) / 2))
    return RivalMemory(
        rival=NAME,
        setting="own",
        size=f"H = {num_heads} heads, n = {context_size}, d = {embed_dim}, d_h = {head_dim}",
        num_associations=total,
        num_held=int((error < 0.5).sum()),
        num_labels=num_labels,
        claimed=float(claimed),
        num_parameters=heads.num_parameters,
        num_heads=num_heads,
        notes={
            "contexts": "one for all examples" if shared_context else "one for each example",
            "largest error": f"{error.max():.3g}",
            "largest weight": f"{max(float(np.abs(part).max()) for part in heads):.3g}",
        },
    )


def transplant(task: AssociationTask, *, embed_dim: int, head_dim: int, num_heads: int, seed: int) -> RivalMemory:
    """H + 1 pairs in the project's transformer, one per head and one for all (1 pair where d_h = 1, as claimed).

    Args:
        task: pairs (S = 2); the context's rows are the pair's two rows, the query is the second.
        embed_dim: d >= 2.
        head_dim: d_h >= 1; queries, keys and values all have it here.
        num_heads: H >= 1.
        seed: of embeddings, pairs and directions.

    Returns:
        What the model holds of the pairs it was given. The skip connection's part is subtracted from the targets, not put to use.

    Raises:
        ValueError: an argument out of range, or sequences of another length.
    """
    shape = AttentionShape(checked_integer("embed_dim", embed_dim, 2), num_heads, head_dim)
    if task.seq_len != 2:
        raise ValueError(f"task has sequences of {task.seq_len} tokens: 2 is legal for the transplant")
    rng = np.random.default_rng([checked_integer("seed", seed, 0), 0])
    claimed = claimed_capacity(num_heads, 2, head_dim)
    given = np.sort(rng.permutation(task.num_associations)[:claimed])
    tokens, positions = rng.standard_normal((task.vocab_size, embed_dim)), rng.standard_normal((2, embed_dim))
    rows = tokens[task.sequences[given]] + positions
    query, key = np.zeros((2, num_heads, embed_dim, head_dim))
    if head_dim > 1:
        for head, own in enumerate(rng.permutation(len(given))[:num_heads]):
            query[head, :, :2], key[head, :, :2] = pair_maps(rows, int(own), rng)
    angles = 2 * np.pi * np.arange(task.vocab_size) / task.vocab_size
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    size = float(np.abs(rows).max())
    seen = features(rows, rows[:, 1], query, key)
    wanted = size * circle[task.targets[given]] - rows[:, 1, :2]
    maps = np.linalg.lstsq(seen, wanted, rcond=None)[0]
    maps = maps + np.linalg.lstsq(seen, wanted - seen @ maps, rcond=None)[0]
    model = _model(task, shape, tokens, positions, query, key, maps.reshape(num_heads, embed_dim, 2), circle)
    margins = logit_margins(model, task, given).numpy()
    return RivalMemory(
        rival=NAME,
        setting="transplanted",
        size=f"H = {num_heads} heads, n = S = 2, d = {embed_dim}, d_h = {head_dim}",
        num_associations=len(given),
        num_held=int((margins > 0).sum()),
        num_labels=task.vocab_size,
        claimed=float(claimed),
        num_parameters=sum(weight.numel() for weight in model.parameters()),
        num_heads=num_heads,
        model=model,
        notes={
            "given": f"{len(given)} of the task's {task.num_associations}",
            "assumption on queries": _queries_note(task, given),
            "least margin": f"{margins.min():.3g}",
            "largest weight": f"{model.max_weight:.3g}",
        },
    )


def _queries_note(task: AssociationTask, given: Int[np.ndarray, " given"]) -> str:
    distinct = len(np.unique(task.sequences[given, 1]))
    if distinct == len(given):
        return "met: no two pairs have one last token"
    return f"broken: {len(given)} pairs have {distinct} last tokens; the repaired directions do without it"


def _model(
    task: AssociationTask,
    shape: AttentionShape,
    tokens: np.ndarray,
    positions: np.ndarray,
    query: np.ndarray,
    key: np.ndarray,
    maps: np.ndarray,
    circle: np.ndarray,
) -> AttentionOnlyTransformer:
    model = AttentionOnlyTransformer(task.vocab_size, 2, shape.embed_dim, shape.num_heads, shape.head_dim)
    width = min(shape.head_dim, 2)
    with torch.no_grad():
        for name, array in zip(
            ("token_embedding", "position_embedding", "query", "key"), (tokens, positions, query, key), strict=True
        ):
            getattr(model, name).copy_(torch.from_numpy(array))
        for head, wanted in enumerate(maps):
            left, singular, right = np.linalg.svd(wanted, full_matrices=False)
            model.value[head, :, :width] = torch.from_numpy((left * singular)[:, :width])
            model.output[head, :width, :2] = torch.from_numpy(right[:width])
        model.unembedding[:, :2] = torch.from_numpy(circle)
    return model
