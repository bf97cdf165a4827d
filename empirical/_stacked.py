"""Forward and backward pass of a stack of one-layer models on pairs, written out by hand: no autograd, last position only.

For sequences of two tokens a softmax over two scores is the sigmoid of their difference. With z the input of the attention at
the last position and delta the input at the first minus z, a head's score difference is delta^T (W_K W_Q^T) z and its output
z W_V W_O + a delta W_V W_O. Both are linear in the k^2 products delta_j z_i or delta_j a, so that all heads of a model share
one matrix product each way. For wide heads, and any other length, `_token_engine.TokenEngine` computes the same thing.

M models, R rows of data, N tokens, S positions, H heads; d, k and r are the widths of residual stream, attention input
and head. Rows run along the last axis everywhere.
"""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from empirical._parameters import StackedParameters, summed_products


@runtime_checkable
class Engine(Protocol):
    """What training needs: logits of rows of tokens, and the gradient that belongs to the last logits computed."""

    def logits(self, tokens: Int[Tensor, "models_or_one seq_len rows"]) -> Float[Tensor, "models vocab_size rows"]:
        """Logits at the last position; the first axis of `tokens` may be 1 where all models see the same rows."""
        ...

    def backward(self, d_logits: Float[Tensor, "models vocab_size rows"]) -> None:
        """Write the gradient for the last call of `logits` into the parameters' flat gradient."""
        ...


class PairEngine:
    """The engine for S = 2; `rows` is the number R of rows of every call.

    All buffers are made beforehand: memory that is asked for anew in every step is handed out page by page by the system,
    which costs more than the arithmetic on it.
    """

    def __init__(self, parameters: StackedParameters, rows: int) -> None:
        layout = parameters.layout
        if layout.seq_len != 2:
            raise ValueError(f"seq_len = {layout.seq_len}: the pair engine takes sequences of 2 tokens")
        self.p, self.g, self.layout, self.rows = parameters.block, parameters.grad, layout, rows
        self.models, self.k, self.heads = parameters.num_models, layout.inner_dim, layout.shape.num_heads
        self.residual_positions = layout.variant == "paper"
        scaled = layout.variant == "notebook"
        self.score_scale = parameters.score_scale if scaled else None
        empty, models, k, heads = parameters.flat.new_empty, self.models, self.k, self.heads
        self.logits_out = empty(models, layout.vocab_size, rows)
        self.gathered, self.d_gathered = empty(models, k, 2 * rows), empty(models, k, 2 * rows)
        self.z, self.delta, self.d_z, self.attended, self.part = (empty(models, k, rows) for _ in range(5))
        self.embedding, self.d_residual = (empty(models, layout.shape.embed_dim, rows) for _ in range(2))
        self.value_sum, self.d_value_sum = empty(models, k, k), empty(models, k, k)
        self.maps, self.d_maps = empty(models, 2, heads, k, k), empty(models, 2, heads, k, k)
        # what the two maps of a head are summed with: delta_j z_i for scores, delta_j d_attended_i for values
        self.products = empty(models, 2, k * k, rows)
        self.coefficients = empty(models, 2, heads, rows)  # d_scores, attention on the first token
        self.scores, self.d_weights = empty(models, heads, rows), empty(models, heads, rows)
        self.mixed, self.scratch = empty(models, k * k, rows), empty(models, k, k, rows)
        self._make_views()

    def _make_views(self) -> None:
        """Views made once: hundreds of thousands of steps would make them again each time."""
        rows, k, models, heads = self.rows, self.k, self.models, self.heads
        self.first, self.last = self.gathered[:, :, :rows], self.gathered[:, :, rows:]
        self.d_first, self.d_last = self.d_gathered[:, :, :rows], self.d_gathered[:, :, rows:]
        self.position_first, self.position_last = self.p["position"][:, :, :1], self.p["position"][:, :, 1:]
        self.d_position_first, self.d_position_last = self.g["position"][:, :, 0], self.g["position"][:, :, 1]
        self.delta_j, self.z_i = self.delta.unsqueeze(2), self.z.unsqueeze(1)
        self.score_map, self.value_map = self.maps.view(models, 2, heads, k * k).unbind(1)
        self.outer, self.d_mixed = self.products.unbind(1)
        self.outer_ji, self.d_mixed_ji = self.products.view(models, 2, k, k, rows).unbind(1)
        self.d_scores, self.weights = self.coefficients.unbind(1)
        self.mixed_ji = self.mixed.view(models, k, k, rows)
        self.score_scale_map, self.d_score_scale_map = self.maps[:, 0], self.d_maps[:, 0]
        self.value_ji, self.d_value_ji = self.maps[:, 1], self.d_maps[:, 1]
        r = self.layout.shape.head_dim
        left, right, square = (2 * models * heads, k, r), (2 * models * heads, r, k), (2 * models * heads, k, k)
        self.left, self.right = self.p["left"].view(left), self.p["right"].view(right)
        self.d_left, self.d_right = self.g["left"].view(left), self.g["right"].view(right)
        self.left_transposed, self.right_transposed = self.left.transpose(1, 2), self.right.transpose(1, 2)
        self.maps_flat, self.d_maps_flat = self.maps.view(square), self.d_maps.view(square)
        self.d_maps_rows = self.d_maps.view(2 * models, heads, k * k)
        self.coefficients_rows = self.coefficients.view(2 * models, heads, rows)
        self.products_transposed = self.products.view(2 * models, k * k, rows).transpose(1, 2)
        self.score_map_transposed, self.value_map_transposed = self.score_map.transpose(1, 2), self.value_map.transpose(1, 2)
        self.value_sum_transposed = self.value_sum.transpose(1, 2)
        self.unembedding_transposed = self.p["unembedding"].transpose(1, 2)

    def logits(self, tokens: Int[Tensor, "models_or_one seq_len rows"]) -> Float[Tensor, "models vocab_size rows"]:
        p, models = self.p, self.models
        index = tokens.reshape(tokens.shape[0], 1, 2 * self.rows)
        self.index = index.expand(models, self.k, -1)
        self.last_index = index[:, :, self.rows :].expand(models, p["token"].shape[1], -1)
        inside = torch.bmm(p["down"], p["token"]) if self.layout.shared_maps else p["token"]
        torch.gather(inside, 2, self.index, out=self.gathered)
        torch.add(self.last, self.position_last, out=self.z)
        torch.add(self.first, self.position_first, out=self.delta).sub_(self.z)
        if self.heads:
            self._attend()
        else:
            self.attended.zero_()
        if self.layout.shared_maps:
            torch.gather(p["token"], 2, self.last_index, out=self.embedding)
            self.embedding.baddbmm_(p["up"], self.attended)
        else:
            torch.add(self.attended, self.z if self.residual_positions else self.last, out=self.embedding)
        return torch.bmm(p["unembedding"], self.embedding, out=self.logits_out)

    def _attend(self) -> None:
        torch.bmm(self.left, self.right, out=self.maps_flat)
        if self.score_scale is not None:
            self.score_scale_map.mul_(self.score_scale)
        torch.mul(self.delta_j, self.z_i, out=self.outer_ji)
        torch.bmm(self.score_map, self.outer, out=self.scores)
        torch.sigmoid(self.scores, out=self.weights)
        torch.bmm(self.value_map_transposed, self.weights, out=self.mixed)
        torch.mul(self.mixed_ji, self.delta_j, out=self.scratch)
        torch.sum(self.scratch, 1, out=self.attended)
        torch.sum(self.value_ji, 1, out=self.value_sum)
        self.attended.baddbmm_(self.value_sum_transposed, self.z)

    def backward(self, d_logits: Float[Tensor, "models vocab_size rows"]) -> None:
        p, g, shared_maps = self.p, self.g, self.layout.shared_maps
        torch.bmm(d_logits, self.embedding.transpose(1, 2), out=g["unembedding"])
        d_residual = torch.bmm(self.unembedding_transposed, d_logits, out=self.d_residual)
        d_attended = d_residual
        if self.heads and shared_maps:
            g["up"].copy_(summed_products(d_residual, self.attended))
            d_attended = torch.bmm(p["up"].transpose(1, 2), d_residual)
        if self.heads:
            self._backward_attention(d_attended)
        else:
            self.d_z.zero_()
            self.d_first.zero_()
            if shared_maps:
                g["up"].zero_()
        if self.residual_positions:
            self.d_z.add_(d_residual)
        torch.sub(self.d_z, self.d_first, out=self.d_last)
        torch.sum(self.d_first, 2, out=self.d_position_first)
        torch.sum(self.d_last, 2, out=self.d_position_last)
        if shared_maps:
            d_inside = self.z.new_zeros(self.models, self.k, self.layout.vocab_size)
            d_inside.scatter_add_(2, self.index, self.d_gathered)
            torch.bmm(d_inside, p["token"].transpose(1, 2), out=g["down"])
            torch.bmm(p["down"].transpose(1, 2), d_inside, out=g["token"])
            g["token"].scatter_add_(2, self.last_index, d_residual)
            return
        if not self.residual_positions:
            self.d_last.add_(d_residual)
        g["token"].zero_().scatter_add_(2, self.index, self.d_gathered)

    def _backward_attention(self, d_attended: Float[Tensor, "models inner rows"]) -> None:
        """Write d_delta into `d_first` and d_z into `d_z`, and the gradient of the heads."""
        d_attended_i = d_attended.unsqueeze(1)
        # values: attended_i = sum_j z_j value_sum_ji + sum_j delta_j mixed_ji, and mixed = value_map^T weights
        torch.mul(self.delta_j, d_attended_i, out=self.d_mixed_ji)
        torch.bmm(self.value_map, self.d_mixed, out=self.d_weights)
        torch.mul(self.mixed_ji, d_attended_i, out=self.scratch)
        torch.sum(self.scratch, 2, out=self.d_first)
        torch.bmm(self.value_sum, d_attended, out=self.d_z)
        # scores: weights = sigmoid(score_map . (delta_j z_i))
        slope = torch.addcmul(self.weights, self.weights, self.weights, value=-1, out=self.scores)
        torch.mul(self.d_weights, slope, out=self.d_scores)
        d_outer = torch.bmm(self.score_map_transposed, self.d_scores, out=self.mixed).view(self.scratch.shape)
        torch.mul(d_outer, self.z_i, out=self.scratch)
        self.d_first.add_(torch.sum(self.scratch, 2, out=self.part))
        torch.mul(d_outer, self.delta_j, out=self.scratch)
        self.d_z.add_(torch.sum(self.scratch, 1, out=self.part))
        # both maps of every head in one product, then the four matrices they are made of
        torch.bmm(self.coefficients_rows, self.products_transposed, out=self.d_maps_rows)
        torch.bmm(self.z, d_attended.transpose(1, 2), out=self.d_value_sum)
        self.d_value_ji.add_(self.d_value_sum.unsqueeze(1))
        if self.score_scale is not None:
            self.d_score_scale_map.mul_(self.score_scale)
        torch.bmm(self.d_maps_flat, self.right_transposed, out=self.d_left)
        torch.bmm(self.left_transposed, self.d_maps_flat, out=self.d_right)
