"""Forward and backward pass of stacks of models of several layers, by hand, for sequences of any length.

Every position of every row is computed in all layers but the last, where only the last position is asked for. It is written for
being right at any length; sequences of two tokens, those of the experiments, have the quicker engine of `_deep_pairs`.

M models, R rows of data, S positions, H heads; d, k, r and w are the widths of residual stream, attention input, head and MLP.
Rows run along the last axis everywhere, positions along the one before.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from constructions.attention import attention_weights
from empirical._deep_parameters import DeepLayout
from empirical._parameters import StackedParameters


def products(left: Float[Tensor, "models out into"], right: Tensor) -> Tensor:
    """left @ right over the second axis of `right` (M, into, positions, rows)."""
    return torch.bmm(left, right.flatten(2)).unflatten(2, right.shape[2:])


def outer_sums(left: Tensor, right: Tensor) -> Float[Tensor, "models out into"]:
    """sum over positions and rows of left right^T, both (M, features, positions, rows)."""
    return torch.bmm(left.flatten(2), right.flatten(2).transpose(1, 2))


@dataclass
class _Kept:
    """What the backward pass of one layer needs of its forward pass."""

    stream: Tensor  # (M, d, S, R), before the layer
    seen: Tensor  # (M, k, S, R)
    queries: Tensor  # (M, H, r, queried, R)
    keys: Tensor  # (M, H, r, S, R)
    values: Tensor
    weights: Tensor  # (M, H, queried, S, R)
    context: Tensor  # (M, H r, queried, R)
    mixed: Tensor  # (M, k, queried, R)


class DeepEngine:
    """The engine for any S >= 1; `rows` is the number R of rows of every call."""

    def __init__(self, parameters: StackedParameters, rows: int) -> None:
        layout = parameters.layout
        if not isinstance(layout, DeepLayout):
            raise ValueError(f"layout = {layout}: the engine of several layers takes a DeepLayout")
        self.p, self.g, self.layout, self.rows = parameters.block, parameters.grad, layout, rows
        self.models, self.k, self.shape = parameters.num_models, layout.inner_dim, layout.shape
        self.residual_positions = layout.variant == "paper"

    def logits(self, tokens: Int[Tensor, "models_or_one seq_len rows"]) -> Float[Tensor, "models vocab_size rows"]:
        p, d, seq_len = self.p, self.shape.embed_dim, self.layout.seq_len
        self.index = tokens.reshape(len(tokens), 1, -1).expand(self.models, d, -1)
        stream = p["token"].gather(2, self.index).unflatten(2, (seq_len, self.rows))
        if self.residual_positions:
            stream = stream + p["position"].unsqueeze(3)
        self.kept: list[_Kept] = []
        self.networks: list[tuple[Tensor, Tensor, Tensor]] = []
        for layer in range(self.shape.num_layers):
            whole = stream
            if layer == self.shape.num_layers - 1:
                stream = stream[:, :, -1:]
            if self.shape.num_heads:
                stream = stream + self._attend(layer, whole, stream.shape[2])
            if self.shape.mlp_width:
                stream = stream + self._network(layer, stream)
        self.embedding = stream[:, :, 0].contiguous()
        return torch.bmm(p["unembedding"], self.embedding)

    def backward(self, d_logits: Float[Tensor, "models vocab_size rows"]) -> None:
        p, g = self.p, self.g
        torch.bmm(d_logits, self.embedding.transpose(1, 2), out=g["unembedding"])
        for name in ("position", "down", "up"):
            if name in g:
                g[name].zero_()
        d_stream = torch.bmm(p["unembedding"].transpose(1, 2), d_logits).unsqueeze(2)
        for layer in reversed(range(self.shape.num_layers)):
            if self.shape.mlp_width:
                d_stream = d_stream + self._backward_network(layer, d_stream)
            d_whole = d_stream
            if layer == self.shape.num_layers - 1:
                d_whole = d_stream.new_zeros(*d_stream.shape[:2], self.layout.seq_len, self.rows)
                d_whole[:, :, -1:] = d_stream
            d_stream = d_whole + self._backward_attention(layer, d_stream) if self.shape.num_heads else d_whole
        g["token"].zero_().scatter_add_(2, self.index, d_stream.flatten(2))
        if self.residual_positions:
            g["position"] += d_stream.sum(3)

    def _network(self, layer: int, stream: Tensor) -> Tensor:
        into, out_of = self.p[f"mlp_in{layer}"], self.p[f"mlp_out{layer}"]
        ones = stream.new_ones(self.models, 1, *stream.shape[2:])
        stream = torch.cat([stream, ones], 1)
        before = products(into.transpose(1, 2), stream)
        after = torch.nn.functional.gelu(before)
        self.networks.append((stream, before, after))
        return products(out_of, after)

    def _backward_network(self, layer: int, d_added: Tensor) -> Tensor:
        into, out_of = self.p[f"mlp_in{layer}"], self.p[f"mlp_out{layer}"]
        stream, before, after = self.networks[layer]
        self.g[f"mlp_out{layer}"][...] = outer_sums(d_added, after)
        d_after = products(out_of.transpose(1, 2), d_added)
        d_before = torch.ops.aten.gelu_backward(d_after, before)
        self.g[f"mlp_in{layer}"][...] = outer_sums(stream, d_before)
        return products(into[:, :-1], d_before)

    def _heads(self, layer: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """W_K, W_V, W_Q as (M, H r, k) and W_O as (M, k, H r): head and head coordinate in one axis."""
        left, right = self.p[f"left{layer}"], self.p[f"right{layer}"]
        key, value = (left[:, i].transpose(2, 3).reshape(self.models, -1, self.k) for i in (0, 1))
        query, output = (right[:, i].reshape(self.models, -1, self.k) for i in (0, 1))
        return key, value, query, output.transpose(1, 2)

    def _attend(self, layer: int, stream: Tensor, queried: int) -> Tensor:
        p, (heads, r) = self.p, (self.shape.num_heads, self.shape.head_dim)
        key, value, query, output = self._heads(layer)
        seen = products(p["down"], stream) if self.layout.shared_maps else stream
        if not self.residual_positions:
            seen = seen + p["position"].unsqueeze(3)
        keys, values = (products(maps, seen).unflatten(1, (heads, r)) for maps in (key, value))
        queries = products(query, seen[:, :, -queried:]).unflatten(1, (heads, r))
        scores = torch.einsum("mhcqr,mhcsr->mhqsr", queries, keys) * self.layout.score_scale
        visible = torch.ones(queried, stream.shape[2], dtype=torch.bool, device=stream.device)
        visible = visible.tril(stream.shape[2] - queried).unsqueeze(2)
        weights = attention_weights(scores, dim=3, visible=visible)
        context = torch.einsum("mhqsr,mhcsr->mhcqr", weights, values).flatten(1, 2)
        mixed = products(output, context)
        self.kept.append(_Kept(stream, seen, queries, keys, values, weights, context, mixed))
        return products(p["up"], mixed) if self.layout.shared_maps else mixed

    def _backward_attention(self, layer: int, d_mixed: Tensor) -> Float[Tensor, "models embed_dim seq_len rows"]:
        """Gradient by the stream before the layer, skip connection left out; those of heads and shared maps are written."""
        p, g, kept = self.p, self.g, self.kept[layer]
        heads, r, queried = self.shape.num_heads, self.shape.head_dim, d_mixed.shape[2]
        if self.layout.shared_maps:
            g["up"] += outer_sums(d_mixed, kept.mixed)
            d_mixed = products(p["up"].transpose(1, 2), d_mixed)
        key, value, query, output = self._heads(layer)
        d_output = outer_sums(kept.context, d_mixed)
        d_context = products(output.transpose(1, 2), d_mixed).unflatten(1, (heads, r))
        d_values = torch.einsum("mhqsr,mhcqr->mhcsr", kept.weights, d_context).flatten(1, 2)
        d_weights = torch.einsum("mhcqr,mhcsr->mhqsr", d_context, kept.values)
        d_scores = kept.weights * (d_weights - (kept.weights * d_weights).sum(3, keepdim=True)) * self.layout.score_scale
        d_queries = torch.einsum("mhqsr,mhcsr->mhcqr", d_scores, kept.keys).flatten(1, 2)
        d_keys = torch.einsum("mhqsr,mhcqr->mhcsr", d_scores, kept.queries).flatten(1, 2)
        left, right, sizes = g[f"left{layer}"], g[f"right{layer}"], (heads, r)
        left[:, 0] = outer_sums(d_keys, kept.seen).unflatten(1, sizes).transpose(2, 3)
        left[:, 1] = outer_sums(d_values, kept.seen).unflatten(1, sizes).transpose(2, 3)
        right[:, 0] = outer_sums(d_queries, kept.seen[:, :, -queried:]).unflatten(1, sizes)
        right[:, 1] = d_output.unflatten(1, sizes)
        d_seen = products(key.transpose(1, 2), d_keys) + products(value.transpose(1, 2), d_values)
        d_seen[:, :, -queried:] += products(query.transpose(1, 2), d_queries)
        if not self.residual_positions:
            g["position"] += d_seen.sum(3)
        if not self.layout.shared_maps:
            return d_seen
        g["down"] += outer_sums(d_seen, kept.stream)
        return products(p["down"].transpose(1, 2), d_seen)
