"""Forward and backward pass of stacks of models of several layers, by hand, for sequences of two tokens.

Attention is causal: at the first position every layer's stream depends on the first token alone. So there are N columns for the
first position, one for each token, instead of one for each row, and they stand behind the R columns of the second position in one
tensor: maps and MLPs act on both at once. The last layer reads the first position but need not compute what comes of it.

M models, R rows, N tokens; columns are those of rows, then those of tokens, rounded up to whole vectors.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from empirical._deep_blocks import FewHeads, Network, PairHeads, whole_vectors
from empirical._deep_parameters import DeepLayout
from empirical._parameters import StackedParameters, summed_products


def many_heads(layout: DeepLayout) -> bool:
    """Whether a row has fewer numbers in its k^2 products than in the queries, keys and values of its heads, about (measured)."""
    return layout.inner_dim**2 <= 2 * layout.shape.num_heads * layout.shape.head_dim


TOKEN_MULTIPLE = 8
"""Columns for the tokens at the first position come in multiples of this."""


class DeepPairEngine:
    """The engine for S = 2; `rows` is the number R of rows of every call. All buffers are made beforehand."""

    def __init__(self, parameters: StackedParameters, rows: int) -> None:
        layout = parameters.layout
        if not isinstance(layout, DeepLayout) or layout.seq_len != 2:
            raise ValueError(f"layout = {layout}: the pair engine of several layers takes a DeepLayout with seq_len = 2")
        self.p, self.g, self.layout, self.rows = parameters.block, parameters.grad, layout, rows
        self.models, self.vocab_size, self.d = parameters.num_models, layout.vocab_size, layout.shape.embed_dim
        self.residual_positions = layout.variant == "paper"
        tokens = -(-layout.vocab_size // TOKEN_MULTIPLE) * TOKEN_MULTIPLE if layout.shape.num_heads else 0
        columns, last = rows + tokens, layout.shape.num_layers - 1
        stream = parameters.flat.new_zeros(self.models, self.d, columns)  # the columns of no token stay finite
        self.streams = [stream]
        self.layers: list[_Layer] = []
        _, scratch = whole_vectors(stream, self.models, layout.shape.mlp_width, columns if last else rows)
        for number in range(layout.shape.num_layers):
            behind = rows if number == last else columns
            self.layers.append(_Layer(parameters, number, self.streams[-1], rows, behind, scratch))
            self.streams.append(self.layers[-1].behind)
        self.from_rows = stream.new_empty(self.models, self.d, rows)
        self.logits_out = stream.new_empty(self.models, self.vocab_size, rows)
        self.embedding = self.streams[-1]
        self.position_first, self.position_last = self.p["position"][:, :, :1], self.p["position"][:, :, 1:]

    def logits(self, tokens: Int[Tensor, "models_or_one seq_len rows"]) -> Float[Tensor, "models vocab_size rows"]:
        rows, stream = self.rows, self.streams[0]
        self.last_index = tokens[:, 1:].expand(self.models, self.d, rows)
        first_index = tokens[:, :1].expand(self.models, self.layout.inner_dim, rows)
        torch.gather(self.p["token"], 2, self.last_index, out=self.from_rows)
        at_rows, at_tokens = stream[:, :, :rows], stream[:, :, rows : rows + self.vocab_size]
        if self.residual_positions:
            torch.add(self.from_rows, self.position_last, out=at_rows)
            if self.layout.shape.num_heads:
                torch.add(self.p["token"], self.position_first, out=at_tokens)
        else:
            at_rows.copy_(self.from_rows)
            if self.layout.shape.num_heads:
                at_tokens.copy_(self.p["token"])
        for layer in self.layers:
            layer.forward(first_index)
        return torch.bmm(self.p["unembedding"], self.embedding, out=self.logits_out)

    def backward(self, d_logits: Float[Tensor, "models vocab_size rows"]) -> None:
        p, g, rows = self.p, self.g, self.rows
        torch.bmm(d_logits, self.embedding.transpose(1, 2), out=g["unembedding"])
        for name in ("position", "down", "up"):
            if name in g:
                g[name].zero_()
        d_stream = torch.bmm(p["unembedding"].transpose(1, 2), d_logits, out=self.from_rows)
        for layer in reversed(self.layers):
            d_stream = layer.backward(d_stream)
        d_rows = d_stream[:, :, :rows]
        g["token"].zero_().scatter_add_(2, self.last_index, d_rows)
        if self.residual_positions:
            g["position"][:, :, 1].add_(d_rows.sum(2))
        if self.layout.shape.num_heads:
            d_tokens = d_stream[:, :, rows : rows + self.vocab_size]
            g["token"].add_(d_tokens)
            if self.residual_positions:
                g["position"][:, :, 0].add_(d_tokens.sum(2))


class _Layer:
    """One layer: reads the buffer `stream` (M, d, columns), writes `behind` (M, d, behind), R columns or all of them."""

    def __init__(
        self, parameters: StackedParameters, number: int, stream: Tensor, rows: int, behind: int, scratch: Tensor
    ) -> None:
        layout, models = parameters.layout, parameters.num_models
        assert isinstance(layout, DeepLayout)
        p, g, d, k = parameters.block, parameters.grad, layout.shape.embed_dim, layout.inner_dim
        self.p, self.g, self.shared_maps, self.rows, self.columns = p, g, layout.shared_maps, rows, behind
        self.stream = stream
        self.inside_positions = layout.variant == "notebook"
        columns, empty = stream.shape[2], stream.new_empty
        self.source = stream[:, :, :behind]
        self.heads: PairHeads | FewHeads | None = None
        if layout.shape.num_heads:
            self.seen = empty(models, k, columns) if self.inside_positions else stream
            self.d_seen = empty(models, k, columns)
            self.seen_rows, self.seen_tokens = self.seen[:, :, :rows], self.seen[:, :, rows:]
            self.d_seen_rows, self.d_seen_tokens = self.d_seen[:, :, :rows], self.d_seen[:, :, rows:]
            self.seen_behind, self.d_first = self.seen[:, :, :behind], self.d_seen[:, :, rows : rows + layout.vocab_size]
            self.delta, self.added = empty(models, k, rows), empty(models, d, behind)
            inside = self.seen if self.shared_maps else stream
            self.inside_rows, self.inside_tokens = inside[:, :, :rows], inside[:, :, rows:]
            self.attended = empty(models, k, behind) if self.shared_maps else self.added
            self.attended_rows = self.attended[:, :, :rows]
            self.d_attended, self.d_through = empty(models, k, behind), empty(models, k, behind)
            self.d_stream = empty(models, d, columns) if self.shared_maps else self.d_seen
            self.d_source = self.d_stream[:, :, :behind]
            self.heads = (PairHeads if many_heads(layout) else FewHeads)(parameters, number, self.seen_rows, self.delta)
            self.value_sum_transposed = self.heads.value_sum.transpose(1, 2)
            self.position_first, self.position_last = p["position"][:, :, :1], p["position"][:, :, 1:]
            self.d_position_first, self.d_position_last = g["position"].unbind(2)
            if self.shared_maps:
                self.down_transposed, self.up_transposed = p["down"].transpose(1, 2), p["up"].transpose(1, 2)
        self.network: Network | None = None
        self.behind = empty(models, d, behind)
        self.between = self.behind
        if layout.shape.mlp_width:
            read = stream.new_ones(models, d + 1, behind)
            self.network, self.between = Network(parameters, number, read, scratch), read[:, :-1]

    def forward(self, first_index: Int[Tensor, "models inner rows"]) -> None:
        if self.heads is not None:
            self._attend(self.heads, first_index)
            torch.add(self.source, self.added, out=self.between)
        else:
            self.between.copy_(self.source)
        if self.network is not None:
            self.network.forward()
            torch.add(self.between, self.network.added, out=self.behind)

    def _attend(self, heads: PairHeads | FewHeads, first_index: Int[Tensor, "models inner rows"]) -> None:
        self.first_index = first_index
        if self.shared_maps:
            torch.bmm(self.p["down"], self.stream, out=self.seen)
        if self.inside_positions:
            torch.add(self.inside_rows, self.position_last, out=self.seen_rows)
            torch.add(self.inside_tokens, self.position_first, out=self.seen_tokens)
        torch.gather(self.seen_tokens, 2, first_index, out=self.delta).sub_(self.seen_rows)
        heads.make_value_sum()
        heads.forward()
        torch.bmm(self.value_sum_transposed, self.seen_behind, out=self.attended)
        self.attended_rows.add_(heads.mixed)
        if self.shared_maps:
            torch.bmm(self.p["up"], self.attended, out=self.added)

    def backward(self, d_behind: Float[Tensor, "models embed_dim behind"]) -> Float[Tensor, "models embed_dim columns"]:
        """The gradient by the stream before the layer, from that by the stream behind it, which is overwritten."""
        if self.network is not None:
            self.network.backward(d_behind)
        return d_behind if self.heads is None else self._backward_heads(self.heads, d_behind)

    def _backward_heads(self, heads: PairHeads | FewHeads, d_behind: Float[Tensor, "models embed_dim behind"]) -> Tensor:
        g, d_seen, d_attended = self.g, self.d_seen, d_behind
        if self.shared_maps:
            g["up"].add_(summed_products(d_behind, self.attended))
            d_attended = torch.bmm(self.up_transposed, d_behind, out=self.d_attended)
        torch.bmm(self.seen_behind, d_attended.transpose(1, 2), out=heads.d_value_sum)
        if self.columns == self.rows:
            heads.backward(d_attended)
            torch.bmm(heads.value_sum, d_attended, out=self.d_through)
            torch.add(heads.d_z, self.d_through, out=self.d_seen_rows)
            self.d_seen_tokens.zero_()
        else:
            heads.backward(d_attended[:, :, : self.rows])
            torch.bmm(heads.value_sum, d_attended, out=d_seen)
            self.d_seen_rows.add_(heads.d_z)
        self.d_seen_rows.sub_(heads.d_delta)
        self.d_first.scatter_add_(2, self.first_index, heads.d_delta)
        if self.inside_positions:
            self.d_position_first.add_(self.d_first.sum(2))
            self.d_position_last.add_(self.d_seen_rows.sum(2))
        if self.shared_maps:
            g["down"].add_(summed_products(d_seen, self.stream))
            torch.bmm(self.down_transposed, d_seen, out=self.d_stream)
        self.d_source.add_(d_behind)
        return self.d_stream
