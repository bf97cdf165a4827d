"""The parts of a layer over pairs of tokens: two ways to compute a bank of heads, and the MLP; buffers made once.

At the second of two positions a head's softmax is the sigmoid of a score difference. With z the input of the attention there
and delta that of the first position minus z, a bank of heads adds V^T z + sum_h a_h W_O^hT W_V^hT delta, where V, the value
sum, is the sum over heads of W_V W_O and a_h = sigmoid(delta^T W_K W_Q^T z). V^T is also what the bank adds at the first
position, which sees itself alone; so it is applied outside, to both positions at once. `PairHeads` and `FewHeads` compute the
rest. Both have, in this order, `make_value_sum()`, which writes `value_sum` (M, k, k); `forward()`, which writes `mixed`
(M, k, R), what the attention on the first token adds; and `backward(d_mixed)`, which writes `d_delta`, `d_z` (M, k, R) and the
gradient of the heads, once `d_value_sum` has been written.

M models, R rows, H heads; k, r and w are the widths of attention input, head and MLP.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from empirical._parameters import PADDING, StackedParameters


def whole_vectors(reference: Tensor, *size: int) -> tuple[Tensor, Tensor]:
    """A buffer, and the same memory as one row with `PADDING` zeros behind.

    Elementwise functions that are computed over the row give every entry of the buffer the rounding of whole vectors: the last
    few entries of a call are rounded otherwise, and a model's result shall not depend on whether it comes last.
    """
    count = 1
    for extent in size:
        count *= extent
    row = reference.new_zeros(count + PADDING)
    return row[:count].view(size), row


class PairHeads:
    """Heads by the k^2 products delta_j z_i: the quicker way where H r is large against k.

    All heads share one matrix product each way, since scores and values are linear in delta_j z_i and in delta_j a.
    `z` and `delta` are the buffers that hold them at every call.
    """

    def __init__(self, parameters: StackedParameters, layer: int, z: Tensor, delta: Tensor) -> None:
        left, right = (parameters.block[f"{name}{layer}"] for name in ("left", "right"))
        d_left, d_right = (parameters.grad[f"{name}{layer}"] for name in ("left", "right"))
        models, _, heads, k, r = left.shape
        rows, empty = z.shape[2], z.new_empty
        self.scale, self.z, self.delta = parameters.layout.score_scale, z, delta
        self.left, self.right = left.view(-1, k, r), right.view(-1, r, k)
        self.d_left, self.d_right = d_left.view(-1, k, r), d_right.view(-1, r, k)
        self.left_transposed, self.right_transposed = self.left.transpose(1, 2), self.right.transpose(1, 2)
        self.value_sum, self.d_value_sum = empty(models, k, k), empty(models, k, k)
        self.mixed, self.d_delta, self.d_z, self.part = (empty(models, k, rows) for _ in range(4))
        self.maps, self.d_maps = empty(models, 2, heads, k, k), empty(models, 2, heads, k, k)
        self.maps_flat, self.d_maps_flat = self.maps.view(-1, k, k), self.d_maps.view(-1, k, k)
        self.score_map, self.value_map = self.maps.view(models, 2, heads, k * k).unbind(1)
        self.score_map_transposed, self.value_map_transposed = self.score_map.transpose(1, 2), self.value_map.transpose(1, 2)
        self.d_maps_rows = self.d_maps.view(2 * models, heads, k * k)
        products, coefficients = empty(models, 2, k * k, rows), empty(models, 2, heads, rows)
        self.outer, self.d_spread = products.unbind(1)
        self.outer_ji, self.d_spread_ji = products.view(models, 2, k, k, rows).unbind(1)
        self.products_transposed = products.view(2 * models, k * k, rows).transpose(1, 2)
        self.d_scores, self.weights = coefficients.unbind(1)
        self.coefficients_rows = coefficients.view(2 * models, heads, rows)
        self.scores, self.scores_row = whole_vectors(z, models, heads, rows)
        self.sigmoids, self.sigmoids_row = whole_vectors(z, models, heads, rows)
        self.spread, self.scratch = empty(models, k * k, rows), empty(models, k, k, rows)
        self.d_outer = empty(models, k * k, rows)
        self.spread_ji, self.d_outer_ji = self.spread.view(models, k, k, rows), self.d_outer.view(models, k, k, rows)
        self.delta_j, self.z_i = delta.unsqueeze(2), z.unsqueeze(1)
        self.score_maps, self.value_maps = self.maps.unbind(1)
        self.d_score_maps, self.d_value_maps = self.d_maps.unbind(1)

    def make_value_sum(self) -> None:
        torch.bmm(self.left, self.right, out=self.maps_flat)
        if self.scale != 1:
            self.score_maps.mul_(self.scale)
        torch.sum(self.value_maps, 1, out=self.value_sum)

    def forward(self) -> None:
        torch.mul(self.delta_j, self.z_i, out=self.outer_ji)
        torch.bmm(self.score_map, self.outer, out=self.scores)
        torch.sigmoid(self.scores_row, out=self.sigmoids_row)
        self.weights.copy_(self.sigmoids)
        torch.bmm(self.value_map_transposed, self.sigmoids, out=self.spread)
        torch.mul(self.spread_ji, self.delta_j, out=self.scratch)
        torch.sum(self.scratch, 1, out=self.mixed)

    def backward(self, d_mixed: Float[Tensor, "models inner rows"]) -> None:
        d_mixed_i = d_mixed.unsqueeze(1)
        # values: mixed_i = sum_j delta_j spread_ji, and spread = value_map^T weights
        torch.mul(self.delta_j, d_mixed_i, out=self.d_spread_ji)
        d_weights = torch.bmm(self.value_map, self.d_spread, out=self.scores)
        torch.mul(self.spread_ji, d_mixed_i, out=self.scratch)
        torch.sum(self.scratch, 2, out=self.d_delta)
        # scores: weights = sigmoid(score_map . (delta_j z_i))
        slope = self.sigmoids.addcmul_(self.sigmoids, self.sigmoids, value=-1)
        torch.mul(d_weights, slope, out=self.d_scores)
        torch.bmm(self.score_map_transposed, self.d_scores, out=self.d_outer)
        torch.mul(self.d_outer_ji, self.z_i, out=self.scratch)
        self.d_delta.add_(torch.sum(self.scratch, 2, out=self.part))
        torch.mul(self.d_outer_ji, self.delta_j, out=self.scratch)
        torch.sum(self.scratch, 1, out=self.d_z)
        # both maps of every head in one product, then the four matrices they are made of
        torch.bmm(self.coefficients_rows, self.products_transposed, out=self.d_maps_rows)
        self.d_value_maps.add_(self.d_value_sum.unsqueeze(1))
        if self.scale != 1:
            self.d_score_maps.mul_(self.scale)
        torch.bmm(self.d_maps_flat, self.right_transposed, out=self.d_left)
        torch.bmm(self.left_transposed, self.d_maps_flat, out=self.d_right)


class FewHeads:
    """Heads by their queries, keys and values: the quicker way where H r is small. Arguments as for `PairHeads`."""

    def __init__(self, parameters: StackedParameters, layer: int, z: Tensor, delta: Tensor) -> None:
        left, right = (parameters.block[f"{name}{layer}"] for name in ("left", "right"))
        d_left, d_right = (parameters.grad[f"{name}{layer}"] for name in ("left", "right"))
        models, _, heads, k, r = left.shape
        rows, empty, width = z.shape[2], z.new_empty, heads * r
        self.scale, self.z, self.delta = parameters.layout.score_scale, z, delta
        self.value_sum, self.d_value_sum = empty(models, k, k), empty(models, k, k)
        self.mixed, self.d_delta, self.d_z = (empty(models, k, rows) for _ in range(3))
        # keys and values of all heads in one product: maps are copied so that heads and head coordinates make one axis
        key_value, d_key_value = empty(models, 2, heads, r, k), empty(models, 2, heads, r, k)
        self.key_value, self.left_copied = key_value, left.transpose(3, 4)
        self.key_value_rows, self.d_key_value_rows = key_value.view(models, -1, k), d_key_value.view(models, -1, k)
        self.key_value_columns, self.value_rows = self.key_value_rows.transpose(1, 2), key_value[:, 1].view(models, width, k)
        self.value_columns = self.value_rows.transpose(1, 2)
        self.d_left, self.d_value_left, self.d_key_value_copied = d_left, d_left[:, 1], d_key_value.transpose(3, 4)
        self.query_right, self.output_right = (right[:, i].view(models, width, k) for i in (0, 1))
        self.d_query_right, self.d_output_right = (d_right[:, i].view(models, width, k) for i in (0, 1))
        self.query, self.output, self.part = (empty(models, width, k) for _ in range(3))
        self.query_columns, self.output_columns = self.query.transpose(1, 2), self.output.transpose(1, 2)
        self.part_copied = self.part.view(models, heads, r, k).transpose(2, 3)
        keys_values, d_keys_values = empty(models, 2, heads, r, rows), empty(models, 2, heads, r, rows)
        (self.keys, self.values), (self.d_keys, self.d_values) = keys_values.unbind(1), d_keys_values.unbind(1)
        self.keys_values_rows, self.d_keys_values_rows = keys_values.view(models, -1, rows), d_keys_values.view(models, -1, rows)
        by_head = (models, heads, r, rows)
        self.queries, self.d_queries, self.context = (empty(models, width, rows) for _ in range(3))
        self.queries_by_head, self.d_queries_by_head = self.queries.view(by_head), self.d_queries.view(by_head)
        self.context_by_head, self.scratch = self.context.view(by_head), empty(by_head)
        self.scores, self.scores_row = whole_vectors(z, models, heads, rows)
        self.weights, self.weights_row = whole_vectors(z, models, heads, rows)
        self.scores_by_head, self.weights_by_head = self.scores.unsqueeze(2), self.weights.unsqueeze(2)
        self.z_transposed, self.delta_transposed = z.transpose(1, 2), delta.transpose(1, 2)

    def make_value_sum(self) -> None:
        self.key_value.copy_(self.left_copied)
        torch.mul(self.query_right, self.scale, out=self.query)
        self.output.copy_(self.output_right)
        torch.bmm(self.value_columns, self.output, out=self.value_sum)

    def forward(self) -> None:
        torch.bmm(self.key_value_rows, self.delta, out=self.keys_values_rows)
        torch.bmm(self.query, self.z, out=self.queries)
        torch.mul(self.keys, self.queries_by_head, out=self.scratch)
        torch.sum(self.scratch, 2, out=self.scores)
        torch.sigmoid(self.scores_row, out=self.weights_row)
        torch.mul(self.values, self.weights_by_head, out=self.context_by_head)
        torch.bmm(self.output_columns, self.context, out=self.mixed)

    def backward(self, d_mixed: Float[Tensor, "models inner rows"]) -> None:
        torch.bmm(self.context, d_mixed.transpose(1, 2), out=self.part)
        self.part.baddbmm_(self.value_rows, self.d_value_sum)
        self.d_output_right.copy_(self.part)
        torch.bmm(self.output, d_mixed, out=self.context)  # from here on the context's gradient
        torch.mul(self.context_by_head, self.weights_by_head, out=self.d_values)
        torch.mul(self.context_by_head, self.values, out=self.scratch)
        torch.sum(self.scratch, 2, out=self.scores)
        self.weights.addcmul_(self.weights, self.weights, value=-1)  # slope of the sigmoid
        self.scores.mul_(self.weights)
        torch.mul(self.keys, self.scores_by_head, out=self.d_queries_by_head)
        torch.mul(self.queries_by_head, self.scores_by_head, out=self.d_keys)
        torch.bmm(self.d_queries, self.z_transposed, out=self.part)
        torch.mul(self.part, self.scale, out=self.d_query_right)
        torch.bmm(self.d_keys_values_rows, self.delta_transposed, out=self.d_key_value_rows)
        self.d_left.copy_(self.d_key_value_copied)
        torch.bmm(self.output, self.d_value_sum.transpose(1, 2), out=self.part)
        self.d_value_left.add_(self.part_copied)
        torch.bmm(self.key_value_columns, self.d_keys_values_rows, out=self.d_delta)
        torch.bmm(self.query_columns, self.d_queries, out=self.d_z)


class Network:
    """The MLP of one layer; `stream` (M, d + 1, columns) is the buffer that it reads at every call, whose last row is all 1.

    `scratch` is a row of at least M w columns + `PADDING` entries, which the layers of a model use one after the other.
    """

    def __init__(self, parameters: StackedParameters, layer: int, stream: Tensor, scratch: Float[Tensor, " entries"]) -> None:
        into, out_of = (parameters.block[f"{name}{layer}"] for name in ("mlp_in", "mlp_out"))
        d_into, d_out_of = (parameters.grad[f"{name}{layer}"] for name in ("mlp_in", "mlp_out"))
        models, columns, width = len(into), stream.shape[2], into.shape[2]
        self.into_transposed, self.into_stream = into.transpose(1, 2), into[:, :-1]
        self.out_of, self.out_of_transposed = out_of, out_of.transpose(1, 2)
        self.d_into, self.d_out_of, self.stream = d_into, d_out_of, stream
        self.before, self.before_row = whole_vectors(stream, models, width, columns)
        self.after, self.after_row = whole_vectors(stream, models, width, columns)
        self.after_transposed = self.after.transpose(1, 2)
        self.d_after_row = scratch[: len(self.after_row)]
        self.d_after = self.d_after_row[: self.after.numel()].view(self.after.shape)
        self.added = stream.new_empty(models, len(out_of[0]), columns)

    def forward(self) -> None:
        """Write `added`."""
        torch.bmm(self.into_transposed, self.stream, out=self.before)
        torch.ops.aten.gelu.out(self.before_row, out=self.after_row)
        torch.bmm(self.out_of, self.after, out=self.added)

    def backward(self, d_stream: Float[Tensor, "models embed_dim columns"]) -> None:
        """Write the gradient of the weights, and add that by what the network reads to `d_stream`, that of its output."""
        torch.bmm(d_stream, self.after_transposed, out=self.d_out_of)
        torch.bmm(self.out_of_transposed, d_stream, out=self.d_after)
        torch.ops.aten.gelu_backward.grad_input(self.d_after_row, self.before_row, grad_input=self.after_row)
        torch.bmm(self.stream, self.after_transposed, out=self.d_into)
        d_stream.baddbmm_(self.into_stream, self.after)
