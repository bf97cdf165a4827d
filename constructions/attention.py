"""Attention, written once: every model of the project turns scores into weights and mixes values through this file.

Two evaluations of the same mathematics are offered. `attention` takes queries, keys and values per sample, as any layer of any
model has them. `token_attention` serves a first layer, where queries, keys and values depend only on (token, position): it works
on one row per token instead of one per sample, in chunks of heads, so that thousands of heads fit in memory.
Both call `attention_weights`; a property test holds them together.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

AttentionKind = Literal["softmax", "relu"]

# Elements of the largest temporary of `token_attention` (8 MiB in float64): large enough for BLAS, near the caches' size.
CHUNK_ELEMENTS = 1 << 20

# Queries of one block in causal attention over many positions: half of the scores would be masked without blocks, an eighth is
# with four of them; smaller blocks are slower than what they save.
CAUSAL_BLOCK = 64


def attention_weights(
    scores: Float[Tensor, "*shape"],
    *,
    dim: int,
    visible: Bool[Tensor, "*broadcastable"] | None = None,
    kind: AttentionKind = "softmax",
) -> Float[Tensor, "*shape"]:
    """Turn attention scores into attention weights along one dimension.

    Args:
        scores: real numbers, any shape; `dim` runs over the attended positions.
        dim: the dimension of the attended positions.
        visible: True where a position may be attended to (broadcast against `scores`); every row needs at least one.
        kind: "softmax" (weights sum to one) or "relu" (`max(score, 0)`, not normalised, as in Havrilla and Liao 2024).

    Returns:
        Weights of the shape of `scores`.

    Raises:
        ValueError: `kind` is neither of the two.
    """
    if kind == "softmax":
        return torch.softmax(scores if visible is None else scores.masked_fill(~visible, -torch.inf), dim=dim)
    if kind == "relu":
        positive = torch.relu(scores)
        return positive if visible is None else positive.masked_fill(~visible, 0.0)
    raise ValueError(f"kind = {kind!r}: legal are 'softmax' and 'relu'")


def attention(
    queries: Float[Tensor, "batch queried heads head_dim"],
    keys: Float[Tensor, "batch positions heads head_dim"],
    values: Float[Tensor, "batch positions heads value_dim"],
    *,
    causal: bool = True,
    kind: AttentionKind = "softmax",
    dropout: float = 0.0,
) -> Float[Tensor, "batch queried heads value_dim"]:
    """Multi-head attention on queries, keys and values per sample, without the factor 1/sqrt(head_dim).

    Args:
        queries: the last `queried` positions of the sequence (all of them, or only the last one).
        keys: one per attended position and head.
        values: one per attended position and head; their width may differ from the keys'.
        causal: whether a query sees only positions up to its own.
        kind: see `attention_weights`.
        dropout: share of the weights that is set to zero, at random from torch's global generator, the others scaled up; for
            training.

    Returns:
        The mixed values, per sample, queried position and head.

    Source: Dana, Pydi and Chevaleyre 2025, equation (1); scale the queries for the scaled form of Vaswani et al. 2017.
    """
    queried, positions = queries.shape[1], keys.shape[1]
    size = CAUSAL_BLOCK if causal else max(1, queried)
    parts = []
    for start in range(0, max(1, queried), size):  # what a block of queries can't see is left out, not computed and masked
        block = queries[:, start : start + size]
        seen = slice(positions - queried + start + block.shape[1] if causal else positions)
        weights = attention_pattern(block, keys[:, seen], causal=causal, kind=kind)
        if dropout:
            weights = torch.nn.functional.dropout(weights, dropout)
        parts.append(torch.einsum("bhqk,bkhe->bqhe", weights, values[:, seen]))
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def attention_pattern(
    queries: Float[Tensor, "batch queried heads head_dim"],
    keys: Float[Tensor, "batch positions heads head_dim"],
    *,
    causal: bool = True,
    kind: AttentionKind = "softmax",
) -> Float[Tensor, "batch heads queried positions"]:
    """The weights with which `attention` mixes values; arguments as there."""
    scores = torch.einsum("bqhe,bkhe->bhqk", queries, keys)
    queried, positions = scores.shape[-2:]
    if causal and queried > 1:
        hidden = torch.ones(queried, queried, dtype=torch.bool, device=scores.device).triu(1)
        scores[..., positions - queried :].masked_fill_(hidden, -torch.inf)  # all keys before those are seen by all queries
    return attention_weights(scores, dim=-1, kind=kind)


def token_attention(
    rows: Float[Tensor, "positions vocab embed_dim"],
    tokens: Int[Tensor, "batch positions"],
    query: Float[Tensor, "heads embed_dim head_dim"],
    key: Float[Tensor, "heads embed_dim head_dim"],
    value: Float[Tensor, "heads embed_dim value_dim"],
    output: Float[Tensor, "heads value_dim embed_dim"],
    *,
    kind: AttentionKind = "softmax",
    chunk_elements: int = CHUNK_ELEMENTS,
) -> Float[Tensor, "batch embed_dim"]:
    """What all heads of a first layer add to the residual stream at the last position: sum_h sum_i a_i^h x_i W_V^h W_O^h.

    Args:
        rows: the residual stream x(v, i) that token v has at position i; only rows of tokens that occur are read.
        tokens: the sequences; the query comes from the last position.
        query: W_Q per head, stored as (embed_dim, head_dim).
        key: W_K per head, likewise.
        value: W_V per head, likewise.
        output: W_O per head, stored as (head_dim, embed_dim).
        kind: see `attention_weights`.
        chunk_elements: bound on the elements of one temporary tensor (a single head over one sample is the least possible).

    Returns:
        One vector per sequence, summed over heads.

    Cost: scores and mixing are matrix products over tokens where many samples share a token, and products per sample otherwise;
    memory is O(chunk_elements) beside the arguments and the result.
    Source: Dana, Pydi and Chevaleyre 2025, equations (1) and (2).
    """
    parts = [rows.new_zeros(0, rows.shape[2])]
    for samples in tokens.split(max(1, chunk_elements // (4 * tokens.shape[1]))):
        readings = [_Reading(row, samples[:, i], samples[:, -1]) for i, row in enumerate(rows)]
        total = rows.new_zeros(samples.shape[0], rows.shape[2])
        size = max(1, chunk_elements // max(reading.elements_per_head(query.shape[2]) for reading in readings))
        for start in range(0, query.shape[0], size):
            heads = slice(start, start + size)
            queries = readings[-1].rows @ query[heads]  # (heads, last tokens, head_dim)
            scores = torch.stack([reading.scores(queries, reading.rows @ key[heads]) for reading in readings])
            weights = attention_weights(scores, dim=0, kind=kind)  # (positions, samples, heads)
            for weight, reading in zip(weights, readings, strict=True):
                total = total + reading.mix(weight, reading.rows @ value[heads], output[heads])
        parts.append(total)
    return torch.cat(parts)


class _Reading:
    """Which sample reads which token at one position: all of a chunk of samples that no head changes.

    Heads come last in every large array, so that picking the rows of samples copies contiguous memory.
    """

    def __init__(self, rows: Tensor, tokens: Tensor, last_tokens: Tensor) -> None:
        seen, self.index = tokens.unique(return_inverse=True)
        last_seen, self.last_index = last_tokens.unique(return_inverse=True)
        self.rows = rows[seen]
        self.samples, self.tokens, self.last_tokens = len(tokens), len(seen), len(last_seen)
        self.diagonal = tokens is last_tokens or torch.equal(tokens, last_tokens)
        # A table of all (last token, token) pairs is one matrix product; worth it unless most of it is never read.
        self.tabled = self.last_tokens * self.tokens <= 8 * self.samples
        group = int(self.index.bincount().max()) if self.samples else 0
        self.grouped = group * self.tokens <= 2 * self.samples
        if self.grouped:  # samples in groups of one token each, padded to one length: mixing is a batched matrix product
            order = self.index.argsort(stable=True)
            starts = self.index.bincount(minlength=self.tokens).cumsum(0) - self.index.bincount(minlength=self.tokens)
            rank = torch.empty_like(order)
            rank[order] = torch.arange(self.samples, device=order.device) - starts[self.index[order]]
            self.slots, self.group = self.index * group + rank, group

    def elements_per_head(self, head_dim: int) -> int:
        """The largest temporary, per head."""
        table = self.last_tokens * self.tokens if self.tabled and not self.diagonal else 0
        by_sample = self.samples * (1 if self.tabled and self.grouped else head_dim)
        return max(1, table, by_sample, self.tokens * head_dim, self.tokens * self.group if self.grouped else 0)

    def scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        """(samples, heads), from queries (heads, last tokens, head_dim) and keys (heads, tokens, head_dim)."""
        if self.diagonal:
            return (queries * keys).sum(-1).T.contiguous().index_select(0, self.index)
        if self.tabled:
            table = (queries @ keys.transpose(1, 2)).flatten(1).T.contiguous()
            return table.index_select(0, self.last_index * self.tokens + self.index)
        return (queries.index_select(1, self.last_index) * keys.index_select(1, self.index)).sum(-1).T

    def mix(self, weights: Tensor, values: Tensor, output: Tensor) -> Tensor:
        """sum_h weights[t, h] values[h, token of t] W_O^h for every sample t: (samples, embed_dim)."""
        if not self.grouped:
            mixed = weights.unsqueeze(-1) * values.transpose(0, 1).index_select(0, self.index)
            return mixed.flatten(1) @ output.flatten(0, 1)
        padded = weights.new_zeros(self.tokens * self.group, weights.shape[1]).index_copy(0, self.slots, weights)
        written = (values @ output).transpose(0, 1)  # (tokens, heads, embed_dim)
        return (padded.unflatten(0, (self.tokens, self.group)) @ written).flatten(0, 1).index_select(0, self.slots)
